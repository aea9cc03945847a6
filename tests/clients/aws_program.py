"""aws-cli as a program: version 1 from PyPI, version 2 from Debian, each unmodified."""

import json
import shutil
import subprocess

from cloud import VENV


class AwsProgram:
    """For a test case that says which `aws` and which `cloud`."""

    aws = None
    is_v2 = None
    cloud = None

    def run_aws(self, *arguments, expect=0):
        # Explicit: Debian's version 2 is older than AWS_ENDPOINT_URL.
        done = subprocess.run([self.aws, "--endpoint-url", self.cloud.endpoint, *arguments],
                              env=self.cloud.client_environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode, expect, f"aws {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        return done.stdout if expect == 0 else done.stderr

    def refused(self, *arguments):
        """What it prints on a service's error, which ends it with another number in each version."""
        return self.run_aws(*arguments, expect=254 if self.is_v2 else 255)

    def ec2(self, *arguments):
        """The answer of an `aws ec2` command; nothing where it prints nothing."""
        printed = self.run_aws("ec2", *arguments, "--output", "json")
        return json.loads(printed) if printed.strip() else None

    def machine_image(self):
        images = self.ec2("describe-images", "--owners", "self", "--filters", "Name=image-type,Values=machine")["Images"]
        return images[0]["ImageId"]


class Version1(AwsProgram):
    aws = str(VENV / "aws")
    is_v2 = False


class Version2(AwsProgram):
    aws = shutil.which("aws", path="/usr/bin")
    is_v2 = True
