"""Who is let in: both signature versions, presigned requests, and every way of getting it wrong."""

import datetime
import json
import re
import subprocess
import unittest
import urllib.parse

import botocore.exceptions
from cloud import VENV, Cloud, wait_until
from raw import presigned_v4, send, signed_v2, signed_v4

REGIONS = {"Action": "DescribeRegions", "Version": "2016-11-15"}
WHO = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
AWS = VENV / "aws"
MINUTE = datetime.timedelta(minutes=1)

# What EC2 and STS say, each as (status, code, message).
NOT_VALID = (401, "AuthFailure", "AWS was not able to validate the provided access credentials")
EXPIRED = (400, "RequestExpired", "Request has expired.")
MISMATCH = ("The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details.")
EC2_MISMATCH = (403, "SignatureDoesNotMatch", MISMATCH)  # of Version 2 only
UNKNOWN_TOKEN = (403, "InvalidClientTokenId", "The security token included in the request is invalid.")


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def setUpModule():
    global cloud
    cloud = Cloud(nodes=1).__enter__()


def tearDownModule():
    cloud.__exit__(None)


def said(answer):
    answer.well_formed()
    return answer.status, answer.code, answer.message


def basic(at):
    return at.strftime("%Y%m%dT%H%M%SZ")


class VersionFour(unittest.TestCase):
    def test_a_right_signature_is_served(self):
        answer = signed_v4(cloud, REGIONS).well_formed()
        self.assertEqual((answer.status, "<regionName>" in answer.body), (200, True), answer.body)

    def test_another_accounts_key_is_served_as_that_account(self):
        account = "second-account"
        cloud.karri("account", "create", account)
        cloud.karri("user", "create", "--account", account, "--policy", "AdministratorAccess", "ann")
        key = json.loads(cloud.karri("key", "create", "--account", account, "--user", "ann", "--output", "json"))
        sts = cloud.boto3("sts", key["access_key_id"], key["secret_access_key"])
        other = sts.get_caller_identity()["Account"]
        self.assertNotEqual(other, cloud.boto3("sts").get_caller_identity()["Account"])

    def test_wrong_secret_unknown_key_and_changed_body_are_refused_alike(self):
        changed = signed_v4(cloud, REGIONS, tamper=lambda h, b: (h, b.replace(b"DescribeRegions", b"DescribeImages")))
        for answer in (signed_v4(cloud, REGIONS, secret="x" * 40), signed_v4(cloud, REGIONS, key="AKIAUNKNOWNUNKNOWN00"), changed):
            self.assertEqual(said(answer), NOT_VALID)

    def test_a_session_token_with_a_key_that_has_none_is_refused(self):
        token = {"X-Amz-Security-Token": "of-nobody"}
        self.assertEqual(said(signed_v4(cloud, REGIONS, extra_signed=token)), NOT_VALID)
        self.assertEqual(said(signed_v4(cloud, WHO, service="sts", extra_signed=token)), UNKNOWN_TOKEN)

    def test_sts_tells_a_wrong_secret_from_an_unknown_key(self):
        self.assertEqual(signed_v4(cloud, WHO, service="sts").status, 200)
        wrong = signed_v4(cloud, WHO, service="sts", secret="x" * 40)
        self.assertEqual(said(wrong), (403, "SignatureDoesNotMatch", MISMATCH))
        self.assertEqual(said(signed_v4(cloud, WHO, service="sts", key="AKIAUNKNOWNUNKNOWN00")), UNKNOWN_TOKEN)

    def test_the_story_of_a_refused_request_tells_the_operator_what_the_answer_does_not(self):
        for answer, why in [
            (signed_v4(cloud, REGIONS, secret="x" * 40), "the signature does not match"),
            (signed_v4(cloud, REGIONS, key="AKIAUNKNOWNUNKNOWN00"), "the access key id is not known"),
            (signed_v4(cloud, REGIONS, region="elsewhere-1"), "a valid region, not 'elsewhere-1'"),
        ]:
            self.assertEqual((answer.status, answer.code), (401, "AuthFailure"), answer.body)
            self.assertNotIn(why, answer.body)
            [request] = re.findall(r"<RequestID>(.+?)</RequestID>", answer.body)
            self.assertIn(why, cloud.karri("why", request))

    def test_an_unsigned_request_is_told_what_it_lacks(self):
        answer = send(cloud.endpoint + "/?" + urllib.parse.urlencode(REGIONS))
        self.assertEqual(said(answer), (400, "MissingParameter", "The request must contain the parameter AWSAccessKeyId"))
        answer = send(cloud.endpoint + "/?" + urllib.parse.urlencode(WHO))
        self.assertEqual(said(answer), (403, "MissingAuthenticationToken", "Request is missing Authentication Token"))

    def test_skew_and_replay_outside_of_ec2s_five_minutes_are_refused(self):
        for minutes in (-4, 4):
            self.assertEqual(signed_v4(cloud, REGIONS, at=now() + minutes * MINUTE).status, 200, minutes)
        for minutes in (-24 * 60, -6, 6, 24 * 60):
            self.assertEqual(said(signed_v4(cloud, REGIONS, at=now() + minutes * MINUTE)), EXPIRED, minutes)

    def test_skew_and_replay_outside_of_sts_fifteen_minutes_are_explained(self):
        for minutes in (-14, 14):
            self.assertEqual(signed_v4(cloud, WHO, service="sts", at=now() + minutes * MINUTE).status, 200, minutes)
        for minutes, words in ((-16, r"Signature expired: %s is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - 15 min\.\)"),
                               (16, r"Signature not yet current: %s is still later than \d{8}T\d{6}Z \(\d{8}T\d{6}Z \+ 15 min\.\)")):
            at = now() + minutes * MINUTE
            status, code, message = said(signed_v4(cloud, WHO, service="sts", at=at))
            self.assertEqual((status, code), (403, "SignatureDoesNotMatch"))
            self.assertRegex(message, f"^{words % basic(at)}$")

    def test_nearly_all_headers_signed_as_old_tools_do(self):
        answer = signed_v4(cloud, {"Action": "DescribeInstances", "Version": "2015-10-01"},
                           extra_signed={"User-Agent": "euca2ools/3.4  (a  b)", "Accept": "*/*", "Accept-Encoding": "identity"})
        self.assertEqual(answer.status, 200, answer.body)
        self.assertIn('xmlns="http://ec2.amazonaws.com/doc/2015-10-01/"', answer.body)


