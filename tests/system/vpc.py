"""A VPC as a user makes one: a public and a private subnet, with what leads out of each."""

RANGE = "10.44.0.0/16"
PUBLIC, PRIVATE = "10.44.1.0/24", "10.44.2.0/24"
ANYWHERE = [{"CidrIp": "0.0.0.0/0"}]


class Network:
    """A VPC whose first subnet reaches the internet gateway; ping and ssh are open."""

    def __init__(self, ec2):
        self.ec2 = ec2
        self.vpc = self.ec2.create_vpc(CidrBlock=RANGE)["Vpc"]["VpcId"]
        self.public, self.private = (self.ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr)["Subnet"]["SubnetId"]
                                     for cidr in (PUBLIC, PRIVATE))
        self.gateway = self.ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.table = self.table_to(self.public, GatewayId=self.gateway)
        self.tables = [self.table]
        mine = [{"Name": "vpc-id", "Values": [self.vpc]}]
        [group] = self.ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        self.ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ANYWHERE},
            {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": ANYWHERE}])

    def table_to(self, subnet, **target):
        """A route table of the subnet's own, with a way to everywhere."""
        table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)
        association = self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]
        return table, association

    def remove(self):
        for table, association in self.tables:
            self.ec2.disassociate_route_table(AssociationId=association)
            self.ec2.delete_route_table(RouteTableId=table)
        self.ec2.detach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.ec2.delete_internet_gateway(InternetGatewayId=self.gateway)
        for subnet in (self.public, self.private):
            self.ec2.delete_subnet(SubnetId=subnet)
        self.ec2.delete_vpc(VpcId=self.vpc)
