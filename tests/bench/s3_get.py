"""How many signed GETs Walrus answers, against nginx that sends the same bytes from a file and verifies nothing."""

import sys

from bench import Result, controllers, median
from s3_bench import BUCKET, KIB, MIB, Nginx, idle_note, put, random_file, s3_cloud, wrk

SIZES = [(4 * KIB, "4 KiB"), (MIB, "1 MiB"), (256 * MIB, "256 MiB")]
CONNECTIONS = [1, 16]
ROUNDS = 5
SECONDS = 5
# Only whole answers count, and 16 of 256 MiB take a while.
LARGE_TIMES = 4


def compare(result, cloud, signer, nginx, size, name, connections, rounds, seconds):
    directory, walrus = cloud.directory, controllers(cloud.state_dir)["walrus"]
    file = random_file(directory, size)
    seconds *= LARGE_TIMES if size > MIB else 1
    ours, theirs = [], []
    for number in range(rounds):
        signed = signer.head("GET", f"/{BUCKET}/{file.name}")
        pair = [(signer.host, signed, [walrus], ours), (nginx.host, nginx.get(file.name), nginx.pids(), theirs)]
        for host, request, pids, rates in pair if number % 2 else reversed(pair):
            rates.append(wrk(directory, f"http://{host}", [request], connections, seconds, pids))
    share = median([our / their for our, their in zip(ours, theirs)])
    what = f"GET {name}, {connections} connection{'s' if connections > 1 else ''}"
    result.figure(f"{what}: share of nginx's rate (median of {rounds} pairs)", f"{share:.2f}")
    amounts = [f"{median(rates):.0f}" if size < MIB else f"{median(rates) * size / 1e9:.2f} GB"
               for rates in (ours, theirs)]
    result.figure("… per second: Walrus, nginx", " / ".join(amounts))
    cpu = [f"{median([rate.cpu_ms for rate in rates]):.3f}" for rates in (ours, theirs)]
    result.figure("… CPU of the server per GET, ms: Walrus, nginx", " / ".join(cpu))


def main():
    rounds, seconds = (1, 1) if "--smoke" in sys.argv else (ROUNDS, SECONDS)
    result = Result("s3_get")
    idle_note(result)
    with s3_cloud() as (cloud, signer):
        for size, _ in SIZES:
            file = random_file(cloud.directory, size)
            put(cloud.directory, signer.host, [signer.head("PUT", f"/{BUCKET}/{file.name}", length=size)], file, 1)
        nginx = Nginx(cloud.directory)
        try:
            for size, name in SIZES:
                for connections in CONNECTIONS:
                    compare(result, cloud, signer, nginx, size, name, connections, rounds, seconds)
        finally:
            nginx.close()
    result.note("`wrk -t1` sends signed requests; Walrus verifies every signature and every byte's CRC, nginx sends with "
                "sendfile from the page cache and verifies nothing. Client and server share the machine's cores.")
    result.print()


if __name__ == "__main__":
    main()
