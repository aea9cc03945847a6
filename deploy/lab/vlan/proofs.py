"""proofs.py IMAGES PROGRAMS DIRECTORY: VPCs as VLANs on three lab hosts with Debian's full kernel.

`cloud` runs `karri up`: all controllers, the cluster's network, and a simulated node without room. `one` and `two` are
nodes that have joined; their guests are network namespaces (`lab_nc`), all else is the node controller's own. One cable
is the trunk, untagged the flat network; another one is between controllers. The client of EC2 is on this machine.

Each proof is one line; the first that fails ends the run. Consoles of the hosts are in DIRECTORY.
"""

import json
import pathlib
import socket
import sys
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "deploy" / "images" / "labhost"))

import boto3  # noqa: E402
import botocore.config  # noqa: E402
import botocore.exceptions  # noqa: E402
from labhost import Cable, Host, Programs, wait_until, with_libraries  # noqa: E402

IMAGES, PROGRAMS, DIRECTORY = map(pathlib.Path, sys.argv[1:])
SECONDS = 300
MTU = 1400
FIRST, LAST = 100, 104
RANGE, PUBLIC, PRIVATE = "10.44.0.0/16", "10.44.1.0/24", "10.44.2.0/24"
ANYWHERE = [{"CidrIp": "0.0.0.0/0"}]
ALL = [{"IpProtocol": "-1", "IpRanges": ANYWHERE}]
OUTSIDE = "10.77.0.2"  # host `one` itself, on the network between controllers
MARK = b"lies.lies.lies."
STATE = "/karri"
ENVIRONMENT = {
    "KARRI_CC_NETWORK__MODE": "managed", "KARRI_CC_NETWORK__DRIVER": "vlan", "KARRI_CC_NETWORK__TRUNK": "eth0",
    "KARRI_CC_NETWORK__VLAN_FIRST": FIRST, "KARRI_CC_NETWORK__VLAN_LAST": LAST, "KARRI_CC_NETWORK__TUNNEL_MTU": MTU,
    "KARRI_CC_NETWORK__MASQUERADE_PUBLIC": "false", "KARRI_CLC_NETWORK__PUBLIC_ADDRESSES": '["203.0.113.0/28"]',
    "KARRI_NC_NETWORK__DRIVER": "vlan", "KARRI_NC_NETWORK__TUNNEL_MTU": MTU,
}
# A guest that is a namespace takes next to nothing of what its type says, and the host has no disk.
OF_NODES = {
    **ENVIRONMENT, "KARRI_NC_NETWORK__TRUNK": "eth0", "KARRI_NC_NETWORK__UPLINK": "eth0", "KARRI_NC_NODE__VCPUS": 8,
    "KARRI_NC_NODE__MEMORY_MIB": 8192, "KARRI_NC_NODE__DISK_GIB": 200,
}


def exported(environment):
    return "".join(f"export {key}='{value}'\n" for key, value in environment.items()) + "export PATH=$PATH:/programs\n"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Guest:
    """An instance, on whichever host it is."""

    def __init__(self, lab, **where):
        asked = {"ImageId": lab.image, "InstanceType": "t2.nano", "MinCount": 1, "MaxCount": 1, **where}
        [launched] = lab.ec2.run_instances(**asked)["Instances"]
        self.lab, self.id, self.address = lab, launched["InstanceId"], launched["PrivateIpAddress"]
        self.mac = launched["NetworkInterfaces"][0]["MacAddress"]
        self.name = f"guest-{self.id}"

    def begin(self):
        wait_until(f"{self.id} runs", lambda: self.state() == "running", SECONDS)
        [self.host] = [host for host in self.lab.nodes if self.name in host.run("ip netns list")]
        wait_until(f"{self.id} has a lease", lambda: f" {self.address}/" in self.run("ip -4 -o address show dev eth0"), SECONDS)
        self.host.tell(do="start", name=self.name, command=["ip", "netns", "exec", self.name, "python3", "/programs/guest.py"],
                       environment={})
        self.ask("serve", tcp=[22, 80, 3000], udp=[53, 3000])
        return self

    def state(self):
        return self.lab.ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0]["State"]["Name"]

    def run(self, command):
        return self.host.run(f"ip netns exec {self.name} {command}")

    def ask(self, what, **more):
        answer = self.host.tell(do="ask", name=self.name, line={"do": what, **more})
        assert "answer" in answer, answer
        return answer["answer"]

    def reaches(self, to, port=3000, wait=5.0):
        return self.ask("tcp", to=getattr(to, "address", to), port=port, wait=wait)

    def pings(self, to, wait=5.0):
        return self.ask("ping", to=to.address, wait=wait)

    def never(self, to, port=3000):
        return not self.reaches(to, port, 0.5)


