"""An HTTP/2 peer that floods loses its own connection and nothing else (security-cases 1, 2, 5, 6).

Every flood whose limit is configurable runs twice: under the default, where the connection ends with the right code and
the log says why, and with that limit out of reach, where the same bytes are borne.
"""
import os
import struct

import pytest
from support import config as c
from support import h2
from support.attack import HIGH, Attack, limited, repeat
from support.wait import eventually

FLOOD = h2.frame(h2.HEADERS, 4, 1, h2.request_block("POST", "/flood"))  # its log entry tells why the connection ended


CYCLES = 1_000_000 if os.environ.get("PINNACE_LARGE") else 1500  # of what may leak; a million take a quarter of an hour


def hanging(lab):
    return lab.origin().on("/flood", lambda x: x.hang())


# kind: (the frames, the option that bears them, the detail in the log)
FLOODS = {
    "empty DATA": (lambda: repeat(h2.frame(h2.DATA, 0, 1), 20000), "max_consecutive_inbound_frames_with_empty_payload",
                   "http2.inbound_empty_frames_flood"),
    "PRIORITY": (lambda: repeat(h2.frame(h2.PRIORITY, 0, 3, b"\0\0\0\5\1"), 20000), "max_inbound_priority_frames_per_stream",
                 "http2.inbound_priority_frames_flood"),
    "WINDOW_UPDATE": (lambda: repeat(h2.window(1, 1), 20000), "max_inbound_window_update_frames_per_data_frame_sent",
                      "http2.inbound_window_update_frames_flood"),
    "WINDOW_UPDATE of the connection": (lambda: repeat(h2.window(0, 1), 20000), "max_inbound_window_update_frames_per_data_frame_sent",
                                        "http2.inbound_window_update_frames_flood"),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_small_frames_ends_its_connection(lab, kind):
    frames, _, detail = FLOODS[kind]
    attack = Attack(lab, limited(lab, hanging(lab)))
    attack.send_all([FLOOD, *frames()])
    assert attack.peer.ended() == h2.ENHANCE_YOUR_CALM
    entry = attack.log_of("/flood")
    assert (entry["flags"], entry["details"]) == ("DPE", detail)
    attack.stays_bounded()


@pytest.mark.parametrize("kind", FLOODS)
def test_the_same_flood_is_borne_with_its_limit_out_of_reach(lab, kind):
    frames, option, _ = FLOODS[kind]
    most = 10000000 if option.endswith("sent") else HIGH
    # A WINDOW_UPDATE allowance grows with the DATA frames sent, of which there are none: it needs one.
    attack = Attack(lab, limited(lab, lab.origin().on("/flood", answer_slowly), h2_options={option: most}))
    attack.send_all([FLOOD])
    eventually(lambda: attack.peer.count(h2.DATA), what="the first DATA frame")
    attack.send_all(frames())
    assert attack.peer.borne()


def answer_slowly(x):
    x.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na")
    x.hang()


CONTROL = {"PING": h2.frame(h2.PING, 0, 0, b"12345678"), "SETTINGS": h2.settings((4, 65535))}


@pytest.mark.parametrize("kind", CONTROL)
def test_answers_to_control_frames_that_nobody_reads_end_the_connection(lab, kind):
    attack = Attack(lab, limited(lab, hanging(lab)), read=False, receive_buffer=4096, timeout=3)
    attack.send_all([FLOOD, *repeat(CONTROL[kind], 2000000)])
    entry = attack.log_of("/flood")
    assert (entry["flags"], entry["details"]) == ("DPE", "http2.outbound_control_frames_flood")
    attack.stays_bounded(cpu=4)


@pytest.mark.parametrize("kind", CONTROL)
def test_many_control_frames_at_once_are_borne_with_the_limit_out_of_reach(lab, kind):
    burst = CONTROL[kind] * 5000
    for most, borne in ((None, False), (HIGH, True)):
        options = {"max_outbound_control_frames": most, "max_outbound_frames": most} if most else {}
        attack = Attack(lab, limited(lab, hanging(lab), h2_options=options))
        attack.send_all([burst])
        assert attack.peer.borne() == borne


def test_answers_that_nobody_reads_end_the_connection(lab):
    """Streams beyond the concurrent ones are refused; the refusals pile up when they are not read."""
    direct = [c.route("/big", {"direct_response": {"status": 200, "body": {"inline_string": "x" * 4000}}}), c.route("/", "origin")]
    attack = Attack(lab, limited(lab, hanging(lab), routes=direct), read=False, receive_buffer=4096, timeout=3,
                    first=h2.settings((4, (1 << 31) - 1)) + h2.window(0, h2.WIDE_OPEN))
    attack.send_all([FLOOD])
    attack.send_all(b"".join(h2.frame(h2.HEADERS, 5, 2 * i + 1, h2.request_block(path="/big")) for i in range(at, at + 100))
                    for at in range(1, 100000, 100))
    entry = attack.log_of("/flood")
    assert (entry["flags"], entry["details"]) == ("DPE", "http2.outbound_frames_flood")
    sanitized = attack.proxy.rss_allowance_kib() > 6 * 1024
    attack.stays_bounded(cpu=4, kib=(224 if sanitized else 32) * 1024)


def resets(count, first=0):
    for at in range(first, first + count, 250):
        yield b"".join(h2.frame(h2.HEADERS, 5, 2 * i + 3, h2.request_block(path="/flood")) + h2.rst(2 * i + 3)
                       for i in range(at, min(first + count, at + 250)))


def test_rapid_resets_end_the_connection(lab):
    """CVE-2023-44487."""
    attack = Attack(lab, limited(lab, hanging(lab)))
    attack.send_all([FLOOD, *resets(100000)])
    attack.peer.ended()
    assert attack.proxy.stat("http.test.downstream_rq_too_many_premature_resets") == 1
    assert attack.proxy.stat("http.test.downstream_rq_http2_total") < 1000
    entries = [attack.log_of("/flood") for _ in range(attack.proxy.stat("http.test.downstream_rq_http2_total"))]
    assert {e["details"] for e in entries} == {"http2.remote_reset", "too_many_premature_resets"}
    attack.stays_bounded()


@pytest.mark.parametrize("key, value", [("overload.premature_reset_total_stream_count", HIGH)])
def test_rapid_resets_are_borne_with_the_limit_out_of_reach(lab, key, value):
    attack = Attack(lab, limited(lab, hanging(lab), runtime={key: value}))
    attack.send_all(resets(3000))
    assert attack.peer.borne()


def test_resets_of_streams_that_lived_long_enough_are_no_attack(lab):
    attack = Attack(lab, limited(lab, lab.origin(), runtime={"overload.premature_reset_total_stream_count": 20}))
    for i in range(60):  # answered, then reset: not premature
        attack.peer.open(2 * i + 1, path="/")
        eventually(lambda: attack.peer.heads(2 * i + 1), what="an answer")
        attack.peer.send(h2.rst(2 * i + 1))
    assert attack.peer.borne()


def made(stream, kind):
    """A request, and what makes the proxy reset it (MadeYouReset, CVE-2025-8671)."""
    fields = (("content-length", "1"),) if kind == "too long a body" else ()
    head = h2.frame(h2.HEADERS, 4, stream, h2.request_block("POST", "/flood", fields=fields))
    return head + {"window overflow": h2.window(stream, 0x7fffffff), "too long a body": h2.frame(h2.DATA, 0, stream, b"abc"),
                   "bad trailers": h2.frame(h2.HEADERS, 5, stream, h2.literal(":path", "/x"))}[kind]


MADE = ["window overflow", "too long a body", "bad trailers"]


@pytest.mark.parametrize("kind", MADE)
def test_resets_that_the_proxy_is_made_to_send_end_the_connection(lab, kind):
    origin = hanging(lab)
    attack = Attack(lab, limited(lab, origin))
    attack.send_all(b"".join(made(2 * i + 1, kind) for i in range(at, at + 50)) for at in range(0, 20000, 50))
    attack.peer.ended()
    assert attack.proxy.stat("http.test.downstream_rq_http2_total") < 1000
    entry = attack.log_of("/flood")
    assert entry["flags"] == "DPE" and entry["details"] not in ("http2.remote_reset", "downstream_remote_disconnect")
    origin.wait_connections(lambda n: n <= 1)  # the requests upstream are given up
    assert attack.proxy.stat("cluster.origin.upstream_rq_active") == 0
    attack.stays_bounded(kib=10 * 1024 + attack.proxy.rss_allowance_kib())


@pytest.mark.parametrize("kind", MADE)
def test_resets_that_the_proxy_is_made_to_send_are_borne_with_the_limit_out_of_reach(lab, kind):
    attack = Attack(lab, limited(lab, hanging(lab), runtime={"overload.premature_reset_total_stream_count": HIGH}))
    attack.send_all(b"".join(made(2 * i + 1, kind) for i in range(at, at + 50)) for at in range(0, 500, 50))
    assert attack.peer.borne() and len(attack.peer.resets()) == 500


BROKEN = {"WINDOW_UPDATE of nothing": (h2.window(1, 0), h2.PROTOCOL_ERROR), "PRIORITY on itself": (h2.frame(h2.PRIORITY, 0, 1, struct.pack(">IB", 1, 1)), None),
          "DATA after the end": (h2.frame(h2.DATA, 0, 1, b"x"), h2.STREAM_CLOSED), "PRIORITY too short": (h2.frame(h2.PRIORITY, 0, 1, b"\0\0"), h2.FRAME_SIZE_ERROR),
          "HEADERS after the end": (h2.frame(h2.HEADERS, 5, 1, h2.literal("a", "b")), h2.STREAM_CLOSED),
          "PUSH_PROMISE": (h2.frame(h2.PUSH, 4, 1, b"\0\0\0\2" + h2.request_block()), h2.PROTOCOL_ERROR),
          "a frame too large": (h2.frame(h2.DATA, 0, 1, b"x" * 16385), h2.FRAME_SIZE_ERROR),
          "an even stream": (h2.frame(h2.HEADERS, 5, 2, h2.request_block()), h2.PROTOCOL_ERROR),
          "bad HPACK": (h2.frame(h2.HEADERS, 5, 3, b"\xff\xff\xff\xff\xff\xff"), h2.COMPRESSION_ERROR),
          "SETTINGS of a bad size": (h2.frame(h2.SETTINGS, 0, 0, b"\0"), h2.FRAME_SIZE_ERROR),
          "a window too large": (h2.settings((4, 0xffffffff)), h2.FLOW_CONTROL_ERROR)}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_frame_ends_the_connection_as_a_protocol_error(lab, kind):
    bad, code = BROKEN[kind]
    attack = Attack(lab, limited(lab, hanging(lab)))
    attack.peer.open(1, path="/flood")
    attack.send_all([bad])
    assert attack.peer.ended() in ((code,) if code else (h2.PROTOCOL_ERROR, h2.FRAME_SIZE_ERROR))
    entry = attack.log_of("/flood")
    assert entry["flags"] == "DPE" and entry["details"].startswith(("http2.", "codec_error"))
    attack.stays_bounded()


@pytest.mark.timeout(120 + CYCLES // 200)
def test_an_upstream_that_resets_and_goes_away_leaks_nothing(lab):
    """CVE-2023-35945: RST_STREAM and GOAWAY in one read."""
    def go(x):
        x.peer.send(h2.rst(x.stream) + h2.goaway(x.stream))
    origin = lab.origin(raw=h2.speak).on("/gone", go)
    proxy = limited(lab, c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2()))
    client = lab.client(proxy.port)
    for _ in range(200):
        assert client.get("/gone").status == 503
    before = proxy.rss_kib()
    for _ in range(CYCLES):
        assert client.get("/gone").status == 503
        origin.requests.clear()
        origin.tls_errors.clear()
    assert proxy.rss_kib() - before < 1024
    assert proxy.stat("cluster.origin.upstream_rq_active") == 0
    eventually(lambda: proxy.stat("cluster.origin.upstream_cx_active") <= 1, what="the connections to be closed")
