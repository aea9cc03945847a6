"""Real S3 clients, each in a session of its own kind: s3cmd, aws-cli 1 and 2, boto3, boto 2, rclone, minio-py.

Every session makes a bucket, moves small and large files through it, reads them back bit for bit, and ends
with nothing left behind.
"""

import filecmp
import io
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request

from cloud import VENV, Cloud

MIB = 1 << 20
# Above what each client sends in one piece.
LARGE_BYTES = 17 * MIB + 4321


def setUpModule():
    global cloud
    cloud = Cloud(nodes=1).__enter__()


def tearDownModule():
    cloud.__exit__(None)


def endpoint():
    return cloud.env["AWS_ENDPOINT_URL_S3"]


def fetched(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read()


def versions_go(test, bucket, texts):
    """The versions of the only key, newest first, behind a delete marker; s3cmd cannot ask for them. Then all is removed."""
    s3 = cloud.s3()
    shown = s3.list_object_versions(Bucket=bucket)
    [marker] = shown["DeleteMarkers"]
    test.assertTrue(marker["IsLatest"])
    versions = shown["Versions"]
    found = [s3.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"].read() for one in versions]
    test.assertEqual([each.decode() for each in found], texts)
    for one in [*versions, marker]:
        s3.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    s3.delete_bucket(Bucket=bucket)


class Session(unittest.TestCase):
    """A folder of files of several sizes and of names that clients get wrong."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=cloud.directory))
        self.source = self.folder / "source"
        (self.source / "sub folder").mkdir(parents=True)
        self.large = self.source / "large.bin"
        self.large.write_bytes(os.urandom(LARGE_BYTES))
        (self.source / "empty").write_bytes(b"")
        (self.source / "small.txt").write_text("small\n")
        (self.source / "sub folder" / "grüße+%&=#.txt").write_text("encoded\n")
        self.bucket = "session-" + type(self).__name__.lower()

    def assert_same_folders(self, one, other):
        names = lambda top: sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file())
        self.assertEqual(names(one), names(other))
        for name in names(one):
            self.assertTrue(filecmp.cmp(one / name, other / name, shallow=False), name)

    def run_client(self, *command, expect=0, **environment):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300,
                              env={**cloud.client_environment(), **environment})
        self.assertEqual(done.returncode, expect, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


class S3cmd(Session):
    def s3cmd(self, *arguments, expect=0):
        return self.run_client(VENV / "s3cmd", "-c", self.config, *arguments, expect=expect)

    def setUp(self):
        super().setUp()
        host = urllib.parse.urlsplit(endpoint()).netloc
        self.config = self.folder / "s3cfg"
        self.config.write_text(
            f"[default]\naccess_key = {cloud.env['AWS_ACCESS_KEY_ID']}\nsecret_key = {cloud.env['AWS_SECRET_ACCESS_KEY']}\n"
            f"host_base = {host}\nhost_bucket = {host}\nuse_https = False\nbucket_location = US\n"
            f"multipart_chunk_size_mb = 5\n{self.more}\n")

    more = ""

    def test_session(self):
        top = f"s3://{self.bucket}"
        self.s3cmd("mb", top)
        self.assertIn(top, self.s3cmd("ls"))
        self.s3cmd("put", self.source / "small.txt", f"{top}/a/small.txt", "--add-header", "x-amz-meta-colour: blue")
        self.s3cmd("put", self.large, f"{top}/large.bin")
        self.s3cmd("get", f"{top}/large.bin", self.folder / "back.bin")
        self.assertTrue(filecmp.cmp(self.large, self.folder / "back.bin", shallow=False))
        info = self.s3cmd("info", f"{top}/a/small.txt")
        self.assertIn("x-amz-meta-colour", info)
        self.s3cmd("cp", f"{top}/a/small.txt", f"{top}/b/copy.txt")
        self.s3cmd("mv", f"{top}/b/copy.txt", f"{top}/c/moved.txt")
        listed = self.s3cmd("ls", "--recursive", top)
        self.assertIn(f"{top}/c/moved.txt", listed)
        self.assertNotIn("b/copy.txt", listed)
        self.assertIn("DIR", self.s3cmd("ls", top))
        signed = self.s3cmd("signurl", f"{top}/a/small.txt", "+600").strip().splitlines()[-1]
        self.assertEqual(fetched(signed), b"small\n")
        self.s3cmd("rb", top, expect=13)  # not empty
        self.s3cmd("rb", "--recursive", "--force", top)
        self.assertNotIn(top, self.s3cmd("ls"))

    def test_sync(self):
        bucket = self.bucket + "-sync"
        top = f"s3://{bucket}"
        self.s3cmd("mb", top)
        self.s3cmd("sync", f"{self.source}/", f"{top}/deep/")
        again = self.s3cmd("sync", f"{self.source}/", f"{top}/deep/")
        self.assertNotIn("upload:", again)
        self.s3cmd("sync", f"{top}/deep/", f"{self.folder}/back/")
        self.assert_same_folders(self.source, self.folder / "back")
        (self.source / "small.txt").unlink()
        self.s3cmd("sync", "--delete-removed", f"{self.source}/", f"{top}/deep/")
        self.assertNotIn("small.txt", self.s3cmd("ls", "--recursive", top))
        self.s3cmd("del", "--recursive", "--force", top)
        self.s3cmd("rb", top)


    def test_versions(self):
        bucket = self.bucket + "-versions"
        top = f"s3://{bucket}"
        self.s3cmd("mb", top)
        self.s3cmd("setversioning", top, "enable")
        self.assertIn("Enabled", self.s3cmd("info", top))
        for text in ("one", "two"):
            (self.folder / text).write_text(text)
            self.s3cmd("put", self.folder / text, f"{top}/k")
        self.s3cmd("del", f"{top}/k")
        self.assertNotIn("/k", self.s3cmd("ls", top))
        versions_go(self, bucket, ["two", "one"])


class S3cmdVersion2(S3cmd):
    more = "signature_v2 = True"


class AwsCli1(Session):
    aws = VENV / "aws"

    def run_aws(self, *arguments, expect=0):
        return self.run_client(self.aws, "--endpoint-url", endpoint(), *arguments, expect=expect)

    def api(self, *arguments, expect=0):
        return self.run_aws("s3api", *arguments, "--output", "json", expect=expect)

    def test_session(self):
        top = f"s3://{self.bucket}"
        self.run_aws("s3", "mb", top)
        self.run_aws("s3", "cp", self.large, f"{top}/large.bin")
        self.run_aws("s3", "cp", f"{top}/large.bin", self.folder / "back.bin")
        self.assertTrue(filecmp.cmp(self.large, self.folder / "back.bin", shallow=False))
        self.run_aws("s3", "sync", self.source, f"{top}/deep")
        self.assertEqual(self.run_aws("s3", "sync", self.source, f"{top}/deep"), "")
        self.run_aws("s3", "sync", f"{top}/deep", self.folder / "back")
        self.assert_same_folders(self.source, self.folder / "back")
        self.run_aws("s3", "mv", f"{top}/deep/small.txt", f"{top}/moved.txt")
        listed = self.run_aws("s3", "ls", "--recursive", top)
        self.assertIn("moved.txt", listed)
        self.assertNotIn("deep/small.txt", listed)
        signed = self.run_aws("s3", "presign", f"{top}/moved.txt", "--expires-in", "300").strip()
        self.assertEqual(fetched(signed), b"small\n")
        self.run_aws("s3", "rb", top, expect=1)
        self.run_aws("s3", "rb", "--force", top)
        self.assertNotIn(self.bucket, self.run_aws("s3", "ls"))

    def test_versions(self):
        bucket = self.bucket + "-versions"
        self.api("create-bucket", "--bucket", bucket)
        self.api("put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled")
        for text in ("one", "two"):
            file = self.folder / text
            file.write_text(text)
            self.api("put-object", "--bucket", bucket, "--key", "k", "--body", file)
        self.api("delete-object", "--bucket", bucket, "--key", "k")
        shown = json.loads(self.api("list-object-versions", "--bucket", bucket))
        self.assertEqual(len(shown["Versions"]), 2)
        self.assertTrue(shown["DeleteMarkers"][0]["IsLatest"])
        first = shown["Versions"][-1]["VersionId"]
        self.api("get-object", "--bucket", bucket, "--key", "k", "--version-id", first, self.folder / "old")
        self.assertEqual((self.folder / "old").read_text(), "one")
        self.assertIn("NoSuchKey", self.api("get-object", "--bucket", bucket, "--key", "k", self.folder / "none",
                                            expect=self.error_status))
        for entry in shown["Versions"] + shown["DeleteMarkers"]:
            self.api("delete-object", "--bucket", bucket, "--key", "k", "--version-id", entry["VersionId"])
        self.api("delete-bucket", "--bucket", bucket)

    error_status = 255


class AwsCli2(AwsCli1):
    aws = shutil.which("aws", path="/usr/bin")
    error_status = 254


class Boto3(Session):
    def setUp(self):
        super().setUp()
        self.s3 = cloud.s3()

    def test_session(self):
        from botocore.exceptions import ClientError
        s3, bucket = self.s3, self.bucket
        s3.create_bucket(Bucket=bucket)
        s3.upload_file(str(self.large), bucket, "large.bin", ExtraArgs={"Metadata": {"colour": "blue"}})
        head = s3.head_object(Bucket=bucket, Key="large.bin")
        self.assertEqual((head["ContentLength"], head["Metadata"]), (LARGE_BYTES, {"colour": "blue"}))
        self.assertRegex(head["ETag"], r'^"[0-9a-f]{32}-\d+"$')
        back = io.BytesIO()
        s3.download_fileobj(bucket, "large.bin", back)
        self.assertEqual(back.getvalue(), self.large.read_bytes())
        part = s3.get_object(Bucket=bucket, Key="large.bin", Range="bytes=5000000-5000009")
        self.assertEqual(part["Body"].read(), self.large.read_bytes()[5000000:5000010])
        for algorithm in ("CRC32", "SHA1", "SHA256"):  # the others want a compiled library of AWS's
            answer = s3.put_object(Bucket=bucket, Key=algorithm, Body=b"sum", ChecksumAlgorithm=algorithm)
            got = s3.get_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
            self.assertEqual(got["Checksum" + algorithm], answer["Checksum" + algorithm])
            self.assertEqual(got["Body"].read(), b"sum")
        s3.put_object(Bucket=bucket, Key="once", Body=b"1", IfNoneMatch="*")
        with self.assertRaises(ClientError) as refused:
            s3.put_object(Bucket=bucket, Key="once", Body=b"2", IfNoneMatch="*")
        self.assertEqual(refused.exception.response["Error"]["Code"], "PreconditionFailed")
        url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "signed"}, ExpiresIn=60)
        request = urllib.request.Request(url, data=b"by url", method="PUT")
        urllib.request.urlopen(request, timeout=30).close()
        self.assertEqual(s3.get_object(Bucket=bucket, Key="signed")["Body"].read(), b"by url")
        keys = [item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, PaginationConfig={"PageSize": 3}) for item in page["Contents"]]
        self.assertEqual(keys, sorted(keys))
        gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys + ["never"]]})
        self.assertEqual(len(gone["Deleted"]), len(keys) + 1)
        s3.delete_bucket(Bucket=bucket)
        with self.assertRaises(ClientError) as missing:
            s3.list_objects_v2(Bucket=bucket)
        self.assertEqual(missing.exception.response["Error"]["Code"], "NoSuchBucket")

    def test_versions(self):
        bucket = self.bucket + "-versions"
        self.s3.create_bucket(Bucket=bucket)
        self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        for text in ("one", "two"):
            self.s3.put_object(Bucket=bucket, Key="k", Body=text)
        self.assertTrue(self.s3.delete_object(Bucket=bucket, Key="k")["DeleteMarker"])
        versions_go(self, bucket, ["two", "one"])

    def test_post_form(self):
        import requests
        bucket = self.bucket + "-form"
        self.s3.create_bucket(Bucket=bucket)
        form = self.s3.generate_presigned_post(bucket, "up/${filename}", Conditions=[["starts-with", "$key", "up/"]])
        done = requests.post(form["url"], data=form["fields"], files={"file": ("name.txt", b"posted")}, timeout=30)
        self.assertEqual(done.status_code, 204, done.text)
        self.assertEqual(self.s3.get_object(Bucket=bucket, Key="up/name.txt")["Body"].read(), b"posted")
        form["fields"]["key"] = "elsewhere/${filename}"
        done = requests.post(form["url"], data=form["fields"], files={"file": ("name.txt", b"posted")}, timeout=30)
        self.assertEqual(done.status_code, 403, done.text)
        self.s3.delete_object(Bucket=bucket, Key="up/name.txt")
        self.s3.delete_bucket(Bucket=bucket)


class Boto2(Session):
    """Signs with Version 2."""

    def test_session(self):
        program = """
import sys, boto
from boto.s3.connection import OrdinaryCallingFormat, S3Connection
host, port, key, secret, name, large = sys.argv[1:]
s3 = S3Connection(key, secret, host=host, port=int(port), is_secure=False, calling_format=OrdinaryCallingFormat())
bucket = s3.create_bucket(name)
one = bucket.new_key("a b/ü+.txt")
one.set_metadata("colour", "blue")
one.set_contents_from_string("text")
assert bucket.get_key("a b/ü+.txt").get_metadata("colour") == "blue"
assert bucket.get_key("a b/ü+.txt").get_contents_as_string(encoding="utf-8") == "text"
upload = bucket.initiate_multipart_upload("large")
with open(large, "rb") as file:
    for number in range(1, 5):
        data = file.read(5 << 20)
        if data:
            import io
            upload.upload_part_from_file(io.BytesIO(data), number)
upload.complete_upload()
assert bucket.get_key("large").get_contents_as_string() == open(large, "rb").read()
bucket.copy_key("copy", name, "large")
assert sorted(key.name for key in bucket.list()) == ["a b/ü+.txt", "copy", "large"]
import urllib.request
url = one.generate_url(60, force_http=True).replace(f"//{host}/", f"//{host}:{port}/")  # boto leaves the port out
assert urllib.request.urlopen(url).read() == b"text"
for key in bucket.list():
    key.delete()
bucket.configure_versioning(True)
assert bucket.get_versioning_status() == {"Versioning": "Enabled"}
for text in ("one", "two"):
    bucket.new_key("k").set_contents_from_string(text)
marker = bucket.delete_key("k")
assert marker.delete_marker and bucket.get_key("k") is None
versions = [each for each in bucket.list_versions() if each.version_id != marker.version_id]
assert [bucket.get_key("k", version_id=each.version_id).get_contents_as_string() for each in versions] == [b"two", b"one"]
for each in [marker, *versions]:
    bucket.delete_key("k", version_id=each.version_id)
s3.delete_bucket(name)
assert name not in [bucket.name for bucket in s3.get_all_buckets()]
"""
        where = urllib.parse.urlsplit(endpoint())
        self.run_client(VENV / "python", "-c", program, where.hostname, where.port, cloud.env["AWS_ACCESS_KEY_ID"],
                        cloud.env["AWS_SECRET_ACCESS_KEY"], self.bucket, self.large)


class Rclone(Session):
    def rclone(self, *arguments, expect=0):
        settings = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": endpoint(), "FORCE_PATH_STYLE": "true",
                    "REGION": cloud.env["AWS_DEFAULT_REGION"], "CHUNK_SIZE": "5Mi", "UPLOAD_CUTOFF": "6Mi",
                    "ACCESS_KEY_ID": cloud.env["AWS_ACCESS_KEY_ID"],
                    "SECRET_ACCESS_KEY": cloud.env["AWS_SECRET_ACCESS_KEY"]}
        environment = {f"RCLONE_CONFIG_K_{name}": value for name, value in settings.items()}
        return self.run_client(VENV / "rclone", "--quiet", "--config", "/dev/null", *arguments, expect=expect, **environment)

    def test_session(self):
        top = f"k:{self.bucket}"
        self.rclone("mkdir", top)
        self.rclone("sync", self.source, f"{top}/deep")
        self.rclone("check", "--download", self.source, f"{top}/deep")
        self.rclone("copy", f"{top}/deep", self.folder / "back")
        self.assert_same_folders(self.source, self.folder / "back")
        self.rclone("copyto", f"{top}/deep/large.bin", f"{top}/copy.bin")
        listed = self.rclone("lsf", "--recursive", "--files-only", top)
        self.assertIn("copy.bin", listed)
        (self.source / "small.txt").unlink()
        self.rclone("sync", self.source, f"{top}/deep")
        self.assertNotIn("small.txt", self.rclone("lsf", "-R", top))
        signed = self.rclone("link", "--expire", "10m", f"{top}/copy.bin").strip()
        self.assertEqual(fetched(signed), self.large.read_bytes())
        self.rclone("purge", top)
        self.assertNotIn(self.bucket, self.rclone("lsd", "k:"))

    def test_versions(self):
        bucket = self.bucket + "-versions"
        top = f"k:{bucket}"
        self.rclone("mkdir", top)
        self.assertIn("Enabled", self.rclone("backend", "versioning", top, "Enabled"))
        for text in ("one", "two"):
            (self.folder / "k").write_text(text)
            self.rclone("copy", "--ignore-times", self.folder / "k", top)
        self.rclone("deletefile", f"{top}/k")
        self.assertEqual(self.rclone("lsf", top), "")
        self.assertEqual(len(self.rclone("lsf", "--s3-versions", top).split()), 2)
        versions_go(self, bucket, ["two", "one"])


class Minio(Session):
    def test_session(self):
        from minio import Minio as Client
        from minio.deleteobjects import DeleteObject
        from minio.versioningconfig import ENABLED, VersioningConfig
        where = urllib.parse.urlsplit(endpoint())
        s3 = Client(endpoint=where.netloc, access_key=cloud.env["AWS_ACCESS_KEY_ID"],
                    secret_key=cloud.env["AWS_SECRET_ACCESS_KEY"], secure=False, region=cloud.env["AWS_DEFAULT_REGION"])
        bucket = self.bucket
        s3.make_bucket(bucket_name=bucket)
        self.assertTrue(s3.bucket_exists(bucket_name=bucket))
        s3.fput_object(bucket_name=bucket, object_name="large", file_path=str(self.large), part_size=5 * MIB)
        s3.fget_object(bucket_name=bucket, object_name="large", file_path=str(self.folder / "back"))
        self.assertTrue(filecmp.cmp(self.large, self.folder / "back", shallow=False))
        s3.put_object(bucket_name=bucket, object_name="x/ü", data=io.BytesIO(b"text"), length=4)
        self.assertEqual(s3.stat_object(bucket_name=bucket, object_name="x/ü").size, 4)
        names = [item.object_name for item in s3.list_objects(bucket_name=bucket, recursive=True)]
        self.assertEqual(names, ["large", "x/ü"])
        self.assertEqual(fetched(s3.presigned_get_object(bucket_name=bucket, object_name="x/ü")), b"text")
        errors = list(s3.remove_objects(bucket_name=bucket, delete_object_list=[DeleteObject(name) for name in names]))
        self.assertEqual(errors, [])
        s3.set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(ENABLED))
        for text in (b"one", b"two"):
            s3.put_object(bucket_name=bucket, object_name="k", data=io.BytesIO(text), length=3)
        s3.remove_object(bucket_name=bucket, object_name="k")
        versions = list(s3.list_objects(bucket_name=bucket, include_version=True))
        self.assertEqual([one.is_delete_marker for one in versions].count(True), 1)
        for one in versions:
            if not one.is_delete_marker:
                with s3.get_object(bucket_name=bucket, object_name="k", version_id=one.version_id) as answer:
                    self.assertIn(answer.read(), (b"one", b"two"))
            s3.remove_object(bucket_name=bucket, object_name="k", version_id=one.version_id)
        s3.remove_bucket(bucket_name=bucket)
        self.assertFalse(s3.bucket_exists(bucket_name=bucket))


if __name__ == "__main__":
    unittest.main(verbosity=2)
