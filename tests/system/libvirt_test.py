"""libvirtd dies, hangs and comes back under a node controller that goes on, with guests that go on.

The daemon is a private one, so that it can be treated so.
"""

import os
import signal
import unittest

from hosts import PrivateLibvirt
from real_cloud import BOOT_SECONDS, RealCloud, instance, new_key, ssh, state, wait_state, wait_until

IMDS = "http://169.254.169.254/latest"
# From the daemon's answer to the node controller's next connection, on a busy machine.
BACK_SECONDS = 20
# libvirt's keep-alive gives a daemon that says nothing up after twenty.
HUNG_SECONDS = 90
AWAY = ("the connection to libvirt broke", "guests cannot be seen", "a step must wait")


def setUpModule():
    global cloud, libvirt, ec2, key
    cloud = RealCloud(number=43)
    libvirt = PrivateLibvirt(cloud.directory / "libvirt").start()
    unittest.addModuleCleanup(libvirt.stop)
    cloud.environment["KARRI_NC_HYPERVISOR__URI"] = libvirt.uri
    cloud.__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    cloud.expect(*AWAY)
    ec2 = cloud.boto3()
    key = new_key(cloud, ec2, "libvirt", KeyType="ed25519")


def log_lines(message):
    """How often the node controller has said it."""
    [log] = cloud.state_dir.glob("nc*/log.jsonl")
    return log.read_text().count(f'"{message}')


class Restart(unittest.TestCase):
    def setUp(self):
        self.one = cloud.running_guest(ec2, KeyName="libvirt")
        self.ip = instance(ec2, self.one)["PrivateIpAddress"]
        self.born = self.boot_id()
        self.connections, self.broken = log_lines("connected to libvirt"), log_lines("guests cannot be seen")
        self.pids = cloud.children()

    def tearDown(self):
        if not libvirt.answers():  # the test has failed in between
            libvirt.start()
        self.assertEqual(cloud.children(), self.pids, "the controllers are those of before")

    @classmethod
    def tearDownClass(cls):
        alive = [one for one in getattr(cloud, "launched", ()) if state(ec2, one) != "terminated"]
        if alive:
            ec2.terminate_instances(InstanceIds=alive)
        for one in alive:
            wait_state(ec2, one, "terminated")
        assert libvirt.domains() == set(), libvirt.domains()

    def boot_id(self):
        return ssh(self.ip, key, "cat /proc/sys/kernel/random/boot_id")

    def reconnected(self):
        wait_until("connected again", lambda: log_lines("connected to libvirt") > self.connections, BACK_SECONDS)

    def test_a_killed_daemon_takes_nothing_with_it_and_events_come_again(self):
        libvirt.kill()
        wait_until("it is noticed", lambda: log_lines("guests cannot be seen") > self.broken, BACK_SECONDS)
        self.assertEqual(self.boot_id(), self.born)
        self.assertEqual(ssh(self.ip, key, f"wget -qO- {IMDS}/meta-data/instance-id"), self.one)
        self.assertEqual(state(ec2, self.one), "running", "a guest that cannot be seen is not called dead")
        libvirt.start()
        self.reconnected()
        self.assertEqual(state(ec2, self.one), "running")
        self.assertEqual(self.boot_id(), self.born)
        # That a reboot has happened is told by an event alone; without it the guest is reset at its deadline.
        ec2.reboot_instances(InstanceIds=[self.one])
        wait_until("the event of the reboot", lambda: "rebooted" in cloud.karri("why", self.one), BOOT_SECONDS)
        self.assertNotIn("guest reset", cloud.karri("why", self.one))
        self.assertNotEqual(self.boot_id(), self.born)

    def test_what_is_asked_while_the_daemon_is_away_is_done_when_it_is_back(self):
        libvirt.kill()
        [new] = cloud.launch(ec2, KeyName="libvirt")
        ec2.terminate_instances(InstanceIds=[self.one])
        wait_until("the new one waits", lambda: "the hypervisor does not answer" in cloud.karri("why", new), BOOT_SECONDS)
        self.assertEqual((state(ec2, new), state(ec2, self.one)), ("pending", "shutting-down"))
        libvirt.start()
        wait_state(ec2, new, "running")
        wait_state(ec2, self.one, "terminated")
        self.assertEqual(libvirt.domains("--state-running"), {new})
        ssh(instance(ec2, new)["PrivateIpAddress"], key, "true")

    def test_a_hung_daemon_is_given_up_and_taken_again_when_it_answers(self):
        os.kill(libvirt.process.pid, signal.SIGSTOP)
        try:
            wait_until("it is given up", lambda: log_lines("guests cannot be seen") > self.broken, HUNG_SECONDS)
            self.assertEqual(self.boot_id(), self.born)
            self.assertEqual(state(ec2, self.one), "running")
        finally:
            os.kill(libvirt.process.pid, signal.SIGCONT)
        self.reconnected()
        ec2.stop_instances(InstanceIds=[self.one])
        wait_state(ec2, self.one, "stopped")


if __name__ == "__main__":
    unittest.main(verbosity=2)
