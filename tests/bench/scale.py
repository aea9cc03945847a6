"""What 1,000, 5,000 and 20,000 instances on 500 simulated nodes cost: one cloud that grows.

The nodes are simulated in one process and keep no files, for 500 real nodes have 500 disks; the clc and the
cc are as always, with every intent and report durable.
"""

import time

from bench import Client, Result, controllers, cpu_percent, demo_image, resident_mib, say, texts
from cloud import Cloud, wait_until

NODES = 500
POINTS = [1000, 5000, 20000]
PER_CALL = 500
GROW_SECONDS_MAX = 900
SETTLE_SECONDS = 15
IDLE_SECONDS = 30
FLAT_MAX = 1.25


class ScaleCloud(Cloud):
    environment = {
        # The default subnet of a zone has 4,091 addresses.
        "KARRI_CC_NETWORK__SUBNET": "172.31.0.0/17",
        "KARRI_NC_HYPERVISOR__SIM_IN_MEMORY": "true",
    }


def any_pending(client):
    answer = client.call("DescribeInstances", Filter__1__Name="instance-state-name", Filter__1__Value__1="pending",
                         MaxResults=5)
    return bool(texts(answer, "instanceId"))


def running(client):
    """Counted page by page, as a client would."""
    count, more = 0, {}
    while True:
        answer = client.call("DescribeInstances", Filter__1__Name="instance-state-name",
                             Filter__1__Value__1="running", MaxResults=1000, **more)
        count += answer.count("<instanceState>")
        token = texts(answer, "nextToken")
        if not token or not token[0]:
            return count
        more = {"NextToken": token[0]}


def grow(client, image, count):
    """Seconds from the first call until `count` more instances run."""
    began = time.monotonic()
    for at in range(0, count, PER_CALL):
        ask = min(PER_CALL, count - at)
        client.call("RunInstances", ImageId=image, InstanceType="t2.nano", MinCount=ask, MaxCount=ask)
    wait_until("nothing is pending", lambda: not any_pending(client), GROW_SECONDS_MAX)
    return time.monotonic() - began


def at_rest(cloud):
    """Resident MiB and CPU percent of each controller; a cluster's are called after what they are."""
    time.sleep(SETTLE_SECONDS)
    pids = controllers(cloud.state_dir)
    cpu = cpu_percent(pids, IDLE_SECONDS)
    return {name.split("-")[0]: (resident_mib(pid), cpu[name]) for name, pid in pids.items()}


class Point:
    def __init__(self, instances, grown, seconds, measured):
        self.instances, self.grown, self.seconds, self.measured = instances, grown, seconds, measured

    def memory(self, *names):
        return sum(self.measured[name][0] for name in names)

    def cpu(self, *names):
        return sum(self.measured[name][1] for name in names)

    def row(self, empty):
        each = "–"
        if self.instances:
            each = f"{1024 * (self.memory('clc', 'cc') - empty.memory('clc', 'cc')) / self.instances:.1f}"
        rate = f"{self.grown / self.seconds:.0f}" if self.grown else "–"
        cells = [f"{self.memory(name):.0f}" for name in ("clc", "cc", "nc")]
        cells += [f"{self.cpu(name):.1f}" for name in ("clc", "cc", "nc")]
        return [f"{self.instances:,}", rate, each, *cells]


def costs(before, after):
    """Per instance of one stretch of the curve: launch seconds, and KiB of clc and cc."""
    kib = 1024 * (after.memory("clc", "cc") - before.memory("clc", "cc")) / after.grown
    return after.seconds / after.grown, kib


def main():
    result = Result("scale")
    with ScaleCloud(nodes=NODES) as cloud:
        client = Client.of(cloud)
        image = demo_image(client)
        points = [Point(0, 0, 0, at_rest(cloud))]
        for wanted in POINTS:
            more = wanted - points[-1].instances
            seconds = grow(client, image, more)
            count = running(client)
            if count != wanted:
                raise AssertionError(f"{count} of {wanted} instances run")
            points.append(Point(wanted, more, seconds, at_rest(cloud)))
            say(f"  {points[-1].row(points[0])}")
    result.table(["instances", "launched/s since the row above", "clc + cc, KiB each", "clc, MiB", "cc, MiB",
                  "nc (500 nodes), MiB", "clc, CPU % at rest", "cc", "nc"], [point.row(points[0]) for point in points])
    (early_s, early_kib), (late_s, late_kib) = costs(*points[1:3]), costs(*points[2:4])
    for what, early, late, form in [("launch time", early_s * 1000, late_s * 1000, "{:.2f} ms"),
                                    ("clc + cc memory", early_kib, late_kib, "{:.1f} KiB")]:
        result.figure(f"{what} per instance, 5,000 → 20,000 against 1,000 → 5,000",
                      f"{form.format(late)} / {form.format(early)} = {late / early:.2f}", f"≤ {FLAT_MAX}",
                      late <= FLAT_MAX * early)
    idle = points[-1].cpu("clc", "cc")
    result.figure("clc + cc at rest with 20,000 instances on 500 nodes, % of one core", f"{idle:.1f}")
    result.note("Resident memory and CPU after 15 s of rest, CPU over 30 s. `% of one core`; the nodes' heartbeats "
                "go on. The simulated nodes share one process and one connection pool.")
    result.print()


if __name__ == "__main__":
    main()
