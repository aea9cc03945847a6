"""An instance's whole life by aws-cli, both versions: what a launch may say, attributes, console, waiters."""

import base64
import gzip
import pathlib
import tempfile
import unittest

from aws_program import AwsProgram, Version1, Version2
from cloud import Cloud, wait_until


def setUpModule():
    global boto3, image
    AwsProgram.cloud = Cloud(nodes=2).__enter__()
    unittest.addModuleCleanup(AwsProgram.cloud.__exit__, None)
    boto3 = AwsProgram.cloud.boto3()
    image = boto3.describe_images(Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"][0]["ImageId"]


class Life:
    """The same steps for both programs. What is only looked up, boto3 looks up: it starts in no time."""

    def launch(self, *more):
        answer = self.ec2("run-instances", "--image-id", image, "--instance-type", "t3.micro", *more)
        return answer["Instances"][0]["InstanceId"]

    def instance(self, one):
        return boto3.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]

    def attribute(self, one, name):
        return self.ec2("describe-instance-attribute", "--instance-id", one, "--attribute", name)

    def wait(self, state, one):
        """Asked too early the program comes back only after its fifteen seconds (as `awscli_test` lets it)."""
        self.reached(state, one)
        self.run_aws("ec2", "wait", f"instance-{state}", "--instance-ids", one)

    def reached(self, state, one):
        wait_until(f"{one} {state}", lambda: self.instance(one)["State"]["Name"] == state)

    def file(self, content):
        path = pathlib.Path(tempfile.mkdtemp(dir=self.cloud.directory)) / "content"
        path.write_bytes(content)
        return path

    def test_a_launch_with_everything_it_may_say_is_told_again(self):
        name = type(self).__name__
        [subnet] = boto3.describe_subnets()["Subnets"]
        [group] = boto3.describe_security_groups()["SecurityGroups"]
        zone = subnet["AvailabilityZone"]
        boto3.create_key_pair(KeyName=name, KeyType="ed25519")
        script = b"#!/bin/sh\necho hello\n"
        said = ("--count", "1", "--key-name", name, "--client-token", name, "--user-data", f"file://{self.file(script)}",
                "--placement", f"AvailabilityZone={zone}", "--subnet-id", subnet["SubnetId"],
                "--security-group-ids", group["GroupId"], "--instance-initiated-shutdown-behavior", "terminate",
                "--disable-api-termination", "--metadata-options", "HttpTokens=required,HttpPutResponseHopLimit=2",
                "--block-device-mappings", "DeviceName=/dev/sda1,Ebs={VolumeSize=9,VolumeType=gp3,DeleteOnTermination=true}",
                "--tag-specifications", "ResourceType=instance,Tags=[{Key=Name,Value=full},{Key=empty}]",
                "ResourceType=volume,Tags=[{Key=Name,Value=disk}]", "--credit-specification", "CpuCredits=standard",
                "--no-ebs-optimized")
        one = self.launch(*said)
        self.assertEqual(self.launch(*said), one, "the client token names the first")
        seen = self.instance(one)
        self.assertEqual((seen["KeyName"], seen["SubnetId"], seen["ClientToken"]), (name, subnet["SubnetId"], name))
        self.assertEqual(seen["Placement"]["AvailabilityZone"], zone)
        self.assertEqual([g["GroupId"] for g in seen["SecurityGroups"]], [group["GroupId"]])
        self.assertEqual((seen["MetadataOptions"]["HttpTokens"], seen["MetadataOptions"]["HttpPutResponseHopLimit"]),
                         ("required", 2))
        self.assertEqual({tag["Key"]: tag["Value"] for tag in seen["Tags"]}, {"Name": "full", "empty": ""})
        self.assertEqual(base64.b64decode(self.attribute(one, "userData")["UserData"]["Value"]), script)
        behaviour = boto3.describe_instance_attribute(InstanceId=one, Attribute="instanceInitiatedShutdownBehavior")
        self.assertEqual(behaviour["InstanceInitiatedShutdownBehavior"]["Value"], "terminate")

        self.assertIn("(OperationNotPermitted)", self.refused("ec2", "terminate-instances", "--instance-ids", one))
        self.ec2("modify-instance-attribute", "--instance-id", one, "--no-disable-api-termination")
        self.assertFalse(self.attribute(one, "disableApiTermination")["DisableApiTermination"]["Value"])
        self.ec2("terminate-instances", "--instance-ids", one)

    def test_stop_change_start_reboot_and_terminate(self):
        packed = gzip.compress(b"#!/bin/sh\n")
        one = self.launch("--user-data", f"fileb://{self.file(packed)}")
        self.wait("running", one)
        kept = boto3.describe_instance_attribute(InstanceId=one, Attribute="userData")
        self.assertEqual(base64.b64decode(kept["UserData"]["Value"]), packed)
        change = ("modify-instance-attribute", "--instance-id", one, "--instance-type", "Value=t3.small")
        self.assertIn("(IncorrectInstanceState)", self.refused("ec2", *change))

        [stopping] = self.ec2("stop-instances", "--instance-ids", one)["StoppingInstances"]
        self.assertEqual((stopping["PreviousState"]["Name"], stopping["CurrentState"]["Name"]), ("running", "stopping"))
        self.wait("stopped", one)
        self.ec2(*change)
        self.assertEqual(self.attribute(one, "instanceType")["InstanceType"]["Value"], "t3.small")
        [starting] = self.ec2("start-instances", "--instance-ids", one)["StartingInstances"]
        self.assertEqual((starting["PreviousState"]["Name"], starting["CurrentState"]["Name"]), ("stopped", "pending"))
        self.reached("running", one)
        self.assertEqual(self.instance(one)["InstanceType"], "t3.small")

        self.ec2("reboot-instances", "--instance-ids", one)
        console = lambda: boto3.get_console_output(InstanceId=one, Latest=True).get("Output")
        wait_until("console output", console)
        shown = self.run_aws("ec2", "get-console-output", "--instance-id", one, "--latest", "--output", "text", "--query", "Output")
        self.assertTrue(shown.strip() and console().startswith(shown.strip()), shown)
        [status] = self.ec2("describe-instance-status", "--instance-ids", one)["InstanceStatuses"]
        self.assertEqual((status["InstanceState"]["Name"], status["InstanceStatus"]["Status"]), ("running", "ok"))
        self.ec2("terminate-instances", "--instance-ids", one)
        self.wait("terminated", one)

    def test_a_dry_run_says_so_and_launches_nothing(self):
        name = f"dry-{type(self).__name__}"
        said = self.refused("ec2", "run-instances", "--dry-run", "--image-id", image, "--client-token", name)
        self.assertIn("(DryRunOperation)", said)
        self.assertIn("Request would have succeeded, but DryRun flag is set", said)
        shown = boto3.describe_instances(Filters=[{"Name": "client-token", "Values": [name]}])
        self.assertEqual(shown["Reservations"], [])

    def test_instance_types_and_offerings(self):
        [micro] = self.ec2("describe-instance-types", "--instance-types", "t3.micro")["InstanceTypes"]
        self.assertEqual((micro["InstanceType"], micro["VCpuInfo"]["DefaultVCpus"], micro["MemoryInfo"]["SizeInMiB"]),
                         ("t3.micro", 2, 1024))
        every = {t["InstanceType"] for t in boto3.describe_instance_types()["InstanceTypes"]}
        offered = self.ec2("describe-instance-type-offerings", "--location-type", "availability-zone")
        self.assertEqual({o["InstanceType"] for o in offered["InstanceTypeOfferings"]}, every)
        # Pages, as the program itself asks for them.
        pages = self.ec2("describe-instance-types", "--page-size", "5", "--query", "InstanceTypes[].InstanceType")
        self.assertEqual((len(pages), set(pages)), (len(every), every))
        self.assertIn("(InvalidInstanceType)", self.refused("ec2", "describe-instance-types", "--instance-types", "t3.huge"))


class AwsCliVersion1(Life, Version1, unittest.TestCase):
    pass


class AwsCliVersion2(Life, Version2, unittest.TestCase):
    pass


if __name__ == "__main__":
    unittest.main(verbosity=2)
