"""boto3, unmodified: every served action as its users call it."""

import base64
import gzip
import unittest

import botocore.exceptions
from cloud import Cloud, wait_until

TERMINATED = "terminated"


def setUpModule():
    global cloud, ec2
    cloud = Cloud(nodes=3).__enter__()
    ec2 = cloud.boto3()


def tearDownModule():
    cloud.__exit__(None)


def demo_image():
    images = ec2.describe_images(Owners=["self"], Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"]
    return sorted(images, key=lambda image: image["Name"])[0]["ImageId"]


def run(count=1, **more):
    answer = ec2.run_instances(ImageId=demo_image(), InstanceType="t3.micro", MinCount=count, MaxCount=count, **more)
    return [instance["InstanceId"] for instance in answer["Instances"]]


def describe(*ids):
    reservations = ec2.describe_instances(InstanceIds=list(ids))["Reservations"]
    return [instance for reservation in reservations for instance in reservation["Instances"]]


def code_of(call, **arguments):
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"]
    return None


class InstanceLife(unittest.TestCase):
    def tearDown(self):
        living = ec2.describe_instances(
            Filters=[{"Name": "instance-state-name", "Values": ["pending", "running", "stopping", "stopped"]}])
        ids = [i["InstanceId"] for r in living["Reservations"] for i in r["Instances"]]
        if ids:
            ec2.terminate_instances(InstanceIds=ids)

    def test_run_wait_stop_start_reboot_terminate(self):
        [instance] = run()
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        [seen] = describe(instance)
        self.assertEqual(seen["State"], {"Code": 16, "Name": "running"})
        self.assertTrue(seen["PrivateIpAddress"].startswith("172.31."))
        self.assertEqual(seen["NetworkInterfaces"][0]["PrivateIpAddress"], seen["PrivateIpAddress"])

        change = ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
        self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("running", "stopping"))
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        self.assertEqual(describe(instance)[0]["StateReason"]["Code"], "Client.UserInitiatedShutdown")

        change = ec2.start_instances(InstanceIds=[instance])["StartingInstances"][0]
        self.assertEqual((change["PreviousState"]["Name"], change["CurrentState"]["Name"]), ("stopped", "pending"))
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        self.assertEqual(describe(instance)[0]["PrivateIpAddress"], seen["PrivateIpAddress"])

        ec2.reboot_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_status_ok").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 30})

        change = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
        self.assertEqual(change["CurrentState"]["Name"], "shutting-down")
        ec2.get_waiter("instance_terminated").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        again = ec2.terminate_instances(InstanceIds=[instance])["TerminatingInstances"][0]
        self.assertEqual(again["CurrentState"]["Name"], TERMINATED)
        self.assertEqual(code_of(ec2.start_instances, InstanceIds=[instance]), "IncorrectInstanceState")

    def test_client_token_runs_once_and_refuses_other_parameters(self):
        first = run(2, ClientToken="once")
        self.assertEqual(first, run(2, ClientToken="once"))
        mismatch = code_of(ec2.run_instances, ImageId=demo_image(), InstanceType="t3.small", MinCount=2, MaxCount=2,
                           ClientToken="once")
        self.assertEqual(mismatch, "IdempotentParameterMismatch")

    def test_tags_at_launch_are_filters(self):
        [instance] = run(TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "purpose", "Value": "a*b"}]}])
        by_tag = ec2.describe_instances(Filters=[{"Name": "tag:purpose", "Values": ["a\\*b"]}])["Reservations"]
        self.assertEqual([i["InstanceId"] for r in by_tag for i in r["Instances"]], [instance])
        self.assertEqual(describe(instance)[0]["Tags"], [{"Key": "purpose", "Value": "a*b"}])
        none = ec2.describe_instances(Filters=[{"Name": "tag:purpose", "Values": ["other"]}])["Reservations"]
        self.assertEqual(none, [])

    def test_pages_hold_every_instance_once(self):
        launched = set(run(7))
        pages = ec2.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance-id", "Values": sorted(launched)}], PaginationConfig={"PageSize": 5})
        seen = [i["InstanceId"] for page in pages for r in page["Reservations"] for i in r["Instances"]]
        self.assertEqual(sorted(seen), sorted(launched))

    def test_user_data_plain_and_gzip_come_back_as_given(self):
        for data in (b"#!/bin/sh\necho hello\n", gzip.compress(b"#!/bin/sh\necho packed\n")):
            [instance] = run(UserData=data)
            back = ec2.describe_instance_attribute(InstanceId=instance, Attribute="userData")["UserData"]["Value"]
            self.assertEqual(base64.b64decode(back), data)
        self.assertEqual(code_of(ec2.run_instances, ImageId=demo_image(), MinCount=1, MaxCount=1,
                                 UserData="x" * 20_000), "InvalidParameterValue")

    def test_zone_root_size_metadata_options_and_shutdown_behaviour_are_kept(self):
        zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
        [instance] = run(
            Placement={"AvailabilityZone": zone}, InstanceInitiatedShutdownBehavior="terminate",
            MetadataOptions={"HttpTokens": "required", "HttpPutResponseHopLimit": 2},
            BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"VolumeSize": 9}}])
        [seen] = describe(instance)
        self.assertEqual(seen["Placement"]["AvailabilityZone"], zone)
        self.assertEqual(seen["MetadataOptions"]["HttpTokens"], "required")
        self.assertEqual(seen["MetadataOptions"]["HttpPutResponseHopLimit"], 2)
        attribute = ec2.describe_instance_attribute(InstanceId=instance, Attribute="instanceInitiatedShutdownBehavior")
        self.assertEqual(attribute["InstanceInitiatedShutdownBehavior"]["Value"], "terminate")
        self.assertEqual(code_of(ec2.run_instances, ImageId=demo_image(), MinCount=1, MaxCount=1,
                                 Placement={"AvailabilityZone": "nowhere"}), "InvalidParameterValue")

    def test_termination_protection_holds_until_lifted(self):
        [instance] = run()
        ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": True})
        self.assertEqual(code_of(ec2.terminate_instances, InstanceIds=[instance]), "OperationNotPermitted")
        ec2.modify_instance_attribute(InstanceId=instance, DisableApiTermination={"Value": False})
        ec2.terminate_instances(InstanceIds=[instance])

    def test_over_capacity_is_refused_at_once_and_leaves_nothing(self):
        before = len(describe_living())
        # A node here has the room of four such instances; a thousand may be asked for at once.
        for kind, count, answer in (("m5.4xlarge", 13, "InsufficientInstanceCapacity"),
                                    ("m5.4xlarge", 1000, "InsufficientInstanceCapacity"),
                                    ("m5.24xlarge", 1, "InsufficientInstanceCapacity"),
                                    ("t3.micro", 1001, "InstanceLimitExceeded")):
            asked = dict(ImageId=demo_image(), InstanceType=kind, MinCount=count, MaxCount=count)
            self.assertEqual(code_of(ec2.run_instances, **asked), answer, asked)
        self.assertEqual(len(describe_living()), before)

    def test_console_output_arrives(self):
        [instance] = run()
        output = wait_until("console output", lambda: ec2.get_console_output(InstanceId=instance, Latest=True).get("Output"))
        self.assertTrue(output)
        ec2.get_waiter("instance_running").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 30})
        ec2.stop_instances(InstanceIds=[instance])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[instance], WaiterConfig={"Delay": 1, "MaxAttempts": 60})
        self.assertEqual(ec2.get_console_output(InstanceId=instance, Latest=True)["Output"], output)

    def test_dry_run_does_nothing(self):
        before = len(describe_living())
        self.assertEqual(code_of(ec2.run_instances, ImageId=demo_image(), MinCount=1, MaxCount=1, DryRun=True), "DryRunOperation")
        self.assertEqual(len(describe_living()), before)

    def test_wrong_ids_have_their_own_codes(self):
        self.assertEqual(code_of(ec2.describe_instances, InstanceIds=["i-zzz"]), "InvalidInstanceID.Malformed")
        self.assertEqual(code_of(ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"]), "InvalidInstanceID.NotFound")
        self.assertEqual(code_of(ec2.stop_instances, InstanceIds=["i-0123456789abcdef0"]), "InvalidInstanceID.NotFound")
        self.assertEqual(code_of(ec2.run_instances, ImageId="ami-0123456789abcdef0", MinCount=1, MaxCount=1), "InvalidAMIID.NotFound")
        self.assertEqual(code_of(ec2.run_instances, ImageId="bad", MinCount=1, MaxCount=1), "InvalidAMIID.Malformed")


def describe_living():
    answer = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])
    return [i for r in answer["Reservations"] for i in r["Instances"]]


