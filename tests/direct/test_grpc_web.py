"""gRPC-Web: calls of browsers become gRPC, and the answers gRPC-Web again. Byte by byte beside a real Envoy:
tests/peer/test_grpc_web_with_envoy.py."""
import base64
import threading

import pytest
from support import config as c
from support import h2
from support.client import RawClient
from support.wait import eventually

WEB, TEXT = "application/grpc-web+proto", "application/grpc-web-text"
MESSAGE = b"\0\0\0\0\3abc"
FILTERS = [{"name": "envoy.filters.http.grpc_web", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}},
           {"name": "envoy.filters.http.grpc_stats", "typed_config": {
               "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", "stats_for_all_methods": False}},
           {"name": "envoy.filters.http.router", "typed_config": {"@type": c.ROUTER}}]


def echo(x):
    body = x.read_body()
    x.head(200, [("content-type", "application/grpc"), ("content-length", str(len(body)))])
    x.send(body)
    x.end_with([("grpc-status", "0"), ("x-kept", "yes")])


def service(lab, script=echo, routes=None, window=1 << 20, **hcm):
    origin = lab.origin(raw=h2.speak)
    origin.default = script
    windows = {"initial_stream_window_size": window, "initial_connection_window_size": window}
    cluster = c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2(windows))
    return origin, lab.http(cluster, c.cluster("none"), routes=routes, http_filters=FILTERS, **hcm)


def post(lab, proxy, body, kind=WEB, accept=None, path="/s/m"):
    client = RawClient(proxy.port)
    lines = [f"POST {path} HTTP/1.1", "host: a", f"content-type: {kind}", f"content-length: {len(body)}"] + [f"accept: {accept}"] * bool(accept)
    try:
        client.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        return client.response("POST")
    finally:
        client.close()


def frames(body):
    """[(flag, payload)]"""
    out = []
    while body:
        size = int.from_bytes(body[1:5], "big")
        out.append((body[0], body[5:5 + size]))
        body = body[5 + size:]
    return out


def groups(text):
    """What base64 with padding inside stands for."""
    return b"".join(base64.b64decode(text[i:i + 4], validate=True) for i in range(0, len(text), 4))


TRAILERS = (0x80, b"grpc-status:0\r\nx-kept:yes\r\n")


def test_a_call_over_http1_has_its_trailers_in_the_body(lab):
    origin, proxy = service(lab)
    answer = post(lab, proxy, MESSAGE)
    assert answer.status == 200 and answer.get("content-type") == WEB and answer.get("content-length") is None
    assert frames(answer.body) == [(0, b"abc"), TRAILERS]
    seen, = origin.requests
    assert (seen.get("content-type"), seen.get("te"), seen.get("grpc-accept-encoding"), seen.body) == ("application/grpc", "trailers", "identity", MESSAGE)


def test_text_is_base64_both_ways(lab):
    origin, proxy = service(lab)
    answer = post(lab, proxy, base64.b64encode(MESSAGE * 3), TEXT, TEXT)
    assert answer.get("content-type") == "application/grpc-web-text+proto"
    assert frames(groups(answer.body)) == [(0, b"abc")] * 3 + [TRAILERS] and origin.requests[0].body == MESSAGE * 3


def test_over_http2_there_are_no_trailers_left(lab):
    _, proxy = service(lab)
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", "/s/m", fields=[("content-type", WEB)], end=False)
    peer.data(stream, MESSAGE, end=True)
    side = peer.answer(stream)
    assert frames(side.body) == [(0, b"abc"), TRAILERS] and side.trailers == []


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64])
def test_text_that_comes_in_pieces(lab, size):
    origin, proxy = service(lab)
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", "/s/m", fields=[("content-type", TEXT), ("accept", TEXT)], end=False)
    coded = base64.b64encode(MESSAGE) + base64.b64encode(MESSAGE * 7)  # a client may encode each of its messages
    for at in range(0, len(coded), size):
        peer.data(stream, coded[at:at + size], end=at + size >= len(coded))
    assert frames(groups(peer.answer(stream).body)) == [(0, b"abc")] * 8 + [TRAILERS]
    assert origin.requests[0].body == MESSAGE * 8


def test_messages_come_through_as_they_are_sent(lab):
    """A server stream: each message reaches the client before the next is sent."""
    def script(x):
        x.read_body()
        x.head(200, [("content-type", "application/grpc")])
        for _ in range(3):
            x.send(MESSAGE)
            assert go.acquire(timeout=8)
        x.end_with([("grpc-status", "0"), ("x-kept", "yes")])

    go = threading.Semaphore(0)
    _, proxy = service(lab, script)
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", "/s/m", fields=[("content-type", TEXT), ("accept", TEXT)], end=False)
    peer.data(stream, b"", end=True)
    coded = base64.b64encode(MESSAGE)
    for number in range(1, 4):
        side = peer.until(stream, lambda side: len(side.body) >= number * len(coded))
        assert side.body == coded * number
        go.release()
    assert groups(peer.answer(stream).body[len(coded) * 3:])[0] == 0x80


