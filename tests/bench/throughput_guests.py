"""Two real guests of one subnet: a stream, and questions and answers one after the other, by the subnet and by a bare bridge on
which each has an interface besides."""

import re
import subprocess
import time

from bench import say
from bench_cloud import BenchCloud, accelerator, wait_until
from real_cloud import domains, new_key, ssh, wait_state

BARE = "kbench-bare"
MTU = 1450
SECONDS = 3
WARM_SECONDS = 1
PINGS = 400
PORT = 5001
ANYWHERE = [{"CidrIp": "0.0.0.0/0"}]


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def virsh(*arguments):
    return run("virsh", "-q", "-c", "qemu:///system", *arguments)


class Guest:
    def __init__(self, ec2, instance, key, number):
        self.instance, self.key = instance, key
        port = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
        self.addresses = {"managed": port["PrivateIpAddress"], "bare": f"192.168.77.{number}"}
        self.at = port["PublicIpAddress"]
        self.domain = domains()[instance]

    def says(self, command):
        return ssh(self.at, self.key, command)

    def plug_bare(self):
        before = set(self.says("ls /sys/class/net").split())
        virsh("attach-interface", self.domain, "bridge", BARE, "--model", "virtio", "--live")
        [link] = wait_until("the bare interface in the guest", lambda: set(self.says("ls /sys/class/net").split()) - before, 30)
        self.says(f"ip link set {link} mtu {MTU} up; ip address add {self.addresses['bare']}/24 dev {link}")
        self.taps = {}
        for line in virsh("domiflist", self.domain).splitlines():
            tap, _, bridge = line.split()[:3]
            self.taps["bare" if bridge == BARE else "managed"] = tap


def sent_to(tap):
    with open(f"/sys/class/net/{tap}/statistics/tx_bytes", encoding="ascii") as file:
        return int(file.read())


def gigabits(one, other, kind):
    """What comes to the guest's tap in some seconds of a stream."""
    # It listens for as long as there may be something to say.
    other.says(f"(sleep {10 * SECONDS} | nc -l -p {PORT} >/dev/null 2>&1 &) </dev/null >/dev/null 2>&1")
    one.says(f"(nc {other.addresses[kind]} {PORT} </dev/zero >/dev/null 2>&1 &) </dev/null >/dev/null 2>&1")
    time.sleep(WARM_SECONDS)
    before, began = sent_to(other.taps[kind]), time.monotonic()
    time.sleep(SECONDS)
    bits = 8 * (sent_to(other.taps[kind]) - before)
    took = time.monotonic() - began
    one.says("killall nc; true")
    other.says("killall nc sleep; true")
    assert bits > 8e6, f"{kind}: {bits} bits in {took} s are no stream"
    return bits / took / 1e9


def answers(one, other, kind):
    told = one.says(f"(time ping -A -q -c {PINGS} -s 1 {other.addresses[kind]}) 2>&1")
    minutes, seconds = re.search(r"real\s+(\d+)m\s*([\d.]+)s", told).groups()
    received = int(re.search(r"(\d+) packets received", told)[1])
    return received / (60 * int(minutes) + float(seconds))


def guests(compared):
    """Adds its figures; returns by what the guests run."""
    with BenchCloud() as cloud:
        ec2 = cloud.boto3()
        key = new_key(cloud, ec2, "bench", KeyType="ed25519")
        vpc = ec2.create_vpc(CidrBlock="10.66.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.66.1.0/24")["Subnet"]["SubnetId"]
        gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
        mine = [{"Name": "vpc-id", "Values": [vpc]}]
        [table] = ec2.describe_route_tables(Filters=mine)["RouteTables"]
        ec2.create_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
        [group] = ec2.describe_security_groups(Filters=mine)["SecurityGroups"]
        ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=[
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": ANYWHERE}])
        launched = cloud.launch(ec2, count=2, SubnetId=subnet, KeyName="bench")
        try:
            for one in launched:
                wait_state(ec2, one, "running")
                allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
                ec2.associate_address(AllocationId=allocation, InstanceId=one)
            run("ip", "link", "add", BARE, "type", "bridge", "mcast_snooping", "0")
            run("ip", "link", "set", BARE, "mtu", str(MTU), "up")
            pair = [Guest(ec2, one, key, number) for number, one in enumerate(launched, 1)]
            for guest in pair:
                guest.plug_bare()
            say("two guests")
            compared("a stream from guest to guest", "Gbit/s", lambda kind: gigabits(*pair, kind))
            compared("questions and answers from guest to guest", "a second", lambda kind: answers(*pair, kind))
            return f"accelerator {accelerator(cloud)}"
        finally:
            ec2.terminate_instances(InstanceIds=launched)
            for one in launched:
                wait_state(ec2, one, "terminated")
            subprocess.run(["ip", "link", "delete", BARE], capture_output=True)
