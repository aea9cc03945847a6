"""What a managed subnet costs a packet: streams and small packets between two ports of a node, and between two nodes, against
the same on a bridge that has nothing but the two on it, and on one with a hand-made VXLAN.

First namespaces play hosts and guests, in network and mount namespaces of their own: nothing reaches the host. Then there
are two real guests of a cloud, each with a second interface on a bare bridge, which is plugged in behind Karri's back.
"""

import json
import os
import subprocess
import sys
import time

from bench import RELEASE, Result, SCRATCH, median, say
from throughput_guests import guests

INSIDE = "KARRI_BENCH_INSIDE_NAMESPACE"
PROGRAM = os.environ.get("KARRI_SEGMENT_LOOP", str(RELEASE / "segment_loop"))
SEGMENT = "karri-b0.1001"
HOSTS = {"one": "192.0.2.1", "two": "192.0.2.2"}
MTU = 1450
PAIRS = int(os.environ.get("KARRI_THROUGHPUT_PAIRS", "11"))
MS = 1000
SHARE_MIN = 0.97
LOOK_SECONDS_MAX = 10
STREAM_PORT, FLOOD_PORT = 5001, 9000


def ip(*arguments):
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


def inside(namespace, *command):
    subprocess.run(["ip", "netns", "exec", namespace, *command], check=True, capture_output=True)


