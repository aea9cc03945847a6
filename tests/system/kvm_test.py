"""Machines whose KVM does not run guests, however it fails: the node emulates and says so, or refuses to start. One whose
KVM does: the node uses it.

Each has a /dev of its own, in which /dev/kvm is what the test makes it, whatever this machine's is.
"""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import unittest

from real_cloud import RealCloud, domains, instance, wait_state

# The directory is the first argument. Only Karri is in there: libvirtd and the guests have the machine's own.
OWN_DEVICES = """
mount -t tmpfs none "$0/dev"
cp -a /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty "$0/dev"
ln -s /proc/self/fd "$0/dev/fd"
mkdir "$0/dev/pts" "$0/dev/shm"
mount --rbind /dev/pts "$0/dev/pts"
[ -z "$KVM_OPENS" ] || mknod -m 666 "$0/dev/kvm" c 1 3  # /dev/null's numbers: it opens, and knows no request of KVM's
mount --rbind "$0/dev" /dev
exec "$@"
"""
# A QEMU whose guests under KVM never get anywhere.
HANGING_QEMU = """#!/bin/sh
case " $* " in *" -accel kvm "*) echo $$ >>"$HUNG"; exec sleep 1000 ;; esac
exec /usr/bin/qemu-system-x86_64 "$@"
"""
# A QEMU whose KVM runs guests: by emulation, which these tests' machines have.
EMULATING_QEMU = """#!/bin/sh
before=
for word; do
    shift
    case "$before $word" in "-accel kvm") word=tcg ;; "-cpu host") word=max ;; esac
    before=$word
    set -- "$@" "$word"
done
exec /usr/bin/qemu-system-x86_64 "$@"
"""

TOO_SLOW = "a test guest did not run within 6s"
TRIES_MAX = 3


class OwnKvm(RealCloud):
    def __init__(self, number, accel):
        super().__init__(number)
        (self.directory / "dev").mkdir()
        self.prefix = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", OWN_DEVICES, self.directory]
        self.environment |= {"KARRI_NC_HYPERVISOR__ACCEL": accel, "KVM_OPENS": ""}

    def opens_and_runs_nothing(self):
        self.environment["KVM_OPENS"] = "yes"
        return self

    def has_qemu(self, text):
        programs = self.directory / "bin"
        programs.mkdir()
        (programs / "qemu-system-x86_64").write_text(text)
        (programs / "qemu-system-x86_64").chmod(0o755)
        self.environment["PATH"] = f"{programs}:{os.environ['PATH']}"
        return self.opens_and_runs_nothing()

    def hangs(self):
        self.hung = self.directory / "hung"
        self.hung.touch()
        self.hung.chmod(0o666)  # whoever guests run as writes it
        self.environment["HUNG"] = str(self.hung)
        return self.has_qemu(HANGING_QEMU)

    def runs_guests(self):
        return self.has_qemu(EMULATING_QEMU)

    def node_log(self, level):
        [log] = self.state_dir.glob("nc*/log.jsonl")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return [line["fields"] for line in lines if line["level"] == level]


class FallsBack(unittest.TestCase):
    def told(self, cloud):
        """Why the node emulates, as it says in its one warning."""
        [line] = cloud.node_log("WARN")
        self.assertEqual(line["message"], "KVM does not run guests here: falling back to TCG emulation (slower)")
        return line["why"]

    def test_a_device_that_opens_is_not_believed(self):
        with OwnKvm(52, "auto").opens_and_runs_nothing() as cloud:
            self.assertRegex(self.told(cloud), r"^a test guest ended with exit status: 1: .*[Kk][Vv][Mm]")
            ec2 = cloud.boto3()
            [one] = cloud.launch(ec2)
            wait_state(ec2, one, "running")
            xml = subprocess.check_output(["virsh", "-c", "qemu:///system", "dumpxml", domains()[one]], text=True)
            self.assertTrue(xml.startswith("<domain type='qemu'"), xml[:80])
            ec2.terminate_instances(InstanceIds=[one])
            wait_state(ec2, one, "terminated")

    def test_a_guest_that_hangs_is_given_up_and_leaves_nothing(self):
        with OwnKvm(53, "auto").hangs() as cloud:
            self.assertEqual(self.told(cloud), TOO_SLOW)
            [pid] = cloud.hung.read_text().split()
            self.assertFalse(pathlib.Path(f"/proc/{pid}").exists(), "the guest that hung")
            self.assertFalse(list(cloud.state_dir.glob("nc*/probe*")))

    def test_no_device_at_all_is_said(self):
        with OwnKvm(54, "auto") as cloud:
            self.assertEqual(self.told(cloud), "there is no /dev/kvm")


def that_runs_guests(number, accel):
    """A cloud that has begun. Its test guest has the time that a real KVM needs, but is emulated: what is too slow for
    that where other tests run, too, is tried anew, by a node that remembers nothing."""
    for tries_left in reversed(range(TRIES_MAX)):
        cloud = OwnKvm(number, accel).runs_guests()
        try:
            cloud.__enter__()
        except AssertionError as error:
            if tries_left == 0 or TOO_SLOW not in str(error):
                raise
            shutil.rmtree(cloud.directory)
            continue
        if tries_left == 0 or TOO_SLOW not in str(cloud.node_log("WARN")):
            return cloud
        cloud.__exit__(None)


class Uses(unittest.TestCase):
    def test_a_kvm_that_runs_a_guest_is_used(self):
        for number, accel in ((50, "auto"), (51, "kvm")):
            with self.subTest(accel), contextlib.ExitStack() as ends:
                cloud = that_runs_guests(number, accel)
                ends.push(cloud)
                self.assertEqual(cloud.node_log("WARN"), [])
                [node] = json.loads(cloud.karri("node", "list", "--output", "json"))
                self.assertEqual(node["accelerator"], "kvm")
                self.guest_is_asked_for(cloud)

    def guest_is_asked_for(self, cloud):
        """Libvirt has the machine's own KVM: it runs the guest, or ends with words of KVM's."""
        ec2 = cloud.boto3()
        cloud.expect(r"the instance cannot be started .*\bkvm\b")
        [one] = cloud.launch(ec2)
        if wait_state(ec2, one, "running", "terminated") == "running":
            xml = subprocess.check_output(["virsh", "-c", "qemu:///system", "dumpxml", domains()[one]], text=True)
            self.assertTrue(xml.startswith("<domain type='kvm'"), xml[:80])
            ec2.terminate_instances(InstanceIds=[one])
            wait_state(ec2, one, "terminated")
        else:
            self.assertRegex(instance(ec2, one)["StateReason"]["Message"], r"\bkvm\b")


class Insists(unittest.TestCase):
    def test_a_node_that_must_use_kvm_does_not_start_without(self):
        cloud = OwnKvm(49, "kvm").opens_and_runs_nothing()
        with self.assertRaisesRegex(AssertionError, r'hypervisor.accel = "kvm": a test guest ended with exit status: 1: .*[Kk][Vv][Mm]'):
            cloud.__enter__()
        self.assertEqual(cloud.process.returncode, 1)
        self.assertEqual(cloud.left_on_host(), [])
        shutil.rmtree(cloud.directory)


if __name__ == "__main__":
    unittest.main(verbosity=2)
