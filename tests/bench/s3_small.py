"""How many durable PUTs of 4 KiB are answered over 16 connections, against a loop that creates a file of 4 KiB and
syncs it: what a program without Walrus would do."""

import hashlib
import subprocess
import sys

from bench import RELEASE, SCRATCH, Result, median, spread
from s3_bench import BUCKET, KIB, idle_note, put, random_file, s3_cloud

CONNECTIONS = 16
ROUNDS = 7
PUTS = 3000
CREATES = 500


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
    with s3_cloud() as (cloud, signer):
        body = random_file(cloud.directory, 4 * KIB)
        digest = hashlib.sha256(body.read_bytes()).hexdigest()

        def one(number):
            heads = [signer.head("PUT", f"/{BUCKET}/{number}/{at}", payload=digest, length=4 * KIB)
                     for at in range(puts)]
            took, each = put(cloud.directory, signer.host, heads, body, CONNECTIONS)
            latencies.extend(1000 * seconds for seconds in each)
            rates.append(puts / took)

        for number in range(rounds):
            jobs = [lambda: one(number), lambda: alone.append(created(1, creates)),
                    lambda: together.append(created(CONNECTIONS, creates))]
            for job in jobs if number % 2 else reversed(jobs):
                job()
    for loop, name in [(alone, "one loop"), (together, f"{CONNECTIONS} loops side by side")]:
        ratio = median([rate / other for rate, other in zip(rates, loop)])
        result.figure(f"durable PUTs of 4 KiB over {CONNECTIONS} connections / create + fsync by {name} "
                      f"(median of {rounds} pairs)", f"{ratio:.2f}")
    for values, name in [(rates, "PUTs"), (alone, "files by one loop"), (together, f"files by {CONNECTIONS} loops")]:
        result.figure(f"… {name} per second (quartiles)", spread(values))
    result.figure("… a PUT, ms (quartiles)", spread(latencies))
    result.note("Signed payloads, a key of its own for each PUT; a PUT is answered when it is on the disk. "
                "`tests/src/bin/fsync_loop.rs` creates, writes and syncs files of 4 KiB in one directory of the same disk.")
    result.print()


if __name__ == "__main__":
    main()
