"""istio.stats: Istio's standard metrics, with their labels, from what this proxy and its peers know of each other."""
import re

import pytest
from direct.test_istio_exchange import (METADATA, NODE, PEER_EXCHANGE, SERVER, TYPED_STRUCT, metadata_exchange, preamble, read_preamble,
                                        tcp_exchange, words)
from support import config as c
from support import h2, pki
from support.wait import eventually, free_port

PEER = {"NAME": "cart-1", "NAMESPACE": "buyers", "WORKLOAD_NAME": "cart", "CLUSTER_ID": "Other",
        "LABELS": {"app": "cart", "version": "v2", "service.istio.io/canonical-name": "cart", "service.istio.io/canonical-revision": "v2"}}
SERVICE = {"services": [{"host": "shop.default.svc.cluster.local", "name": "shop", "namespace": "default"}]}
ENDS = {"source": "workload workload_namespace principal app version canonical_service canonical_revision cluster".split(),
        "destination": "workload workload_namespace principal app version canonical_service canonical_revision cluster service service_name "
                       "service_namespace".split()}


def stats(**config):
    return {"name": "istio.stats", "typed_config": {"@type": "type.googleapis.com/stats.PluginConfig", **config}}


def end(side, values):
    return dict(zip([f"{side}_{name}" for name in ENDS[side]], values))


OURS_AS_SOURCE = end("source", ["shop", "default", "unknown", "shop", "v1", "shop", "v1", "Kubernetes"])
PEERS = ["cart", "buyers", "unknown", "cart", "v2", "cart", "v2", "Other"]
NOBODY = ["unknown", "unknown", "unknown", "unknown", "unknown", "unknown", "latest", "unknown"]


