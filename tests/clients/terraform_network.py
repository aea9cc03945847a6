"""What Terraform's AWS provider does for the resources of a network: the same calls in the same order, and of their
answers the same members. A resource is made, read, and deleted; what `read` returns is its state.

`Plan` walks resources along their dependencies as Terraform does, so many at a time.
"""

import concurrent.futures
import time

import botocore.exceptions
from cloud import wait_until
from terraform import filters, only, pairs

STATE_SECONDS = 60
# What the provider takes for a matter of time while it deletes.
RETRIED = ("DependencyViolation", "InvalidIPAddress.InUse")


def tags_of(found):
    return {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}


def specified(kind, tags):
    return [{"ResourceType": kind, "Tags": pairs(tags)}]


def code_of(error):
    return error.response["Error"]["Code"]


def in_time(call):
    """Once more and again while something is in the way."""
    deadline = time.monotonic() + STATE_SECONDS
    while True:
        try:
            return call()
        except botocore.exceptions.ClientError as error:
            if code_of(error) not in RETRIED or time.monotonic() > deadline:
                raise
        time.sleep(0.1)  # the pause between two tries


class Resource:
    def __init__(self, ec2):
        self.ec2 = ec2

    def find(self, call, member, missing, **named):
        """Nothing when it is gone for Terraform."""
        try:
            return only(call(**named)[member])
        except botocore.exceptions.ClientError as error:
            if code_of(error) == missing:
                return None
            raise


class Vpc(Resource):
    def create(self, config):
        answer = self.ec2.create_vpc(CidrBlock=config["cidr_block"], InstanceTenancy="default",
                                     TagSpecifications=specified("vpc", config["tags"]))
        one = answer["Vpc"]["VpcId"]
        wait_until(f"{one} available", lambda: self.vpc(one)["State"] == "available", STATE_SECONDS)
        self.ec2.modify_vpc_attribute(VpcId=one, EnableDnsHostnames={"Value": config["enable_dns_hostnames"]})
        wait_until("host names", lambda: self.attribute(one, "enableDnsHostnames") == config["enable_dns_hostnames"])
        return one

    def vpc(self, one):
        return self.find(self.ec2.describe_vpcs, "Vpcs", "InvalidVpcID.NotFound", VpcIds=[one])

    def attribute(self, one, name):
        answer = self.ec2.describe_vpc_attribute(VpcId=one, Attribute=name)
        return answer[name[0].upper() + name[1:]]["Value"]

    def read(self, one):
        found = self.vpc(one)
        if found is None:
            return None
        acl = only(self.ec2.describe_network_acls(Filters=filters(default="true", vpc_id=one))["NetworkAcls"])
        main = self.ec2.describe_route_tables(Filters=filters(association__main="true", vpc_id=one))
        group = self.ec2.describe_security_groups(Filters=filters(group_name="default", vpc_id=one))
        return {
            "cidr_block": found["CidrBlock"], "instance_tenancy": found["InstanceTenancy"], "tags": tags_of(found),
            "dhcp_options_id": found["DhcpOptionsId"], "is_default": found["IsDefault"],
            "enable_dns_hostnames": self.attribute(one, "enableDnsHostnames"),
            "enable_dns_support": self.attribute(one, "enableDnsSupport"),
            "enable_network_address_usage_metrics": self.attribute(one, "enableNetworkAddressUsageMetrics"),
            "default_network_acl_id": acl["NetworkAclId"],
            "main_route_table_id": only(main["RouteTables"])["RouteTableId"],
            "default_security_group_id": only(group["SecurityGroups"])["GroupId"],
            "ipv6": found.get("Ipv6CidrBlockAssociationSet", []),
        }

    def delete(self, one):
        in_time(lambda: self.ec2.delete_vpc(VpcId=one))