class Reads(unittest.TestCase):
    def test_regions_zones_and_account_attributes(self):
        region = cloud.env["AWS_DEFAULT_REGION"]
        self.assertIn(region, [r["RegionName"] for r in ec2.describe_regions()["Regions"]])
        zones = ec2.describe_availability_zones()["AvailabilityZones"]
        self.assertTrue(zones and all(z["RegionName"] == region and z["State"] == "available" for z in zones))
        names = {a["AttributeName"] for a in ec2.describe_account_attributes()["AccountAttributes"]}
        self.assertTrue({"supported-platforms", "default-vpc", "max-instances"} <= names)

    def test_default_network(self):
        [vpc] = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc["VpcId"]]}])["Subnets"]
        self.assertTrue(subnets and all(s["DefaultForAz"] for s in subnets))
        [group] = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["default"]}])["SecurityGroups"]
        self.assertEqual(group["VpcId"], vpc["VpcId"])
        self.assertTrue(ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsSupport")["EnableDnsSupport"]["Value"])

    def test_groups_by_name_and_by_id(self):
        group = ec2.create_security_group(
            GroupName="boto3 web", Description="opened and closed",
            TagSpecifications=[{"ResourceType": "security-group", "Tags": [{"Key": "stage", "Value": "test"}]}])
        web = group["GroupId"]
        self.assertEqual(group["Tags"], [{"Key": "stage", "Value": "test"}])
        self.assertEqual(code_of(ec2.create_security_group, GroupName="boto3 web", Description="x"), "InvalidGroup.Duplicate")
        permission = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 81,
                      "IpRanges": [{"CidrIp": "10.1.2.3/8", "Description": "the office"}],
                      "UserIdGroupPairs": [{"GroupName": "default"}]}
        rules = ec2.authorize_security_group_ingress(GroupName="boto3 web", IpPermissions=[permission])["SecurityGroupRules"]
        self.assertEqual([rule.get("CidrIpv4") for rule in rules], ["10.0.0.0/8", None])
        self.assertEqual(code_of(ec2.authorize_security_group_ingress, GroupId=web, IpPermissions=[permission]),
                         "InvalidPermission.Duplicate")
        # What is described can be given back as it is.
        [shown] = ec2.describe_security_groups(Filters=[{"Name": "tag:stage", "Values": ["test"]}])["SecurityGroups"]
        ec2.revoke_security_group_ingress(GroupId=web, IpPermissions=shown["IpPermissions"])
        ec2.revoke_security_group_egress(GroupId=web, IpPermissions=shown["IpPermissionsEgress"])
        ec2.authorize_security_group_ingress(GroupId=web, IpPermissions=shown["IpPermissions"])
        [again] = ec2.describe_security_groups(GroupIds=[web])["SecurityGroups"]
        self.assertEqual((again["IpPermissions"], again["IpPermissionsEgress"]), (shown["IpPermissions"], []))
        rule = ec2.authorize_security_group_egress(
            GroupId=web, IpPermissions=[{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "2001:DB8::1/32"}]}])["SecurityGroupRules"][0]
        ec2.modify_security_group_rules(GroupId=web, SecurityGroupRules=[{
            "SecurityGroupRuleId": rule["SecurityGroupRuleId"],
            "SecurityGroupRule": {"IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIpv4": "10.0.0.2/32"}}])
        ec2.update_security_group_rule_descriptions_egress(GroupId=web, SecurityGroupRuleDescriptions=[
            {"SecurityGroupRuleId": rule["SecurityGroupRuleId"], "Description": "names"}])
        [read] = ec2.describe_security_group_rules(SecurityGroupRuleIds=[rule["SecurityGroupRuleId"]])["SecurityGroupRules"]
        self.assertEqual((read["IpProtocol"], read["CidrIpv4"], read["Description"], read["IsEgress"]),
                         ("udp", "10.0.0.2/32", "names", True))
        one = ec2.run_instances(ImageId=demo_image(), MinCount=1, MaxCount=1, InstanceType="t3.nano", SecurityGroups=["boto3 web"])["Instances"][0]
        self.assertEqual([group["GroupId"] for group in one["SecurityGroups"]], [web])
        self.assertEqual(code_of(ec2.delete_security_group, GroupId=web), "DependencyViolation")
        [default] = ec2.describe_security_groups(GroupNames=["default"])["SecurityGroups"]
        port = one["NetworkInterfaces"][0]["NetworkInterfaceId"]
        ec2.modify_network_interface_attribute(NetworkInterfaceId=port, Groups=[default["GroupId"]])
        [now] = ec2.describe_instances(InstanceIds=[one["InstanceId"]])["Reservations"][0]["Instances"]
        self.assertEqual([group["GroupName"] for group in now["SecurityGroups"]], ["default"])
        ec2.delete_security_group(GroupId=web)
        self.assertEqual(code_of(ec2.describe_security_groups, GroupIds=[web]), "InvalidGroup.NotFound")
        ec2.terminate_instances(InstanceIds=[one["InstanceId"]])

    def test_instance_types_and_offerings(self):
        [micro] = ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"]
        self.assertEqual((micro["VCpuInfo"]["DefaultVCpus"], micro["MemoryInfo"]["SizeInMiB"]), (2, 1024))
        pages = ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 5})
        self.assertIn("m5.large", [t["InstanceType"] for page in pages for t in page["InstanceTypes"]])
        offerings = ec2.describe_instance_type_offerings(LocationType="availability-zone")["InstanceTypeOfferings"]
        self.assertIn("t3.micro", [o["InstanceType"] for o in offerings])
        self.assertEqual(code_of(ec2.describe_instance_types, InstanceTypes=["t9.huge"]), "InvalidInstanceType")

    def test_caller_identity(self):
        me = cloud.boto3("sts").get_caller_identity()
        self.assertRegex(me["Account"], r"^\d{12}$")
        self.assertTrue(me["Arn"].startswith(f"arn:aws:iam::{me['Account']}:"))


