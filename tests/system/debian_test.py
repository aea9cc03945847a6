"""Debian 12 with stock cloud-init: it finds its Ec2 datasource by itself and does what it does on EC2.

The image is that of deploy/images/debian.sh, imported and launched as a user would: `karri image import`
and aws-cli. One guest is booted, for the minute that takes under emulation, and all tests look at it.
"""

import json
import shutil
import subprocess
import unittest

from real_cloud import IMAGES, RealCloud, domains, instance, kept, part_with_guests, ssh, wait_until

AWS = shutil.which("aws", path="/usr/bin")
LOGIN_SECONDS = 600  # 60 s on an idle machine
IMDS = "http://169.254.169.254/latest"
DISK_GIB = 4
USER_DATA = """#!/bin/sh
echo "user data ran as $(id -un)" >/root/proof
"""


def setUpModule():
    global cloud, ec2
    cloud = RealCloud(number=40).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    unittest.addModuleCleanup(part_with_guests, cloud.directory)
    ec2 = cloud.boto3()


def aws(*arguments):
    """aws-cli version 2, in a user's shell. The endpoint is said: Debian's is older than AWS_ENDPOINT_URL."""
    done = subprocess.run([AWS, "--endpoint-url", cloud.endpoint, "ec2", *arguments, "--output", "json"],
                          env=cloud.client_environment(), capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"aws {' '.join(arguments)}\n{done.stdout}{done.stderr}")
    return json.loads(done.stdout) if done.stdout.strip() else None


class Debian(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        imported = cloud.karri("image", "import", IMAGES / "debian.disk.qcow2", "--name", "debian-12", "--output", "json")
        cls.key = cloud.directory / "debian.pem"
        cls.key.touch(mode=0o600)
        cls.key.write_text(aws("create-key-pair", "--key-name", "debian", "--key-type", "ed25519")["KeyMaterial"])
        aws("authorize-security-group-ingress", "--group-name", "default", "--protocol", "tcp", "--port", "22",
            "--cidr", "0.0.0.0/0")
        user_data = cloud.directory / "user-data"
        user_data.write_text(USER_DATA)
        launched = aws("run-instances", "--image-id", json.loads(imported)["image_id"], "--instance-type", "t2.micro",
                       "--key-name", "debian", "--user-data", f"file://{user_data}",
                       "--metadata-options", "HttpTokens=required",
                       "--block-device-mappings", f"DeviceName=/dev/sda1,Ebs={{VolumeSize={DISK_GIB}}}")
        cls.id = launched["Instances"][0]["InstanceId"]
        cloud.launched = {cls.id}
        aws("wait", "instance-running", "--instance-ids", cls.id)
        cls.address = instance(ec2, cls.id)["PrivateIpAddress"]
        # What cloud-init itself waits with is a program that takes seconds to start.
        cls.status = cls.run_inside(f"timeout {LOGIN_SECONDS} sh -c 'until [ -e /run/cloud-init/result.json ]; do sleep 1; done'; "
                                    "cloud-init status --long || true")

    @classmethod
    def tearDownClass(cls):
        aws("terminate-instances", "--instance-ids", cls.id)
        aws("wait", "instance-terminated", "--instance-ids", cls.id)
        assert cls.id not in domains(), "the domain of a terminated instance is still there"
        assert not list(cloud.state_dir.glob(f"nc*/instances/{cls.id}")), "files of a terminated instance are still there"

    @classmethod
    def run_inside(cls, command):
        """As Debian's user, whom cloud-init has given the instance's key."""
        return ssh(cls.address, cls.key, command, user="debian", seconds=LOGIN_SECONDS, options=kept(cloud.directory))

    def metadata(self, path, token):
        header = f"-H 'X-aws-ec2-metadata-token: {token}'" if token else ""
        return self.run_inside(f"curl -s -m 20 -w ' %{{http_code}}' {header} {IMDS}/{path}")

    def test_cloud_init_is_done_with_the_ec2_datasource_and_without_errors(self):
        self.assertIn("status: done", self.status)
        result = json.loads(self.run_inside("cat /run/cloud-init/result.json"))["v1"]
        self.assertEqual(result["errors"], [])
        self.assertTrue(result["datasource"].startswith("DataSourceEc2"), result)
        known = json.loads(self.run_inside("cat /run/cloud-init/instance-data.json"))["v1"]
        self.assertEqual((known["cloud_name"], known["instance_id"]), ("aws", self.id))
        self.assertEqual(self.run_inside("cat /run/cloud-init/cloud-id"), "aws")

    def test_it_believed_in_ec2_for_its_uuid_and_serial(self):
        uuid = self.run_inside("sudo cat /sys/class/dmi/id/product_uuid").lower()
        self.assertTrue(uuid.startswith("ec2"), uuid)
        self.assertEqual(self.run_inside("sudo cat /sys/class/dmi/id/product_serial").lower(), uuid)

    def test_the_hostname_is_that_of_the_instance(self):
        name = instance(ec2, self.id)["PrivateDnsName"].split(".")[0]
        self.assertEqual(name, "ip-" + self.address.replace(".", "-"))
        self.assertEqual(self.run_inside("hostname"), name)

    def test_the_key_pair_is_the_only_key_that_lets_in(self):
        public = subprocess.check_output(["ssh-keygen", "-y", "-f", self.key], text=True).split()[1]
        authorized = [line.split() for line in self.run_inside("cat ~/.ssh/authorized_keys").splitlines()]
        self.assertEqual([public], [words[1] for words in authorized])

    def test_user_data_ran_as_root(self):
        self.assertEqual(self.run_inside("sudo cat /root/proof"), "user data ran as root")

    def test_metadata_answers_with_a_token_only(self):
        self.assertTrue(self.metadata("meta-data/instance-id", None).endswith(" 401"))
        token = self.run_inside(f"curl -s -m 20 -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 60' {IMDS}/api/token")
        self.assertEqual(self.metadata("meta-data/instance-id", token), f"{self.id} 200")

    def test_the_root_file_system_has_grown_to_its_disk(self):
        mib = int(self.run_inside("df --output=size -BM / | tail -n 1").rstrip("M"))
        self.assertGreater(mib, DISK_GIB * 1024 * 0.9)

    def test_the_console_shows_the_host_keys_and_a_login(self):
        host_key = self.run_inside("cat /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        console = lambda: aws("get-console-output", "--instance-id", self.id, "--latest").get("Output", "")
        wait_until("a login prompt", lambda: " login:" in console(), LOGIN_SECONDS)
        self.assertIn(host_key, console())


if __name__ == "__main__":
    unittest.main(verbosity=2)
