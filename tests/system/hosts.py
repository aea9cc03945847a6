"""Machines of our own for tests: network namespaces on a cable to this one, and private libvirt daemons."""

import json
import os
import pathlib
import shutil
import signal
import subprocess

from real_cloud import KARRI, ROOT, claim, wait_until

STOP_SECONDS = 30
NODE = "attic"
SILENT_SECONDS = 60  # ten until a node is called silent, and a busy machine


def ip(*arguments):
    subprocess.run(["ip", *map(str, arguments)], check=True, capture_output=True, text=True)


class Machine:
    """A network namespace; `number` keeps the names and addresses of test modules apart.

    Its eth0 is a cable to this machine: `near` is the address at our end, `far` the one at its own.
    """

    def __init__(self, number):
        self.number = number
        self.name = f"kmachine{number}"
        self.near, self.far = f"198.18.{number}.1", f"198.18.{number}.2"
        self.cables = []
        self.processes = []

    def open(self):
        claim(self.number)
        self.close()  # what an interrupted run has left
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")
        ip("address", "add", f"{self.near}/30", "dev", self.cable("eth0"))
        ip("-n", self.name, "address", "add", f"{self.far}/30", "dev", "eth0")
        return self

    def cable(self, there):
        """Another cable, to its interface `there`; returns the name of our end."""
        here = f"kc{self.number}-{there}"
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        ip("link", "set", here, "up")
        ip("-n", self.name, "link", "set", there, "up")
        self.cables.append((here, there))
        return here

    def pull_cables(self):
        for _, there in self.cables:
            ip("-n", self.name, "link", "set", there, "down")

    def plug_cables(self):
        for _, there in self.cables:
            ip("-n", self.name, "link", "set", there, "up")

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.name, *map(str, arguments)]

    def run(self, *arguments, **more):
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, **more)

    def start(self, *arguments, log, **more):
        """Runs a program there until the machine is closed."""
        with log.open("ab") as out:
            process = subprocess.Popen(self.command(*arguments), stdout=out, stderr=out, stdin=subprocess.DEVNULL, **more)
        self.processes.append(process)
        return process

    def stop_processes(self):
        for process in reversed(self.processes):
            process.terminate()
            process.wait(STOP_SECONDS)
        self.processes = []

    def join(self, other):
        """A cable to another machine, over which each reaches the other's far address."""
        ip("-n", self.name, "link", "add", "beside", "type", "veth", "peer", "name", "beside", "netns", other.name)
        for one, there in ((self, other), (other, self)):
            ip("-n", one.name, "link", "set", "beside", "up")
            ip("-n", one.name, "route", "add", there.far, "dev", "beside", "src", one.far)

    def close(self):
        self.stop_processes()
        for link in json.loads(subprocess.check_output(["ip", "-j", "link"])):
            if link["ifname"].startswith(f"kc{self.number}-"):  # not left to the namespace's end, which comes late
                ip("link", "delete", link["ifname"])
        if pathlib.Path("/run/netns", self.name).exists():
            ip("netns", "delete", self.name)
        self.cables = []


LIBVIRTD_CONF = """
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""
QEMU_CONF = """
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = []
namespaces = []
stdio_handler = "file"
"""
# Private directories in the places of the system's own; the directory is the first argument.
IN_ITS_OWN_PLACE = """
for place in etc/libvirt var/lib/libvirt var/log/libvirt var/cache/libvirt run; do
    mount --bind "$0/$place" "/$place"
