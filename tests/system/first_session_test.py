"""The commands that `karri up` ends with, pasted into a shell as they are printed: the README's first session."""

import re
import subprocess
import unittest

from real_cloud import KARRI, ROOT, RealCloud, wait_until

SESSION_SECONDS = 300
READY_SECONDS_MAX = 20.0


def setUpModule():
    global cloud
    cloud = RealCloud(number=4).__enter__()
    unittest.addModuleCleanup(cloud.__exit__, None)


def indented(text):
    """The first block of lines that are set in."""
    block = re.search(r"^(?:[ ]{2,}\S.*\n)+", text, re.M).group()
    return [line.strip() for line in block.splitlines()]


def printed_commands():
    return indented(cloud.log.read_text().partition("In another terminal:")[2])


def readme_commands():
    return indented((ROOT / "README.md").read_text().partition("## A first session")[2])


class FirstSession(unittest.TestCase):
    def test_the_cloud_was_ready_soon(self):
        [seconds] = re.findall(r"^Karri is ready after ([0-9.]+) s\.", cloud.log.read_text(), re.M)
        self.assertLessEqual(float(seconds), READY_SECONDS_MAX)

    def test_the_readme_prints_what_up_prints(self):
        """But for what is this cloud's own: the program's path, the state directory, the image."""
        image = cloud.demo_image(cloud.boto3())
        def as_in_the_readme(line):
            for own, there in ((str(KARRI), "target/release/karri"), (f"'{cloud.state_dir}'", "'/var/lib/karri'"), (image, "ami-…")):
                line = line.replace(own, there)
            return line
        self.assertEqual([as_in_the_readme(line) for line in printed_commands()], readme_commands())

    def test_every_printed_command_does_what_it_says(self):
        commands = printed_commands()
        self.assertEqual([c.split()[0] for c in commands], ["eval", "aws", "ssh", "aws", "aws"], commands)
        launch, login = commands[1:3]
        # Somebody types into the login; everything else is pasted as it is. Who pastes the launch a second time must
        # not lose the key that the first instance knows, and gets to the second instance.
        typed = [commands[0], launch, launch, f"echo 'echo I am $(id -un)' | {login}", *commands[3:]]
        done = subprocess.run(["bash", "-c", "set -e\n" + "\n".join(typed)], cwd=cloud.directory, text=True,
                              capture_output=True, timeout=SESSION_SECONDS, env=self.fresh_environment())
        self.assertEqual(done.returncode, 0, f"{typed}\n{done.stdout}\n{done.stderr}")
        self.assertIn("I am root", done.stdout)
        self.assertIn("karri-tiny: ready", done.stdout)  # the console
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
