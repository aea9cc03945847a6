"""What the benchmarks share: a signing client on a raw connection, figures of processes, the result.

A benchmark says on standard error what it is doing, and prints its result as one JSON line at the end
of standard output; `cargo xtask bench` writes that into docs/benchmarks.md.
"""

import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[2]
RELEASE = ROOT / "target" / "release"
os.environ.setdefault("KARRI_BIN", str(RELEASE / "karri"))
for room in ("clients", "system"):
    sys.path.insert(0, str(ROOT / "tests" / room))

from cloud import Cloud  # noqa: E402

Cloud.judged = False  # tests judge what controllers log; here they are overloaded on purpose

# State on the disk that the build is on: where temporary files are kept may be memory, where a durable
# commit costs nothing.
SCRATCH = ROOT / "target" / "bench"
SCRATCH.mkdir(parents=True, exist_ok=True)
tempfile.tempdir = str(SCRATCH)

API_VERSION = "2016-11-15"
CALL_SECONDS_MAX = 900
# A connection that rests for longer is not used again.
IDLE_SECONDS_MAX = 5


def say(text):
    print(text, file=sys.stderr, flush=True)


def machine():
    """What a reader needs to judge the figures; nothing that names the machine."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory_gib:.0f} GiB"


# ---- requests ------------------------------------------------------------------------------------------------


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def signed(host, region, key, secret, form):
    """The whole of a signed POST, as bytes for the wire."""
    body = form.encode()
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    kind = "application/x-www-form-urlencoded"
    canonical = "\n".join(["POST", "/", "", f"content-type:{kind}", f"host:{host}", f"x-amz-date:{stamp}", "",
                           "content-type;host;x-amz-date", hashlib.sha256(body).hexdigest()])
    scope = f"{day}/{region}/ec2/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signing = _hmac(_hmac(_hmac(_hmac(b"AWS4" + secret.encode(), day), region), "ec2"), "aws4_request")
    signature = hmac.new(signing, to_sign.encode(), hashlib.sha256).hexdigest()
    head = [
        "POST / HTTP/1.1", f"Host: {host}", f"Content-Type: {kind}", f"X-Amz-Date: {stamp}",
        f"Authorization: AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders=content-type;host;x-amz-date, "
        f"Signature={signature}",
        f"Content-Length: {len(body)}", "", "",
    ]
    return "\r\n".join(head).encode() + body


class Refused(Exception):
    pass


class Client:
    """One account on one connection that stays open. `call` signs and sends; `prepare` and `send` apart
    leave the signing out of what is timed."""

    def __init__(self, endpoint, region, key, secret):
        self.host = urllib.parse.urlsplit(endpoint).netloc
        self.region, self.key, self.secret = region, key, secret
        self.connection = http.client.HTTPConnection(self.host, timeout=CALL_SECONDS_MAX)
        self.used = time.monotonic()

    @classmethod
    def of(cls, cloud):
        env = cloud.env
        return cls(cloud.endpoint, env["AWS_DEFAULT_REGION"], env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"])

    def clone(self):
        return Client(f"http://{self.host}", self.region, self.key, self.secret)

    def prepare(self, action, **parameters):
        form = urllib.parse.urlencode({"Action": action, "Version": API_VERSION,
                                       **{name.replace("__", "."): value for name, value in parameters.items()}})
        return signed(self.host, self.region, self.key, self.secret, form)

    def connected(self):
        if time.monotonic() - self.used > IDLE_SECONDS_MAX:
            self.connection.close()  # the server may have done so too
        if self.connection.sock is None:
            self.connection.connect()
        self.used = time.monotonic()
        return self.connection.sock

    def send(self, request):
        self.connected().sendall(request)
        answer = http.client.HTTPResponse(self.connection.sock, method="POST")
        answer.begin()
        body = answer.read()
        if answer.status != 200:
            raise Refused(f"{answer.status}: {body[:500].decode(errors='replace')}")
        if answer.will_close:
            self.connection.close()
        return body

    def timed(self, request):
        """As `send`, with the milliseconds from its first byte sent to the answer's last byte received."""
        socket, raw, whole = self.connected(), b"", None
        began = time.perf_counter()
        socket.sendall(request)
        while whole is None or len(raw) < whole:
            piece = socket.recv(1 << 16)
            if not piece:
                raise Refused("the connection was closed")
            raw += piece
            if whole is None and b"\r\n\r\n" in raw:
                head = raw[:raw.index(b"\r\n\r\n")].lower()
                whole = len(head) + 4 + int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        took = (time.perf_counter() - began) * 1000
        if not raw.startswith(b"HTTP/1.1 200 "):
            raise Refused(raw[:500].decode(errors="replace"))
        return took, raw.decode()

    def call(self, action, **parameters):
        return self.send(self.prepare(action, **parameters)).decode()


def texts(xml, tag):
    """Every `<tag>text</tag>`, in order; enough for answers whose shape we know."""
    parts = xml.split(f"<{tag}>")[1:]
    return [part.split("<", 1)[0] for part in parts]


def demo_image(client):
    """The disk image that `karri up` registers."""
    answer = client.call("DescribeImages", Filter__1__Name="name", Filter__1__Value__1="tiny",
                         Filter__2__Name="image-type", Filter__2__Value__1="machine")
    return texts(answer, "imageId")[0]


# ---- processes -----------------------------------------------------------------------------------------------


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_percent(pids, seconds):
    """The share of one core that each process uses while we look on."""
    before, began = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    return {name: 100 * (cpu_seconds(pid) - before[name]) / took for name, pid in pids.items()}


def controllers(state_dir):
    """The pid of each controller, as it says itself."""
    files = sorted(pathlib.Path(state_dir).glob("*/endpoint.json"))
    return {file.parent.name: json.loads(file.read_text())["pid"] for file in files}


# ---- results -------------------------------------------------------------------------------------------------


def median(values):
    return statistics.median(values)


def spread(values):
    """`median (quartile–quartile)` in the values' own unit."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else (values[0],) * 3
    return f"{middle:.1f} ({low:.1f}–{high:.1f})"


class Result:
    def __init__(self, name):
        self.result = {"name": name, "machine": machine(), "figures": [], "tables": [], "notes": []}

    def figure(self, what, measured, target="", met=None):
        self.result["figures"].append({"what": what, "measured": measured, "target": target, "met": met})
        say(f"{what}: {measured}" + (f"  (target {target}: {'met' if met else 'not met'})" if target else ""))

    def table(self, columns, rows):
        self.result["tables"].append({"columns": columns, "rows": [[str(cell) for cell in row] for row in rows]})

    def note(self, text):
        self.result["notes"].append(text)

    def on(self, more):
        self.result["machine"] += f", {more}"

    def print(self):
        print(json.dumps(self.result), flush=True)
