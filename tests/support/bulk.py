"""Much data at the speed of C: who sends and who receives it over HTTP/1.1 and HTTP/2, each on a thread of its own.

Every MiB begins with its number, so what is lost, doubled or out of order changes the checksum.
"""
import functools
import socket
import struct
import threading
import time
import zlib

from .h2 import DATA, GOAWAY, HEADERS, PING, PREFACE, RST, SETTINGS, WINDOW, frame, literal, request_block, status_block
from .wait import eventually

MIB = 1 << 20
FRAME = 16384
PATTERN = bytes(i * 7 % 251 for i in range(MIB))
WINDOW_SIZE = 4 * MIB


@functools.cache
def checksum(size):
    """Of the first `size` bytes (whole MiB) of what a Sender sends."""
    crc, piece = 0, bytearray(PATTERN)
    for number in range(size // MIB):
        struct.pack_into(">Q", piece, 0, number)
        crc = zlib.crc32(piece, crc)
    return crc


class Worker:
    """A thread and how it ended."""

    def __init__(self, sock):
        self.sock, self.moved, self.error, self.done = sock, 0, None, threading.Event()
        sock.settimeout(120)

    def start(self):
        threading.Thread(target=self._guarded, daemon=True).start()
        return self

    def _guarded(self):
        try:
            self.run()
        except (OSError, AssertionError, ValueError) as error:
            self.error = error
        self.done.set()

    def finish(self, timeout=120):
        assert self.done.wait(timeout), f"{type(self).__name__}: only {self.moved >> 20} MiB in {timeout} s"
        if self.error:
            raise AssertionError(f"{type(self).__name__} after {self.moved} bytes: {self.error!r}")

    def stalls(self, still=0.5, timeout=20):
        """Waits until nothing has moved for a while; True when that was not the end."""
        seen = [self.moved, time.monotonic()]

        def quiet():
            if self.done.is_set():
                return True
            if self.moved != seen[0]:
                seen[:] = self.moved, time.monotonic()
            return time.monotonic() - seen[1] > still
        eventually(quiet, timeout, "a writer that stands still")
        return not self.done.is_set()


class H1Sender(Worker):
    """Sends a body of `size` bytes whose head is out already."""

    def __init__(self, sock, size):
        super().__init__(sock)
        self.size = size

    def run(self):
        piece = bytearray(PATTERN)
        for number in range(self.size // MIB):
            struct.pack_into(">Q", piece, 0, number)
            view = memoryview(piece)
            while view:
                sent = self.sock.send(view)
                self.moved += sent
                view = view[sent:]


class Receiver(Worker):
    """Receives a body of `size` bytes; it can be held back from the beginning on."""

    def __init__(self, sock, size, held=False):
        super().__init__(sock)
        self.size, self.crc, self.go = size, 0, threading.Event()
        if not held:
            self.go.set()

    def release(self):
        self.go.set()

    def take(self, view):
        self.crc = zlib.crc32(view, self.crc)
        self.moved += len(view)

    def check(self):
        self.finish()
        assert (self.moved, self.crc) == (self.size, checksum(self.size)), (self.moved, self.size)


class H1Receiver(Receiver):
    """`before`: body bytes that came with the head."""

    def __init__(self, sock, size, held=False, before=b""):
        super().__init__(sock, size, held)
        self.before = before

    def run(self):
        self.go.wait(120)
        self.take(self.before)
        buffer = bytearray(MIB)
        view = memoryview(buffer)
        while self.moved < self.size:
            n = self.sock.recv_into(view, min(MIB, self.size - self.moved))
            assert n, "closed too soon"
            self.take(view[:n])


class ChunkedReceiver(Receiver):
    """Reads chunks; `before`: what came after the head."""

    def __init__(self, sock, size, held=False, before=b""):
        super().__init__(sock, size, held)
        self.before = before

    def run(self):
        self.go.wait(120)
        data, left = memoryview(self.before), 0  # left: of the chunk with its CRLF
        buffer = bytearray(MIB)
        while True:
            if left > 2:
                part = data[:left - 2]
                self.take(part)
                data, left = data[len(part):], left - len(part)
            if left <= 2 and data:
                if left:
                    step = min(left, len(data))
                    data, left = data[step:], left - step
                if not left and data:
                    line = bytes(data[:32])
                    if b"\r\n" in line:
                        text = line.partition(b"\r\n")[0]
                        data, left = data[len(text) + 2:], int(text, 16) + 2
                        if left == 2:
                            return
                        continue
            if left > 2 and data:
                continue
            kept = len(data)
            buffer[:kept] = bytes(data)
            n = self.sock.recv_into(memoryview(buffer)[kept:])
            assert n, "closed too soon"
            data = memoryview(buffer)[:kept + n]


class H2Wire:
    """One HTTP/2 connection with one stream that matters: reads frames, answers SETTINGS and PING, opens windows."""

    def __init__(self, sock, client):
        self.sock, self.lock = sock, threading.Lock()
        self.window = {0: 65535}  # what we may send; a stream's comes with its SETTINGS
        self.initial, self.changed = 65535, threading.Condition()
        self.buffer, self.view = bytearray(2 * MIB), None
        self.data = memoryview(b"")
        hello = frame(SETTINGS, 0, 0, struct.pack(">HI", 4, WINDOW_SIZE)) + frame(WINDOW, 0, 0, struct.pack(">I", WINDOW_SIZE))
        self.send((PREFACE if client else b"") + hello)

    def send(self, data):
        with self.lock:
            self.sock.sendall(data)

    def fill(self):
        kept = len(self.data)
        self.buffer[:kept] = bytes(self.data)
        n = self.sock.recv_into(memoryview(self.buffer)[kept:])
        if not n:
            raise OSError("closed")
        self.data = memoryview(self.buffer)[:kept + n]

    def skip_preface(self):
        while len(self.data) < len(PREFACE):
            self.fill()
        assert bytes(self.data[:len(PREFACE)]) == PREFACE
        self.data = self.data[len(PREFACE):]

    def next(self):
        """(kind, flags, stream, payload) of the next HEADERS or DATA; a payload is valid until the next call."""
        while True:
            while len(self.data) < 9 or len(self.data) < 9 + int.from_bytes(self.data[:3], "big"):
                self.fill()
            length, kind, flags = int.from_bytes(self.data[:3], "big"), self.data[3], self.data[4]
            stream = int.from_bytes(self.data[5:9], "big")
            payload, self.data = self.data[9:9 + length], self.data[9 + length:]
            if kind in (DATA, HEADERS):
                return kind, flags, stream, payload
            self.control(kind, flags, stream, bytes(payload))

    def control(self, kind, flags, stream, payload):
        if kind in (RST, GOAWAY):
            raise OSError(f"frame {kind} with code {int.from_bytes(payload[-4:], 'big')} on stream {stream}")
        if kind == PING and not flags:
            self.send(frame(PING, 1, 0, payload))
        with self.changed:
            if kind == SETTINGS and not flags:
                for at in range(0, len(payload), 6):
                    name, value = struct.unpack_from(">HI", payload, at)
                    if name == 4:
                        for one in self.window:
                            if one:
                                self.window[one] += value - self.initial
                        self.initial = value
                self.changed.notify_all()
            elif kind == WINDOW:
                self.window[stream] = self.window.get(stream, self.initial) + int.from_bytes(payload, "big")
                self.changed.notify_all()
        if kind == SETTINGS and not flags:
            self.send(frame(SETTINGS, 1))

    def open_window(self, stream, size):
        more = struct.pack(">I", size)
        self.send(frame(WINDOW, 0, 0, more) + frame(WINDOW, 0, stream, more))

    def read_on(self):
        """Keeps reading on a thread, for who only sends."""
        def run():
            try:
                while True:
                    self.next()
            except OSError:
                with self.changed:
                    self.window[0] = -1
                    self.changed.notify_all()
        threading.Thread(target=run, daemon=True).start()


class H2Sender(Worker):
    """DATA frames on a stream whose head is out already. Needs H2Wire.read_on() for its windows."""

    def __init__(self, wire, stream, size):
        super().__init__(wire.sock)
        self.wire, self.stream, self.size = wire, stream, size
        self.waits_for_window = False

    def run(self):
        frames = bytearray(b"".join(frame(DATA, 0, self.stream, PATTERN[at:at + FRAME]) for at in range(0, MIB, FRAME)))
        for number in range(self.size // MIB):
            struct.pack_into(">Q", frames, 9, number)
            if number == self.size // MIB - 1:
                frames[-FRAME - 9 + 4] = 1  # END_STREAM
            at, count = 0, MIB // FRAME
            while at < count:
                n = min(self._room() // FRAME, count - at)
                with self.wire.changed:
                    self.wire.window[0] -= n * FRAME
                    self.wire.window[self.stream] -= n * FRAME
                self.wire.send(memoryview(frames)[at * (FRAME + 9):(at + n) * (FRAME + 9)])
                self.moved += n * FRAME
                at += n

    def _room(self):
        wire = self.wire
        with wire.changed:
            wire.window.setdefault(self.stream, wire.initial)

            def room():
                return min(wire.window[0], wire.window[self.stream])
            if room() < FRAME:
                self.waits_for_window = True
                wire.changed.wait_for(lambda: room() >= FRAME or wire.window[0] < 0, 120)
                self.waits_for_window = False
            assert room() >= FRAME, f"no window: {wire.window}"
            return room()


class H2Receiver(Receiver):
    """held: "socket" reads nothing, "window" reads but gives no window back, until .go is set."""

    def __init__(self, wire, stream, size, held=None):
        super().__init__(wire.sock, size, held == "socket")
        self.wire, self.stream, self.due = wire, stream, 0
        self.window_open = threading.Event()
        if held != "window":
            self.window_open.set()

    def release(self):
        self.window_open.set()
        self.go.set()
        self._give_back()  # the reader waits for what only a window brings

    def _give_back(self):
        with self.wire.changed:
            due, self.due = self.due, 0
        if due:
            self.wire.open_window(self.stream, due)

    def run(self):
        self.go.wait(120)
        ended = False
        while not ended:
            kind, flags, stream, payload = self.wire.next()
            if stream != self.stream:
                continue
            ended = bool(flags & 1)
            if kind == DATA:
                self.take(payload)
                with self.wire.changed:
                    self.due += len(payload)
                if self.due >= MIB and self.window_open.is_set():
                    self._give_back()