def metrics(proxy, name):
    """[(labels, value)] of one family of /stats/prometheus."""
    out = []
    for line in proxy.admin("/stats/prometheus").text.splitlines():
        if line.startswith(name + "{"):
            labels, value = line[len(name) + 1:].rsplit("} ", 1)
            out.append((dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', labels)), float(value)))
    return out


def one(proxy, name):
    found = eventually(lambda: metrics(proxy, name), what=name)
    assert len(found) == 1, found
    return found[0]


def http(lab, *clusters, filters, direction, tls=None, routes=None, **node):
    port = free_port()
    manager = c.hcm(routes or [c.route("/", clusters[0]["name"])], http_filters=[*filters, {"name": "router", "typed_config": {"@type": c.ROUTER}}])
    listener = c.listener("http", port, c.chain(manager, tls=tls), traffic_direction=direction)
    proxy = lab.proxy(c.bootstrap([listener], clusters, node={**NODE, **node}))
    proxy.port = port
    return proxy


def cluster(origin, name="outbound|80||shop.default.svc.cluster.local", istio=SERVICE, workload=None, **fields):
    made = c.cluster(name, origin.port, metadata={"filter_metadata": {"istio": istio}}, **fields)
    if workload:
        made["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["metadata"] = {"filter_metadata": {"istio": {"workload": workload}}}
    return made


INBOUND = [metadata_exchange(**SERVER), stats(disable_host_header_fallback=True)]
OUTBOUND = [metadata_exchange(upstream_discovery=[{"istio_headers": {}}], upstream_propagation=[{"istio_headers": {}}]), stats()]


# Requests

def test_a_server_counts_a_request_with_who_sent_it(lab):
    proxy = http(lab, cluster(lab.origin(), "inbound|80||"), filters=INBOUND, direction="INBOUND")
    lab.client(proxy.port).get("/", headers=[(METADATA, words(PEER)), ("x-envoy-peer-metadata-id", "x")])
    labels, value = one(proxy, "istio_requests_total")
    assert value == 1 and labels == {
        "reporter": "destination", **end("source", PEERS),
        **end("destination", ["shop", "default", "unknown", "shop", "v1", "shop", "v1", "Kubernetes", SERVICE["services"][0]["host"], "shop", "default"]),
        "request_protocol": "http", "response_code": "200", "grpc_response_status": "", "response_flags": "-",
        "connection_security_policy": "none"}
    for family in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
        assert one(proxy, f"istio_{family}_count") == (labels, 1)


def test_a_client_counts_it_with_who_answered(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, b"", [(METADATA, words(PEER))])
    proxy = http(lab, cluster(origin), filters=OUTBOUND, direction="OUTBOUND")
    lab.client(proxy.port).get("/", host="shop")
    labels, value = one(proxy, "istio_requests_total")
    assert value == 1 and labels == {
        "reporter": "source", **OURS_AS_SOURCE, **end("destination", [*PEERS, SERVICE["services"][0]["host"], "shop", "default"]),
        "request_protocol": "http", "response_code": "200", "grpc_response_status": "", "response_flags": "-",
        "connection_security_policy": "unknown"}


def test_an_endpoint_that_says_nothing_is_known_from_istiod(lab):
    proxy = http(lab, cluster(lab.origin(), workload="cart;buyers;cart;v2;Other"), filters=OUTBOUND, direction="OUTBOUND")
    lab.client(proxy.port).get("/")
    labels, _ = one(proxy, "istio_requests_total")
    assert [labels[f"destination_{x}"] for x in ENDS["destination"][:8]] == ["cart", "buyers", "unknown", "unknown", "unknown", "cart", "v2", "Other"]


def test_principals_of_mutual_tls_are_told_and_name_the_namespace(lab):
    ca = lab.ca()
    tls = c.downstream_tls(cert=ca.issue("server", uri="spiffe://td/ns/default/sa/shop"), ca=ca.pem)
    proxy = http(lab, cluster(lab.origin(), "inbound|80||"), filters=INBOUND, direction="INBOUND", tls=tls)
    client = lab.client(proxy.port, tls=pki.client_context(ca.issue("c", uri="spiffe://td/ns/of-the-certificate/sa/cart"), ca))
    client.get("/", headers=[(METADATA, words(PEER))])
    labels, _ = one(proxy, "istio_requests_total")
    assert labels["source_principal"] == "spiffe://td/ns/of-the-certificate/sa/cart"
    assert labels["source_workload_namespace"] == "of-the-certificate"
    assert labels["destination_principal"] == "spiffe://td/ns/default/sa/shop"
    assert labels["connection_security_policy"] == "mutual_tls"


def test_a_client_tells_the_principals_of_its_upstream(lab):
    ca = lab.ca()
    origin = lab.origin(tls=pki.server_context(ca.issue("s", uri="spiffe://td/ns/buyers/sa/cart"), ca=ca))
    up = cluster(origin, transport_socket=c.upstream_tls(cert=ca.issue("c", uri="spiffe://td/ns/default/sa/shop"), ca=ca.pem))
    proxy = http(lab, up, filters=OUTBOUND, direction="OUTBOUND")
    assert lab.client(proxy.port).get("/").status == 200
    labels, _ = one(proxy, "istio_requests_total")
    assert (labels["source_principal"], labels["destination_principal"]) == ("spiffe://td/ns/default/sa/shop", "spiffe://td/ns/buyers/sa/cart")
    assert labels["destination_workload_namespace"] == "buyers"


@pytest.mark.parametrize("fallback, want", [(False, ("a.com", "a.com")), (True, ("unknown", "unknown"))], ids=["host", "none"])
def test_a_service_nobody_named_is_the_host_asked_for(lab, fallback, want):
    proxy = http(lab, cluster(lab.origin(), "some", istio={}), filters=[stats(disable_host_header_fallback=fallback)], direction="OUTBOUND")
    lab.client(proxy.port).get("/", host="a.com")
    labels, _ = one(proxy, "istio_requests_total")
    assert (labels["destination_service"], labels["destination_service_name"]) == want


@pytest.mark.parametrize("route, name", [("allow_any", "PassthroughCluster"), ("block_all", "BlackHoleCluster")])
def test_what_leaves_the_mesh_unasked_has_a_name(lab, route, name):
    action = "PassthroughCluster" if route == "allow_any" else {"direct_response": {"status": 502}}
    to = cluster(lab.origin(), "PassthroughCluster", istio={})
    proxy = http(lab, to, filters=[stats()], direction="OUTBOUND", routes=[c.route("/", action, name=route)])
    lab.client(proxy.port).get("/", host="b.com")
    labels, _ = one(proxy, "istio_requests_total")
    assert (labels["destination_service_name"], labels["destination_service"]) == (name, "b.com")


def test_a_failure_has_its_code_and_flags(lab):
    port = lab.refused_port()
    proxy = http(lab, {**c.cluster("x", port)}, filters=OUTBOUND, direction="OUTBOUND")
    lab.client(proxy.port).get("/")
    labels, _ = one(proxy, "istio_requests_total")
    assert (labels["response_code"], labels["response_flags"]) == ("503", "UF")


@pytest.mark.parametrize("trailers, status", [([("grpc-status", "5")], "5"), ([], "2"), ([("grpc-status", "any text")], "2")], ids=str)
def test_a_grpc_call_has_its_status_and_its_messages(lab, trailers, status):
    origin = lab.origin(raw=h2.speak)
    message = b"\0\0\0\0\3abc"

    def answer(x):
        x.read_body()
        x.head(200 if trailers else 500, [("content-type", "application/grpc")])
        x.send(message * 3)
        x.end_with(trailers or [("other", "x")])
    origin.default = answer
    up = cluster(origin, typed_extension_protocol_options=c.http2())
    proxy = http(lab, up, filters=OUTBOUND, direction="OUTBOUND")
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", "/s/m", fields=[("content-type", "application/grpc"), ("te", "trailers")], end=False)
    peer.data(stream, message * 2, end=True)
    peer.answer(stream)
    labels, value = one(proxy, "istio_requests_total")
    assert (labels["request_protocol"], labels["grpc_response_status"], value) == ("grpc", status, 1)
    for family, count in (("request", 2), ("response", 3)):
        labels, value = one(proxy, f"istio_{family}_messages_total")
        assert value == count and "response_code" not in labels and labels["reporter"] == "source"


def test_metrics_and_labels_may_be_left_out(lab):
    proxy = http(lab, cluster(lab.origin()), direction="OUTBOUND", filters=[stats(metrics=[
        {"name": "request_bytes", "drop": True}, {"name": "requests_total", "tags_to_remove": ["response_code", "no such"]},
        {"tags_to_remove": ["source_app"]}])])
    lab.client(proxy.port).get("/")
    labels, _ = one(proxy, "istio_requests_total")
    assert "response_code" not in labels and "source_app" not in labels and "source_version" in labels
    labels, _ = one(proxy, "istio_response_bytes_count")
    assert "response_code" in labels and "source_app" not in labels
    assert not metrics(proxy, "istio_request_bytes_count")


def test_telemetry_may_add_and_change_labels(lab):
    proxy = http(lab, cluster(lab.origin()), direction="OUTBOUND", filters=[stats(metrics=[
        {"dimensions": {"method": "request.method", "host": "request.host", "missing": "request.headers['x-none']"}},
        {"name": "requests_total", "tags_to_remove": ["response_flags"],
         "dimensions": {"response_code": "string(response.code / 100) + 'xx'", "port": "string(destination.port)"}}])])
    client = lab.client(proxy.port)
    for method in ("GET", "GET", "HEAD"):
        client.get("/", host="shop.example", method=method)
    found = eventually(lambda: len(metrics(proxy, "istio_requests_total")) == 2 and metrics(proxy, "istio_requests_total"))
    assert sorted((labels["method"], value) for labels, value in found) == [("GET", 2), ("HEAD", 1)]
    for labels, _ in found:
        assert (labels["host"], labels["missing"], labels["response_code"], labels["port"]) == ("shop.example", "unknown", "2xx", str(proxy.port))
        assert "response_flags" not in labels
    for labels, _ in metrics(proxy, "istio_request_bytes_count"):
        assert labels["host"] == "shop.example" and labels["response_code"] == "200" and "port" not in labels


def test_labels_of_tcp_connections_may_be_expressions(lab):
    up = cluster(lab.origin())
    proxy = tcp(lab, up, to=up["name"], direction="OUTBOUND", metrics=[
        {"dimensions": {"port": "string(destination.port)", "sni": "connection.requested_server_name", "path": "request.path"}}])
    client = lab.client(proxy.port)
    client.get("/")
    client.close()
    labels, _ = one(proxy, "istio_tcp_connections_closed_total")
    assert (labels["port"], labels["path"]) == (str(proxy.port), "unknown")


@pytest.mark.parametrize("config, why", [
    ({"metrics": [{"dimensions": {"x": "request.nothing"}}]}, "dimensions\\[x\\].*attribute 'request.nothing' is not supported"),
    ({"metrics": [{"dimensions": {"x": "1 +"}}]}, "the expression ends too early"),
    ({"definitions": [{"name": "x", "value": "1"}]}, "definitions: not supported")], ids=["attribute", "syntax", "definitions"])
def test_what_is_not_supported_is_refused_by_name(lab, config, why):
    with pytest.raises(RuntimeError, match=why):
        http(lab, cluster(lab.origin()), filters=[stats(**config)], direction="OUTBOUND")


def test_stats_and_the_build_stand_under_istios_names(lab):
    proxy = http(lab, cluster(lab.origin()), filters=OUTBOUND, direction="OUTBOUND", metadata={**NODE["metadata"], "ISTIO_VERSION": "1.30"})
    lab.client(proxy.port).get("/")
    assert one(proxy, "istio_build") == ({"component": "proxy", "tag": "1.30"}, 1)
    text = eventually(lambda: proxy.admin("/stats?usedonly&filter=requests_total").text)
    assert text.startswith("istiocustom.istio_requests_total.reporter.source.source_workload.shop.") and text.endswith(": 1\n")


def test_what_peers_and_clients_say_is_cut_and_cleaned(lab):
    proxy = http(lab, cluster(lab.origin(), "some", istio={}), filters=[metadata_exchange(**SERVER), stats()], direction="INBOUND")
    lab.client(proxy.port).get("/", host="h" * 5000, headers=[(METADATA, words({"WORKLOAD_NAME": "w" * 5000, "NAMESPACE": "a\nb\x7f"}))])
    labels, _ = one(proxy, "istio_requests_total")
    assert labels["source_workload"] == "w" * 256 and labels["source_workload_namespace"] == "a_b_"
    assert labels["destination_service"] == "h" * 256


def test_access_logs_may_tell_who_the_peer_is_and_choose_by_it(lab):
    log = lab.directory / "peers.log"
    entry = {"name": "file", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": str(log), "log_format": {
            "text_format_source": {"inline_string": "%FILTER_STATE(downstream_peer:FIELD:workload)% %FILTER_STATE(upstream_peer:FIELD:workload)% "
                                                    "%CEL(filter_state.downstream_peer.app)%\n"}}}, "filter": {
        "extension_filter": {"name": "cel", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            "expression": "filter_state.downstream_peer.namespace == 'buyers'"}}}}
    port, up = free_port(), cluster(lab.origin(), "inbound|80||")
    lab.proxy(c.bootstrap([c.listener("http", port, c.hcm([c.route("/", up["name"])], log=False, access_log=[entry], http_filters=[
        metadata_exchange(**SERVER), {"name": "router", "typed_config": {"@type": c.ROUTER}}]), traffic_direction="INBOUND")], [up], node=NODE))
    client = lab.client(port)
    for namespace in ("sellers", "buyers"):
        client.get("/", headers=[(METADATA, words({**PEER, "NAMESPACE": namespace, "WORKLOAD_NAME": namespace + "-1"}))])
    assert eventually(lambda: log.exists() and log.read_text()) == "buyers-1 - cart\n"


