"""What an idle cloud costs: resident memory of the four controllers, and how long `karri up` takes."""

import re
import time

from bench import Result, controllers, cpu_percent, median, resident_mib
from bench_cloud import BenchCloud, accelerator
from cloud import Cloud

ROUNDS = 3
SETTLE_SECONDS = 20
CPU_SECONDS = 30
MEMORY_MIB_MAX = 120
READY_SECONDS_MAX = 20


def ready_after(cloud):
    return float(re.search(r"ready after ([\d.]+) s", cloud.log.read_text()).group(1))


def again(cloud):
    """The second `up` of a cloud: everything is there already."""
    cloud.stop()
    cloud.up()
    return ready_after(cloud)


def idle(cloud):
    time.sleep(SETTLE_SECONDS)
    pids = controllers(cloud.state_dir)
    cpu = cpu_percent(pids, CPU_SECONDS)
    return {name: (resident_mib(pid), cpu[name]) for name, pid in pids.items()}


def main():
    result = Result("idle")
    first, later, simulated = [], [], []
    for number in range(ROUNDS):
        with Cloud(nodes=3) as cloud:
            simulated.append(ready_after(cloud))
        with BenchCloud() as cloud:
            first.append(ready_after(cloud))
            later.append(again(cloud))
            if number == ROUNDS - 1:
                measured = idle(cloud)
                result.on(f"accelerator {accelerator(cloud)}")
    together = sum(memory for memory, _ in measured.values())
    result.figure("four controllers idle, resident together, MiB", f"{together:.0f}", f"≤ {MEMORY_MIB_MAX}",
                  together <= MEMORY_MIB_MAX)
    result.figure(f"`karri up` on a new state directory to ready, s (median of {ROUNDS})", f"{median(first):.1f}",
                  f"≤ {READY_SECONDS_MAX}", median(first) <= READY_SECONDS_MAX)
    result.figure("`karri up` again, s", f"{median(later):.1f}", f"≤ {READY_SECONDS_MAX}",
                  median(later) <= READY_SECONDS_MAX)
    result.figure("`karri up --sim 3` on a new state directory, s", f"{median(simulated):.1f}")
    result.table(["controller", "resident, MiB", "CPU, % of one core"],
                 [(name, f"{memory:.1f}", f"{cpu:.2f}") for name, (memory, cpu) in measured.items()])
    result.print()


if __name__ == "__main__":
    main()
