"""What decides about packets on a host, as its kernel prints it: rules, sets, links, addresses, routes."""

import difflib
import itertools
import json
import re
import subprocess

# Counters, and what a set or a chain holds of numbers that count.
COUNTED = re.compile(r"\[\d+:\d+\]")
# Of iptables and ebtables alike.
SHARED = re.compile(r"-A (PREROUTING|INPUT|FORWARD|OUTPUT|POSTROUTING|BROUTING) ")
VXLAN = ("id", "local", "port", "learning")
VLAN = ("id", "protocol")
PORT = ("hairpin", "isolated")
BRIDGE = ("nf_call_iptables", "mcast_snooping")


class Kernel:
    """`prefix`: by what commands are run there. `ours`: in the lines that are meant something of this is found."""

    def __init__(self, prefix=(), ours=""):
        self.prefix = list(prefix)
        self.ours = re.compile(ours)

    def told(self, *command):
        return subprocess.run([*self.prefix, *command], check=True, capture_output=True, text=True).stdout

    def json(self, *command):
        return json.loads(self.told(*command) or "[]")

    def state(self, identity=True):
        """Lines, in the kernel's order where it keeps one.

        `identity`: also which links they are, and how those who share the kernel's own chains follow each other there. It is
        another once somebody has taken them away.
        """
        lines = []
        for program in ("iptables-save", "ebtables-save"):
            lines += [f"{program}: {line}" for line in (self.rules(program) if identity else by_owner(self.rules(program)))]
        lines += sorted(f"ipset: {line}" for line in self.told("ipset", "save").splitlines())
        links = {link["ifindex"]: link for link in self.json("ip", "-d", "-j", "link")}
        lines += sorted(f"link: {self.link(link, identity)}" for link in links.values())
        for line in self.told("ip", "-4", "-o", "address").splitlines():
            lines.append("address: " + re.sub(r"^\d+: |\\.*", "", line))
        for command in (["route", "show", "table", "all"], ["rule"], ["neigh", "show", "proxy"]):
            lines += sorted(f"{command[0]}: {line.strip()}" for line in self.told("ip", "-4", *command).splitlines())
        floods = [line for line in self.told("bridge", "fdb", "show").splitlines() if line.startswith("00:00:00:00:00:00")]
        lines += sorted(f"flood: {line}" for line in floods)
        return [line for line in lines if self.ours.search(line)]

    def rules(self, program):
        lines = [COUNTED.sub("", line).strip() for line in self.told(program).splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    def link(self, link, identity):
        info = link.get("linkinfo", {})
        kind, data, port = info.get("info_kind"), info.get("info_data", {}), info.get("info_slave_data", {})
        like = {"kind": kind, "up": "UP" in link["flags"], "arp": "NOARP" not in link["flags"], "mtu": link["mtu"],
                "master": link.get("master"), "group": link.get("group"), **{key: port.get(key) for key in PORT}}
        for of, keys in (("vxlan", VXLAN), ("vlan", VLAN), ("bridge", BRIDGE)):
            if kind == of:
                like.update({key: data.get(key) for key in keys})
        # The door to metadata is the process's own, and comes again with it.
        if identity and not re.fullmatch(r"k[0-9a-f]{4}m[0-9a-f]+", link["ifname"]):
            like.update(index=link["ifindex"], address=link["address"])
        return f"{link['ifname']} {like}"


def by_owner(rules):
    """The rules of the kernel's own chains, in which several have theirs, in an order that says nothing."""
    key = {True: lambda line: (line.split()[1], line), False: lambda line: ()}
    sorted_rules = []
    for shared, some in itertools.groupby(rules, lambda line: bool(SHARED.match(line))):
        sorted_rules += sorted(some, key=key[shared])
    return sorted_rules


def difference(before, after):
    gone = [f"- {line}" for line in before if line not in after]
    come = [f"+ {line}" for line in after if line not in before]
    return "\n".join(gone + come) or "\n".join(difflib.unified_diff(before, after, lineterm="", n=1))
