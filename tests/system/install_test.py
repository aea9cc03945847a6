"""deploy/install.sh: names what is missing, installs just that, and does nothing when nothing is.

What is installed is faked by a copy of dpkg's database from which packages are taken (dpkg-query itself is the real
one), and what would change the system by programs that only write down how they were called.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = "deploy/install.sh"
CHANGING = ("apt-get", "apt-cache", "sudo", "curl", "rustup", "pip", "systemctl")
# Far from what asking a package index would take.
NOTHING_TO_DO_SECONDS = 5
RECORD = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
"""
# Installs into the faked database.
APT_GET = RECORD + """
case " $* " in *" install "*)
    for last; do
        case $last in -*|*=*|install) ;; *) echo "$last" >>"$CALLS.installed" ;; esac
    done
    while read -r name; do
        printf 'Package: %s\\nStatus: install ok installed\\nMaintainer: x\\nArchitecture: all\\nVersion: 1\\n\\n' "$name"
    done <"$CALLS.installed" >>"$DPKG_ADMINDIR/status" ;;
esac
"""


def program(path, text):
    path.write_text(text)
    path.chmod(0o755)


class Install(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="karri-install-"))
        self.addCleanup(shutil.rmtree, self.directory)
        self.programs, self.calls = self.directory / "bin", self.directory / "calls"
        self.programs.mkdir()
        self.calls.touch()
        for name in CHANGING:
            program(self.programs / name, RECORD)
        program(self.programs / "apt-get", APT_GET)

    def environment(self, **more):
        path = f"{self.programs}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "CALLS": str(self.calls), **more}

    def fresh_tree(self):
        """The script where nothing was ever built: as in a fresh clone."""
        tree = self.directory / "tree"
        for file in (SCRIPT, "Cargo.toml", "tests/clients/requirements.txt", "tests/clients/requirements-bench.txt"):
            (tree / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, tree / file)
        return tree

    def without(self, *packages):
        """dpkg's database as it would be without them."""
        database = self.directory / "dpkg"
        (database / "updates").mkdir(parents=True)
        stanzas = pathlib.Path("/var/lib/dpkg/status").read_text().split("\n\n")
        kept = [stanza for stanza in stanzas if stanza.split("\n", 1)[0].removeprefix("Package: ") not in packages]
        self.assertEqual(len(kept), len(stanzas) - len(packages), f"{packages} are installed here")
        (database / "status").write_text("\n\n".join(kept))
        return {"DPKG_ADMINDIR": str(database)}

    def install(self, tree, what, **more):
        return subprocess.run([tree / SCRIPT, what], capture_output=True, text=True, env=self.environment(**more))

    def called(self):
        return self.calls.read_text().splitlines()

    def test_when_nothing_is_missing_it_does_and_says_nothing_at_once(self):
        began, venv = time.monotonic(), ROOT / "target/test-venv"
        before = [(file, (venv / file).stat().st_mtime_ns) for file in (".", "bin", "installed.txt")]
        for what in ("images", "run", "test"):
            for more in ({"KARRI_NO_INSTALL": "1"}, {}):  # in this order: a test installs nothing
                done = self.install(ROOT, what, **more)
                self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""), what)
        self.assertLess(time.monotonic() - began, 6 * NOTHING_TO_DO_SECONDS)
        self.assertEqual(self.called(), [])
        self.assertEqual([(file, (venv / file).stat().st_mtime_ns) for file, _ in before], before)

    def test_asked_not_to_install_it_names_what_is_missing_and_fails(self):
        tree = self.fresh_tree()
        files = sorted(tree.rglob("*"))
        program(self.programs / "cargo", "#!/bin/sh\necho cargo 1.63.0\n")  # Debian 12's
        done = self.install(tree, "test", KARRI_NO_INSTALL="1", CARGO_HOME=str(self.directory / "no-rustup"),
                            **self.without("dnsmasq-base", "mtools", "postgresql-15"))
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        named = dict(re.findall(r"^    (\S+) +(\S.*)$", done.stdout, re.M))
        self.assertEqual(set(named) - {"curl"}, {"dnsmasq-base", "mtools", "postgresql-15"})
        self.assertEqual(named["dnsmasq-base"], "DHCP and DNS for guests")
        self.assertIn("Missing Python environment: target/test-venv, from tests/clients/requirements.txt\n", done.stdout)
        wanted = re.search(r'^rust-version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M).group(1)
        self.assertIn(f"Missing Rust {wanted} or newer (there is: 1.63.0)", done.stdout)
        self.assertIn("nothing was installed. Without it, deploy/install.sh test installs the above.", done.stderr)
        self.assertEqual((self.called(), sorted(tree.rglob("*"))), ([], files))

    def test_a_set_asks_for_its_own_packages_only(self):
        tree, database = self.fresh_tree(), self.without("postgresql-15", "dnsmasq-base")
        for what, missing in (("images", set()), ("run", {"dnsmasq-base"})):
            done = self.install(tree, what, KARRI_NO_INSTALL="1", **database)
            self.assertEqual(set(re.findall(r"^    (\S+)", done.stdout, re.M)), missing, what)
            self.assertEqual(done.returncode, 1 if missing else 0)

    def test_what_is_missing_is_installed_and_the_second_run_does_nothing(self):
        tree, database = self.fresh_tree(), self.without("dnsmasq-base", "mtools")
        done = self.install(tree, "run", **database)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        update, install = [call for call in self.called() if call.startswith("apt-get")]
        self.assertRegex(update, r"^apt-get .*update$")
        self.assertRegex(install, r"^apt-get .* install --no-install-recommends dnsmasq-base mtools$")
        self.calls.write_text("")
        done = self.install(tree, "run", **database)
        self.assertEqual((done.returncode, done.stdout, done.stderr, self.called()), (0, "", "", []))

    def test_an_unknown_set_is_refused_with_the_ones_there_are(self):
        done = self.install(self.fresh_tree(), "everything")
        self.assertEqual(done.returncode, 2)
        for name in ("images", "run", "test", "bench"):
            self.assertIn(f"  {name} ", done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
