"""envoy.filters.http.grpc_stats: calls and messages of gRPC clients, counted for the cluster. Names and numbers beside a real
Envoy: tests/peer/test_grpc_stats_with_envoy.py."""
import pytest
from support import config as c
from support import h2
from support.client import RawClient
from support.wait import eventually

TYPE = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"
ISTIO = {"emit_filter_state": True, "stats_for_all_methods": False}
MESSAGE = b"\0\0\0\0\3abc"


def filters(**settings):
    return [{"name": "envoy.filters.http.grpc_stats", "typed_config": {"@type": TYPE, **settings}},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": c.ROUTER}}]


def service(lab, script=None, routes=None, **settings):
    origin = lab.origin(raw=h2.speak)
    origin.default = script or echo
    cluster = c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2())
    return origin, lab.http(cluster, c.cluster("none"), routes=routes, http_filters=filters(**(settings or ISTIO)))


def echo(x):
    body = x.read_body()
    x.head(200, [("content-type", "application/grpc")])
    x.send(body * 2)
    x.end_with([("grpc-status", "0")])


def call(lab, proxy, path="/s.S/m", data=MESSAGE, kind="application/grpc"):
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", path, fields=[("content-type", kind)], end=False)
    peer.data(stream, data, end=True)
    return peer.answer(stream)


def counted(proxy, cluster="origin"):
    lines = proxy.admin(f"/stats?filter=^cluster[.]{cluster}[.]grpc[.]").text.splitlines()
    return {k.split("grpc.", 1)[1]: int(v) for k, _, v in (line.partition(": ") for line in lines) if v.isdigit()}


def test_calls_and_messages_are_counted_as_istiod_asks(lab):
    _, proxy = service(lab)
    for _ in range(3):
        assert call(lab, proxy, data=MESSAGE * 2).trailer("grpc-status") == "0"
    assert counted(proxy) == {"0": 3, "success": 3, "total": 3, "request_message_count": 6, "response_message_count": 12}


def test_messages_of_a_stream_count_while_it_lasts(lab):
    def script(x):
        x.head(200, [("content-type", "application/grpc")])
        while data := x.read():
            x.send(data)
        x.end_with([("grpc-status", "0")])
    _, proxy = service(lab, script)
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", "/s/m", fields=[("content-type", "application/grpc")], end=False)
    for number in range(1, 4):
        peer.data(stream, MESSAGE)
        peer.until(stream, lambda side: len(side.body) == number * len(MESSAGE))
        assert counted(proxy) == {"request_message_count": number, "response_message_count": number}
    peer.data(stream, b"", end=True)
    peer.answer(stream)
    assert counted(proxy)["total"] == 1


def test_other_requests_are_not_counted(lab):
    _, proxy = service(lab)
    assert call(lab, proxy, kind="text/plain").status == 200
    assert counted(proxy) == {}


def test_an_answer_of_ours_counts_for_the_cluster_that_should_have_given_it(lab):
    _, proxy = service(lab, routes=[c.route("/", "none")])
    assert call(lab, proxy).get("grpc-status") == "14"
    eventually(lambda: counted(proxy, "none")["14"] == 1)
    assert {k: counted(proxy, "none")[k] for k in ("failure", "total")} == {"failure": 1, "total": 1}


def test_methods_are_told_apart_where_that_is_asked_for(lab):
    _, proxy = service(lab, individual_method_stats_allowlist={"services": [{"name": "s.S", "method_names": ["m"]}]})
    call(lab, proxy)
    call(lab, proxy, path="/s.S/n")
    assert counted(proxy) == {f"{scope}{leaf}": 2 if leaf == "response_message_count" else 1 for scope in ("", "s.S.m.") for leaf in
                              ("0", "success", "total", "request_message_count", "response_message_count")}


def test_the_upstreams_time_is_measured_where_that_is_asked_for(lab):
    _, proxy = service(lab, stats_for_all_methods=True, replace_dots_in_grpc_service_name=True, enable_upstream_stats=True)
    call(lab, proxy)
    assert counted(proxy)["s_S.m.total"] == 1
    text = proxy.admin("/stats?filter=s_S[.]m[.]upstream_rq_time").text
    assert text.startswith("cluster.origin.grpc.s_S.m.upstream_rq_time: "), text


@pytest.mark.parametrize("protocol", ["h1", "h2"])
def test_a_call_over_http1_counts_the_same(lab, protocol):
    """gRPC wants HTTP/2, but what passes is counted whatever carries it."""
    _, proxy = service(lab)
    if protocol == "h2":
        call(lab, proxy)
    else:
        client = RawClient(proxy.port)
        client.send(b"POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 8\r\n\r\n" + MESSAGE)
        assert client.response().status == 200
        client.close()
    assert counted(proxy) == {"0": 1, "success": 1, "total": 1, "request_message_count": 1, "response_message_count": 2}
