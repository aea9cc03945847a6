"""From the RunInstances call until libvirt says that the guest runs, against `virsh create` of the same domain.

Both are timed until libvirt's own `Started` event, in alternating order, in one run, on a cached image. The
raw side has its overlay and XML ready: only `virsh create` is timed.
"""

import re
import subprocess
import threading
import time
import uuid
import xml.etree.ElementTree as xml

from bench import Client, Result, demo_image, median, say, spread, texts
from bench_cloud import BenchCloud, accelerator, wait_until

PAIRS = 20
RATIO_MAX = 1.25
VIRSH = ["virsh", "-q", "-c", "qemu:///system"]
EVENT = re.compile(r"event 'lifecycle' for domain '?([^':]+)'?: (\w+)")
TYPE = "t3.nano"


class Events:
    """When libvirt said what of which domain."""

    def __init__(self):
        self.process = subprocess.Popen(["stdbuf", "-oL", *VIRSH, "event", "--event", "lifecycle", "--loop"],
                                        stdout=subprocess.PIPE, text=True)
        self.at = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            found = EVENT.search(line)
            if found:
                self.at[found.groups()] = time.monotonic()

    def wait(self, domain, what):
        """The raw domain's name comes again and again: an event is given out once."""
        wait_until(f"{domain} {what}", lambda: (domain, what) in self.at, 60)
        return self.at.pop((domain, what))

    def close(self):
        self.process.terminate()
        self.process.wait()


def virsh(*arguments):
    return subprocess.run([*VIRSH, *arguments], check=True, capture_output=True, text=True).stdout


def domain_of(instance):
    names = virsh("list", "--all", "--name").split()
    return next(name for name in names if name.endswith(instance))


class Raw:
    """The domain of an instance once more, as somebody would start it who has nothing but libvirt."""

    def __init__(self, directory, domain):
        self.name, self.file = "raw-beside-karri", directory / "raw.xml"
        self.disk = directory / "raw.qcow2"
        directory.chmod(0o755)
        tree = xml.fromstring(virsh("dumpxml", "--inactive", domain))
        self.base = tree.find("devices/disk/backingStore/source").get("file")
        self.format = tree.find("devices/disk/backingStore/format").get("type")
        self.bytes = self._virtual_size(tree.find("devices/disk/source").get("file"))
        self._rename(tree, directory)
        self.file.write_bytes(xml.tostring(tree))

    @staticmethod
    def _virtual_size(disk):
        told = subprocess.check_output(["qemu-img", "info", "-U", disk], text=True)
        return re.search(r"\((\d+) bytes\)", told).group(1)

    def _rename(self, tree, directory):
        fresh = str(uuid.uuid4())
        tree.find("name").text = self.name
        tree.find("uuid").text = fresh
        for entry in tree.iterfind("sysinfo/system/entry"):
            if entry.get("name") in ("uuid", "serial"):
                entry.text = fresh
        tree.remove(tree.find("metadata"))
        for part in tree.findall("seclabel"):
            tree.remove(part)  # as libvirt filled it in
        if tree.find("cpu") is not None:
            tree.find("cpu").set("check", "none")  # as Karri asks; libvirt tells `full` of one that runs
        tree.find("devices/disk/source").set("file", str(self.disk))
        for interface in tree.iterfind("devices/interface"):
            interface.find("mac").set("address", "52:54:00:be:7c:01")
            interface.find("target").set("dev", "rawbeside0")
        for log in tree.iterfind("devices//log"):
            log.set("file", str(directory / "raw-console.log"))

    def prepare(self):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", self.format, "-b", self.base, self.disk,
                        self.bytes], check=True)

    def ms(self, events):
        began = time.monotonic()
        virsh("create", str(self.file))
        return (events.wait(self.name, "Started") - began) * 1000

    def remove(self, events):
        virsh("destroy", self.name)
        events.wait(self.name, "Stopped")
        self.disk.unlink()


class Ours:
    def __init__(self, cloud):
        self.client = Client.of(cloud)
        self.image = demo_image(self.client)
        self.answers = []

    def launch(self, events):
        request = self.client.prepare("RunInstances", ImageId=self.image, InstanceType=TYPE, MinCount=1, MaxCount=1)
        began = time.monotonic()
        self.instance = texts(self.client.send(request).decode(), "instanceId")[0]
        self.answers.append((time.monotonic() - began) * 1000)
        started = wait_until(f"{self.instance} starts", lambda: self._started(events), 60)
        return (started - began) * 1000

    def _started(self, events):
        return next((at for (name, what), at in list(events.at.items())
                     if what == "Started" and name.endswith(self.instance)), None)

    def terminate(self):
        self.client.call("TerminateInstances", InstanceId__1=self.instance)
        wait_until(f"{self.instance} is gone", lambda: "terminated" in texts(
            self.client.call("DescribeInstances", InstanceId__1=self.instance), "name"), 60)


def one(side, ours, raw, events):
    if side == "ours":
        ms = ours.launch(events)
        ours.terminate()
    else:
        raw.prepare()
        ms = raw.ms(events)
        raw.remove(events)
    return ms


def measure(cloud, ours, events):
    ours.launch(events)  # fetches the image
    raw = Raw(cloud.directory, domain_of(ours.instance))
    ours.terminate()
    for side in ("raw", "ours"):
        one(side, ours, raw, events)
    ours.answers.clear()
    times = {"ours": [], "raw": []}
    for number in range(PAIRS):
        for side in ["ours", "raw"] if number % 2 else ["raw", "ours"]:
            times[side].append(one(side, ours, raw, events))
        say(f"  pair {number + 1}: RunInstances {times['ours'][-1]:.0f} ms, virsh create {times['raw'][-1]:.0f} ms")
    return times["ours"], times["raw"]


def main():
    result = Result("launch")
    with BenchCloud() as cloud:
        events = Events()
        try:
            ours = Ours(cloud)
            launches, raws = measure(cloud, ours, events)
        finally:
            events.close()
        result.on(f"accelerator {accelerator(cloud)}")
    ratio = median([our / raw for our, raw in zip(launches, raws)])
    result.figure(f"RunInstances call → libvirt running / `virsh create` → running (median of {PAIRS} pairs)",
                  f"{ratio:.2f}", f"≤ {RATIO_MAX}", ratio <= RATIO_MAX)
    result.figure("… RunInstances call → running, ms (quartiles)", spread(launches))
    result.figure("… of which until the answer, ms", spread(ours.answers))
    result.figure("… `virsh create` → running, ms (quartiles)", spread(raws))
    result.note("`virsh create` includes starting virsh and connecting, and not the making of its overlay; "
                "RunInstances includes everything.")
    result.print()


if __name__ == "__main__":
    main()