def test_labels_are_text_whatever_peers_and_clients_send(lab):
    """Prometheus refuses a page with one label that is none, and series are kept."""
    proxy = http(lab, cluster(lab.origin(), "some", istio={}), direction="INBOUND", filters=[metadata_exchange(**SERVER), stats(
        metrics=[{"dimensions": {"agent": "request.useragent"}}])])
    lab.client(proxy.port).get("/", headers=[(METADATA, words({"WORKLOAD_NAME": "w" * 255 + "\u00e9"})), ("user-agent", "a\xffb")])
    labels, _ = one(proxy, "istio_requests_total")  # decoded, so it is UTF-8
    assert labels["source_workload"] == "w" * 255 + "!" and labels["agent"] == "a!b"
    assert proxy.admin_json("/stats?format=json")


def test_long_names_count_by_their_bytes(lab):
    proxy = http(lab, cluster(lab.origin(), "inbound|80||"), filters=INBOUND, direction="INBOUND")
    client = lab.client(proxy.port)
    for i in range(3000):
        client.get("/", headers=[(METADATA, words({"WORKLOAD_NAME": f"{i}" + "w" * 300, "NAMESPACE": f"{i}" + "n" * 300, "CLUSTER_ID": "c" * 300,
                                                   "LABELS": {"app": f"{i}" + "a" * 300, "version": f"{i}" + "v" * 300}}))])
    text = eventually(lambda: proxy.admin("/stats?usedonly&filter=istio_requests_total").text)
    assert len(text) < 8 << 20 and "combinations of labels" in proxy.log()


