"""Networks of VPCs on one cluster controller: how long it takes to bring 10, 100 and 1,000 subnets there, to look at all
of them in another life, and how long one change among them takes. It must not grow with how many others there are.

It runs in network and mount namespaces of its own, without guests: nothing reaches the host.
"""

import os
import pathlib
import subprocess
import sys
import time

from bench import RELEASE, SCRATCH, Result, median, say, spread

INSIDE = "KARRI_BENCH_INSIDE_NAMESPACE"
PROGRAM = os.environ.get("KARRI_ROUTERS_LOOP", str(RELEASE / "routers_loop"))
SUBNETS = (10, 100, 1000)
ROUNDS = 11
CHANGES = {"acl": "an entry of a network ACL", "route": "a route", "address": "a public address that moves",
           "port": "an instance in a subnet that has some", "leg": "the first instance of a subnet, or the last"}
RATIO_MAX = 1.5
MEND_MS_MAX = 5000
# As long as the controller lets pass between two rounds.
BETWEEN_SECONDS = 2


class Loop:
    """The program that holds the network, and answers each command with its microseconds."""

    def __init__(self, directory):
        self.process = subprocess.Popen([PROGRAM, directory], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def ms(self, command):
        return self.ask(command) / 1000

    def settle(self):
        """What it has done itself is looked at once more."""
        while self.ms("round") > 50:
            pass
        time.sleep(BETWEEN_SECONDS)
        self.ms("round")

    def cpu_seconds(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def there_and_back(loop, kind):
    """Milliseconds of a change and of the one back, `ROUNDS` of each: they take different times, and are told apart."""
    pairs = [(loop.ms(kind), loop.ms(kind)) for _ in range(ROUNDS)]
    return [list(one_way) for one_way in zip(*pairs)]


def rest(loop, rounds=5):
    """Milliseconds of processor time of a round in which nothing has changed."""
    before = loop.cpu_seconds()
    for _ in range(rounds):
        time.sleep(BETWEEN_SECONDS)
        loop.ms("round")
    return (loop.cpu_seconds() - before) / rounds * 1000


def mended(loop):
    """Milliseconds until the rules of one router are back that somebody has flushed."""
    router = sorted(pathlib.Path("/run/netns").iterdir())[0].name

    def rules():
        return subprocess.run(["ip", "netns", "exec", router, "iptables", "-S"], capture_output=True, text=True).stdout

    before = rules()
    subprocess.run(["ip", "netns", "exec", router, "iptables", "-F"], check=True)
    began = time.monotonic()
    time.sleep(BETWEEN_SECONDS)  # the next round comes then
    loop.ms("round")
    took = (time.monotonic() - began) * 1000
    return took if rules() == before else float("inf")


def main():
    if INSIDE not in os.environ:
        inside = subprocess.run(["unshare", "--net", "--mount", sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"})
        sys.exit(inside.returncode)
    os.makedirs("/run/netns", exist_ok=True)
    subprocess.run("mount -t tmpfs tmpfs /run/netns; ip link set lo up; ip link add wire type veth peer name far; "
                   "ip address add 192.0.2.1/24 dev wire; ip link set wire up; ip link set far up", shell=True, check=True)
    result = Result("routers")
    directory = SCRATCH / "routers"
    directory.mkdir(exist_ok=True)
    os.chmod(directory, 0o755)
    loop = Loop(directory)
    took, figures = {kind: {} for kind in CHANGES}, []
    for count in SUBNETS:
        made = loop.ms(f"subnets {count}")
        say(f"{count:,} subnets in {made / 1000:.1f} s")
        loop.settle()
        for kind in CHANGES:
            took[kind][count] = there_and_back(loop, kind)
            say(f"{kind} among {count:,}: {', '.join(f'{median(way):.1f}' for way in took[kind][count])} ms")
        loop.settle()
        figures.append((count, made, rest(loop), loop.ask("memory") / 1000))
    for kind, what in CHANGES.items():
        ratio = max(median(many) / median(few) for few, many in zip(took[kind][SUBNETS[0]], took[kind][SUBNETS[-1]]))
        result.figure(f"{what}: among {SUBNETS[-1]:,} subnets / among {SUBNETS[0]} (medians of {ROUNDS}; the worse of there and back)",
                      f"{ratio:.2f}", f"≤ {RATIO_MAX}", ratio <= RATIO_MAX)
        result.figure(f"… among {SUBNETS[-1]:,}, from the rows to the kernel, ms (quartiles), there / back",
                      " / ".join(spread(way) for way in took[kind][SUBNETS[-1]]))
    flushed = mended(loop)
    result.figure(f"rules that somebody has flushed in one router of {SUBNETS[-1]:,} subnets' are back within, ms",
                  f"{flushed:.0f}", f"≤ {MEND_MS_MAX}", flushed <= MEND_MS_MAX)
    for count, made, resting, memory in figures:
        result.figure(f"{count:,} subnets: nothing, then those that were missing are all there, s", f"{made / 1000:.1f}")
        result.figure("… a round in which nothing has changed, ms of processor time", f"{resting:.0f}")
        result.figure("… memory of the process, MB", f"{memory:.0f}")
    again = loop.ms("again")
    result.figure(f"another life looks at all {SUBNETS[-1]:,} subnets, s", f"{again / 1000:.1f}")
    loop.close()
    result.note("Ten subnets to a VPC, each with one instance; all VPCs have the same range. dnsmasq is not in the memory: 2 MB for each subnet.")
    result.print()


if __name__ == "__main__":
    main()