class Subnet(Resource):
    def create(self, config):
        answer = self.ec2.create_subnet(CidrBlock=config["cidr_block"], VpcId=config["vpc_id"],
                                        TagSpecifications=specified("subnet", config["tags"]))
        one = answer["Subnet"]["SubnetId"]
        wait_until(f"{one} available", lambda: self.subnet(one)["State"] == "available", STATE_SECONDS)
        if config["map_public_ip_on_launch"]:
            self.ec2.modify_subnet_attribute(SubnetId=one, MapPublicIpOnLaunch={"Value": True})
            wait_until("public addresses", lambda: self.subnet(one)["MapPublicIpOnLaunch"])
        return one

    def subnet(self, one):
        return self.find(self.ec2.describe_subnets, "Subnets", "InvalidSubnetID.NotFound", SubnetIds=[one])

    def read(self, one):
        found = self.subnet(one)
        return found and {
            "cidr_block": found["CidrBlock"], "vpc_id": found["VpcId"], "tags": tags_of(found),
            "map_public_ip_on_launch": found["MapPublicIpOnLaunch"], "enable_dns64": found["EnableDns64"],
            "assign_ipv6_address_on_creation": found["AssignIpv6AddressOnCreation"], "ipv6_native": found["Ipv6Native"],
            "private_dns_hostname_type_on_launch": found["PrivateDnsNameOptionsOnLaunch"]["HostnameType"],
        }

    def delete(self, one):
        in_time(lambda: self.ec2.delete_subnet(SubnetId=one))


class InternetGateway(Resource):
    def create(self, config):
        answer = self.ec2.create_internet_gateway(TagSpecifications=specified("internet-gateway", config["tags"]))
        one = answer["InternetGateway"]["InternetGatewayId"]
        self.ec2.attach_internet_gateway(InternetGatewayId=one, VpcId=config["vpc_id"])
        attached = lambda: only(self.gateway(one)["Attachments"])["State"] == "available"  # EC2's word for it
        wait_until(f"{one} attached", attached, STATE_SECONDS)
        return one

    def gateway(self, one):
        return self.find(self.ec2.describe_internet_gateways, "InternetGateways", "InvalidInternetGatewayID.NotFound",
                         InternetGatewayIds=[one])

    def read(self, one):
        found = self.gateway(one)
        return found and {"vpc_id": only(found["Attachments"])["VpcId"], "tags": tags_of(found)}

    def delete(self, one):
        vpc = only(self.gateway(one)["Attachments"])["VpcId"]
        in_time(lambda: self.ec2.detach_internet_gateway(InternetGatewayId=one, VpcId=vpc))
        wait_until(f"{one} detached", lambda: not self.gateway(one)["Attachments"], STATE_SECONDS)
        in_time(lambda: self.ec2.delete_internet_gateway(InternetGatewayId=one))


class Eip(Resource):
    def create(self, config):
        answer = self.ec2.allocate_address(Domain="vpc", TagSpecifications=specified("elastic-ip", config["tags"]))
        one = answer["AllocationId"]
        if "instance" in config:
            self.ec2.associate_address(AllocationId=one, InstanceId=config["instance"], AllowReassociation=True)
            wait_until(f"{one} associated", lambda: "AssociationId" in self.address(one), STATE_SECONDS)
        return one

    def address(self, one):
        return self.find(self.ec2.describe_addresses, "Addresses", "InvalidAllocationID.NotFound", AllocationIds=[one])

    def read(self, one):
        found = self.address(one)
        if found is None:
            return None
        attributes = self.ec2.describe_addresses_attribute(AllocationIds=[one], Attribute="domain-name")
        ptr = only(attributes["Addresses"]).get("PtrRecord", "")
        return {"domain": found["Domain"], "instance": found.get("InstanceId", ""), "public_ip": found["PublicIp"],
                "public_ipv4_pool": found["PublicIpv4Pool"], "tags": tags_of(found), "ptr_record": ptr}

    def delete(self, one):
        association = self.address(one).get("AssociationId")
        if association:
            self.ec2.disassociate_address(AssociationId=association)
        in_time(lambda: self.ec2.release_address(AllocationId=one))


class NatGateway(Resource):
    def create(self, config):
        answer = self.ec2.create_nat_gateway(
            AllocationId=config["allocation_id"], SubnetId=config["subnet_id"], ConnectivityType="public",
            ClientToken=config["token"], TagSpecifications=specified("natgateway", config["tags"]))
        one = answer["NatGateway"]["NatGatewayId"]
        wait_until(f"{one} available", lambda: self.state(one) == "available", STATE_SECONDS)
        return one

    def gateway(self, one):
        return self.find(self.ec2.describe_nat_gateways, "NatGateways", "NatGatewayNotFound", NatGatewayIds=[one])

    def state(self, one):
        return self.gateway(one)["State"]

    def read(self, one):
        found = self.gateway(one)
        if found is None or found["State"] == "deleted":
            return None
        address = only(found["NatGatewayAddresses"])
        return {"allocation_id": address["AllocationId"], "public_ip": address["PublicIp"], "subnet_id": found["SubnetId"],
                "connectivity_type": found["ConnectivityType"], "tags": tags_of(found)}

    def delete(self, one):
        self.ec2.delete_nat_gateway(NatGatewayId=one)
        wait_until(f"{one} deleted", lambda: self.state(one) == "deleted", STATE_SECONDS)


