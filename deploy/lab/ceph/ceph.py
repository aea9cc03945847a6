"""A Ceph of one machine: a monitor, a manager, a store of objects on a file, and its S3 gateway, all on loopback.

The daemons run in the tree that build.sh made, as processes of whoever calls this. Everything they keep is below one
directory, the keys of all of them in one file.
"""

import os
import pathlib
import signal
import subprocess
import time
import urllib.error
import urllib.request

FSID = "11111111-2222-3333-4444-555555555555"
OSD = "66666666-7777-8888-9999-000000000000"
GATEWAY = "http://127.0.0.1:7480"
DISK_GIB = 20
START_SECONDS = 180
ALL = "allow *"
ENTITIES = {
    "mon.": {"mon": ALL},
    "client.admin": {"mon": ALL, "osd": ALL, "mgr": ALL},
    "mgr.a": {"mon": "allow profile mgr", "osd": ALL},
    "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": ALL},
    "client.rgw": {"mon": "allow rw", "osd": "allow rwx", "mgr": "allow r"},
}
CONFIGURATION = f"""
[global]
fsid = {FSID}
mon host = [v2:127.0.0.1:3300,v1:127.0.0.1:6789]
keyring = /lab/keyring
mon warn on insecure global id reclaim allowed = false
run dir = /lab/run
admin socket = /lab/run/$name.asok
pid file = /lab/run/$name.pid
log file = /lab/log/$name.log
crash dir = /lab/crash
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
mon allow pool size one = true
osd crush chooseleaf type = 0
ms bind ipv6 = false
public addr = 127.0.0.1
cluster addr = 127.0.0.1
[mon]
mon data = /lab/mon
[mgr]
mgr data = /lab/mgr
mgr initial modules =
[osd]
osd data = /lab/osd
osd objectstore = bluestore
osd memory target = 939524096
bluestore block create = true
bluestore block size = {DISK_GIB << 30}
bluestore fsck on mount = false
[client.rgw]
rgw data = /lab/rgw
rgw frontends = beast endpoint=127.0.0.1:7480
rgw gc obj min wait = 1
rgw gc processor period = 5
"""


class Ceph:
    def __init__(self, tree, directory):
        self.directory = pathlib.Path(directory)
        self.root = self.directory / "root"
        self.lab = self.directory / "ceph"
        self.daemons = {}
        for name in ("root", "upper", "work"):
            (self.directory / name).mkdir(parents=True)
        for name in ("run", "log", "crash", "mon", "mgr", "osd", "rgw"):
            (self.lab / name).mkdir(parents=True)
        mount("-t", "overlay", "overlay", "-o", f"lowerdir={tree},upperdir={self.directory}/upper,workdir={self.directory}/work", self.root)
        (self.root / "lab").mkdir(exist_ok=True)
        mount("--bind", self.lab, self.root / "lab")
        mount("--rbind", "/dev", self.root / "dev")
        mount("-t", "proc", "proc", self.root / "proc")
        (self.root / "etc/ceph").mkdir(exist_ok=True)
        (self.root / "etc/ceph/ceph.conf").write_text(CONFIGURATION)

    def run(self, *command, seconds=60):
        done = subprocess.run(["chroot", self.root, *command], capture_output=True, text=True, timeout=seconds, env=environment())
        if done.returncode != 0:
            raise AssertionError(f"{' '.join(command)}: {done.stdout}{done.stderr}{self.state()}")
        return done.stdout

    def state(self):
        """Which daemons run, and the kernel's word for what those do that run."""
        states = []
        for name, (_, process) in self.daemons.items():
            code = process.poll()
            told = f"ended with {code}" if code is not None else pathlib.Path(f"/proc/{process.pid}/wchan").read_text() or "runs"
            states.append(f"{name} {told}")
        return "; ".join(states)

    def spawn(self, name, *command):
        with (self.lab / "log" / f"{name}.out").open("ab") as out:
            self.daemons[name] = (command, subprocess.Popen(["chroot", self.root, *command, "-f"], stdout=out, stderr=out, env=environment()))

    def make(self):
        self.run("monmaptool", "--create", "--fsid", FSID, "--addv", "a", "[v2:127.0.0.1:3300,v1:127.0.0.1:6789]", "/lab/monmap")
        self.run("ceph-authtool", "--create-keyring", "/lab/keyring")
        for entity, capabilities in ENTITIES.items():
            words = [word for daemon, allowed in capabilities.items() for word in ("--cap", daemon, allowed)]
            self.run("ceph-authtool", "/lab/keyring", "--gen-key", "-n", entity, *words)
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "/lab/monmap", "--keyring", "/lab/keyring")
        self.spawn("mon", "ceph-mon", "-i", "a")
        self.spawn("mgr", "ceph-mgr", "-i", "a")
        self.run("ceph", "--connect-timeout", "60", "osd", "new", OSD, seconds=90)
        self.run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", OSD)
        self.spawn("osd", "ceph-osd", "-i", "0")
        self.spawn("rgw", "radosgw", "-n", "client.rgw")
        self.wait_for_gateway()

    def wait_for_gateway(self):
        deadline = time.monotonic() + START_SECONDS
        while not answers(GATEWAY):
            for name, (_, process) in self.daemons.items():
                if process.poll() is not None:
                    raise AssertionError(f"{name} ended: {(self.lab / 'log' / f'{name}.out').read_text()[-2000:]}")
            if time.monotonic() > deadline:
                raise AssertionError(f"no gateway within {START_SECONDS} s: {self.run('ceph', '-s')}")
            time.sleep(0.2)

    def user(self, name, key, secret):
        self.run("radosgw-admin", "user", "create", f"--uid={name}", f"--display-name={name}", f"--access-key={key}", f"--secret={secret}")

    def kill(self, *names):
        """As a machine does that loses its power."""
        for name in names:
            process = self.daemons[name][1]
            process.send_signal(signal.SIGKILL)
            process.wait()

    def start(self, *names):
        for name in names:
            self.spawn(name, *self.daemons[name][0])


def environment():
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/root"}


def mount(*arguments):
    subprocess.run(["mount", *map(str, arguments)], check=True)


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


def alone():
    """In namespaces of our own, whose end is the end of all daemons."""
    if os.getpid() != 1:
        raise SystemExit("to be run by deploy/lab/run.sh, as the first process of its namespaces")
    mount("-t", "proc", "proc", "/proc")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
