"""What people would take instead of Walrus, beside which the benchmarks of S3 measure it. All are optional.

Told on the command line, it says which are here and how the others are had:

    target/test-venv/bin/python tests/bench/s3_peers.py

Each runs in a directory on the same disk, as it is configured to be safe where it can be: who acknowledges before the
disk has it is said not to sync, and no target is about it. A peer that is not here is told as missing, and its target
as not met.
"""

import contextlib
import os
import pathlib
import subprocess
import sys

from bench import ROOT, median, say
from cloud import VENV, claim_ports, wait_until
from s3_bench import BUCKET, Refused, Signer, sized

READY_SECONDS = 60
STOP_SECONDS = 20
TRIES = 5
# As Garage wants them to look.
KEY, SECRET = "GK0123456789abcdef01234567", "0123456789abcdef" * 4
PEERS_BIN = ROOT / "target" / "bench-peers" / "bin"


def peer_signer(endpoint):
    return Signer({"AWS_ENDPOINT_URL_S3": endpoint, "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": KEY,
                   "AWS_SECRET_ACCESS_KEY": SECRET})


class Peer:
    name = ""
    # Whether a PUT that was answered is on the disk.
    syncs = False
    # How it is had.
    had = ""
    environment = {}

    def program(self):
        """The file that must be there."""
        raise NotImplementedError

    def command(self, directory, port):
        raise NotImplementedError

    def here(self):
        return pathlib.Path(self.program()).exists()

    def start(self, directory):
        directory.mkdir()
        port, self.claim = claim_ports()
        self.signer = peer_signer(f"http://127.0.0.1:{port}")
        with (directory.parent / f"{directory.name}.log").open("wb") as log:
            self.process = subprocess.Popen(list(map(str, self.command(directory, port))), stdout=log, stderr=log,
                                            env={**os.environ, **self.environment})
        wait_until(f"{self.name} takes a bucket", self._bucket, READY_SECONDS)

    def _bucket(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.name} ended ({self.process.returncode})")
        return bucket_made(self.signer)

    def pids(self):
        return [self.process.pid]

    def close(self):
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.claim.close()


def bucket_made(signer):
    """Whether the bucket is there now; False while nobody answers."""
    try:
        status, answer = signer.ask("PUT", f"/{BUCKET}")
    except OSError:
        return False
    return status == 200 or (status == 409 and b"BucketAlreadyOwnedByYou" in answer)


class Moto(Peer):
    name, had = "moto (Python, in memory)", "deploy/install.sh bench"

    def program(self):
        return ROOT / "target" / "bench-venv" / "bin" / "python"

    def command(self, directory, port):
        return [self.program(), "-m", "moto.server", "-p", port]


class Rclone(Peer):
    name, had = "rclone serve s3 (Go)", "deploy/install.sh test"

    def program(self):
        return VENV / "rclone"

    def command(self, directory, port):
        return [self.program(), "--config", "/dev/null", "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr",
                f"127.0.0.1:{port}", directory]


class S3sFs(Peer):
    name = "s3s-fs (Rust)"
    had = "cargo install s3s-fs@0.14.1 --locked --features binary --root target/bench-peers"

    def program(self):
        return PEERS_BIN / "s3s-fs"

    def command(self, directory, port):
        return [self.program(), "--host", "127.0.0.1", "--port", port, "--access-key", KEY, "--secret-key", SECRET,
                directory]


GARAGE = """
metadata_dir = "{directory}/meta"
data_dir = "{directory}/data"
db_engine = "lmdb"
metadata_fsync = true
data_fsync = true
replication_factor = 1
rpc_bind_addr = "127.0.0.1:{rpc}"
rpc_public_addr = "127.0.0.1:{rpc}"
rpc_secret = "{secret}"
[s3_api]
s3_region = "us-east-1"
api_bind_addr = "127.0.0.1:{port}"
"""


