"""How soon RunInstances answers, against one durable commit of the same database engine on the same disk.

Everything slow happens after the answer, so the answer costs little more than making the intent durable.
"""

import subprocess
import uuid

from bench import RELEASE, Client, Result, demo_image, median, spread, texts
from cloud import Cloud, wait_until

SETTLED_PAIRS = 100
BUSY_PAIRS = 200
RATIO_MAX = 3.0


class Commits:
    """The helper that makes one commit per line it reads, and answers with the microseconds."""

    def __init__(self, directory):
        self.process = subprocess.Popen([RELEASE / "commit_loop", directory / "beside.sqlite"], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ms(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) / 1000

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def run_instances(client, image):
    # The usual clients send a token with every launch.
    request = client.prepare("RunInstances", ImageId=image, InstanceType="t2.nano", MinCount=1, MaxCount=1,
                             ClientToken=str(uuid.uuid4()))
    ms, answer = client.timed(request)
    return ms, texts(answer, "instanceId")[0]


def running(client, instance):
    return "running" in texts(client.call("DescribeInstances", InstanceId__1=instance), "name")


def pairs(client, image, commits, count, settle):
    """Alternating, each first in every other pair; with `settle` the launch before is over."""
    launches, durable = [], []
    for number in range(count):
        if number % 2:
            durable.append(commits.ms())
        ms, instance = run_instances(client, image)
        launches.append(ms)
        if settle:
            wait_until(f"{instance} runs", lambda: running(client, instance))
        if not number % 2:
            durable.append(commits.ms())
    return launches, durable


class AnswerCloud(Cloud):
    # Nodes have disks of their own, whose commits the cloud controller's need not wait for.
    environment = {"KARRI_NC_HYPERVISOR__SIM_IN_MEMORY": "true"}


def main():
    result = Result("answer")
    with AnswerCloud(nodes=10) as cloud:
        client, commits = Client.of(cloud), Commits(cloud.directory)
        image = demo_image(client)
        pairs(client, image, commits, 10, settle=True)
        for title, count, settle in [("the launch before is running", SETTLED_PAIRS, True),
                                     ("one call after the other", BUSY_PAIRS, False)]:
            launches, durable = pairs(client, image, commits, count, settle)
            ratio = median(launches) / median(durable)
            result.figure(f"RunInstances answer / one durable commit, medians of {count} pairs; {title}",
                          f"{ratio:.2f}", f"≤ {RATIO_MAX:g}", ratio <= RATIO_MAX)
            result.figure("… answer, ms (quartiles)", spread(launches))
            result.figure("… commit, ms (quartiles)", spread(durable))
        commits.close()
    result.note("The commit is one row of 1 kB by `tests/src/bin/commit_loop.rs`, with the pragmas of the cloud "
                "controller's store, in a file beside its database. The simulated nodes keep no files, for real "
                "ones have disks of their own; clc and cc share one disk.")
    result.print()


if __name__ == "__main__":
    main()
