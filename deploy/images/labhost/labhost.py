"""Lab hosts: emulated machines with Debian's full kernel, for proofs that this machine's own kernel cannot give.

    labhost.py memory IMAGES          boots one and writes its memory, from which others begin
    labhost.py serve IMAGES COUNT FILE...   so many on one cable, with these files; JSON lines on standard input say what
                                      each is to do (agent.py), one answer a line

As a module: `Host`, `Cable`. Needs neither root nor anything of this machine's network.
"""

import json
import os
import pathlib
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import tempfile
import time

MEMORY_MIB = 384
# What a processor may have beyond is slow where it is emulated.
CPU = "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+lahf-lm,-svm"
PROGRAMS_BYTES = 512 << 20  # as large for all, or memory would not fit
BOOT_SECONDS = 180
RUN_SECONDS = 60
CABLES = 2  # network cards of a host, of which some may go nowhere
VLAN = 0x8100


def qemu_version():
    return subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True, text=True).stdout


def remembered_by():
    """What a memory must be restored by: the kernel in it has been fitted to the processor."""
    return f"{qemu_version()}{CPU}\n"


def wait_until(what, is_so, seconds=BOOT_SECONDS):
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {seconds} s")
        time.sleep(0.02)


class Cable:
    """Joins so many hosts, and keeps what goes over it. The first of them is its middle."""

    def __init__(self, directory, name, ends):
        self.sockets = [pathlib.Path(directory, f"{name}{number}.cable") for number in range(ends - 1)]
        self.kept = pathlib.Path(directory, f"{name}.pcap")
        self.free = None
        for path in self.sockets:  # of a run before, in the same place
            path.unlink(missing_ok=True)

    def end(self, card):
        """QEMU's arguments for one more end of it, as network card of that number."""
        if self.free is None:
            self.free = list(self.sockets)
            return self.middle(card)
        path = self.free.pop()
        wait_until(f"{path} is there", path.exists)
        return ["-netdev", f"stream,id=net{card},server=off,addr.type=unix,addr.path={path}"]

    def middle(self, card):
        hub = f"hubport,hubid={10 + card}"
        made = ["-netdev", f"{hub},id=net{card}"]
        for number, path in enumerate(self.sockets):
            made += ["-netdev", f"stream,id=far{card}-{number},server=on,addr.type=unix,addr.path={path}",
                     "-netdev", f"{hub},id=hub{card}-{number},netdev=far{card}-{number}"]
        return [*made, "-object", f"filter-dump,id=kept{card},netdev=net{card},file={self.kept},maxlen=256"]

    def frames(self):
        with open(self.kept, "rb") as file:
            file.read(24)
            while len(head := file.read(16)) == 16:
                frame = file.read(struct.unpack("<4I", head)[2])
                yield frame

    def tags(self):
        """The tags of each frame, outer ones first, by how many frames had them."""
        found = {}
        for frame in self.frames():
            tags, at = [], 12
            while at + 4 <= len(frame) and struct.unpack_from(">H", frame, at)[0] in (VLAN, 0x88A8):
                tags.append(struct.unpack_from(">H", frame, at + 2)[0] & 0xFFF)
                at += 4
            key = ",".join(map(str, tags))
            found[key] = found.get(key, 0) + 1
        return found

    def with_bytes(self, marker):
        return sum(marker in frame for frame in self.frames())


