"""How many durable PUTs of 4 KiB are answered over 16 connections, against a loop that creates a file of 4 KiB and
syncs it, which is what a program without Walrus would do; and against other stores."""

import hashlib
import subprocess
import sys

from bench import RELEASE, SCRATCH, Result, median, spread
from s3_bench import BUCKET, KIB, idle_note, put, random_file, s3_cloud
from s3_peers import again, peers, tell

CONNECTIONS = 16
ROUNDS = 7
PUTS = 3000
CREATES = 500
# Of them in a round: the slowest takes a second for it.
PEER_PUTS = 300
LOOP_TIMES_MIN = 2
PEER_TIMES_MIN = 5


def created(threads, count):
    """Files created and synced per second, and removed again."""
    done = subprocess.run([RELEASE / "fsync_loop", SCRATCH / "created", str(threads), str(count)],
                          check=True, capture_output=True, text=True)
    return count / (int(done.stdout) / 1e6)


def main():
    rounds, puts, creates = (1, 200, 50) if "--smoke" in sys.argv else (ROUNDS, PUTS, CREATES)
    result = Result("s3_small")
    idle_note(result)
    rates, alone, together, latencies = [], [], [], []
    with s3_cloud() as (cloud, signer), peers(cloud.directory) as (running, missing):
        body = random_file(cloud.directory, 4 * KIB)
        digest = hashlib.sha256(body.read_bytes()).hexdigest()
        others = {peer: [] for peer in running}

        def put_many(signer, number, count):
            heads = [signer.head("PUT", f"/{BUCKET}/{number}/{at}", payload=digest, length=4 * KIB)
                     for at in range(count)]
            took, each = put(cloud.directory, signer.host, heads, body, CONNECTIONS)
            return count / took, each

        def ours(number):
            rate, each = put_many(signer, number, puts)
            latencies.extend(1000 * seconds for seconds in each)
            rates.append(rate)

        def theirs(peer, number):
            rate, _ = again(lambda: put_many(peer.signer, number, min(puts, PEER_PUTS)))
            others[peer].append(rate)

        for number in range(rounds):
            jobs = [lambda: ours(number), lambda: alone.append(created(1, creates)),
                    lambda: together.append(created(CONNECTIONS, creates)),
                    *(lambda peer=peer: theirs(peer, number) for peer in running)]
            for job in jobs if number % 2 else reversed(jobs):
                job()
    ratio = median([rate / other for rate, other in zip(rates, alone)])
    result.figure(f"durable PUTs of 4 KiB over {CONNECTIONS} connections / create + fsync by one loop "
                  f"(median of {rounds} pairs)", f"{ratio:.2f}", f"≥ {LOOP_TIMES_MIN}", ratio >= LOOP_TIMES_MIN)
    ratio = median([rate / other for rate, other in zip(rates, together)])
    result.figure(f"… / create + fsync by {CONNECTIONS} loops side by side", f"{ratio:.2f}")
    for values, name in [(rates, "PUTs"), (alone, "files by one loop"), (together, f"files by {CONNECTIONS} loops")]:
        result.figure(f"… {name} per second (quartiles)", spread(values))
    result.figure("… a PUT, ms (quartiles)", spread(latencies))
    tell(result, f"PUTs of 4 KiB over {CONNECTIONS} connections", "per second", rates, others, missing,
         PEER_TIMES_MIN, lambda peer: peer.syncs)
    result.note("Signed payloads, a key of its own for each PUT; a PUT is answered when it is on the disk. "
                "`tests/src/bin/fsync_loop.rs` creates, writes and syncs files of 4 KiB in one directory of the same disk. "
                "`tests/bench/s3_peers.py` says how each peer is run, and how it is had.")
    result.print()


if __name__ == "__main__":
    main()
