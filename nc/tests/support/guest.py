"""Plays a guest in a network namespace: answers on its ports, asks others, and sends what nobody should.

Reads one JSON command a line and prints one JSON answer a line.
"""

import http.client
import json
import socket
import struct
import sys
import threading
import time

frames = []
kept = {}


def echo_tcp(port):
    server = socket.create_server(("", port))

    def serve(peer):
        while said := peer.recv(1 << 16):
            peer.sendall(said)

    def loop():
        while True:
            peer, _ = server.accept()
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=loop, daemon=True).start()


def echo_udp(port):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", port))

    def loop():
        while True:
            said, peer = server.recvfrom(1 << 16)
            try:
                server.sendto(said, peer)
            except OSError:
                pass  # the guest may not answer

    threading.Thread(target=loop, daemon=True).start()


def silent(port):
    """Takes what comes over UDP and says nothing; a kernel would say that nobody is there, and repeat what came."""
    taken = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    taken.bind(("", port))
    kept[port] = taken
    return True


def answer_once(port):
    """Answers each sender's first word over UDP, and says nothing to what follows."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", port))

    def loop():
        known = set()
        while True:
            said, peer = server.recvfrom(1 << 16)
            if peer not in known:
                known.add(peer)
                server.sendto(said, peer)

    threading.Thread(target=loop, daemon=True).start()
    return True


def serve(tcp=(), udp=()):
    for port in tcp:
        echo_tcp(port)
    for port in udp:
        echo_udp(port)
    return True


def tcp(to, port, wait, keep=None):
    try:
        connection = socket.create_connection((to, port), wait)
        answered = says(connection)
    except OSError:
        return False
    if keep:
        kept[keep] = connection
    else:
        connection.close()
    return answered


def says(connection):
    connection.sendall(b"x")
    return connection.recv(1) == b"x"


def say(keep, wait):
    """Whether a connection from before still carries words."""
    kept[keep].settimeout(wait)
    try:
        return says(kept[keep])
    except OSError:
        return False


def udp(to, port, wait, size=1):
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(wait)
    try:
        client.sendto(b"x" * size, (to, port))
        return len(client.recv(1 << 16)) == size
    except OSError:
        return False


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def ping(to, wait):
    client = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    client.settimeout(wait)
    head = struct.pack(">BBHHH", 8, 0, 0, 4711, 1)
    try:
        client.sendto(struct.pack(">BBHHH", 8, 0, checksum(head), 4711, 1), (to, 0))
        while True:
            answer, (source, _) = client.recvfrom(200)
            if source == to and answer[20] == 0:
                return True
    except OSError:
        return False


def timestamp(to, wait):
    """Asks for the time, by ICMP: always in the same flow."""
    client = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    client.settimeout(wait)
    said = struct.pack(">BBHHH12x", 13, 0, 0, 4712, 1)
    try:
        client.sendto(struct.pack(">BBHHH12x", 13, 0, checksum(said), 4712, 1), (to, 0))
        while True:
            answer, (source, _) = client.recvfrom(200)
            if source == to and answer[20] == 14:
                return True
    except OSError:
        return False


# What is carried by a protocol without ports begins as GRE does, for kernels that look at that.
ASKS, ANSWERS = b"\0\0\x88\xb5asks", b"\0\0\x88\xb5answers"


def answer_by(protocol):
    """Answers whoever asks by that protocol of IP."""
    server = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)

    def loop():
        while True:
            said, peer = server.recvfrom(200)
            if said[20:] == ASKS:
                server.sendto(ANSWERS, peer)

    threading.Thread(target=loop, daemon=True).start()
    return True


def ask_by(to, protocol, wait):
    """Whether an answer comes by that protocol. It has no ports, so each time is in the same flow."""
    client = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    client.settimeout(wait)
    try:
        client.sendto(ASKS, (to, 0))
        while True:
            said, (source, _) = client.recvfrom(200)
            if source == to and said[20:] == ANSWERS:
                return True
    except OSError:
        return False


def exchange(to, port, count, wait):
    """How many of so many words over UDP return, one after the other on one flow."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(wait)
    client.connect((to, port))
    returned = 0
    for number in range(count):
        word = str(number).encode()
        try:
            client.send(word)
            while client.recv(100) != word:
                pass  # one that comes late
            returned += 1
        except OSError:
            pass
    return returned


def converse(keep, seconds, wait):
    """Whether everything that a connection from before is told for so long returns."""
    connection, said = kept[keep], [1]
    connection.settimeout(wait)

    def say_on():
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            connection.sendall(b"x" * (1 << 16))
            said.append(1 << 16)
        connection.sendall(b".")

    threading.Thread(target=say_on, daemon=True).start()
    heard, part = 0, b"x"
    try:
        while part and not part.endswith(b"."):
            part = connection.recv(1 << 16)
            heard += len(part)
    except OSError:
        return False
    return heard == sum(said) > 1


def close(keep, reset=False):
    connection = kept.pop(keep)
    if reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return True


def packet(to, size, wait):
    """Sends one UDP packet of that many bytes, IP's own included, that nobody may cut, and waits for it to return."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: always
    client.settimeout(wait)
    try:
        client.sendto(b"x" * (size - 28), (to, 3000))
        return len(client.recv(65536)) == size - 28
    except OSError as error:
        return error.strerror or str(error)


def bulk(to, port, wait):
    """Whether a megabyte returns, both ways at once."""
    said, heard = b"x" * (1 << 20), 0
    try:
        connection = socket.create_connection((to, port), wait)
        threading.Thread(target=connection.sendall, args=(said,), daemon=True).start()
        while heard < len(said):
            heard += len(connection.recv(1 << 16)) or len(said) * 2
    except OSError:
        return False
    return heard == len(said)


def get(path, wait):
    """What metadata answers, with a token of its own; what went wrong otherwise."""
    connection = http.client.HTTPConnection("169.254.169.254", timeout=wait)
    try:
        connection.request("PUT", "/latest/api/token", headers={"x-aws-ec2-metadata-token-ttl-seconds": "60"})
        token = connection.getresponse().read().decode()
        connection.request("GET", path, headers={"x-aws-ec2-metadata-token": token})
        return connection.getresponse().read().decode()
    except OSError as error:
        return f"nothing: {error}"


def send(hexes):
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind(("eth0", 0))
    for text in hexes:
        link.send(bytes.fromhex(text))
    return True


def flood(hex):
    """Sends that frame again and again until the guest is gone."""
    frame = bytes.fromhex(hex)
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    link.bind(("eth0", 0))

    def loop():
        while True:
            link.send(frame)
            time.sleep(0.0002)

    threading.Thread(target=loop, daemon=True).start()
    return True


def watch():
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    link.bind(("eth0", 0))

    def loop():
        while True:
            frames.append(link.recv(2000))

    threading.Thread(target=loop, daemon=True).start()
    return True


def seen(hex, wait=0.0, more_than=0):
    """How many frames with these bytes have come, once there are more than so many or the time is over."""
    deadline = time.monotonic() + wait
    while True:
        count = sum(bytes.fromhex(hex) in frame for frame in list(frames))
        if count > more_than or time.monotonic() >= deadline:
            return count
        time.sleep(0.01)


COMMANDS = {
    do.__name__: do
    for do in (
        *(serve, silent, answer_once, tcp, say, udp, exchange, converse, close, packet, bulk),
        *(ping, timestamp, answer_by, ask_by, get, send, flood, watch, seen),
    )
}

for line in sys.stdin:
    command = json.loads(line)
    print(json.dumps(COMMANDS[command.pop("do")](**command)), flush=True)
