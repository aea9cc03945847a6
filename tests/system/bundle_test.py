"""Image bundles from the bundler to a guest: uploaded by S3 clients, registered by their manifests, booted."""

import hashlib
import http.client
import json
import shutil
import ssl
import subprocess
import unittest
import urllib.parse

from real_cloud import BOOT_SECONDS, IMAGES, RealCloud, instance, new_key, ssh, wait_state, wait_until

import boto3  # noqa: E402
from botocore.config import Config  # noqa: E402
from botocore.exceptions import ClientError  # noqa: E402
from bundle import bundle  # noqa: E402
from cloud import ROOT, VENV  # noqa: E402

VECTOR = ROOT / "walrus" / "tests" / "vectors" / "bundle"
VECTOR_IMAGE = "0ab8ef7ef9830718485eec2e89d51d1147e0159b47511fce67fe180ddb9cb1bd"
MAKE_SECONDS = 120
PREFIXES = ("", "/services/objectstorage", "/services/Walrus")


class VectorCloud(RealCloud):
    """A cloud that has the key which the golden vector is encrypted for."""

    def __enter__(self):
        keys = self.state_dir / "keys"
        keys.mkdir(parents=True, mode=0o700)
        for name in ("cloud-pk.pem", "cloud-cert.pem"):
            shutil.copy(VECTOR / name, keys / name)
            (keys / name).chmod(0o600)
        return super().__enter__()


def setUpModule():
    global cloud, ec2, s3
    cloud = VectorCloud(number=44).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)
    ec2, s3 = cloud.boto3(), cloud.s3()
    s3.create_bucket(Bucket="bundles")
    bring_certificate((VECTOR / "user-cert.pem").read_text())


def bring_certificate(pem):
    """Makes a certificate one of the administrator's, over the operator's API."""
    own = cloud.state_dir / "tls" / "admin"
    context = ssl.create_default_context(cafile=own / "ca.pem")
    context.check_hostname = False  # controllers are known by role
    context.load_cert_chain(own / "certificate.pem", own / "key.pem")
    url = json.loads((cloud.state_dir / "clc" / "endpoint.json").read_text())["url"]
    connection = http.client.HTTPSConnection(url.removeprefix("https://"), context=context, timeout=30)
    body = json.dumps({"account": "admin", "user": "admin", "pem": pem})
    connection.request("POST", "/v1/admin/certificates", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    said = answer.read()
    connection.close()
    assert answer.status == 200, said


def upload_v4(files, folder, prefix=""):
    """By boto3, with a prefix of Eucalyptus' before its paths; each ETag must be the MD5, as bundlers want it."""
    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=cloud.env["AWS_ENDPOINT_URL_S3"] + prefix, config=config,
                          region_name=cloud.env["AWS_DEFAULT_REGION"],
                          aws_access_key_id=cloud.env["AWS_ACCESS_KEY_ID"],
                          aws_secret_access_key=cloud.env["AWS_SECRET_ACCESS_KEY"])
    for file in files:
        data = file.read_bytes()
        put = client.put_object(Bucket="bundles", Key=f"{folder}/{file.name}", Body=data)
        assert put["ETag"].strip('"') == hashlib.md5(data).hexdigest(), put


def upload_v2(files, folder, prefix):
    """By boto 2, which old bundlers are made of: it signs with Version 2, and the prefix too."""
    program = """
import hashlib, sys
from boto.s3.connection import OrdinaryCallingFormat, S3Connection
host, port, key, secret, prefix, folder, *files = sys.argv[1:]
s3 = S3Connection(key, secret, host=host, port=int(port), is_secure=False, path=prefix,
                  calling_format=OrdinaryCallingFormat())
for file in files:
    part = s3.get_bucket("bundles", validate=False).new_key(folder + "/" + file.rsplit("/", 1)[1])
    part.set_contents_from_filename(file)
    assert part.etag.strip('"') == hashlib.md5(open(file, "rb").read()).hexdigest(), part.etag
"""
    where = urllib.parse.urlsplit(cloud.env["AWS_ENDPOINT_URL_S3"])
    subprocess.run([VENV / "python", "-c", program, where.hostname, str(where.port), cloud.env["AWS_ACCESS_KEY_ID"],
                    cloud.env["AWS_SECRET_ACCESS_KEY"], prefix, folder, *map(str, files)],
                   check=True, env=cloud.client_environment())


