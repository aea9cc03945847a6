"""A node whose disk is full: launches fail with a clear reason and leave nothing, what runs goes on, and
what is terminated goes, for that is how room comes back."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

from real_cloud import (BOOT_SECONDS, KARRI, KILLED, RealCloud, domains, instance, new_key, ssh, state, wait_state,
                        wait_until)

DISK_MIB = 640
MIB = 1 << 20
# What a node wants to be free before it makes a disk, and less than that.
TOO_LITTLE_BYTES = 32 * MIB
GUEST_WRITES_MIB = 64
# What a full disk makes the controllers say.
FULL = ("the instance cannot be started", "failing", "node did not take it", "a step must wait", "stands still")


class SmallDiskCloud(RealCloud):
    """Its node's state lies on a file system of its own."""

    def __init__(self, number):
        super().__init__(number)
        self.disk = pathlib.Path(tempfile.mkdtemp(prefix="karri-small-disk-"))
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "karri-test", self.disk], check=True)
        self.ballast = self.disk / "ballast"
        node = self.disk / "nc"
        node.mkdir()
        self.state_dir.mkdir()
        (self.state_dir / "nc-karri-1a").symlink_to(node)
        # More than there is: it is the disk itself that says no.
        self.environment["KARRI_NC_NODE__DISK_GIB"] = "100"

    def unmount(self):
        subprocess.run(["umount", self.disk], check=True)
        self.disk.rmdir()

    def free_bytes(self):
        facts = os.statvfs(self.disk)
        return facts.f_bavail * facts.f_frsize

    def fill(self, leave_bytes):
        with self.ballast.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), self.free_bytes() - leave_bytes)

    def make_room(self):
        self.ballast.unlink(missing_ok=True)


def setUpModule():
    global cloud, ec2, key
    cloud = SmallDiskCloud(number=48)
    unittest.addModuleCleanup(cloud.unmount)
    cloud.__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    cloud.expect(*FULL)
    ec2 = cloud.boto3()
    key = new_key(cloud, ec2, "disk", KeyType="ed25519")


def directories():
    return {path.name for path in cloud.state_dir.glob("nc*/instances/*")}


def taps():
    links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
    return [link["ifname"] for link in links if link.get("master") == cloud.bridge]


def capacity():
    status = json.loads(cloud.karri("node", "list", "--output", "json"))
    return [(node["free_vcpus"], node["free_memory_mib"]) for node in status]


class FullDisk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.capacity = {False: wait_until("the node is there", capacity)}

    def setUp(self):
        self.lives = cloud.running_guest(ec2, KeyName="disk")
        self.ip = instance(ec2, self.lives)["PrivateIpAddress"]
        ssh(self.ip, key, "sync")
        self.capacity.setdefault(True, capacity())  # with one that lives

    def tearDown(self):
        cloud.make_room()
        others = cloud.launched - {self.lives}
        if others:
            ec2.terminate_instances(InstanceIds=sorted(others))
        for one in others:
            wait_state(ec2, one, "terminated")
        self.nothing_is_left_but({self.lives} if state(ec2, self.lives) == "running" else set())

    def nothing_is_left_but(self, living):
        wait_until("directories", lambda: directories() == living, 30)
        self.assertEqual(set(domains()) & cloud.launched, living)
        self.assertEqual(len(taps()), len(living))
        wait_until("capacity", lambda: capacity() == self.capacity[bool(living)], 30)

    def launch_fails(self):
        """Returns the reason."""
        [one] = cloud.launch(ec2, KeyName="disk")
        wait_state(ec2, one, "terminated")
        reason = instance(ec2, one)["StateReason"]
        self.assertEqual(reason["Code"], "Server.InsufficientInstanceCapacity", reason)
        self.nothing_is_left_but({self.lives})
        self.assertEqual(ssh(self.ip, key, "echo alive"), "alive")
        return reason["Message"]

    def launch_works(self):
        [one] = cloud.launch(ec2, KeyName="disk")
        wait_state(ec2, one, "running")
        ssh(instance(ec2, one)["PrivateIpAddress"], key, "true")

    def test_too_little_room_for_a_disk(self):
        cloud.fill(leave_bytes=TOO_LITTLE_BYTES)
        self.assertIn("not enough room on the node", self.launch_fails())
        cloud.make_room()
        self.launch_works()

    def test_not_one_byte_of_room(self):
        cloud.fill(leave_bytes=0)
        self.assertEqual(cloud.free_bytes(), 0)
        self.assertIn("full", self.launch_fails().lower())
        cloud.make_room()
        self.launch_works()

    def test_a_node_controller_that_is_killed_on_a_full_disk_starts_again(self):
        cloud.expect(*KILLED)
        children = cloud.state_dir / "run" / "children.json"
        pid = {child["name"]: child["pid"] for child in json.loads(children.read_text())}["nc-karri-1a"]
        cloud.fill(leave_bytes=0)
        self.addCleanup(cloud.make_room)
        os.kill(pid, signal.SIGKILL)

        def back():
            again = {child["name"]: child["pid"] for child in json.loads(children.read_text())}["nc-karri-1a"]
            asked = [KARRI, "status", "--output", "json", "--state-dir", cloud.state_dir]
            return again != pid and subprocess.run(asked, capture_output=True).returncode == 0

        wait_until("it is back", back, BOOT_SECONDS)
        self.assertEqual(ssh(self.ip, key, "echo alive"), "alive")

    def test_a_guest_that_finds_no_room_stands_still_and_goes_on_when_there_is_some(self):
        cloud.fill(leave_bytes=GUEST_WRITES_MIB * MIB // 4)
        write = f"dd if=/dev/urandom of=/root/big bs=1M count={GUEST_WRITES_MIB} && sync && touch /root/written"
        ssh(self.ip, key, f"({write}) </dev/null >/dev/null 2>&1 &")
        wait_until("it stands still", lambda: "stands still" in cloud.karri("why", self.lives), BOOT_SECONDS)
        self.assertEqual(state(ec2, self.lives), "running")
        cloud.make_room()
        wait_until("it goes on", lambda: "the guest goes on" in cloud.karri("why", self.lives), BOOT_SECONDS)
        wait_until("all is written", lambda: "written" in ssh(self.ip, key, "ls /root"), BOOT_SECONDS)
        self.assertEqual(ssh(self.ip, key, "wc -c < /root/big"), str(GUEST_WRITES_MIB * MIB))

    def test_what_is_terminated_on_a_full_disk_makes_room(self):
        cloud.fill(leave_bytes=0)
        self.assertEqual(cloud.free_bytes(), 0)
        ec2.terminate_instances(InstanceIds=[self.lives])
        wait_state(ec2, self.lives, "terminated")
        self.nothing_is_left_but(set())
        self.assertGreater(cloud.free_bytes(), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
