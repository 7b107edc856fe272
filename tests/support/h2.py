"""HTTP/2 peers out of raw frames: enough to answer, to reset, to refuse and to go away at will.

Frames and serve() decode nothing and keep what the proxy sent as raw blocks. Client and speak() decode: a client whose
streams have heads and bodies, and an Origin whose scripts read like those of HTTP/1.1.
"""
import queue
import struct
import threading

import hpack

from .client import Closed, Reader

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, SETTINGS_TIMEOUT, STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, \
    CANCEL, COMPRESSION_ERROR, CONNECT_ERROR, ENHANCE_YOUR_CALM = range(12)
WIDE_OPEN = (1 << 31) - 1 - 65535


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(value, prefix):
    """HPACK's integers (RFC 7541 5.1) after `prefix` bits."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([value])
    out, value = [most], value - most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def octets(text):
    return text if isinstance(text, bytes) else text.encode("latin-1")


def literal(name, value):
    """HPACK literal without indexing, no Huffman."""
    name, value = octets(name), octets(value)
    return b"\0" + number(len(name), 7) + name + number(len(value), 7) + value


def status_block(status=200, *fields):
    return b"\x88" + b"".join(literal(*f) for f in fields) if status == 200 else \
        b"\x08" + b"\x03" + str(status).encode() + b"".join(literal(*f) for f in fields)


def request_block(method="GET", path="/", authority="a", scheme="http", fields=()):
    """None leaves a pseudo-header out."""
    pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
    return b"".join(literal(k, v) for k, v in [*pseudo, *fields] if v is not None)


def rst(stream, code=CANCEL):
    return frame(RST, 0, stream, code.to_bytes(4, "big"))


def goaway(last=0, code=NO_ERROR):
    return frame(GOAWAY, 0, 0, struct.pack(">II", last, code))


def window(stream, by):
    return frame(WINDOW, 0, stream, by.to_bytes(4, "big"))


def settings(*pairs):
    return frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


def read_frame(reader):
    head = reader.exactly(9)
    return head[3], head[4], struct.unpack(">I", head[5:])[0] & 0x7FFFFFFF, reader.exactly(int.from_bytes(head[:3], "big"))


class Frames:
    """Reads frames and answers what must be answered (SETTINGS, PING)."""

    def __init__(self, reader, send):
        self.reader, self.send = reader, send

    def next(self):
        while True:
            kind, flags, stream, payload = read_frame(self.reader)
            if kind == SETTINGS and not flags & 1:
                self.send(frame(SETTINGS, 1))
            elif kind == PING and not flags & 1:
                self.send(frame(PING, 1, 0, payload))
            elif kind not in (SETTINGS, PING, WINDOW):
                return kind, flags, stream, payload

    def until(self, wanted):
        while True:
            got = self.next()
            if got[0] == wanted:
                return got


def serve(answer):
    """A `raw` function for Origin: answer(send, stream) is called when a request's headers have come."""
    def run(sock, origin):
        reader = Reader(sock)
        assert reader.exactly(len(PREFACE)) == PREFACE
        sock.sendall(frame(SETTINGS))
        frames = Frames(reader, sock.sendall)
        while True:
            kind, flags, stream, payload = frames.next()
            if kind == HEADERS:
                with origin.lock:
                    origin.requests.append((stream, flags, payload))
                if answer(sock, stream) == "close":
                    return
    return run


def ok(sock, stream, body=b"h2"):
    sock.sendall(frame(HEADERS, 4, stream, status_block()) + frame(DATA, 1, stream, body))


class H2Client:
    """Speaks over a RawClient (plain or TLS)."""

    def __init__(self, client):
        self.client = client
        client.send(PREFACE + frame(SETTINGS))
        self.frames = Frames(client.reader, client.send)
        self.stream = -1

    def request(self, end=True, **fields):
        self.stream += 2
        self.client.send(frame(HEADERS, 5 if end else 4, self.stream, request_block(**fields)))
        return self.stream

    def data(self, payload, end=True, stream=None):
        self.client.send(frame(DATA, int(end), stream or self.stream, payload))

    def answer(self):
        """(header block, body) of the next stream to end; raises on RST_STREAM."""
        block, body = b"", b""
        while True:
            kind, flags, stream, payload = self.frames.next()
            if kind == HEADERS:
                block += payload
            elif kind == DATA:
                body += payload
            elif kind in (RST, GOAWAY):
                raise ConnectionError(f"frame {kind} on {stream}: {payload!r}")
            if kind in (HEADERS, DATA) and flags & 1:
                return block, body