class Running:
    """A program in a namespace that has said `ready`; what it said before are its `lines`."""

    def __init__(self, namespace, *command):
        self.process = subprocess.Popen(["ip", "netns", "exec", namespace, PROGRAM, *map(str, command)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.lines = []
        while (line := self.process.stdout.readline().strip()) != "ready":
            if self.process.poll() is not None:
                raise RuntimeError(f"{command} has ended")
            self.lines.append(line)

    def says(self):
        return self.process.stdout.readline()

    def close(self, kill=True):
        self.process.stdin.close()
        if kill:
            self.process.kill()
        self.process.wait()


def hosts():
    for name in HOSTS:
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        # Only bridges that ask for it are filtered, as on a host where nobody has asked for all.
        inside(name, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0", "net.bridge.bridge-nf-call-arptables=0",
               "net.bridge.bridge-nf-call-ip6tables=0")
    ip("-n", "one", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", "two")
    for name, address in HOSTS.items():
        ip("-n", name, "address", "add", f"{address}/24", "dev", "wire")
        ip("-n", name, "link", "set", "wire", "up")


def bare_bridges():
    """On each host a bridge, and between the two a VXLAN device, as one makes them by hand."""
    for name, address in HOSTS.items():
        [other] = (each for each in HOSTS.values() if each != address)
        ip("-n", name, "link", "add", "bare", "type", "bridge", "mcast_snooping", "0")
        ip("-n", name, "link", "add", "barex", "type", "vxlan", "id", "7", "local", address, "remote", other, "dstport", "4790")
        for link in ("bare", "barex"):
            ip("-n", name, "link", "set", link, "mtu", str(MTU), "up")
        ip("-n", name, "link", "set", "barex", "master", "bare")


def guest(name, host, link, bridge, number):
    ip("netns", "add", name)
    ip("-n", host, "link", "add", link, "mtu", str(MTU), "type", "veth", "peer", "name", "eth0", "netns", name, "mtu", str(MTU),
       "address", f"02:00:00:00:00:{number:02x}")
    ip("-n", host, "link", "set", link, "master", bridge, "up")
    ip("-n", name, "address", "add", f"10.0.0.{number}/24", "dev", "eth0")
    ip("-n", name, "link", "set", "lo", "up")
    ip("-n", name, "link", "set", "eth0", "up")


def shortcut_awaited(host, taps):
    """Whether the ports have the shortcut, which comes with the node's next look at them."""
    for _ in range(10 * LOOK_SECONDS_MAX):
        if all("karri-" in ip("netns", "exec", host, "tc", "filter", "show", "dev", tap, "ingress") for tap in taps):
            return True
        time.sleep(0.1)
    return False


def received(name):
    [link] = json.loads(ip("-n", name, "-s", "-j", "link", "show", "dev", "eth0"))
    return link["stats64"]["rx"]["packets"]


def gigabits(sender, sink, number):
    inside(sender, PROGRAM, "stream", f"10.0.0.{number}", str(STREAM_PORT), str(MS))
    return float(sink.says()) / 1e9


def kilopackets(sender, receiver, number):
    before = received(receiver)
    inside(sender, PROGRAM, "flood", f"10.0.0.{number}", str(FLOOD_PORT), str(MS))
    return (received(receiver) - before) / MS


def compared(result, what, unit, of, measure):
    """`measure(kind)`: by the managed subnet or bare, by turns."""
    figures = {"managed": [], "bare": []}
    ratios = []
    for number in range(PAIRS):
        pair = {}
        for kind in ("managed", "bare") if number % 2 else ("bare", "managed"):
            pair[kind] = measure(kind)
            figures[kind].append(pair[kind])
        ratios.append(pair["managed"] / pair["bare"])
    share = median(ratios)
    result.figure(f"{what}: managed subnet / {of} (median of {PAIRS} pairs)", f"{share:.2f}", f"≥ {SHARE_MIN}", share >= SHARE_MIN)
    for kind, name in (("managed", "managed subnet"), ("bare", of)):
        result.figure(f"… {name}, {unit}", f"{median(figures[kind]):.2f}")


def main():
    if INSIDE in os.environ:
        return namespaces()
    result = Result("throughput")
    again = subprocess.run(["unshare", "--net", "--mount", sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}, check=True,
                           stdout=subprocess.PIPE, text=True)
    result.result = json.loads(again.stdout.splitlines()[-1])
    compared_guests = lambda what, unit, measure: compared(result, what, unit, "bare bridge", measure)  # noqa: E731
    result.on(guests(compared_guests))
    result.print()


def namespaces():
    os.makedirs("/run/netns", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/netns"], check=True)
    hosts()
    bare_bridges()
    running, are_short = [], True
    for name, numbers in (("one", (2, 3)), ("two", (4,))):
        directory = SCRATCH / f"throughput-{name}"
        directory.mkdir(exist_ok=True)
        [other] = (each for host, each in HOSTS.items() if host != name)
        node = Running(name, "node", directory, HOSTS[name], other, *numbers)
        running.append(node)
        for tap, number in zip(node.lines, numbers):
            guest(f"managed{number}", name, tap, SEGMENT, number)
            guest(f"bare{number}", name, f"b{number}", "bare", number)
        are_short = shortcut_awaited(name, node.lines) and are_short
    sinks = {}
    for kind in ("managed", "bare"):
        for number in (3, 4):
            sinks[kind, number] = Running(f"{kind}{number}", "sink", STREAM_PORT)
            running += [sinks[kind, number], Running(f"{kind}{number}", "answer", FLOOD_PORT)]

    result = Result("throughput")
    for number, where, of in ((3, "on one node", "bare bridge"), (4, "between nodes", "VXLAN by hand")):
        say(where)
        compared(result, f"a stream {where}", "Gbit/s", of,
                 lambda kind, number=number: gigabits(f"{kind}2", sinks[kind, number], number))
        compared(result, f"packets of one byte {where}", "thousand a second", of,
                 lambda kind, number=number: kilopackets(f"{kind}2", f"{kind}{number}", number))
    for one in reversed(running):
        one.close(kill="node" not in one.process.args)
    if not are_short:
        result.note("**This kernel has no shortcut between ports: every packet goes by the rules.**")
    result.note("Where no guests are named namespaces play them, and hosts. Everybody has an MTU of 1450.")
    result.print()


if __name__ == "__main__":
    main()
