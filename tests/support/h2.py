"""A minimal HTTP/2 peer out of raw frames: enough to answer, to reset, to refuse and to go away at will.

It sends only static-table and literal header fields and decodes nothing; what the proxy sent is kept as raw blocks.
"""
import struct

DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
REFUSED_STREAM, CANCEL, INTERNAL_ERROR, PROTOCOL_ERROR = 7, 8, 2, 1


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def literal(name, value):
    """HPACK literal without indexing, no Huffman; lengths below 127."""
    return b"\0" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def status_block(status=200, *fields):
    return b"\x88" + b"".join(literal(*f) for f in fields) if status == 200 else \
        b"\x08" + b"\x03" + str(status).encode() + b"".join(literal(*f) for f in fields)


def request_block(method="GET", path="/", authority="a", scheme="http", fields=()):
    return b"".join(literal(k, v) for k, v in [(":method", method), (":scheme", scheme), (":path", path),
                                               (":authority", authority), *fields])


class Frames:
    """Reads frames and answers what must be answered (SETTINGS, PING)."""

    def __init__(self, reader, send):
        self.reader, self.send = reader, send

    def next(self):
        while True:
            head = self.reader.exactly(9)
            length, kind, flags = int.from_bytes(head[:3], "big"), head[3], head[4]
            stream = struct.unpack(">I", head[5:])[0] & 0x7FFFFFFF
            payload = self.reader.exactly(length)
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
    from .client import Reader

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
