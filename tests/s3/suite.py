"""Runs ceph's s3-tests, from a checkout of yours, against a cloud of its own, and writes down how it went.

    suite.py CHECKOUT [PYTEST ARGUMENT ...]

`cargo xtask s3-tests CHECKOUT` builds what is needed and calls this. The counts and the list of tests that do not
pass go into docs/s3-tests.md, where each has a reason: reasons are written by hand, in the table's last
column, and are kept by the next run.
"""

import collections
import configparser
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys
import urllib.parse
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
os.environ.setdefault("KARRI_BIN", str(ROOT / "target" / "release" / "karri"))

from cloud import Cloud  # noqa: E402

DOCUMENT = ROOT / "docs" / "s3-tests.md"
VENV = ROOT / "target" / "s3-tests-venv"
SUITE_SECONDS_MAX = 3 * 3600
# The suite takes a day to be so long (`lc_debug_interval`).
LIFECYCLE_DAY_SECONDS = int(os.environ.get("S3_TESTS_DAY_SECONDS", "10"))
REGION = "us-east-1"
BEGIN, END = "<!-- run -->\n", "<!-- end of run -->"
# Sections of the suite's configuration, and what the account is called. The IAM sections must be there to be read.
USERS = {"s3 main": "main", "s3 alt": "alt", "s3 tenant": "tenant", "iam": "iam", "iam root": "iamroot",
         "iam alt root": "iamaltroot"}


class SuiteCloud(Cloud):
    judged = False
    # The suite takes new buckets to be as they were at AWS before 2023: open to be opened, with access control lists;
    # to be in AWS's first region, where a bucket that is one's own may be made again; and logs to come in seconds.
    environment = {"KARRI_WALRUS_S3__BLOCK_PUBLIC_ACCESS_DEFAULT": "false",
                   "KARRI_WALRUS_S3__OBJECT_OWNERSHIP_DEFAULT": "ObjectWriter",
                   "KARRI_WALRUS_S3__LOG_DELIVERY_SECS": "3",
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


def configure(cloud, path):
    where = urllib.parse.urlsplit(cloud.env["AWS_ENDPOINT_URL_S3"])
    config = configparser.RawConfigParser()
    config["DEFAULT"] = {"host": where.hostname, "port": where.port, "is_secure": "False", "ssl_verify": "False"}
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


def environment_of(checkout):
    """A Python of its own with what the suite needs."""
    if not (VENV / "installed").exists():
        subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        subprocess.run([VENV / "bin" / "pip", "install", "-q", "-r", checkout / "requirements.txt"], check=True)
        (VENV / "installed").touch()
    return VENV / "bin" / "python"


def run(checkout, arguments):
    python = environment_of(checkout)
    with SuiteCloud(nodes=1) as cloud:
        config, report = cloud.directory / "s3tests.conf", ROOT / "target" / "s3-tests.xml"
        configure(cloud, config)
        subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "s3tests/functional",
                        *arguments], cwd=checkout, env={**os.environ, "S3TEST_CONF": str(config)}, timeout=SUITE_SECONDS_MAX)
    return xml.parse(report).getroot()


def outcomes(report):
    """Test to (outcome, first line of what it says)."""
    found = {}
    for case in report.iter("testcase"):
        name = f"{case.get('classname').rsplit('.', 1)[-1]}::{case.get('name')}"
        outcome, says = "passed", ""
        for kind, word in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
            part = case.find(kind)
            if part is not None:
                outcome, says = word, (part.get("message") or "").strip().split("\n")[0][:160]
        found[name] = (outcome, says)
    return found


def reasons(document):
    """What was written by hand before."""
    rows = re.findall(r"^\| `([^`]+)` \| [^|]* \| (.*?) \|$", document, re.M)
    return {name: reason for name, reason in rows if reason}


def rendered(found, commit, known):
    counts = collections.Counter(outcome for outcome, _ in found.values())
    lines = [f"Commit {commit} of the suite, all of `s3tests/functional`: **{counts['passed']} of {len(found)} pass**, "
             f"{counts['failed']} fail, {counts['skipped']} are skipped by the suite.", "",
             "Configuration: " + "; ".join(f"`{name}={value}`" for name, value in SuiteCloud.environment.items())
             + f"; region `{REGION}`; the suite's `lc_debug_interval` is {LIFECYCLE_DAY_SECONDS}; no storage classes, no cloud tier, "
             "no web identity.", "",
             "| test | says | why |", "|---|---|---|"]
    for name, (outcome, says) in sorted(found.items()):
        if outcome == "failed":
            says = says.replace("|", "/").replace("`", "'")
            lines.append(f"| `{name}` | {says} | {known.get(name, '')} |")
    return "\n".join(lines) + "\n"


def main():
    checkout, arguments = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:]
    commit = subprocess.check_output(["git", "-C", checkout, "rev-parse", "HEAD"], text=True).strip()
    found = outcomes(run(checkout, arguments))
    document = DOCUMENT.read_text()
    text = rendered(found, commit, reasons(document))
    print(text.split("\n")[0])
    if arguments:
        print(f"only a part was run: {DOCUMENT.name} stays as it is")
        return
    before, rest = document.split(BEGIN)
    DOCUMENT.write_text(before + BEGIN + text + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