class Presigned(unittest.TestCase):
    def refused(self, url, status, code):
        answer = send(url).well_formed()
        self.assertEqual((answer.status, answer.code), (status, code), f"{url}\n{answer.body}")
        return answer.message

    def test_one_of_botocore_is_served(self):
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials
        credentials = botocore.credentials.Credentials(cloud.env["AWS_ACCESS_KEY_ID"], cloud.env["AWS_SECRET_ACCESS_KEY"])
        request = botocore.awsrequest.AWSRequest("GET", cloud.endpoint + "/?" + urllib.parse.urlencode(REGIONS))
        botocore.auth.SigV4QueryAuth(credentials, "ec2", cloud.env["AWS_DEFAULT_REGION"], expires=60).add_auth(request)
        self.assertEqual(send(request.url).status, 200)

    def test_it_is_served_for_as_long_as_it_says(self):
        # Longer ago than a clock may be off.
        answer = send(presigned_v4(cloud, REGIONS, at=now() - 60 * MINUTE, expires=3700)).well_formed()
        self.assertEqual((answer.status, "<regionName>" in answer.body), (200, True), answer.body)
        self.assertEqual(send(presigned_v4(cloud, REGIONS, at=now() - 6 * 24 * 60 * MINUTE, expires=604_800)).status, 200)

    def test_it_ends_while_it_is_used(self):
        url = presigned_v4(cloud, REGIONS, expires=3)
        self.assertEqual(send(url).status, 200)
        wait_until("it has expired", lambda: send(url).status != 200, 10)
        self.assertEqual(self.refused(url, 400, "RequestExpired"), "Request has expired.")

    def test_an_expired_one_is_refused_in_each_services_words(self):
        url = presigned_v4(cloud, REGIONS, at=now() - 2 * MINUTE, expires=60)
        self.assertEqual(self.refused(url, 400, "RequestExpired"), "Request has expired.")
        url = presigned_v4(cloud, WHO, at=now() - 2 * MINUTE, expires=60, service="sts")
        self.assertRegex(self.refused(url, 403, "SignatureDoesNotMatch"), r"^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z")

    def test_one_from_the_future_is_refused(self):
        self.refused(presigned_v4(cloud, REGIONS, at=now() + 16 * MINUTE, expires=604_800), 400, "RequestExpired")

    def test_a_life_out_of_range_is_named(self):
        for expires, words in ((0, "must be non-negative"), (-1, "must be non-negative"), (604_801, "must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"),
                               (10**30, "should be a number"), ("soon", "should be a number"), ("", "should be a number"),
                               ("1.5", "should be a number")):
            message = self.refused(presigned_v4(cloud, REGIONS, expires=expires), 400, "IncompleteSignature")
            self.assertTrue(message.startswith(f"X-Amz-Expires {words}"), f"{expires}: {message}")

    def test_one_that_was_edited_is_refused(self):
        url = presigned_v4(cloud, REGIONS, expires=60)
        for edited in (url.replace("DescribeRegions", "DescribeImages"), url.replace("X-Amz-Expires=60", "X-Amz-Expires=600"),
                       url + "&DryRun=true", url.replace("Version=2016-11-15", "Version=2016-09-15"),
                       url[:-1] + ("0" if url[-1] != "0" else "1"), url.replace("/?", "/x?", 1)):
            self.assertNotEqual(edited, url)
            self.assertEqual(self.refused(edited, 401, "AuthFailure"), NOT_VALID[2])
        self.refused(url + "&X-Amz-Expires=600", 400, "InvalidQueryParameter")

    def test_one_without_its_date_is_incomplete(self):
        gone = re.sub("X-Amz-Date=[^&]*&", "", presigned_v4(cloud, REGIONS, expires=60))
        self.assertEqual(self.refused(gone, 400, "IncompleteSignature"),
                         "AWS query-string parameters must include 'X-Amz-Date'. Re-examine the query-string parameters.")


