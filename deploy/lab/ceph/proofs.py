"""proofs.py TREE PROGRAMS DIRECTORY: a cloud whose Walrus keeps larger objects with Ceph's S3 gateway.

Each proof is one line; the first that fails ends the run. Logs of Ceph are in DIRECTORY/ceph/log, those of the cloud in
DIRECTORY/cloud.
"""

import concurrent.futures
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
TREE, PROGRAMS, DIRECTORY = map(pathlib.Path, sys.argv[1:])
os.environ["KARRI_BIN"] = str(PROGRAMS / "karri")
sys.path.insert(0, str(ROOT / "tests" / "clients"))
(DIRECTORY / "cloud").mkdir(parents=True)
tempfile.tempdir = str(DIRECTORY / "cloud")

import boto3  # noqa: E402
import botocore.config  # noqa: E402
import botocore.exceptions  # noqa: E402
from ceph import GATEWAY, Ceph, alone  # noqa: E402
from cloud import VENV, Cloud, wait_until  # noqa: E402

MIB = 1 << 20
KEY, SECRET = "WALRUSOFTHELAB000000", "a-secret-of-the-lab"
ENGINE_BUCKET, PREFIX = "engine", "lab/walrus/"
MARK = f"{PREFIX}karri-walrus-store"
BUCKET = "lab"
ROUNDS, WRITERS = 3, 8
# Uploads in memory would take twice that.
MEMORY_MIB_MAX = 250
RATE_MIB = int(os.environ.get("KARRI_LAB_RATE_MIB", "64"))


