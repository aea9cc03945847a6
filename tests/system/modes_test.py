"""The network modes beside the managed one, each with a real guest: launched, reached at its address, told its metadata,
refused what the mode cannot do, and gone with its address given back."""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import unittest

from real_cloud import BOOT_SECONDS, KARRI, RealCloud, instance, new_key, ssh, wait_state, wait_until

IMDS = "http://169.254.169.254/latest"
PROGRAMS = ("karri", "karri-clc", "karri-cc", "karri-nc", "karri-walrus")


class OrdinaryUser:
    """A user of this machine who may nothing, for as long as the test takes."""

    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.__exit__()  # whom an interrupted run has left
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", self.name], check=True)
        self.uid = pwd.getpwnam(self.name).pw_uid
        return self

    def processes(self):
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if entry.stat().st_uid == self.uid:
                    yield int(entry.name)

    def __exit__(self, *_):
        with contextlib.suppress(KeyError):
            self.uid = pwd.getpwnam(self.name).pw_uid
            for pid in self.processes():  # of libvirt's session, which would stay for two minutes
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            wait_until(f"{self.name} runs nothing", lambda: not list(self.processes()))
            subprocess.run(["userdel", self.name], check=True)


class UserCloud(RealCloud):
    """`karri up` by somebody who is not root."""

    def __init__(self, user):
        super().__init__(number=0)
        self.user = user
        self.environment = {}
        self.home = self.directory / "home"
        self.images = self.directory / "images"
        self.program = self.directory / "bin" / "karri"
        for directory in (self.home, self.images, self.program.parent):
            directory.mkdir()
        # The checkout may be where only its owner gets to.
        for name in PROGRAMS:
            bring(KARRI.with_name(name), self.program.with_name(name))
        for image in self.own_images():
            bring(image, self.images / image.name)
        for own in (self.directory, self.home):
            os.chown(own, user.uid, user.uid)
        self.prefix = ["setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR",
                       "-u", "XDG_CACHE_HOME", "-u", "XDG_CONFIG_HOME", f"HOME={self.home}"]

    def own_images(self):
        from real_cloud import IMAGES
        return IMAGES.glob("tiny.*")

    def up_arguments(self):
        return ["--images", str(self.images)]

    def virsh(self, *arguments):
        return subprocess.check_output([*self.prefix, "virsh", "-q", "-c", "qemu:///session", *arguments], text=True)

    def clean(self):
        super().clean()
        if guests := self.virsh("list", "--all", "--name").split():
            raise AssertionError(f"karri down --terminate left {guests}")

    def guarding(self):
        return ("-of nobody-",)  # no chain, no set

    def left_on_host(self):
        return []


def bring(file, place):
    try:
        os.link(file, place)
    except OSError:
        shutil.copy(file, place)


def refusal(call, **arguments):
    try:
        call(**arguments)
    except Exception as error:  # whatever client made it
        return error.response["Error"]
    raise AssertionError(f"{arguments} was not refused")


class User(unittest.TestCase):
    def test_an_ordinary_users_guest_is_reached_by_a_forwarded_port(self):
        with OrdinaryUser("karri-modes") as user, UserCloud(user) as cloud:
            ec2 = cloud.boto3()
            key = new_key(cloud, ec2, "modes")
            [one] = cloud.launch(ec2, KeyName="modes", UserData="hello from the user data")
            wait_state(ec2, one, "running")
            found = instance(ec2, one)
            address = found["PublicIpAddress"]
            self.assertEqual(address, "127." + found["PrivateIpAddress"].partition(".")[2])
            told = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
            self.assertEqual(told["aws:karri:forwarded-ports"], f"22={address}:2022")

            def inside(command):
                return ssh(address, key, command, port=2022)

            self.assertEqual(inside(f"wget -qO- {IMDS}/meta-data/instance-id"), one)
            self.assertEqual(inside(f"wget -qO- {IMDS}/user-data"), "hello from the user data")
            self.assertEqual(inside(f"wget -qO- {IMDS}/meta-data/local-ipv4"), found["PrivateIpAddress"])
            self.assertIn(f"inet {found['PrivateIpAddress']}/16", inside("ip address show eth0"))
            self.assertIn("network mode user", cloud.karri("status"))

            zone = found["Placement"]["AvailabilityZone"]
            group = ec2.create_security_group(GroupName="mine", Description="mine")["GroupId"]
            image = cloud.demo_image(ec2)
            for call, arguments in (
                    (ec2.allocate_address, {}),
                    (ec2.create_vpc, {"CidrBlock": "10.9.0.0/16"}),
                    (ec2.modify_instance_attribute, {"InstanceId": one, "Groups": [group]}),
                    (ec2.run_instances, {"ImageId": image, "MinCount": 1, "MaxCount": 1, "SecurityGroupIds": [group]})):
                error = refusal(call, **arguments)
                self.assertEqual(error["Code"], "UnsupportedOperation", error)
                self.assertIn(f"not supported in Availability Zone '{zone}', whose network mode is 'user'", error["Message"])

            ec2.terminate_instances(InstanceIds=[one])
            wait_state(ec2, one, "terminated")
            self.assertNotIn("PublicIpAddress", instance(ec2, one))
            self.assertEqual(cloud.virsh("list", "--all", "--name").split(), [])


if __name__ == "__main__":
    unittest.main()
