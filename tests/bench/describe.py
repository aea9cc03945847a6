"""How many DescribeInstances over 1,000 instances are answered per second: against a bare axum handler that
sends the same bytes, and against moto's server.

Two accounts with 1,000 instances each ask in turn, so that nothing is won by knowing one account's answer
only; all the while ten instances a second change state and every answer that an observer gets is checked.
"""

import json
import subprocess
import sys

from bench import RELEASE, ROOT, Client, Result, controllers, cpu_seconds, demo_image, median, say, texts
from churn import Churn
from cloud import Cloud, claim_ports, wait_until

INSTANCES = 1000
NODES = 50
ROUNDS = 5
ROUND_SECONDS = 8
CONNECTIONS = 8
MOTO_SECONDS = 60
SHARE_MIN = 0.5
MOTO_TIMES_MIN = 200
STALE_SECONDS_MAX = 1.0
SETUP_SECONDS = 300


class Rate(float):
    """Requests per second; `cpu_ms` is what one of them cost the server, all else that it did included."""

    cpu_ms = 0.0


def wrk(directory, endpoint, clients, seconds, pid):
    """The rate at which `endpoint`, served by process `pid`, answers the clients, who ask in turn."""
    requests = directory / "requests"
    requests.write_bytes(b"\0".join(client.prepare("DescribeInstances") for client in clients))
    before = cpu_seconds(pid)
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "120s",
                           "-s", ROOT / "tests" / "bench" / "describe.lua", endpoint, "--", requests],
                          check=True, capture_output=True, text=True)
    told = json.loads(done.stdout.strip().splitlines()[-1])
    if told["refused"] or told["broken"] or told["late"] or not told["requests"]:
        raise AssertionError(f"wrk at {endpoint}: {done.stdout}")
    rate = Rate(told["requests"] / (told["us"] / 1e6))
    rate.cpu_ms = 1000 * (cpu_seconds(pid) - before) / told["requests"]
    say(f"  {endpoint}: {rate:.1f}/s, {told['bytes'] / told['requests']:.0f} bytes each, "
        f"p50 {told['p50_ms']} ms, p99 {told['p99_ms']} ms, {rate.cpu_ms:.2f} ms of CPU each")
    return rate


class Bare:
    def __init__(self, file):
        self.process = subprocess.Popen([RELEASE / "bare_axum", file], text=True, stdout=subprocess.PIPE)
        self.endpoint = self.process.stdout.readline().strip()

    def close(self):
        self.process.terminate()
        self.process.wait()


class Moto:
    def __init__(self, log):
        port, self.port_claim = claim_ports()
        self.endpoint = f"http://127.0.0.1:{port}"
        port = self.endpoint.rsplit(":", 1)[1]
        python = ROOT / "target" / "bench-venv" / "bin" / "python"
        with log.open("wb") as out:
            self.process = subprocess.Popen([python, "-m", "moto.server", "-p", port], stdout=out, stderr=out)
        self.client = Client(self.endpoint, "us-east-1", "AKIAIOSFODNN7EXAMPLE", "secret")
        wait_until("moto answers", self._answers, SETUP_SECONDS)

    def _answers(self):
        try:
            return self.client.call("DescribeRegions")
        except OSError:
            self.client.connection.close()
            return False

    def fill(self):
        image = texts(self.client.call("DescribeImages"), "imageId")[0]
        self.client.call("RunInstances", ImageId=image, InstanceType="t2.nano", MinCount=INSTANCES, MaxCount=INSTANCES)
        seen = self.client.call("DescribeInstances").count("<instanceState>")
        if seen != INSTANCES:
            raise AssertionError(f"moto shows {seen} instances")

    def close(self):
        self.process.terminate()
        self.process.wait()


def second_account(cloud):
    cloud.karri("account", "create", "bench")
    cloud.karri("user", "create", "ada", "--account", "bench", "--policy", "PowerUserAccess")
    key = json.loads(cloud.karri("key", "create", "--account", "bench", "--user", "ada", "--output", "json"))
    return Client(cloud.endpoint, cloud.env["AWS_DEFAULT_REGION"], key["access_key_id"], key["secret_access_key"])


def fill(client, image):
    answer = client.call("RunInstances", ImageId=image, InstanceType="t2.nano", MinCount=INSTANCES, MaxCount=INSTANCES)
    return texts(answer, "instanceId")


