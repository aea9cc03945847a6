"""aws-cli version 1 (PyPI) and version 2 (Debian), unmodified: the README's first session and its waiters."""

import json
import pathlib
import tempfile
import unittest

from aws_program import AwsProgram, Version1, Version2
from cloud import Cloud


def setUpModule():
    AwsProgram.cloud = Cloud(nodes=2).__enter__()
    unittest.addModuleCleanup(AwsProgram.cloud.__exit__, None)


class Session:
    """The same steps for both programs."""

    def test_first_session(self):
        key_file = pathlib.Path(tempfile.mkdtemp(dir=self.cloud.directory)) / "key.pem"
        name = f"first-{type(self).__name__}"
        key_file.write_text(self.run_aws("ec2", "create-key-pair", "--key-name", name, "--query", "KeyMaterial", "--output", "text"))
        self.assertIn("PRIVATE KEY", key_file.read_text())
        image = self.machine_image()
        launched = json.loads(self.run_aws(
            "ec2", "run-instances", "--image-id", image, "--instance-type", "t3.micro", "--key-name", name,
            "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=hello}]", "--output", "json"))
        instance = launched["Instances"][0]["InstanceId"]
        self.run_aws("ec2", "wait", "instance-running", "--instance-ids", instance)
        self.run_aws("ec2", "get-console-output", "--instance-id", instance, "--latest", "--output", "text")
        shown = self.run_aws("ec2", "describe-instances", "--instance-ids", instance, "--output", "text",
                             "--query", "Reservations[].Instances[].[InstanceId,State.Name,KeyName]")
        self.assertEqual(shown.split(), [instance, "running", name])
        self.run_aws("ec2", "terminate-instances", "--instance-ids", instance)
        self.run_aws("ec2", "wait", "instance-terminated", "--instance-ids", instance)

    def test_caller_identity_and_errors_are_printed_as_aws_prints_them(self):
        identity = json.loads(self.run_aws("sts", "get-caller-identity", "--output", "json"))
        self.assertEqual(set(identity), {"UserId", "Account", "Arn"})
        wrong = self.refused("ec2", "describe-instances", "--instance-ids", "i-0123456789abcdef0")
        self.assertIn("(InvalidInstanceID.NotFound)", wrong)
        self.assertIn("The instance ID 'i-0123456789abcdef0' does not exist", wrong)

    def test_zones_in_a_table(self):
        self.assertIn("available", self.run_aws("ec2", "describe-availability-zones", "--output", "table"))


class AwsCliVersion1(Session, Version1, unittest.TestCase):
    def test_is_version_1(self):
        self.assertIn("aws-cli/1.", self.run_aws("--version"))


class AwsCliVersion2(Session, Version2, unittest.TestCase):
    def test_is_version_2(self):
        self.assertIn("aws-cli/2.", self.run_aws("--version"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
