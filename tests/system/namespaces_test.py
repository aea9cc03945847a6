"""A node on another machine: it joins over the network with a token, loses its cable, and comes back.

The other machine is a network namespace. First its node is simulated, then it has a libvirt of its own and
runs real guests, on a bridge that a second cable joins to the cloud's.
"""

import base64
import json
import time
import unittest
import urllib.request

import botocore.exceptions
from hosts import NODE, SILENT_SECONDS, FarNode, Machine, PrivateLibvirt, ip, is_alive, new_token, node
from real_cloud import KARRI, Cloud, RealCloud, instance, new_key, ssh, state, wait_state, wait_until

IMDS = "http://169.254.169.254/latest"
# What a cut cable may make the controllers say.
CUT = ("node does not report", "node is silent", "node did not take it", "does not hear this node")


def silent_nodes(cloud):
    """As the cluster controller's metrics tell."""
    [endpoint] = cloud.state_dir.glob("cc-*/endpoint.json")
    url = json.loads(endpoint.read_text())["observe_url"] + "/metrics"
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    [value] = [line.split()[-1] for line in lines if line.startswith('karri_cc_nodes{state="silent"}')]
    return float(value)


class Cut:
    """What must hold of a node whose cable is cut, whoever runs its guests. A class says what is `cloud`, …"""

    def test_instances_meet_outlive_a_cut_cable_and_are_there_once_and_nothing_is_left(self):
        cloud, ec2 = self.cloud, self.ec2
        stays, goes = self.launch(), self.launch()
        self.assertEqual(self.far.instances(), {stays, goes})
        self.meet(stays, goes)
        before = self.life(stays)
        cloud.expect(*CUT)
        self.machine.pull_cables()
        wait_until("the node is known to be away", lambda: not is_alive(cloud, self.node_name), SILENT_SECONDS)
        wait_until("metrics tell it too", lambda: silent_nodes(cloud) == 1, SILENT_SECONDS)
        self.assertEqual(state(ec2, stays), "running", "nobody knows better")
        with self.assertRaisesRegex(botocore.exceptions.ClientError, "InsufficientInstanceCapacity"):
            self.launch()
        ec2.terminate_instances(InstanceIds=[goes])
        self.assertEqual(state(ec2, goes), "shutting-down", "nobody has told the node")

        self.machine.plug_cables()
        wait_until("the node is back", lambda: is_alive(cloud, self.node_name), SILENT_SECONDS)
        wait_state(ec2, goes, "terminated")
        self.assertEqual(state(ec2, stays), "running")
        self.assertEqual(self.life(stays), before)
        wait_until("it is there alone", lambda: self.far.instances() == {stays}, 30)
        known = [i["InstanceId"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]]
        self.assertEqual(sorted(known), sorted([stays, goes]))
        ec2.terminate_instances(InstanceIds=[stays])
        wait_state(ec2, stays, "terminated")
        wait_until("nothing is left", lambda: not self.far.instances(), 30)
        self.nothing_is_left_there()

    def meet(self, one, two):
        """Simulated guests do not."""

    def nothing_is_left_there(self):
        """Nor is there anything else of simulated ones."""


