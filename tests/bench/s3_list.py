"""How many pages of 1,000 keys a list gives per second: of 10,000 keys beside a handler that has a page ready and
beside other stores, and of 1,000,000 keys beside that."""

import sys

from bench import Result, controllers, median, say
from describe import Bare
from s3_bench import BUCKET, idle_note, put, s3_cloud, wrk
from s3_peers import Rgw, again, peers, tell

KEYS, MANY = 10_000, 1_000_000
PAGE = 1000
# How many pages of the many keys are asked for in turn, all over them.
PLACES = 200
CONNECTIONS = [1, 16]
ROUNDS = 5
SECONDS = 3
FILL_CONNECTIONS = 64
# Heads are signed in Python and sent by a program: so many at once.
BATCH = 50_000
BODY = b"x" * 100
RGW_TIMES_MIN = 2
# The same per page, measured.
MANY_SHARE_MIN = 0.9


def name(number):
    return f"photos/2026/{number:07}.jpg"


def fill(cloud, signer, bucket, keys):
    body = cloud.directory / "small"
    body.write_bytes(BODY)
    for first in range(0, keys, BATCH):
        heads = [signer.head("PUT", f"/{bucket}/{name(number)}", length=len(BODY))
                 for number in range(first, min(first + BATCH, keys))]
        put(cloud.directory, signer.host, heads, body, FILL_CONNECTIONS if keys > KEYS else 16)
        if keys > BATCH:
            say(f"  {first + len(heads)} of {keys} keys")


def page_queries(keys, count):
    """`count` pages, from the first on, all over the keys."""
    step = max(PAGE, (keys - PAGE) // max(1, count - 1))
    starts = range(0, keys - PAGE + 1, step)
    return [("start-after", name(at - 1)) if at else ("prefix", "photos/") for at in starts]


def signed_pages(signer, bucket, keys, count):
    return [signer.head("GET", f"/{bucket}", query=[("list-type", "2"), ("max-keys", PAGE), one])
            for one in page_queries(keys, count)]


def one_page(signer, bucket, keys):
    """The last page of few keys; it must be whole."""
    query = page_queries(keys, keys // PAGE)[-1]
    status, page = signer.ask("GET", f"/{bucket}", [("list-type", "2"), ("max-keys", PAGE), query])
    if status != 200 or page.count(b"<Key>") != PAGE:
        raise AssertionError(f"{signer.host}: {status}, a page has {page.count(b'<Key>')} keys")
    return page


def compare(result, cloud, signer, bare, few, many, connections, rounds, seconds, running, missing):
    walrus = controllers(cloud.state_dir)["walrus"]
    # Those of whom nothing is demanded are asked once, one request at a time: a page takes some of them seconds.
    asked = [peer for peer in running if isinstance(peer, Rgw) or connections == 1]
    rates = {"few": [], "many": [], "bare": [], **{peer: [] for peer in asked}}
    for number in range(rounds):
        pages = signed_pages(signer, BUCKET, few, few // PAGE)
        everywhere = signed_pages(signer, "many", many, PLACES)
        jobs = [("few", f"http://{signer.host}", pages, [walrus]), ("many", f"http://{signer.host}", everywhere, [walrus]),
                ("bare", bare.endpoint, pages, [bare.process.pid]),
                *((peer, f"http://{peer.signer.host}", signed_pages(peer.signer, BUCKET, few, few // PAGE), peer.pids())
                  for peer in asked if number == 0 or isinstance(peer, Rgw))]
        for who, url, requests, pids in jobs if number % 2 else reversed(jobs):
            rates[who].append(wrk(cloud.directory, url, requests, connections, seconds, pids))

    def share(ours, theirs):
        return median([our / their for our, their in zip(rates[ours], rates[theirs])])

    what = f"{connections} connection{'s' if connections > 1 else ''}"
    pairs = f"(median of {rounds} pairs)"
    result.figure(f"pages of {PAGE:,} keys per second of {few:,}, {what}", f"{median(rates['few']):.0f}")
    result.figure(f"… share of a bare axum handler, same bytes {pairs}", f"{share('few', 'bare'):.2f}")
    result.figure("… CPU of Walrus per page, ms", f"{median([rate.cpu_ms for rate in rates['few']]):.2f}")
    ratio = share("many", "few")
    result.figure(f"pages per second of {many:,} keys / of {few:,}, {what} {pairs}", f"{ratio:.2f}", f"≥ {MANY_SHARE_MIN}",
                  ratio >= MANY_SHARE_MIN)
    result.figure("… CPU of Walrus per page, ms", f"{median([rate.cpu_ms for rate in rates['many']]):.2f}")
    tell(result, f"pages of a list of {few:,} keys, {what}", "per second", rates["few"],
         {peer: rates[peer] for peer in asked}, missing, RGW_TIMES_MIN, lambda peer: isinstance(peer, Rgw))


def main():
    rounds, seconds, few, many = (1, 1, 2000, 20_000) if "--smoke" in sys.argv else (ROUNDS, SECONDS, KEYS, MANY)
    result = Result("s3_list")
    idle_note(result)
    with s3_cloud() as (cloud, signer), peers(cloud.directory) as (running, missing):
        for to in [signer, *(peer.signer for peer in running)]:
            if to is signer:
                fill(cloud, to, BUCKET, few)
            else:
                again(lambda to=to: fill(cloud, to, BUCKET, few))
            page = one_page(to, BUCKET, few)
            if to is signer:
                (cloud.directory / "page").write_bytes(page)
                result.figure("size of a page, kB", f"{len(page) / 1e3:.0f}")
        cloud.s3().create_bucket(Bucket="many")
        fill(cloud, signer, "many", many)
        bare = Bare(cloud.directory / "page")
        try:
            for connections in CONNECTIONS:
                compare(result, cloud, signer, bare, few, many, connections, rounds, seconds, running, missing)
        finally:
            bare.close()
    result.note(f"ListObjectsV2, each request signed and verified: every page of the {few:,} keys in turn, and {PLACES} pages "
                f"all over the {many:,}.")
    result.print()


if __name__ == "__main__":
    main()
