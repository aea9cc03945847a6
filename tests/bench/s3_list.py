"""How many pages of 1,000 keys a list of 10,000 keys gives per second, against a handler that has one ready."""

import http.client
import sys

from bench import Result, controllers, median
from describe import Bare
from s3_bench import BUCKET, idle_note, put, s3_cloud, wrk

KEYS = 10_000
PAGE = 1000
CONNECTIONS = [1, 16]
ROUNDS = 5
SECONDS = 5


def name(number):
    return f"photos/2026/{number:06}.jpg"


def main():
    rounds, seconds, keys = (1, 1, 2000) if "--smoke" in sys.argv else (ROUNDS, SECONDS, KEYS)
    result = Result("s3_list")
    idle_note(result)
    with s3_cloud() as (cloud, signer):
        body = cloud.directory / "small"
        body.write_bytes(b"x" * 100)
        heads = [signer.head("PUT", f"/{BUCKET}/{name(number)}", length=100) for number in range(keys)]
        put(cloud.directory, signer.host, heads, body, 16)

        def pages():
            after = [("start-after", name(at - 1)) if at else ("prefix", "photos/") for at in range(0, keys, PAGE)]
            return [signer.head("GET", f"/{BUCKET}", query=[("list-type", "2"), ("max-keys", PAGE), one]) for one in after]

        connection = http.client.HTTPConnection(signer.host)
        connection.connect()
        connection.sock.sendall(pages()[-1])
        answer = http.client.HTTPResponse(connection.sock)
        answer.begin()
        page = answer.read()
        if page.count(b"<Contents>") != PAGE:
            raise AssertionError(f"a page has {page.count(b'<Contents>')} keys")
        (cloud.directory / "page").write_bytes(page)
        result.figure("size of a page, kB", f"{len(page) / 1e3:.0f}")
        bare, walrus = Bare(cloud.directory / "page"), controllers(cloud.state_dir)["walrus"]
        try:
            for connections in CONNECTIONS:
                ours, theirs = [], []
                for number in range(rounds):
                    requests = pages()
                    pair = [(f"http://{signer.host}", walrus, ours), (bare.endpoint, bare.process.pid, theirs)]
                    for url, pid, rates in pair if number % 2 else reversed(pair):
                        rates.append(wrk(cloud.directory, url, requests, connections, seconds, [pid]))
                share = median([our / their for our, their in zip(ours, theirs)])
                what = f"{connections} connection{'s' if connections > 1 else ''}"
                result.figure(f"pages of {PAGE:,} keys per second, {what}", f"{median(ours):.0f}")
                result.figure(f"… share of a bare axum handler, same bytes (median of {rounds} pairs)", f"{share:.2f}")
                cpu = median([rate.cpu_ms for rate in ours])
                result.figure("… CPU of Walrus per page, ms", f"{cpu:.2f}")
        finally:
            bare.close()
    result.note(f"ListObjectsV2 over {keys:,} keys, every page of it in turn, each request signed and verified.")
    result.print()


if __name__ == "__main__":
    main()