class Side:
    """What came on one stream: heads (1xx too), body, trailers, and how it ended. Waits block the reading thread's peer only."""

    def __init__(self):
        self.heads, self.body, self.trailers, self.ended, self.reset = [], b"", [], False, None

    @property
    def final(self):
        return next((h for h in self.heads if not dict(h).get(":status", "200").startswith("1")), None)

    @property
    def status(self):
        return int(dict(self.final)[":status"]) if self.final else None

    def get(self, name, default=None):
        return next((v for k, v in (self.final or []) if k == name), default)

    def trailer(self, name):
        return next((v for k, v in self.trailers if k == name), None)

    def __repr__(self):
        return f"<{self.heads} {self.body[:100]!r} {self.trailers} ended={self.ended} reset={self.reset}>"


class Peer:
    """One end of a connection: flow control wide open, SETTINGS and PING answered, everything that comes kept in .sides."""

    def __init__(self, sock, reader):
        self.socket, self.reader, self.lock = sock, reader, threading.Lock()
        self.decoder, self.sides, self.settings, self.goaways = hpack.Decoder(), {}, {}, []
        self.block = b""

    def send(self, data):
        with self.lock:
            self.socket.sendall(data)

    def side(self, stream):
        return self.sides.setdefault(stream, Side())

    def step(self):
        """One frame; returns (kind, stream) of what was added to a stream."""
        kind, flags, stream, payload = read_frame(self.reader)
        if kind == SETTINGS and not flags & 1:
            self.settings.update(struct.unpack(">HI", payload[i:i + 6]) for i in range(0, len(payload), 6))
            self.send(frame(SETTINGS, 1))
        elif kind == PING and not flags & 1:
            self.send(frame(PING, 1, 0, payload))
        elif kind == GOAWAY:
            self.goaways.append(struct.unpack(">II", payload[:8]))
        elif kind == RST:
            self.side(stream).reset = int.from_bytes(payload, "big")
        elif kind == DATA:
            self.side(stream).body += payload
            self.side(stream).ended |= bool(flags & 1)
        elif kind in (HEADERS, CONTINUATION):
            self.block += payload
            if kind == HEADERS:
                self.ending = bool(flags & 1)
            if flags & 4:
                self._head(stream)
        return kind, stream

    def _head(self, stream):
        fields = [(k, v) for k, v in self.decoder.decode(self.block)]
        self.block = b""
        side = self.side(stream)
        if side.final is not None:
            side.trailers = fields
        else:
            side.heads.append(fields)
        side.ended |= self.ending

    def open_windows(self):
        return window(0, WIDE_OPEN)


class Client(Peer):
    """A client over a RawClient (plain or TLS)."""

    def __init__(self, client, first=None):
        """first: the SETTINGS frame, for a client with small windows."""
        super().__init__(client.socket, client.reader)
        self.client, self.stream = client, -1
        self.send(PREFACE + (first if first is not None else settings((4, (1 << 31) - 1)) + self.open_windows()))

    def open(self, method="GET", path="/", authority="a", fields=(), end=True, scheme="http"):
        self.stream += 2
        self.send(frame(HEADERS, 5 if end else 4, self.stream, request_block(method, path, authority, scheme, fields)))
        return self.stream

    def data(self, stream, payload, end=False):
        for at in range(0, max(1, len(payload)), 16384):
            part = payload[at:at + 16384]
            self.send(frame(DATA, int(end and at + 16384 >= len(payload)), stream, part))

    def until(self, stream, check):
        """Reads until check(side) holds, or the stream cannot change any more."""
        side = self.side(stream)
        while not check(side) and not side.ended and side.reset is None:
            self.step()
        return side

    def head(self, stream):
        return self.until(stream, lambda side: side.final is not None)

    def answer(self, stream):
        """The stream once it has ended; an RST_STREAM after the end is not waited for."""
        return self.until(stream, lambda side: False)

    def get(self, path="/", **fields):
        return self.answer(self.open(path=path, **fields))

    def until_reset(self, stream):
        side = self.side(stream)
        while side.reset is None:
            self.step()
        return side

    def to_end(self):
        """Reads to FIN or reset; returns the code of the last GOAWAY, None without one."""
        try:
            while True:
                self.step()
        except (Closed, ConnectionResetError):
            return self.goaways[-1][1] if self.goaways else None


