"""Who is let in: both signature versions, presigned requests, and every way of getting it wrong."""

import datetime
import re
import unittest
import urllib.parse

from cloud import Cloud
from raw import send, signed_v2, signed_v4

REGIONS = {"Action": "DescribeRegions", "Version": "2016-11-15"}
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
        self.assertGreaterEqual(send(presigned(60).replace("DescribeRegions", "DescribeImages")).status, 400)
        self.assertGreaterEqual(send(presigned(700_000)).status, 400)


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
