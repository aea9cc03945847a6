"""What no friend would send: each a precise 4xx, nothing changed, nothing leaked, nobody dead."""

import json
import unittest

import botocore.exceptions
from cloud import Cloud
from raw import send, signed_v4


def setUpModule():
    global cloud, ec2
    cloud = Cloud(nodes=1).__enter__()
    ec2 = cloud.boto3()


def tearDownModule():
    cloud.__exit__(None)


def refused(test, answer, status, code, message):
    answer.well_formed()
    test.assertEqual((answer.status, answer.code, answer.message), (status, code, message), answer.body[:500])


def image():
    images = ec2.describe_images(Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"]
    return images[0]["ImageId"]


class Requests(unittest.TestCase):
    def tearDown(self):
        self.assertEqual(signed_v4(cloud, {"Action": "DescribeRegions", "Version": "2016-11-15"}).status, 200)

    def test_unknown_actions_and_versions(self):
        for parameters, code, message in (
                ({"Action": "MakeCoffee", "Version": "2016-11-15"},
                 "InvalidAction", "The action MakeCoffee is not valid for this web service."),
                # One of EC2's own that is not served.
                ({"Action": "CreateVpnGateway", "Version": "2016-11-15", "Type": "ipsec.1"},
                 "InvalidAction", "The action CreateVpnGateway is not valid for this web service."),
                ({"Action": "DescribeRegions", "Version": "1999-99-99"},
                 "NoSuchVersion", "The requested version (1999-99-99) of service AmazonEC2 does not exist"),
                ({"Action": "DescribeRegions"}, "MissingParameter", "The request must contain the parameter Version"),
                ({"Version": "2016-11-15"}, "MissingAction", "The request is missing an action or a required parameter."),
                ({"Action": "", "Version": "2016-11-15"},
                 "MissingAction", "The request is missing an action or a required parameter.")):
            refused(self, signed_v4(cloud, parameters), 400, code, message)

    def test_malformed_query_strings(self):
        regions, many = b"Action=DescribeRegions&Version=2016-11-15", "9" * 20
        for body, status, code, message in (
                (b"Action=%zz", 404, "MalformedQueryString", "The query string contains an incomplete percent escape."),
                (regions + b"&x=%ff%fe", 404, "MalformedQueryString", "The query string is not valid UTF-8."),
                (b"&&&===", 404, "MalformedQueryString", "The query string contains a parameter with an empty name."),
                (regions + b"&Action=DescribeImages",
                 400, "InvalidQueryParameter", "The parameter Action may only be specified once."),
                (f"Action=DescribeInstances&Version=2016-11-15&Filter.{many}.Name=x".encode(),
                 400, "UnknownParameter", f"The parameter Filter.{many}.Name is not recognized"),
                (b"Action=DescribeInstances&Version=2016-11-15&Filter.100001.Name=x",
                 404, "MalformedQueryString", "A list index is greater than 100000."),
                (regions + b"&" + b"a." * 5000 + b"b=1",
                 404, "MalformedQueryString", "A parameter is nested deeper than 16 levels."),
                (regions + b"".join(b"&p%d=1" % n for n in range(10_000)),
                 404, "MalformedQueryString", "The request has more than 10000 parameters.")):
            refused(self, signed_v4(cloud, None, body=body), status, code, message)

    def test_ten_megabytes_in_one_parameter_are_told_that_they_are_too_many(self):
        body = b"Action=DescribeRegions&Version=2016-11-15&RegionName.1=" + b"x" * 10_000_000
        too_large = "The request body could not be read or is larger than 1048576 bytes"
        refused(self, signed_v4(cloud, None, body=body), 413, "RequestEntityTooLarge", too_large)

    def test_signed_xml_and_json_bodies_are_not_forms(self):
        bomb = b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'
        missing = "The request is missing an action or a required parameter."
        for body, kind in ((bomb, "application/xml"), (b'{"Action":"DescribeRegions"}', "application/json")):
            answer = signed_v4(cloud, None, body=body, extra_signed={"Content-Type": kind})
            refused(self, answer, 400, "MissingAction", missing)

    def test_unknown_parameters_are_named(self):
        answer = signed_v4(cloud, {"Action": "DescribeRegions", "Version": "2016-11-15", "Colour": "blue"})
        refused(self, answer, 400, "UnknownParameter", "The parameter Colour is not recognized")

    def test_wrong_methods(self):
        for method in ("PUT", "DELETE", "PATCH"):
            answer = send(cloud.endpoint + "/", b"", method=method)
            refused(self, answer, 400, "UnsupportedOperation", "This service takes GET and POST only")

    def test_a_path_leads_nowhere(self):
        answer = send(cloud.endpoint + "/../../etc/passwd")
        refused(self, answer, 400, "MissingParameter", "The request must contain the parameter AWSAccessKeyId")


class Values(unittest.TestCase):
    def refused(self, call, code, message, status=400, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**arguments)
        answer = caught.exception.response
        found = (answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"], answer["Error"]["Message"])
        self.assertEqual(found, (status, code, message))

    def test_counts(self):
        for least, most, code, message in (
                (0, 0, "InvalidParameterValue",
                 "Value (0) for parameter minCount is invalid. Expecting a number greater than 0."),
                (-1, 1, "InvalidParameterValue",
                 "Value (-1) for parameter minCount is invalid. Expecting a number greater than 0."),
                (2, 1, "InvalidParameterCombination", "The parameter minCount (2) must not be greater than maxCount (1)"),
                (1, 2**31 - 1, "InstanceLimitExceeded", "You have requested more instances (2147483647) than your current "
                 "instance limit of 1000 per request allows."),
                (1, 10**12, "InvalidParameterValue",
                 "Value (1000000000000) for parameter MaxCount is invalid. Expecting an integer.")):
            self.refused(ec2.run_instances, code, message, ImageId=image(), MinCount=least, MaxCount=most)

    def test_ids_that_are_none_and_that_nobody_has(self):
        absent = "i-0123456789abcdef0"
        for call, arguments in ((ec2.describe_instances, {"InstanceIds": [absent]}), (ec2.get_console_output, {"InstanceId": absent}),
                                (ec2.create_tags, {"Resources": [absent], "Tags": [{"Key": "k", "Value": "v"}]})):
            self.refused(call, "InvalidInstanceID.NotFound", f"The instance ID '{absent}' does not exist", **arguments)
        self.refused(ec2.describe_instances, "InvalidInstanceID.Malformed", 'Invalid id: "i-xyz"', InstanceIds=["i-xyz"])
        self.refused(ec2.run_instances, "InvalidAMIID.Malformed", 'Invalid id: "ami-1" (expecting "ami-...")',
                     ImageId="ami-1", MinCount=1, MaxCount=1)

    def test_user_data_that_is_too_long(self):
        self.refused(ec2.run_instances, "InvalidParameterValue", "User data is limited to 16384 bytes",
                     ImageId=image(), MinCount=1, MaxCount=1, UserData="x" * 16_385)

    def test_metacharacters_in_names_come_back_as_they_went_in(self):
        name = "a\"b'c<d>&$(e)`f`;g|h\\i ü"
        made = ec2.create_key_pair(KeyName=name)
        self.assertEqual(made["KeyName"], name)
        self.assertEqual(ec2.describe_key_pairs(KeyNames=[name])["KeyPairs"][0]["KeyName"], name)
        [instance] = ec2.run_instances(ImageId=image(), InstanceType="t3.nano", MinCount=1, MaxCount=1, KeyName=name, TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": name, "Value": name}]}])["Instances"]
        self.assertEqual(instance["Tags"], [{"Key": name, "Value": name}])
        ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])

    def test_bad_filters_tokens_and_pages(self):
        self.refused(ec2.describe_instances, "InvalidParameterValue", "The filter 'no-such' is invalid",
                     Filters=[{"Name": "no-such", "Values": ["x"]}])
        self.refused(ec2.describe_instances, "InvalidParameterValue",
                     "Value (garbage) for parameter NextToken is invalid. The token is invalid.", NextToken="garbage")
        self.refused(ec2.describe_instances, "InvalidParameterValue",
                     "Value ( 1 ) for parameter maxResults is invalid. Expecting a value greater than 5.", MaxResults=1)

    def test_another_accounts_things_do_not_exist(self):
        cloud.karri("account", "create", "stranger")
        cloud.karri("user", "create", "--account", "stranger", "--policy", "AdministratorAccess", "eve")
        key = json.loads(cloud.karri("key", "create", "--account", "stranger", "--user", "eve", "--output", "json"))
        eve = cloud.boto3("ec2", key["access_key_id"], key["secret_access_key"])
        [mine] = ec2.run_instances(ImageId=image(), InstanceType="t3.nano", MinCount=1, MaxCount=1)["Instances"]
        ids = [mine["InstanceId"]]
        absent = ("InvalidInstanceID.NotFound", f"The instance ID '{ids[0]}' does not exist")
        for call in (eve.describe_instances, eve.terminate_instances, eve.stop_instances, eve.start_instances, eve.reboot_instances):
            self.refused(call, *absent, InstanceIds=ids)
        self.refused(eve.get_console_output, *absent, InstanceId=ids[0])
        self.refused(eve.create_tags, *absent, Resources=ids, Tags=[{"Key": "k", "Value": "v"}])
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
        def denied(user, action, resource=""):
            return ("UnauthorizedOperation", "You are not authorized to perform this operation. User: "
                    f"arn:aws:iam::{account}:user/{user} is not authorized to perform: ec2:{action}{resource} because no "
                    f"identity-based policy allows the ec2:{action} action")

        launch = {"ImageId": image(), "MinCount": 1, "MaxCount": 1}
        instances = f" on resource: arn:aws:ec2:{cloud.env['AWS_DEFAULT_REGION']}:{account}:instance/*"
        self.refused(nobody.describe_instances, *denied("nobody", "DescribeInstances"), status=403)
        reader.describe_instances()
        self.refused(reader.run_instances, *denied("reader", "RunInstances", instances), status=403, **launch)


if __name__ == "__main__":
    unittest.main(verbosity=2)
