"""Today's programs on a database of the first release: all of it is kept, and the cloud goes on with it."""

import contextlib
import json
import unittest

import botocore.exceptions
from cloud import Cloud, wait_until
from first_schema import Postgres, Sqlite, take_back


class Upgrade:
    """The same steps on both databases; `engine` is the class of one."""

    engine = None
    maxDiff = None

    def setUp(self):
        self.cloud = Cloud(nodes=2)
        self.database = self.engine(self.cloud.directory)
        self.addCleanup(self.database.close)
        self.cloud.environment = self.database.environment

    def launch(self, count=1, **more):
        answer = self.ec2.run_instances(ImageId=self.image, InstanceType="t3.micro", MinCount=count, MaxCount=count, **more)
        return [instance["InstanceId"] for instance in answer["Instances"]]

    def state(self, one):
        return self.ec2.describe_instances(InstanceIds=[one])["Reservations"][0]["Instances"][0]["State"]["Name"]

    def wait(self, state, *ids):
        for one in ids:
            wait_until(f"{one} {state}", lambda: self.state(one) == state)

    def answers(self):
        """What users are told of what they have."""
        told = {name: getattr(self.ec2, name)() for name in (
            "describe_instances", "describe_images", "describe_key_pairs", "describe_tags", "describe_vpcs", "describe_subnets",
            "describe_security_groups", "describe_availability_zones", "describe_instance_status")}
        told["identity"] = self.cloud.boto3("sts").get_caller_identity()
        told["user data"] = self.ec2.describe_instance_attribute(InstanceId=self.running, Attribute="userData")["UserData"]
        for answer in told.values():
            answer.pop("ResponseMetadata", None)
        for reservation in told["describe_instances"]["Reservations"]:
            for instance in reservation["Instances"]:
                for kept_since in ("CpuOptions", "VirtualizationType"):  # what was launched before has none, or hvm
                    instance.pop(kept_since, None)
        return told

    def reader(self):
        """A user of another account who may only read."""
        self.cloud.karri("account", "create", "old")
        self.cloud.karri("user", "create", "--account", "old", "--policy", "ReadOnlyAccess", "ann")
        key = json.loads(self.cloud.karri("key", "create", "--account", "old", "--user", "ann", "--output", "json"))
        return self.cloud.boto3("ec2", key["access_key_id"], key["secret_access_key"])

    def fill(self):
        self.ec2 = self.cloud.boto3()
        machines = self.ec2.describe_images(Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"]
        self.image = machines[0]["ImageId"]
        self.ec2.create_key_pair(KeyName="old", KeyType="ed25519")
        self.running, self.stopped = self.launch(2, KeyName="old", UserData="#!/bin/sh\n", ClientToken="once", TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "o'ld & <ü>"}]}])
        [self.ended] = self.launch()
        self.wait("running", self.running, self.stopped, self.ended)
        self.ec2.stop_instances(InstanceIds=[self.stopped])
        self.ec2.terminate_instances(InstanceIds=[self.ended])
        self.wait("stopped", self.stopped)
        self.wait("terminated", self.ended)

    def test_all_is_kept_and_old_instances_are_served(self):
        with self.cloud:
            self.fill()
            ann = self.reader()
            before = self.answers()
            self.cloud.stop()
            schema = take_back(self.database)
            used = {"secret_hash": "0" * 64, "cluster": self.database.rows("clusters")[0]["name"], "expires_at": 1, "used_by": "attic"}
            self.database.insert("join_tokens", [used])
            # Its instances are told more, maybe sooner than the cluster is there.
            self.cloud.expect("the cluster cannot be told .*Connection refused")
            self.cloud.up()

            self.assertEqual(self.database.schema(), schema, "as of a database that began today")
            # Instances of before are told what an older version did not tell them, and take it.
            with contextlib.suppress(AssertionError):
                wait_until("all is as it was", lambda: self.answers() == before)
            self.assertEqual(self.answers(), before)
            [attic] = [row for row in self.database.rows("node_names") if row["name"] == "attic"]
            self.assertEqual((attic["cluster"], attic["token_hash"]), (used["cluster"], used["secret_hash"]))
            self.assertEqual(ann.describe_instances()["Reservations"], [])
            with self.assertRaisesRegex(botocore.exceptions.ClientError, "UnauthorizedOperation"):
                ann.run_instances(ImageId=self.image, MinCount=1, MaxCount=1)
            self.assert_old_instances_go_on()

    def assert_old_instances_go_on(self):
        self.assertEqual(self.launch(2, KeyName="old", UserData="#!/bin/sh\n", ClientToken="once", TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "o'ld & <ü>"}]}]), [self.running, self.stopped])
        self.ec2.start_instances(InstanceIds=[self.stopped])
        self.wait("running", self.stopped)
        self.ec2.reboot_instances(InstanceIds=[self.running])
        [new] = self.launch(KeyName="old")
        self.wait("running", new)
        self.ec2.terminate_instances(InstanceIds=[self.running, self.stopped, new])
        self.wait("terminated", self.running, self.stopped, new)


class OnSqlite(Upgrade, unittest.TestCase):
    engine = Sqlite


class OnPostgres(Upgrade, unittest.TestCase):
    engine = Postgres


if __name__ == "__main__":
    unittest.main(verbosity=2)
