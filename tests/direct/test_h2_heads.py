"""HTTP/2 header blocks that are too long, too many or never end, in both directions (security-cases 3, 4, 24)."""
import pytest
from support import config as c
from support import h2
from support.attack import Attack, limited, repeat
from support.wait import eventually

START = h2.frame(h2.HEADERS, 1, 1, h2.request_block(path="/flood"))  # and no END_HEADERS


def indexed(name, value):
    """Puts a field into the peer's dynamic table; \\xbe then repeats it."""
    name, value = h2.octets(name), h2.octets(value)
    return b"\x40" + h2.number(len(name), 7) + name + h2.number(len(value), 7) + value


def block_frames(block, stream=1, end=True):
    parts = [block[i:i + 16384] for i in range(0, len(block), 16384)]
    kinds = [(h2.HEADERS, int(end))] + [(h2.CONTINUATION, 0)] * (len(parts) - 1)
    return b"".join(h2.frame(kind, flags | (4 if i == len(parts) - 1 else 0), stream, part)
                    for i, ((kind, flags), part) in enumerate(zip(kinds, parts)))


ENDLESS = {"large": lambda: repeat(h2.frame(h2.CONTINUATION, 0, 1, h2.literal("x", "y" * 16000)), 3000),
           "small": lambda: repeat(h2.frame(h2.CONTINUATION, 0, 1, h2.literal("a", "b")), 100000),
           "one byte": lambda: repeat(h2.frame(h2.CONTINUATION, 0, 1, b"\x90"), 100000),
           "empty": lambda: repeat(h2.frame(h2.CONTINUATION, 0, 1), 100000)}


@pytest.mark.parametrize("kind", ENDLESS)
def test_a_head_that_never_ends_ends_the_connection(lab, kind):
    """CVE-2024-27919, CVE-2024-30255."""
    attack = Attack(lab, limited(lab))
    attack.send_all([START, *ENDLESS[kind]()])
    assert attack.peer.ended() in (h2.ENHANCE_YOUR_CALM, None)
    entry = attack.log_of("-")
    assert entry["flags"] == "DPE" and entry["details"] not in ("http2.protocol_error", "downstream_remote_disconnect", "http2.remote_reset")
    attack.stays_bounded()


@pytest.mark.parametrize("limit, details, body", [("request_headers_timeout", "request_header_timeout", "request header timeout"),
                                                  ("stream_idle_timeout", "stream_idle_timeout", "stream timeout")])
def test_a_head_that_stops_halfway_is_408(lab, limit, details, body):
    attack = Attack(lab, limited(lab, **{limit: "0.3s"}))
    attack.send_all([START])
    eventually(lambda: attack.peer.count(h2.HEADERS) and attack.peer.count(h2.DATA), 4, "the answer")
    assert [p for k, _, _, p in attack.peer.frames if k == h2.DATA][0] == body.encode()
    entry = attack.log_of("-")
    assert (entry["code"], entry["details"]) == ("408", details)


def test_a_head_that_trickles_in_is_408_all_the_same(lab):
    attack = Attack(lab, limited(lab, request_headers_timeout="0.5s"))
    attack.send_all([START])

    def answered():
        attack.peer.send(h2.frame(h2.CONTINUATION, 0, 1, b"\x90"))
        return attack.peer.count(h2.HEADERS) or attack.peer.how
    eventually(answered, 4, "the answer", step=0.2)
    assert attack.log_of("-")["details"] == "request_header_timeout"


# Beyond the limit and below 16 times that, from where on a stream is reset without an answer.
TOO_MUCH = {"decoded bytes": (indexed("x", "y" * 4000) + b"\xbe" * 90, {"max_request_headers_kb": 8192}),
            "cookies": (indexed("cookie", "y" * 4000) + b"\xbe" * 90, {"max_request_headers_kb": 8192}),
            "fields": (indexed("a", "") + b"\xbe" * 500, {"common_http_protocol_options": {"max_headers_count": 1000}}),
            "cookie crumbs": (indexed("cookie", "") + b"\xbe" * 500, {"common_http_protocol_options": {"max_headers_count": 1000}}),
            "discarded fields": (indexed("http2-settings", "") + b"\xbe" * 500, {"common_http_protocol_options": {"max_headers_count": 1000}})}


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_a_head_of_too_much_is_431_and_the_connection_stays(lab, kind):
    """CVE-2026-47774: what counts is what HPACK decodes to."""
    origin = lab.origin()
    attack = Attack(lab, limited(lab, origin))
    attack.send_all([block_frames(h2.request_block(path="/flood") + TOO_MUCH[kind][0])])
    eventually(lambda: attack.peer.heads(1) or attack.peer.resets(1), what="an answer")
    assert b"\x03431" in attack.peer.heads(1)[0] or b"431" in h2.hpack.Decoder().decode(attack.peer.heads(1)[0])[0]
    attack.peer.open(3, path="/good")
    eventually(lambda: attack.peer.heads(3), what="the answer to another")
    assert [x.path for x in origin.requests if x.path != "/other"] == ["/good"]
    entry = attack.log_of("-")
    assert (entry["code"], entry["flags"], entry["details"]) == ("431", "DPE", "http2.too_many_headers")
    attack.stays_bounded()


