"""What the runs of public suites have in common: their clouds, and how the outcome comes into docs/s3-tests.md.

Each suite has its own place there, between two markers. Reasons beside tests that fail are written by hand, in the
last column of its table, and kept by the next run.
"""

import collections
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))
os.environ.setdefault("KARRI_BIN", str(ROOT / "target" / "release" / "karri"))

DOCUMENT = ROOT / "docs" / "s3-tests.md"
# To be put before a suite's PYTHONPATH.
LOCALHOST = ROOT / "tests" / "s3" / "localhost"
# The suites take new buckets to be as they were at AWS before 2023: open to be opened, with access control lists.
OPEN_BUCKETS = {"KARRI_WALRUS_S3__BLOCK_PUBLIC_ACCESS_DEFAULT": "false",
                "KARRI_WALRUS_S3__OBJECT_OWNERSHIP_DEFAULT": "ObjectWriter"}
SHOWN_MAX = 160


def commit_of(checkout):
    return subprocess.check_output(["git", "-C", checkout, "rev-parse", "HEAD"], text=True).strip()


def outcomes(report):
    """Of a JUnit report, each test's (outcome, first line of what it says)."""
    found = {}
    for case in report.iter("testcase"):
        name = f"{case.get('classname').rsplit('.', 1)[-1]}::{case.get('name')}"
        outcome, says = "passed", ""
        for kind, word in (("failure", "failed"), ("error", "failed"), ("skipped", "skipped")):
            part = case.find(kind)
            if part is not None:
                outcome, says = word, (part.get("message") or "").strip().split("\n")[0][:SHOWN_MAX]
        found[name] = (outcome, says)
    return found


def configuration(environment, *more):
    told = [*(f"`{name}={value}`" for name, value in environment.items()), *more]
    return "Configuration: " + "; ".join(told) + "."


def counts(found):
    count = collections.Counter(outcome for outcome, _ in found.values())
    return f"**{count['passed']} of {len(found)} pass**, {count['failed']} fail, {count['skipped']} are skipped by the suite."


def table(found, place):
    """The tests that fail, each with the reason that stands beside it already."""
    failed = {name: says for name, (outcome, says) in sorted(found.items()) if outcome == "failed"}
    if not failed:
        return ""
    rows = re.findall(r"^\| `([^`]+)` \| [^|]* \| (.*?) \|$", _split(place)[1], re.M)
    known = {name: reason for name, reason in rows if reason}
    lines = ["| test | says | why |", "|---|---|---|"]
    for name, says in failed.items():
        lines.append(f"| `{name}` | {says.replace('|', '/').replace('`', chr(39))} | {known.get(name, '')} |")
    return "\n".join(lines) + "\n"


def write(place, text):
    before, _, after = _split(place)
    DOCUMENT.write_text(before + text + after)


def _split(place):
    begin, end = f"<!-- {place} -->\n", f"<!-- end of {place} -->"
    before, found, rest = DOCUMENT.read_text().partition(begin)
    inside, ended, after = rest.partition(end)
    if not (found and ended):
        raise SystemExit(f"{DOCUMENT} lacks the markers of {place}")
    return before + begin, inside, end + after
