"""http2.* and cluster.<name>.http2.*: what happens on a connection counts under the same names as with real Envoy."""
import pytest
from support import config as c
from support import h2
from support.client import Closed
from support.lab import Lab
from support.proxy import ENVOY, PINNACE
from support.wait import eventually

# What pinnace counts. streams_active and pending_send_bytes have tests of their own.
OURS = ["goaway_sent", "header_overflow", "headers_cb_no_stream", "inbound_empty_frames_flood", "inbound_priority_frames_flood",
        "inbound_window_update_frames_flood", "keepalive_timeout", "outbound_control_flood", "outbound_flood", "pending_send_bytes",
        "rx_messaging_error", "rx_reset", "stream_refused_errors", "streams_active", "trailers", "tx_reset"]
# Names of Envoy's for what cannot happen here: METADATA, underscores that are looked for, a timer for the last frames, a choice of libraries.
THEIRS = ["cookies_total_bytes_too_large", "deferred_stream_close", "dropped_headers_with_underscores", "header_list_size_too_large", "metadata_empty_frames",
          "nghttp2_downstream_connections", "nghttp2_upstream_connections", "oghttp2_downstream_connections", "oghttp2_upstream_connections",
          "outbound_control_frames_active", "outbound_frames_active", "requests_rejected_with_underscores_in_headers", "tx_flush_timeout"]
SMALL = h2.settings((4, 1000))  # a client with room for WINDOW_UPDATEs


def made(lab, binary):
    origin = lab.origin(raw=h2.speak)
    origin.on("/slow", lambda x: x.hang())
    origin.on("/half", half)
    origin.on("/trailers", trailers)
    origin.on("/reset", lambda x: x.reset())
    origin.on("/many", lambda x: x.head(200, [("x", "y")] * 101, end=True))
    origin.on("/bad", lambda x: x.head(200, [("Upper", "case")], end=True))
    options = {"connection_keepalive": {"interval": "600s", "timeout": "5s"}, "max_concurrent_streams": 5}
    proxy = lab.http(c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2()), binary=binary, http2_protocol_options=options)
    return proxy, origin


def half(x):
    x.head(200)
    x.send(b"half")
    x.hang()


def trailers(x):
    x.read_body()
    x.head(200)
    x.end_with([("a", "b")])


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("pair"))
    yield lab, [made(lab, binary) for binary in (ENVOY, PINNACE)]
    lab.close()


def counted(proxy):
    """(downstream, upstream) without histograms."""
    lines = proxy.admin("/stats?filter=^(cluster[.]origin[.])?http2[.]").text.splitlines()
    values = {k: int(v) for k, _, v in (line.partition(": ") for line in lines) if v.isdigit()}
    return [{k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)} for prefix in ("http2.", "cluster.origin.http2.")]


def post(peer, path="/slow", **fields):
    return peer.open("POST", path, end=False, **fields)


def ends(peer):
    try:
        while True:
            peer.step()
    except (Closed, ConnectionResetError, BrokenPipeError):
        pass


def client_resets(peer, origin):
    stream = post(peer)
    origin.wait_requests(1)
    peer.send(h2.rst(stream))


def answered_by(path):
    return lambda peer, origin: peer.get(path)


def with_trailers(peer, origin):
    stream = post(peer, "/trailers")
    peer.data(stream, b"x")
    peer.send(h2.frame(h2.HEADERS, 5, stream, h2.literal("t", "1")))
    peer.answer(stream)


def answered_early(peer, origin):
    origin.on("/early", lambda x: x.head(200, end=True))
    stream = post(peer, "/early")
    peer.until_reset(stream)


def too_many(peer, origin):
    peer.answer(peer.open(fields=[(f"h{i}", "v") for i in range(101)]))


def flood(*frames):
    def send(peer, origin):
        post(peer)
        origin.wait_requests(1)
        for frame in frames:
            peer.send(frame)
        ends(peer)
    return send


def refused(peer, origin):
    """One stream more than the concurrent ones, before the client can know the limit."""
    peer.send(b"".join(h2.frame(h2.HEADERS, 4, n, h2.request_block("POST", "/slow")) for n in range(1, 13, 2)))
    peer.until_reset(11)


def bad_header(peer, origin):
    peer.send(h2.frame(h2.HEADERS, 5, 1, h2.request_block(fields=[("Upper", "case")])))
    peer.until_reset(1)


def client_goes(peer, origin):
    post(peer)
    origin.wait_requests(1)