class Network:
    """A VPC with a subnet that reaches the internet gateway, and one that does not."""

    def __init__(self, ec2):
        self.ec2 = ec2
        self.vpc = ec2.create_vpc(CidrBlock=RANGE)["Vpc"]["VpcId"]
        self.public, self.private = (ec2.create_subnet(VpcId=self.vpc, CidrBlock=cidr)["Subnet"]["SubnetId"]
                                     for cidr in (PUBLIC, PRIVATE))
        self.gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
        ec2.attach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.tables = [self.table_to(self.public, GatewayId=self.gateway)]
        [group] = ec2.describe_security_groups(Filters=[{"Name": "vpc-id", "Values": [self.vpc]}])["SecurityGroups"]
        self.group = group["GroupId"]

    def table_to(self, subnet, **target):
        table = self.ec2.create_route_table(VpcId=self.vpc)["RouteTable"]["RouteTableId"]
        self.ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **target)
        return table, self.ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)["AssociationId"]

    def remove(self):
        for table, association in self.tables:
            self.ec2.disassociate_route_table(AssociationId=association)
            self.ec2.delete_route_table(RouteTableId=table)
        self.ec2.detach_internet_gateway(InternetGatewayId=self.gateway, VpcId=self.vpc)
        self.ec2.delete_internet_gateway(InternetGatewayId=self.gateway)
        for subnet in (self.public, self.private):
            self.ec2.delete_subnet(SubnetId=subnet)
        self.ec2.delete_vpc(VpcId=self.vpc)


