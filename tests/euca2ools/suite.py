"""Runs euca2ools, from a checkout of yours, against a cloud of its own, as its user would: with `eval "$(karri env)"`.

    suite.py CHECKOUT PYTHON2

`cargo xtask euca2ools CHECKOUT --python PYTHON2` builds what is needed and calls this. euca2ools want a Python 2, which
Debian 12 has not, and no package index has them: `make test` therefore plays the forms that they send
(`tests/clients/old_clients_test.py`), and this is for whoever has both.
"""

import os
import pathlib
import re
import subprocess
import sys
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
os.environ.setdefault("KARRI_BIN", str(ROOT / "target" / "release" / "karri"))

from cloud import Cloud, wait_until  # noqa: E402

SITE = ROOT / "target" / "euca2ools-site"
# The last releases that run on Python 2.7 are what its pip chooses.
NEEDED = ["requestbuilder", "lxml", "PyYAML", "requests", "six"]


def install():
    if not (SITE / "installed").exists():
        subprocess.run([python, "-m", "pip", "install", "-q", "--target", SITE, *NEEDED], check=True)
        (SITE / "installed").touch()


def setUpModule():
    global cloud
    install()
    cloud = Cloud(nodes=2).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)


class Euca2ools(unittest.TestCase):
    maxDiff = None

    def euca(self, command, *arguments, expect=0):
        """Runs `euca-COMMAND` and returns its lines, each a list of its columns."""
        environment = {**cloud.client_environment(), "PYTHONPATH": f"{checkout}:{SITE}"}
        program = [python, "-tt", checkout / "bin" / f"euca-{command}", *arguments]
        done = subprocess.run(program, env=environment, capture_output=True, text=True)
        self.assertEqual(done.returncode, expect, f"euca-{command} {arguments}\n{done.stdout}{done.stderr}")
        return [line.split("\t") for line in (done.stdout if expect == 0 else done.stderr).splitlines()]

    def instance(self, one):
        return next(line for line in self.euca("describe-instances", one) if line[0] == "INSTANCE")

    def wait(self, one, state):
        wait_until(f"{one} {state}", lambda: self.instance(one)[5] == state)

    def test_a_session(self):
        image = self.euca("describe-images", "-o", "self", "--filter", "image-type=machine")[0]
        self.assertEqual((image[0], image[4]), ("IMAGE", "available"))
        key_file = cloud.directory / "key.pem"
        [key] = self.euca("create-keypair", "-f", key_file, "mine")
        self.assertEqual(key[:2], ["KEYPAIR", "mine"])
        self.assertIn("PRIVATE KEY", key_file.read_text())
        self.assertEqual(self.euca("describe-keypairs", "mine"), [key])

        zone = next(line[1] for line in self.euca("describe-availability-zones"))
        launched = self.euca("run-instances", image[1], "-n", "1-2", "-k", "mine", "-t", "t3.micro", "-z", zone,
                             "-d", "#!/bin/sh", "--client-token", "once", "-b", "/dev/sda1=:9:true:gp2",
                             "--instance-initiated-shutdown-behavior", "terminate")
        self.assertEqual(launched[0][0], "RESERVATION")
        one, two = [line[1] for line in launched if line[0] == "INSTANCE"]
        self.wait(one, "running")
        self.wait(two, "running")
        line = self.instance(one)
        self.assertEqual((line[2], line[6], line[9], line[11]), (image[1], "mine", "t3.micro", zone))

        self.euca("create-tags", one, "--tag", "Name=hello", "--tag", "empty")
        self.assertIn(["TAG", "instance", one, "Name", "hello"], self.euca("describe-instances", one))
        self.assertIn(["TAG", "instance", one, "empty", ""], self.euca("describe-tags", "--filter", f"resource-id={one}"))
        running = self.euca("describe-instances", "--filter", "instance-state-name=running", one, two)
        self.assertEqual({line[1] for line in running if line[0] == "INSTANCE"}, {one, two})

        self.assertEqual(self.euca("get-console-output", one)[0], [one])
        self.euca("reboot-instances", one)
        self.assertEqual(self.euca("stop-instances", one)[0], ["INSTANCE", one, "running", "stopping"])
        self.wait(one, "stopped")
        self.assertEqual(self.euca("start-instances", one)[0], ["INSTANCE", one, "stopped", "pending"])
        self.wait(one, "running")
        ended = self.euca("terminate-instances", one, two)
        self.assertEqual(ended, [["INSTANCE", each, "running", "shutting-down"] for each in (one, two)])
        self.wait(one, "terminated")
        self.euca("delete-keypair", "mine")

    def test_verbose_zones_tell_slots_per_type(self):
        lines = self.euca("describe-availability-zones", "verbose")
        self.assertTrue(all(line[0] == "AVAILABILITYZONE" for line in lines))
        micro = next(line for line in lines if "t3.micro" in line[1])
        self.assertRegex(micro[2], re.compile(r"^\d+ / \d+ "))

    def test_errors_have_code_and_message(self):
        [line] = self.euca("describe-instances", "i-0123456789abcdef0", expect=1)
        self.assertEqual(line[0], "euca-describe-instances: error (InvalidInstanceID.NotFound): "
                                  "The instance ID 'i-0123456789abcdef0' does not exist")

    def test_the_account_and_its_network(self):
        self.assertEqual([line[0] for line in self.euca("describe-vpcs")], ["VPC"])
        self.assertTrue(self.euca("describe-subnets"))
        self.assertIn("default", [line[3] for line in self.euca("describe-groups") if line[0] == "GROUP"])
        self.assertTrue(self.euca("describe-regions"))
        self.assertTrue(self.euca("describe-account-attributes"))


if __name__ == "__main__":
    checkout, python = (pathlib.Path(argument).absolute() for argument in sys.argv[1:3])
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
