"""An HTTP/1.1 client and origin that a test drives step by step; see peer.py. The faces are those of h2peer.py.

A head is a list of fields with HTTP/2's pseudo-fields in front, so that a script need not know which protocol it drives.
"""
from collections import deque

from . import peer
from .client import Closed, Reader, parse_head
from .wait import eventually


class Connection:
    def __init__(self, wire):
        self.wire, self.reader, self.ended = wire, Reader(wire), None
        self.trace = []

    def _read_guarded(self, work, current):
        """Runs work() until the connection ends, and tells whoever was receiving how."""
        try:
            work()
            how = peer.COMPLETE
        except (Closed, peer.Stopped) as error:
            how = peer.FIN if isinstance(error, Closed) else peer.OUR_END
        except ConnectionResetError:
            how = peer.TCP_RESET
        except (ValueError, AssertionError, OSError) as error:
            how = f"we object: {error!r}"
        self.ended = how
        for received in current():
            received.end(how)

    def _take(self, received, size):
        while size:
            if not self.reader.buffer:
                self.reader.fill()
            piece, self.reader.buffer = self.reader.buffer[:size], self.reader.buffer[size:]
            size -= len(piece)
            received.add(piece)

    def _read_body(self, received, has_length_to_end):
        """The body by its framing (RFC 9112 6.3)."""
        if received.get("transfer-encoding") == "chunked":
            while size := int(self.reader.until(b"\r\n").split(b";")[0], 16):
                self._take(received, size)
                assert self.reader.exactly(2) == b"\r\n", "a chunk longer than its size"
            trailers = []
            while line := self.reader.until(b"\r\n"):
                name, _, value = line.decode("latin-1").partition(":")
                trailers.append((name.lower(), value.strip()))
            received.set(trailers=trailers)
        elif received.get("content-length"):
            self._take(received, int(received.get("content-length")))
        elif has_length_to_end:
            self._take_all(received)
        received.end(peer.COMPLETE)

    def _take_all(self, received):
        try:
            self._take(received, 1 << 62)
        except Closed:
            received.end(peer.FIN)
            raise


class Stream:
    """One exchange: what came in is .received; the methods send."""

    def __init__(self, connection):
        self.connection, self.received, self.chunked = connection, peer.Received(), False
        self.sent_end = False

    def _send(self, data):
        try:
            self.connection.wire.sendall(data)
            return True
        except (OSError, peer.Stopped):
            return False

    def _head(self, first, fields, end, body=b""):
        names = {k for k, _ in fields}
        fields = list(fields)
        self.chunked = not end and not names & {"content-length", "upgrade"} and not first.startswith("HTTP/1.1 1")
        if body and end and "content-length" not in names:
            fields.append(("content-length", str(len(body))))
            self.chunked = False
        if self.chunked:
            fields.append(("transfer-encoding", "chunked"))
        text = first + "\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n"
        self.sent_end = end
        return self._send(text.encode("latin-1") + body)

    def data(self, data, end=False):
        """False when the connection took no more."""
        self.sent_end |= end
        if not self.chunked:
            return self._send(data)
        for at in range(0, len(data), 1 << 20):
            part = data[at:at + (1 << 20)]
            if not self._send(b"%x\r\n" % len(part)) or not self._send(part) or not self._send(b"\r\n"):
                return False
        return self._send(b"0\r\n\r\n") if end else True

    def trailers(self, fields):
        self.sent_end = True
        return self._send(("0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n").encode("latin-1"))

    def reset(self, code=None):
        """TCP reset of the connection."""
        self.received.end(peer.OUR_END)
        self.connection.wire.reset()

    def close(self):
        self.received.end(peer.OUR_END)
        self.connection.wire.close()

    def finish(self):
        """The end of our direction of a tunnel, or of a connection."""
        self.connection.wire.half_close()


class ClientConnection(Connection):
    protocol = "h1"

    def __init__(self, port, tls=None):
        super().__init__(peer.dial(port, tls, "http/1.1"))
        self.waiting = deque()
        peer.start(lambda: self._read_guarded(self._read, lambda: [s.received for s in self.waiting]), self.wire)

    def expect(self, method="GET"):
        """An exchange whose request the test sends itself."""
        stream = Stream(self)
        stream.method, stream.sent_end = method, True
        self.waiting.append(stream)
        return stream

    def request(self, method, path, fields=(), end=False, upgrade=None, body=b""):
        stream = self.expect(method)
        fields = [("host", "a"), *fields]
        if upgrade:
            fields += [("connection", "upgrade"), ("upgrade", upgrade), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                       ("sec-websocket-version", "13")]
        stream._head(f"{method} {path} HTTP/1.1", fields, end, body)
        return stream

    def _read(self):
        while True:
            line, fields = parse_head(self.reader.until(b"\r\n\r\n"))
            stream = self.waiting[0]
            status = line.split(" ")[1]
            head = [(":status", status), *fields]
            if status[0] == "1" and status != "101":
                stream.received.inform(head)
                continue
            stream.received.set(head=head)
            if status == "101":
                self._take_all(stream.received)
            if stream.method == "HEAD" or status in ("204", "304"):
                stream.received.end(peer.COMPLETE)
            else:
                self._read_body(stream.received, True)
            self.waiting.popleft()

    def works(self, path, last):
        """Whether another request is answered; else how the connection ended. last: the exchange before it."""
        received = last.received
        if received.get("connection") != "close" and last.sent_end and received.ended == peer.COMPLETE:
            again = self.request("GET", path, end=True).received
            return again.verdict()
        try:
            eventually(lambda: self.ended, 2)
        except AssertionError:
            return "stays open"
        return "closed" if self.ended in (peer.FIN, peer.TCP_RESET) and received.ended == peer.COMPLETE else self.ended


class OriginStream(Stream):
    def answer(self, status, fields=(), body=b"", end=False):
        upgraded = status == 101
        fields = list(fields) + ([("connection", "upgrade"), ("upgrade", "websocket")] if upgraded else [])
        if end and not body and status >= 200 and status not in (204, 304) and "content-length" not in dict(fields):
            fields.append(("content-length", "0"))
        if self.received.get(":method") == "HEAD":
            body = b""
        sent = self._head(f"HTTP/1.1 {status} X", fields, end, body if end else b"")
        return sent and (end or not body or self.data(body))

    def informational(self, status, fields=()):
        return self._send((f"HTTP/1.1 {status} X\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n").encode())


class OriginConnection(Connection):
    def __init__(self, wire, listener):
        super().__init__(wire)
        self.listener, self.current = listener, None
        peer.start(lambda: self._read_guarded(self._read, lambda: [self.current.received] if self.current else []), wire)

    def _read(self):
        while True:
            line, fields = parse_head(self.reader.until(b"\r\n\r\n"))
            method, target = (line.split(" ") + ["", ""])[:2]
            self.current = stream = OriginStream(self)
            authority = next((v for k, v in fields if k == "host"), None)
            stream.received.set(head=[(":method", method), (":path", target), (":authority", authority),
                                      *[f for f in fields if f[0] != "host"]])
            if stream.received.get("upgrade"):
                self.listener.has_request(stream)
                self._take_all(stream.received)
            if not (stream.received.get("transfer-encoding") or int(stream.received.get("content-length") or 0)):
                stream.received.end(peer.COMPLETE)
            self.listener.has_request(stream)
            if stream.received.ended is None:
                self._read_body(stream.received, False)


def origin(tls=None):
    return peer.Listener(OriginConnection, tls)
