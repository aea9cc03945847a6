"""One machine of the lab: a Debian that systemd-nspawn boots, in a network of its own, on an overlay of the built tree."""

import errno
import os
import pathlib
import shutil
import signal
import subprocess
import time

STOP_SECONDS = 90
LOOK_SECONDS = 0.5
# Of a systemd-nspawn whose machine reboots and that is not to do that itself (--keep-unit).
REBOOT_EXIT_CODE = 133
# A root shell's, and nothing of whoever runs the lab.
ENVIRONMENT = {"HOME": "/root", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
# Where a host without systemd has the groups of processes that one in a machine keeps its services apart by.
GROUPS = [pathlib.Path("/sys/fs/cgroup") / hierarchy for hierarchy in ("systemd", "unified", ".")]
HAS_SYSTEMD = pathlib.Path("/run/systemd/system").exists()
IN_A_UNIT = ["systemd-run", "--quiet", "--scope", "--property=Delegate=yes"] if HAS_SYSTEMD else []


class Failed(Exception):
    """A script in a machine did not end with 0, or the machine did not come up."""


def host(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


class Machine:
    def __init__(self, name, address, tree, payload, directory):
        self.name, self.address = name, address
        self.tree, self.payload = pathlib.Path(tree), pathlib.Path(payload)
        self.directory = pathlib.Path(directory) / name
        self.root = self.directory / "root"
        self.title = f"klab-{name}"
        self.lives = 0
        self.nspawn = None

    @property
    def network(self):
        """Of this life: as with a machine, its bridges and rules do not outlive it."""
        return f"{self.title}-{self.lives}"

    def plug(self):
        """The cable, into the network of this life."""
        inside = ["ip", "-n", self.network]
        host(*inside, "address", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            host(*inside, "link", "set", link, "up")

    def begin_another_life(self):
        before, self.lives = self.network, self.lives + 1
        host("ip", "netns", "add", self.network)
        host("ip", "-n", before, "link", "set", "eth0", "netns", self.network)
        host("ip", "netns", "delete", before)
        self.plug()
        self.spawn()

    def start(self):
        for part in ("upper", "work", "root"):
            (self.directory / part).mkdir(parents=True)
        layers = f"lowerdir={self.tree},upperdir={self.directory / 'upper'},workdir={self.directory / 'work'}"
        host("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        self.spawn()

    def spawn(self):
        console = (self.directory / "console").open("ab")
        # systemd-nspawn clears its place in /run when a machine reboots, and refuses to where that lies on a disk.
        in_memory = "mkdir -p /run/systemd/nspawn && mount -t tmpfs nspawn /run/systemd/nspawn && exec \"$@\""
        self.nspawn = subprocess.Popen(
            [*IN_A_UNIT, "unshare", "--mount", "--propagation", "slave", "sh", "-c", in_memory, "sh", "systemd-nspawn", "--quiet",
             "--boot", "--register=no", "--keep-unit", "--console=pipe",
             f"--directory={self.root}", f"--machine={self.title}", f"--hostname={self.name}", "--resolv-conf=off",
             f"--network-namespace-path=/run/netns/{self.network}", f"--bind-ro={self.payload}:/payload",
             "--capability=all", "--bind=/dev/net/tun"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True, preexec_fn=self.enter_groups,
            # Its own network's settings are its to write, others of this kernel's are not.
            env={**os.environ, "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"})

    def groups(self):
        """Where no systemd of the host makes one."""
        if HAS_SYSTEMD:
            return []
        return [where / self.title for where in GROUPS if (where / "cgroup.procs").exists()]

    def enter_groups(self):
        for group in self.groups():
            group.mkdir(exist_ok=True)
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def leave_groups(self):
        for group in [group for group in self.groups() if group.exists()]:
            inner = sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True)
            for path in [path for path in [*inner, group] if path.is_dir()]:
                remove_group(path)

    def leader(self):
        """The machine's process 1, if it has come to be systemd."""
        children = pathlib.Path(f"/proc/{self.nspawn.pid}/task/{self.nspawn.pid}/children")
        try:
            for child in children.read_text().split():
                process = pathlib.Path("/proc") / child
                inside = os.readlink(process / "ns/pid") != os.readlink("/proc/self/ns/pid")
                if inside and (process / "comm").read_text().strip() == "systemd":
                    return child
        except OSError:
            pass  # one that has ended meanwhile
        return None

    def booted(self, seconds, other_than=None):
        """Waits until systemd has started everything, in a life after that of process `other_than`."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            leader = self.leader()
            if leader and leader != other_than and "running" in self.attempt("systemctl is-system-running --wait", seconds)[1]:
                return
            if self.nspawn.poll() == REBOOT_EXIT_CODE:
                self.begin_another_life()
            elif self.nspawn.poll() is not None:
                raise Failed(f"{self.name}: systemd-nspawn ended: {(self.directory / 'console').read_text()[-2000:]}")
            time.sleep(LOOK_SECONDS)
        raise Failed(f"{self.name} is not up after {seconds} s: {self.attempt('systemctl --no-pager list-jobs')[1]}")

    def run(self, script, seconds=120):
        """What the script printed. A script that fails is an error that shows it."""
        code, said = self.attempt(script, seconds)
        if code != 0:
            raise Failed(f"{self.name}: exit code {code} of\n{script}\n{said}")
        return said

    def attempt(self, script, seconds=120):
        leader = self.leader()
        if leader is None:
            return 255, "the machine is down"
        command = ["nsenter", "-t", leader, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "bash", "-c", script]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=seconds, env=ENVIRONMENT)
            code, said = done.returncode, done.stdout.decode(errors="replace").strip()
        except subprocess.TimeoutExpired as late:
            code, said = 255, f"no end within {seconds} s: {(late.stdout or b'').decode(errors='replace')}"
        with (self.directory / "log").open("a") as log:
            log.write(f"$ {script.strip()}\n{said}\n({code})\n")
        return code, said

    def until(self, script, seconds):
        """Runs the script again and again until it ends with 0."""
        deadline = time.monotonic() + seconds
        while True:
            code, said = self.attempt(script)
            if code == 0:
                return said
            if time.monotonic() > deadline:
                raise Failed(f"{self.name}: for {seconds} s exit code {code} of\n{script}\n{said}")
            time.sleep(LOOK_SECONDS)

    def reboot(self):
        """Tells it to; `booted` waits for the life after the returned one."""
        before = self.leader()
        self.attempt("systemctl --no-block reboot")
        return before

    def stop(self):
        if self.nspawn:
            self.nspawn.send_signal(signal.SIGTERM)  # an orderly power-off
            try:
                self.nspawn.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
            self.leave_groups()
        if self.root.is_mount():
            host("umount", str(self.root))
        for part in ("upper", "work"):
            shutil.rmtree(self.directory / part, ignore_errors=True)


def remove_group(path):
    """What was in it, such as an emulator that is killed, may take a moment to be gone."""
    deadline = time.monotonic() + STOP_SECONDS
    while True:
        try:
            return path.rmdir()
        except OSError as busy:
            if busy.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
        time.sleep(LOOK_SECONDS)


def connect(one, other):
    """A network for each, and a cable between them."""
    disconnect(one, other)  # what an interrupted run has left
    for machine in (one, other):
        host("ip", "netns", "add", machine.network)
    host("ip", "link", "add", "eth0", "netns", one.network, "type", "veth", "peer", "name", "eth0", "netns", other.network)
    for machine in (one, other):
        machine.plug()


def disconnect(*machines):
    for machine in machines:
        for network in pathlib.Path("/run/netns").glob(f"{machine.title}-*"):
            host("ip", "netns", "delete", network.name)