class Host:
    """`cables`: what its network cards are on; those it has beyond are on nothing. `more`: further arguments of QEMU."""

    def __init__(self, images, directory, number, cables=(), programs=None, fresh=False, memory_mib=MEMORY_MIB, processors=1, more=()):
        self.number, self.directory = number, pathlib.Path(directory)
        self.port = self.directory / f"host{number}.port"
        images = pathlib.Path(images)
        told = images / "labhost.qemu"
        self.restored = not fresh and told.exists() and told.read_text() == remembered_by()
        programs = programs or Programs(self.directory / f"host{number}.programs", {})
        self.packed_bytes = programs.packed_bytes
        command = ["qemu-system-x86_64", "-name", f"labhost{number}", "-M", "pc", "-accel", "tcg,tb-size=96", "-cpu", CPU, "-smp",
                   str(processors), "-m", str(memory_mib), "-nodefaults", "-no-reboot", "-display", "none", "-kernel", images / "labhost.vmlinuz",
                   "-initrd", images / "labhost.initrd", "-append", "console=ttyS0 quiet mitigations=off no_timer_check panic=-1",
                   "-serial", f"file:{self.directory}/host{number}.console", "-device", "virtio-serial-pci", "-chardev",
                   f"socket,id=port,path={self.port},server=on,wait=off", "-device", "virtserialport,chardev=port,name=agent",
                   "-drive", f"file={programs.path},format=raw,if=none,id=programs,readonly=on", "-device",
                   "virtio-blk-pci,drive=programs", "-device", "vmgenid,guid=auto",
                   "-qmp", f"unix:{self.directory}/host{number}.qmp,server=on,wait=off"]
        cables = [*cables, *[None] * (CABLES - len(cables))]
        for card, cable in enumerate(cables):
            if cable is None:
                command += ["-netdev", f"hubport,hubid={card},id=net{card}"]
            else:
                command += cable.end(card)
            command += ["-device", f"virtio-net-pci,netdev=net{card},romfile="]
        if self.restored:
            command += ["-incoming", f"exec:cat {shlex.quote(str(images / 'labhost.memory'))}"]
        with open(self.directory / f"host{number}.qemu", "w") as log:
            self.process = subprocess.Popen([*command, *more], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.spoken = None

    def connect(self):
        wait_until(f"a word with host {self.number}", self.is_connected)
        # A network card has the MAC of the host whose memory this was.
        self.run("; ".join(f"ip link set eth{card} address 52:54:00:6b:{self.number:02x}:{card:02x}" for card in range(CABLES)))
        return self

    def is_connected(self):
        if self.process.poll() is not None:
            raise RuntimeError((self.directory / f"host{self.number}.qemu").read_text())
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self.port))
        except OSError:
            connection.close()
            return False
        connection.settimeout(BOOT_SECONDS)
        self.spoken = connection.makefile("rwb")
        return True

    def tell(self, **asked):
        self.spoken.write(json.dumps(asked).encode() + b"\n")
        self.spoken.flush()
        line = self.spoken.readline()
        if not line:
            raise RuntimeError(f"host {self.number} has ended")
        return json.loads(line)

    def told(self, command, seconds=RUN_SECONDS):
        return self.tell(do="run", command=command, seconds=seconds)

    def run(self, command, seconds=RUN_SECONDS):
        done = self.told(command, seconds)
        if done.get("code") != 0:
            raise RuntimeError(f"host {self.number}: {command}: {done}")
        return done["out"]

    def take_programs(self):
        # tar alone would read all of a disk that is nearly empty.
        self.run(f"dd if=/dev/vda bs=1M count={-(-self.packed_bytes // (1 << 20))} 2>/dev/null | tar x -C /")
        return self

    def qmp(self, command, **arguments):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(self.directory / f"host{self.number}.qmp"))
            file = connection.makefile("rw")
            file.readline()
            for asked in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                file.write(json.dumps(asked) + "\n")
                file.flush()
                while "event" in (answer := json.loads(file.readline())):
                    pass
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["return"]

    def memory(self, path):
        """Writes it; the host stops."""
        self.qmp("migrate-set-parameters", **{"max-bandwidth": 1 << 34})
        self.qmp("migrate", uri=f"exec:cat > {shlex.quote(str(path))}")
        while (status := self.qmp("query-migrate").get("status")) != "completed":
            if status == "failed":
                raise RuntimeError("its memory cannot be written")
            time.sleep(0.05)

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Programs:
    """The disk by which hosts get programs. `files`: where in the host, by what file here."""

    def __init__(self, path, files):
        self.path = pathlib.Path(path)
        with tarfile.open(path, "w", dereference=True) as tar:
            for inside, file in files.items():
                info = tar.gettarinfo(file, inside.lstrip("/"))
                info.mode, info.uid, info.gid = 0o755, 0, 0
                with open(file, "rb") as content:
                    tar.addfile(info, content)
        self.packed_bytes = self.path.stat().st_size
        if self.packed_bytes > PROGRAMS_BYTES:
            raise RuntimeError("the programs are too large for a lab host")
        os.truncate(path, PROGRAMS_BYTES)


def with_libraries(directory, program, name):
    """The program, without what only a debugger reads, and what it is linked with; in the host it is /programs/NAME."""
    stripped = pathlib.Path(directory, f"{name}.program")
    subprocess.run(["strip", "-g", "-o", stripped, program], check=True)
    files = {f"/programs/.{name}": stripped}
    for line in subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout.splitlines():
        words = line.split()
        library = words[2] if "=>" in words else words[0]
        if library.startswith("/"):
            files[f"/programs/{pathlib.Path(library).name}"] = library
    script = pathlib.Path(directory, f"{name}.script")
    # The libraries are this machine's, which the program was linked with; the host has its own. All is in one place: a
    # program that looks for others beside itself looks beside its loader.
    script.write_text(f"#!/bin/sh\nexec /programs/ld-linux-x86-64.so.2 --library-path /programs /programs/.{name} \"$@\"\n")
    files[f"/programs/{name}"] = script
    return files


def write_memory(images):
    with tempfile.TemporaryDirectory(prefix="karri-labhost.") as directory:
        host = Host(images, directory, 0, fresh=True)
        try:
            host.connect()
            # Modules and programs that are loaded are loaded for all.
            host.run("for m in 8021q bridge br_netfilter veth nf_tables nft_compat xt_physdev xt_set xt_CT ip_set_hash_netport; do "
                     "modprobe $m; done; for t in filter nat mangle raw; do iptables -t $t -S; done >/dev/null; ebtables -t nat -L "
                     ">/dev/null; ipset list; python3 -c 'import http.client'; echo 3 >/proc/sys/vm/drop_caches")
            path = pathlib.Path(images, ".labhost.memory.new")
            host.memory(path)
            path.rename(pathlib.Path(images, "labhost.memory"))
            pathlib.Path(images, "labhost.qemu").write_text(remembered_by())
        finally:
            host.stop()


def serve(images, count, files):
    directory = tempfile.mkdtemp(prefix="karri-lab.")
    hosts = []
    try:
        packed = {}
        for file in files:
            inside, _, path = file.partition("=")
            packed |= with_libraries(directory, path, inside.removeprefix("+")) if inside.startswith("+") else {inside: path}
        programs = Programs(pathlib.Path(directory, "programs"), packed)
        cable = Cable(directory, "trunk", count)
        hosts += [Host(images, directory, number, [cable], programs) for number in range(count)]
        for host in hosts:
            host.connect().take_programs()
        print(json.dumps({"ready": [host.restored for host in hosts]}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            if "host" in asked:
                answer = hosts[asked.pop("host")].tell(**asked)
            else:
                answer = {"tags": cable.tags(), "marked": cable.with_bytes(bytes.fromhex(asked["marker"]))}
            print(json.dumps(answer), flush=True)
    finally:
        for host in hosts:
            host.stop()
        shutil.rmtree(directory)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    match sys.argv[1:]:
        case ["memory", images]:
            write_memory(images)
        case ["serve", images, count, *files]:
            serve(images, int(count), files)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
