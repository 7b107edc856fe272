"""A proxy under attack: the attacker's raw frames, a bystander who must be served meanwhile, memory and CPU bounded."""
import os
import socket
import struct
import threading
from pathlib import Path

from . import config as c
from . import h2
from .client import Closed
from .wait import eventually, free_port

HIGH = 2000000000  # a limit out of reach


def cpu_seconds(proxy):
    fields = Path(f"/proc/{proxy.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def repeat(piece, times, size=32768):
    """The piece so many times, in sends of about `size` bytes."""
    per = max(1, size // len(piece))
    for at in range(0, times, per):
        yield piece * min(per, times - at)


def limited(lab, *clusters, routes=None, runtime=None, h2_options=None, **hcm):
    """A proxy with one HTTP listener and these limits. runtime: keys of a runtime layer; h2_options: Http2ProtocolOptions."""
    clusters = [x if isinstance(x, dict) else c.cluster(x.name, x.port) for x in clusters or [lab.origin()]]
    port = free_port()
    made = c.listener("http", port, c.hcm(routes or [c.route("/", clusters[0]["name"])], http2_protocol_options=h2_options or {}, **hcm))
    layers = {"layered_runtime": {"layers": [{"name": "limits", "static_layer": runtime}]}} if runtime else {}
    proxy = lab.proxy(c.bootstrap([made], clusters, **layers))
    proxy.port = port
    return proxy


class Attacker:
    """Sends raw frames and keeps whatever comes back, read by a thread so that neither side waits for the other."""

    def __init__(self, client, read=True, first=h2.frame(h2.SETTINGS)):
        self.client, self.frames, self.how, self.marks = client, [], None, 0
        client.close, self.close_socket = self.close, client.close
        self.send(h2.PREFACE + first)
        if read:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            while True:
                self.frames.append(h2.read_frame(self.client.reader))
        except Closed:
            self.how = "closed"
        except TimeoutError:
            self.how = "silent"
        except OSError:
            self.how = "reset"

    def close(self):
        """The thread that reads would keep the socket open for the kernel."""
        try:
            self.client.plain.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.close_socket()

    def send(self, data):
        """False when the proxy no longer takes it."""
        try:
            self.client.send(data)
            return True
        except OSError:
            return False

    def open(self, stream, end=True, **fields):
        return self.send(h2.frame(h2.HEADERS, 5 if end else 4, stream, h2.request_block(**fields)))

    def ended(self, timeout=8):
        """Waits for the end of the connection; the code of its GOAWAY, None without one."""
        eventually(lambda: self.how in ("closed", "reset"), timeout, "the end of the attacker's connection")
        codes = [int.from_bytes(p[4:8], "big") for kind, _, _, p in self.frames if kind == h2.GOAWAY]
        return codes[-1] if codes else None

    def count(self, kind):
        return sum(1 for got in list(self.frames) if got[0] == kind)

    def resets(self, stream=None):
        """The codes of the RST_STREAM frames that came."""
        return [int.from_bytes(p, "big") for kind, _, s, p in list(self.frames) if kind == h2.RST and stream in (None, s)]

    def heads(self, stream):
        return [p for kind, _, s, p in list(self.frames) if kind == h2.HEADERS and s == stream]

    def borne(self, timeout=10):
        """True when the proxy has looked at everything sent so far and still talks: a PING came back."""
        self.marks += 1
        mark = struct.pack(">Q", self.marks)

        def settled():
            return self.how or any(k == h2.PING and f & 1 and p == mark for k, f, _, p in list(self.frames))
        self.send(h2.frame(h2.PING, 0, 0, mark))
        eventually(settled, timeout, "the answer to a PING")
        return self.how is None


class Attack:
    """What the proxy looked like before, and what must hold after. `peer` is the attacker, an h2 one unless told."""

    def __init__(self, lab, proxy, raw=False, receive_buffer=None, timeout=10, **options):
        self.proxy = proxy
        self.bystander = lab.client(proxy.port)
        self.others_are_served()
        assert proxy.next_log()["path"] == "/other"
        self.rss, self.cpu = proxy.rss_kib(), cpu_seconds(proxy)
        client = lab.client(proxy.port, receive_buffer=receive_buffer, timeout=timeout)
        self.peer = client if raw else Attacker(client, **options)

    def others_are_served(self):
        answer = self.bystander.get("/other")
        assert answer.status == 200, answer

    def send_all(self, pieces):
        """Until the proxy takes no more; another client is served all the while."""
        for i, piece in enumerate(pieces):
            if not self.peer.send(piece):
                return
            if i % 16 == 0:
                self.others_are_served()

    def stays_bounded(self, cpu=2.0, kib=None):
        self.others_are_served()
        grown, used = self.proxy.rss_kib() - self.rss, cpu_seconds(self.proxy) - self.cpu
        assert grown < (kib or self.proxy.rss_allowance_kib()), f"{grown} KiB more"
        assert used < cpu, f"{used:.1f} s of CPU"

    def log_of(self, path):
        """The first entry with this path; "-" is a request that never came whole."""
        while True:
            entry = self.proxy.next_log()
            if entry["path"] == path:
                return entry
