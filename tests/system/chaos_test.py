"""Fifty launches and terminations while each controller is killed at random points.

At the end everybody's books must agree (`books.py` says which they are). The seed is printed; KARRI_CHAOS_SEED repeats a run's choices, KARRI_CHAOS_LAUNCHES makes it longer.

The guests are real domains with a disk that halts at its first instruction: what is tried here are the
controllers, and fifty emulated boots would cost minutes. KARRI_CHAOS_IMAGE=tiny boots them all the same.
"""

import functools
import json
import os
import random
import signal
import time
import unittest

import botocore.config
from books import Books
from real_cloud import KILLED, RealCloud, wait_until

SEED = int(os.environ.get("KARRI_CHAOS_SEED", "20260101"))
LAUNCHES = int(os.environ.get("KARRI_CHAOS_LAUNCHES", "50"))
LIVING_MAX = 4
ROUND_SECONDS = 60
SETTLE_SECONDS = 180
IMAGE = os.environ.get("KARRI_CHAOS_IMAGE", "halt")
HALT = bytes([0xFA, 0xF4, 0xEB, 0xFC]).ljust(510, b"\0") + b"\x55\xaa"  # cli; hlt; again
SETTLED = {"running", "terminated", "stopped"}
AGREE_SECONDS = 60
# What a node says that finds, in its next life, what it was amid.
INTERRUPTED = ("removing ports that no instance owns", "removing the directory of an instance without a record")


def setUpModule():
    global cloud
    cloud = RealCloud(number=3)
    if IMAGE == "halt":
        cloud.environment["KARRI_NC_GUEST__TERMINATE_SECS_MAX"] = "1"  # nobody in there hears a request
    cloud.__enter__()
    cloud.expect(*KILLED, *INTERRUPTED)


def tearDownModule():
    cloud.__exit__(None if Chaos.agreed else AssertionError)  # what differs is kept for a look


class Chaos(unittest.TestCase):
    agreed = False

    def setUp(self):
        print(f"seed {SEED}", flush=True)
        self.random = random.Random(SEED)
        self.image = cloud.demo_image(cloud.boto3()) if IMAGE == "tiny" else self.halting_image()
        self.tokens = {}
        self.books = Books(cloud)
        self.kills = dict.fromkeys(("clc", "cc", "nc", "walrus"), 0)
        self.pairs = 0

    def halting_image(self):
        disk = cloud.directory / "halt.img"
        disk.write_bytes(HALT.ljust(1 << 20, b"\0"))
        return json.loads(cloud.karri("image", "import", str(disk), "--name", "halt", "--output", "json"))["image_id"]

    @functools.cache
    def client(self):
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
        return [one for reservation in answer["Reservations"] for one in reservation["Instances"]]

    def states(self):
        return {one["InstanceId"]: one["State"]["Name"] for one in self.instances()}

    def agree(self):
        """Waits until every book says what the cloud controller's says."""
        self.insist("every controller is healthy", lambda: cloud.karri("status"))
        try:
            wait_until("all books agree", lambda: not self.books.differences(self.instances()), AGREE_SECONDS)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *self.books.differences(self.instances())])) from None

    def kill_some(self):
        """One controller, or two at once in one case of ten."""
        children = cloud.children()
        names = self.random.sample(sorted(children), 2 if self.random.random() < 0.1 else 1)
        self.pairs += len(names) == 2
        for name in names:
            try:
                os.kill(children[name], signal.SIGKILL)
            except ProcessLookupError:
                continue  # it is being restarted from the last kill
            self.kills["nc" if name.startswith("nc") else "cc" if name.startswith("cc") else name] += 1

    def at_a_random_point(self, chance):
        """Of a launch or a termination that has just been asked for."""
        time.sleep(self.random.uniform(0, 0.75))  # the random point itself, not a wait for anything
        if self.random.random() < chance:
            self.kill_some()

    def test_books_agree_after_kills_at_random_points(self):
        living = []
        for number in range(LAUNCHES):
            living.append(self.launch(number))
            self.at_a_random_point(0.3)
            while len(living) > LIVING_MAX:
                victim = living.pop(self.random.randrange(len(living)))
                self.insist(f"terminate {victim}", lambda: self.client().terminate_instances(InstanceIds=[victim]))
                self.at_a_random_point(0.3)
        print(f"killed: {self.kills}, {self.pairs} times two at once", flush=True)
        self.assertTrue(self.pairs, "two controllers must have been killed at once")
        self.assertTrue(all(self.kills.values()), f"each controller must have been killed: {self.kills}")

        wait_until("all settled", lambda: set(self.states().values()) <= SETTLED, SETTLE_SECONDS)
        states = self.states()
        self.assertEqual(set(states), set(self.tokens.values()), "as many instances as tokens, no more, no fewer")
        running = {i for i, s in states.items() if s == "running"}
        for wrong in sorted(running ^ set(living)):
            print(f"{wrong} is {states[wrong]}\n{cloud.karri('why', wrong)}", flush=True)
        self.assertEqual(running, set(living), "what was not terminated runs, what was does not")
        self.agree()

        self.insist("terminate all", lambda: self.client().terminate_instances(InstanceIds=living))
        wait_until("all terminated", lambda: set(self.states().values()) == {"terminated"}, SETTLE_SECONDS)
        self.agree()
        Chaos.agreed = True


if __name__ == "__main__":
    unittest.main(verbosity=2)