class SimulatedNode(Cut, unittest.TestCase):
    node_name = f"{NODE}-0"

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine(41).open()
        cls.cloud = SimulatedLan(nodes=1).at(cls.machine.near).__enter__()
        cls.addClassCleanup(cls.cloud.__exit__, None)
        cls.addClassCleanup(cls.machine.close)
        cls.ec2 = cls.cloud.boto3()
        machines = cls.ec2.describe_images(Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"]
        cls.image = machines[0]["ImageId"]
        cls.far = FarNode(cls.cloud, cls.machine, "--sim")
        cls.far.join_and_start()
        wait_until("the node is there", lambda: is_alive(cls.cloud, cls.node_name), SILENT_SECONDS)

    def launch(self):
        [one] = self.ec2.run_instances(ImageId=self.image, InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"]
        wait_state(self.ec2, one["InstanceId"], "running")
        return one["InstanceId"]

    def life(self, one):
        return instance(self.ec2, one)["LaunchTime"]

    def refused(self, token, words):
        """Another machine's try, which must leave nothing."""
        directory = self.cloud.directory / "stranger"
        done = self.machine.run(KARRI, "node", "join", token, "--sim", "--name", "stranger", "--state-dir", directory)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        self.assertIn(words, done.stderr)
        self.assertFalse(directory.exists())
        self.assertIsNone(node(self.cloud, "stranger-0"))

    def test_a_used_token_is_refused(self):
        token = new_token(self.cloud, "--replace")["token"]  # the name is taken: by this very node
        self.assertEqual(self.far.join(token).returncode, 0)
        self.refused(token, "used by another node")

    def test_an_expired_token_is_refused(self):
        token = new_token(self.cloud, "--valid", "1")
        wait_until("it has expired", lambda: time.time() * 1000 > token["expires_at_unix_ms"], 30)
        self.refused(token["token"], "expired")

    def test_a_token_that_the_cloud_never_gave_is_refused(self):
        self.refused(altered(new_token(self.cloud)["token"], secret="0" * 64), "the token is unknown")

    def test_a_cloud_that_is_not_the_one_of_the_token_is_refused(self):
        self.refused(altered(new_token(self.cloud)["token"], ca_fingerprint="0" * 64), "another CA than the join token names")


def altered(token, **changes):
    version, body = token.split(".")
    facts = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    body = base64.urlsafe_b64encode(json.dumps({**facts, **changes}).encode()).decode().rstrip("=")
    return f"{version}.{body}"


class RealNode(Cut, unittest.TestCase):
    node_name = NODE

    @classmethod
    def setUpClass(cls):
        cls.machine = Machine(42).open()
        cls.cloud = RealLan(number=42).at(cls.machine.near).__enter__()
        cls.addClassCleanup(cls.cloud.__exit__, None)
        cls.addClassCleanup(cls.machine.close)
        ip("link", "set", cls.machine.cable("lan"), "master", cls.cloud.bridge)
        cls.libvirt = PrivateLibvirt(cls.cloud.directory / "libvirt", cls.machine).start()
        cls.addClassCleanup(cls.libvirt.stop)
        cls.addClassCleanup(cls.machine.stop_processes)
        cls.ec2 = cls.cloud.boto3()
        cls.key = new_key(cls.cloud, cls.ec2, "lan", KeyType="ed25519")
        cls.far = FarNode(cls.cloud, cls.machine, KARRI_NC_HYPERVISOR__URI=cls.libvirt.uri,
                          KARRI_NC_NETWORK__BRIDGE=cls.cloud.bridge, KARRI_NC_NETWORK__UPLINK="lan")
        cls.far.join_and_start()
        wait_until("the node is there", lambda: is_alive(cls.cloud, cls.node_name), SILENT_SECONDS)

    def launch(self):
        [one] = self.cloud.launch(self.ec2, KeyName="lan")
        wait_state(self.ec2, one, "running")
        return one

    def life(self, one):
        """One boot of one guest; and the node that it runs on has its metadata."""
        self.assertIn(one, self.libvirt.domains("--state-running"))
        address = instance(self.ec2, one)["PrivateIpAddress"]
        self.assertEqual(ssh(address, self.key, f"wget -qO- {IMDS}/meta-data/instance-id"), one)
        return ssh(address, self.key, "cat /proc/sys/kernel/random/boot_id")

    def meet(self, one, two):
        there = instance(self.ec2, two)["PrivateIpAddress"]
        ssh(there, self.key, "true")
        ssh(instance(self.ec2, one)["PrivateIpAddress"], self.key, f"ping -c 2 -W 5 {there}")

    def nothing_is_left_there(self):
        self.assertEqual(self.libvirt.domains(), set())
        links = json.loads(self.machine.run("ip", "-j", "link", "show", "master", self.cloud.bridge).stdout)
        self.assertEqual([link["ifname"] for link in links], ["lan"])


class Lan:
    """A cloud that other machines can reach, and whose own node is too small for any instance."""

    def at(self, address):
        self.address = address
        self.environment = {**self.environment, "KARRI_NC_NODE__MEMORY_MIB": "256"}
        # It ends while its node goes away.
        self.expect("node does not report")
        return self

    def up_arguments(self):
        return [*super().up_arguments(), "--address", self.address]


class SimulatedLan(Lan, Cloud):
    pass


class RealLan(Lan, RealCloud):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
