"""Runs ceph's s3-tests, from a checkout of yours, against a cloud of its own, and writes down how it went.

    suite.py CHECKOUT [PYTEST ARGUMENT ...]

`cargo xtask s3-tests CHECKOUT` builds what is needed and calls this. Of a checkout of the branch for reef it runs
what is written for boto 2, once with signatures of each version: the suite's newer branches have no boto 2, and
newer botocore signs again what those tests have made wrong. `told` says what becomes of the outcome.
"""

import configparser
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as xml

import told
from told import LOCALHOST, OPEN_BUCKETS, ROOT

from cloud import Cloud

SUITE_SECONDS_MAX = 3 * 3600
# The suite takes a day to be so long (`lc_debug_interval`).
LIFECYCLE_DAY_SECONDS = int(os.environ.get("S3_TESTS_DAY_SECONDS", "10"))
REGION = "us-east-1"
# boto 2 reads service and region out of it.
BOTO2_HOST = f"s3.{REGION}.localhost"
# Sections of the suite's configuration, and what the account is called. The IAM sections must be there to be read.
USERS = {"s3 main": "main", "s3 alt": "alt", "s3 tenant": "tenant", "iam": "iam", "iam root": "iamroot",
         "iam alt root": "iamaltroot"}


class SuiteCloud(Cloud):
    judged = False
    # Its buckets are in AWS's first region, where one's own may be made again; and logs are to come in seconds.
    environment = {**OPEN_BUCKETS, "KARRI_WALRUS_S3__LOG_DELIVERY_SECS": "3",
                   "KARRI_WALRUS_S3__LIFECYCLE_DAY_SECS": str(LIFECYCLE_DAY_SECONDS)}

    def up_arguments(self):
        return [*super().up_arguments(), "--region", REGION]


def credentials(cloud, name):
    """An account of that name with one user who may do everything in it."""
    account = json.loads(cloud.karri("account", "create", name, "--email", f"{name}@example.com", "--output", "json"))
    cloud.karri("user", "create", "owner", "--account", name, "--policy", "AdministratorAccess")
    key = json.loads(cloud.karri("key", "create", "--account", name, "--user", "owner", "--output", "json"))
    canonical = hashlib.sha256(f"karri-canonical:{account['id']}".encode()).hexdigest()
    return {"display_name": name, "user_id": canonical, "email": f"{name}@example.com",
            "access_key": key["access_key_id"], "secret_key": key["secret_access_key"]}


def configure(cloud, path, host):
    where = urllib.parse.urlsplit(cloud.env["AWS_ENDPOINT_URL_S3"])
    config = configparser.RawConfigParser()
    config["DEFAULT"] = {"host": host or where.hostname, "port": where.port, "is_secure": "False", "ssl_verify": "False"}
    config["fixtures"] = {"bucket prefix": "s3t-{random}-", "iam name prefix": "s3-tests-", "iam path prefix": "/s3-tests/"}
    for section, name in USERS.items():
        config[section] = credentials(cloud, name)
    # A bucket there has no location constraint.
    config["s3 main"]["api_name"] = ""
    config["s3 main"]["lc_debug_interval"] = str(LIFECYCLE_DAY_SECONDS)
    config["s3 tenant"]["tenant"] = "tenant"
    config["webidentity"] = {key: "none" for key in ("token", "aud", "sub", "azp", "user_token", "thumbprint", "KC_REALM")}
    with path.open("w") as file:
        config.write(file)


class Master:
    """All of the newest suite, by boto 3."""
    place, what = "s3-tests", "all of `s3tests/functional`"
    # Before a test's name, and what makes it run so.
    runs = {"": {}}
    folders, host = ["s3tests/functional"], None


class Reef:
    """The part of reef's branch that is written for boto 2."""
    place, what = "s3-tests-reef", "branch `ceph-reef`, its tests for boto 2, with signatures of Version 2 and of Version 4"
    runs = {"V2 ": {}, "V4 ": {"S3_USE_SIGV4": "1"}}
    folders = ["s3tests/functional/test_headers.py", "s3tests/functional/test_s3.py"]
    host = BOTO2_HOST


def environment_of(checkout, suite):
    """A Python of its own with what the suite needs."""
    venv = ROOT / "target" / f"{suite.place}-venv"
    if not (venv / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        subprocess.run([venv / "bin" / "pip", "install", "-q", "-r", checkout / "requirements.txt"], check=True)
        (venv / "installed").touch()
    return venv / "bin" / "python"


def run(checkout, suite, arguments):
    python, found = environment_of(checkout, suite), {}
    with SuiteCloud(nodes=1) as cloud:
        config, report = cloud.directory / "s3tests.conf", ROOT / "target" / f"{suite.place}.xml"
        configure(cloud, config, suite.host)
        for prefix, environment in suite.runs.items():
            environment = {**os.environ, "PYTHONPATH": str(LOCALHOST), "S3TEST_CONF": str(config), **environment}
            subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *suite.folders,
                            *arguments], cwd=checkout, env=environment, timeout=SUITE_SECONDS_MAX)
            outcomes = told.outcomes(xml.parse(report).getroot())
            found.update({prefix + name: outcome for name, outcome in outcomes.items()})
    return found


def main():
    checkout, arguments = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    suite = Reef if (checkout / "s3tests_boto3").is_dir() else Master
    commit = told.commit_of(checkout)
    found = run(checkout, suite, arguments)
    summary = f"Commit {commit} of the suite, {suite.what}: {told.counts(found)}"
    print(summary)
    if arguments:
        print(f"only a part was run: {told.DOCUMENT.name} stays as it is")
        return
    configuration = told.configuration(
        SuiteCloud.environment, f"region `{REGION}`", f"the suite's `lc_debug_interval` is {LIFECYCLE_DAY_SECONDS}",
        "no storage classes, no cloud tier, no web identity")
    told.write(suite.place, f"{summary}\n\n{configuration}\n\n{told.table(found, suite.place)}")


if __name__ == "__main__":
    main()
