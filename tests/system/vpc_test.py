"""VPCs of users with real guests: a public and a private subnet, an elastic address, and a VPC beside it that has the
very same range."""

import subprocess
import unittest

from real_cloud import BOOT_SECONDS, SSH, RealCloud, instance, new_key, ssh, wait_state, wait_until

IMDS = "http://169.254.169.254/latest"
RANGE = "10.44.0.0/16"
PUBLIC, PRIVATE = "10.44.1.0/24", "10.44.2.0/24"
ANYWHERE = [{"CidrIp": "0.0.0.0/0"}]


def setUpModule():
    global cloud, ec2, key
    cloud = RealCloud(number=30).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2 = cloud.boto3()
    key = new_key(cloud, ec2, "vpc-test")


class Network:
    """A VPC whose first subnet reaches the internet gateway; ping and ssh are open."""

    def __init__(self):
        self.vpc = ec2.create_vpc(CidrBlock=RANGE)["Vpc"]["VpcId"]
        self.public, self.private = (ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr)["Subnet"]["SubnetId"]
                                     for cidr in (PUBLIC, PRIVATE))
        self.gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.table = ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        ec2.create_route(RouteTableId=self.table, DestinationCidrBlock="0.0.0.0/0", GatewayId=self.gateway)
        self.association = ec2.associate_route_table(RouteTableId=self.table, SubnetId=self.public)["AssociationId"]
        mine = [{"Name": "vpc-id", "Values": [self.vpc]}]
        [group] = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ANYWHERE},
            {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": ANYWHERE}])

    def remove(self):
        ec2.disassociate_route_table(AssociationId=self.association)
        ec2.delete_route_table(RouteTableId=self.table)
        ec2.detach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        ec2.delete_internet_gateway(InternetGatewayId=self.gateway)
        for subnet in (self.public, self.private):
            ec2.delete_subnet(SubnetId=subnet)
        ec2.delete_vpc(VpcId=self.vpc)


def launch(subnet, address):
    [one] = cloud.launch(ec2, KeyName="vpc-test", SubnetId=subnet, PrivateIpAddress=address)
    return one


def leads_to(allocation, one):
    return ec2.associate_address(AllocationId=allocation["AllocationId"], InstanceId=one)["AssociationId"]


def is_reached(address):
    """Whether ssh is answered at all."""
    done = subprocess.run([*SSH, "-i", str(key), f"root@{address}", "true"], capture_output=True, stdin=subprocess.DEVNULL)
    return done.returncode == 0


class Vpcs(unittest.TestCase):
    def test_subnets_meet_through_their_router_and_vpcs_of_one_range_do_not(self):
        near, far = Network(), Network()
        front, back = launch(near.public, "10.44.1.20"), launch(near.private, "10.44.2.20")
        # The one has the address of another in the other VPC, the other has one that nobody has there.
        other, stranger = launch(far.public, "10.44.1.20"), launch(far.private, "10.44.2.30")
        guests = [front, back, other, stranger]
        for one in guests:
            wait_state(ec2, one, "running")
        first, second = (ec2.allocate_address(Domain="vpc") for _ in range(2))
        leads_to(first, front)
        association = leads_to(second, other)
        at, beside = first["PublicIp"], second["PublicIp"]
        self.assertEqual(instance(ec2, front)["PublicIpAddress"], at)

        # Each public address leads to its own of two equal private ones, and each is told its own metadata.
        for address, one in ((at, front), (beside, other)):
            self.assertEqual(ssh(address, key, f"wget -qO- {IMDS}/meta-data/instance-id"), one)
            self.assertEqual(ssh(address, key, f"wget -qO- {IMDS}/meta-data/local-ipv4"), "10.44.1.20")

            def told(address=address):
                return ssh(address, key, f"wget -qO- {IMDS}/meta-data/public-ipv4 || true")

            wait_until("the public address in the metadata", lambda told=told, address=address: told() == address, 30)

        # From subnet to subnet, when the other one has booted.
        wait_until("an answer from the private subnet",
                   lambda: ssh(at, key, "ping -c 1 -w 2 10.44.2.20 >/dev/null 2>&1 && echo yes || echo no") == "yes", BOOT_SECONDS)
        wait_until("an answer in the other VPC",
                   lambda: ssh(beside, key, "ping -c 1 -w 2 10.44.2.30 >/dev/null 2>&1 && echo yes || echo no") == "yes",
                   BOOT_SECONDS)
        # Whom the one VPC has, the other one has not.
        for address, missing in ((at, "10.44.2.30"), (beside, "10.44.2.20")):
            self.assertEqual(ssh(address, key, f"ping -c 2 -w 3 {missing} >/dev/null 2>&1 && echo yes || echo no"), "no")
        # A frame of the largest size passes whole, and one more byte is not lost without a word.
        self.assertEqual(ssh(at, key, "cat /sys/class/net/eth0/mtu"), "1450")

        self.another_interface_comes_and_goes(near, front, at)

        # Moved: the address leads to the other VPC's instance, and no more to the first.
        ec2.disassociate_address(AssociationId=association)
        wait_until("the address leads nowhere", lambda: not is_reached(beside), 30)
        ec2.associate_address(AllocationId=first["AllocationId"], InstanceId=other, AllowReassociation=True)
        wait_until("the address leads to another",
                   lambda: ssh(at, key, f"wget -qO- {IMDS}/meta-data/instance-id") == other, 60)

        ec2.terminate_instances(InstanceIds=guests)
        for one in guests:
            wait_state(ec2, one, "terminated")
        for allocation in (first, second):
            ec2.release_address(AllocationId=allocation["AllocationId"])
        for network in (near, far):
            network.remove()
        routers = f"karri-{cloud.bridge}-"
        wait_until("nothing of the networks is left",
                   lambda: routers not in subprocess.check_output(["ip", "netns", "list"], text=True)
                   and f"{cloud.bridge}." not in subprocess.check_output(["ip", "-o", "link"], text=True), 30)


    def another_interface_comes_and_goes(self, near, front, at):
        """A second interface in the private subnet, plugged into the running guest, and an address beside its first."""
        made = ec2.create_network_interface(SubnetId=near.private, PrivateIpAddress="10.44.2.50", Description="second")
        second, mac = (made["NetworkInterface"][name] for name in ("NetworkInterfaceId", "MacAddress"))
        attachment = ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=front, DeviceIndex=1)["AttachmentId"]
        find = f"for n in /sys/class/net/*; do [ $(cat $n/address) = {mac} ] && basename $n; done; true"
        wait_until("the second interface in the guest", lambda: ssh(at, key, find), 30)
        name = ssh(at, key, find)
        # Its address comes by DHCP, and it is told apart from the first, also where it asks itself.
        ssh(at, key, f"ip link set {name} up && udhcpc -q -n -i {name} -s /bin/true")
        ssh(at, key, f"ip address add 10.44.2.50/24 dev {name}")
        self.assertEqual(ssh(at, key, f"cat /sys/class/net/{name}/mtu"), "1450")
        self.assertEqual(ssh(at, key, f"ping -c 1 -w 5 -I {name} 10.44.2.20 >/dev/null && echo yes"), "yes")
        macs = f"{IMDS}/meta-data/network/interfaces/macs"
        self.assertEqual(ssh(at, key, f"wget -qO- {macs}/{mac}/local-ipv4s"), "10.44.2.50")
        self.assertEqual(ssh(at, key, f"wget -qO- {macs}/{mac}/device-number"), "1")
        self.assertEqual(len(ssh(at, key, f"wget -qO- {macs}/").split()), 2)
        # The route goes with the device.
        asked = f"ip route replace 169.254.169.254 dev {name} src 10.44.2.50 && wget -qO- {IMDS}/meta-data/instance-id"
        self.assertEqual(ssh(at, key, asked), front)

        [first] = [port["NetworkInterfaceId"] for port in instance(ec2, front)["NetworkInterfaces"]
                   if port["Attachment"]["DeviceIndex"] == 0]
        ec2.assign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=["10.44.1.21"])
        beside = ec2.allocate_address(Domain="vpc")
        ec2.associate_address(AllocationId=beside["AllocationId"], NetworkInterfaceId=first, PrivateIpAddress="10.44.1.21")
        ssh(at, key, "ip address add 10.44.1.21/24 dev eth0")
        wait_until("the address beside the first", lambda: is_reached(beside["PublicIp"]), 30)

        ec2.detach_network_interface(AttachmentId=attachment)
        wait_until("the guest lets go of it", lambda: not ssh(at, key, find), 30)
        ec2.delete_network_interface(NetworkInterfaceId=second)
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=["10.44.1.21"])
        ec2.release_address(AllocationId=beside["AllocationId"])


if __name__ == "__main__":
    unittest.main()
