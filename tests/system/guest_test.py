"""Real guests under libvirt, driven by boto3 and reached by ssh: what a first user does, and then worse.

Guests that are emulated take seconds to boot: tests that leave a guest as they found it share one.
"""

import base64
import contextlib
import datetime
import gzip
import json
import socket
import statistics
import subprocess
import time
import unittest

from real_cloud import (BOOT_SECONDS, RealCloud, domains, instance, kept, new_key, part_with_guests, wait_state,
                        wait_until)
from real_cloud import ssh as ssh_to

IMDS = "http://169.254.169.254/latest"


def setUpModule():
    global cloud, ec2, key
    cloud = RealCloud(number=1).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    unittest.addModuleCleanup(part_with_guests, cloud.directory)
    ec2 = cloud.boto3()
    key = new_key(cloud, ec2, "guest-test")


def ssh(address, command):
    return ssh_to(address, key, command, options=kept(cloud.directory))


def console(instance_id):
    output = ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", "")
    return output


def address(instance_id):
    return instance(ec2, instance_id)["PrivateIpAddress"]


@contextlib.contextmanager
def metadata_answers(instance_id):
    """What the metadata service answers an instance, as its tap carries it: (time to live, text) of each."""
    listing = subprocess.run(["virsh", "-c", "qemu:///system", "domiflist", domains()[instance_id]], check=True,
                             capture_output=True, text=True).stdout
    tap = listing.splitlines()[2].split()[0]
    every_protocol = socket.htons(3)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, every_protocol) as wire:
        wire.bind((tap, 3))
        wire.setblocking(False)
        seen = []

        def answers():
            while True:
                try:
                    packet = wire.recv(65535)
                except BlockingIOError:
                    return seen
                text = packet[(packet[0] & 15) * 4:] if packet[0] >> 4 == 4 else b""
                if text and packet[9] == socket.IPPROTO_TCP and packet[12:16] == socket.inet_aton("169.254.169.254"):
                    text = text[(text[12] >> 4) * 4:]
                    if text.startswith(b"HTTP/1."):
                        seen.append((packet[8], text))

        yield answers


def end_of_domain(name):
    """Takes the power from a domain; the time at which that was done, as libvirt says."""
    subprocess.run(["virsh", "-c", "qemu:///system", "destroy", name], check=True, stdout=subprocess.DEVNULL)
    return time.time()


def node_said(instance_id, message):
    """The node's log lines with that message about an instance."""
    lines = [json.loads(line) for log in cloud.state_dir.glob("nc*/log.jsonl") for line in log.read_text().splitlines()]
    said = {"message": message, "instance_id": instance_id}
    return [line for line in lines if said.items() <= line["fields"].items()]


def launch(**more):
    [one] = cloud.launch(ec2, KeyName="guest-test", **more)
    return one


def terminate(one):
    ec2.terminate_instances(InstanceIds=[one])
    wait_state(ec2, one, "terminated")
    assert one not in domains(), "the domain of a terminated instance is still there"
    assert not list(cloud.state_dir.glob(f"nc*/instances/{one}/disk*")), "a disk of a terminated instance is still there"


