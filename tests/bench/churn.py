"""What goes on while DescribeInstances is measured: instances that change state, and an eye on how stale
the answers are.

Every change is a StopInstances or StartInstances call. Once such a call has been answered, an answer that
still shows the instance as it was before the call is stale, by the time since the call's answer until the
asking of the stale one.
"""

import collections
import re
import threading
import time

CHANGES_PER_SECOND = 10
REST_SECONDS = 5
LOOK_EVERY_SECONDS = 0.25
ROW = re.compile(rb"<instanceId>(i-[0-9a-f]+)</instanceId>.*?<instanceState><code>\d+</code><name>([a-z-]+)</name>",
                 re.S)
CONTRADICTS = {"StopInstances": (b"running", b"pending"), "StartInstances": (b"stopped", b"stopping")}
ON_THE_WAY = (b"pending", b"stopping")

Change = collections.namedtuple("Change", "verb answered")


class Churn:
    """`with Churn(clients, instances)`: changes and looks go on inside. `clients` and `instances` are lists
    of the same order, one entry per account."""

    def __init__(self, clients, instances):
        self.clients, self.instances = clients, instances
        self.last = {}
        self.changes = self.looks = 0
        self.stale_worst = self.settling_worst = 0.0
        self.failure = None
        self.ended = threading.Event()

    def __enter__(self):
        self.threads = [threading.Thread(target=self._guarded, args=(work,)) for work in (self._change, self._look)]
        self.began = time.monotonic()
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        for thread in self.threads:
            thread.join()
        self.took = time.monotonic() - self.began
        if self.failure:
            raise self.failure

    def _guarded(self, work):
        try:
            work()
        except Exception as error:  # told by the thread that waits
            self.failure = error

    def _change(self):
        clients = [client.clone() for client in self.clients]
        fresh = [collections.deque(ids) for ids in self.instances]
        stopped = [collections.deque() for _ in self.instances]
        began = time.monotonic()
        while not self.ended.wait(max(0, began + self.changes / CHANGES_PER_SECOND - time.monotonic())):
            turn = self.changes % len(clients)
            waiting = stopped[turn]
            if waiting and time.monotonic() - waiting[0][0] > REST_SECONDS:
                instance = waiting.popleft()[1]
                self._call(clients[turn], "StartInstances", instance)
                fresh[turn].append(instance)
            else:
                instance = fresh[turn].popleft()
                self._call(clients[turn], "StopInstances", instance)
                waiting.append((time.monotonic(), instance))
            self.changes += 1

    def _call(self, client, verb, instance):
        key = instance.encode()
        self.last[key] = Change(verb, None)
        client.call(verb, InstanceId__1=instance)
        self.last[key] = Change(verb, time.monotonic())

    def _look(self):
        clients = [client.clone() for client in self.clients]
        while not self.ended.wait(LOOK_EVERY_SECONDS):
            client = clients[self.looks % len(clients)]
            request = client.prepare("DescribeInstances")
            before, asked = dict(self.last), time.monotonic()
            answer = client.send(request)
            self.looks += 1
            for instance, state in ROW.findall(answer):
                change = before.get(instance)
                if change is None or change.answered is None or self.last[instance] is not change:
                    continue  # never changed, or changed again while we looked
                age = asked - change.answered
                if state in CONTRADICTS[change.verb]:
                    self._worst("stale_worst", age)
                if state in ON_THE_WAY:
                    self._worst("settling_worst", age)

    def _worst(self, name, age):
        setattr(self, name, max(getattr(self, name), age))

    @property
    def changes_per_second(self):
        return self.changes / self.took
