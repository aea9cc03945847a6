"""Instances that are bundled: a guest's disk becomes a bundle in a bucket, and boots again from there.

One guest is bundled by one test after the other, because a boot is what takes long. While it is bundled its node's controller is
killed; with KARRI_BUNDLE_KILLS=each every controller is, one after the other.
"""

import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import unittest

from real_cloud import (BOOT_SECONDS, KILLED, RealCloud, instance, new_key, ssh, state, wait_state, wait_until)

from botocore.exceptions import ClientError  # noqa: E402
from cloud import VENV  # noqa: E402
from unbundle import unbundle  # noqa: E402

TASK_SECONDS = 300
KILLS = os.environ.get("KARRI_BUNDLE_KILLS", "node")


def setUpModule():
    global cloud, ec2, s3, key
    cloud = RealCloud(number=46).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2, s3 = cloud.boto3(), cloud.s3()
    s3.create_bucket(Bucket="bundles")
    key = new_key(cloud, ec2, "bundle-instance")


def aws(*arguments):
    """What aws-cli says."""
    command = [VENV / "aws", "ec2", *arguments, "--output", "json"]
    said = subprocess.run(command, env=cloud.client_environment(), check=True, capture_output=True, text=True).stdout
    return json.loads(said)


def task(bundle_id):
    return ec2.describe_bundle_tasks(BundleIds=[bundle_id])["BundleTasks"][0]


def ended(bundle_id):
    over = lambda: (t := task(bundle_id))["State"] in ("complete", "failed") and t
    return wait_until(f"{bundle_id} is over", over, TASK_SECONDS)


def upload_policy(prefix):
    """As bundlers make one for somebody else to upload by, and its signature."""
    conditions = [{"bucket": "bundles"}, {"acl": "ec2-bundle-read"}, ["starts-with", "$key", prefix]]
    policy = json.dumps({"expiration": "2099-01-01T00:00:00Z", "conditions": conditions}).encode()
    secret = cloud.env["AWS_SECRET_ACCESS_KEY"].encode()
    signature = hmac.new(secret, base64.b64encode(policy), hashlib.sha1).digest()
    return policy, base64.b64encode(signature).decode()


def keys(prefix):
    return [found["Key"] for found in s3.list_objects_v2(Bucket="bundles", Prefix=prefix).get("Contents", [])]


def left_in_state():
    """Files of copies, on nodes and on their way into the image store."""
    return [*cloud.state_dir.glob("nc*/instances/*/copy-*"), *cloud.state_dir.glob("walrus*/incoming/*")]


def kill(name):
    """Ends a controller without warning; it is started again."""
    pid = cloud.children()[name]
    os.kill(pid, signal.SIGKILL)
    wait_until(f"{name} is there again", lambda: cloud.children().get(name) not in (None, pid), 60)


def launched(image_id):
    """With a small disk, which is soon read."""
    device = ec2.describe_images(ImageIds=[image_id])["Images"][0]["RootDeviceName"]
    disk = {"DeviceName": device, "Ebs": {"VolumeSize": 1}}
    [one] = cloud.launch(ec2, KeyName="bundle-instance", ImageId=image_id, BlockDeviceMappings=[disk])
    wait_state(ec2, one, "running")
    return one


def in_guest(one, command):
    return ssh(instance(ec2, one)["PrivateIpAddress"], key, command, seconds=BOOT_SECONDS)


def begun(bundle_id):
    wait_until(f"{bundle_id} has begun", lambda: task(bundle_id)["State"] != "pending", TASK_SECONDS)


def kill_controllers():
    names = sorted(cloud.children())
    node = [name for name in names if name.startswith("nc")]
    others = [name for name in names if name not in node]
    for name in [*node, *others] if KILLS == "each" else node:
        kill(name)