class SessionTokens(unittest.TestCase):
    """Temporary credentials as boto3 uses them, and tokens that belong to no key."""

    def given(self, answer=None):
        """Clients' arguments with the credentials of an answer."""
        given = (answer or cloud.boto3("sts").get_session_token())["Credentials"]
        return {"key": given["AccessKeyId"], "secret": given["SecretAccessKey"], "aws_session_token": given["SessionToken"]}

    def refused(self, code, status, call, **arguments):
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**arguments)
        answer = caught.exception.response
        self.assertEqual((answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]), (code, status), answer)
        return answer["Error"]["Message"]

    def test_a_session_is_its_user_for_every_service(self):
        answer = cloud.boto3("sts").get_session_token(DurationSeconds=900)
        self.assertLess(abs(answer["Credentials"]["Expiration"] - now() - 15 * MINUTE), MINUTE)
        temporary = self.given(answer)
        who, same = (cloud.boto3("sts", **more).get_caller_identity() for more in ({}, temporary))
        self.assertEqual([same[name] for name in ("Arn", "UserId", "Account")], [who[name] for name in ("Arn", "UserId", "Account")])
        self.assertTrue(cloud.boto3("ec2", **temporary).describe_instance_types()["InstanceTypes"])
        import boto3
        import botocore.config
        for version in ("s3v4", "s3"):
            s3 = cloud.boto3("s3", config=botocore.config.Config(signature_version=version), **temporary)
            bucket = f"session-{version}"
            s3.create_bucket(Bucket=bucket)
            s3.put_object(Bucket=bucket, Key="k", Body=b"by token")
            url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}, ExpiresIn=60)
            self.assertIn("security-token=", url.lower())
            self.assertEqual(send(url).body, "by token")
            bare = re.sub("(?i)&?x-amz-security-token=[^&]*", "", url)
            self.assertEqual((send(bare).status, send(bare).code), (403, "InvalidAccessKeyId"))
            self.posts(s3, bucket)
            s3.delete_object(Bucket=bucket, Key="k")
            s3.delete_bucket(Bucket=bucket)
        # As a program has it that was given a shell's environment.
        session = boto3.Session(temporary["key"], temporary["secret"], temporary["aws_session_token"], cloud.env["AWS_DEFAULT_REGION"])
        listed = session.resource("s3", endpoint_url=cloud.env["AWS_ENDPOINT_URL_S3"]).buckets.all()
        self.assertNotIn("session-s3", [bucket.name for bucket in listed])

    def posts(self, s3, bucket):
        import requests
        form = s3.generate_presigned_post(bucket, "posted")
        self.assertIn("x-amz-security-token", form["fields"])
        done = requests.post(form["url"], data=form["fields"], files={"file": b"by form"}, timeout=30)
        self.assertEqual(done.status_code, 204, done.text)
        self.assertEqual(s3.get_object(Bucket=bucket, Key="posted")["Body"].read(), b"by form")
        form["fields"]["x-amz-security-token"] = "another"
        done = requests.post(form["url"], data=form["fields"], files={"file": b"by form"}, timeout=30)
        self.assertEqual((done.status_code, "<Code>InvalidToken</Code>" in done.text), (400, True), done.text)
        s3.delete_object(Bucket=bucket, Key="posted")

    def test_tokens_do_not_go_from_key_to_key(self):
        one, two = self.given(), self.given()
        mixed, long_term = {**one, "aws_session_token": two["aws_session_token"]}, {"aws_session_token": one["aws_session_token"]}
        for wrong in (mixed, long_term):
            self.assertEqual(self.refused("AuthFailure", 401, cloud.boto3("ec2", **wrong).describe_regions), NOT_VALID[2])
            self.assertEqual(self.refused("InvalidClientTokenId", 403, cloud.boto3("sts", **wrong).get_caller_identity), UNKNOWN_TOKEN[2])
            message = self.refused("InvalidToken", 400, cloud.boto3("s3", **wrong).list_buckets)
            self.assertEqual(message, "The provided token is malformed or otherwise invalid.")
        bare = {"key": one["key"], "secret": one["secret"]}
        self.refused("AuthFailure", 401, cloud.boto3("ec2", **bare).describe_regions)
        self.refused("InvalidClientTokenId", 403, cloud.boto3("sts", **bare).get_caller_identity)
        self.refused("InvalidAccessKeyId", 403, cloud.boto3("s3", **bare).list_buckets)

    def test_a_session_ends_with_its_users_key(self):
        user = ("--account", "sessions", "--user", "tess")
        cloud.karri("account", "create", "sessions")
        cloud.karri("user", "create", "--account", "sessions", "--policy", "AdministratorAccess", "tess")
        key = json.loads(cloud.karri("key", "create", *user, "--output", "json"))
        own = cloud.boto3("sts", key["access_key_id"], key["secret_access_key"])
        temporary = self.given(own.get_session_token())
        ec2, s3 = cloud.boto3("ec2", **temporary), cloud.boto3("s3", **temporary)
        ec2.describe_regions()
        s3.list_buckets()
        cloud.karri("key", "delete", key["access_key_id"])
        self.refused("AuthFailure", 401, ec2.describe_regions)

        def over():
            try:
                s3.list_buckets()
            except botocore.exceptions.ClientError as error:
                return error.response["Error"]["Code"] == "InvalidToken"
            return False
        wait_until("Walrus has heard of it", over, 10)

    def test_a_federated_user_has_what_both_allow(self):
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:ListAllMyBuckets", "ec2:DescribeRegions"], "Resource": "*"}]}
        answer = cloud.boto3("sts").get_federation_token(Name="sam", Policy=json.dumps(policy))
        temporary = self.given(answer)
        self.assertEqual(cloud.boto3("sts", **temporary).get_caller_identity()["Arn"], answer["FederatedUser"]["Arn"])
        cloud.boto3("ec2", **temporary).describe_regions()
        self.refused("UnauthorizedOperation", 403, cloud.boto3("ec2", **temporary).describe_instances)
        s3 = cloud.boto3("s3", **temporary)
        s3.list_buckets()
        message = self.refused("AccessDenied", 403, s3.create_bucket, Bucket="of-sam")
        self.assertIn("no session policy allows the s3:CreateBucket action", message)

    def test_the_command_line_uses_what_it_is_given(self):
        given = json.loads(self.aws("sts", "get-session-token"))["Credentials"]
        temporary = {"AWS_ACCESS_KEY_ID": given["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
                     "AWS_SESSION_TOKEN": given["SessionToken"]}
        self.assertEqual(self.aws("sts", "get-caller-identity", **temporary), self.aws("sts", "get-caller-identity"))
        self.aws("s3", "ls", **temporary)

    def aws(self, *arguments, **environment):
        done = subprocess.run([AWS, *arguments], capture_output=True, text=True, env={**cloud.client_environment(), **environment})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def test_a_token_with_long_term_keys_is_refused_by_each_service_with_its_code(self):
        client = {"aws_session_token": "FwoGZXIvYXdzEXAMPLE"}
        for service, call, code, status, message in (
                ("ec2", "describe_regions", "AuthFailure", 401, NOT_VALID[2]),
                ("sts", "get_caller_identity", "InvalidClientTokenId", 403, UNKNOWN_TOKEN[2])):
            with self.assertRaises(botocore.exceptions.ClientError) as caught:
                getattr(cloud.boto3(service, **client), call)()
            answer = caught.exception.response
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], status)
            self.assertEqual((answer["Error"]["Code"], answer["Error"]["Message"]), (code, message))

    def test_in_a_presigned_query_too(self):
        answer = send(presigned_v4(cloud, REGIONS, token="FwoGZXIvYXdzEXAMPLE//+=")).well_formed()
        self.assertEqual((answer.status, answer.code, answer.message), (401, "AuthFailure", NOT_VALID[2]))
        answer = send(presigned_v4(cloud, WHO, token="FwoGZXIvYXdzEXAMPLE//+=", service="sts")).well_formed()
        self.assertEqual((answer.status, answer.code, answer.message), (403, "InvalidClientTokenId", UNKNOWN_TOKEN[2]))

    def test_one_that_is_not_signed_or_in_version_two_is_refused_as_well(self):
        added = signed_v4(cloud, REGIONS, tamper=lambda h, b: ({**h, "X-Amz-Security-Token": "added"}, b)).well_formed()
        self.assertEqual((added.status, added.code), (401, "AuthFailure"), added.body)
        added = send(presigned_v4(cloud, REGIONS) + "&X-Amz-Security-Token=added").well_formed()
        self.assertEqual((added.status, added.code), (401, "AuthFailure"), added.body)
        old = signed_v2(cloud, {**REGIONS, "SecurityToken": "old"}).well_formed()
        self.assertEqual((old.status, old.code), (401, "AuthFailure"), old.body)

    def test_a_key_of_temporary_credentials_without_its_token_is_as_unknown_as_any(self):
        answer = signed_v4(cloud, REGIONS, key="ASIAIOSFODNN7EXAMPLE").well_formed()
        self.assertEqual((answer.status, answer.code, answer.message), (401, "AuthFailure", NOT_VALID[2]))


class VersionTwo(unittest.TestCase):
    def test_get_and_post_sha1_and_sha256(self):
        for method in ("GET", "POST"):
            for digest in ("sha1", "sha256"):
                answer = signed_v2(cloud, REGIONS, method=method, digest=digest)
                self.assertEqual(answer.status, 200, f"{method} {digest}: {answer.body}")

    def test_wrong_secret_and_changed_query_are_refused(self):
        self.assertEqual(said(signed_v2(cloud, REGIONS, secret="x")), EC2_MISMATCH)
        changed = signed_v2(cloud, REGIONS, tamper=lambda q: q.replace("DescribeRegions", "DescribeImages"))
        self.assertEqual(said(changed), EC2_MISMATCH)

    def test_a_timestamp_outside_of_the_window_is_named(self):
        for minutes in (-60, 60):
            at = now() + minutes * MINUTE
            stamp = at.strftime("%Y-%m-%dT%H:%M:%SZ")
            expired = (400, "RequestExpired", f"Request has expired. Timestamp date is {stamp}")
            self.assertEqual(said(signed_v2(cloud, REGIONS, at=at)), expired)


if __name__ == "__main__":
    unittest.main(verbosity=2)
