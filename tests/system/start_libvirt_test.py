"""deploy/start-libvirt.sh: the daemons that it starts hold nothing of whoever has called it.

The daemons and virsh are faked by programs that write down which files they have open, in a mount namespace in which
/run and /etc/libvirt are empty.
"""

import os
import pathlib
import subprocess
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = "deploy/start-libvirt.sh"
DAEMON = """#!/bin/sh
ls -l "/proc/$$/fd" >"$SEEN/$(basename "$0")"
echo $$ >"/run/$(basename "$0").pid"
"""
VIRSH = """#!/bin/sh
[ -e "$SEEN/libvirtd" ]
"""
ALONE = 'mount -t tmpfs none /run; mount -t tmpfs none /etc/libvirt; exec "$@"'


class StartLibvirt(unittest.TestCase):
    def test_daemons_do_not_hold_what_the_caller_has_open(self):
        with tempfile.TemporaryDirectory(prefix="karri-start-libvirt.") as name:
            directory, seen = pathlib.Path(name), pathlib.Path(name, "seen")
            seen.mkdir()
            for program, text in (("virsh", VIRSH), ("libvirtd", DAEMON), ("virtlogd", DAEMON)):
                path = directory / program
                path.write_text(text)
                path.chmod(0o755)
            with open(directory / "lock", "w") as lock:
                done = subprocess.run(
                    ["unshare", "--mount", "--propagation", "private", "sh", "-ec", ALONE, "sh", ROOT / SCRIPT],
                    env={**os.environ, "PATH": f"{directory}:{os.environ['PATH']}", "SEEN": str(seen)}, stdin=subprocess.DEVNULL,
                    pass_fds=[lock.fileno()], capture_output=True, text=True)
                self.assertEqual(done.returncode, 0, done)
            for daemon in ("virtlogd", "libvirtd"):
                self.assertIn(f"started {daemon}", done.stdout)
                held = (seen / daemon).read_text()
                self.assertIn("/dev/null", held)
                self.assertNotIn(str(directory / "lock"), held)


if __name__ == "__main__":
    unittest.main()