class RouteTable(Resource):
    def create(self, config):
        answer = self.ec2.create_route_table(VpcId=config["vpc_id"], ClientToken=config["token"],
                                             TagSpecifications=specified("route-table", config["tags"]))
        one = answer["RouteTable"]["RouteTableId"]
        self.ec2.create_route(RouteTableId=one, DestinationCidrBlock="0.0.0.0/0", **config["default_route"])
        there = lambda: [r for r in self.table(one)["Routes"] if r["DestinationCidrBlock"] == "0.0.0.0/0"]
        wait_until(f"the route of {one}", there, STATE_SECONDS)
        return one

    def table(self, one):
        return self.find(self.ec2.describe_route_tables, "RouteTables", "InvalidRouteTableID.NotFound", RouteTableIds=[one])

    def read(self, one):
        found = self.table(one)
        if found is None:
            return None
        own = [route for route in found["Routes"] if route.get("GatewayId") != "local"]
        routes = [(r["DestinationCidrBlock"], r.get("GatewayId", ""), r.get("NatGatewayId", ""), r["State"]) for r in own]
        return {"vpc_id": found["VpcId"], "route": routes, "tags": tags_of(found), "owner_id": found["OwnerId"],
                "propagating_vgws": found["PropagatingVgws"]}

    def delete(self, one):
        for association in self.table(one)["Associations"]:
            self.ec2.disassociate_route_table(AssociationId=association["RouteTableAssociationId"])
        in_time(lambda: self.ec2.delete_route_table(RouteTableId=one))


class RouteTableAssociation(Resource):
    def create(self, config):
        answer = self.ec2.associate_route_table(RouteTableId=config["route_table_id"], SubnetId=config["subnet_id"])
        one = answer["AssociationId"]
        wait_until(f"{one} associated", lambda: self.read(one), STATE_SECONDS)
        return one

    def read(self, one):
        named = filters(association__route_table_association_id=one)
        tables = self.ec2.describe_route_tables(Filters=named)["RouteTables"]
        if not tables:
            return None
        found = only(a for a in only(tables)["Associations"] if a["RouteTableAssociationId"] == one)
        return {"route_table_id": found["RouteTableId"], "subnet_id": found["SubnetId"],
                "state": found["AssociationState"]["State"]}

    def delete(self, one):
        self.ec2.disassociate_route_table(AssociationId=one)


class SecurityGroup(Resource):
    def create(self, config):
        one = self.ec2.create_security_group(GroupName=config["name"], Description="Managed by Terraform",
                                             VpcId=config["vpc_id"],
                                             TagSpecifications=specified("security-group", config["tags"]))["GroupId"]
        everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
        self.ec2.revoke_security_group_egress(GroupId=one, IpPermissions=[everything])
        self.ec2.authorize_security_group_ingress(GroupId=one, IpPermissions=config["ingress"])
        self.ec2.authorize_security_group_egress(GroupId=one, IpPermissions=[everything])
        return one

    def read(self, one):
        found = self.find(self.ec2.describe_security_groups, "SecurityGroups", "InvalidGroup.NotFound", GroupIds=[one])
        rules = lambda permissions: [(p["IpProtocol"], p.get("FromPort", 0), p.get("ToPort", 0),
                                      [r["CidrIp"] for r in p["IpRanges"]]) for p in permissions]
        return found and {"name": found["GroupName"], "vpc_id": found["VpcId"], "tags": tags_of(found),
                          "description": found["Description"], "ingress": rules(found["IpPermissions"]),
                          "egress": rules(found["IpPermissionsEgress"])}

    def delete(self, one):
        in_time(lambda: self.ec2.delete_security_group(GroupId=one))


