"""Polling with a deadline, the only way a test waits."""
import random
import socket
import time

_taken = set()


def eventually(check, timeout=10.0, what=None, step=0.02):
    """Returns the first true value of check(); fails with the last value or exception at the deadline."""
    end = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = check()
            if last:
                return last
        except (AssertionError, OSError, LookupError, ValueError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what or check}; last: {last!r}")
        time.sleep(step)


def free_port(host="127.0.0.1"):
    """A free port outside the kernel's ephemeral range, so that no outgoing connection takes it before its server."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as file:
        low = int(file.read().split()[0])
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(500):
        port = random.randint(10000, low - 1) if low > 12000 else 0
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            port = probe.getsockname()[1]
        if port not in _taken:
            _taken.add(port)
            return port
    raise AssertionError("no free port")


class RefusedPort:
    """A port where every connection is refused: bound, so nobody else gets it, but not listening."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]

    def close(self):
        self.socket.close()


class SilentPort:
    """A port where no connection is ever completed: its accept queue is full."""

    def __init__(self):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(0)
        self.port = self.socket.getsockname()[1]
        self.fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))
            self.fillers.append(filler)

    def close(self):
        for one in self.fillers + [self.socket]:
            one.close()
