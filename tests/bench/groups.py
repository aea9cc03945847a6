"""Security groups at a node's ports: how soon one rule more is in force, however many there are, and what a packet
costs that is looked up among 10 or 10,000 members of a group.

It runs in network and mount namespaces of its own, with namespaces as guests: nothing reaches the host.
"""

import json
import os
import subprocess
import sys

from bench import RELEASE, Result, SCRATCH, median, say, spread

INSIDE = "KARRI_BENCH_INSIDE_NAMESPACE"
BRIDGE = "karri-bench"
PROGRAM = os.environ.get("KARRI_GROUPS_LOOP", str(RELEASE / "groups_loop"))
PORTS = 1000
RULES = (10, 1000, 10000)
ROUNDS = 20
FEW, MANY = 10, 10000
FLOODS = 7
FLOOD_MS = 700
RATIO_MAX, SHARE_MIN = 1.5, 0.95
LATENCY_MAX_MS = 100


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


class Loop:
    """The program that holds the ports, and answers each command with its microseconds."""

    def __init__(self, directory):
        self.process = subprocess.Popen([PROGRAM, directory], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.tap = self.process.stdout.readline().strip()

    def ms(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline()) / 1000

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def guest(name, link, address, mac):
    ip("netns", "add", name)
    ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name, "address", mac)
    ip("link", "set", link, "master", BRIDGE, "up")
    ip("-n", name, "address", "add", f"{address}/16", "dev", "eth0")
    ip("-n", name, "link", "set", "eth0", "up")
    # Nobody listens, and nobody is told so: a flow that is not answered is looked up with each packet.
    subprocess.run(["ip", "netns", "exec", name, "iptables", "-A", "INPUT", "-p", "udp", "-j", "DROP"], check=True)


def received(name):
    [link] = json.loads(ip("-n", name, "-s", "-j", "link", "show", "dev", "eth0"))
    return link["stats64"]["rx"]["packets"]


def flood():
    """Packets a second that reach the guest."""
    before = received("guest")
    subprocess.run(["ip", "netns", "exec", "sender", PROGRAM, "flood", "172.31.0.5", "9000", str(FLOOD_MS)], check=True)
    return (received("guest") - before) / (FLOOD_MS / 1000)


def rules(loop, result):
    took = {}
    for count in RULES:
        loop.ms(f"rules {count}")
        took[count] = []
        for _ in range(ROUNDS):
            took[count].append(loop.ms("authorise host"))
            loop.ms("revoke")
    ratio = median(took[RULES[-1]]) / median(took[RULES[0]])
    result.figure(f"one rule more among {RULES[-1]:,} / among {RULES[0]} ({PORTS:,} ports, medians of {ROUNDS})",
                  f"{ratio:.2f}", f"≤ {RATIO_MAX}", ratio <= RATIO_MAX)
    for count in RULES:
        result.figure(f"… among {count:,}, from the fact to the kernel, ms (quartiles)", spread(took[count]),
                      f"≤ {LATENCY_MAX_MS}", median(took[count]) <= LATENCY_MAX_MS)
    for kind, what in (("wide", "a range of ports that no rule had"), ("group", "a group as peer that no rule had")):
        chains, cuts = [], []
        for _ in range(ROUNDS):
            chains.append(loop.ms(f"authorise {kind}"))
            cuts.append(loop.ms("revoke"))
        result.figure(f"{what}, ms (quartiles)", spread(chains))
        result.figure("… revoked, with a look at all connections", spread(cuts))
    loop.ms("mend")
    result.figure("a look at everything, when nobody has changed anything, ms", f"{loop.ms('mend'):.0f}")


def packets(loop, result):
    guest("guest", loop.tap, "172.31.0.5", "02:00:00:00:00:00")
    guest("sender", "sender0", "172.31.0.2", "02:00:00:00:ff:02")
    few, many, ratios = [], [], []
    for number in range(FLOODS):
        pair = {}
        for count in (FEW, MANY) if number % 2 else (MANY, FEW):
            loop.ms(f"members {count}")
            pair[count] = flood()
        few.append(pair[FEW])
        many.append(pair[MANY])
        ratios.append(pair[MANY] / pair[FEW])
    share = median(ratios)
    result.figure(f"packets a second with {MANY:,} members in the group / with {FEW} (median of {FLOODS} pairs)",
                  f"{share:.2f}", f"≥ {SHARE_MIN}", share >= SHARE_MIN)
    result.figure(f"… {MANY:,} members, thousand packets a second", f"{median(many) / 1000:.0f}")
    result.figure(f"… {FEW} members, thousand packets a second", f"{median(few) / 1000:.0f}")
    loop.ms("members 0")
    refused = flood()
    result.figure("… a sender that is no member, packets that pass", f"{refused * FLOOD_MS / 1000:.0f}", "0", refused == 0)


def main():
    if INSIDE not in os.environ:
        inside = subprocess.run(["unshare", "--net", "--mount", sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"})
        sys.exit(inside.returncode)
    os.makedirs("/run/netns", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
    ip("link", "set", "lo", "up")
    result = Result("groups")
    directory = SCRATCH / "groups"
    directory.mkdir(exist_ok=True)
    loop = Loop(directory)
    say(f"{PORTS:,} ports in {loop.ms(f'ports {PORTS}') / 1000:.1f} s")
    rules(loop, result)
    packets(loop, result)
    loop.close()
    result.note("Namespaces play guests. The packets are of flows that nobody answers, so that each is looked up.")
    result.print()


if __name__ == "__main__":
    main()