@pytest.mark.parametrize("kind", TOO_MUCH)
def test_a_head_of_that_much_passes_with_the_limit_raised(lab, kind):
    block, limits = TOO_MUCH[kind]
    attack = Attack(lab, limited(lab, **limits))
    attack.send_all([block_frames(h2.request_block(path="/flood") + block)])
    eventually(lambda: attack.peer.heads(1), what="an answer")
    assert attack.log_of("/flood")["code"] in ("200", "431", "503")
    assert attack.proxy.stat("http.test.downstream_rq_too_large") == 0


def test_heads_of_too_much_one_after_another_cost_little(lab):
    """CVE-2026-47774: 16 KiB on the wire, 62 MB decoded, as often as the peer likes."""
    attack = Attack(lab, limited(lab))
    attack.send_all([h2.frame(h2.HEADERS, 5, 1, h2.request_block(path="/x") + indexed("x", "y" * 3900))])
    attack.send_all(h2.frame(h2.HEADERS, 5, 2 * i + 1, h2.request_block(path="/flood") + b"\xbe" * 16000) for i in range(1, 300))
    attack.peer.borne()
    attack.stays_bounded(cpu=1.5)


@pytest.mark.release_only
def test_streams_whose_window_is_shut_hold_little(lab):
    """One MiB for each of 200 streams: what waits is bounded per stream, and the origin is held back."""
    origin = lab.origin().on("/big", lambda x: x.reply(200, b"z" * (1 << 20)))
    attack = Attack(lab, limited(lab, origin), first=h2.settings((4, 0)))
    for i in range(200):
        attack.peer.open(2 * i + 1, path="/big")
    eventually(lambda: attack.peer.count(h2.HEADERS) == 200, what="200 heads")
    assert attack.peer.borne()
    attack.stays_bounded(kib=200 * 192)


def test_more_streams_than_announced_are_refused(lab):
    origin = lab.origin().on("/flood", lambda x: x.hang())
    attack = Attack(lab, limited(lab, origin, h2_options={"max_concurrent_streams": 10}))
    for i in range(15):
        attack.peer.open(2 * i + 1, path="/flood")
    eventually(lambda: len(attack.peer.resets()) == 5, what="five refusals")
    assert set(attack.peer.resets()) == {h2.REFUSED_STREAM}
    assert len(origin.wait_requests(11)) == 11


def test_trailers_of_too_much_reset_the_stream(lab):
    attack = Attack(lab, limited(lab, lab.origin().on("/flood", lambda x: x.hang())))
    attack.send_all([h2.frame(h2.HEADERS, 4, 1, h2.request_block("POST", "/flood")), block_frames(indexed("x", "y" * 4000) + b"\xbe" * 12000)])
    eventually(lambda: attack.peer.resets(1), what="a reset")
    entry = attack.log_of("/flood")
    assert entry["flags"] in ("DPE", "DR") and entry["details"] == "http2.too_many_headers"
    assert attack.peer.borne()
    attack.stays_bounded()


def h2_upstream(lab, script, **fields):
    origin = lab.origin(raw=h2.speak).on("/x", script)
    proxy = limited(lab, c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2()), **fields)
    return origin, proxy