class Lab:
    def __init__(self):
        self.hosts = []

    # ---- the proofs, in their order -----------------------------------------------------------------------------

    def hosts_boot(self):
        """three hosts with Debian's kernel are up, on a trunk and a network of their controllers"""
        files = {"/programs/guest.py": ROOT / "nc/tests/support/guest.py"}
        for name in ("karri", "karri-clc", "karri-cc", "karri-nc", "karri-walrus", "lab_nc"):
            files |= with_libraries(DIRECTORY, PROGRAMS / name, name)
        programs = Programs(DIRECTORY / "programs", files)
        self.trunk, between = Cable(DIRECTORY, "trunk", 3), Cable(DIRECTORY, "between", 3)
        self.port = free_port()
        way_in = ["-netdev", f"user,id=in,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.15:8773", "-device",
                  "virtio-net-pci,netdev=in,romfile="]
        for number, more in ((1, way_in), (2, []), (3, [])):
            host = Host(IMAGES, DIRECTORY, number, [self.trunk, between], programs, fresh=True, memory_mib=1024,
                        processors=2 if more else 1, more=more)
            self.hosts.append(host)
            wait_until("its process listens", lambda host=host: host.port.exists(), SECONDS)
        self.cloud, *self.nodes = self.hosts
        for number, host in enumerate(self.hosts, 1):
            host.connect().take_programs()
            host.run(f"ip link set eth0 up; ip address add 10.77.0.{number}/24 dev eth1; ip link set eth1 up; "
                     f"hostname host{number}")
        self.cloud.run("ip address add 10.0.2.15/24 dev eth2; ip link set eth2 up; iptables -t nat -A PREROUTING -i eth2 -p tcp "
                       "--dport 8773 -j DNAT --to-destination 10.77.0.1:8773")
        self.nodes[0].run("ip route add 203.0.113.0/28 via 10.77.0.1")

    def a_cloud(self):
        """a cloud of the driver vlan, and two nodes that join it"""
        up = f"karri up --sim 1 --address 10.77.0.1 --port-base 8773 --state-dir {STATE}"
        small = {**ENVIRONMENT, "KARRI_NC_NODE__MEMORY_MIB": 1, "KARRI_NC_NODE__VCPUS": 1}
        # On a busy machine an emulated one is too slow for some time limit; what `up` has made it finds when it is run again.
        self.cloud.run(f"{exported(small)}(for try in 1 2 3; do {up}; done) >/tmp/up.log 2>&1 </dev/null &")
        self.ready()
        # The flat network goes untagged on the same interface.
        wait_until("the flat bridge", lambda: self.cloud.told("ip link set eth0 master karri0")["code"] == 0, SECONDS)
        for host, name in zip(self.nodes, ("one", "two")):
            token = json.loads(self.cloud.run(f"{exported({})}karri node token --output json --state-dir {STATE}"))["token"]
            joined = host.run(f"{exported({})}karri node join {token} --name {name} --address {self.address_of(host)} "
                              f"--output json --state-dir {STATE}", SECONDS)
            command = json.loads(joined)["start"].split()
            started = " ".join(["/programs/lab_nc", *command[1:]])
            host.run(f"{exported(OF_NODES)}{started} >/tmp/nc.log 2>&1 </dev/null &")
        wait_until("both nodes are there", self.nodes_are_there, SECONDS)
        elsewhere = exported({**OF_NODES, "KARRI_NC_NETWORK__TRUNK": "eth7"})
        refused = self.nodes[0].told(f"{elsewhere}{started} --check-config; {started}")
        assert refused["code"] != 0, refused

    def address_of(self, host):
        return f"10.77.0.{host.number}"

    def ready(self):
        def env():
            return self.cloud.told(f"{exported({})}karri env --state-dir {STATE} && grep -q 'Karri is ready' /tmp/up.log")

        wait_until("karri up is ready", lambda: env()["code"] == 0, SECONDS)
        lines = [line.removeprefix("export ").partition("=") for line in env()["out"].splitlines() if line.startswith("export ")]
        env = {name: value.strip("'\"") for name, _, value in lines}
        self.ec2 = boto3.client(
            "ec2", endpoint_url=f"http://127.0.0.1:{self.port}", region_name=env["AWS_DEFAULT_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"], aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(read_timeout=SECONDS, retries={"max_attempts": 1}))
        self.image = self.ec2.describe_images(Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"][0]["ImageId"]

    def nodes_are_there(self):
        told = json.loads(self.cloud.run(f"{exported({})}karri node list --output json --state-dir {STATE}"))
        return {"one", "two"} <= {node["name"] for node in told if node["alive"]}

    def vlans_are_few(self):
        """each subnet gets a VLAN of the range, and one more is refused with the range"""
        self.near, self.far = Network(self.ec2), Network(self.ec2)
        fifth = self.ec2.create_subnet(VpcId=self.near.vpc, CidrBlock="10.44.5.0/24")["Subnet"]["SubnetId"]
        try:
            self.ec2.create_subnet(VpcId=self.near.vpc, CidrBlock="10.44.6.0/24")
            raise AssertionError("a sixth subnet of five VLANs")
        except botocore.exceptions.ClientError as error:
            told = error.response["Error"]
            assert told["Code"] == "SubnetLimitExceeded" and f"No VLAN of {FIRST} to {LAST}" in told["Message"], told
        self.ec2.delete_subnet(SubnetId=fifth)
        assert not self.vlans(), "nothing is made before it is needed"

    def vlans(self):
        return "".join(host.run("ip -o link show type vlan") for host in self.hosts)

    def guests_run(self):
        """guests of two VPCs with one range run on both nodes, with addresses and MTU by DHCP"""
        where = {"SubnetId": self.near.public}
        # Two at a time: the nodes are equal, so each pair has both.
        self.front, self.back = (Guest(self, **where, PrivateIpAddress=address) for address in ("10.44.1.20", "10.44.1.21"))
        self.begin(self.front, self.back)
        self.other = Guest(self, SubnetId=self.far.public, PrivateIpAddress="10.44.1.20")
        self.hidden = Guest(self, SubnetId=self.far.private, PrivateIpAddress="10.44.2.30")
        self.begin(self.other, self.hidden)
        self.flat = [Guest(self), Guest(self)]
        self.begin(*self.flat)
        assert self.front.host is not self.back.host and self.flat[0].host is not self.flat[1].host
        for guest in (self.front, self.back, self.other, self.hidden):
            assert guest.run("cat /sys/class/net/eth0/mtu").strip() == str(MTU)
        for guest in (self.front, self.other):
            assert guest.ask("get", path="/latest/meta-data/instance-id", wait=5.0) == guest.id, "metadata is its own"

    def begin(self, *guests):
        for guest in guests:
            guest.begin()

    def networks(self):
        """1: a subnet is one network on two hosts, at its whole MTU; the same range of another VPC has no part in it"""
        for network in (self.near, self.far):
            self.ec2.authorize_security_group_ingress(GroupId=network.group, IpPermissions=ALL)
        wait_until("the rule is in force", lambda: self.front.reaches(self.back, wait=1.0), SECONDS)
        assert self.front.pings(self.back) and self.back.pings(self.front)
        assert self.front.ask("packet", to=self.back.address, size=MTU, wait=5.0) is True
        assert self.front.ask("packet", to=self.back.address, size=MTU + 1, wait=5.0) == "Message too long"
        assert self.front.ask("bulk", to=self.back.address, port=80, wait=60.0)
        assert self.other.pings(self.hidden) and self.other.reaches(self.hidden), "from one subnet to another"
        assert self.other.never(self.back) and not self.other.pings(self.back, 0.5)
        assert not self.other.ask("udp", to=self.back.address, port=53, wait=0.5)
        assert self.front.never(self.hidden) and not self.front.pings(self.hidden, 0.5)
        known = self.other.run(f"ip neigh show {self.back.address}")
        assert "FAILED" in known or "INCOMPLETE" in known, known

    def groups(self):
        """2: each kind of rule opens and, revoked, cuts what is open: ranges, groups across hosts, ICMP, egress"""
        ec2, vpc = self.ec2, self.near.vpc
        ec2.revoke_security_group_ingress(GroupId=self.near.group, IpPermissions=ALL)
        mine, kin = (ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
                     for name in ("mine", "kin"))
        for guest, group in ((self.front, mine), (self.back, kin)):
            ec2.modify_instance_attribute(InstanceId=guest.id, Groups=[group])
        tcp = {"IpProtocol": "tcp", "FromPort": 3000, "ToPort": 3000}
        rules = [
            ("tcp by range", {**tcp, "IpRanges": [{"CidrIp": "10.44.1.20/32"}]},
             lambda wait: self.front.reaches(self.back, wait=wait)),
            ("tcp by group", {**tcp, "UserIdGroupPairs": [{"GroupId": mine}]},
             lambda wait: self.front.reaches(self.back, wait=wait)),
            ("udp", {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "IpRanges": ANYWHERE},
             lambda wait: self.front.ask("udp", to=self.back.address, port=53, wait=wait)),
            ("icmp", {"IpProtocol": "icmp", "FromPort": 8, "ToPort": 0, "IpRanges": ANYWHERE},
             lambda wait: self.front.pings(self.back, wait)),
            ("everything", {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": mine}]},
             lambda wait: self.front.reaches(self.back, 22, wait)),
        ]
        for what, rule, passes in rules:
            wait_until(f"{what}: closed", lambda passes=passes: not passes(0.5), SECONDS)
            ec2.authorize_security_group_ingress(GroupId=kin, IpPermissions=[rule])
            wait_until(f"{what}: open", lambda passes=passes: passes(1.0), SECONDS)
            if rule["IpProtocol"] == "tcp":
                assert self.front.ask("tcp", to=self.back.address, port=3000, wait=5.0, keep=what)
            ec2.revoke_security_group_ingress(GroupId=kin, IpPermissions=[rule])
            wait_until(f"{what}: closed again", lambda passes=passes: not passes(0.5), SECONDS)
            if rule["IpProtocol"] == "tcp":
                assert not self.front.ask("say", keep=what, wait=0.5), f"{what}: an open connection is cut"
        ec2.authorize_security_group_ingress(GroupId=kin, IpPermissions=ALL)
        wait_until("open", lambda: self.front.reaches(self.back, wait=1.0), SECONDS)
        ec2.revoke_security_group_egress(GroupId=mine, IpPermissions=ALL)
        wait_until("nothing goes out", lambda: self.front.never(self.back), SECONDS)
        ec2.authorize_security_group_egress(GroupId=mine, IpPermissions=ALL)
        wait_until("as before", lambda: self.front.reaches(self.back, wait=1.0), SECONDS)
        for guest in (self.front, self.back):
            ec2.modify_instance_attribute(InstanceId=guest.id, Groups=[self.near.group])
        for group in (kin, mine):
            wait_until("groups can go", lambda group=group: self.goes(group), SECONDS)
        ec2.authorize_security_group_ingress(GroupId=self.near.group, IpPermissions=ALL)
        wait_until("open", lambda: self.back.reaches(self.front, wait=1.0), SECONDS)

    def goes(self, group):
        try:
            self.ec2.delete_security_group(GroupId=group)
            return True
        except botocore.exceptions.ClientError:
            return False

    def lies(self):
        """3: forged MACs, addresses, ARP, DHCP, tags and double tags get to no guest and not to the trunk"""
        source, target = (bytes.fromhex(guest.mac.replace(":", "")) for guest in (self.front, self.back))
        hearers = [self.back, self.other, self.hidden, *self.flat]
        # Where the echo of what is no lie comes to; else the kernel would tell that nobody is there, and repeat it.
        self.front.ask("silent", port=4000)
        for guest in hearers:
            guest.ask("watch")
        own, its = self.front.address, self.back.address

        def datagram(a, b, ports=(4000, 3000)):
            udp = b"".join(number.to_bytes(2, "big") for number in (*ports, 8 + len(MARK), 0)) + MARK
            head = bytes([0x45, 0, *(20 + len(udp)).to_bytes(2, "big"), 0, 0, 0, 0, 64, 17, 0, 0,
                          *socket.inet_aton(a), *socket.inet_aton(b)])
            total = sum(int.from_bytes(head[at:at + 2], "big") for at in range(0, 20, 2))
            total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            return head[:10] + total.to_bytes(2, "big") + head[12:] + udp

        def arp(mac, address):
            return bytes.fromhex("0001080006040002") + mac + socket.inet_aton(address) + target + socket.inet_aton(its) + MARK

        honest, everybody, strange = datagram(own, its), b"\xff" * 6, bytes.fromhex("020000000009")
        ip, plain, tag, outer = b"\x08\x00", source, bytes.fromhex("81000064"), bytes.fromhex("88a80064")
        lies = {
            "another MAC": everybody + strange + ip + honest,
            "another address": target + plain + ip + datagram("10.44.1.99", its),
            "the gateway's address": target + plain + ip + datagram("10.44.1.1", its),
            "an answer for the gateway": everybody + plain + b"\x08\x06" + arp(source, "10.44.1.1"),
            "an answer in another's MAC": everybody + plain + b"\x08\x06" + arp(strange, own),
            "a DHCP offer": everybody + plain + ip + datagram(own, "255.255.255.255", (67, 68)),
            "IPv6": bytes.fromhex("333300000001") + plain + b"\x86\xdd" + bytes(40) + MARK,
            "a protocol of its own": everybody + plain + b"\x88\xb5" + MARK,
        }
        for vlan in range(FIRST, LAST + 1):
            inner = bytes.fromhex(f"8100{vlan:04x}")
            for name, tags in (("tagged", inner), ("tagged twice", tag + inner), ("tagged as by a provider", outer + inner)):
                lies[f"{name}, {vlan}"] = everybody + plain + tags + ip + honest
        before = self.trunk.with_bytes(MARK)
        self.front.ask("send", hexes=[lie.hex() for lie in lies.values() for _ in range(3)])
        # It comes after them: when it is there, they would be.
        self.front.ask("send", hexes=[(target + plain + ip + honest).hex()])
        assert self.back.ask("seen", hex=MARK.hex(), wait=10.0) >= 1, "the one that is no lie"
        for guest in hearers[1:]:
            assert guest.ask("seen", hex=MARK.hex()) == 0, guest.id
        wait_until("it and its echo are all that went over the trunk", lambda: self.trunk.with_bytes(MARK) >= before + 2, 30)
        assert self.trunk.with_bytes(MARK) == before + 2
        self.front.run("ip address add 10.44.1.21/32 dev eth0")
        self.front.run("ip route add 169.254.169.254/32 via 10.44.1.1 dev eth0 src 10.44.1.21")
        assert self.front.ask("get", path="/latest/meta-data/instance-id", wait=1.0).startswith("nothing"), "another's metadata"
        self.front.run("ip route delete 169.254.169.254/32")
        self.front.run("ip address delete 10.44.1.21/32 dev eth0")

    def public_addresses(self):
        """4: elastic addresses from outside, by hairpin and moved while used; NAT gateway, black hole, order of ACLs"""
        ec2, outside = self.ec2, self.nodes[0]
        outside.tell(do="start", name="outside", command=["python3", "/programs/guest.py"], environment={})

        def ask(what, **more):
            return outside.tell(do="ask", name="outside", line={"do": what, **more})["answer"]

        def from_outside(address, port=3000, wait=5.0):
            return ask("tcp", to=address, port=port, wait=wait)

        ask("serve", tcp=[9000])
        first, nat = (ec2.allocate_address(Domain="vpc") for _ in range(2))
        at = first["PublicIp"]
        assert not from_outside(at, wait=0.5)
        ec2.associate_address(AllocationId=first["AllocationId"], InstanceId=self.front.id)
        wait_until("from outside", lambda: from_outside(at, wait=1.0), SECONDS)
        assert self.front.reaches(at), "itself, by hairpin"
        assert self.back.never(at), "who has no public address has no way out, and none back in"
        lent = ec2.associate_address(AllocationId=nat["AllocationId"], InstanceId=self.back.id)["AssociationId"]
        wait_until("by hairpin, from one host to another and back",
                   lambda: self.back.reaches(at, wait=1.0) and self.front.reaches(nat["PublicIp"], wait=1.0), SECONDS)
        ec2.disassociate_address(AssociationId=lent)
        wait_until("no more", lambda: self.back.never(at) and self.front.never(nat["PublicIp"]), SECONDS)
        assert self.front.reaches(OUTSIDE, 9000), "out"
        assert ask("tcp", to=at, port=3000, wait=5.0, keep="held")
        ec2.associate_address(AllocationId=first["AllocationId"], InstanceId=self.back.id, AllowReassociation=True)
        wait_until("it leads elsewhere", lambda: self.is_at(from_outside, at), SECONDS)
        assert not ask("say", keep="held", wait=0.5), "no connection goes along"

        assert self.hidden.never(OUTSIDE, 9000), "a private subnet has no way out"
        gateway = ec2.create_nat_gateway(SubnetId=self.far.public, AllocationId=nat["AllocationId"])["NatGateway"]["NatGatewayId"]
        ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[gateway], WaiterConfig={"Delay": 1})
        self.far.tables.append(self.far.table_to(self.far.private, NatGatewayId=gateway))
        wait_until("out by the NAT gateway", lambda: self.hidden.reaches(OUTSIDE, 9000, 1.0), SECONDS)
        assert not from_outside(nat["PublicIp"], wait=0.5), "nobody comes in by it"

        acl = ec2.create_network_acl(VpcId=self.far.vpc)["NetworkAcl"]["NetworkAclId"]
        entry = {"NetworkAclId": acl, "CidrBlock": "0.0.0.0/0", "Protocol": "-1", "RuleAction": "allow"}
        for egress in (True, False):
            ec2.create_network_acl_entry(**entry, RuleNumber=100, Egress=egress)
        wanted = {"vpc-id": self.far.vpc, "default": "true"}
        acls = ec2.describe_network_acls(Filters=[{"Name": name, "Values": [value]} for name, value in wanted.items()])
        [default] = acls["NetworkAcls"]
        [old] = [each["NetworkAclAssociationId"] for each in default["Associations"] if each["SubnetId"] == self.far.private]
        new = ec2.replace_network_acl_association(AssociationId=old, NetworkAclId=acl)["NewAssociationId"]
        denied = {**entry, "CidrBlock": f"{OUTSIDE}/32", "RuleAction": "deny", "Egress": True}
        ec2.create_network_acl_entry(**denied, RuleNumber=110)
        assert self.hidden.reaches(OUTSIDE, 9000), "the lower number comes first"
        ec2.create_network_acl_entry(**denied, RuleNumber=90)
        wait_until("denied", lambda: self.hidden.never(OUTSIDE, 9000), SECONDS)
        ec2.replace_network_acl_association(AssociationId=new, NetworkAclId=default["NetworkAclId"])
        ec2.delete_network_acl(NetworkAclId=acl)
        wait_until("as before", lambda: self.hidden.reaches(OUTSIDE, 9000, 1.0), SECONDS)
        ec2.delete_nat_gateway(NatGatewayId=gateway)
        ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[gateway], WaiterConfig={"Delay": 1})
        wait_until("a black hole", lambda: self.hidden.never(OUTSIDE, 9000), SECONDS)
        self.allocations = [first, nat]

    def is_at(self, from_outside, address):
        """Whether it leads to `back`: only there somebody listens on this port."""
        if not getattr(self, "listens", False):
            self.back.ask("serve", tcp=[4000])
            self.listens = True
        return from_outside(address, 4000, 1.0)

    def mended(self):
        """links that others delete come back, on a node and on the cluster controller's host, and connections go on"""
        assert self.front.ask("tcp", to=self.back.address, port=22, wait=5.0, keep="before")
        tag = f"{FIRST:x}"
        for host in (self.front.host, self.cloud):
            for broken in (f"ip link delete karri0x{tag}", f"ip link delete karri0.{tag}", "ip link set eth0 down"):
                host.run(broken)
                began = time.monotonic()
                shown = f"ip -d link show karri0x{tag}"
                whole = f"{shown} | grep -q 'master karri0.{tag} .*UP' && {shown} | grep -q 'id {FIRST} '"
                wait_until(broken, lambda host=host, whole=whole: host.told(whole)["code"] == 0, SECONDS)
                took = time.monotonic() - began
                assert took < 30, f"{broken}: {took:.1f} s"  # five, and what an emulated machine is slower
                wait_until("packets pass from host to host", lambda: self.front.reaches(self.back, wait=1.0), 30)
                wait_until("packets pass by the router", lambda: self.back.reaches(OUTSIDE, 9000, 1.0), 30)
        assert self.front.ask("say", keep="before", wait=5.0), "a connection of before goes on"

    def seen_on_the_trunk(self):
        """a capture on the trunk has each subnet's own tag, the flat network without one, and nothing else"""
        assert self.flat[0].host is not self.flat[1].host
        # In the second subnet nobody was.
        near, public, private = (str(vlan) for vlan in (FIRST, FIRST + 2, FIRST + 3))
        sent = {}  # by MAC: what has the same address in two VPCs has the same MAC
        for guest, tag in ((self.front, near), (self.back, near), (self.other, public), (self.hidden, private),
                           *((guest, "") for guest in self.flat)):
            sent.setdefault(guest.mac, set()).add(tag)
        seen = {mac: self.tags_from(mac) for mac in sent}
        assert self.front.mac == self.other.mac and seen == sent, seen
        tags, expected = self.trunk.tags(), {"", near, public, private}
        assert set(tags) == expected, tags
        counted = (f"{tag or 'untagged'}: {count}" for tag, count in sorted(tags.items()))
        print("     frames on the trunk by tag:", ", ".join(counted), flush=True)

    def tags_from(self, mac):
        """Of the frames on the trunk that were sent with it."""
        mac, found = bytes.fromhex(mac.replace(":", "")), set()
        for frame in self.trunk.frames():
            if frame[6:12] == mac:
                found.add(str(int.from_bytes(frame[14:16], "big") & 0xFFF) if frame[12:14] == b"\x81\x00" else "")
        return found

    def all_gone(self):
        """with the last guests the VLANs are gone from all hosts, and their numbers can be given out again"""
        guests = [self.front, self.back, self.other, self.hidden, *self.flat]
        self.ec2.terminate_instances(InstanceIds=[guest.id for guest in guests])
        wait_until("all are terminated", lambda: all(guest.state() == "terminated" for guest in guests), SECONDS)
        for allocation in self.allocations:
            self.ec2.release_address(AllocationId=allocation["AllocationId"])
        wait_until("no VLAN is left", lambda: not self.vlans(), SECONDS)
        for network in (self.near, self.far):
            network.remove()
        for _ in range(2):
            Network(self.ec2).remove()

    PROOFS = (hosts_boot, a_cloud, vlans_are_few, guests_run, networks, groups, lies, public_addresses, mended, seen_on_the_trunk,
              all_gone)

    def end(self, failed):
        for host, log in zip(self.hosts, ("/tmp/up.log", "/tmp/nc.log", "/tmp/nc.log")):
            if failed and host.spoken:
                # A shell ends with the first that fails, and not all logs are on all hosts.
                told = host.told(f"cat {log} {STATE}/logs/*.log 2>/dev/null || :; ip -d link; iptables-save; ebtables-save")
                (DIRECTORY / f"host{host.number}.log").write_text(told.get("out", ""))
            host.stop()


def main():
    lab, failed = Lab(), True
    try:
        for proof in Lab.PROOFS:
            began = time.monotonic()
            proof(lab)
            print(f"ok   {time.monotonic() - began:6.1f} s  vlan: {proof.__doc__}", flush=True)
        failed = False
    finally:
        lab.end(failed)


if __name__ == "__main__":
    main()
