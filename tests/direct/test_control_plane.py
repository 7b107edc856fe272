"""The streams to the control plane run over pinnace's own HTTP/2, through the bootstrap's clusters."""
import pytest
from support import config as c
from support import h2
from support.wait import eventually

DELTA = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"


def start(lab, address, **fields):
    return lab.proxy(c.ads_bootstrap(address, **fields), wait_ready=False)


def control_plane(lab, script):
    return lab.origin(raw=h2.speak).on(DELTA, script)


def test_a_stream_is_an_ordinary_grpc_call(lab):
    origin = control_plane(lab, lambda x: (x.head(200, [("content-type", "application/grpc")]), x.hang()))
    proxy = start(lab, origin.port)
    call = origin.wait_requests(1)[0]
    assert (call.method, call.authority, call.get("content-type"), call.get("te"), call.get(":scheme")) == (
        "POST", "xds-grpc", "application/grpc", "trailers", "http")
    first = eventually(lambda: call.body)
    flag, length = first[0], int.from_bytes(first[1:5], "big")
    assert flag == 0 and length == len(first) - 5
    assert proxy.stat("cluster.xds-grpc.upstream_cx_http2_total") == 1


@pytest.mark.parametrize("answer, told", [
    (lambda x: x.head(200, [("grpc-status", "7"), ("grpc-message", "not%20you")], end=True), r"not you \(gRPC status 7\)"),
    (lambda x: x.head(503, end=True), r"\(gRPC status 2\)"),
    (lambda x: x.head(404), r"HTTP status 404 \(gRPC status 14\)"),
    (lambda x: x.reset(), r"the server reset the stream \(gRPC status 14\)"),
    (lambda x: (x.head(200), x.send(b"\1\0\0\0\0")), r"a compressed message.* \(gRPC status 13\)"),
    (lambda x: (x.head(200), x.send(b"", end=True)), r"ended without a status"),
    (lambda x: (x.head(200), x.end_with([("grpc-status", "0")])), "closed by the control plane"),
], ids=["refused", "503", "404", "reset", "compressed", "cut short", "closed"])
def test_a_control_plane_that_says_no_is_quoted_and_asked_again(lab, answer, told):
    import re
    origin = control_plane(lab, answer)
    proxy = start(lab, origin.port)
    origin.wait_requests(2)
    assert re.search(f"ADS: stream closed: .*{told}", proxy.log()), proxy.log()


def test_a_control_plane_that_is_not_there_is_told_so(lab):
    proxy = start(lab, lab.refused_port())
    eventually(lambda: "no connection" in proxy.log() and "(gRPC status 14)" in proxy.log())
    eventually(lambda: proxy.stat("cluster.xds-grpc.upstream_cx_connect_fail") >= 2)


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
def test_messages_may_be_of_any_size(lab, delta):
    ads, origin = lab.ads(), lab.origin()
    big = c.cluster("big", origin.port, metadata={"filter_metadata": {"x": {"y": "z" * (24 << 20)}}})
    ads.set("cluster", big)
    proxy = start(lab, ads.address, delta=delta)
    ads.wait_stream()
    assert ads.wait("cluster") is None
    eventually(lambda: proxy.stat("cluster_manager.cds.update_success") == 1)


def test_what_comes_in_single_bytes_is_understood(lab):
    answered = []

    def script(x):
        x.head(200)
        x.read()
        for byte in b"\0\0\0\0\0" * 3:  # three empty messages
            x.send(bytes([byte]))
        answered.append(True)
        x.hang()
    proxy = start(lab, control_plane(lab, script).port)
    eventually(lambda: answered)
    eventually(lambda: "ignored" in proxy.log())  # no type they could be of
    assert "stream closed" not in proxy.log()


def test_the_streams_end_with_the_process(lab):
    ads = lab.ads()
    for _ in range(10):
        proxy = start(lab, ads.address)
        ads.wait_stream()
        proxy.stop()
        eventually(lambda: not ads.streams)
