"""What a PUT of 256 MiB takes, against the slowest single thing that it cannot do without: the MD5 of its entity
tag, the SHA-256 of a signed payload, the bytes on the disk."""

import hashlib
import os
import sys
import time

from bench import SCRATCH, Result, median
from s3_bench import BUCKET, MIB, UNSIGNED, idle_note, put, random_file, s3_cloud
from s3_peers import peers, tell

SIZE = 256 * MIB
ROUNDS = 7
# Of the rate of the slowest thing that a PUT cannot do without.
SHARE_MIN = 0.85
PEER_ROUNDS = 2


def timed(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def synced_write(data):
    path = SCRATCH / "synced"
    with open(path, "wb", buffering=0) as out:
        for at in range(0, len(data), MIB):
            out.write(data[at:at + MIB])
        os.fsync(out.fileno())
    os.unlink(path)


def main():
    rounds = 1 if "--smoke" in sys.argv else ROUNDS
    result = Result("s3_put")
    idle_note(result)
    with s3_cloud() as (cloud, signer), peers(cloud.directory) as (running, missing):
        body = random_file(cloud.directory, SIZE)
        data = memoryview(body.read_bytes())
        digest = hashlib.sha256(data).hexdigest()
        musts = {"MD5": lambda: hashlib.md5(data).digest(), "SHA-256": lambda: hashlib.sha256(data).digest(),
                 "synced write": lambda: synced_write(data)}

        def one(payload, to=signer):
            head = to.head("PUT", f"/{BUCKET}/large", payload=payload, length=SIZE)
            return put(cloud.directory, to.host, [head], body, 1)[1][0]

        takes = {name: [] for name in [UNSIGNED, "signed", *musts]}
        for number in range(rounds):
            jobs = [(UNSIGNED, lambda: one(UNSIGNED)), ("signed", lambda: one(digest)),
                    *((name, lambda must=must: timed(must)) for name, must in musts.items())]
            for name, job in jobs if number % 2 else reversed(jobs):
                takes[name].append(job())
        others = {peer: [] for peer in running}
        for _ in range(min(rounds, PEER_ROUNDS)):
            for peer in running:
                others[peer].append(SIZE / 1e6 / one(digest, peer.signer))
    for kind, name, needed in [("unsigned payload", UNSIGNED, ["MD5", "synced write"]),
                               ("signed payload", "signed", ["MD5", "SHA-256", "synced write"])]:
        share = median([max(takes[must][at] for must in needed) / took for at, took in enumerate(takes[name])])
        result.figure(f"PUT 256 MiB, {kind}: share of the rate of the slowest of {', '.join(needed)} "
                      f"(median of {rounds} rounds)", f"{share:.2f}", f"≥ {SHARE_MIN}", share >= SHARE_MIN)
    for name, seconds in takes.items():
        label = {UNSIGNED: "PUT, unsigned payload", "signed": "PUT, signed payload"}.get(name, name)
        result.figure(f"… {label}, ms", f"{1000 * median(seconds):.0f}")
    rates = [SIZE / 1e6 / took for took in takes["signed"]]
    tell(result, "PUT 256 MiB, signed payload", "MB/s", rates, others, missing)
    result.note("One connection; `tests/src/bin/s3_put.rs` sends from memory, the digest for the signature is made before. "
                "The digests are OpenSSL's; the write is of 1 MiB at a time to the same disk, with one fsync at its end.")
    result.print()


if __name__ == "__main__":
    main()
