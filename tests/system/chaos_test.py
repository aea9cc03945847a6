"""Fifty launches and terminations while each controller is killed at random points.

At the end everybody's books must agree: the clc's, the nc's directories, libvirt's domains, disks and
taps. The seed is printed; KARRI_CHAOS_SEED repeats a run's choices, KARRI_CHAOS_LAUNCHES makes it longer.

The guests are real domains with a disk that halts at its first instruction: what is tried here are the
controllers, and fifty emulated boots would cost minutes. KARRI_CHAOS_IMAGE=tiny boots them all the same.
"""

import json
import os
import pathlib
import random
import signal
import subprocess
import time
import unittest

from real_cloud import KILLED, RealCloud, domains, wait_until  # noqa: E402

SEED = int(os.environ.get("KARRI_CHAOS_SEED", "20260101"))
LAUNCHES = int(os.environ.get("KARRI_CHAOS_LAUNCHES", "50"))
LIVING_MAX = 4
ROUND_SECONDS = 60
SETTLE_SECONDS = 180
IMAGE = os.environ.get("KARRI_CHAOS_IMAGE", "halt")
HALT = bytes([0xFA, 0xF4, 0xEB, 0xFC]).ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt; again
SETTLED = {"running", "terminated", "stopped"}


def setUpModule():
    global cloud
    cloud = RealCloud(number=3)
    if IMAGE == "halt":
        cloud.environment["KARRI_NC_GUEST__TERMINATE_SECS_MAX"] = "1"  # nobody in there hears a request
    cloud.__enter__()
    # Who is killed anywhere has much to warn of afterwards, each time something else. Errors and panics count.
    cloud.expect(*KILLED, r"^\S+ WARN ")


def tearDownModule():
    cloud.__exit__(None if Chaos.agreed else AssertionError)  # what differs is kept for a look


class Chaos(unittest.TestCase):
    agreed = False

    def setUp(self):
        print(f"seed {SEED}", flush=True)
        self.random = random.Random(SEED)
        self.image = cloud.demo_image(cloud.boto3()) if IMAGE == "tiny" else self.halting_image()
        self.tokens = {}
        self.kills = dict.fromkeys(("clc", "cc", "nc", "walrus"), 0)

    def halting_image(self):
        disk = cloud.directory / "halt.img"
        disk.write_bytes(HALT.ljust(1 << 20, b"\0"))
        return json.loads(cloud.karri("image", "import", str(disk), "--name", "halt", "--output", "json"))["image_id"]

    def client(self):
        import botocore.config
        return cloud.boto3(config=botocore.config.Config(retries={"max_attempts": 1}, connect_timeout=2, read_timeout=10))

    def insist(self, what, call):
        """Repeats a call until it is answered: the controller may be dead just now."""
        def attempt():
            try:
                return call() or True
            except Exception as error:
                self.last = error
                return None
        try:
            return wait_until(what, attempt, ROUND_SECONDS)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.last!r}") from None

    def launch(self, number):
        token = f"chaos-{SEED}-{number}"
        answer = self.insist(f"launch {number}", lambda: self.client().run_instances(
            ImageId=self.image, InstanceType="t3.nano", MinCount=1, MaxCount=1, ClientToken=token))
        self.tokens[token] = answer["Instances"][0]["InstanceId"]
        return self.tokens[token]

    def instances(self):
        answer = self.insist("describe", lambda: self.client().describe_instances())
        return {i["InstanceId"]: i["State"]["Name"] for r in answer["Reservations"] for i in r["Instances"]}

    def kill_one(self):
        children = cloud.children()
        name = self.random.choice(sorted(children))
        try:
            os.kill(children[name], signal.SIGKILL)
        except ProcessLookupError:
            return  # it is being restarted from the last kill
        self.kills["nc" if name.startswith("nc") else "cc" if name.startswith("cc") else name] += 1

    def test_books_agree_after_kills_at_random_points(self):
        living = []
        for number in range(LAUNCHES):
            living.append(self.launch(number))
            time.sleep(self.random.uniform(0, 1.5))  # the random point itself, not a wait for anything
            if self.random.random() < 0.6:
                self.kill_one()
            while len(living) > LIVING_MAX:
                victim = living.pop(self.random.randrange(len(living)))
                self.insist(f"terminate {victim}", lambda: self.client().terminate_instances(InstanceIds=[victim]))
        print(f"killed: {self.kills}", flush=True)
        self.assertTrue(all(self.kills.values()), f"each controller must have been killed: {self.kills}")

        wait_until("all settled", lambda: set(self.instances().values()) <= SETTLED, SETTLE_SECONDS)
        states = self.instances()
        self.assertEqual(set(states), set(self.tokens.values()), "as many instances as tokens, no more, no fewer")
        running = {i for i, s in states.items() if s == "running"}
        for wrong in sorted(running ^ set(living)):
            print(f"{wrong} is {states[wrong]}\n{cloud.karri('why', wrong)}", flush=True)
        self.assertEqual(running, set(living), "what was not terminated runs, what was does not")
        wait_until("domains agree", lambda: set(domains()) & set(states) == running, 30)
        wait_until("disks agree", lambda: self.disks() == running, 30)
        wait_until("taps agree", lambda: self.taps() == len(running), 30)

        self.insist("terminate all", lambda: self.client().terminate_instances(InstanceIds=living))
        wait_until("all terminated", lambda: set(self.instances().values()) == {"terminated"}, SETTLE_SECONDS)
        wait_until("nothing is left", lambda: not (set(domains()) & set(states)) and not self.disks() and not self.taps(), 30)
        Chaos.agreed = True

    def disks(self):
        return {path.parent.name for path in cloud.state_dir.glob("nc*/instances/*/disk*")}

    def taps(self):
        links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
        return sum(1 for link in links if link.get("master") == cloud.bridge)


if __name__ == "__main__":
    unittest.main(verbosity=2)