def all_run(client):
    return texts(client.call("DescribeInstances"), "name").count("running") == INSTANCES


def against_bare(result, directory, cloud, clients, bare):
    """Alternating rounds; the changes and the observer go on beside both."""
    ours, theirs = [], []
    clc = controllers(cloud.state_dir)["clc"]
    for number in range(ROUNDS):
        pair = [(cloud.endpoint, clc, ours), (bare.endpoint, bare.process.pid, theirs)]
        for endpoint, pid, rates in pair if number % 2 else reversed(pair):
            rates.append(wrk(directory, endpoint, clients, ROUND_SECONDS, pid))
    share = median([our / their for our, their in zip(ours, theirs)])
    result.figure(f"share of a bare axum handler, same bytes, same load beside it (median of {ROUNDS} pairs)",
                  f"{share:.2f}", f"≥ {SHARE_MIN}", share >= SHARE_MIN)
    result.figure("… Karri, requests/s", f"{median(ours):.0f}")
    result.figure("… bare handler, requests/s", f"{median(theirs):.0f}")
    cpu = [f"{median([rate.cpu_ms for rate in rates]):.2f}" for rates in (ours, theirs)]
    result.figure("… CPU per request, ms: cloud controller with the changes, bare handler", " / ".join(cpu))


def alone(result, directory, cloud, clients, bare):
    """The same with nothing beside it."""
    ours = wrk(directory, cloud.endpoint, clients, ROUND_SECONDS, controllers(cloud.state_dir)["clc"])
    theirs = wrk(directory, bare.endpoint, clients, ROUND_SECONDS, bare.process.pid)
    result.figure("… the same with no state changes and no observer", f"{ours / theirs:.2f}")


def against_moto(result, directory, cloud, clients):
    moto = Moto(directory / "moto.log")
    try:
        moto.fill()
        theirs = wrk(directory, moto.endpoint, [moto.client], MOTO_SECONDS, moto.process.pid)
    finally:
        moto.close()
    ours = wrk(directory, cloud.endpoint, clients, ROUND_SECONDS, controllers(cloud.state_dir)["clc"])
    result.figure("times moto's server (which verifies nothing and whose instances stand still)",
                  f"{ours / theirs:.0f}", f"≥ {MOTO_TIMES_MIN}", ours >= MOTO_TIMES_MIN * theirs)
    result.figure("… moto's server, requests/s", f"{theirs:.2f}")


def main():
    result = Result("describe")
    with Cloud(nodes=NODES) as cloud:
        clients = [Client.of(cloud), second_account(cloud)]
        image = demo_image(clients[0])
        instances = [fill(client, image) for client in clients]
        for client in clients:
            wait_until("all instances run", lambda: all_run(client), SETUP_SECONDS)
        answer = clients[0].send(clients[0].prepare("DescribeInstances"))
        (cloud.directory / "answer").write_bytes(answer)
        result.figure("size of one answer, MB", f"{len(answer) / 1e6:.2f}")
        bare = Bare(cloud.directory / "answer")
        try:
            with Churn(clients, instances) as churn:
                against_bare(result, cloud.directory, cloud, clients, bare)
                if "--no-moto" not in sys.argv:
                    against_moto(result, cloud.directory, cloud, clients)
            alone(result, cloud.directory, cloud, clients, bare)
        finally:
            bare.close()
        result.figure(f"stalest of {churn.looks} answers checked meanwhile, s", f"{churn.stale_worst:.2f}",
                      f"≤ {STALE_SECONDS_MAX:g}", churn.stale_worst <= STALE_SECONDS_MAX)
        result.figure("… longest from a stop or start call to the state it leads to, as seen there, s",
                      f"{churn.settling_worst:.2f}")
        result.figure("… instances that changed state, per second", f"{churn.changes_per_second:.1f}", "≥ 9.5",
                      churn.changes_per_second >= 9.5)
    result.note(f"`wrk -t1 -c{CONNECTIONS}` with `tests/bench/describe.lua` sends correctly signed SigV4 POSTs of two "
                "accounts in turn; every request is verified. All programs of a round share the machine's cores.")
    result.print()


if __name__ == "__main__":
    main()
