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
from concurrent.futures import ThreadPoolExecutor

from hosts import Machine, ip
from real_cloud import BOOT_SECONDS, IMAGES, KARRI, RealCloud, instance, new_key, ssh, wait_state, wait_until

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
        for image in IMAGES.glob("tiny.*"):
            bring(image, self.images / image.name)
        for own in (self.directory, self.home):
            os.chown(own, user.uid, user.uid)
        self.prefix = ["setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR",
                       "-u", "XDG_CACHE_HOME", "-u", "XDG_CONFIG_HOME", f"HOME={self.home}"]

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


class StaticCloud(RealCloud):
    """There is one address to give out."""

    mac = "02:00:5e:10:00:31"

    def __init__(self):
        super().__init__(number=31)
        self.address = "172.30.240.77"
        self.environment |= {"KARRI_CC_NETWORK__MODE": "static",
                             "KARRI_CC_NETWORK__PAIRS": f'[{{mac = "{self.mac}", address = "{self.address}"}}]'}


class SiteCloud(RealCloud):
    """On the bridge of a site that has a DHCP server of its own: a namespace on a cable to that bridge."""

    lan = "10.77.32"

    def __init__(self):
        super().__init__(number=32)
        self.site = Machine(32).open()
        ip("link", "add", self.bridge, "type", "bridge")
        ip("link", "set", self.bridge, "up")
        ip("link", "set", self.site.cable("lan"), "master", self.bridge)
        ip("-n", self.site.name, "address", "add", f"{self.lan}.1/24", "dev", "lan")
        self.site.start("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--log-facility=-", "--port=0",
                        "--interface=lan", "--bind-interfaces", f"--dhcp-range={self.lan}.50,{self.lan}.59,1h",
                        f"--dhcp-leasefile={self.directory}/leases", f"--pid-file={self.directory}/dnsmasq.pid",
                        log=self.directory / "dnsmasq.log")
        self.environment |= {"KARRI_CC_NETWORK__MODE": "system", "KARRI_CC_NETWORK__SUBNET": f"{self.lan}.0/24",
                             "KARRI_CC_NETWORK__GATEWAY": f"{self.lan}.1"}

    def left_on_host(self):
        """The bridge is the site's, and so is the cable on it."""
        ours = [self.bridge, *(here for here, _ in self.site.cables)]
        return [left for left in super().left_on_host() if left not in ours]

    def clean(self):
        try:
            super().clean()
        finally:
            self.site.close()
            ip("link", "delete", self.bridge)


def setUpModule():
    """All three at once: most of the time each waits for its guest to boot."""
    global user_cloud, static_cloud, site_cloud
    user = unittest.enterModuleContext(OrdinaryUser("karri-modes"))
    clouds = [UserCloud(user), StaticCloud(), SiteCloud()]
    with ThreadPoolExecutor(len(clouds)) as pool:
        opening = [pool.submit(open_with_guest, cloud) for cloud in clouds]
    for cloud, opened in zip(clouds, opening, strict=True):
        if opened.exception() is None:
            unittest.addModuleCleanup(cloud.__exit__, None, None, None)
    user_cloud, static_cloud, site_cloud = [opened.result() for opened in opening]


def open_with_guest(cloud):
    cloud.__enter__()
    cloud.ec2 = cloud.boto3()
    cloud.key = new_key(cloud, cloud.ec2, "modes")
    # With a kernel that is told to wait for a timer that comes late: three guests boot at once.
    image = cloud.demo_image(cloud.ec2, "kernel")
    [cloud.guest] = cloud.launch(cloud.ec2, KeyName="modes", ImageId=image, UserData="hello from the user data")
    return cloud


