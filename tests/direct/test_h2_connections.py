"""HTTP/2 connections as a whole: keep-alive PINGs on both sides, and streams that share one fairly."""
import threading
import time

import pytest
from support import config as c
from support import h2
from support.bulk import MIB, H2Wire
from support.client import Closed, Reader

STEP = 256 * 1024
KEEPALIVE = {"connection_keepalive": {"interval": "0.2s", "timeout": "0.2s", "interval_jitter": {"value": 0}}}


# PINGs (RFC 9113 6.7)

def read_pings(reader, send, pings, answer):
    """Until the connection ends: keeps what PINGs said, answers them when told to, and SETTINGS always."""
    try:
        while True:
            kind, flags, _, payload = h2.read_frame(reader)
            if kind == h2.PING and not flags & 1:
                pings.append(payload)
                if answer:
                    send(h2.frame(h2.PING, 1, 0, payload))
            elif kind == h2.SETTINGS and not flags & 1:
                send(h2.frame(h2.SETTINGS, 1))
    except (Closed, OSError):
        pass


def client_of(lab, answers_pings, path="/hang"):
    """A client with a request under way; whether it answers PINGs is asked for."""
    origin = lab.origin().on("/hang", lambda x: x.hang())
    proxy = lab.http(c.cluster("origin", origin.port), http2_protocol_options=KEEPALIVE)
    client = h2.Client(lab.client(proxy.port))
    client.open(path=path)
    pings = []

    def run():
        read_pings(client.reader, client.send, pings, answers_pings)
        over.set()
    over = threading.Event()
    threading.Thread(target=run, daemon=True).start()
    return proxy, pings, over


def test_a_client_that_answers_pings_is_kept(lab):
    _, pings, over = client_of(lab, True)
    assert not over.wait(1.5) and 3 <= len(pings) <= 8


def test_a_client_that_answers_no_ping_is_cut(lab):
    proxy, pings, over = client_of(lab, False)
    assert over.wait(3) and len(pings) == 1
    entry = proxy.next_log()
    assert entry["details"] == "http2.ping_timeout", entry


@pytest.mark.parametrize("answers", [True, False])
def test_an_upstream_is_asked_whether_it_is_there(lab, answers):
    pings, over = [], threading.Event()

    def speak(sock, origin):
        reader = Reader(sock)
        reader.exactly(len(h2.PREFACE))
        sock.sendall(h2.frame(h2.SETTINGS))
        read_pings(reader, sock.sendall, pings, answers)
        over.set()
    origin = lab.origin(raw=speak)
    proxy = lab.http(c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2(KEEPALIVE)))
    client = lab.client(proxy.port).send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    if answers:
        assert not over.wait(1.5) and 3 <= len(pings) <= 8
    else:
        assert client.response().status == 503 and over.wait(2) and len(pings) == 1
        assert "http2.ping_timeout" in proxy.next_log()["details"]


# Fairness

def test_a_small_answer_passes_a_large_one_on_the_same_connection(lab):
    """Both directions of the path are shared: one connection from the client, and one to the origin."""
    sent = threading.Event()

    def large(x):
        x.head(200)
        try:
            for _ in range(256):
                x.send(b"x" * MIB)
        except (OSError, AssertionError):
            pass
        sent.set()
    origin = lab.origin(raw=h2.speak).on("/large", large)
    proxy = lab.http(c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2()))
    client = h2.Client(lab.client(proxy.port))
    big = client.open(path="/large")
    client.until(big, lambda side: len(side.body) > 4 * MIB)
    before, start = len(client.side(big).body), time.monotonic()
    small = client.open(path="/small")
    assert client.answer(small).status == 200
    passed = len(client.side(big).body) - before
    assert passed < 24 * MIB and not sent.is_set(), f"{passed >> 20} MiB and {time.monotonic() - start:.2f} s before it"


def test_many_large_answers_share_a_connection_evenly(lab):
    origin = lab.origin().on("/large", lambda x: x.reply(200, b"x" * (64 * MIB)))
    proxy = lab.http(c.cluster("origin", origin.port))
    wire = H2Wire(lab.client(proxy.port).plain, True)
    streams = [2 * i + 1 for i in range(8)]
    for stream in streams:
        wire.send(h2.frame(h2.HEADERS, 5, stream, h2.request_block(path="/large")))
    taken, ended = dict.fromkeys(streams, 0), False
    while not ended:
        kind, flags, stream, payload = wire.next()
        if kind == h2.DATA:
            before, taken[stream], ended = taken[stream], taken[stream] + len(payload), bool(flags & 1)
            if taken[stream] // STEP > before // STEP:  # all of them together owe less than the connection's window
                wire.open_window(stream, STEP)
    assert min(taken.values()) > 4 * MIB, taken
