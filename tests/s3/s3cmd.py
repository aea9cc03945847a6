"""Runs s3cmd's own test-suite, from a checkout of yours, against a cloud of its own, and writes down how it went.

    s3cmd.py CHECKOUT

`cargo xtask s3cmd-tests CHECKOUT` builds what is needed and calls this. The suite runs the s3cmd that lies beside
it, and ends at the first test that fails. It is run in a copy: it unpacks files and changes them.
"""

import os
import pathlib
import re
import subprocess
import sys
import urllib.parse

import told
from told import LOCALHOST, OPEN_BUCKETS

from cloud import VENV, Cloud

SUITE_SECONDS_MAX = 1800
# Its buckets are the names below this one; curl takes it to be this machine, and so does Python with LOCALHOST.
DOMAIN = "localhost"
# It makes a bucket in "EU", as this one was called first.
REGION = "eu-west-1"
# It wants to be refused files that root may read.
POWERLESS = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps", "-all"]


class SuiteCloud(Cloud):
    judged = False
    environment = {**OPEN_BUCKETS, "KARRI_WALRUS_S3__HOSTS": f'["{DOMAIN}"]'}

    def up_arguments(self):
        return [*super().up_arguments(), "--region", REGION]


def configure(cloud, path):
    host = f"{DOMAIN}:{urllib.parse.urlsplit(cloud.env['AWS_ENDPOINT_URL_S3']).port}"
    path.write_text("\n".join([
        "[default]", f"access_key = {cloud.env['AWS_ACCESS_KEY_ID']}", f"secret_key = {cloud.env['AWS_SECRET_ACCESS_KEY']}",
        f"host_base = {host}", f"host_bucket = %(bucket)s.{host}", "use_https = False", ""]))


def outcomes(shown):
    """Each numbered test of the suite's output to (outcome, what it says)."""
    found = {}
    for line in re.sub(r"\x1b\[[0-9;]*m", "", shown).splitlines():
        told_of = re.match(r" *(\d+)  (.*?) ?\.* +(OK|SKIP|FAIL)\b *(.*)", line)
        if told_of:
            number, label, word, says = told_of.groups()
            found[f"{number} {label}"] = ({"OK": "passed", "SKIP": "skipped", "FAIL": "failed"}[word], says)
    return found


def run(checkout):
    with SuiteCloud(nodes=1) as cloud:
        config, copy = cloud.directory / "s3cfg", cloud.directory / "suite"
        configure(cloud, config)
        copy.mkdir()
        packed = subprocess.run(["git", "-C", checkout, "archive", "HEAD"], check=True, capture_output=True).stdout
        subprocess.run(["tar", "-x", "-C", copy], input=packed, check=True)
        environment = {**cloud.client_environment(), "PATH": f"{VENV}:{os.environ['PATH']}", "LANG": "C.UTF-8",
                       "PYTHONPATH": str(LOCALHOST), "PYTHONUNBUFFERED": "1",
                       "TAR_OPTIONS": "--no-same-owner"}
        command = [*(POWERLESS if os.geteuid() == 0 else []), VENV / "python", "run-tests.py", "-c", config, "-p", "suite-"]
        suite = subprocess.run(command, cwd=copy, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               timeout=SUITE_SECONDS_MAX)
        print(suite.stdout)
        subprocess.run(["chmod", "-R", "u+rwX", copy], check=True)  # so that it can be removed
        return outcomes(suite.stdout), suite.returncode


def main():
    checkout = pathlib.Path(sys.argv[1]).resolve()
    commit = told.commit_of(checkout)
    found, status = run(checkout)
    summary = f"Commit {commit} of s3cmd, its `run-tests.py`: {told.counts(found)}"
    print(summary)
    skipped = [f"`{name}`" for name, (outcome, _) in found.items() if outcome == "skipped"]
    configuration = told.configuration(SuiteCloud.environment, f"region `{REGION}`", f"`host_bucket = %(bucket)s.{DOMAIN}:PORT`", "no server profile")
    text = f"{summary}\n\n{configuration}\n\nSkipped: {', '.join(skipped)}.\n\n"
    told.write("s3cmd", text.rstrip() + "\n" + told.table(found, "s3cmd"))
    if status:
        raise SystemExit(f"the suite ended with status {status}")


if __name__ == "__main__":
    main()
