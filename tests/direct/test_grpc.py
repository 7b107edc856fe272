"""gRPC through the proxy: answers made here, deadlines, retries by grpc-status, and who cancels is heard on the other side."""
import threading

import pytest
from support import config as c
from support import h2
from support.wait import eventually

GRPC = [("content-type", "application/grpc"), ("te", "trailers")]
NO_HEALTHY = c.cluster("none")


def service(lab, script=None, routes=None, **hcm):
    """(origin, proxy): a gRPC server whose calls all run the script."""
    origin = lab.origin(raw=h2.speak)
    origin.default = script or ok
    cluster = c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2())
    return origin, lab.http(cluster, NO_HEALTHY, routes=routes or [c.route("/", "origin")], **hcm)


def ok(x):
    body = x.read_body()
    x.head(200, [("content-type", "application/grpc")])
    x.send(body)
    x.end_with([("grpc-status", "0")])


def status_only(status):
    return lambda x: x.head(200, [("content-type", "application/grpc"), ("grpc-status", str(status))], end=True)


def call(lab, proxy, *fields, path="/s/m", data=b"\0\0\0\0\0", peer=None):
    """The answer to a unary call; `peer` is left on it."""
    peer = peer or h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", path, fields=[*GRPC, *fields], end=False)
    peer.data(stream, data, end=True)
    side = peer.answer(stream)
    side.peer = peer
    return side


def open_call(lab, proxy, *fields):
    peer = h2.Client(lab.client(proxy.port))
    return peer, peer.open("POST", "/s/m", fields=[*GRPC, *fields], end=False)


def is_trailers_only(side, status, message=None):
    assert (side.status, side.body, len(side.heads), side.trailers, side.ended) == (200, b"", 1, [], True), side
    assert side.get("content-type") == "application/grpc" and side.get("content-length") is None
    assert (side.get("grpc-status"), side.get("grpc-message")) == (str(status), message)
    return True


def test_a_call_passes_with_its_trailers(lab):
    origin, proxy = service(lab)
    side = call(lab, proxy, data=b"\0\0\0\0\3abc")
    assert (side.body, side.trailers) == (b"\0\0\0\0\3abc", [("grpc-status", "0")])
    assert origin.requests[0].get("te") == "trailers" and origin.requests[0].get("content-type") == "application/grpc"


# Answers made here

BY_STATUS = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14, 500: 2, 418: 2}


@pytest.mark.parametrize("status", BY_STATUS)
def test_a_status_of_ours_becomes_a_grpc_status(lab, status):
    _, proxy = service(lab, routes=[c.route("/", {"direct_response": {"status": status, "body": {"inline_string": "why not"}}})])
    assert is_trailers_only(call(lab, proxy), BY_STATUS[status], "why not")
    assert proxy.next_log()["code"] == "200"


def test_a_message_is_percent_encoded(lab):
    text = "50% of \u00fc\n~\t\x7f end"
    _, proxy = service(lab, routes=[c.route("/", {"direct_response": {"status": 503, "body": {"inline_string": text}}})])
    assert is_trailers_only(call(lab, proxy), 14, "50%25 of %C3%BC%0A~%09%7F end")


@pytest.mark.parametrize("content_type, grpc", [("application/grpc", True), ("application/grpc+proto", True), ("application/grpc-web", False),
                                                ("application/grpcx", False), ("text/plain", False)])
def test_only_grpc_requests_are_answered_so(lab, content_type, grpc):
    _, proxy = service(lab, routes=[c.route("/", "none")])
    side = h2.Client(lab.client(proxy.port)).get(fields=[("content-type", content_type)])
    if grpc:
        assert is_trailers_only(side, 14, "no healthy upstream")
    else:
        assert (side.status, side.body, side.get("grpc-status")) == (503, b"no healthy upstream", None)


LOCAL = {"no route": ([c.route("/only", "origin")], 12, None, "NR", "route_not_found"),
         "no host": ([c.route("/", "none")], 14, "no healthy upstream", "UH", "no_healthy_upstream")}


@pytest.mark.parametrize("kind", LOCAL)
def test_the_log_of_an_answer_of_ours_tells_the_real_reason(lab, kind):
    routes, status, message, flags, details = LOCAL[kind]
    _, proxy = service(lab, routes=routes)
    assert is_trailers_only(call(lab, proxy), status, message)
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"], entry["tx"]) == ("200", flags, details, "0")


