"""Every name below `localhost` is this machine, as RFC 6761 wants and not every libc does it.

Python reads this first when this folder is in PYTHONPATH; so suites can have buckets as host names.
"""

import socket

_getaddrinfo = socket.getaddrinfo


def getaddrinfo(host, *arguments, **more):
    name = host.decode() if isinstance(host, bytes) else host
    return _getaddrinfo("127.0.0.1" if name and name.endswith(".localhost") else host, *arguments, **more)


socket.getaddrinfo = getaddrinfo