class Modes(unittest.TestCase):
    def check_metadata(self, cloud, inside, address):
        """The guest is told what is its own."""
        wait_state(cloud.ec2, cloud.guest, "running")
        self.assertEqual(inside(f"wget -qO- {IMDS}/meta-data/instance-id"), cloud.guest)
        self.assertEqual(inside(f"wget -qO- {IMDS}/user-data"), "hello from the user data")
        self.assertEqual(inside(f"wget -qO- {IMDS}/meta-data/local-ipv4"), address)
        self.assertIn(f"inet {address}/", inside("ip address show eth0"))

    def check_refused(self, cloud, mode, *calls):
        zone = instance(cloud.ec2, cloud.guest)["Placement"]["AvailabilityZone"]
        for call, arguments in calls:
            error = refusal(call, **arguments)
            self.assertEqual(error["Code"], "UnsupportedOperation", error)
            self.assertIn(f"not supported in Availability Zone '{zone}', whose network mode is '{mode}'", error["Message"])
        self.assertIn(f"network mode {mode})", cloud.karri("status"))

    def end(self, cloud):
        cloud.ec2.terminate_instances(InstanceIds=[cloud.guest])
        wait_state(cloud.ec2, cloud.guest, "terminated")

    def test_an_ordinary_users_guest_is_reached_by_a_forwarded_port(self):
        cloud, ec2 = user_cloud, user_cloud.ec2
        found = instance(ec2, cloud.guest)
        address = found["PublicIpAddress"]
        self.assertEqual(address, "127." + found["PrivateIpAddress"].partition(".")[2])
        told = {tag["Key"]: tag["Value"] for tag in found["Tags"]}
        self.assertEqual(told["aws:karri:forwarded-ports"], f"22={address}:2022")

        def inside(command):
            return ssh(address, cloud.key, command, port=2022)

        self.check_metadata(cloud, inside, found["PrivateIpAddress"])
        group = ec2.create_security_group(GroupName="mine", Description="mine")["GroupId"]
        self.check_refused(
            cloud, "user", (ec2.allocate_address, {}), (ec2.create_vpc, {"CidrBlock": "10.9.0.0/16"}),
            (ec2.modify_instance_attribute, {"InstanceId": cloud.guest, "Groups": [group]}),
            (ec2.run_instances, {"ImageId": found["ImageId"], "MinCount": 1, "MaxCount": 1, "SecurityGroupIds": [group]}))
        self.end(cloud)
        self.assertNotIn("PublicIpAddress", instance(ec2, cloud.guest))
        self.assertEqual(cloud.virsh("list", "--all", "--name").split(), [])

    def test_a_static_address_is_given_out_with_its_mac_and_returned(self):
        cloud, ec2 = static_cloud, static_cloud.ec2
        found = instance(ec2, cloud.guest)
        self.assertEqual(found["PrivateIpAddress"], cloud.address)
        self.assertEqual(found["NetworkInterfaces"][0]["MacAddress"], cloud.mac)

        def inside(command):
            return ssh(cloud.address, cloud.key, command)

        self.check_metadata(cloud, inside, cloud.address)
        self.assertEqual(inside("cat /sys/class/net/eth0/address"), cloud.mac)
        another = {"ImageId": found["ImageId"], "MinCount": 1, "MaxCount": 1}
        self.assertEqual(refusal(ec2.run_instances, **another)["Code"], "InsufficientFreeAddressesInSubnet")
        self.check_refused(cloud, "static", (ec2.allocate_address, {}))

        def free():
            return ec2.describe_subnets(SubnetIds=[found["SubnetId"]])["Subnets"][0]["AvailableIpAddressCount"]

        self.assertEqual(free(), 0)
        self.end(cloud)
        self.assertEqual(free(), 1)

    def test_an_address_of_the_site_is_learnt_and_told(self):
        cloud, ec2 = site_cloud, site_cloud.ec2
        address = wait_until("the site's address", lambda: instance(ec2, cloud.guest).get("PrivateIpAddress"), BOOT_SECONDS)
        leases = (cloud.directory / "leases").read_text()
        mac = instance(ec2, cloud.guest)["NetworkInterfaces"][0]["MacAddress"]
        self.assertIn(f" {mac} {address} ", leases)

        def inside(command):
            return ssh(address, cloud.key, command, by=cloud.site.command())

        self.check_metadata(cloud, inside, address)
        found = instance(ec2, cloud.guest)
        self.assertEqual(found["PrivateDnsName"].partition(".")[0], cloud.guest)
        another = {"ImageId": found["ImageId"], "MinCount": 1, "MaxCount": 1, "PrivateIpAddress": f"{cloud.lan}.77"}
        self.check_refused(cloud, "system", (ec2.allocate_address, {}), (ec2.run_instances, another))

        # As another it is heard by nobody.
        inside(f"ip address add {cloud.lan}.99/24 dev eth0")
        self.assertEqual(inside(f"ping -I {cloud.lan}.99 -c 2 -w 3 {cloud.lan}.1 >/dev/null 2>&1 && echo yes || echo no"), "no")
        self.assertEqual(inside(f"ping -I {address} -c 2 -w 3 {cloud.lan}.1 >/dev/null 2>&1 && echo yes || echo no"), "yes")
        self.end(cloud)
        self.assertNotIn("PrivateIpAddress", instance(ec2, cloud.guest))


if __name__ == "__main__":
    unittest.main()