class Garage(Peer):
    name, syncs = "Garage (Rust), told to sync", True
    had = "cargo install garage@2.5.0 --locked --root target/bench-peers"
    environment = {"GARAGE_DEFAULT_ACCESS_KEY": KEY, "GARAGE_DEFAULT_SECRET_KEY": SECRET}

    def program(self):
        return PEERS_BIN / "garage"

    def command(self, directory, port):
        config = directory / "garage.toml"
        config.write_text(GARAGE.format(directory=directory, port=port, rpc=port + 1, secret=SECRET))
        return [self.program(), "-c", config, "server", "--single-node", "--default-access-key"]


LAB = ROOT / "deploy" / "lab" / "ceph"
ALONE = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=KILL"]


class Rgw(Peer):
    """The cluster of `make lab`: a monitor, a manager, BlueStore on a file, the gateway."""
    name, syncs = "Ceph RGW 16, one node", True
    had = "deploy/lab/ceph/build.sh target/lab/ceph"

    def program(self):
        return ROOT / "target" / "lab" / "ceph" / "tree"

    def here(self):
        return super().here() and LAB.exists() and os.geteuid() == 0

    def start(self, directory):
        command = [*ALONE, sys.executable, pathlib.Path(__file__).with_name("rgw.py"), self.program(), directory, KEY, SECRET]
        with (directory.parent / f"{directory.name}.log").open("wb") as log:
            self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                                            text=True)
        endpoint = self.process.stdout.readline().strip()  # it gives up by itself
        if not endpoint:
            raise AssertionError(f"{self.name} ended ({self.process.wait()})")
        self.signer = peer_signer(endpoint)
        wait_until(f"{self.name} takes a bucket", self._bucket, READY_SECONDS)

    def pids(self):
        return []  # many, in namespaces of their own: what they cost is not told

    def close(self):
        self.process.stdin.close()
        self.process.wait(STOP_SECONDS)


PEERS = [Rgw, Garage, S3sFs, Rclone, Moto]


@contextlib.contextmanager
def peers(directory):
    """Those that are here, each running and with the bucket; and those that are not."""
    every = [kind() for kind in PEERS]
    running, missing = [], [peer for peer in every if not peer.here()]
    with contextlib.ExitStack() as stack:
        for number, peer in enumerate(every):
            if peer not in missing:
                say(f"  {peer.name} starts")
                peer.start(directory / f"peer-{number}")
                stack.callback(peer.close)
                running.append(peer)
        yield running, missing


def again(work):
    """Does for a peer what its clients do: asks again when it has failed. rclone answers some PUTs 500 that make the
    same directory at the same time."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except Refused as refused:
            say(f"  once more: {refused}")
    return work()


def tell(result, what, unit, ours, measured, missing, times=None, about=lambda peer: True):
    """A table of what each peer does, and for those that `about` is true of, whether Walrus does `times` that.

    `ours` are Walrus' rates, round by round; `measured` has each peer's rates beside them.
    """
    rows = [["Walrus", "yes", sized(median(ours)), ""]]
    for peer, theirs in measured.items():
        ratio = median([our / their for our, their in zip(ours, theirs)])
        rows.append([peer.name, "yes" if peer.syncs else "no", sized(median(theirs)), f"{ratio:.1f}"])
        if times and about(peer):
            result.figure(f"{what} / those of {peer.name} (median of {len(theirs)} pairs)", f"{ratio:.1f}", f"≥ {times}",
                          ratio >= times)
    for peer in missing:
        rows.append([peer.name, "yes" if peer.syncs else "no", "not installed", ""])
        if times and about(peer):
            result.figure(f"{what} / those of {peer.name}", "not installed", f"≥ {times}", False)
    result.table([what, "syncs", unit, "Walrus / it"], rows)


if __name__ == "__main__":
    for kind in PEERS:
        peer = kind()
        print(f"{peer.name}: {'here' if peer.here() else 'missing: ' + peer.had}")
