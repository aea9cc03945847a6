"""What no friend would send: each a precise 4xx, nothing changed, nothing leaked, nobody dead."""

import json
import unittest
import urllib.parse

import botocore.exceptions
from cloud import Cloud
from raw import send, signed_v2, signed_v4


def setUpModule():
    global cloud, ec2
    cloud = Cloud(nodes=1).__enter__()
    ec2 = cloud.boto3()


def tearDownModule():
    cloud.__exit__(None)


def refused(test, answer, *codes):
    answer.well_formed()
    test.assertTrue(400 <= answer.status < 500, f"{answer.status} {answer.body[:500]}")
    if codes:
        test.assertIn(answer.code, codes, answer.body[:500])


def image():
    images = ec2.describe_images(Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"]
    return images[0]["ImageId"]


class Requests(unittest.TestCase):
    def tearDown(self):
        self.assertEqual(signed_v4(cloud, {"Action": "DescribeRegions", "Version": "2016-11-15"}).status, 200)

    def test_unknown_actions_and_versions(self):
        refused(self, signed_v4(cloud, {"Action": "MakeCoffee", "Version": "2016-11-15"}), "InvalidAction")
        refused(self, signed_v4(cloud, {"Action": "CreateVpc", "Version": "2016-11-15", "CidrBlock": "10.0.0.0/16"}), "InvalidAction")
        refused(self, signed_v4(cloud, {"Action": "DescribeRegions", "Version": "1999-99-99"}), "NoSuchVersion", "InvalidAction")
        refused(self, signed_v4(cloud, {"Version": "2016-11-15"}), "MissingAction", "MissingParameter")

    def test_malformed_query_strings(self):
        for body in (b"Action=%zz", b"Action=DescribeRegions&Version=2016-11-15&x=%ff%fe", b"&&&===", b"Action=DescribeRegions&Action=DescribeImages&Version=2016-11-15",
                     b"Action=DescribeInstances&Version=2016-11-15&Filter.99999999999999999999.Name=x",
                     b"Action=DescribeInstances&Version=2016-11-15&" + b"a." * 5000 + b"=1"):
            refused(self, signed_v4(cloud, None, body=body))

    def test_ten_megabytes_in_one_parameter(self):
        body = b"Action=DescribeRegions&Version=2016-11-15&RegionName.1=" + b"x" * 10_000_000
        try:
            answer = signed_v4(cloud, None, body=body)
        except (ConnectionError, OSError):
            return  # hung up on before it was all sent: as good an answer
        self.assertIn(answer.status, (400, 413), answer.body[:300])

    def test_xml_and_json_bodies_are_not_forms(self):
        bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
        for body in (bomb, b'{"Action":"DescribeRegions"}'):
            answer = send(cloud.endpoint + "/", body, {"Content-Type": "application/xml"})
            self.assertTrue(400 <= answer.status < 500, answer.body)

    def test_unknown_parameters_are_named(self):
        answer = signed_v4(cloud, {"Action": "DescribeRegions", "Version": "2016-11-15", "Colour": "blue"})
        refused(self, answer, "UnknownParameter")
        self.assertIn("Colour", answer.body)

    def test_wrong_paths_and_methods(self):
        for method in ("PUT", "DELETE", "PATCH"):
            answer = send(cloud.endpoint + "/", b"", method=method)
            self.assertTrue(400 <= answer.status < 500, f"{method} {answer.status}")
        self.assertGreaterEqual(send(cloud.endpoint + "/../../etc/passwd").status, 400)


class Values(unittest.TestCase):
    def code(self, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**arguments)
        status = caught.exception.response["ResponseMetadata"]["HTTPStatusCode"]
        self.assertTrue(400 <= status < 500, caught.exception)
        return caught.exception.response["Error"]["Code"]

    def test_counts(self):
        for least, most, code in ((0, 0, "InvalidParameterValue"), (-1, 1, "InvalidParameterValue"),
                                  (2, 1, "InvalidParameterCombination")):
            self.assertEqual(self.code(ec2.run_instances, ImageId=image(), MinCount=least, MaxCount=most), code)

    def test_metacharacters_in_names_come_back_as_they_went_in(self):
        name = "a\"b'c<d>&$(e)`f`;g|h\\i ü"
        made = ec2.create_key_pair(KeyName=name)
        self.assertEqual(made["KeyName"], name)
        self.assertEqual(ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"][0]["KeyName"], name)
        [instance] = ec2.run_instances(ImageId=image(), InstanceType="t3.nano", MinCount=1, MaxCount=1, KeyName=name, TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": name, "Value": name}]}])["Instances"]
        self.assertEqual(instance["Tags"], [{"Key": name, "Value": name}])
        ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])

    def test_bad_filters_and_tokens(self):
        self.assertEqual(self.code(ec2.describe_instances, Filters=[{"Name": "no-such", "Values": ["x"]}]), "InvalidParameterValue")
        self.assertIn(self.code(ec2.describe_instances, NextToken="garbage"), ("InvalidNextToken", "InvalidParameterValue"))
        self.assertEqual(self.code(ec2.describe_instances, MaxResults=1), "InvalidParameterValue")

    def test_another_accounts_things_do_not_exist(self):
        cloud.karri("account", "create", "stranger")
        cloud.karri("user", "create", "--account", "stranger", "--policy", "AdministratorAccess", "eve")
        key = json.loads(cloud.karri("key", "create", "--account", "stranger", "--user", "eve", "--output", "json"))
        eve = cloud.boto3("ec2", key["access_key_id"], key["secret_access_key"])
        [mine] = ec2.run_instances(ImageId=image(), InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"]
        ids = [mine["InstanceId"]]
        for call in (eve.describe_instances, eve.terminate_instances, eve.stop_instances, eve.start_instances, eve.reboot_instances):
            self.assertEqual(self.code(call, InstanceIds=ids), "InvalidInstanceID.NotFound")
        self.assertEqual(self.code(eve.get_console_output, InstanceId=ids[0]), "InvalidInstanceID.NotFound")
        self.assertEqual(self.code(eve.create_tags, Resources=ids, Tags=[{"Key": "k", "Value": "v"}]), "InvalidInstanceID.NotFound")
        state = ec2.describe_instances(InstanceIds=ids)["Reservations"][0]["Instances"][0]["State"]["Name"]
        self.assertIn(state, ("pending", "running"))
        ec2.terminate_instances(InstanceIds=ids)

    def test_a_user_without_a_policy_may_do_nothing_and_a_reader_only_read(self):
        account = ec2.describe_account_attributes() and cloud.boto3("sts").get_caller_identity()["Account"]
        cloud.karri("user", "create", "--account", account, "nobody")
        cloud.karri("user", "create", "--account", account, "--policy", "ReadOnlyAccess", "reader")

        def client(user):
            key = json.loads(cloud.karri("key", "create", "--account", account, "--user", user, "--output", "json"))
            return cloud.boto3("ec2", key["access_key_id"], key["secret_access_key"])

        nobody, reader = client("nobody"), client("reader")
        self.assertEqual(self.code(nobody.describe_instances), "UnauthorizedOperation")
        reader.describe_instances()
        self.assertEqual(self.code(reader.run_instances, ImageId=image(), MinCount=1, MaxCount=1), "UnauthorizedOperation")


if __name__ == "__main__":
    unittest.main(verbosity=2)