# What an upstream does: (the frames it sends for a request, the status and flag that the client and the log see)
HOSTILE = {
    "too much": (lambda s: block_frames(h2.status_block() + indexed("x", "y" * 4000) + b"\xbe" * 12000, s), 503, "UR"),
    "an endless head": (lambda s: h2.frame(h2.HEADERS, 0, s, h2.status_block()) + h2.frame(h2.CONTINUATION, 0, s, h2.literal("x", "y" * 16000)) * 100, 503, "UR"),
    "PINGs": (lambda s: h2.frame(h2.PING, 0, 0, b"12345678") * 100000, 502, "UPE"),
    "empty DATA": (lambda s: h2.frame(h2.HEADERS, 4, s, h2.status_block()) + h2.frame(h2.DATA, 0, s) * 1000, 200, "UPE"),
    "PUSH_PROMISE": (lambda s: h2.frame(h2.PUSH, 4, s, b"\0\0\0\2" + h2.request_block()), 502, "UPE"),
    "an upper-case name": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.status_block(200, ("X-Up", "a"))), 502, "UPE"),
    "no status": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.literal("a", "b")), 502, "UPE"),
    "two statuses": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.status_block() * 2), 502, "UPE"),
    "NUL": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.status_block(200, ("x", "a\0b"))), 502, "UPE"),
    "CR LF": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.status_block(200, ("x", "a\r\nb: c"))), 502, "UPE"),
    "connection": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.status_block(200, ("connection", "close"))), 502, "UPE"),
    "transfer-encoding": (lambda s: h2.frame(h2.HEADERS, 4, s, h2.status_block(200, ("transfer-encoding", "chunked"))) + h2.frame(h2.DATA, 1, s, b"0\r\n\r\n"), 502, "UPE"),
    "status 1000": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.literal(":status", "1000")), 502, "UPE"),
    "status 099": (lambda s: h2.frame(h2.HEADERS, 5, s, h2.literal(":status", "099")), 502, "UPE"),
    "status 101": (lambda s: h2.frame(h2.HEADERS, 4, s, h2.literal(":status", "101")), 502, "UPE"),
    "DATA before HEADERS": (lambda s: h2.frame(h2.DATA, 1, s, b"abc"), 502, "UPE"),
    "less than its length": (lambda s: h2.frame(h2.HEADERS, 4, s, h2.status_block(200, ("content-length", "5"))) + h2.frame(h2.DATA, 1, s, b"abc"), 200, "UPE"),
    "more than its length": (lambda s: h2.frame(h2.HEADERS, 4, s, h2.status_block(200, ("content-length", "1"))) + h2.frame(h2.DATA, 1, s, b"abc"), 200, "UPE"),
    "GOAWAY and no streams": (lambda s: h2.goaway(s - 2 if s > 1 else 0) + h2.settings((3, 0)), 503, "UR"),  # CVE-2021-32780
    "a reset": (lambda s: h2.rst(s, h2.INTERNAL_ERROR), 503, "UR"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_upstream_is_a_failed_request_and_no_more(lab, kind):
    frames, status, flag = HOSTILE[kind]
    def script(x):
        x.peer.send(frames(x.stream))
    origin, proxy = h2_upstream(lab, script)
    client = lab.client(proxy.port)
    assert client.get("/good").text == "origin"
    before = proxy.rss_kib()
    answer = client.get("/x")
    assert answer.status == status and (status != 200 or not answer.complete or b"abc" not in answer.body)
    assert proxy.next_log()["path"] == "/good"
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"]) == (str(status), flag)
    assert proxy.rss_kib() - before < proxy.rss_allowance_kib()
    assert lab.client(proxy.port).get("/good").text == "origin"


@pytest.mark.parametrize("kind", ["METADATA", "unknown", "ALTSVC", "ORIGIN", "PRIORITY_UPDATE"])
def test_frames_of_other_extensions_are_passed_over_in_both_directions(lab, kind):
    """CVE-2021-29258: an empty METADATA frame among them."""
    number = {"METADATA": 0x4d, "unknown": 0xfa, "ALTSVC": 10, "ORIGIN": 12, "PRIORITY_UPDATE": 16}[kind]
    payload = b"\0\0\0\1u=1" if kind == "PRIORITY_UPDATE" else b""
    stream = {"METADATA": 1, "unknown": 1}.get(kind, 0)
    def script(x):
        x.peer.send(h2.frame(number, 0, x.stream if stream else 0, payload) * 3)
        x.reply(200, b"fine")
    _, proxy = h2_upstream(lab, script)
    client = h2.Client(lab.client(proxy.port))
    client.send(h2.frame(number, 4, stream and client.stream + 2, payload) if not stream else b"")
    opened = client.open(path="/x", method="POST", end=False)
    client.send(h2.frame(number, 0, opened if stream else 0, payload) * 3)
    client.data(opened, b"", end=True)
    side = client.answer(opened)
    assert (side.status, side.body) == (200, b"fine")


@pytest.mark.parametrize("up", ["h1", "h2"])
def test_informational_answers_without_end_stay_within_bounds(lab, up):
    def by_h1(x):
        for _ in range(150):
            x.send((b"HTTP/1.1 103 Early Hints\r\nlink: " + b"y" * 900 + b"\r\n\r\n") * 200)
        x.reply(200, b"done")

    def by_h2(x):
        for _ in range(150):
            x.peer.send(h2.frame(h2.HEADERS, 4, x.stream, h2.status_block(103, ("link", "y" * 900))) * 200)
        x.reply(200, b"done")
    origin = lab.origin(raw=h2.speak if up == "h2" else None).on("/x", by_h2 if up == "h2" else by_h1)
    options = {"typed_extension_protocol_options": c.http2()} if up == "h2" else {}
    proxy = limited(lab, c.cluster("origin", origin.port, **options))
    client = lab.client(proxy.port)
    assert client.get("/good").status == 200
    before = proxy.rss_kib()
    answer = client.get("/x")
    assert answer.status in (200, 502)
    assert proxy.rss_kib() - before < proxy.rss_allowance_kib()
