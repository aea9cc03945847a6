"""`karri down --terminate` takes away all that Karri made on a machine, and nothing that was there before.

The machine is a network namespace with a libvirt of its own, so that all of it can be compared. What stands there
looks as much as it can like Karri's: domains and chains of such names, a guest of another cloud, a file in the
state directory.
"""

import contextlib
import hashlib
import json
import pathlib
import re
import tempfile
import unittest

from hosts import Machine, PrivateLibvirt
from real_cloud import RealCloud, wait_state, wait_until

NUMBER = 47
DOMAIN = """<domain type='qemu'><name>{name}</name>{metadata}<memory unit='MiB'>32</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator></devices></domain>"""
OF_ANOTHER_CLOUD = """<metadata><k:instance xmlns:k='urn:karri:instance:1' cloud='other' node='{node}' id='i-0fee1dead0fee1dea'
account='111111111111' generation='1' attempt='1' reboots='0'/></metadata>"""
# In each table, so that an empty one that comes to light is not taken for a change.
RULES = """
iptables -N FOREIGN
iptables -A FOREIGN -s 203.0.113.0/24 -m comment --comment "not karri's" -j DROP
iptables -A FORWARD -j FOREIGN
iptables -N KARRI-FWD-ktest4
iptables -A KARRI-FWD-ktest4 -j RETURN
iptables -I FORWARD -i ktest4 -j KARRI-FWD-ktest4
iptables -N KARRI-IN-ktest450
iptables -A INPUT -i ktest450 -j KARRI-IN-ktest450
iptables -t nat -A POSTROUTING -s 203.0.113.0/24 -j MASQUERADE
iptables -t mangle -A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu --tcp-flags SYN,RST SYN
iptables -t raw -A PREROUTING -i foreign-br -j NOTRACK
ebtables -A FORWARD -i foreign-tap -j DROP
ebtables -t nat -A PREROUTING -i foreign-tap -j ACCEPT
"""
LINKS = """
ip link add foreign-br type bridge
ip address add 203.0.113.1/24 dev foreign-br
ip link set foreign-br up
ip tuntap add dev foreign-tap mode tap
ip link set foreign-tap master foreign-br up
ip route add 198.51.100.0/24 via 203.0.113.2
echo 0 >/proc/sys/net/ipv4/ip_forward
"""


class GuardedCloud(RealCloud):
    """A cloud on a machine that others use too."""

    def __init__(self):
        super().__init__(number=NUMBER)
        self.machine = Machine(NUMBER).open()
        self.prefix = self.machine.command()
        # Outlasts the cloud, as its guests do.
        self.libvirt_place = tempfile.TemporaryDirectory(prefix="karri-foreign-")
        self.libvirt = PrivateLibvirt(pathlib.Path(self.libvirt_place.name), self.machine)
        self.environment |= {"KARRI_NC_HYPERVISOR__URI": self.libvirt.uri, "KARRI_NC_HYPERVISOR__ACCEL": "tcg"}

    def up_arguments(self):
        return [*super().up_arguments(), "--address", self.machine.far]


