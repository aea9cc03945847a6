"""A cloud with real guests for one test module: `karri up` on a bridge and a range of its own."""

import contextlib
import fcntl
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))

from cloud import KARRI, ROOT, Cloud, wait_until  # noqa: E402

IMAGES = ROOT / "target" / "images"
SSH = ["ssh", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
       "-o", "ConnectTimeout=3", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=5"]
# What is said while controllers are killed: that they ended, and that they do not answer the others.
KILLED = (r"ended \(signal 9\)", "no reports from the cluster", "the cluster cannot be told", "cluster is silent",
          "cluster cannot be called", "node does not report", "node did not take it", "node is silent",
          "the cluster controller does not hear", "the cloud controller does not answer", "a step must wait")
BOOT_SECONDS = 180  # emulated, on a machine that may be busy
CLAIMED = {}


def claim(number):
    """The names and addresses with this number are this process's own, also where modules of tests run side by side."""
    if number not in CLAIMED:
        CLAIMED[number] = open(f"/run/lock/karri-test-{number}", "w")
        try:
            fcntl.flock(CLAIMED[number], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AssertionError(f"another module of tests has the number {number}") from None


def chains_and_sets():
    chains = re.findall(r"^:(\S+)", subprocess.check_output(["iptables-save", "-t", "mangle"], text=True), re.M)
    return chains + subprocess.check_output(["ipset", "list", "-name"], text=True).split()


class RealCloud(Cloud):
    """`number` (0 to 255) keeps the bridges and ranges of test modules apart."""

    # Where the machine's KVM runs no guests, or there is none.
    expected = (*Cloud.expected, "falling back to TCG emulation")

    def __init__(self, number):
        super().__init__()
        claim(number)
        self.bridge = f"ktest{number}"
        network = f"172.{31 - number // 16}.{number % 16 * 16}"
        self.environment = {
            "KARRI_CC_NETWORK__BRIDGE": self.bridge,
            "KARRI_NC_NETWORK__BRIDGE": self.bridge,
            "KARRI_CC_NETWORK__SUBNET": f"{network}.0/20",
            "KARRI_CC_NETWORK__GATEWAY": f"{network}.1",
            "KARRI_CLC_NETWORK__PUBLIC_ADDRESSES": f'["198.19.{number}.0/24"]',
            # Clouds on one host must not have equal ones.
            # Who starts to serve a bridge serves all that is on it, and another cloud must not have the same there.
            "KARRI_NC_NETWORK__METADATA": f"169.254.87.{number + 1}:0",
            "KARRI_CLC_NETWORK__SEGMENT_TAG_FIRST": str(0x1000 * (number + 1)),
            "KARRI_CLC_NETWORK__SEGMENT_TAG_LAST": str(0x1000 * (number + 2) - 1),
        }

    def up_arguments(self):
        return ["--images", str(IMAGES)]

    def clean(self):
        guarding = self.guarding()
        down = subprocess.run([*self.prefix, self.program, "down", "--terminate", "--yes", "--state-dir", self.state_dir],
                              capture_output=True, text=True, env={**self.client_environment(), **self.environment})
        if down.returncode != 0:
            raise AssertionError(f"karri down --terminate: {down.stdout}{down.stderr}")
        left = self.left_on_host() + [name for name in chains_and_sets() if name.startswith(guarding)]
        if left:
            raise AssertionError(f"karri down --terminate left {left}")

    def guarding(self):
        """How the names of chains and sets of this host's node begin."""
        rules = subprocess.check_output(["iptables-save", "-t", "mangle"], text=True)
        return tuple(re.findall(rf"-o {self.bridge} .*-j (KARRI-k[0-9a-f]{{4}})-routed$", rules, re.M))

    def left_on_host(self):
        """What of this cloud can still be seen on the host."""
        left = [d for d in domains() if d in getattr(self, "launched", set())]
        links = json.loads(subprocess.check_output(["ip", "-j", "link"]))
        own = re.compile(rf"{self.bridge}([.xsu][0-9a-f]+)?")
        left += [link["ifname"] for link in links if own.fullmatch(link["ifname"]) or own.fullmatch(link.get("master", ""))]
        routers = subprocess.check_output(["ip", "netns", "list"], text=True).split()
        left += [name for name in routers if name.startswith(f"karri-{self.bridge}-")]
        rules = subprocess.check_output(["iptables-save"], text=True)
        left += [rule for rule in rules.splitlines() if re.search(rf"\b{self.bridge}\b", rule)]
        return left

    def children(self):
        """The pid of each controller, as it says itself; one that is being started again says nothing."""
        found = {}
        for file in sorted(self.state_dir.glob("*/endpoint.json")):
            # The file of one that died is removed at any moment, also between the listing and the reading.
            with contextlib.suppress(FileNotFoundError):
                found[file.parent.name] = json.loads(file.read_text())["pid"]
        return found

    def demo_image(self, ec2, kind="disk"):
        """The tiny image: the bootable disk, or the root file system with kernel and ramdisk."""
        images = ec2.describe_images(Filters=[{"Name": "image-type", "Values": ["machine"]}])["Images"]
        wanted = [i for i in images if bool(i.get("KernelId")) == (kind == "kernel") and "tiny" in i["Name"]]
        return wanted[0]["ImageId"]

    def launch(self, ec2, count=1, **more):
        # One processor: under emulation on a busy machine two now and then wait for each other for ever.
        more.setdefault("InstanceType", "t2.nano")
        more.setdefault("ImageId", self.demo_image(ec2))
        open_to_the_host(ec2)
        instances = ec2.run_instances(MinCount=count, MaxCount=count, **more)["Instances"]
        self.launched = getattr(self, "launched", set()) | {i["InstanceId"] for i in instances}
        return [i["InstanceId"] for i in instances]

    def running_guest(self, ec2, **more):
        """That of the test before, if it has left one: a boot takes seconds."""
        running = [one for one in getattr(self, "launched", ()) if state(ec2, one) == "running"]
        [one] = running[:1] or self.launch(ec2, **more)
        wait_state(ec2, one, "running")
        return one


def open_to_the_host(ec2):
    """Lets ssh and ping into the account's default group, from which nothing is let in at first."""
    anywhere = [{"CidrIp": "0.0.0.0/0"}]
    for permission in ({"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": anywhere},
                       {"IpProtocol": "icmp", "FromPort": -1, "ToPort": -1, "IpRanges": anywhere}):
        try:
            ec2.authorize_security_group_ingress(GroupName="default", IpPermissions=[permission])
        except ec2.exceptions.ClientError as error:
            if error.response["Error"]["Code"] != "InvalidPermission.Duplicate":
                raise


def instance(ec2, instance_id):
    return ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]


def state(ec2, instance_id):
    return instance(ec2, instance_id)["State"]["Name"]


def wait_state(ec2, instance_id, *wanted, seconds=BOOT_SECONDS):
    return wait_until(f"{instance_id} {wanted}", lambda: (s := state(ec2, instance_id)) in wanted and s, seconds)


def domains(*flags):
    """The ids of the instances that libvirt knows, by domain name."""
    names = subprocess.check_output(["virsh", "-c", "qemu:///system", "list", "--all", "--name", *flags], text=True).split()
    return {name.removeprefix("karri-"): name for name in names if name.startswith("karri-i-")}


def ssh(address, key_file, command, user="root", seconds=BOOT_SECONDS, port=22, by=(), options=()):
    """Runs a command in a guest, waiting for its ssh to come up. `by`: what runs ssh."""
    last = {}

    def attempt():
        asked = [*by, *SSH, *options, "-p", str(port), "-i", str(key_file), f"{user}@{address}", command]
        last["done"] = done = subprocess.run(asked, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.returncode != 255

    try:
        wait_until(f"ssh to {address}", attempt, seconds)
    except AssertionError as error:
        raise AssertionError(f"{error}: {last['done'].stderr}") from None
    done = last["done"]
    if done.returncode != 0:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def kept(directory):
    """Options of ssh by which commands to one guest share a connection: a new one costs an emulated guest seconds."""
    return ["-o", "ControlMaster=auto", "-o", f"ControlPath={directory}/ssh-%C", "-o", "ControlPersist=yes"]


def part_with_guests(directory):
    """Ends the connections that are kept there."""
    for path in directory.glob("ssh-*"):
        subprocess.run(["ssh", "-o", f"ControlPath={path}", "-O", "exit", "any"], capture_output=True)


def new_key(cloud, ec2, name, **more):
    path = cloud.directory / f"{name}.pem"
    path.touch(mode=0o600)
    path.write_text(ec2.create_key_pair(KeyName=name, **more)["KeyMaterial"])
    return path
