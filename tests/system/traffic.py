"""Packets that are counted while something else happens."""

import os
import socket
import struct
import subprocess
import threading
import time

from real_cloud import SSH, wait_until

EVERY_SECONDS = 0.02
LATE_SECONDS = 10  # an answer of an emulated guest on a busy machine
ECHO, ECHO_REPLY = 8, 0
# It may have heard meanwhile that nobody hears it.
STOP_LOOKING = "kill $(cat /tmp/looking) 2>/dev/null || true"


def checksum(data):
    words = sum(struct.unpack(f"!{len(data) // 2}H", data))
    words = (words >> 16) + (words & 0xFFFF)
    return ~(words + (words >> 16)) & 0xFFFF


class Pings:
    """Echo requests to an address, all of one flow, from when it is made until `lost` is asked."""

    def __init__(self, address, number):
        self.address, self.identity = address, (os.getpid() + number) & 0xFFFF
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        self.socket.settimeout(0.2)
        self.sent, self.answered, self.ending = 0, set(), threading.Event()
        self.threads = [threading.Thread(target=run, daemon=True) for run in (self.send, self.receive)]
        for thread in self.threads:
            thread.start()

    def send(self):
        while not self.ending.is_set():
            body = struct.pack("!HHd", self.identity, self.sent & 0xFFFF, 0)
            head = struct.pack("!BBH", ECHO, 0, checksum(struct.pack("!BBH", ECHO, 0, 0) + body))
            self.socket.sendto(head + body, (self.address, 0))
            self.sent += 1
            time.sleep(EVERY_SECONDS)

    def receive(self):
        while not (self.ending.is_set() and not self.threads[0].is_alive() and len(self.answered) == self.sent):
            try:
                packet, (sender, _) = self.socket.recvfrom(2048)
            except TimeoutError:
                continue
            except OSError:
                return  # closed
            kind, _, _, identity, number = struct.unpack("!BBHHH", packet[20:28])
            if (kind, identity, sender) == (ECHO_REPLY, self.identity, self.address):
                self.answered.add(number)

    def lost(self):
        """How many of how many have not been answered."""
        self.ending.set()
        self.threads[0].join()
        self.threads[1].join(LATE_SECONDS)
        self.socket.close()
        return self.sent - len(self.answered), self.sent


def over_and_over(look):
    """A command of a guest that tells in a line what it sees, until nobody hears it: or, where it cannot know, by STOP_LOOKING."""
    return f"exec 2>/dev/null; echo $$ >/tmp/looking; while {look}; echo .; do usleep 100000; done"


class Telling:
    """A TCP connection by which a guest tells us what its command prints, line by line. `by`: further arguments of ssh."""

    def __init__(self, address, key, command, by=()):
        self.process = subprocess.Popen([*SSH, "-i", str(key), *by, f"root@{address}", command], stdout=subprocess.PIPE,
                                        text=True, stdin=subprocess.DEVNULL)
        self.count, self.last = 0, ""
        threading.Thread(target=self.listen, daemon=True).start()

    def listen(self):
        for line in self.process.stdout:
            self.heard(line.strip())

    def heard(self, line):
        self.count, self.last = self.count + 1, line

    def __str__(self):
        ended = self.process.poll()
        return f"{self.count} lines told, the last {self.last!r}" + ("" if ended is None else f", and ssh has ended ({ended})")

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Counting(Telling):
    """One by which a guest counts."""

    def __init__(self, address, key, by=()):
        self.numbers = []
        super().__init__(address, key, "i=0; while echo $i; do i=$((i+1)); usleep 50000; done", by)
        self.goes_on()

    def heard(self, line):
        super().heard(line)
        self.numbers.append(int(line))

    def goes_on(self, seconds=LATE_SECONDS):
        """It comes further than it is."""
        now = len(self.numbers)
        wait_until("a guest counts on", lambda: len(self.numbers) > now, seconds)
        assert self.numbers == list(range(len(self.numbers))), "numbers are missing"