class SharedGuests(unittest.TestCase):
    """Two guests, which no test changes."""

    USER_DATA = b"#!/bin/sh\necho user data ran > /root/proof\n"
    BYTES = bytes(range(256)) * 16

    @classmethod
    def setUpClass(cls):
        cls.one = launch(UserData=cls.USER_DATA.decode(),
                         BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 3}}])
        cls.addClassCleanup(terminate, cls.one)
        cls.guarded = launch(UserData=cls.BYTES, MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 3})
        cls.addClassCleanup(terminate, cls.guarded)
        for guest in (cls.one, cls.guarded):
            wait_state(ec2, guest, "running")

    def token(self, ip):
        """A token, as the service answers who asks for one: with all that comes before it."""
        ask = ("printf 'PUT /latest/api/token HTTP/1.0\\r\\nX-aws-ec2-metadata-token-ttl-seconds: 60\\r\\n\\r\\n'"
               " | nc 169.254.169.254 80")
        answer = ssh(ip, ask)
        self.assertIn("200 OK", answer)
        return answer.splitlines()[-1]

    def test_boots_logs_in_shows_its_console_and_its_metadata(self):
        ip = address(self.one)
        self.assertEqual(ssh(ip, "hostname").split(".")[0], instance(ec2, self.one)["PrivateDnsName"].split(".")[0])
        wait_until("the ready line on the console", lambda: "karri-tiny: ready" in console(self.one), BOOT_SECONDS)
        self.assertEqual(ssh(ip, f"wget -qO- {IMDS}/meta-data/instance-id"), self.one)
        self.assertEqual(ssh(ip, f"wget -qO- {IMDS}/meta-data/local-ipv4"), ip)
        self.assertIn('"instanceId"', ssh(ip, f"wget -qO- {IMDS}/dynamic/instance-identity/document"))
        wait_until("user data has run", lambda: ssh(ip, "cat /root/proof || true") == "user data ran", BOOT_SECONDS)

    def test_the_processor_has_what_guests_need_and_an_emulated_one_nothing_that_costs(self):
        text = ssh(address(self.one), "cat /proc/cpuinfo")
        flags = set(next(line for line in text.splitlines() if line.startswith("flags")).split())
        self.assertLessEqual({"lm", "cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}, flags)
        [node] = json.loads(cloud.karri("node", "list", "--output", "json"))
        costly = {"pti", "svm", "vmx", "retpoline"} & flags
        self.assertTrue(node["accelerator"] == "kvm" or not costly, costly)

    def test_the_root_disk_has_the_asked_size(self):
        sectors = int(ssh(address(self.one), "cat /sys/block/vda/size"))
        self.assertEqual(sectors * 512, 3 * 1024**3)

    def test_required_tokens_are_required_and_user_data_comes_back_byte_for_byte(self):
        ip = address(self.guarded)
        for path in ("meta-data/instance-id", "user-data"):
            self.assertIn("401", ssh(ip, f"wget -qO- {IMDS}/{path} 2>&1 || true"))
        ask = f"wget -qO- --header 'X-aws-ec2-metadata-token: {self.token(ip)}' {IMDS}"
        self.assertEqual(ssh(ip, f"{ask}/meta-data/instance-id"), self.guarded)
        seen = ssh(ip, f"{ask}/user-data | base64 -w 0")
        self.assertEqual(base64.b64decode(seen), self.BYTES)

    def test_an_answer_with_a_token_goes_as_far_as_the_hop_limit_says(self):
        ip = address(self.guarded)
        ssh(ip, "true")
        with metadata_answers(self.guarded) as answers:
            header = f"--header 'X-aws-ec2-metadata-token: {self.token(ip)}'"
            self.assertEqual(ssh(ip, f"wget -qO- {header} {IMDS}/meta-data/instance-id"), self.guarded)
            wait_until("both answers on the wire", lambda: len(answers()) >= 2, 20)
            seen = answers()
        token = {ttl for ttl, text in seen if b"token-ttl-seconds" in text}
        other = {ttl for ttl, text in seen if b"token-ttl-seconds" not in text}
        self.assertEqual((token, other), ({3}, {64}))

    def test_two_guests_reach_each_other_and_each_sees_only_its_own_metadata(self):
        one, two = address(self.one), address(self.guarded)
        self.assertEqual(ssh(one, f"wget -qO- {IMDS}/meta-data/instance-id"), self.one)
        header = f"--header 'X-aws-ec2-metadata-token: {self.token(two)}'"
        self.assertEqual(ssh(two, f"wget -qO- {header} {IMDS}/meta-data/instance-id"), self.guarded)
        # By its name, too, and by the part of it for which the guest has been told where to search.
        name = instance(ec2, self.guarded)["PrivateDnsName"]
        for called in (two, name, name.split(".")[0]):
            self.assertIn(f"({two})", ssh(one, f"ping -c 3 -W 10 {called}"))


class Guests(unittest.TestCase):
    def launch(self, **more):
        one = launch(**more)
        self.addCleanup(terminate, one)
        wait_state(ec2, one, "running")
        return one

    def test_kernel_ramdisk_and_root_image_boot_too(self):
        packed = gzip.compress(b"#!/bin/sh\necho packed > /root/proof\n")
        one = self.launch(ImageId=cloud.demo_image(ec2, "kernel"), UserData=packed)
        self.assertTrue(instance(ec2, one)["KernelId"].startswith("aki-"))
        wait_until("user data has run", lambda: ssh(address(one), "cat /root/proof || true") == "packed", BOOT_SECONDS)

    def test_what_was_written_survives_reboot_stop_and_start_and_poweroff_stops(self):
        one = self.launch()
        ssh(address(one), "echo kept > /root/kept && sync")
        born = ssh(address(one), "cat /proc/sys/kernel/random/boot_id")
        ec2.reboot_instances(InstanceIds=[one])
        wait_until("another boot", lambda: ssh_anew(address(one), "cat /proc/sys/kernel/random/boot_id") != born, BOOT_SECONDS)
        self.assertEqual(ssh_anew(address(one), "cat /root/kept"), "kept")
        ec2.stop_instances(InstanceIds=[one])
        wait_state(ec2, one, "stopped", seconds=120)
        self.assertNotIn(one, domains("--state-running"))
        ec2.start_instances(InstanceIds=[one])
        wait_state(ec2, one, "running")
        self.assertEqual(ssh_anew(address(one), "cat /root/kept"), "kept")
        power_off(one)
        wait_state(ec2, one, "stopped")
        self.assertEqual(instance(ec2, one)["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")

    def test_poweroff_inside_terminates_if_asked(self):
        one = self.launch(InstanceInitiatedShutdownBehavior="terminate")
        power_off(one)
        wait_state(ec2, one, "terminated")
        self.assertEqual(instance(ec2, one)["StateReason"]["Code"], "Client.InstanceInitiatedShutdown")

    def test_a_domain_stopped_behind_our_back_is_seen_within_two_seconds(self):
        one = self.launch()
        delays = []
        for turn in range(3):  # one of them may fall into a moment when the machine is elsewhere
            if turn:
                ec2.start_instances(InstanceIds=[one])
                wait_state(ec2, one, "running")
            ended = end_of_domain(domains()[one])
            lines = wait_until("the node has seen it", lambda: (found := node_said(one, "stopped"))[turn:] and found, 20)
            delays.append(datetime.datetime.fromisoformat(lines[-1]["timestamp"]).timestamp() - ended)
            wait_state(ec2, one, "stopped")
        self.assertLess(statistics.median(delays), 2.0, delays)


def ssh_anew(address, command):
    """By a connection of its own: one that is kept is to a guest that is no more."""
    return ssh_to(address, key, command)


def power_off(instance_id):
    ssh_anew(address(instance_id), "(sleep 1; poweroff) </dev/null >/dev/null 2>&1 &")


if __name__ == "__main__":
    unittest.main(verbosity=2)