class NetworkInterface(Resource):
    def create(self, config):
        answer = self.ec2.create_network_interface(
            SubnetId=config["subnet_id"], Groups=config["security_groups"], Description=config["description"],
            PrivateIpAddresses=[{"PrivateIpAddress": address, "Primary": number == 0}
                                for number, address in enumerate(config["private_ips"])],
            ClientToken=config["token"], TagSpecifications=specified("network-interface", config["tags"]))
        one = answer["NetworkInterface"]["NetworkInterfaceId"]
        wait_until(f"{one} available", lambda: self.interface(one)["Status"] == "available", STATE_SECONDS)
        self.ec2.modify_network_interface_attribute(NetworkInterfaceId=one,
                                                    SourceDestCheck={"Value": config["source_dest_check"]})
        return one

    def interface(self, one):
        return self.find(self.ec2.describe_network_interfaces, "NetworkInterfaces", "InvalidNetworkInterfaceID.NotFound",
                         NetworkInterfaceIds=[one])

    def read(self, one):
        found = self.interface(one)
        return found and {
            "description": found["Description"], "interface_type": found["InterfaceType"], "owner_id": found["OwnerId"],
            "private_ip": found["PrivateIpAddress"], "private_dns_name": found["PrivateDnsName"],
            "private_ips": [address["PrivateIpAddress"] for address in found["PrivateIpAddresses"]],
            "security_groups": [group["GroupId"] for group in found["Groups"]], "subnet_id": found["SubnetId"],
            "source_dest_check": found["SourceDestCheck"], "tags": {t["Key"]: t["Value"] for t in found["TagSet"]},
            "ipv6_addresses": found.get("Ipv6Addresses", []), "ipv4_prefixes": found.get("Ipv4Prefixes", []),
            "outpost_arn": found.get("OutpostArn", ""),
        }

    def delete(self, one):
        self.ec2.delete_network_interface(NetworkInterfaceId=one)
        wait_until(f"{one} gone", lambda: self.interface(one) is None, STATE_SECONDS)


class NetworkInterfaceAttachment(Resource):
    def create(self, config):
        one = self.ec2.attach_network_interface(
            NetworkInterfaceId=config["network_interface_id"], InstanceId=config["instance_id"],
            DeviceIndex=config["device_index"])["AttachmentId"]
        wait_until(f"{one} attached", lambda: self.read(one)["status"] == "attached", STATE_SECONDS)
        return one

    def read(self, one):
        named = filters(attachment__attachment_id=one)
        for found in self.ec2.describe_network_interfaces(Filters=named)["NetworkInterfaces"]:
            attachment = found["Attachment"]
            return {"network_interface_id": found["NetworkInterfaceId"], "instance_id": attachment["InstanceId"],
                    "device_index": attachment["DeviceIndex"], "status": attachment["Status"],
                    "network_card_index": attachment["NetworkCardIndex"]}

    def delete(self, one):
        self.ec2.detach_network_interface(AttachmentId=one, Force=True)
        wait_until(f"{one} detached", lambda: self.read(one) is None, STATE_SECONDS)


class KeyPair(Resource):
    def create(self, config):
        return self.ec2.create_key_pair(KeyName=config["key_name"])["KeyName"]

    def read(self, one):
        found = self.find(self.ec2.describe_key_pairs, "KeyPairs", "InvalidKeyPair.NotFound", KeyNames=[one])
        return found and {"key_name": found["KeyName"], "fingerprint": found["KeyFingerprint"]}

    def delete(self, one):
        self.ec2.delete_key_pair(KeyName=one)


class Plan:
    """Resources by name: what makes them, their configuration as a function of the ids of others, and which others."""

    def __init__(self, parallelism):
        self.parallelism, self.steps, self.ids = parallelism, {}, {}

    def add(self, name, resource, needs, config):
        self.steps[name] = (resource, set(needs), config)

    def _walk(self, todo, ready, work):
        running, failures = {}, []
        with concurrent.futures.ThreadPoolExecutor(self.parallelism) as pool:
            while (todo and not failures) or running:
                for name in [name for name in todo if not failures and ready(name, todo | set(running.values()))]:
                    todo.discard(name)
                    running[pool.submit(work, name)] = name
                done, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
                for future in done:
                    name = running.pop(future)
                    if future.exception():
                        failures.append((name, future.exception()))
        for name, failure in failures:
            raise AssertionError(f"{name}: {failure}") from failure

    def apply(self):
        def create(name):
            resource, _, config = self.steps[name]
            self.ids[name] = resource.create(config(self.ids))
        self._walk(set(self.steps), lambda name, open: not self.steps[name][1] & open, create)

    def read(self):
        return {name: self.steps[name][0].read(one) for name, one in self.ids.items()}

    def destroy(self):
        def needed(name, open):
            return any(name in self.steps[other][1] for other in open)
        self._walk(set(self.ids), lambda name, open: not needed(name, open),
                   lambda name: self.steps[name][0].delete(self.ids[name]))
