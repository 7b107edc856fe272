"""Both ends of a tunnel through a proxy, over HTTP/1.1 or HTTP/2: a test asks, the origin's script accepts, both speak.

kind: "websocket" (Upgrade, or extended CONNECT in HTTP/2) or "connect" (a plain CONNECT).
"""
from . import h2
from .client import Closed

KEY = [("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="), ("sec-websocket-version", "13")]


class H1Tunnel:
    """The client's end over HTTP/1.1. `answer` is the head of the answer once opened() or refused() has been called."""

    def __init__(self, client, kind, path="/ws", authority="a:80", fields=(), with_head=b"", **_):
        self.client, self.kind, self.answer = client, kind, None
        if kind == "connect":
            head = f"CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n"
        else:
            head = f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: {kind}\r\n"
        head += "".join(f"{k}: {v}\r\n" for k, v in [*(KEY if kind == "websocket" else ()), *fields])
        client.send((head + "\r\n").encode() + with_head)

    def opened(self):
        """The status that stands for an open tunnel; asserts that it is open."""
        self.answer = self.client.response("HEAD")  # what follows is the tunnel's
        wanted = 200 if self.kind == "connect" else 101
        assert self.answer.status == wanted and self.answer.get("content-length") is self.answer.get("transfer-encoding") is None, self.answer
        return self

    def refused(self):
        self.answer = self.client.response()
        return self.answer.status

    def send(self, data):
        self.client.send(data)

    def exactly(self, count):
        return self.client.reader.exactly(count)

    def finish(self):
        self.client.half_close()

    def cut(self):
        self.client.reset()

    def rest(self):
        """What comes until the other end is done: (bytes, "end" or "cut")."""
        try:
            return self.client.reader.to_end(), "end"
        except ConnectionResetError:
            return b"", "cut"


class H2Tunnel:
    """The client's end over HTTP/2, on a stream of `peer` (an h2.Client)."""

    def __init__(self, peer, kind, path="/ws", authority="a:80", fields=(), with_head=b"", scheme="http"):
        self.peer, self.kind, self.at, self.answer = peer, kind, 0, None
        self.client = peer.client
        if kind == "connect":
            self.stream = peer.open("CONNECT", None, authority, fields, False, None)
        else:
            self.stream = peer.open("CONNECT", path, authority, [(":protocol", kind), *fields], False, scheme)
        if with_head:
            self.send(with_head)

    @property
    def side(self):
        return self.peer.side(self.stream)

    def opened(self):
        side = self.answer = self.peer.head(self.stream)
        assert side.status == 200 and not side.ended and side.get("content-length") is None, side
        return self

    def refused(self):
        side = self.answer = self.peer.answer(self.stream)
        return side.status if side.reset is None or side.ended else f"RST {side.reset}"

    def send(self, data):
        self.peer.data(self.stream, data)

    def exactly(self, count):
        side = self.peer.until(self.stream, lambda side: len(side.body) - self.at >= count)
        got = side.body[self.at:self.at + count]
        self.at += len(got)
        return got

    def finish(self):
        self.peer.data(self.stream, b"", end=True)

    def cut(self):
        self.peer.send(h2.rst(self.stream))

    def rest(self):
        side = self.peer.answer(self.stream)
        got, self.at = side.body[self.at:], len(side.body)
        return got, "end" if side.ended else "cut"


def ask(lab, proxy, down, kind, **request):
    client = lab.client(proxy.port)
    return H1Tunnel(client, kind, **request) if down == "h1" else H2Tunnel(h2.Client(client), kind, **request)


class Served:
    """The origin's end, made by a script of an Exchange or H2Exchange."""

    def __init__(self, exchange):
        self.x = exchange
        self.over_h2 = isinstance(exchange, h2.H2Exchange)

    def accept(self, fields=()):
        if self.over_h2:
            self.x.head(200, fields)
        else:
            first = "200 OK" if self.x.method == "CONNECT" else "101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: " + self.x.get("upgrade")
            self.x.send(f"HTTP/1.1 {first}\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n")
        return self

    def read(self):
        """The next piece; b"" at the end; raises when the tunnel was cut."""
        if self.over_h2:
            return self.x.read()
        reader = self.x.reader
        try:
            if not reader.buffer:
                reader.fill()
        except Closed:
            return b""
        got, reader.buffer = reader.buffer, b""
        return got

    def send(self, data):
        self.x.send(data)

    def finish(self):
        if self.over_h2:
            self.x.send(b"", end=True)
        else:
            self.x.half_close()

    def cut(self):
        self.x.reset()

    def over(self):
        """Reads to the end, however it comes: (bytes, "end" or "cut"). The connection is not used again."""
        got = b""
        try:
            while piece := self.read():
                got += piece
            return got, "end"
        except OSError:
            return got, "cut"
        finally:
            self.x.closed = True


def echo(exchange):
    """A script: opens the tunnel, sends back what comes, and ends when the client does."""
    served = Served(exchange).accept()
    try:
        while piece := served.read():
            served.send(piece)
        served.finish()
    finally:
        exchange.closed = True
