"""A cloud of our own for one test module: `karri up --sim` on free ports in a temporary directory."""

import contextlib
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
KARRI = pathlib.Path(os.environ.get("KARRI_BIN", ROOT / "target" / "debug" / "karri"))
VENV = ROOT / "target" / "test-venv" / "bin"
READY_SECONDS = 60
STOP_SECONDS = 30
TROUBLE_SHOWN_MAX = 30


def claim_ports(count=16):
    """The first of `count` consecutive ports that nobody listens on, and what keeps other suites off them.

    A suite that starts at the same moment must not find the same ports free: the claim is a socket with
    the range's name, which goes away with the process that holds it.
    """
    for base in range(21008, 32000, count):  # below what outgoing connections take
        claim = socket.socket(socket.AF_UNIX)
        sockets = [claim]
        try:
            claim.bind(f"\0karri-test-ports-{base}")
            for port in range(base, base + count):
                probe = socket.socket()
                sockets.append(probe)
                probe.bind(("127.0.0.1", port))
            sockets.remove(claim)
            return base, claim
        except OSError:
            continue
        finally:
            for taken in sockets:
                taken.close()
    raise RuntimeError("no free ports")


def wait_until(what, condition, seconds=30.0):
    """Polls a condition until it holds and returns its value. What takes long to look at is looked at less often: who looks
    keeps a processor from who is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        value = condition()
        if value:
            return value
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(min(max(0.05, 2 * (now - began)), 0.5))


class Cloud:
    env = {}  # as `karri env` tells it, once the cloud is up
    environment = {}
    # What karri is run by, such as in another network namespace.
    prefix = []
    program = KARRI
    # Whether a WARN or ERROR line that nobody expected fails the module when the cloud ends.
    judged = True
    # What every cloud of this kind may log, as `expect` takes it: on a busy machine a process may get no
    # processor for seconds, nor its disk, and those that are started together wait for each other.
    expected = ("this process stood still", "slow statement",
                "(no reports from the cluster|does not report|does not hear this node|does not answer) .*Connection refused")

    def __init__(self, nodes=3):
        self.nodes = nodes
        self.expected = list(self.expected)
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="karri-clients-"))
        self.state_dir = self.directory / "state"
        self.log = self.directory / "up.log"
        self.process = None

    def up_arguments(self):
        return ["--sim", str(self.nodes)]

    def __enter__(self):
        self.port_base, self.port_claim = claim_ports()
        try:
            return self.up()
        except AssertionError:
            self.__exit__(AssertionError, None, None)
            raise

    def up(self):
        """Starts the supervisor and waits until it says that the cloud is ready; also again after a stop."""
        if self.log.exists():
            self.log.rename(self.directory / f"up-{len(self.up_logs())}.log")
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*self.prefix, self.program, "up", *self.up_arguments(), "--state-dir", self.state_dir, "--port-base", str(self.port_base)],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env={**os.environ, **self.environment})
        wait_until("karri up is ready", self._ready, READY_SECONDS)
        self.env = self._environment()
        return self

    def _ready(self):
        if self.process.poll() is not None:
            raise AssertionError(f"karri up ended:\n{self.log.read_text()}")
        return "AWS_ENDPOINT_URL" in self._environment() and "Karri is ready" in self.log.read_text()

    def _environment(self):
        shown = subprocess.run([self.program, "env", "--state-dir", self.state_dir], capture_output=True, text=True)
        env = {}
        for line in shown.stdout.splitlines():
            if line.startswith("export "):
                name, _, value = line[len("export "):].partition("=")
                env[name] = shlex.split(value)[0] if value else ""
        return env

    @property
    def endpoint(self):
        return self.env["AWS_ENDPOINT_URL"]

    def karri(self, *arguments):
        """Runs a karri verb against this cloud and returns its standard output."""
        done = subprocess.run([*self.prefix, self.program, *arguments, "--state-dir", self.state_dir], capture_output=True,
                              text=True)
        if done.returncode != 0:
            raise AssertionError(f"karri {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def client_environment(self):
        """What a user's shell has after `eval "$(karri env)"`, and nothing of the tester's own."""
        home = self.directory / "home"
        home.mkdir(exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        return {**kept, "HOME": str(home), "AWS_PAGER": "", "AWS_EC2_METADATA_DISABLED": "true", **self.env}

    def boto3(self, service="ec2", key=None, secret=None, **more):
        import boto3
        endpoint = self.env["AWS_ENDPOINT_URL_S3"] if service == "s3" else self.endpoint
        return boto3.client(
            service, endpoint_url=endpoint, region_name=self.env["AWS_DEFAULT_REGION"],
            aws_access_key_id=key or self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret or self.env["AWS_SECRET_ACCESS_KEY"], **more)

    def s3(self, **more):
        import boto3
        return boto3.client("s3", endpoint_url=self.env["AWS_ENDPOINT_URL_S3"], region_name=self.env["AWS_DEFAULT_REGION"],
                            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
                            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"], **more)

    def expect(self, *patterns):
        """From now on, and until the cloud ends, trouble in which one of these is found is what the test wants."""
        self.expected += patterns

    def trouble(self):
        """The WARN and ERROR lines of all controllers that no test expects, panics, and controllers that ended."""
        found = []
        for log in self.logs():
            for line in log.read_text().splitlines():
                entry = json.loads(line)
                if entry["level"] in ("WARN", "ERROR"):
                    message = entry["fields"].pop("message", "")
                    found.append(f"{log.parent.name} {entry['level']} {message} {json.dumps(entry['fields'])}")
        for log in sorted(self.directory.glob("**/logs/*.log*")):
            found += [f"{log.stem} {line}" for line in log.read_text(errors="replace").splitlines() if "panicked at" in line]
        for log in self.up_logs():
            found += [line for line in log.read_text().splitlines() if " ended (" in line]
        return [line for line in found if not any(re.search(pattern, line) for pattern in self.expected)]

    def up_logs(self):
        return sorted(self.directory.glob("up*.log"))

    def logs(self):
        return sorted(self.directory.glob("**/log.jsonl*"))

    def stop(self):
        """Ctrl-C."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"karri up did not stop:\n{self.log.read_text()}")

    def clean(self):
        """Takes away what the stopped cloud has left on the host: of a simulated one, nothing."""

    def __exit__(self, kind, *_):
        self.stop()
        self.port_claim.close()
        trouble = self.trouble() if self.judged and kind is None else []
        if trouble or kind is not None:  # cleaning takes the logs away too
            for log in self.logs():
                shutil.copy(log, self.directory / f"{log.parent.name}-{log.name}")
        if kind is not None:
            print(f"kept for a look: {self.directory}")
            # What stays on the host would be in the way of whoever comes next.
            with contextlib.suppress(AssertionError):
                self.clean()
            return
        self.clean()
        if trouble:
            print(f"kept for a look: {self.directory}")
            shown = "\n".join(trouble[:TROUBLE_SHOWN_MAX])
            raise AssertionError(f"{len(trouble)} unexpected lines in the controllers' logs:\n{shown}")
        shutil.rmtree(self.directory)
