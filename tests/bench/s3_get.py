"""How many signed GETs Walrus answers, against nginx that sends the same bytes from a file and verifies nothing, and
beside other stores."""

import json
import subprocess
import sys

from bench import RELEASE, Result, controllers, median
from s3_bench import BUCKET, KIB, MIB, Nginx, idle_note, put, random_file, s3_cloud, wrk
from s3_peers import peers, tell

SIZES = [(4 * KIB, "4 KiB"), (MIB, "1 MiB"), (256 * MIB, "256 MiB")]
CONNECTIONS = [1, 16]
# Shares of nginx's rate.
SHARE_MIN = {4 * KIB: 0.4, MIB: 0.6, 256 * MIB: 0.6}
ROUNDS = 3
SECONDS = 3
# Large ones take a while to come to their pace.
LARGE_TIMES = 2


def compare(result, cloud, signer, nginx, size, name, connections, rounds, seconds, running, missing):
    directory, walrus = cloud.directory, controllers(cloud.state_dir)["walrus"]
    file = random_file(directory, size)
    seconds *= LARGE_TIMES if size > MIB else 1
    ours, theirs, others = [], [], {peer: [] for peer in running}

    def measured(host, request, pids):
        return wrk(directory, f"http://{host}", [request], connections, seconds, pids, size if size >= MIB else None)

    for number in range(rounds):
        signed = signer.head("GET", f"/{BUCKET}/{file.name}")
        pair = [(signer.host, signed, [walrus], ours), (nginx.host, nginx.get(file.name), nginx.pids(), theirs)]
        for host, request, pids, rates in pair if number % 2 else reversed(pair):
            rates.append(measured(host, request, pids))
    for peer in running:  # once: what they do is told for its own sake
        others[peer].append(measured(peer.signer.host, peer.signer.head("GET", f"/{BUCKET}/{file.name}"), peer.pids()))
    share = median([our / their for our, their in zip(ours, theirs)])
    what = f"GET {name}, {connections} connection{'s' if connections > 1 else ''}"
    result.figure(f"{what}: share of nginx's rate (median of {rounds} pairs)", f"{share:.2f}", f"≥ {SHARE_MIN[size]}",
                  share >= SHARE_MIN[size])
    amounts = [f"{median(rates):.0f}" if size < MIB else f"{median(rates) * size / 1e9:.2f} GB"
               for rates in (ours, theirs)]
    result.figure("… per second: Walrus, nginx", " / ".join(amounts))
    cpu = [f"{median([rate.cpu_ms for rate in rates]):.3f}" for rates in (ours, theirs)]
    result.figure("… CPU of the server per GET, ms: Walrus, nginx", " / ".join(cpu))
    scale, unit = (1, "per second") if size < MIB else (size / 1e6, "MB/s")
    tell(result, what, unit, [scale * median(ours)], {peer: [scale * rate for rate in rates] for peer, rates in others.items()},
         missing)


def verifying(result, file, rounds):
    """What the checks of blocks are of the CPU that a large GET costs, measured apart."""
    loops = [json.loads(subprocess.check_output([RELEASE / "crc_loop", file])) for _ in range(rounds)]
    took = [median([loop[what] / 1e3 for loop in loops]) for what in ("crc_us", "read_us")]
    result.figure("the CRC-32 of each 64 KiB of 256 MiB, by itself, ms", f"{took[0]:.1f}")
    result.figure("… reading them from the page cache, ms", f"{took[1]:.1f}")


def main():
    rounds, seconds = (1, 1) if "--smoke" in sys.argv else (ROUNDS, SECONDS)
    result = Result("s3_get")
    idle_note(result)
    with s3_cloud() as (cloud, signer), peers(cloud.directory) as (running, missing):
        for size, _ in SIZES:
            file = random_file(cloud.directory, size)
            for to in [signer, *(peer.signer for peer in running)]:
                put(cloud.directory, to.host, [to.head("PUT", f"/{BUCKET}/{file.name}", length=size)], file, 1)
        nginx = Nginx(cloud.directory)
        try:
            for size, name in SIZES:
                for connections in CONNECTIONS:
                    compare(result, cloud, signer, nginx, size, name, connections, rounds, seconds, running, missing)
        finally:
            nginx.close()
        verifying(result, random_file(cloud.directory, SIZES[-1][0]), rounds)
    result.note("`wrk -t1` sends signed requests; Walrus verifies every signature and every byte's CRC, nginx sends with "
                "sendfile from the page cache and verifies nothing. Client and server share the machine's cores. The peers "
                "are asked once each.")
    result.print()


if __name__ == "__main__":
    main()