def test_an_origin_that_cannot_be_reached_is_unavailable(lab):
    cluster = c.cluster("gone", lab.refused_port(), typed_extension_protocol_options=c.http2())
    side = call(lab, lab.http(cluster))
    assert is_trailers_only(side, 14, "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure")


# Deadlines

def hanging(lab, **action):
    return service(lab, lambda x: x.hang(), [c.route("/", "origin", **action)])


@pytest.mark.parametrize("said, maximum", [("100m", "10s"), ("100000u", "10s"), ("99999999n", "10s"), ("10S", "0.1s"), (None, "0.1s"), ("100m", "0s")])
def test_max_grpc_timeout_bounds_the_clients_deadline(lab, said, maximum):
    origin, proxy = hanging(lab, max_grpc_timeout=maximum)
    side = call(lab, proxy, *[("grpc-timeout", said)] * bool(said))
    assert is_trailers_only(side, 14, "upstream request timeout")
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"]) == ("UT", "response_timeout") and int(entry["duration"]) < 4000
    forwarded = origin.requests[0].get("grpc-timeout")
    assert forwarded == "100m"
    eventually(lambda: origin.requests[0].reset_code is not None)


@pytest.mark.parametrize("bad", ["", "m", "100", "-1m", "1.5S", "123456789m", "10x", "0x1S", "+1m"])
def test_a_malformed_grpc_timeout_is_no_deadline(lab, bad):
    _, proxy = hanging(lab, max_grpc_timeout="0.2s")
    assert is_trailers_only(call(lab, proxy, ("grpc-timeout", bad)), 14, "upstream request timeout")
    assert 150 <= int(proxy.next_log()["duration"]) < 4000


def test_grpc_timeout_is_passed_on_untouched_where_nothing_is_configured(lab):
    origin, proxy = service(lab)
    assert call(lab, proxy, ("grpc-timeout", "7S")).trailer("grpc-status") == "0"
    assert origin.requests[0].get("grpc-timeout") == "7S"


@pytest.mark.parametrize("said, maximum", [("100m", "10s"), ("10S", "0.1s"), ("100m", "0s")])
def test_the_stream_duration_is_bounded_by_the_clients_deadline(lab, said, maximum):
    _, proxy = hanging(lab, timeout="0s", max_stream_duration={"grpc_timeout_header_max": maximum})
    assert is_trailers_only(call(lab, proxy, ("grpc-timeout", said)), 4, "downstream duration timeout")
    entry = proxy.next_log()
    assert (entry["details"], entry["flags"]) == ("max_duration_timeout", "-") and int(entry["duration"]) < 4000


@pytest.mark.parametrize("said", [None, "bad", "123456789m"])
def test_without_a_deadline_the_stream_duration_is_the_routes(lab, said):
    _, proxy = hanging(lab, timeout="0s", max_stream_duration={"grpc_timeout_header_max": "8s", "max_stream_duration": "0.1s"})
    assert is_trailers_only(call(lab, proxy, *[("grpc-timeout", said)] * bool(said)), 4, "downstream duration timeout")
    assert int(proxy.next_log()["duration"]) < 4000


def test_a_deadline_after_the_answer_began_cuts_the_stream(lab):
    def script(x):
        x.head(200, [("content-type", "application/grpc")])
        x.hang()
    origin, proxy = service(lab, script, [c.route("/", "origin", timeout="0s", max_stream_duration={"grpc_timeout_header_max": "0s"})])
    side = call(lab, proxy, ("grpc-timeout", "200m"))
    assert (side.status, side.ended) == (200, False) and side.reset is not None
    eventually(lambda: origin.requests[0].reset_code is not None)


# Retries

RETRIED = {"cancelled": 1, "deadline-exceeded": 4, "resource-exhausted": 8, "internal": 13, "unavailable": 14}


def flaky(status, times):
    left = [times]

    def script(x):
        x.read_body()
        if left[0]:
            left[0] -= 1
            return status_only(status)(x)
        ok(x)
    return script


def retry(on, n=2):
    return {"retry_policy": {"retry_on": on, "num_retries": n, "retry_back_off": {"base_interval": "0.002s"}}}