class BundleInstance(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.one = launched(cloud.demo_image(ec2))

    def test_1_a_cancelled_task_leaves_nothing_and_its_instance_runs(self):
        in_guest(self.one, "echo bundled > /root/proof && sync")
        owner = ("--owner-akid", cloud.env["AWS_ACCESS_KEY_ID"], "--owner-sak", cloud.env["AWS_SECRET_ACCESS_KEY"])
        bundle_id = aws("bundle-instance", "--instance-id", self.one, "--bucket", "bundles", "--prefix", "cancelled",
                        *owner)["BundleTask"]["BundleId"]
        begun(bundle_id)
        # By boto3: aws-cli takes as long to begin as the bundle to be done.
        cancelled = ec2.cancel_bundle_task(BundleId=bundle_id)["BundleTask"]
        self.assertEqual(cancelled["State"], "cancelling")
        done = ended(bundle_id)
        self.assertEqual((done["State"], done["BundleTaskError"]["Code"]), ("failed", "Client.Cancelled"))
        self.assertEqual(in_guest(self.one, "cat /root/proof"), "bundled")  # it runs, or runs again
        self.assertEqual(keys("cancelled"), [])
        wait_until("nothing is left", lambda: left_in_state() == [], TASK_SECONDS)

    def test_2_what_a_guest_wrote_is_in_its_bundle_and_boots_again_whoever_was_killed_meanwhile(self):
        cloud.expect(*KILLED, "images are not made this round", "the image store does not answer")
        policy, signature = upload_policy("nightly/")
        place = {"Bucket": "bundles", "Prefix": "nightly/web", "AWSAccessKeyId": cloud.env["AWS_ACCESS_KEY_ID"],
                 "UploadPolicy": policy, "UploadPolicySignature": signature}
        made = ec2.bundle_instance(InstanceId=self.one, Storage={"S3": place})["BundleTask"]
        self.assertEqual((made["InstanceId"], made["State"]), (self.one, "pending"))
        with self.assertRaises(ClientError) as caught:
            ec2.bundle_instance(InstanceId=self.one, Storage={"S3": place})
        self.assertEqual(caught.exception.response["Error"]["Code"], "BundlingInProgress")
        begun(made["BundleId"])
        kill_controllers()
        done = ended(made["BundleId"])
        self.assertEqual((done["State"], done["Progress"]), ("complete", "100%"), done)
        [told] = aws("describe-bundle-tasks", "--filters", f"Name=instance-id,Values={self.one}",
                     "Name=state,Values=complete")["BundleTasks"]
        self.assertEqual((told["BundleId"], told["Storage"]["S3"]["Prefix"]), (made["BundleId"], "nightly/web"))

        folder = cloud.directory / "nightly"
        folder.mkdir()
        for each in keys("nightly/"):
            s3.download_file("bundles", each, str(folder / each.rsplit("/", 1)[1]))
        image = folder / "web.img"
        manifest = unbundle(folder / "web.manifest.xml", image, cloud.env["EC2_PRIVATE_KEY"],
                            cloud.env["EUCALYPTUS_CERT"], "user")
        self.assertEqual(manifest.findtext("image/user"), cloud.env["EC2_USER_ID"])
        self.assertEqual(image.stat().st_size, int(manifest.findtext("image/size")))

        image_id = ec2.register_image(Name="bundled instance", ImageLocation="bundles/nightly/web.manifest.xml")["ImageId"]
        over = lambda: (i := ec2.describe_images(ImageIds=[image_id])["Images"][0])["State"] != "pending" and i
        self.assertEqual(wait_until("it is made", over, TASK_SECONDS)["State"], "available")
        again = launched(image_id)
        for each in (self.one, again):  # the one runs again
            self.assertEqual(in_guest(each, "cat /root/proof"), "bundled")
            self.assertEqual(state(ec2, each), "running")
        self.assertEqual(left_in_state(), [])

    def test_3_a_trial_with_a_policy_of_the_programs_own_that_nobody_has_signed_passes(self):
        trial = ["bundle-instance", "--instance-id", self.one, "--storage", "S3={Bucket=bundles,Prefix=tried}", "--dry-run"]
        with self.assertRaises(subprocess.CalledProcessError) as caught:
            aws(*trial)
        self.assertIn("DryRunOperation", caught.exception.stderr)


if __name__ == "__main__":
    unittest.main()
