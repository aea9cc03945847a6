"""What the benchmarks of S3 share: signed request heads, the loads, nginx as a yardstick, a bucket in a cloud.

Requests are signed before anything is timed. Each load says what it took; nothing is thrown away.
"""

import contextlib
import datetime
import hashlib
import hmac
import http.client
import json
import subprocess
import urllib.parse

from bench import RELEASE, ROOT, cpu_seconds, say
from cloud import Cloud, claim_ports, wait_until

KIB, MIB = 1 << 10, 1 << 20
UNSIGNED = "UNSIGNED-PAYLOAD"
BUCKET = "bench"
SETUP_SECONDS = 60
ASK_SECONDS_MAX = 60
WRK_SECONDS_MAX = 100


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Signer:
    """Writes the heads of signed S3 requests."""

    def __init__(self, env):
        self.host = urllib.parse.urlsplit(env["AWS_ENDPOINT_URL_S3"]).netloc
        self.region, self.key = env["AWS_DEFAULT_REGION"], env["AWS_ACCESS_KEY_ID"]
        self.secret = env["AWS_SECRET_ACCESS_KEY"]

    def head(self, method, path, query=(), payload=UNSIGNED, length=None):
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        query = "&".join(f"{name}={urllib.parse.quote(str(value), safe='')}" for name, value in sorted(query))
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = "\n".join([method, path, query, f"host:{self.host}", f"x-amz-content-sha256:{payload}",
                               f"x-amz-date:{stamp}", "", names, payload])
        scope = f"{day}/{self.region}/s3/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        signing = _hmac(_hmac(_hmac(_hmac(b"AWS4" + self.secret.encode(), day), self.region), "s3"), "aws4_request")
        signature = hmac.new(signing, to_sign.encode(), hashlib.sha256).hexdigest()
        lines = [
            f"{method} {path}{'?' if query else ''}{query} HTTP/1.1", f"Host: {self.host}",
            f"X-Amz-Date: {stamp}", f"X-Amz-Content-Sha256: {payload}",
            f"Authorization: AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}",
        ]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        return "\r\n".join([*lines, "", ""]).encode()


    def ask(self, method, path, query=()):
        """The status and the body of one answer."""
        connection = http.client.HTTPConnection(self.host, timeout=ASK_SECONDS_MAX)
        with contextlib.closing(connection):
            connection.connect()
            connection.sock.sendall(self.head(method, path, query, length=0 if method == "PUT" else None))
            answer = http.client.HTTPResponse(connection.sock, method=method)
            answer.begin()
            return answer.status, answer.read()


@contextlib.contextmanager
def s3_cloud():
    """A cloud, its signer, and an empty bucket."""
    with Cloud(nodes=1) as cloud:
        cloud.s3().create_bucket(Bucket=BUCKET)
        yield cloud, Signer(cloud.env)


def random_file(directory, size):
    path = directory / f"body-{size}"
    if not path.exists():
        with path.open("wb") as out, open("/dev/urandom", "rb") as source:
            for _ in range(max(1, size // MIB)):
                out.write(source.read(min(size, MIB)))
    return path


class Refused(Exception):
    """A PUT was not answered 200."""


def put(directory, host, heads, body, connections):
    """Sends `body` once for each head; the whole's seconds, and each one's."""
    file = directory / "heads"
    file.write_bytes(b"\0".join(heads))
    done = subprocess.run([RELEASE / "s3_put", host, file, body, str(connections)], capture_output=True, text=True)
    if done.returncode != 0:
        raise Refused(f"{host}: {done.stderr.split('Stack backtrace')[0].strip()}")
    told = json.loads(done.stdout)
    return told["us"] / 1e6, [us / 1e6 for us in told["each_us"]]


def sized(value):
    """With three digits that count, or all before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


class Rate(float):
    """Per second; `cpu_ms` is what one cost the server."""

    cpu_ms = 0.0


def wrk(directory, url, requests, connections, seconds, pids, size=None):
    """The rate of answers; of bodies of `size`, those not whole when time is up count for what came of them."""
    file = directory / "requests"
    file.write_bytes(b"\0".join(requests))
    while True:
        before = sum(map(cpu_seconds, pids))
        done = subprocess.run(["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "120s", "-s",
                               ROOT / "tests" / "bench" / "describe.lua", url, "--", file],
                              check=True, capture_output=True, text=True)
        told = json.loads(done.stdout.strip().splitlines()[-1])
        if told["refused"] or told["broken"] or told["late"] or seconds > WRK_SECONDS_MAX:
            raise AssertionError(f"wrk at {url}: {done.stdout}")
        if told["bytes"] if size else told["requests"]:
            break
        seconds *= 4  # some peers take that long for one answer to each
    count = told["bytes"] / size if size else told["requests"]
    rate = Rate(count / (told["us"] / 1e6))
    rate.cpu_ms = 1000 * (sum(map(cpu_seconds, pids)) - before) / count
    say(f"  {url} x{connections}: {rate:.1f}/s, p50 {told['p50_ms']} ms, p99 {told['p99_ms']} ms, "
        f"{rate.cpu_ms:.2f} ms of CPU each")
    return rate


NGINX = """
daemon off; master_process on; worker_processes 2; pid {dir}/nginx.pid; error_log {dir}/nginx-error.log;
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; keepalive_timeout 600;
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    server {{ listen 127.0.0.1:{port}; root {dir}; }}
}}
"""


class Nginx:
    """Sends the files of a directory with sendfile, and verifies nothing."""

    def __init__(self, directory):
        port, self.port_claim = claim_ports()
        self.host = f"127.0.0.1:{port}"
        config = directory / "nginx.conf"
        # As root its workers are another user, who cannot enter the directory.
        user = "user root; " if directory.owner() == "root" else ""
        config.write_text(user + NGINX.format(dir=directory, port=port))
        self.process = subprocess.Popen(["/usr/sbin/nginx", "-e", directory / "nginx-error.log", "-c", config])
        wait_until("nginx answers", self._answers, SETUP_SECONDS)

    def _answers(self):
        try:
            connection = http.client.HTTPConnection(self.host, timeout=5)
            connection.request("GET", "/")
            return connection.getresponse().status > 0
        except OSError:
            return False

    def get(self, name):
        return f"GET /{name} HTTP/1.1\r\nHost: {self.host}\r\n\r\n".encode()

    def pids(self):
        children = open(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read().split()
        return [self.process.pid, *map(int, children)]

    def close(self):
        self.process.terminate()
        self.process.wait()


def idle_note(result):
    """A reader must know when something else had the machine."""
    load = float(open("/proc/loadavg").read().split()[0])
    if load > 0.5:
        result.note(f"**Something else ran on the machine: the load was {load:.1f} before it began.**")