@pytest.mark.parametrize("on", RETRIED)
def test_a_call_is_tried_again_on_the_status_that_is_named(lab, on):
    origin, proxy = service(lab, flaky(RETRIED[on], 2), [c.route("/", "origin", **retry(on))])
    side = call(lab, proxy, data=b"\0\0\0\0\3abc")
    assert (side.body, side.trailer("grpc-status"), len(origin.requests)) == (b"\0\0\0\0\3abc", "0", 3)
    assert proxy.next_log()["attempts"] == "3"


@pytest.mark.parametrize("on, status", [("unavailable", 13), ("internal", 14), ("cancelled", 0), ("5xx", 14), ("resource-exhausted", 18)])
def test_another_status_is_passed_on(lab, on, status):
    origin, proxy = service(lab, flaky(status, 1), [c.route("/", "origin", **retry(on))])
    assert call(lab, proxy).get("grpc-status") == str(status) and len(origin.requests) == 1


def test_a_status_in_real_trailers_comes_too_late_for_a_retry(lab):
    def script(x):
        x.read_body()
        x.head(200, [("content-type", "application/grpc")])
        x.end_with([("grpc-status", "14")])
    origin, proxy = service(lab, script, [c.route("/", "origin", **retry("unavailable"))])
    assert call(lab, proxy).trailer("grpc-status") == "14" and len(origin.requests) == 1


def test_when_no_try_is_left_the_last_status_is_passed_on(lab):
    origin, proxy = service(lab, flaky(14, 9), [c.route("/", "origin", **retry("unavailable", 2))])
    assert call(lab, proxy).get("grpc-status") == "14" and len(origin.requests) == 3
    assert proxy.next_log()["flags"] == "URX"


# Cancellation

@pytest.mark.parametrize("when", ["before the answer", "in the answer"])
def test_a_client_that_cancels_cancels_the_call_upstream(lab, when):
    def script(x):
        if when == "in the answer":
            x.head(200, [("content-type", "application/grpc")])
        x.hang()
    origin, proxy = service(lab, script)
    peer, stream = open_call(lab, proxy)
    peer.data(stream, b"\0\0\0\0\0")
    seen, = origin.wait_requests(1)
    if when == "in the answer":
        peer.head(stream)
    peer.send(h2.rst(stream, h2.CANCEL))
    eventually(lambda: seen.reset_code is not None, what="a reset upstream")
    assert seen.reset_code == h2.CANCEL
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"]) == ("DR", "http2.remote_reset")
    eventually(lambda: proxy.stat("cluster.origin.upstream_rq_active") == 0)
    assert origin.connections == 1 and len(origin.open) == 1


@pytest.mark.parametrize("code", [h2.CANCEL, h2.INTERNAL_ERROR, h2.ENHANCE_YOUR_CALM])
def test_a_call_that_the_server_resets_before_answering_is_unavailable(lab, code):
    _, proxy = service(lab, lambda x: x.reset(code))
    peer, stream = open_call(lab, proxy)
    side = peer.answer(stream)
    assert is_trailers_only(side, 14, "upstream connect error or disconnect/reset before headers. reset reason: remote reset")
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"].split("|")[0].rstrip("}")) == ("UR", "upstream_reset_before_response_started{remote_reset")


def test_a_call_that_the_server_resets_in_its_answer_is_reset_for_the_client(lab):
    def script(x):
        x.head(200, [("content-type", "application/grpc")])
        x.send(b"\0\0\0\0\1x")
        seen_half.wait(8)
        x.reset(h2.INTERNAL_ERROR)
    seen_half = threading.Event()
    _, proxy = service(lab, script)
    peer, stream = open_call(lab, proxy)
    assert peer.until(stream, lambda side: side.body).body == b"\0\0\0\0\1x"
    seen_half.set()
    side = peer.until_reset(stream)
    assert not side.ended and not side.trailers
    assert proxy.next_log()["flags"] == "UR"


def test_a_server_that_has_answered_before_the_clients_end_is_done(lab):
    """A trailers-only answer ends the call, whatever the client still meant to send (RFC 9113 8.1)."""
    origin, proxy = service(lab, status_only(3))
    peer, stream = open_call(lab, proxy)
    side = peer.answer(stream)
    assert is_trailers_only(side, 3)
    assert peer.until_reset(stream).reset == h2.NO_ERROR
    assert proxy.next_log()["flags"] == "-"
    eventually(lambda: proxy.stat("cluster.origin.upstream_rq_active") == 0)
