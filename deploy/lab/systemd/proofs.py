"""proofs.py TREE PAYLOAD DIRECTORY: Karri as services of systemd on two machines, and a guest on one of them.

`cloud` runs karri.service and libvirt's own services; `node` joins it and runs karri-nc.service with a simulated
hypervisor. Each proof is one line; the first that fails ends the run. What the machines were told and what they said is
in DIRECTORY/NAME/log.
"""

import contextlib
import signal
import sys
import time

from machine import Failed, Machine, connect, disconnect

BOOT_SECONDS = 300
UP_SECONDS = 300
GUEST_SECONDS = 600
ENVIRONMENT = 'eval "$(karri env)"\nexport AWS_PAGER=\n'
LOGIN = "ssh -i /root/demo.pem -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20 -o BatchMode=yes"
INSTALLED = "KARRI_BIN=/payload/bin /payload/deploy/systemd/install.sh"
JOURNAL = "journalctl -b --no-pager -n 80 -u 'karri*' -u 'libvirt*'; systemctl --no-pager --failed; tail -n 40 /var/lib/karri/logs/*.log"


class Lab:
    def __init__(self, tree, payload, directory):
        self.cloud = Machine("cloud", "198.18.99.1", tree, payload, directory)
        self.node = Machine("node", "198.18.99.2", tree, payload, directory)
        self.machines = [self.cloud, self.node]

    def aws(self, command, seconds=180):
        return self.cloud.run(f"{ENVIRONMENT}aws {command} --output text", seconds)

    def instances(self, query, *filters):
        return self.aws(f"ec2 describe-instances --filters {' '.join(filters)} --query 'Reservations[].Instances[].{query}'").split()

    # ---- the proofs, in their order -----------------------------------------------------------------------------

    def machines_boot(self):
        """two Debian machines with systemd are up"""
        connect(*self.machines)
        for machine in self.machines:
            machine.start()
        for machine in self.machines:
            machine.booted(BOOT_SECONDS)

    def systemd_accepts_the_units(self):
        """the programs and units are installed, and systemd finds nothing to say about the units"""
        for machine in self.machines:
            said = machine.run(INSTALLED)
            if "systemctl enable --now karri" not in said:
                raise Failed(f"install.sh said {said}")
        said = self.cloud.run("systemd-analyze verify --man=no karri.service karri-nc.service")
        if said:
            raise Failed(said)

    def the_cloud_starts(self):
        """karri.service: `systemctl enable --now` returns when the cloud is ready, and every controller is healthy"""
        self.cloud.run("echo 'KARRI_UP=\"--address 198.18.99.1\"' >/etc/default/karri")
        self.cloud.run("systemctl enable --now karri", UP_SECONDS)
        self.cloud.run("karri status")

    def a_guest_runs(self):
        """a guest boots, and its key lets in"""
        self.aws("ec2 create-key-pair --key-name demo --key-type ed25519 --query KeyMaterial >/root/demo.pem")
        self.cloud.run("chmod 600 /root/demo.pem")
        self.aws("ec2 authorize-security-group-ingress --group-name default --protocol tcp --port 22 --cidr 0.0.0.0/0")
        image = self.aws("ec2 describe-images --filters Name=name,Values=tiny --query 'Images[].ImageId'")
        self.instance = self.aws(f"ec2 run-instances --image-id {image} --instance-type t2.nano --key-name demo --query 'Instances[].InstanceId'")
        self.cloud.until(f"{ENVIRONMENT}aws ec2 describe-instances --output text --query 'Reservations[].Instances[].State.Name' | grep -x running", GUEST_SECONDS)
        [self.address] = self.instances("PrivateIpAddress")
        self.log_in()

    def log_in(self):
        self.cloud.until(f"{LOGIN} root@{self.address} id -un | grep -x root", GUEST_SECONDS)

    def a_restart_leaves_guests_alone(self):
        """`systemctl restart karri` leaves the guest running, and the new controllers know it"""
        process = "cat /run/libvirt/qemu/karri-*.pid"
        before = self.cloud.run(process)
        self.cloud.run("systemctl restart karri", UP_SECONDS)
        if self.cloud.run(process) != before:
            raise Failed("another QEMU")
        if self.instances("State.Name") != ["running"]:
            raise Failed("not running for the new controllers")

    def a_node_joins(self):
        """karri-nc.service: a machine joins with a token and serves as a node"""
        token = self.cloud.run("karri node token 2>/dev/null")
        self.node.run(f"karri --state-dir /var/lib/karri node join --sim {token}", 300)
        self.node.run("systemctl enable --now karri-nc")
        self.cloud.until("karri node list | grep -w node | grep -w yes", 120)

    def an_instance_runs_there(self):
        """an instance is placed on the joined node, and runs"""
        image = self.aws("ec2 describe-images --filters Name=name,Values=tiny --query 'Images[].ImageId'")
        self.aws(f"ec2 run-instances --image-id {image} --instance-type m5.large --query 'Instances[].InstanceId'")
        self.cloud.until(f"{ENVIRONMENT}test $(aws ec2 describe-instances --output text --query 'Reservations[].Instances[].State.Name' | grep -ow running | wc -l) = 2", 180)
        self.there()
        self.node.run("grep -q '\"guest started\"' /var/lib/karri/nc/log.jsonl")

    def there(self):
        """The joined node, as the cloud calls the first simulated one of `node`, is alive."""
        self.cloud.until("""karri node list --output json | tr -d ' \\n' | grep -q '"name":"node-0","alive":true'""", 180)

    def a_killed_controller_comes_back(self):
        """a node controller that is killed is started again by systemd, and its instance is not lost"""
        before = self.node.run("systemctl show -P MainPID karri-nc")
        self.node.run("systemctl kill -s KILL karri-nc")
        self.node.until(f"systemctl is-active karri-nc && test $(systemctl show -P MainPID karri-nc) != {before}", 120)
        self.there()
        if self.instances("State.Name") != ["running", "running"]:
            raise Failed("an instance is lost")

    def the_machines_reboot(self):
        """after a reboot of both machines the cloud is there again, and its guest is started again"""
        before = [machine.reboot() for machine in self.machines]
        for machine, life in zip(self.machines, before):
            machine.booted(BOOT_SECONDS, other_than=life)
        self.cloud.until("systemctl is-active karri", UP_SECONDS)
        self.cloud.until("karri status", UP_SECONDS)
        self.cloud.until(f"{ENVIRONMENT}test $(aws ec2 describe-instances --output text --query 'Reservations[].Instances[].State.Name' | grep -ow running | wc -l) = 2", GUEST_SECONDS)
        self.log_in()

    def nothing_failed(self):
        """no unit has failed"""
        for machine in self.machines:
            failed = machine.run("systemctl --no-legend --plain --failed")
            if failed:
                raise Failed(f"{machine.name}: {failed}")

    def all_of_it_goes(self):
        """the services stop, and `karri down --terminate` leaves neither guest, bridge, rule nor file"""
        self.node.run("systemctl disable --now karri-nc && karri --state-dir /var/lib/karri down --terminate --yes", 180)
        self.cloud.run("systemctl disable --now karri && karri down --terminate --yes", 300)
        for machine in self.machines:
            machine.run("! systemctl is-failed 'karri*'; test ! -e /var/lib/karri; test ! -e /run/karri")
        left = self.cloud.run("virsh -q list --all --name; ip -br link | grep -E '^(karri|k0|k1)'; iptables-save | grep -i karri; ebtables-save | grep -i karri; grep -lx dnsmasq /proc/[0-9]*/comm; true")
        if left:
            raise Failed(f"left: {left}")