def test_much_text_both_ways(lab):
    """More than the memory of one turn at a time."""
    origin, proxy = service(lab, window=1 << 24)
    payload = bytes(range(256)) * 16384  # 4 MiB
    message = b"\0" + len(payload).to_bytes(4, "big") + payload
    answer = post(lab, proxy, base64.b64encode(message), TEXT, TEXT)
    assert origin.requests[0].body == message and frames(groups(answer.body)) == [(0, payload), TRAILERS]


def test_many_small_messages_in_one_read(lab):
    """Each is padded for itself, so that the text is more than the four thirds of what it stands for."""
    origin, proxy = service(lab, window=1 << 24)
    body = b"\0\0\0\0\0" * 100000
    answer = post(lab, proxy, body, WEB, TEXT)
    assert origin.requests[0].body == body and answer.body[:800000] == b"AAAAAAA=" * 100000
    assert frames(groups(answer.body[800000:])) == [TRAILERS]


@pytest.mark.parametrize("bad, details", [(b"AAAAA", "grpc_base_64_decode_failed_bad_size"), (b"A*AA", "grpc_base_64_decode_failed"), (b"AB==", "grpc_base_64_decode_failed")])
def test_what_is_no_base64_is_refused(lab, bad, details):
    _, proxy = service(lab)
    answer = post(lab, proxy, bad, TEXT)
    assert (answer.status, answer.get("grpc-status"), answer.get("grpc-message")) == (400, "13", "Bad gRPC-web request, invalid base64 data.")
    assert proxy.next_log()["details"] == details


# Answers that are not gRPC's

@pytest.mark.parametrize("status, grpc", [(200, 2), (400, 13), (401, 16), (403, 7), (404, 12), (429, 14), (502, 14), (503, 14), (504, 14), (500, 2)])
def test_a_foreign_answer_becomes_a_status_with_its_body_as_message(lab, status, grpc):
    _, proxy = service(lab, lambda x: x.reply(status, b"50% of\n it", [("content-type", "text/plain")]))
    answer = post(lab, proxy, MESSAGE)
    assert (answer.status, answer.get("grpc-status"), answer.get("grpc-message")) == (status, str(grpc), "50%25 of%0A it")
    assert (answer.get("content-type"), answer.body) == (WEB, b"")


def test_the_message_of_a_foreign_answer_is_bounded(lab):
    def script(x):
        x.read_body()
        x.head(500, [("content-type", "text/plain")])
        for _ in range(64):
            x.send(b"y" * 16384)
        x.send(b"", end=True)
    _, proxy = service(lab, script)
    assert post(lab, proxy, MESSAGE).get("grpc-message") == "y" * 16384


def test_a_foreign_answer_that_breaks_off_breaks_off_ours(lab):
    def script(x):
        x.read_body()
        x.head(500, [("content-type", "text/plain")])
        x.send(b"half")
        x.reset()
    _, proxy = service(lab, script)
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", "/s/m", fields=[("content-type", WEB)], end=False)
    peer.data(stream, MESSAGE, end=True)
    assert peer.until_reset(stream).final is None


@pytest.mark.parametrize("path, status, grpc, message", [("/none", 503, "14", "no healthy upstream"), ("/direct", 418, "2", "short and stout"), ("/nowhere", 404, None, None)])
def test_an_answer_of_ours_too(lab, path, status, grpc, message):
    direct = {"direct_response": {"status": 418, "body": {"inline_string": "short and stout"}}}
    _, proxy = service(lab, routes=[c.route("/none", "none"), c.route("/direct", direct)])
    answer = post(lab, proxy, MESSAGE, path=path)
    assert (answer.status, answer.get("content-type"), answer.get("grpc-status"), answer.get("grpc-message"), answer.body) == (status, WEB, grpc, message, b"")


def test_trailers_only_stays_in_the_head(lab):
    _, proxy = service(lab, lambda x: x.head(200, [("content-type", "application/grpc"), ("grpc-status", "5")], end=True))
    answer = post(lab, proxy, MESSAGE)
    assert (answer.get("grpc-status"), answer.get("content-type"), answer.body) == ("5", WEB, b"")


# Others

@pytest.mark.parametrize("kind", ["application/grpc-web+json", "application/grpc", "text/plain"])
def test_other_requests_pass_untouched(lab, kind):
    origin, proxy = service(lab, lambda x: x.reply(200, b"same", [("content-type", "text/plain")]))
    answer = post(lab, proxy, MESSAGE, kind, TEXT)
    assert (answer.status, answer.body, answer.get("content-type")) == (200, b"same", "text/plain")
    assert origin.requests[0].get("content-type") == kind and origin.requests[0].get("content-length") == "8"


def test_calls_are_counted_as_grpc_and_as_grpc_web(lab):
    _, proxy = service(lab)
    post(lab, proxy, MESSAGE)
    for name in ("grpc.0", "grpc.success", "grpc.total", "grpc.request_message_count", "grpc.response_message_count",
                 "grpc-web.s.m.0", "grpc-web.s.m.success", "grpc-web.s.m.total"):
        eventually(lambda: proxy.stat(f"cluster.origin.{name}") == 1, what=name)
