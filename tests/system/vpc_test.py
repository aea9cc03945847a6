"""VPCs of users with real guests on two nodes: public and private subnets, elastic addresses, a NAT gateway, and a VPC
beside it that has the very same range. Then controllers are killed under traffic, and their work is taken away.

The second node is on another machine, which is a network namespace with a libvirt of its own. Frames between the two are
VXLAN over the cable. A third machine is another cluster, which extends the zone: a subnet is in both.
"""

import json
import os
import re
import signal
import subprocess
import time
import unittest

from hosts import NODE, SILENT_SECONDS, FarCluster, FarNode, Machine, PrivateLibvirt, ip, is_alive
from kernel import Kernel, difference
from real_cloud import (BOOT_SECONDS, KILLED, SSH, RealCloud, instance, kept, new_key, part_with_guests, ssh, wait_state,
                        wait_until)
from traffic import STOP_LOOKING, Counting, Pings, Telling, over_and_over
from vpc import PRIVATE, PUBLIC, Network

NUMBER, BESIDE = 30, 34
EAST, CELLAR = "karri-1a-east", "cellar"
IMDS = "http://169.254.169.254/latest"
MEND_SECONDS = 5
KILLS = int(os.environ.get("KARRI_NETWORK_KILLS", "1"))
# What is of nobody's on the other machine, and of somebody's with a name like Karri's on this one.
THEIRS_FAR = ["ip link add theirs type bridge", "iptables -N THEIRS", "iptables -A THEIRS -s 192.0.2.77 -j DROP",
              "iptables -t raw -A PREROUTING -i theirs -j NOTRACK", "ipset create theirs hash:ip", "ipset add theirs 192.0.2.7"]
THEIRS_NEAR = [f"ip link add ktest{NUMBER}-their type bridge", f"iptables -N ktest{NUMBER}theirs",
               f"iptables -A ktest{NUMBER}theirs -s 192.0.2.77 -j DROP"]
THEIRS_NEAR_GONE = [f"ip link delete ktest{NUMBER}-their", f"iptables -F ktest{NUMBER}theirs", f"iptables -X ktest{NUMBER}theirs"]


class TwoNodes(RealCloud):
    """Its hosts exchange frames of segments by the cable between them."""

    def __init__(self, machine):
        super().__init__(NUMBER)
        self.machine = machine
        self.environment |= {"KARRI_CC_NETWORK__TUNNEL_ADDRESS": machine.near, "KARRI_NC_NETWORK__TUNNEL_ADDRESS": machine.near}
        self.expect("node does not report")  # it ends while its node goes away

    def up_arguments(self):
        return [*super().up_arguments(), "--address", self.machine.near]


def setUpModule():
    global cloud, ec2, key, machine, libvirts, far, beside, east, cellar
    machine = Machine(NUMBER).open()
    cloud = TwoNodes(machine).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    unittest.addModuleCleanup(machine.close)
    ip("link", "set", machine.cable("lan"), "master", cloud.bridge)
    beside = Machine(BESIDE).open()
    unittest.addModuleCleanup(beside.close)
    machine.join(beside)
    ip("-n", beside.name, "route", "add", "default", "via", beside.near)
    unittest.addModuleCleanup(part_with_guests, cloud.directory)
    libvirts = {}
    for where, there in (("far", machine), ("beside", beside)):
        libvirts[where] = PrivateLibvirt(cloud.directory / f"libvirt-{where}", there).start()
        unittest.addModuleCleanup(libvirts[where].stop)
        unittest.addModuleCleanup(there.stop_processes)
    ec2 = cloud.boto3()
    key = new_key(cloud, ec2, "vpc-test", KeyType="ed25519")
    far = FarNode(cloud, machine, KARRI_NC_HYPERVISOR__URI=libvirts["far"].uri, KARRI_NC_NETWORK__BRIDGE=cloud.bridge,
                  KARRI_NC_NETWORK__UPLINK="lan", KARRI_NC_NETWORK__TUNNEL_ADDRESS=machine.far)
    far.join_and_start()
    east = FarCluster(cloud, beside, EAST)
    east.start()
    # More room than anybody: what is launched next is in that cluster.
    cellar = FarNode(cloud, beside, name=CELLAR, cluster=EAST, KARRI_NC_HYPERVISOR__URI=libvirts["beside"].uri,
                     KARRI_NC_NETWORK__BRIDGE=cloud.bridge, KARRI_NC_NETWORK__TUNNEL_ADDRESS=beside.far,
                     KARRI_NC_NODE__VCPUS="999", KARRI_NC_NODE__MEMORY_MIB="999999", KARRI_NC_NODE__DISK_GIB="9999")
    wait_until("the other node is there", lambda: is_alive(cloud, NODE), SILENT_SECONDS)
    wait_until("the other cluster is there", east.is_known, SILENT_SECONDS)