class KeyPairs(unittest.TestCase):
    def test_create_describe_import_delete(self):
        made = ec2.create_key_pair(KeyName="made-rsa")
        self.assertTrue(made["KeyMaterial"].startswith("-----BEGIN RSA PRIVATE KEY-----"))
        self.assertEqual(len(made["KeyFingerprint"].split(":")), 20)
        edwards = ec2.create_key_pair(KeyName="made-ed", KeyType="ed25519")
        self.assertTrue(edwards["KeyMaterial"].startswith("-----BEGIN OPENSSH PRIVATE KEY-----"))
        self.assertEqual(code_of(ec2.create_key_pair, KeyName="made-ed"), "InvalidKeyPair.Duplicate")
        public = ec2.describe_key_pairs(KeyNames=["made-ed"], IncludePublicKey=True)["KeyPairs"][0]["PublicKey"]
        brought = ec2.import_key_pair(KeyName="brought", PublicKeyMaterial=public.encode())
        self.assertEqual(brought["KeyFingerprint"], edwards["KeyFingerprint"])
        self.assertEqual(code_of(ec2.import_key_pair, KeyName="bad", PublicKeyMaterial=b"nonsense"), "InvalidKey.Format")
        for name in ("made-rsa", "made-ed", "brought"):
            ec2.delete_key_pair(KeyName=name)
        self.assertEqual(code_of(ec2.describe_key_pairs, KeyNames=["made-ed"]), "InvalidKeyPair.NotFound")


