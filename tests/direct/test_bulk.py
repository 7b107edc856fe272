"""Much data in little memory: whole bodies through h1 and h2, and readers that stop."""
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest
from support import bulk
from support import config as c
from support.bulk import MIB, ChunkedReceiver, H1Receiver, H1Sender, H2Receiver, H2Sender, H2Wire
from support.client import Reader, parse_head
from support.h2 import HEADERS, PREFACE, SETTINGS, frame, literal, request_block, status_block
from support.wait import eventually

BULK = (256 if os.environ.get("PINNACE_QUICK") else 1024) * MIB
MUCH = 128 * MIB  # more than all buffers on the way together
LIMIT_KIB = 30 * 1000 * 1000 // 1024
PROTOCOLS = [("h1", "h1"), ("h1", "h2"), ("h2", "h1"), ("h2", "h2")]


class Memory:
    """Samples a process's resident memory while a block runs."""

    def __init__(self, proxy):
        self.proxy, self.highest, self.over = proxy, 0, threading.Event()
        self.path = Path(f"/proc/{proxy.pid}/status")

    def __enter__(self):
        self.first = self._now()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        return self

    def _now(self):
        return int(re.search(r"VmRSS:\s+(\d+)", self.path.read_text())[1])

    def _run(self):
        while not self.over.wait(0.005):
            self.highest = max(self.highest, self._now())

    def __exit__(self, kind, *_):
        self.over.set()
        self.thread.join()
        if kind is None:
            allowance = self.proxy.rss_allowance_kib()
            limit = LIMIT_KIB if allowance <= 6 * 1024 else self.first + allowance
            assert self.highest < limit, f"{self.highest} KiB resident, {self.first} at the beginning"


class Way:
    """A client, a proxy and an origin, each one connection, and one exchange between them."""

    def __init__(self, lab, down, up):
        self.lab, self.down, self.up = lab, down, up
        self.listener = lab.keep(socket.create_server(("127.0.0.1", 0)))
        options = {"typed_extension_protocol_options": c.http2()} if up == "h2" else {}
        self.proxy = lab.http(c.cluster("o", self.listener.getsockname()[1], **options), routes=[c.route("/", "o", timeout="0s")])

    def _request(self, size):
        """Sends a request head (with a body to follow when there is a size) and takes it at the origin."""
        self.client = self.lab.client(self.proxy.port).plain
        method = "POST" if size else "GET"
        length = [("content-length", str(size))] if size and size > 0 else []
        if self.down == "h1":
            fields = [f"{k}: {v}\r\n" for k, v in length or [("transfer-encoding", "chunked")] * bool(size)]
            self.client.sendall(f"{method} / HTTP/1.1\r\nhost: a\r\n{''.join(fields)}\r\n".encode())
        else:
            self.client_wire = H2Wire(self.client, True)
            self.client_wire.send(frame(HEADERS, 4 if size else 5, 1, request_block(method, fields=length)))
        self.listener.settimeout(10)
        self.origin, _ = self.listener.accept()
        self.lab.keep(self.origin)
        self.origin.settimeout(20)
        if self.up == "h1":
            self.origin_reader = Reader(self.origin)
            return parse_head(self.origin_reader.until(b"\r\n\r\n"))[1]
        self.origin_wire = H2Wire(self.origin, False)
        self.origin_wire.skip_preface()
        kind, _, self.origin_stream, _ = self.origin_wire.next()
        assert kind == HEADERS
        return []

    def upload(self, size, held=None, known=True):
        fields = self._request(size if known else -1)
        if self.up == "h2":
            receiver = H2Receiver(self.origin_wire, self.origin_stream, size, held)
        else:
            kind = ChunkedReceiver if ("transfer-encoding", "chunked") in fields else H1Receiver
            receiver = kind(self.origin, size, bool(held), self.origin_reader.buffer)
        return self._sender(self.down, self.client, size, getattr(self, "client_wire", None), 1), receiver

    def _sender(self, protocol, sock, size, wire, stream):
        if protocol == "h1":
            return H1Sender(sock, size)
        wire.read_on()
        return H2Sender(wire, stream, size)

    def download(self, size, held=None, known=True):
        self._request(0)
        length = [("content-length", str(size))] if known else []
        if self.up == "h1":
            assert known
            self.origin.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        else:
            self.origin_wire.send(frame(HEADERS, 4, self.origin_stream, status_block(200, *length)))
        sender = self._sender(self.up, self.origin, size, getattr(self, "origin_wire", None), getattr(self, "origin_stream", 0))
        if self.down == "h2":
            return sender, H2Receiver(self.client_wire, 1, size, held)
        reader = Reader(self.client)
        fields = parse_head(reader.until(b"\r\n\r\n"))[1]
        kind = ChunkedReceiver if ("transfer-encoding", "chunked") in fields else H1Receiver
        return sender, kind(self.client, size, bool(held), reader.buffer)


@pytest.mark.parametrize("direction", ["upload", "download"])
@pytest.mark.parametrize("down, up", PROTOCOLS)
def test_a_huge_body_passes_whole_in_30_mb(lab, down, up, direction):
    way = Way(lab, down, up)
    with Memory(way.proxy):
        sender, receiver = getattr(way, direction)(BULK)
        receiver.start()
        sender.start()
        receiver.check()
        sender.finish()


@pytest.mark.parametrize("down, up, direction", [("h2", "h1", "upload"), ("h1", "h2", "download")])
def test_a_body_of_unknown_length_becomes_chunks_in_30_mb(lab, down, up, direction):
    way = Way(lab, down, up)
    with Memory(way.proxy):
        sender, receiver = getattr(way, direction)(BULK // 4, known=False)
        receiver.start()
        sender.start()
        receiver.check()
        sender.finish()


def held_back(protocol):
    return ["socket"] if protocol == "h1" else ["socket", "window"]


STOPPING = [(down, up, direction, held) for down, up in PROTOCOLS for direction in ("upload", "download")
            for held in held_back(up if direction == "upload" else down)]


@pytest.mark.parametrize("down, up, direction, held", STOPPING)
def test_a_reader_that_stops_stops_the_writer(lab, down, up, direction, held):
    way = Way(lab, down, up)
    with Memory(way.proxy) as memory:
        sender, receiver = getattr(way, direction)(MUCH, held)
        receiver.start()
        sender.start()
        assert sender.stalls(), f"{MUCH >> 20} MiB vanished into a path whose end does not read"
        assert sender.moved < MUCH // 2
        receiver.release()
        receiver.check()
        sender.finish()