# name → (what is done, the counters it is about: downstream, upstream)
EVENTS = {"nothing special": (answered_by("/"), [], []), "the client resets": (client_resets, ["rx_reset"], ["tx_reset"]), "the upstream resets": (answered_by("/reset"), [], ["rx_reset"]),
          "trailers": (with_trailers, ["trailers"], []), "answered early": (answered_early, ["tx_reset"], []),
          "too many fields": (too_many, ["header_overflow"], []), "too many fields in the answer": (answered_by("/many"), [], ["header_overflow"]), "a bad answer": (answered_by("/bad"), [], ["rx_messaging_error"]),
          "empty DATA": (flood(h2.frame(h2.DATA, 0, 1) * 5), ["inbound_empty_frames_flood"], []),
          "PRIORITY": (flood(h2.frame(h2.PRIORITY, 0, 3, b"\0\0\0\5\1") * 1000), ["inbound_priority_frames_flood"], []),
          "WINDOW_UPDATE": (flood(h2.window(1, 1) * 1000), ["inbound_window_update_frames_flood"], []),
          "PING": (flood(h2.frame(h2.PING, 0, 0, b"12345678") * 5000), ["outbound_control_flood"], []),
          "too many streams": (refused, ["stream_refused_errors"], []), "a bad header": (bad_header, ["rx_messaging_error"], []), "the client goes": (client_goes, [], ["tx_reset"])}


# A bad field costs the stream here and the connection there; a head of too many fields is answered here and reset there.
RESETS_DIFFER = ["too many fields", "too many fields in the answer", "a bad header", "a bad answer"]


@pytest.mark.parametrize("name", EVENTS)
def test_envoy_and_pinnace_count_alike(pair, name):
    lab, proxies = pair
    do, *about = EVENTS[name]
    seen = []
    for proxy, origin in proxies:
        origin.requests.clear()
        before = counted(proxy)
        client = lab.client(proxy.port)
        try:
            do(h2.Client(client, SMALL if name == "WINDOW_UPDATE" else None), origin)
        except (Closed, ConnectionResetError, ConnectionError):
            pass
        client.close()
        eventually(lambda: all(side.get("streams_active", 0) == 0 for side in counted(proxy)))
        sides = [{k: v - was.get(k, 0) for k, v in now.items() if k in OURS and (k != "tx_reset" or name not in RESETS_DIFFER)} for was, now in zip(before, counted(proxy))]
        seen.append([{k: v for k, v in side.items() if v} for side in sides])
    assert seen[0] == seen[1], "Envoy first"
    assert all(k in side for names, side in zip(about, seen[1]) for k in names)


def test_the_names_are_envoys(pair):
    lab, ((envoy, _), (ours, _)) = pair
    for proxy in (envoy, ours):
        h2.Client(lab.client(proxy.port)).get("/")
    for theirs, mine in zip(counted(envoy), counted(ours)):
        assert sorted(mine) == OURS and sorted(set(theirs) - set(mine)) == THEIRS


@pytest.mark.parametrize("index", [0, 1], ids=["envoy", "pinnace"])
def test_streams_and_bytes_that_wait_are_gauges(pair, index):
    lab, proxies = pair
    proxy, origin = proxies[index]
    origin.requests.clear()
    origin.on("/much", much)
    client = lab.client(proxy.port)
    peer = h2.Client(client, first=h2.settings((4, 1000)))
    stream = peer.open(path="/much")
    peer.until(stream, lambda side: len(side.body) == 1000)
    eventually(lambda: counted(proxy)[0]["pending_send_bytes"] == 49000)
    assert [side["streams_active"] for side in counted(proxy)] in ([1, 1], [1, 0])
    client.close()
    eventually(lambda: [counted(proxy)[0][k] for k in ("pending_send_bytes", "streams_active")] == [0, 0])


def much(x):
    x.head(200)
    x.send(b"z" * 50000, end=True)


@pytest.mark.parametrize("binary", [ENVOY, PINNACE], ids=["envoy", "pinnace"])
def test_a_drain_and_a_ping_without_answer(lab, binary):
    origin = lab.origin()
    proxy = lab.http(origin, binary=binary, drain_timeout="0.1s", common_http_protocol_options={"max_connection_duration": "0.1s"})
    h2.Client(lab.client(proxy.port)).get("/")
    eventually(lambda: counted(proxy)[0].get("goaway_sent") == 1)
    quiet = lab.http(origin, binary=binary, http2_protocol_options={"connection_keepalive": {"interval": "0.1s", "timeout": "0.1s", "interval_jitter": {"value": 0}}})
    lab.client(quiet.port).send(h2.PREFACE + h2.settings())
    eventually(lambda: counted(quiet)[0].get("keepalive_timeout") == 1)
