"""Who is let in: both signature versions, presigned requests, and every way of getting it wrong."""

import datetime
import json
import re
import unittest
import urllib.parse

from cloud import Cloud
from raw import send, signed_v2, signed_v4

REGIONS = {"Action": "DescribeRegions", "Version": "2016-11-15"}
WHO = {"Action": "GetCallerIdentity", "Version": "2011-06-15"}
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

    def test_a_presigned_url_works_until_it_expires(self):
        import botocore.auth
        import botocore.awsrequest
        import botocore.credentials
        credentials = botocore.credentials.Credentials(cloud.env["AWS_ACCESS_KEY_ID"], cloud.env["AWS_SECRET_ACCESS_KEY"])

        def presigned(expires):
            request = botocore.awsrequest.AWSRequest("GET", cloud.endpoint + "/?" + urllib.parse.urlencode(REGIONS))
            botocore.auth.SigV4QueryAuth(credentials, "ec2", cloud.env["AWS_DEFAULT_REGION"], expires=expires).add_auth(request)
            return request.url

        self.assertEqual(send(presigned(60)).status, 200)
        self.assertEqual(said(send(presigned(60).replace("DescribeRegions", "DescribeImages"))), NOT_VALID)
        self.assertEqual(said(send(presigned(60).replace("X-Amz-Expires=60", "X-Amz-Expires=600"))), NOT_VALID)
        # A week is the longest life that a presigned request may ask for.
        self.assertEqual(send(presigned(604_800)).status, 200)
        week = ("X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
                "604800 seconds")
        for expires, why in ((604_801, week), (-1, "X-Amz-Expires must be non-negative"), ("soon", "X-Amz-Expires should be a number")):
            self.assertEqual(said(send(presigned(expires))), (400, "IncompleteSignature", why), expires)
        self.assertEqual(said(send(presigned(60) + "&x=y")), NOT_VALID)
        gone = re.sub("X-Amz-Date=[^&]*&", "", presigned(60))
        self.assertEqual(said(send(gone)), (400, "IncompleteSignature", "AWS query-string parameters must include 'X-Amz-Date'. "
                                            "Re-examine the query-string parameters."))


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