class H2Exchange:
    """One request on an HTTP/2 origin, in its own thread; the counterpart of origin.Exchange."""

    def __init__(self, peer, origin, stream, fields, ended):
        self.peer, self.origin, self.stream, self.headers = peer, origin, stream, fields
        known = dict(fields)
        self.method, self.target, self.authority = known.get(":method"), known.get(":path", ""), known.get(":authority")
        self.path = self.target.split("?")[0]
        self.inbox, self.reset_code, self.body, self.trailers, self.ended, self.started = queue.Queue(), None, b"", [], ended, False

    def get(self, name, default=None):
        return next((v for k, v in self.headers if k == name), default)

    def read(self, timeout=10):
        """The next piece of the body; b"" at its end; raises when the proxy reset the stream."""
        if self.ended:
            return b""
        what, value, end = self.inbox.get(timeout=timeout)
        self.ended |= end
        if what == "reset":
            self.reset_code = value
            raise ConnectionResetError(f"RST_STREAM {value}")
        if what == "trailers":
            self.trailers = value
            return b""
        self.body += value
        return value if value or end else self.read(timeout)

    def read_body(self):
        while not self.ended:
            self.read()
        return self.body

    def hang(self):
        """No answer; returns when the proxy gives the stream up."""
        try:
            while self.read(60) or not self.ended:
                pass
            self.ended = False
            self.read(60)
        except (ConnectionResetError, queue.Empty):
            pass

    def head(self, status=200, headers=(), end=False):
        self.started = True
        self.peer.send(frame(HEADERS, 5 if end else 4, self.stream, status_block(status, *headers)))

    def send(self, data, end=False):
        for at in range(0, max(1, len(data)), 16384):
            self.peer.send(frame(DATA, int(end and at + 16384 >= len(data)), self.stream, data[at:at + 16384]))

    def end_with(self, trailers):
        self.peer.send(frame(HEADERS, 5, self.stream, b"".join(literal(*t) for t in trailers)))

    def reply(self, status=200, body=b"", headers=()):
        self.read_body()
        self.head(status, headers, end=not body)
        if body:
            self.send(body, end=True)

    def reset(self, code=INTERNAL_ERROR):
        self.peer.send(rst(self.stream, code))


def speak(sock, origin, streams=1000):
    """A `raw` function for Origin: HTTP/2 with the origin's scripts by path (CONNECT has none: the default), each on its own thread.

    streams: SETTINGS_MAX_CONCURRENT_STREAMS.
    """
    reader = Reader(sock)
    assert reader.exactly(len(PREFACE)) == PREFACE
    peer, open_streams = Peer(sock, reader), {}
    peer.send(settings((4, (1 << 31) - 1), (3, streams), (8, 1)) + peer.open_windows())
    while True:
        kind, stream = peer.step()
        side = peer.side(stream)
        exchange = open_streams.get(stream)
        if kind in (HEADERS, CONTINUATION) and side.heads and exchange is None:
            exchange = open_streams[stream] = H2Exchange(peer, origin, stream, side.heads[0], side.ended)
            with origin.lock:
                origin.requests.append(exchange)
            script = origin.scripts.get(exchange.path, origin.default)
            threading.Thread(target=_run, args=(script, exchange), daemon=True).start()
        elif exchange and kind == HEADERS:
            exchange.inbox.put(("trailers", side.trailers, True))
        elif exchange and kind == DATA:
            exchange.inbox.put(("data", side.body, side.ended))
            side.body = b""
        elif exchange and kind == RST:
            exchange.reset_code = side.reset
            exchange.inbox.put(("reset", side.reset, True))


def _run(script, exchange):
    try:
        script(exchange)
    except (OSError, queue.Empty, AssertionError) as error:
        exchange.origin.tls_errors.append(error)