def test_peers_cannot_make_metrics_without_end(lab):
    proxy = http(lab, cluster(lab.origin(), "inbound|80||"), filters=INBOUND, direction="INBOUND")
    client = lab.client(proxy.port)
    before = proxy.rss_kib()
    for i in range(6000):
        client.get("/", headers=[(METADATA, words({"WORKLOAD_NAME": f"w{i}"}))])

    def all_counted():
        lines = proxy.admin("/stats?usedonly&filter=istio_requests_total").text.splitlines()
        values = {name: int(value) for name, value in (line.rsplit(": ", 1) for line in lines)}
        return values if sum(values.values()) == 6000 else None
    found = eventually(all_counted)
    nobody = [value for name, value in found.items() if ".source_workload.unknown." in name]
    assert len(found) == 4001 and nobody == [2000]
    assert "combinations of labels" in proxy.log()
    sanitized = proxy.rss_allowance_kib() > 6 * 1024
    assert proxy.rss_kib() - before < (512 if sanitized else 72) * 1024


# Connections

def tcp(lab, *clusters, to, direction, filters=(), tls=None, duration="0.1s", **config):
    port = free_port()
    chain = c.chain(*filters, stats(tcp_reporting_duration=duration, **config), c.tcp_proxy(to), tls=tls)
    proxy = lab.proxy(c.bootstrap([c.listener("tcp", port, chain, traffic_direction=direction)], clusters, node=NODE))
    proxy.port = port
    return proxy


