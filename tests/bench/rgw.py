"""rgw.py TREE DIRECTORY KEY SECRET: the one-node Ceph of `make lab` with a user of that key, until the input ends.

To be run as the first process of namespaces for mounts and processes: with it all of Ceph ends.
"""

import pathlib
import subprocess
import sys

LAB = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "lab" / "ceph"
sys.path.insert(0, str(LAB))

from ceph import GATEWAY, Ceph  # noqa: E402


def main():
    tree, directory, key, secret = sys.argv[1:]
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    ceph = Ceph(tree, directory)
    ceph.make()
    ceph.user("bench", key, secret)
    print(GATEWAY, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