def image(image_id):
    return ec2.describe_images(ImageIds=[image_id])["Images"][0]


def settled(image_id):
    over = lambda: (i := image(image_id))["State"] != "pending" and i
    return wait_until(f"{image_id} is made", over, MAKE_SECONDS)


def register(location, name, **more):
    return ec2.register_image(Name=name, ImageLocation=location, **more)["ImageId"]


def available(location, name, **more):
    image_id = register(location, name, **more)
    made = settled(image_id)
    assert made["State"] == "available", made
    return image_id


def registered(source, kind, upload, prefix, **more):
    """Bundles with the tools' environment, uploads, registers; the id."""
    folder = cloud.directory / f"bundle-{kind}"
    folder.mkdir()
    env = cloud.env
    manifest = bundle(source, folder, user=env["EC2_USER_ID"], cloud_cert=env["EUCALYPTUS_CERT"],
                      user_cert=env["EC2_CERT"], user_key=env["EC2_PRIVATE_KEY"], kind=kind, **more)
    upload(sorted(folder.iterdir()), kind, prefix)
    return available(f"bundles/{kind}/{manifest.name}", f"bundled {kind}")


class Bundles(unittest.TestCase):
    def refused(self, code, words, location, **more):
        with self.assertRaises(ClientError) as caught:
            register(location, "refused", **more)
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], code, error)
        self.assertIn(words, error["Message"])

    def test_kernel_ramdisk_and_root_image_are_bundled_and_boot(self):
        kernel = registered(IMAGES / "tiny.vmlinuz", "kernel", upload_v4, "/services/objectstorage")
        ramdisk = registered(IMAGES / "tiny.initrd", "ramdisk", upload_v2, "/services/Walrus")
        self.assertEqual((kernel[:4], ramdisk[:4]), ("aki-", "ari-"))
        machine = registered(IMAGES / "tiny.root.img", "machine", upload_v4, "/services/Walrus",
                             kernel="eki-" + kernel[4:], ramdisk="eri-" + ramdisk[4:], maps=[("root", "/dev/sda1")])
        shown = image(machine)
        self.assertEqual((shown["KernelId"], shown["RamdiskId"]), (kernel, ramdisk))
        self.assertEqual(shown["ImageLocation"], "bundles/machine/tiny.root.img.manifest.xml")
        key = new_key(cloud, ec2, "bundle-test")
        [one] = cloud.launch(ec2, KeyName="bundle-test", ImageId=machine)
        wait_state(ec2, one, "running")
        self.assertEqual(instance(ec2, one)["KernelId"], kernel)
        self.assertEqual(ssh(instance(ec2, one)["PrivateIpAddress"], key, "echo booted", seconds=BOOT_SECONDS), "booted")
        ec2.terminate_instances(InstanceIds=[one])
        wait_state(ec2, one, "terminated")
        for each in (machine, ramdisk, kernel):
            ec2.deregister_image(ImageId=each)

    def test_the_golden_vector_becomes_an_image_through_every_prefix(self):
        kernels = ec2.describe_images(Filters=[{"Name": "image-type", "Values": ["kernel"]},
                                               {"Name": "owner-alias", "Values": ["amazon"]}])["Images"]
        kernel = next(k["ImageId"] for k in kernels if not k["Name"].startswith("bundled"))
        files = list(VECTOR.glob("disk.img.*"))
        for number, prefix in enumerate(PREFIXES):
            upload_v4(files, f"vector{number}", prefix)
            location = f"bundles/vector{number}/disk.img.manifest.xml"
            self.refused("InvalidAMIID.NotFound", "aki-12345678", location)
            made = image(available(location, f"vector {number}", KernelId=kernel))
            self.assertEqual((made["Architecture"], made["KernelId"], made["RootDeviceName"]),
                             ("x86_64", kernel, "/dev/sda1"))
            ec2.deregister_image(ImageId=made["ImageId"])
        self.assertTrue(list(cloud.state_dir.glob(f"walrus*/blobs/0a/{VECTOR_IMAGE}*")))

    def test_what_is_no_bundle_is_refused_and_leaves_no_image(self):
        manifest = (VECTOR / "disk.img.manifest.xml").read_text()
        put = lambda key, body: s3.put_object(Bucket="bundles", Key=key, Body=body)
        self.refused("InvalidManifest", "HTTP 404", "bundles/absent.manifest.xml")
        self.refused("InvalidManifest", "HTTP 404", "no-such-bucket/x.manifest.xml")
        put("not.manifest.xml", b"not one")
        self.refused("InvalidManifest", "text where elements", "bundles/not.manifest.xml")
        put("alone.manifest.xml", manifest)
        self.refused("InvalidManifest", "disk.img.part.00 is not there", "bundles/alone.manifest.xml")
        put("forged.manifest.xml", manifest.replace("<user>1", "<user>2"))
        self.refused("InvalidManifest", "none of the 2 certificates", "bundles/forged.manifest.xml")
        self.assertEqual(ec2.describe_images(Filters=[{"Name": "name", "Values": ["refused"]}])["Images"], [])

    def test_others_must_be_permitted_to_read_it(self):
        upload_v4(VECTOR.glob("disk.img.*"), "private")
        cloud.karri("account", "create", "strangers")
        cloud.karri("user", "create", "sam", "--account", "strangers", "--policy", "AdministratorAccess")
        made = json.loads(cloud.karri("key", "create", "--account", "strangers", "--user", "sam", "--output", "json"))
        theirs = cloud.boto3(key=made["access_key_id"], secret=made["secret_access_key"])
        with self.assertRaises(ClientError) as caught:
            theirs.register_image(Name="stolen", ImageLocation="bundles/private/disk.img.manifest.xml")
        error = caught.exception.response["Error"]
        self.assertEqual(error["Code"], "InvalidManifest")
        self.assertIn("HTTP 403", error["Message"])

    def test_a_part_that_was_changed_fails_the_image_and_says_so(self):
        upload_v4(VECTOR.glob("disk.img.*"), "damaged")
        part = bytearray((VECTOR / "disk.img.part.01").read_bytes())
        part[1000] ^= 1
        s3.put_object(Bucket="bundles", Key="damaged/disk.img.part.01", Body=bytes(part))
        # Without its kernel: what an image boots with is looked up before anything is made.
        manifest = (VECTOR / "disk.img.manifest.xml").read_text().replace("<kernel_id>eki-12345678</kernel_id>", "")
        start, _, rest = manifest.partition("<signature>")
        unsigned = f"{start}<signature>UNSIGNED{rest[rest.index('</signature>'):]}"
        s3.put_object(Bucket="bundles", Key="damaged/disk.img.manifest.xml", Body=unsigned)
        image_id = register("bundles/damaged/disk.img.manifest.xml", "damaged")
        failed = settled(image_id)
        self.assertEqual(failed["State"], "failed")
        self.assertIn("disk.img.part.01 has another SHA-1 digest", failed["StateReason"]["Message"])
        with self.assertRaises(ClientError) as caught:
            cloud.launch(ec2, ImageId=image_id)
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidAMIID.Unavailable")
        ec2.deregister_image(ImageId=image_id)


if __name__ == "__main__":
    unittest.main()
