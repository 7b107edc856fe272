"""What the scripted peers of h1peer and h2peer share: a socket for two threads, and a message as it came in.

A test drives both ends of a proxy step by step from one thread; each connection has threads of its own that read whatever
comes, so every step can wait for what the one before it should have caused.
"""
import contextlib
import os
import select
import socket
import ssl
import struct
import threading
import time
import zlib

PATIENCE = 3.0  # seconds a step may take
COMPLETE, FIN, TCP_RESET, OUR_END = "complete", "FIN", "TCP reset", "we ended it"


class Stopped(Exception):
    """Our own side has ended the connection."""


class Wire:
    """A socket (plain or TLS) that one thread reads while others write, and that can be closed or reset under them."""

    def __init__(self, sock):
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock, self.lock, self.stopped = sock, threading.Lock(), False
        self.wake, self.waker = os.pipe()
        self.threads = []  # they must have let go of the socket before it can be closed
        self.on_stop = lambda: None

    def _try(self, operation, *args):
        """The result, or the two lists to select on."""
        with self.lock:
            if self.stopped:
                raise Stopped()
            try:
                return operation(*args), None
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError) as want:
                reads = isinstance(want, ssl.SSLWantReadError) or (operation == self.sock.recv and not isinstance(want, ssl.SSLError))
                return None, ([self.sock, self.wake], []) if reads else ([self.wake], [self.sock])

    def recv(self, size=1 << 18):
        while True:
            got, awaited = self._try(self.sock.recv, size)
            if awaited is None:
                return got
            select.select(*awaited, [])

    def sendall(self, data, timeout=30):
        view = memoryview(data).cast("B")
        end = time.monotonic() + timeout
        while view:
            sent, awaited = self._try(self.sock.send, view[:1 << 18])
            if awaited is None:
                view = view[sent:]
            elif not any(select.select(*awaited, [], max(0, end - time.monotonic()))):
                raise TimeoutError(f"nothing taken for {timeout} s")

    def half_close(self):
        with self.lock, contextlib.suppress(OSError):  # both directions may be over already
            socket.socket.shutdown(self.sock, socket.SHUT_WR)  # not SSLSocket's, which would no longer decrypt

    def _stop(self):
        with self.lock:
            if self.stopped:
                return False
            self.stopped = True
        os.write(self.waker, b"x")
        self.on_stop()
        for thread in self.threads:
            if thread is not threading.current_thread():
                thread.join(PATIENCE)
        return True

    def close(self):
        """FIN, over TLS after a close_notify."""
        if not self._stop():
            return
        try:
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        except (OSError, ValueError):
            pass
        self.sock.close()
        self._drop_pipe()

    def reset(self):
        if not self._stop():
            return
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()
        self._drop_pipe()

    def _drop_pipe(self):
        os.close(self.wake)
        os.close(self.waker)


def start(work, wire):
    thread = threading.Thread(target=work, daemon=True)
    wire.threads.append(thread)
    thread.start()


def dial(port, tls=None, alpn=None):
    sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
    if tls:
        sock = tls.wrap_socket(sock)
        assert sock.selected_alpn_protocol() == alpn, sock.selected_alpn_protocol()
    return Wire(sock)


class Body:
    """Bytes, of which only the beginning is kept when they are many."""
    KEPT = 1 << 16

    def __init__(self):
        self.kept, self.size, self.crc = bytearray(), 0, 0

    def add(self, data):
        self.size += len(data)
        self.crc = zlib.crc32(data, self.crc)
        if len(self.kept) < self.KEPT:
            self.kept += data[:self.KEPT - len(self.kept)]

    def value(self):
        return bytes(self.kept) if self.size <= self.KEPT else f"{self.size} bytes, crc32 {self.crc:08x}"


def described(data):
    body = Body()
    body.add(data)
    return body.value()


class Received:
    """One message as it came in, and how it ended: COMPLETE, FIN, TCP_RESET, "RST_STREAM n", "GOAWAY n", or our objection."""

    def __init__(self):
        self.changed = threading.Condition()
        self.head = None    # fields, pseudo-fields included
        self.informational = []
        self.body, self.trailers, self.ended = Body(), [], None
        self.late_reset = None  # RST_STREAM after the message was complete

    def set(self, **fields):
        with self.changed:
            for name, value in fields.items():
                setattr(self, name, value)
            self.changed.notify_all()

    def inform(self, head):
        with self.changed:
            self.informational.append(head)
            self.changed.notify_all()

    def add(self, data):
        with self.changed:
            self.body.add(data)
            self.changed.notify_all()

    def end(self, how):
        with self.changed:
            if self.ended is None or how == OUR_END:
                self.ended = how
            self.changed.notify_all()

    def get(self, name):
        return next((v for k, v in self.head or () if k == name), None)

    def wait(self, check, what, timeout=PATIENCE):
        with self.changed:
            if not self.changed.wait_for(lambda: check(self), timeout):
                raise AssertionError(f"not within {timeout} s: {what}; came: {self.head} {self.body.size} bytes, ended: {self.ended}")
        return self

    def verdict(self):
        """Whether this is a good answer; else how it ended."""
        try:
            self.wait_end()
        except AssertionError:
            return "no answer"
        return "works" if self.ended == COMPLETE and self.get(":status") == "200" else self.ended

    def wait_head(self):
        return self.wait(lambda x: x.head or x.ended, "a head")

    def wait_body(self, size):
        return self.wait(lambda x: x.body.size >= size or x.ended, f"{size} bytes of the body")

    def wait_end(self, timeout=PATIENCE):
        return self.wait(lambda x: x.ended, "the end of the message", timeout)


class Listener:
    """Accepts connections and makes peers of them; hands their requests to the test, in order."""

    def __init__(self, make, tls=None):
        self.make, self.tls = make, tls
        self.connections, self.requests, self.changed = [], [], threading.Condition()
        self.taken = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE)
            try:
                wire = Wire(self.tls.wrap_socket(sock, server_side=True) if self.tls else sock)
            except OSError:
                continue
            with self.changed:  # before its first request is heard of
                self.connections.append(self.make(wire, self))

    def has_request(self, stream):
        """Called by a connection's thread. What is asked only to see whether a connection still works is answered here."""
        if stream.received.get(":path").endswith("/after"):
            return stream.answer(200, [("content-length", "5")], b"after", end=True)
        with self.changed:
            self.requests.append(stream)
            self.changed.notify_all()

    def next(self, timeout=PATIENCE):
        """The next request, once its head is here."""
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.requests) > self.taken, timeout):
                raise AssertionError(f"no request within {timeout} s")
            self.taken += 1
            return self.requests[self.taken - 1]

    def forget(self):
        """Closes all connections; the next case begins afresh."""
        with self.changed:
            connections, self.connections = self.connections, []
            self.requests, self.taken = [], 0
        for connection in connections:
            connection.wire.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.forget()
