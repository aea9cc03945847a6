"""What every book of a cloud on this machine holds of its instances, each read where it is kept.

When nothing is under way they must agree: the cluster controller's database, its metrics and what it counts
as used, the hosts that get an address, the node's records, libvirt, disks, taps and the rules at the taps.
"""

import collections
import json
import re
import sqlite3
import subprocess
import tomllib
import urllib.request

from real_cloud import domains

# Each begins with its node's own digits, which are the same for all taps of a node.
TAP = re.compile(r"k[0-9a-f]{14}")
NODE_PREFIX_CHARS = 5


class Books:
    def __init__(self, cloud):
        self.cloud = cloud
        self.prefixes = set()
        self.known = set()

    def differences(self, instances):
        """What does not agree with the cloud controller's book, which is what DescribeInstances tells."""
        self.known |= {one["InstanceId"] for one in instances}
        running = [one for one in instances if one["State"]["Name"] == "running"]
        ids = {one["InstanceId"] for one in running}
        ports = [port for one in running for port in one["NetworkInterfaces"]]
        taps = self.taps()
        pairs = {
            "cluster's rows": (self.cluster_rows(), dict.fromkeys(ids, "running")),
            "cluster's metrics": (self.cluster_metrics(), {"running": len(ids)} if ids else {}),
            "cluster's used capacity": (self.used(), self.needed(running)),
            "generations and attempts": (self.cluster_turns(), self.node_turns()),
            "hosts with an address": (self.hosts(), {(port["MacAddress"], port["PrivateIpAddress"]) for port in ports}),
            "node's records": (set(self.node_turns()), ids),
            "disks": (self.disks(), ids),
            "running domains": (set(self.own_domains("--state-running")), ids),
            "domains": (set(self.own_domains()), ids),
            "taps' interfaces": (sorted(tap[NODE_PREFIX_CHARS:] for tap in taps),
                                 sorted(port["NetworkInterfaceId"][-10:] for port in ports)),
            "domains' taps": (self.taps_of_domains(), taps),
            "rules' taps": (self.chains(), taps),
        }
        return [f"{book}: {found} and not {wanted}" for book, (found, wanted) in pairs.items() if found != wanted]

    def _cluster(self, query):
        [file] = self.cloud.state_dir.glob("cc-*/cc.sqlite")
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            return database.execute(query).fetchall()

    def cluster_rows(self):
        return {one: json.loads(phase) for one, phase in self._cluster("SELECT id, phase FROM instances")}

    def cluster_turns(self):
        rows = self._cluster("SELECT id, intent, attempt FROM instances")
        return {one: (json.loads(intent)["generation"], attempt) for one, intent, attempt in rows}

    def cluster_metrics(self):
        """The phases in which there are instances, with their counts."""
        [endpoint] = self.cloud.state_dir.glob("cc-*/endpoint.json")
        url = json.loads(endpoint.read_text())["observe_url"] + "/metrics"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found = re.findall(r'^karri_cc_instances\{phase="([a-z]+)"\} ([0-9.]+)$', answer.read().decode(), re.M)
        return {phase: float(count) for phase, count in found if float(count)}

    def used(self):
        zones = json.loads(self.cloud.karri("status", "--output", "json"))["zones"]
        [node] = [node for zone in zones for node in zone["resources"]["nodes"]]
        return node["used"]

    def needed(self, running):
        ec2 = self.cloud.boto3()
        sum_ = collections.Counter(vcpus=0, memory_mib=0, disk_gib=0)
        for one in running:
            [kind] = ec2.describe_instance_types(InstanceTypes=[one["InstanceType"]])["InstanceTypes"]
            volumes = [mapping["Ebs"]["VolumeId"] for mapping in one["BlockDeviceMappings"]]
            sizes = [volume["Size"] for volume in ec2.describe_volumes(VolumeIds=volumes)["Volumes"]]
            sum_.update(vcpus=kind["VCpuInfo"]["DefaultVCpus"], memory_mib=kind["MemoryInfo"]["SizeInMiB"], disk_gib=sum(sizes))
        return dict(sum_)

    def hosts(self):
        """To whom dnsmasq gives an address: (MAC, address)."""
        [config] = self.cloud.state_dir.glob("config/cc-*.toml")
        directory = tomllib.loads(config.read_text())["network"]["run_dir"]
        with open(f"{directory}/hosts") as lines:
            return {tuple(line.strip().split(",")[:2]) for line in lines}

    def node_turns(self):
        found = {}
        for file in self.cloud.state_dir.glob("nc*/instances/*/intent.json"):
            intent = json.loads(file.read_text())["intent"]
            found[file.parent.name] = (intent["generation"], intent["attempt"])
        return found

    def disks(self):
        return {path.parent.name for path in self.cloud.state_dir.glob("nc*/instances/*/disk*")}

    def own_domains(self, *flags):
        """Other clouds of this machine have theirs."""
        return {one: name for one, name in domains(*flags).items() if one in self.known}

    def taps(self):
        """On the bridge, and those of its nodes that are on none."""
        links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
        joined = {link["ifname"] for link in links if link.get("master") == self.cloud.bridge}
        self.prefixes |= {name[:NODE_PREFIX_CHARS] for name in joined if TAP.fullmatch(name)}
        return joined | {link["ifname"] for link in links if self._ours(link["ifname"])}

    def _ours(self, name):
        return bool(TAP.fullmatch(name)) and name[:NODE_PREFIX_CHARS] in self.prefixes

    def taps_of_domains(self):
        found = set()
        for name in self.own_domains().values():
            listing = subprocess.check_output(["virsh", "-c", "qemu:///system", "domiflist", name], text=True)
            found |= {line.split()[0] for line in listing.splitlines()[2:] if line.strip()}
        return found

    def chains(self):
        saved = subprocess.check_output(["ebtables-save", "-t", "nat"], text=True)
        chains = set(re.findall(r"^:(\S+)", saved, re.M))
        jumps = set(re.findall(r"^-A PREROUTING .*-j (\S+)$", saved, re.M))
        return {name for name in chains | jumps if self._ours(name)}