def launch(where, **more):
    [one] = cloud.launch(ec2, KeyName="vpc-test", **more)
    wait_state(ec2, one, "running")
    found = [there for there, libvirt in libvirts.items() if one in libvirt.domains()] or ["near"]
    assert found == [where], f"{one} is {found}, not {where}"
    return one


def leads_to(allocation, one):
    return ec2.associate_address(AllocationId=allocation["AllocationId"], InstanceId=one)["AssociationId"]


def is_reached(address):
    """Whether ssh is answered at all."""
    done = subprocess.run([*SSH, "-i", str(key), f"root@{address}", "true"], capture_output=True, stdin=subprocess.DEVNULL)
    return done.returncode == 0


def says(address, command):
    return ssh(address, key, command, options=kept(cloud.directory))


def says_anew(address, command):
    """By a connection of its own: where the question is whom it leads to."""
    return ssh(address, key, command)


def within(address, command, by):
    """What a guest says whom only another one reaches, which has this public address."""
    over = f"ProxyCommand={' '.join(SSH)} -i {key} -W %h:%p root@{by}"
    asked = [*SSH, *kept(cloud.directory), "-i", str(key), "-o", over, f"root@{address}", command]
    return subprocess.run(asked, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def pings(address, *others, count=1):
    """Which of the others the guest at this address reaches."""
    asked = (f"ping -c {count} -w {count + 1} {other} >/dev/null 2>&1 && echo yes || echo no" for other in others)
    answers = says(address, "; ".join(asked))
    return [answer == "yes" for answer in answers.split()]


def acls(**filters):
    filters = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    return ec2.describe_network_acls(Filters=filters)["NetworkAcls"]


def shell(prefix, commands):
    for command in commands:
        subprocess.run([*prefix, *command.split()], check=True, capture_output=True)


class Vpcs(unittest.TestCase):
    def test_networks_of_users_on_two_nodes_and_what_becomes_of_them_without_their_controllers(self):
        near_vpc, far_vpc = Network(ec2), Network(ec2)
        self.near_vpc, self.far_vpc = near_vpc, far_vpc
        # The least loaded node takes each, by turns.
        self.back = launch("far", SubnetId=near_vpc.public, PrivateIpAddress="10.44.1.21")
        self.flat = launch("near")
        # The one has the address of another in the other VPC, the last has one that nobody has there.
        self.other = launch("far", SubnetId=far_vpc.public, PrivateIpAddress="10.44.1.20")
        self.front = launch("near", SubnetId=near_vpc.public, PrivateIpAddress="10.44.1.20")
        self.hidden = launch("far", SubnetId=far_vpc.private, PrivateIpAddress="10.44.2.30")
        cellar.join_and_start()
        wait_until("the other cluster has a node", lambda: is_alive(cloud, CELLAR), SILENT_SECONDS)
        self.across = launch("beside", SubnetId=near_vpc.public, PrivateIpAddress="10.44.1.22")
        guests = [self.flat, self.back, self.front, self.other, self.hidden, self.across]
        allocations = [ec2.allocate_address(Domain="vpc") for _ in range(5)]
        self.first, self.second, third, self.nat, fifth = allocations
        leads_to(self.first, self.front)
        self.association = leads_to(self.second, self.other)
        leads_to(third, self.flat)
        leads_to(fifth, self.across)
        self.at, self.beside, self.flat_at, self.across_at = (each["PublicIp"] for each in (self.first, self.second, third, fifth))

        for stage in (self.each_is_itself, self.same_subnet_and_same_range, self.across_clusters, self.groups_across_clusters,
                      self.tunnel_cut_and_healed, self.own_public_address, self.by_the_nat_gateway, self.another_interface,
                      self.killed, self.taken_away, self.moved):
            began = time.monotonic()
            stage()
            print(f"{stage.__name__}: {time.monotonic() - began:.1f} s", flush=True)

        ec2.terminate_instances(InstanceIds=guests)
        for one in guests:
            wait_state(ec2, one, "terminated")
        for allocation in allocations:
            ec2.release_address(AllocationId=allocation["AllocationId"])
        for network in (near_vpc, far_vpc):
            network.remove()
        routers = f"karri-{cloud.bridge}-"
        wait_until("nothing of the networks is left",
                   lambda: routers not in subprocess.check_output(["ip", "netns", "list"], text=True)
                   and f"{cloud.bridge}." not in subprocess.check_output(["ip", "-o", "link"], text=True)
                   and all(f"{cloud.bridge}." not in there.run("ip", "-o", "link").stdout for there in (machine, beside)), 30)

    def each_is_itself(self):
        """Each public address leads to its own of two equal private ones, and each is told its own metadata."""
        self.assertEqual(instance(ec2, self.front)["PublicIpAddress"], self.at)
        for address, one, own in ((self.at, self.front, "10.44.1.20"), (self.beside, self.other, "10.44.1.20"),
                                  (self.across_at, self.across, "10.44.1.22")):
            told = says(address, f"wget -qO- {IMDS}/meta-data/instance-id; echo; wget -qO- {IMDS}/meta-data/local-ipv4")
            self.assertEqual(told.split(), [one, own])
            wait_until("the public address in the metadata",
                       lambda address=address: says(address, f"wget -qO- {IMDS}/meta-data/public-ipv4 || true") == address, 30)

    def same_subnet_and_same_range(self):
        wait_until("an answer in the same subnet, from the other node", lambda: all(pings(self.at, "10.44.1.21")), BOOT_SECONDS)
        wait_until("an answer from another subnet", lambda: all(pings(self.beside, "10.44.2.30")), BOOT_SECONDS)
        # Whom the one VPC has, the other one has not, by no protocol: not even who has the address is answered.
        self.assertEqual(pings(self.at, "10.44.2.30", count=2), [False])
        self.assertEqual(pings(self.beside, "10.44.1.21", count=2), [False])
        self.assertEqual(says(self.beside, "timeout 3 nc 10.44.1.21 22 </dev/null 2>/dev/null | head -c 3"), "")
        self.assertRegex(says(self.beside, "cat /proc/net/arp"), r"10\.44\.1\.21 +0x1 +0x0 ")
        # A packet of the largest size passes whole in one frame of the tunnel, also of TCP.
        cut = self.fragments()
        whole = says(self.at, "cat /sys/class/net/eth0/mtu; ping -c 1 -w 5 -s 1422 10.44.1.21 >/dev/null && echo whole")
        self.assertEqual(whole.split(), ["1450", "whole"])
        self.assertEqual(says(self.at, "timeout 5 nc 10.44.1.21 22 </dev/null | head -c 3"), "SSH")
        bulk = within("10.44.1.21", "head -c 300000 /dev/zero", self.at)
        self.assertEqual(len(bulk.stdout), 300000, bulk.stderr)
        self.assertEqual(self.fragments(), cut, "nothing was in pieces")

    def fragments(self):
        kernels = [Kernel(), Kernel(machine.command()), Kernel(beside.command())]
        told = (kernel.told("nstat", "-az", "IpFragCreates") for kernel in kernels)
        return [re.search(r"IpFragCreates +(\d+)", text)[1] for text in told]

    def across_clusters(self):
        """Of a subnet in two clusters the same holds: whole packets, names, and nothing of the other VPC."""
        cut = self.fragments()
        name = instance(ec2, self.across)["PrivateDnsName"]
        whole = says(self.at, "ping -c 1 -w 5 -s 1422 10.44.1.22 >/dev/null && echo whole; "
                              f"ping -c 1 -w 5 {name} >/dev/null && echo named")
        self.assertEqual(whole.split(), ["whole", "named"])
        # From both nodes of the one cluster, and from the other one back and by the router.
        there = says(self.across_at, "cat /sys/class/net/eth0/mtu; ping -c 1 -w 5 -s 1422 10.44.1.21 >/dev/null && echo whole; "
                                     "timeout 5 nc 10.44.1.20 22 </dev/null | head -c 3; echo; "
                                     f"timeout 5 nc {self.beside} 22 </dev/null | head -c 3")
        self.assertEqual(there.split(), ["1450", "whole", "SSH", "SSH"])
        bulk = within("10.44.1.22", "head -c 300000 /dev/zero", self.at)
        self.assertEqual(len(bulk.stdout), 300000, bulk.stderr)
        self.assertEqual(self.fragments(), cut, "nothing was in pieces")
        alien = says(self.beside, "ping -c 2 -w 2 10.44.1.22 >/dev/null 2>&1 && echo answered; "
                                  "timeout 3 nc 10.44.1.22 22 </dev/null 2>/dev/null | head -c 3; cat /proc/net/arp")
        self.assertRegex(alien, r"^IP address[^\n]*\n(.*\n)*10\.44\.1\.22 +0x1 +0x0 ")

    def by_front(self):
        return ["-o", f"ProxyCommand={' '.join(SSH)} -i {key} -W %h:%p root@{self.at}"]

    def watch(self):
        """What the one guest finds over and over: who answers of the same cluster, and of the other one to pings and by ssh."""
        def pinged(address, word):
            return f"ping -c 1 -w 1 {address} >/dev/null 2>&1 && echo -n '{word} '; "

        look = (f"{pinged('10.44.1.21', 'near')}{pinged('10.44.1.22', 'far')}"
                "timeout 2 nc 10.44.1.22 22 </dev/null 2>/dev/null | head -c 3")
        self.watching = Telling(self.at, key, over_and_over(look))

    def sees(self, what, line):
        try:
            wait_until(f"{what}: {line!r}", lambda: self.watching.last == line, 90)
        except AssertionError as error:
            raise AssertionError(f"{error}; {self.watching}") from None

    def groups_across_clusters(self):
        """Rules of each kind for members in the other cluster: shut, opened, used, and revoked while in use."""
        [default] = [group["GroupId"] for group in instance(ec2, self.across)["SecurityGroups"]]
        own = ec2.create_security_group(GroupName="across", Description="-", VpcId=self.near_vpc.vpc)["GroupId"]
        self.watch()
        self.sees("everything is open", "near far SSH.")
        ec2.modify_instance_attribute(InstanceId=self.across, Groups=[own])
        self.sees("nothing is open", "near .")
        echo = {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": [{"CidrIp": "10.44.1.20/32"}]}
        by_group = {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "UserIdGroupPairs": [{"GroupId": default}]}
        ec2.authorize_security_group_ingress(GroupId=own, IpPermissions=[echo, by_group])
        self.sees("pings are let in by their address, ssh by its group", "near far SSH.")
        look = over_and_over("timeout 2 nc 10.44.1.20 22 </dev/null 2>/dev/null | head -c 3")
        inside = Telling("10.44.1.22", key, look, self.by_front())
        wait_until("it reaches the others", lambda: inside.last == "SSH.", 30)
        [all_out] = ec2.describe_security_groups(GroupIds=[own])["SecurityGroups"][0]["IpPermissionsEgress"]
        ec2.revoke_security_group_egress(GroupId=own, IpPermissions=[all_out])
        wait_until("it reaches nobody, and tells so by the connection that was let in", lambda: inside.last == ".", 30)
        ec2.revoke_security_group_ingress(GroupId=own, IpPermissions=[by_group])
        self.sees("ssh is shut again", "near far .")
        told = inside.count
        with self.assertRaisesRegex(AssertionError, "it still tells"):
            wait_until("it still tells", lambda: inside.count > told, 5)  # two looks
        inside.end()
        ec2.modify_instance_attribute(InstanceId=self.across, Groups=[default])
        self.sees("everything is open again", "near far SSH.")
        says(self.across_at, STOP_LOOKING)
        ec2.delete_security_group(GroupId=own)

    def tunnel_cut_and_healed(self):
        """Each cluster goes on by itself, and when the tunnel is there again the subnet is whole without anybody's doing."""
        rules = [f"iptables -{{}} {chain} -p udp --dport 4789 -j DROP" for chain in ("INPUT", "OUTPUT")]
        shell(beside.command(), [rule.format("I") for rule in rules])
        self.sees("nothing comes across, and the rest is as it was", "near .")
        self.assertEqual(instance(ec2, self.across)["State"]["Name"], "running")
        shell(beside.command(), [rule.format("D") for rule in rules])
        self.sees("it is healed", "near far SSH.")
        self.watching.end()

    def own_public_address(self):
        """And each other's. A name leads to the private one in the same network alone."""
        knock = "timeout 5 nc {0} 22 </dev/null | head -c 3"
        for address in (self.flat_at, self.at):
            heard = says(address, "; echo; ".join(knock.format(to) for to in (self.flat_at, self.at)))
            self.assertEqual(heard.split(), ["SSH", "SSH"], address)
        flat = instance(ec2, self.flat)
        for address, leads_to in ((self.flat_at, flat["PrivateIpAddress"]), (self.at, self.flat_at)):
            told = says(address, f"nslookup -type=a {flat['PublicDnsName']}")
            self.assertTrue(told.endswith(f"Address: {leads_to}"), told)

    def by_the_nat_gateway(self):
        """Out of the private subnet, and nobody in; then the network ACLs' order, and a route to what is no more."""
        asked = ec2.create_nat_gateway(SubnetId=self.far_vpc.public, AllocationId=self.nat["AllocationId"])
        nat = asked["NatGateway"]["NatGatewayId"]
        ec2.get_waiter("nat_gateway_available").wait(NatGatewayIds=[nat], WaiterConfig={"Delay": 1})
        self.far_vpc.tables.append(self.far_vpc.table_to(self.far_vpc.private, NatGatewayId=nat))

        def heard(address):
            return within("10.44.2.30", f"timeout 3 nc {address} 22 </dev/null 2>/dev/null | head -c 3", self.beside).stdout

        wait_until("the other VPC's public address from a private subnet", lambda: heard(self.at) == "SSH", 30)
        self.assertFalse(is_reached(self.nat["PublicIp"]))
        acl = ec2.create_network_acl(VpcId=self.far_vpc.vpc)["NetworkAcl"]["NetworkAclId"]
        [default] = acls(vpc_id=self.far_vpc.vpc, default="true")
        [old] = [association["NetworkAclAssociationId"] for association in default["Associations"]
                 if association["SubnetId"] == self.far_vpc.private]
        entry = {"NetworkAclId": acl, "CidrBlock": "0.0.0.0/0", "Protocol": "-1", "RuleAction": "allow"}
        for egress in (True, False):
            ec2.create_network_acl_entry(**entry, RuleNumber=100, Egress=egress)
        associated = ec2.replace_network_acl_association(AssociationId=old, NetworkAclId=acl)["NewAssociationId"]
        self.assertEqual(heard(self.at), "SSH", "everything passes")
        denied = {**entry, "CidrBlock": f"{self.at}/32", "RuleAction": "deny", "Egress": True}
        ec2.create_network_acl_entry(**denied, RuleNumber=110)
        self.assertEqual(heard(self.at), "SSH", "the lower number comes first")
        ec2.create_network_acl_entry(**denied, RuleNumber=90)
        wait_until("the lower number comes first", lambda: heard(self.at) == "", 30)
        ec2.replace_network_acl_association(AssociationId=associated, NetworkAclId=default["NetworkAclId"])
        ec2.delete_network_acl(NetworkAclId=acl)
        wait_until("as before", lambda: heard(self.at) == "SSH", 30)
        ec2.delete_nat_gateway(NatGatewayId=nat)
        ec2.get_waiter("nat_gateway_deleted").wait(NatGatewayIds=[nat], WaiterConfig={"Delay": 1})
        wait_until("a black hole", lambda: heard(self.at) == "", 30)
        [table] = ec2.describe_route_tables(RouteTableIds=[self.far_vpc.tables[-1][0]])["RouteTables"]
        [route] = [route for route in table["Routes"] if route.get("NatGatewayId")]
        self.assertEqual(route["State"], "blackhole")

    def another_interface(self):
        """A second interface, in another subnet and with groups of its own, plugged into the running guest."""
        before = self.settled()
        [other] = [ec2.create_security_group(GroupName="second", Description="of the second", VpcId=self.near_vpc.vpc)["GroupId"]]
        made = ec2.create_network_interface(SubnetId=self.near_vpc.private, PrivateIpAddress="10.44.2.50", Groups=[other])
        second, mac = (made["NetworkInterface"][name] for name in ("NetworkInterfaceId", "MacAddress"))
        attachment = ec2.attach_network_interface(NetworkInterfaceId=second, InstanceId=self.front, DeviceIndex=1)["AttachmentId"]
        find = f"for n in /sys/class/net/*; do [ $(cat $n/address) = {mac} ] && basename $n; done; true"
        name = wait_until("the second interface in the guest", lambda: says(self.at, find), 30)
        # Its address and its MTU come by DHCP; the way to everywhere else stays the first one's.
        says(self.at, f"ip link set {name} up && udhcpc -q -n -t 10 -T 1 -i {name} -s /etc/udhcpc/default.script -O mtu")
        told = says(self.at, f"ip -o -4 address show dev {name}; cat /sys/class/net/{name}/mtu")
        self.assertRegex(told, r"inet 10\.44\.2\.50/24 [^\n]*\n1450$")

        # What comes to it meets its own groups: from the other node, whose packets the router brings.
        says(self.at, f"ip route add default via 10.44.2.1 dev {name} table 100 && ip rule add from 10.44.2.50 table 100")
        self.assertEqual(says(self.at, "ping -c 1 -w 5 -I 10.44.2.50 10.44.1.21 >/dev/null && echo yes"), "yes")

        def heard(address):
            """By the other one in the first subnet, which has no public address."""
            return within("10.44.1.21", f"timeout 3 nc {address} 22 </dev/null 2>/dev/null | head -c 3", self.at).stdout

        self.assertEqual((heard("10.44.1.20"), heard("10.44.2.50")), ("SSH", ""))
        self.shown_where_it_ends(second, lambda: self.assertEqual(heard("10.44.2.50"), ""))
        opened = {"GroupId": other, "IpPermissions": [
            {"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "10.44.1.21/32"}]}]}
        ec2.authorize_security_group_ingress(**opened)
        wait_until("the second one's group lets in", lambda: heard("10.44.2.50") == "SSH", 30)
        ec2.revoke_security_group_ingress(**opened)
        wait_until("the second one's group shuts out", lambda: heard("10.44.2.50") == "", 30)
        self.assertEqual(heard("10.44.1.20"), "SSH", "the first one's group is another")
        self.metadata_of_both(second, mac, other)
        # Asked by it, the metadata is the same; the route goes with the device.
        asked = f"ip route replace 169.254.169.254 dev {name} src 10.44.2.50 && imds meta-data/instance-id"
        self.assertEqual(says(self.at, asked), self.front)
        self.address_beside_the_first()

        ec2.detach_network_interface(AttachmentId=attachment)
        wait_until("the guest lets go of it", lambda: not says(self.at, find), 30)
        says(self.at, "ip rule del from 10.44.2.50 table 100")
        wait_until("it is nobody's", lambda: self.interface(second)["Status"] == "available", 30)
        self.assertNotIn("Attachment", self.interface(second))
        ec2.delete_network_interface(NetworkInterfaceId=second)
        ec2.delete_security_group(GroupId=other)
        self.becomes("nothing of it is left", before, seconds=30)

    def shown_where_it_ends(self, second, refused):
        """`karri net show` names the rule that drops the other one's packets, and in the kernel it is that one which counts."""
        asked = ["net", "show", second, "--from", "10.44.1.21", "--to", "10.44.2.50", "--proto", "tcp", "--port", "22"]

        def shown():
            stations = json.loads(cloud.karri(*asked, "--output", "json"))
            self.assertEqual([what for one in stations for part in one.get("kernel", []) for what in part["differs"]], [])
            return stations, [[line for part in one.get("kernel", []) for line in part["lines"] if line.get("decides")]
                              for one in stations]

        stations, before = shown()
        kinds = [one["place"].split(" ")[0] for one in stations]
        self.assertEqual(kinds, ["port", "subnet", "network", "route", "network", "subnet", "port"])
        self.assertEqual([one["verdict"]["passes"] for one in stations if one.get("verdict")], [True] * 4 + [False])
        self.assertEqual(stations[-1]["place"], f"port {second}")
        # The port that it comes from is on the other node.
        who = [{part["who"] for part in stations[at]["kernel"]} for at in (0, 1, -1)]
        self.assertEqual(who[0], {f"nc {NODE}"})
        self.assertTrue(who[1] == {next(iter(who[1]))} and next(iter(who[1])).startswith("cc "), who)
        self.assertNotIn(f"nc {NODE}", who[2])
        [drop] = before[-1]
        self.assertEqual(drop["text"], "-j DROP")
        self.assertRegex(drop["place"], r"^iptables mangle KARRI-k[0-9a-f]{14}-to$")
        refused()
        _, after = shown()
        self.assertGreater(after[-1][0]["packets"], drop["packets"])
        self.assertGreater(after[0][0]["packets"], before[0][0]["packets"])
        told = cloud.karri(*asked)
        self.assertRegex(told, rf"> +{after[-1][0]['packets']}  {drop['place']}: -j DROP\n")

    def interface(self, one):
        return ec2.describe_network_interfaces(NetworkInterfaceIds=[one])["NetworkInterfaces"][0]

    def metadata_of_both(self, second, mac, group):
        """All of it is there by a session, as cloud-init asks: each path that a path lists, down to the last."""
        walk = ("walk() { for one in $(imds $1); do case $one in */) walk $1$one;; [0-9]*=*) walk $1${one%%=*}/;; "
                "*) imds $1$one >/tmp/said && echo $1$one $(head -n 1 /tmp/said) || echo lost $1$one;; esac; done; }; "
                "for one in 2021-03-23 2018-09-24 2016-09-02 2009-04-04; do "
                "wget -qO- --header \"X-aws-ec2-metadata-token: $(cat /run/karri/imds-token)\" http://169.254.169.254/$one/"
                "meta-data/instance-id >/tmp/said && echo $one $(cat /tmp/said); done; "
                "walk meta-data/; walk dynamic/instance-identity/")
        told = dict(line.partition(" ")[::2] for line in says(self.at, walk).splitlines())
        self.assertNotIn("lost", told)
        self.assertGreater(len(told), 40, told)
        for version in ("2021-03-23", "2018-09-24", "2016-09-02", "2009-04-04"):
            self.assertEqual(told[version], self.front)
        self.assertIn("dynamic/instance-identity/document", told)
        self.assertTrue(told["meta-data/public-keys/0/openssh-key"].startswith("ssh-ed25519 "))
        first = self.interface(self.ports_of(self.front)[0])
        macs = "meta-data/network/interfaces/macs/"
        of_first = ("0", "10.44.1.20", first["NetworkInterfaceId"], PUBLIC, first["Groups"][0]["GroupId"])
        for own, expected in ((first["MacAddress"], of_first), (mac, ("1", "10.44.2.50", second, PRIVATE, group))):
            names = ("device-number", "local-ipv4s", "interface-id", "subnet-ipv4-cidr-block", "security-group-ids")
            self.assertEqual(tuple(told[f"{macs}{own}/{name}"] for name in names), expected)
        self.assertEqual(told["meta-data/mac"], first["MacAddress"])
        place = "meta-data/placement/availability-zone"
        self.assertEqual(told[f"{place}-id"], told[place])
        self.assertEqual(len({path.split("/")[4] for path in told if path.startswith(macs)}), 2)

    def ports_of(self, one):
        """By their places in it."""
        ports = sorted(instance(ec2, one)["NetworkInterfaces"], key=lambda port: port["Attachment"]["DeviceIndex"])
        return [port["NetworkInterfaceId"] for port in ports]

    def address_beside_the_first(self):
        first = self.ports_of(self.front)[0]
        ec2.assign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=["10.44.1.31"])
        beside = ec2.allocate_address(Domain="vpc")
        ec2.associate_address(AllocationId=beside["AllocationId"], NetworkInterfaceId=first, PrivateIpAddress="10.44.1.31")
        says(self.at, "ip address add 10.44.1.31/24 dev eth0")
        wait_until("the address beside the first", lambda: is_reached(beside["PublicIp"]), 30)
        ec2.unassign_private_ip_addresses(NetworkInterfaceId=first, PrivateIpAddresses=["10.44.1.31"])
        ec2.release_address(AllocationId=beside["AllocationId"])
        says(self.at, "ip address del 10.44.1.31/24 dev eth0")

    def settled(self):
        """The kernels once nobody is at them any more: two looks are alike."""
        looks = [self.looked()]

        def is_like_the_last():
            looks.append(self.looked())
            return looks[-1] == looks[-2]

        wait_until("the kernels have settled", is_like_the_last, 30)
        return looks[-1]

    def kernels(self):
        [taps] = {name.removeprefix("KARRI-") for name in cloud.guarding()}
        kernels = {"near": Kernel(ours=rf"{cloud.bridge}|\b(KARRI-|karri-)?{taps}"), "far": Kernel(machine.command()),
                   "beside": Kernel(beside.command())}
        for name in subprocess.check_output(["ip", "netns", "list"], text=True).split():
            if name.startswith(f"karri-{cloud.bridge}-"):
                kernels[name] = Kernel(["ip", "netns", "exec", name])
        return kernels

    def looked(self, identity=True):
        return {where: kernel.state(identity) for where, kernel in self.kernels().items()}

    def same(self, before, identity=True):
        after = self.looked(identity)
        self.differs = "\n".join(f"{where}:\n{difference(before.get(where, []), after.get(where, []))}"
                                 for where in sorted(before.keys() | after.keys()) if before.get(where) != after.get(where))
        return not self.differs

    def becomes(self, what, before, identity=True, seconds=MEND_SECONDS):
        try:
            wait_until(what, lambda: self.same(before, identity), seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.differs}") from None

    def killed(self):
        """Not one packet of what is open is lost, and afterwards everything is as it was, byte by byte."""
        shell(machine.command(), THEIRS_FAR)
        shell([], THEIRS_NEAR)
        self.addCleanup(subprocess.run, "; ".join(THEIRS_NEAR_GONE), shell=True, capture_output=True)
        before = self.settled()
        for where, lines in before.items():
            self.assertGreater(len(lines), 20, where)
        cloud.expect(*KILLED)
        pings = [Pings(address, number) for number, address in
                 enumerate((self.at, self.beside, self.across_at, self.flat_at, instance(ec2, self.flat)["PrivateIpAddress"]))]
        counting = Counting(self.at, key)
        says(self.at, "ping -i 0.1 10.44.1.21 >/tmp/pings 2>&1 & echo $! >/tmp/pinging")
        for _ in range(KILLS):
            children = {name: pid for name, pid in cloud.children().items() if name.startswith(("cc-", "nc"))}
            self.assertEqual(len(children), 2, children)
            others = (far, east, cellar)
            for pid in (*children.values(), *(other.process.pid for other in others)):
                os.kill(pid, signal.SIGKILL)
            for other in others:
                other.process.wait()
            counting.goes_on()
            for other in others:
                other.start()
            wait_until("other processes", lambda children=children: self.others_than(children) == set(children), 30)
            wait_until("the cloud is healthy", self.is_healthy, SILENT_SECONDS)
            self.becomes("the kernel is as it was", before)
        counting.goes_on()
        counting.end()
        told = says(self.at, "kill -INT $(cat /tmp/pinging); sleep 1; cat /tmp/pings")
        for each in pings:
            lost, all_of_them = each.lost()
            self.assertEqual(lost, 0, f"{each.address}: of {all_of_them}")
            self.assertGreater(all_of_them, 50)
        # Between two guests that are emulated: what was on its way at the end is not lost, and one may be, where the
        # machine has more to do than it can.
        answered = {int(number) for number in re.findall(r"seq=(\d+)", told)}
        self.assertLessEqual(max(answered) + 1 - len(answered), 1, told)
        self.assertGreater(len(answered), 10, told)
        self.assertTrue(self.same(before), self.differs)

    def others_than(self, children):
        return {name for name, pid in cloud.children().items() if children.get(name, pid) != pid}

    def is_healthy(self):
        try:
            cloud.karri("status")
            return is_alive(cloud, NODE) and is_alive(cloud, CELLAR)
        except AssertionError:
            return False

    def taken_away(self):
        """Of what others take away all is back within seconds, and what is theirs stays as it is."""
        cloud.expect("the network was changed by others", "the network is not as it should be")
        before = self.looked(identity=False)
        [taps] = {name.removeprefix("KARRI-") for name in cloud.guarding()}
        router = next(name for name in before if name.startswith("karri-"))
        segment = next(link for link in re.findall(rf"({re.escape(cloud.bridge)}\.[0-9a-f]+) ", "\n".join(before["near"])))
        far_segment = next(link for link in re.findall(rf"({re.escape(cloud.bridge)}\.[0-9a-f]+) ", "\n".join(before["far"])))
        in_router, at_far = ["ip", "netns", "exec", router], machine.command()
        flushes = ["iptables -F", "iptables -t nat -F", "iptables -t mangle -F", "iptables -t raw -F", "ebtables -t nat -F"]
        back = [command for command in THEIRS_FAR if "-A " in command]
        changed = "the network was changed by others"
        for what, said, breaks in (
            ("rules here", "firewall rules put",
             [([], [f"iptables -F KARRI-FWD-{cloud.bridge}", f"iptables -t nat -F KARRI-NAT-{cloud.bridge}",
                    f"iptables -t nat -D POSTROUTING -j KARRI-NAT-{cloud.bridge}", f"iptables -t mangle -F KARRI-{taps}-to"])]),
            ("rules there", changed, [(at_far, flushes + back)]),
            ("rules and routes of a router", "router put right",
             [(in_router, ["iptables -F", "iptables -t mangle -F", "ip route flush proto 75"])]),
            ("bridges", changed, [([], [f"ip link delete {segment}"]), (at_far, [f"ip link delete {far_segment}"])]),
        ):
            told, began = self.said(said), time.monotonic()
            for prefix, commands in breaks:
                shell(prefix, commands)
            wait_until(f"somebody mends: {what}", lambda said=said, told=told: self.said(said) > told, MEND_SECONDS)
            self.becomes(what, before, identity=False)
            print(f"{what}: {time.monotonic() - began:.1f} s", flush=True)
        served = self.dnsmasqs()
        self.assertGreater(len(served), 2)
        for pid in served:
            os.kill(pid, signal.SIGKILL)
        wait_until("as many dnsmasqs", lambda: len(self.dnsmasqs() - served) == len(served), MEND_SECONDS)
        self.assertEqual(pings(self.at, "10.44.1.21"), [True])
        shell([], THEIRS_NEAR_GONE)

    def said(self, words):
        """How often controllers have."""
        return sum(log.read_text().count(words) for log in cloud.logs())

    def dnsmasqs(self):
        mine = f"^dnsmasq .*(--interface={cloud.bridge} |/karri-{cloud.bridge}-)"
        return {int(pid) for pid in subprocess.run(["pgrep", "-f", mine], capture_output=True, text=True).stdout.split()}

    def moved(self):
        """The address leads to the other VPC's instance, and no more to the first, while traffic runs by it and by others."""
        staying = Pings(self.flat_at, 9)
        held = Counting(self.at, key)
        ec2.disassociate_address(AssociationId=self.association)
        wait_until("the address leads nowhere", lambda: not is_reached(self.beside), 30)
        ec2.associate_address(AllocationId=self.first["AllocationId"], InstanceId=self.other, AllowReassociation=True)
        asked = f"wget -qO- {IMDS}/meta-data/instance-id"
        wait_until("the address leads to another", lambda: says_anew(self.at, asked) == self.other, 60)
        counted = len(held.numbers)
        with self.assertRaisesRegex(AssertionError, "counts on"):
            held.goes_on(seconds=2)
        self.assertEqual(len(held.numbers), counted)
        held.end()
        lost, sent = staying.lost()
        self.assertEqual((lost, sent > 50), (0, True), sent)


if __name__ == "__main__":
    unittest.main()