class Foreign(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.cloud = GuardedCloud()
        self.machine, self.libvirt = self.cloud.machine, self.cloud.libvirt
        self.addCleanup(self.cloud.libvirt_place.cleanup)
        self.addCleanup(self.machine.close)
        self.libvirt.start()
        self.addCleanup(self.libvirt.stop)

    def on_machine(self, commands):
        done = self.machine.run("sh", "-ec", commands)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def define(self, name, metadata="", run=False):
        file = self.cloud.directory / f"{name}.xml"
        file.write_text(DOMAIN.format(name=name, metadata=metadata))
        self.libvirt.virsh("define", str(file))
        if run:
            self.libvirt.virsh("start", "--paused", name)
            self.addCleanup(self.libvirt.virsh, "destroy", name)

    def snapshot(self):
        """All that can be seen on the machine."""
        links = json.loads(self.on_machine("ip -d -j link"))
        told = ("ifindex", "ifname", "address", "master", "mtu", "link_netnsid", "linkinfo")
        names = self.libvirt.virsh("list", "--all", "--name").stdout.split()
        return {
            "links": [{key: self.lasting(link.get(key)) for key in told} for link in links],
            "addresses": re.sub(r" valid_lft.*", "", self.on_machine("ip -4 address | grep inet")),
            "routes": self.on_machine("ip route").replace("linkdown ", ""),  # the kernel's own, later than the link
            "forwarding": self.on_machine("cat /proc/sys/net/ipv4/ip_forward"),
            "rules": [self.rules(command) for command in ("iptables-save", "ip6tables-save", "ebtables-save", "ipset save")],
            "domains": {name: self.libvirt.virsh("dumpxml", name).stdout for name in sorted(names)},
            "domain states": {name: self.libvirt.virsh("domstate", name).stdout for name in sorted(names)},
            "definitions": self.files(self.libvirt.directory / "etc/libvirt"),
            "programs": self.programs(),
            "state": self.files(self.cloud.state_dir),
        }

    @staticmethod
    def lasting(value):
        """A bridge tells its timers and its root's cost beside what it is."""
        return {"kind": value.get("info_kind")} if isinstance(value, dict) else value

    def rules(self, command):
        lines = self.on_machine(f"{command} 2>/dev/null || true").splitlines()
        return [re.sub(r"\[\d+:\d+\]", "", line) for line in lines if not line.startswith("#")]

    def programs(self):
        """Names and pids. Not this look itself, nor libvirtd's short-lived helpers: what has been started for good."""
        found = []
        for pid in self.on_machine(f"ip netns pids {self.machine.name}").split():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                found.append((pathlib.Path(f"/proc/{pid}/comm").read_text().strip(), pid))
        return sorted(each for each in found if each[0].startswith(("qemu", "dnsmasq", "karri")))

    @staticmethod
    def files(directory):
        """Paths with what is in each."""
        return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                for path in sorted(directory.rglob("*"))}

    def test_all_that_was_there_is_there_as_it_was_and_nothing_else(self):
        self.on_machine(LINKS + RULES)
        self.machine.start("dnsmasq", "--conf-file=/dev/null", "--port=0", "--keep-in-foreground", "--bind-interfaces",
                           "--interface=foreign-br", "--dhcp-range=203.0.113.10,203.0.113.20", "--pid-file=",
                           f"--dhcp-leasefile={self.cloud.directory}/leases", log=self.cloud.directory / "dnsmasq.log")
        self.define("foreign", run=True)
        self.define("karri-i-0123456789abcdef0", run=True)
        self.define("karri-i-0fee1dead0fee1dea", OF_ANOTHER_CLOUD.format(node="nc-karri-1a"))
        self.cloud.state_dir.mkdir()
        (self.cloud.state_dir / "notes").write_text("not karri's\n")
        wait_until("two guests and dnsmasq run", lambda: len(self.programs()) == 3)
        before = self.snapshot()

        with self.cloud as cloud:
            ec2 = cloud.boto3()
            [one] = cloud.launch(ec2)
            wait_state(ec2, one, "running")
            during = self.snapshot()
            for where in before:  # else what follows would prove nothing
                self.assertNotEqual(during[where], before[where], where)
            [config] = self.cloud.state_dir.glob("config/cc-*.toml")
            run_dir = pathlib.Path(re.search(r'^run_dir = "(.*)"', config.read_text(), re.M).group(1))
            self.assertTrue(list(run_dir.iterdir()))
            cloud.stop()
            self.assertEqual(cloud.trouble(), [])  # the logs go too
            cloud.clean()
            # The foreign rules are about forwarding, so somebody else may rely on it by now: it stays on.
            self.assertEqual(self.snapshot(), {**before, "forwarding": "1\n"})
            self.assertFalse(run_dir.parent.exists(), "what dnsmasq and the rules had there")
            cloud.clean = lambda: None  # nothing is left to clean


if __name__ == "__main__":
    unittest.main(verbosity=2)