PROOFS = [
    Lab.machines_boot, Lab.systemd_accepts_the_units, Lab.the_cloud_starts, Lab.a_guest_runs,
    Lab.a_restart_leaves_guests_alone, Lab.a_node_joins, Lab.an_instance_runs_there, Lab.a_killed_controller_comes_back,
    Lab.the_machines_reboot, Lab.nothing_failed, Lab.all_of_it_goes,
]


def main():
    lab = Lab(*sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("the time is up"))  # and the machines are stopped
    try:
        for proof in PROOFS:
            began = time.monotonic()
            try:
                proof(lab)
            except Failed as failure:
                print(f"FAIL {time.monotonic() - began:6.1f} s  systemd: {proof.__doc__}\n{failure}", flush=True)
                for machine in lab.machines:
                    try:
                        print(f"==== {machine.name}\n{machine.attempt(JOURNAL, 60)[1]}")
                    except (Failed, OSError) as silent:
                        print(silent)
                return 1
            print(f"ok   {time.monotonic() - began:6.1f} s  systemd: {proof.__doc__}", flush=True)
    finally:
        # Each of them, whatever becomes of the others.
        with contextlib.ExitStack() as ends:
            ends.callback(disconnect, *lab.machines)
            for machine in lab.machines:
                ends.callback(machine.stop)
    return 0


if __name__ == "__main__":
    sys.exit(main())
