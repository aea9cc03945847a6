"""Controllers come and go; guests stay and their metadata answers."""

import json
import os
import pathlib
import signal
import subprocess
import unittest

from real_cloud import KARRI, KILLED, RealCloud, domains, instance, new_key, ssh, state, wait_state, wait_until

IMDS = "http://169.254.169.254/latest"
USER_DATA = "#!/bin/sh\n: told at launch\n"


def setUpModule():
    global cloud, ec2, key, one, ip
    cloud = RealCloud(number=2).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2 = cloud.boto3()
    key = new_key(cloud, ec2, "adoption", KeyType="ed25519")
    [one] = cloud.launch(ec2, KeyName="adoption", UserData=USER_DATA)
    wait_state(ec2, one, "running")
    ip = instance(ec2, one)["PrivateIpAddress"]
    ssh(ip, key, "true")


def boot_id():
    return ssh(ip, key, "cat /proc/sys/kernel/random/boot_id")


def told(path):
    """What the guest is told of itself; nothing while nobody answers."""
    return ssh(ip, key, f"wget -qO- {IMDS}/{path} || true").strip()


def kill(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(f"{pid} is dead", lambda: is_dead(pid))


def is_dead(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except FileNotFoundError:
        return True


class Adoption(unittest.TestCase):
    def test_ctrl_c_leaves_the_guest_and_the_next_up_adopts_it(self):
        born = boot_id()
        cloud.stop()
        self.assertIn(one, domains("--state-running"))
        self.assertEqual(boot_id(), born)
        cloud.up()
        self.assertEqual(state(ec2, one), "running")
        self.assertEqual(boot_id(), born)

    def test_each_controller_killed_is_started_again_and_loses_nothing(self):
        born = boot_id()
        cloud.expect(*KILLED)
        for name, pid in cloud.children().items():
            kill(pid)
            wait_until(f"another {name}", lambda: cloud.children().get(name) not in (None, pid), 30)
            wait_until("the cloud answers", lambda: state_or_none() == "running", 30)
        self.assertEqual(boot_id(), born)

    def test_metadata_answers_with_all_dead_but_a_node_that_just_started(self):
        cloud.expect(*KILLED)
        children = cloud.children()
        kill(cloud.process.pid)
        cloud.process.wait()
        for pid in children.values():
            kill(pid)
        [name] = [name for name in children if name.startswith("nc")]
        config = cloud.state_dir / "config" / f"{name}.toml"
        with (cloud.directory / "alone.log").open("wb") as log:
            node = subprocess.Popen([KARRI.with_name("karri-nc"), "--config", config], stdout=log, stderr=log,
                                    env={**os.environ, **cloud.environment})
        try:
            wait_until("the node answers its guest", lambda: told("meta-data/instance-id") == one, 30)
            self.assertEqual(told("user-data"), USER_DATA.strip())
            made = subprocess.run(["ssh-keygen", "-y", "-f", key], capture_output=True, text=True, check=True).stdout
            self.assertEqual(told("meta-data/public-keys/0/openssh-key").split()[:2], made.split()[:2])
        finally:
            node.terminate()
            node.wait(30)
        cloud.up()
        self.assertEqual(state(ec2, one), "running")

    def test_why_tells_the_story_across_controllers(self):
        story = json.loads(cloud.karri("--output", "json", "why", one))
        for who in ("clc ", "cc ", "nc "):
            self.assertTrue([line for line in story if line["who"].startswith(who) and line["level"] == "INFO"], who)
        self.assertEqual([line for line in story if "missing" in line["message"]], [])
        steps = [line["message"] for line in story if line["who"].startswith("nc ")]
        for step in ("images are to be fetched", "the image is here, and verified", "images fetched"):
            self.assertIn(step, steps)
        [request] = {line["fields"]["request_id"] for line in story if line["message"] == "images fetched"}
        told = json.loads(cloud.karri("--output", "json", "why", request))
        read = [line for line in told if line["who"].startswith("walrus ") and line["message"] == "a blob is read"]
        self.assertTrue(read, told)


def state_or_none():
    try:
        return state(ec2, one)
    except Exception:  # the clc itself may be the one that is away
        return None


if __name__ == "__main__":
    unittest.main(verbosity=2)