class Images(unittest.TestCase):
    def test_a_bad_or_missing_digest_is_refused(self):
        for location in ("sha256:" + "0" * 64, "nonsense", "sha256:12"):
            code = code_of(ec2.register_image, Name="bad", ImageLocation=location)
            self.assertIn(code, ("InvalidParameterValue", "InvalidManifest", "InvalidParameter"), location)
        self.assertIsNotNone(code_of(ec2.register_image, Name="bad"))

    def test_register_again_describe_and_deregister(self):
        original = ec2.describe_images(ImageIds=[demo_image()])["Images"][0]
        copy = ec2.register_image(Name="copy", ImageLocation=original["ImageLocation"], Architecture="x86_64",
                                  Description="a <b>copy</b>", VirtualizationType="hvm")["ImageId"]
        seen = ec2.describe_images(Filters=[{"Name": "name", "Values": ["cop?"]}])["Images"]
        self.assertEqual([(i["ImageId"], i["Description"]) for i in seen], [(copy, "a <b>copy</b>")])
        self.assertEqual(code_of(ec2.register_image, Name="copy", ImageLocation=original["ImageLocation"]), "InvalidAMIName.Duplicate")
        self.assertEqual(ec2.describe_image_attribute(ImageId=copy, Attribute="description")["Description"]["Value"], "a <b>copy</b>")
        ec2.deregister_image(ImageId=copy)
        self.assertIn(code_of(ec2.describe_images, ImageIds=[copy]), ("InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"))


class Tags(unittest.TestCase):
    def test_create_describe_delete(self):
        image = demo_image()
        ec2.create_tags(Resources=[image], Tags=[{"Key": "k", "Value": "v"}, {"Key": "ünï <&>", "Value": ""}])
        tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [image]}])["Tags"]
        self.assertEqual({(t["Key"], t["Value"], t["ResourceType"]) for t in tags},
                         {("k", "v", "image"), ("ünï <&>", "", "image")})
        ec2.delete_tags(Resources=[image], Tags=[{"Key": "k", "Value": "other"}, {"Key": "ünï <&>"}])
        tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [image]}])["Tags"]
        self.assertEqual([t["Key"] for t in tags], ["k"])
        ec2.delete_tags(Resources=[image])
        self.assertEqual(code_of(ec2.create_tags, Resources=[image], Tags=[{"Key": "aws:x", "Value": "v"}]), "InvalidParameterValue")


if __name__ == "__main__":
    unittest.main(verbosity=2)
