"""Who is let in: both signature versions, presigned requests, and every way of getting it wrong."""

import datetime
import unittest
import urllib.parse

import botocore.exceptions
from cloud import Cloud, wait_until
from raw import presigned_v4, send, signed_v2, signed_v4

REGIONS = {"Action": "DescribeRegions", "Version": "2016-11-15"}
IDENTITY = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
NOT_VALIDATED = "AWS was not able to validate the provided access credentials"
INVALID_TOKEN = "The security token included in the request is invalid."
MINUTE = datetime.timedelta(minutes=1)


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def setUpModule():
    global cloud
    cloud = Cloud(nodes=1).__enter__()


def tearDownModule():
    cloud.__exit__(None)


class VersionFour(unittest.TestCase):
    def test_a_right_signature_is_served(self):
        answer = signed_v4(cloud, REGIONS).well_formed()
        self.assertEqual((answer.status, "<regionName>" in answer.body), (200, True), answer.body)

    def test_another_accounts_key_is_served_as_that_account(self):
        account = "second-account"
        cloud.karri("account", "create", account)
        cloud.karri("user", "create", "--account", account, "--policy", "AdministratorAccess", "ann")
        key = __import__("json").loads(cloud.karri("key", "create", "--account", account, "--user", "ann", "--output", "json"))
        sts = cloud.boto3("sts", key["access_key_id"], key["secret_access_key"])
        other = sts.get_caller_identity()["Account"]
        self.assertNotEqual(other, cloud.boto3("sts").get_caller_identity()["Account"])

    def test_wrong_secret_unknown_key_and_changed_body_are_refused(self):
        wrong = signed_v4(cloud, REGIONS, secret="x" * 40).well_formed()
        self.assertEqual((wrong.status, wrong.code), (401, "AuthFailure"), wrong.body)
        unknown = signed_v4(cloud, REGIONS, key="AKIAUNKNOWNUNKNOWN00").well_formed()
        self.assertEqual((unknown.status, unknown.code), (401, "AuthFailure"), unknown.body)
        self.assertEqual(unknown.message, "AWS was not able to validate the provided access credentials")
        changed = signed_v4(cloud, REGIONS, tamper=lambda h, b: (h, b.replace(b"DescribeRegions", b"DescribeImages")))
        self.assertEqual((changed.status, changed.code), (401, "AuthFailure"), changed.body)

    def test_an_unsigned_request_is_told_what_it_lacks(self):
        answer = send(cloud.endpoint + "/?" + urllib.parse.urlencode(REGIONS)).well_formed()
        self.assertEqual((answer.status, answer.code), (400, "MissingParameter"))
        self.assertEqual(answer.message, "The request must contain the parameter AWSAccessKeyId")

    def test_skew_and_replay_outside_the_window_are_refused(self):
        self.assertEqual(signed_v4(cloud, REGIONS, at=now() - 4 * MINUTE).status, 200)
        for at in (now() - 16 * MINUTE, now() + 16 * MINUTE):
            answer = signed_v4(cloud, REGIONS, at=at).well_formed()
            self.assertEqual((answer.status, answer.code), (400, "RequestExpired"), answer.body)

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
        url = presigned_v4(cloud, IDENTITY, at=now() - 2 * MINUTE, expires=60, service="sts")
        self.assertRegex(self.refused(url, 403, "SignatureDoesNotMatch"), r"^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z")

    def test_one_from_the_future_is_refused(self):
        self.refused(presigned_v4(cloud, REGIONS, at=now() + 16 * MINUTE, expires=604_800), 400, "RequestExpired")

    def test_a_life_out_of_range_is_named(self):
        for expires, words in ((0, "must be non-negative"), (-1, "must be non-negative"), (604_801, "must be less than a week"),
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
            self.assertEqual(self.refused(edited, 401, "AuthFailure"), NOT_VALIDATED)
        self.refused(url + "&X-Amz-Expires=600", 400, "InvalidQueryParameter")


class SessionTokens(unittest.TestCase):
    """Nobody is given temporary credentials yet, so no token belongs to any key."""

    def test_a_token_with_long_term_keys_is_refused_by_each_service_with_its_code(self):
        client = {"aws_session_token": "FwoGZXIvYXdzEXAMPLE"}
        for service, call, code, status, message in (
                ("ec2", "describe_regions", "AuthFailure", 401, NOT_VALIDATED),
                ("sts", "get_caller_identity", "InvalidClientTokenId", 403, INVALID_TOKEN)):
            with self.assertRaises(botocore.exceptions.ClientError) as caught:
                getattr(cloud.boto3(service, **client), call)()
            answer = caught.exception.response
            self.assertEqual(answer["ResponseMetadata"]["HTTPStatusCode"], status)
            self.assertEqual((answer["Error"]["Code"], answer["Error"]["Message"]), (code, message))

    def test_in_a_presigned_query_too(self):
        answer = send(presigned_v4(cloud, REGIONS, token="FwoGZXIvYXdzEXAMPLE//+=")).well_formed()
        self.assertEqual((answer.status, answer.code, answer.message), (401, "AuthFailure", NOT_VALIDATED))
        answer = send(presigned_v4(cloud, IDENTITY, token="FwoGZXIvYXdzEXAMPLE//+=", service="sts")).well_formed()
        self.assertEqual((answer.status, answer.code, answer.message), (403, "InvalidClientTokenId", INVALID_TOKEN))

    def test_one_that_is_not_signed_or_in_version_two_is_refused_as_well(self):
        added = signed_v4(cloud, REGIONS, tamper=lambda h, b: ({**h, "X-Amz-Security-Token": "added"}, b)).well_formed()
        self.assertEqual((added.status, added.code), (401, "AuthFailure"), added.body)
        added = send(presigned_v4(cloud, REGIONS) + "&X-Amz-Security-Token=added").well_formed()
        self.assertEqual((added.status, added.code), (401, "AuthFailure"), added.body)
        old = signed_v2(cloud, {**REGIONS, "SecurityToken": "old"}).well_formed()
        self.assertEqual((old.status, old.code), (401, "AuthFailure"), old.body)

    def test_a_key_of_temporary_credentials_without_its_token_is_as_unknown_as_any(self):
        answer = signed_v4(cloud, REGIONS, key="ASIAIOSFODNN7EXAMPLE").well_formed()
        self.assertEqual((answer.status, answer.code, answer.message), (401, "AuthFailure", NOT_VALIDATED))


class VersionTwo(unittest.TestCase):
    def test_get_and_post_sha1_and_sha256(self):
        for method in ("GET", "POST"):
            for digest in ("sha1", "sha256"):
                answer = signed_v2(cloud, REGIONS, method=method, digest=digest)
                self.assertEqual(answer.status, 200, f"{method} {digest}: {answer.body}")

    def test_wrong_secret_old_timestamp_and_changed_query_are_refused(self):
        self.assertEqual(signed_v2(cloud, REGIONS, secret="x").status, 403)
        self.assertGreaterEqual(signed_v2(cloud, REGIONS, at=now() - 60 * MINUTE).status, 400)
        changed = signed_v2(cloud, REGIONS, tamper=lambda q: q.replace("DescribeRegions", "DescribeImages"))
        self.assertEqual(changed.status, 403)


if __name__ == "__main__":
    unittest.main(verbosity=2)