class CephCloud(Cloud):
    def __init__(self):
        super().__init__(nodes=1)
        keys = DIRECTORY / "engine.toml"
        keys.write_text(f'access_key_id = "{KEY}"\nsecret_access_key = "{SECRET}"\n')
        keys.chmod(0o600)
        store = {"BACKEND": "s3", "ENDPOINT": GATEWAY, "BUCKET": ENGINE_BUCKET, "PREFIX": PREFIX, "CREDENTIALS_FILE": str(keys)}
        self.environment = {f"KARRI_WALRUS_STORE__{key}": value for key, value in store.items()}

    def endpoint_of_walrus(self):
        return json.loads((self.state_dir / "walrus" / "endpoint.json").read_text())

    def kill_walrus(self):
        """Its supervisor starts it again."""
        pid = self.endpoint_of_walrus()["pid"]
        os.kill(pid, 9)
        wait_until("walrus is started again", lambda: self.walrus_is_new(pid), 60)

    def walrus_is_new(self, pid):
        try:
            return self.endpoint_of_walrus()["pid"] != pid
        except (OSError, ValueError):
            return False

    def health(self):
        try:
            with urllib.request.urlopen(f"{self.endpoint_of_walrus()['observe_url']}/healthz", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def body(name, size):
    return random.Random(name).randbytes(size)


def client(endpoint, key, secret, **more):
    config = botocore.config.Config(max_pool_connections=32, **more)
    return boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", aws_access_key_id=key, aws_secret_access_key=secret, config=config)


class Lab:
    def __init__(self):
        self.ceph = Ceph(TREE, DIRECTORY)
        self.cloud = CephCloud()
        self.engine = client(GATEWAY, KEY, SECRET)

    def s3(self, **retries):
        return self.cloud.s3(config=botocore.config.Config(max_pool_connections=32, retries=retries or {"max_attempts": 10, "mode": "standard"}))

    def engine_keys(self):
        pages = self.engine.get_paginator("list_objects_v2").paginate(Bucket=ENGINE_BUCKET)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]

    def engine_uploads(self):
        return self.engine.list_multipart_uploads(Bucket=ENGINE_BUCKET).get("Uploads", [])

    def aws(self, *arguments):
        done = subprocess.run([VENV / "aws", *arguments], capture_output=True, text=True, env=self.cloud.client_environment(), timeout=300)
        if done.returncode != 0:
            raise AssertionError(f"aws {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}")
        return done.stdout

    # ---- the proofs, in their order -----------------------------------------------------------------------------

    def ceph_runs(self):
        """Ceph's monitor, manager, store on a file and S3 gateway run"""
        self.ceph.make()
        self.ceph.user("walrus", KEY, SECRET)
        self.engine.create_bucket(Bucket=ENGINE_BUCKET)

    def the_cloud_starts(self):
        """a cloud starts whose Walrus uses the gateway, and is healthy"""
        self.cloud.__enter__()
        assert self.cloud.health() == (200, "ok\n"), self.cloud.health()
        assert self.engine_keys() == [MARK], self.engine_keys()

    def a_session(self):
        """aws-cli and boto3: put, 64 MiB in parts, ranges, copy, list, versions, delete"""
        self.aws("s3", "mb", f"s3://{BUCKET}")
        files = DIRECTORY / "files"
        files.mkdir()
        for name, size in (("small", 1000), ("middle", MIB), ("large", 64 * MIB)):
            (files / name).write_bytes(body(name, size))
            self.aws("s3", "cp", "--only-show-errors", files / name, f"s3://{BUCKET}/{name}")
            self.aws("s3", "cp", "--only-show-errors", f"s3://{BUCKET}/{name}", files / "back")
            assert (files / "back").read_bytes() == body(name, size), name
        s3, large = self.s3(), body("large", 64 * MIB)
        assert "-" in s3.head_object(Bucket=BUCKET, Key="large")["ETag"]
        for first, last in ((0, 0), (5, 5 + MIB), (8 * MIB - 1, 8 * MIB), (31 * MIB + 7, 64 * MIB - 1)):
            part = s3.get_object(Bucket=BUCKET, Key="large", Range=f"bytes={first}-{last}")["Body"].read()
            assert part == large[first:last + 1], (first, last)
        s3.copy_object(Bucket=BUCKET, Key="copy", CopySource={"Bucket": BUCKET, "Key": "large"})
        assert s3.get_object(Bucket=BUCKET, Key="copy")["Body"].read() == large
        assert {line.split()[3] for line in self.aws("s3", "ls", f"s3://{BUCKET}").splitlines()} == {"small", "middle", "large", "copy"}
        s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket=BUCKET, Key="middle", Body=b"new" * 20_000)
        old = [v for v in s3.list_object_versions(Bucket=BUCKET, Prefix="middle")["Versions"] if not v["IsLatest"]]
        assert s3.get_object(Bucket=BUCKET, Key="middle", VersionId=old[0]["VersionId"])["Body"].read() == body("middle", MIB)
        self.aws("s3", "rm", "--only-show-errors", f"s3://{BUCKET}/copy")

    def nothing_readable_leaves(self):
        """what the gateway holds is encrypted, and small objects are not there"""
        needles = [body(name, 64) for name in ("small", "middle", "large")]
        blobs = [key for key in self.engine_keys() if key != MARK]
        assert len(blobs) > 8, blobs
        for key in blobs:
            there = self.engine.get_object(Bucket=ENGINE_BUCKET, Key=key)["Body"].read()
            assert there[-128:-120] == b"KARRIBLB" and not any(needle in there for needle in needles), key

    def kills(self):
        """kill -9 of Walrus under 8 writers, 3 times: everything acknowledged reads back bit for bit"""
        self.cloud.expect("walrus", "Connection refused", "error sending request", " ended \\(")
        acknowledged, stop = {}, threading.Event()

        def write(writer):
            s3, number = self.s3(max_attempts=1), 0
            while not stop.is_set():
                number += 1
                name = f"killed/{writer}/{number}"
                size = (20_000, 200_000, 3 * MIB, 18 * MIB)[number % 4]
                try:
                    s3.put_object(Bucket=BUCKET, Key=name, Body=body(name, size))
                    acknowledged[name] = size
                except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                    time.sleep(0.1)

        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            writers = [pool.submit(write, writer) for writer in range(WRITERS)]
            try:
                for _ in range(ROUNDS):
                    enough = len(acknowledged) + 2 * WRITERS
                    wait_until("writers write", lambda enough=enough: len(acknowledged) > enough, 120)
                    self.cloud.kill_walrus()
            finally:
                stop.set()
            for writer in writers:
                writer.result()
        self.acknowledged = acknowledged
        self.all_is_there()
        wait_until("uploads that were cut short are aborted", lambda: not self.engine_uploads(), 60)
        return f"{len(acknowledged)} objects"

    def all_is_there(self):
        s3 = self.s3()
        def look(item):
            name, size = item
            there = s3.get_object(Bucket=BUCKET, Key=name)["Body"].read()
            assert there == body(name, size), name
        with concurrent.futures.ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(look, self.acknowledged.items()))

    def the_engine_is_away(self):
        """without the gateway: 503 for larger objects, small ones go on, /healthz tells; and all is well when it is back"""
        self.ceph.kill("rgw")
        s3 = self.s3(max_attempts=1)
        for what in (lambda: s3.get_object(Bucket=BUCKET, Key="large")["Body"].read(),
                     lambda: s3.put_object(Bucket=BUCKET, Key="lost", Body=body("lost", MIB))):
            try:
                what()
                raise AssertionError("it was answered")
            except botocore.exceptions.ClientError as error:
                answer = error.response
            assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == ("ServiceUnavailable", 503), answer
        s3.put_object(Bucket=BUCKET, Key="small", Body=b"still")
        assert s3.get_object(Bucket=BUCKET, Key="small")["Body"].read() == b"still"
        status, text = self.cloud.health()
        assert status == 503 and text.startswith("engine: "), text
        self.cloud.kill_walrus()
        assert s3.get_object(Bucket=BUCKET, Key="small")["Body"].read() == b"still", "a start needs no engine"
        self.ceph.start("rgw")
        self.ceph.wait_for_gateway()
        wait_until("Walrus is healthy again", lambda: self.cloud.health()[0] == 200, 60)
        assert s3.get_object(Bucket=BUCKET, Key="large")["Body"].read() == body("large", 64 * MIB)
        self.all_is_there()

    def ceph_is_killed(self):
        """kill -9 of all of Ceph: everything acknowledged reads back"""
        s3 = self.s3()
        for number in range(20):
            name, size = f"powercut/{number}", 2 * MIB
            s3.put_object(Bucket=BUCKET, Key=name, Body=body(name, size))
            self.acknowledged[name] = size
        daemons = ("rgw", "osd", "mgr", "mon")
        self.ceph.kill(*daemons)
        self.ceph.start(*reversed(daemons))
        self.ceph.wait_for_gateway()
        wait_until("Walrus is healthy again", lambda: self.cloud.health()[0] == 200, 60)
        self.all_is_there()

    def memory_is_bounded(self):
        """32 uploads of 16 MiB at once do not fill Walrus' memory"""
        self.cloud.kill_walrus()
        wait_until("Walrus is healthy again", lambda: self.cloud.health()[0] == 200, 60)
        one, s3 = body("memory", 16 * MIB), self.s3()
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda n: s3.put_object(Bucket=BUCKET, Key=f"memory/{n}", Body=one), range(32)))
        status = pathlib.Path(f"/proc/{self.cloud.endpoint_of_walrus()['pid']}/status").read_text()
        peak = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) / 1024
        assert peak < MEMORY_MIB_MAX, f"{peak:.0f} MiB"
        return f"{peak:.0f} MiB at most"

    def rates(self):
        """rates"""
        s3, lines = self.s3(), []
        direct = client(GATEWAY, KEY, SECRET)
        direct.create_bucket(Bucket="direct")
        for label, to, bucket in (("Walrus over Ceph", s3, BUCKET), ("Ceph's gateway", direct, "direct")):
            one = body("rate", RATE_MIB * MIB)
            put = timed(lambda: to.put_object(Bucket=bucket, Key="rate", Body=one))
            got = []
            get = timed(lambda: got.append(hashlib.sha256(to.get_object(Bucket=bucket, Key="rate")["Body"].read()).digest()))
            assert got == [hashlib.sha256(one).digest()]
            lines.append(f"{label}: one of {RATE_MIB} MiB: PUT {RATE_MIB / put:.0f} MiB/s, GET {RATE_MIB / get:.0f} MiB/s")
            part = body("part", MIB)
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                put = timed(lambda: list(pool.map(lambda n: to.put_object(Bucket=bucket, Key=f"rate/{n}", Body=part), range(128))))
                get = timed(lambda: list(pool.map(lambda n: to.get_object(Bucket=bucket, Key=f"rate/{n}")["Body"].read(), range(128))))
            lines.append(f"{label}: 128 of 1 MiB, 8 at once: PUT {128 / put:.0f}/s, GET {128 / get:.0f}/s")
        emptied(direct, "direct")
        return "\n".join(["", *lines])

    def a_backup(self):
        """a backup of the running store is a store on a disk, and consistent"""
        self.cloud.karri("walrus", "backup", str(DIRECTORY / "backup"))
        self.cloud.karri("walrus", "check", str(DIRECTORY / "backup"))
        shutil.rmtree(DIRECTORY / "backup")

    def a_check(self):
        """`karri walrus check` reads all of it from the gateway, and finds it consistent"""
        self.cloud.stop()
        checked = json.loads(self.cloud.karri("walrus", "check", "--output", "json"))
        assert checked["consistent"] and checked["blobs"] > 20 and checked["leftovers"] == 0, checked
        self.cloud.up()
        return f"{checked['blobs']} blobs"

    def nothing_is_left(self):
        """when everything is deleted, the gateway's bucket is empty but for the store's mark"""
        emptied(self.s3(), BUCKET)
        wait_until("the engine's bucket is empty", lambda: self.engine_keys() == [MARK] and not self.engine_uploads(), 120)
        self.s3().delete_bucket(Bucket=BUCKET)
        self.cloud.__exit__(None, None, None)

    def run(self):
        proofs = (self.ceph_runs, self.the_cloud_starts, self.a_session, self.nothing_readable_leaves, self.kills,
                  self.the_engine_is_away, self.ceph_is_killed, self.memory_is_bounded, self.rates,
                  self.a_backup, self.a_check, self.nothing_is_left)
        for proof in proofs:
            began = time.monotonic()
            try:
                more = proof()
            except BaseException:
                print(f"FAIL {time.monotonic() - began:6.1f} s  ceph: {proof.__doc__}", flush=True)
                raise
            print(f"ok   {time.monotonic() - began:6.1f} s  ceph: {proof.__doc__}{': ' + more if more else ''}", flush=True)


def timed(work):
    began = time.monotonic()
    work()
    return time.monotonic() - began


def emptied(s3, bucket):
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
        for entry in page.get("Versions", []) + page.get("DeleteMarkers", []):
            s3.delete_object(Bucket=bucket, Key=entry["Key"], VersionId=entry["VersionId"])


if __name__ == "__main__":
    alone()
    Lab().run()