def echo(sock, origin):
    while data := sock.recv(65536):
        sock.sendall(data)


FAMILIES = [f"istio_tcp_{x}_total" for x in ("connections_opened", "connections_closed", "sent_bytes", "received_bytes")]


def test_a_connection_is_counted_while_it_lasts_and_when_it_ends(lab):
    ca = lab.ca()
    tls = c.downstream_tls(cert=ca.issue("server", uri="spiffe://td/ns/default/sa/shop"), ca=ca.pem, alpn=[PEER_EXCHANGE])
    proxy = tcp(lab, cluster(lab.origin(raw=echo), "inbound|80||"), to="inbound|80||", direction="INBOUND", filters=[tcp_exchange()], tls=tls)
    context = pki.client_context(ca.issue("c", uri="spiffe://td/ns/buyers/sa/cart"), ca, alpn=[PEER_EXCHANGE])
    client = lab.client(proxy.port, tls=context)
    client.send(preamble(PEER) + b"hello")
    read_preamble(client.reader)
    assert client.reader.exactly(5) == b"hello"
    labels, opened = one(proxy, FAMILIES[0])
    peers = ["cart", "buyers", "spiffe://td/ns/buyers/sa/cart", *PEERS[3:]]
    assert opened == 1 and labels == {
        "reporter": "destination", **end("source", peers),
        **end("destination", ["shop", "default", "spiffe://td/ns/default/sa/shop", "shop", "v1", "shop", "v1", "Kubernetes",
                              SERVICE["services"][0]["host"], "shop", "default"]),
        "request_protocol": "tcp", "response_flags": "-", "connection_security_policy": "mutual_tls"}
    eventually(lambda: one(proxy, FAMILIES[2])[1] == 5 and one(proxy, FAMILIES[3])[1] == 5)
    assert metrics(proxy, FAMILIES[1])[0][1] == 0
    client.close()
    eventually(lambda: one(proxy, FAMILIES[1]) == (labels, 1))


def test_a_connection_that_goes_out_is_counted_with_whom_it_reaches(lab):
    ca = lab.ca()

    def server(sock, origin):
        sock.sendall(preamble(PEER))
        echo(sock, origin)
    origin = lab.origin(raw=server, tls=pki.server_context(ca.issue("s", uri="spiffe://td/ns/buyers/sa/cart"), alpn=[PEER_EXCHANGE]))
    up = cluster(origin, transport_socket=c.upstream_tls(ca=ca.pem, alpn=[PEER_EXCHANGE]), filters=[tcp_exchange()])
    proxy = tcp(lab, up, to=up["name"], direction="OUTBOUND")
    client = lab.client(proxy.port)
    client.send(b"x")
    labels, _ = one(proxy, FAMILIES[0])
    assert [labels[f"destination_{x}"] for x in ENDS["destination"][:8]] == ["cart", "buyers", "spiffe://td/ns/buyers/sa/cart", *PEERS[3:]]
    assert (labels["reporter"], labels["destination_service"]) == ("source", SERVICE["services"][0]["host"])


def test_a_connection_that_fails_is_opened_and_closed(lab):
    proxy = tcp(lab, c.cluster("x", lab.refused_port()), to="x", direction="OUTBOUND", duration="0s")
    lab.client(proxy.port).expect_close()
    for family in FAMILIES[:2]:
        labels, value = one(proxy, family)
        assert value == 1 and labels["response_flags"] == "UF,URX"
