"""The commands that `karri up` ends with, pasted into a shell as they are printed."""

import subprocess
import unittest

from real_cloud import RealCloud, wait_until

SESSION_SECONDS = 300


def setUpModule():
    global cloud
    cloud = RealCloud(number=4).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)


def printed_commands():
    """The indented lines after "In another terminal"."""
    _, _, rest = cloud.log.read_text().partition("In another terminal:")
    return [line.strip() for line in rest.splitlines() if line.startswith("  ") and line.strip()]


class FirstSession(unittest.TestCase):
    def test_every_printed_command_does_what_it_says(self):
        commands = printed_commands()
        self.assertEqual([c.split()[0] for c in commands], ["eval", "aws", "aws", "ssh", "aws"], commands)
        [login] = [c for c in commands if c.startswith("ssh ")]
        key, launch = commands[1], commands[2]
        # Somebody types into the login; everything else is pasted as it is. Who pastes the key and the launch a second
        # time must not lose the key that the first instance knows, and gets to the second instance.
        again = [f"if {key}; then echo two keys of one name; exit 1; fi", launch]
        typed = [*commands[:3], *again, f"echo 'echo I am $(id -un)' | {login}", *commands[commands.index(login) + 1:]]
        done = subprocess.run(["bash", "-c", "set -e\n" + "\n".join(typed)], cwd=cloud.directory, text=True,
                              capture_output=True, timeout=SESSION_SECONDS, env=self.fresh_environment())
        self.assertEqual(done.returncode, 0, f"{typed}\n{done.stdout}\n{done.stderr}")
        self.assertIn("I am root", done.stdout)
        self.assertIn("shutting-down", done.stdout)
        ec2 = cloud.boto3()
        states = lambda: {i["State"]["Name"] for r in ec2.describe_instances()["Reservations"] for i in r["Instances"]}
        wait_until("terminated", lambda: states() == {"terminated"}, 60)

    @staticmethod
    def fresh_environment():
        """A new terminal: the system's own aws, nothing set."""
        home = cloud.directory / "home"
        home.mkdir(exist_ok=True)
        return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": str(home),
                "AWS_PAGER": "", "LANG": "C.UTF-8"}


if __name__ == "__main__":
    unittest.main(verbosity=2)