done
exec libvirtd
"""


class PrivateLibvirt:
    """A libvirtd of a test's own, which can be killed: it sees nothing of the system's and hides nothing from it.

    Without a machine its guests' taps are plugged into this host's bridges, with one into that machine's.
    """

    def __init__(self, directory, machine=None):
        self.directory = directory
        self.prefix = machine.command() if machine else []
        self.socket = directory / "run/libvirt/libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.process = None
        for place in ("etc/libvirt/qemu/networks", "etc/libvirt/nwfilter", "var/lib/libvirt", "var/log/libvirt",
                      "var/cache/libvirt", "run/libvirt"):
            (directory / place).mkdir(parents=True)
        (directory / "etc/libvirt/libvirtd.conf").write_text(LIBVIRTD_CONF)
        (directory / "etc/libvirt/qemu.conf").write_text(QEMU_CONF)
        known = pathlib.Path("/var/cache/libvirt/qemu")
        if known.exists():  # what the system's daemon has found out about QEMU in seconds
            shutil.copytree(known, directory / "var/cache/libvirt/qemu")

    def start(self):
        self.process = subprocess.Popen(
            [*self.prefix, "unshare", "--mount", "--propagation", "private", "sh", "-ec", IN_ITS_OWN_PLACE, self.directory],
            stdin=subprocess.DEVNULL, start_new_session=True)
        wait_until("libvirtd answers", self.answers, STOP_SECONDS)
        return self

    def answers(self):
        return self.process.poll() is None and self.virsh("version", check=False).returncode == 0

    def virsh(self, *arguments, check=True):
        return subprocess.run(["virsh", "-q", "-c", self.uri, *arguments], capture_output=True, text=True, check=check)

    def domains(self, *flags):
        """The ids of the instances it knows."""
        names = self.virsh("list", "--all", "--name", *flags).stdout.split()
        return {name.removeprefix("karri-") for name in names}

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            # What a failed test has left. Its socket is gone where the directory of the test is.
            for name in self.virsh("list", "--name", "--state-running", check=False).stdout.split():
                self.virsh("destroy", name, check=False)
            self.process.terminate()
            self.process.wait(STOP_SECONDS)


class FarNode:
    """The node controller on the other machine."""

    def __init__(self, cloud, machine, *join, name=NODE, cluster=None, **environment):
        self.cloud, self.machine, self.join_arguments, self.name = cloud, machine, join, name
        self.state_dir = cloud.directory / f"node-{name}"
        self.of_cluster = ["--zone", cluster] if cluster else []
        self.environment = {**os.environ, **environment}

    def join(self, token, *more):
        return self.machine.run(KARRI, "node", "join", token, "--name", self.name, *self.join_arguments, *more,
                                "--state-dir", self.state_dir, env=self.environment)

    def join_and_start(self):
        joined = self.join(new_token(self.cloud, *self.of_cluster)["token"], "--output", "json")
        assert joined.returncode == 0, joined.stderr
        self.command = json.loads(joined.stdout)["start"].split()
        self.start()

    def start(self):
        self.process = self.machine.start(*self.command, log=self.cloud.directory / f"node-{self.name}.log", env=self.environment)

    def instances(self):
        """Those whose records lie on the node."""
        return {path.parent.name for path in self.state_dir.glob("nc/**/instances/*/intent.json")}


class FarCluster:
    """The controller of a cluster on the other machine, which extends the zone of the cloud's own."""

    def __init__(self, cloud, machine, name):
        self.cloud, self.machine, self.name = cloud, machine, name
        directory = cloud.directory / name
        cloud.karri("cluster", "certificate", name, "--directory", directory / "tls")
        [zone] = [zone["zone"] for zone in status(cloud)["zones"]]
        told = json.loads((cloud.state_dir / "clc" / "endpoint.json").read_text())
        values = {
            "CONTROLLER__STATE_DIR": directory / "cc", "CONTROLLER__LISTEN": f"{machine.far}:8779",
            "CONTROLLER__ADVERTISE": f"https://{machine.far}:8779", "DATABASE__PATH": directory / "cc" / "cc.sqlite",
            "CONTROLLER__TLS__CA": directory / "tls" / "ca.pem", "CONTROLLER__TLS__KEY": directory / "tls" / "key.pem",
            "CONTROLLER__TLS__CERTIFICATE": directory / "tls" / "certificate.pem",
            "CLUSTER__ZONE": zone, "CLUSTER__EXTENDS": "true", "CLUSTER__CLC_URL": told["url"],
        }
        self.environment = {**os.environ, **{f"KARRI_CC_{key}": str(value) for key, value in values.items()}}

    def start(self):
        command = [KARRI.parent / "karri-cc", "--config", ROOT / "deploy" / "config" / "cc.toml"]
        self.process = self.machine.start(*command, log=self.cloud.directory / f"{self.name}.log", env=self.environment)

    def is_known(self):
        return self.name in {zone["cluster"] for zone in status(self.cloud)["zones"]}


def status(cloud):
    return json.loads(cloud.karri("status", "--output", "json"))


def new_token(cloud, *more):
    return json.loads(cloud.karri("node", "token", "--output", "json", *more))


def node(cloud, name):
    nodes = json.loads(cloud.karri("node", "list", "--output", "json"))
    return next((node for node in nodes if node["name"] == name), None)


def is_alive(cloud, name):
    found = node(cloud, name)
    return bool(found and found["alive"])
