"""How the proxies of a mesh make themselves known to each other: istio.metadata_exchange (HTTP and TCP) and istio.alpn."""
import base64
import struct

import pytest
from google.protobuf import any_pb2, json_format, struct_pb2
from support import config as c
from support import pki
from support.client import Closed, Reader
from support.wait import free_port

MAGIC = 0x3D230467
ID, METADATA = "x-envoy-peer-metadata-id", "x-envoy-peer-metadata"
NODE = {"id": "sidecar~10.0.0.1~shop-1.default~default.svc.cluster.local", "cluster": "shop.default", "metadata": {
    "NAME": "shop-1", "NAMESPACE": "default", "WORKLOAD_NAME": "shop", "CLUSTER_ID": "Kubernetes", "MESH_ID": "not told",
    "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/shop",
    "LABELS": {"app": "shop", "version": "v1", "service.istio.io/canonical-name": "shop", "service.istio.io/canonical-revision": "v1",
               "secret": "not told", "tier": "front"}}}
WORKLOAD = {"NAME": "shop-1", "NAMESPACE": "default", "WORKLOAD_NAME": "shop", "CLUSTER_ID": "Kubernetes",
            "OWNER": "kubernetes://apis/apps/v1/namespaces/default/deployments/shop",
            "LABELS": {"app": "shop", "version": "v1", "service.istio.io/canonical-name": "shop", "service.istio.io/canonical-revision": "v1"}}
TYPED_STRUCT = "type.googleapis.com/udpa.type.v1.TypedStruct"
HEADERS = {"istio_headers": {}}
SERVER = {"downstream_discovery": [HEADERS, {"workload_discovery": {}}], "downstream_propagation": [HEADERS]}
CLIENT = {"upstream_discovery": [HEADERS, {"workload_discovery": {}}], "upstream_propagation": [HEADERS]}
PEER_EXCHANGE = "istio-peer-exchange"


def metadata_exchange(**value):
    return {"name": "istio.metadata_exchange", "typed_config": {
        "@type": TYPED_STRUCT, "type_url": "type.googleapis.com/io.istio.http.peer_metadata.Config", "value": value}}


def alpn():
    return {"name": "istio.alpn", "typed_config": {
        "@type": "type.googleapis.com/istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig", "alpn_override": [
            {"alpn_override": ["istio-http/1.0", "istio", "http/1.0"]},
            {"upstream_protocol": "HTTP11", "alpn_override": ["istio-http/1.1", "istio", "http/1.1"]},
            {"upstream_protocol": "HTTP2", "alpn_override": ["istio-h2", "istio", "h2"]}]}}


def http(lab, *clusters, filters, tls=None):
    port = free_port()
    manager = c.hcm([c.route("/", clusters[0]["name"])], http_filters=[*filters, {"name": "router", "typed_config": {"@type": c.ROUTER}}])
    proxy = lab.proxy(c.bootstrap([c.listener("http", port, c.chain(manager, tls=tls))], clusters, node=NODE))
    proxy.port = port
    return proxy


def told(text):
    """The workload of a field's value."""
    return json_format.MessageToDict(struct_pb2.Struct.FromString(base64.b64decode(text)))


def words(workload):
    return base64.b64encode(json_format.ParseDict(workload, struct_pb2.Struct()).SerializeToString(deterministic=True)).decode()


def to(origin, **istio):
    return c.cluster("origin", origin.port, metadata={"filter_metadata": {"istio": istio}})


# HTTP

def test_a_request_that_leaves_tells_who_sends_it(lab):
    origin = lab.origin()
    proxy = http(lab, to(origin), filters=[metadata_exchange(**CLIENT)])
    for _ in range(2):
        lab.client(proxy.port).get("/", headers=[(METADATA, "something of the application's")])
    sent = origin.requests[0]
    assert sent.get(ID) == NODE["id"] and told(sent.get(METADATA)) == WORKLOAD
    assert origin.requests[1].get(METADATA) == sent.get(METADATA)  # peers remember them by their bytes


def test_labels_beyond_the_usual_are_told_where_that_is_asked_for(lab):
    origin = lab.origin()
    lab.client(http(lab, to(origin), filters=[metadata_exchange(**CLIENT, additional_labels=["tier"])]).port).get("/")
    assert told(origin.requests[0].get(METADATA))["LABELS"]["tier"] == "front"


def test_what_the_server_says_of_itself_stops_here(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, b"", [(ID, "peer"), (METADATA, words({"NAME": "peer"})), ("x", "y")])
    answer = lab.client(http(lab, to(origin), filters=[metadata_exchange(**CLIENT)]).port).get("/")
    assert (answer.get(ID), answer.get(METADATA), answer.get("x")) == (None, None, "y")


@pytest.mark.parametrize("asked", [[], [ID], [METADATA], [ID, METADATA]], ids="+".join)
def test_a_client_that_told_is_told_and_the_application_hears_nothing(lab, asked):
    origin = lab.origin()
    values = {ID: "client", METADATA: words({"NAME": "client"})}
    answer = lab.client(http(lab, to(origin), filters=[metadata_exchange(**SERVER)]).port).get("/", headers=[(n, values[n]) for n in asked])
    assert (origin.requests[0].get(ID), origin.requests[0].get(METADATA)) == (None, None)
    assert answer.get(ID) == (NODE["id"] if ID in asked else None)
    metadata = answer.get(METADATA)
    assert (metadata and told(metadata)) == (WORKLOAD if METADATA in asked else None)


@pytest.mark.parametrize("value", ["", "?", "A", "====", "AAAA", "x" * 20000, base64.b64encode(b"\xff" * 300).decode()], ids=lambda v: v[:8])
def test_words_that_mean_nothing_harm_nobody(lab, value):
    origin = lab.origin()
    proxy = http(lab, to(origin), filters=[metadata_exchange(**SERVER)])
    for _ in range(2):
        assert lab.client(proxy.port).get("/", headers=[(METADATA, value)]).status == 200
    assert origin.requests[0].get(METADATA) is None


@pytest.mark.parametrize("istio, skip, tells", [({}, True, True), ({"external": True}, True, False), ({"external": True}, False, True),
                                                ({"disable_mx": True}, False, False)], ids=str)
def test_who_is_outside_the_mesh_is_told_nothing(lab, istio, skip, tells):
    origin = lab.origin()
    filters = [metadata_exchange(upstream_propagation=[{"istio_headers": {"skip_external_clusters": skip}}])]
    lab.client(http(lab, to(origin, **istio), filters=filters).port).get("/")
    assert (origin.requests[0].get(METADATA) is not None) == tells


def test_many_peers_are_remembered_within_bounds(lab):
    proxy = http(lab, to(lab.origin()), filters=[metadata_exchange(**SERVER)])
    client = lab.client(proxy.port)
    for i in range(100):
        client.get("/", headers=[(METADATA, words({"NAME": f"{i}" + "x" * 11000}))])
    before = proxy.rss_kib()
    for i in range(2000):
        assert client.get("/", headers=[(METADATA, words({"NAME": f"peer {i}" + "x" * 11000}))]).status == 200
    assert proxy.rss_kib() - before < proxy.rss_allowance_kib()


# ALPN

@pytest.mark.parametrize("down, options, offered", [
    ("HTTP/1.1", {}, "istio-http/1.1"), ("HTTP/1.1", c.http2(), "istio-h2"), ("HTTP/1.0", {}, "istio-http/1.1")])
@pytest.mark.parametrize("override", ["true", "false"])
def test_upstream_tls_offers_what_the_mesh_expects_of_its_protocol(lab, down, options, offered, override):
    ca = lab.ca()
    # It would rather have what the cluster's own list has.
    server = pki.server_context(ca.issue("s"), alpn=["of the cluster", offered])
    origin = lab.origin(tls=server, raw=lambda sock, origin: origin.requests.append(sock.selected_alpn_protocol()))
    cluster = c.cluster("up", origin.port, transport_socket=c.upstream_tls(ca=ca.pem, alpn=["of the cluster"]),
                        metadata={"filter_metadata": {"istio": {"alpn_override": override}}}, typed_extension_protocol_options=options or None)
    proxy = http(lab, {k: v for k, v in cluster.items() if v}, filters=[alpn()])
    client = lab.client(proxy.port)
    client.send(f"GET / {down}\r\nhost: a\r\n\r\n" if down != "HTTP/1.0" else "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    origin.wait_requests(1)
    assert origin.requests[0] == (offered if override == "true" else "of the cluster")


# TCP

def tcp_exchange():
    return {"name": "istio.metadata_exchange", "typed_config": {
        "@type": TYPED_STRUCT, "type_url": "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
        "value": {"enable_discovery": True, "protocol": PEER_EXCHANGE}}}


def server_side(lab, origin, ca):
    port = free_port()
    tls = c.downstream_tls(require=False, cert=ca.issue("server"), alpn=[PEER_EXCHANGE, "h2", "http/1.1"])
    chain = c.chain(tcp_exchange(), c.tcp_proxy("origin"), tls=tls)
    proxy = lab.proxy(c.bootstrap([c.listener("tcp", port, chain)], [c.cluster("origin", origin.port)], node=NODE))
    proxy.port = port
    return proxy


def client_side(lab, up_port, ca):
    port = free_port()
    up = c.cluster("up", up_port, transport_socket=c.upstream_tls(ca=ca.pem, alpn=[PEER_EXCHANGE, "istio"]), filters=[tcp_exchange()])
    proxy = lab.proxy(c.bootstrap([c.listener("tcp", port, c.chain(c.tcp_proxy("up")))], [up], node=NODE))
    proxy.port = port
    return proxy


def echo(sock, origin):
    while data := sock.recv(65536):
        sock.sendall(data)


def mesh_client(lab, port, ca, alpn=(PEER_EXCHANGE,)):
    return lab.client(port, tls=pki.client_context(ca=ca, alpn=list(alpn)))


def preamble(workload=None, node_id="peer"):
    fields = {ID: node_id}
    if workload is not None:
        fields[METADATA] = workload
    any_value = any_pb2.Any()
    any_value.Pack(json_format.ParseDict(fields, struct_pb2.Struct()))
    body = any_value.SerializeToString()
    return struct.pack(">II", MAGIC, len(body)) + body


def read_preamble(reader):
    magic, length = struct.unpack(">II", reader.exactly(8))
    assert magic == MAGIC
    any_value, value = any_pb2.Any.FromString(reader.exactly(length)), struct_pb2.Struct()
    assert any_value.Unpack(value)
    return json_format.MessageToDict(value)


OURS = {ID: NODE["id"], METADATA: WORKLOAD}


@pytest.mark.parametrize("piece", [1, 7, 8, 9, 1000])
def test_two_ends_of_a_tcp_connection_tell_each_other(lab, piece):
    ca = lab.ca()
    proxy = server_side(lab, lab.origin(raw=echo), ca)
    client = mesh_client(lab, proxy.port, ca)
    sent = preamble({"NAME": "peer"}) + b"hello"
    for at in range(0, len(sent), piece):
        client.send(sent[at:at + piece])
    assert read_preamble(client.reader) == OURS
    assert client.reader.exactly(5) == b"hello"
    assert proxy.stat("metadata_exchange.alpn_protocol_found") == 1


def test_a_server_that_speaks_first_is_heard_after_our_words(lab):
    ca = lab.ca()

    def greet(sock, origin):
        sock.sendall(b"welcome")
        echo(sock, origin)
    client = mesh_client(lab, server_side(lab, lab.origin(raw=greet), ca).port, ca)
    assert read_preamble(client.reader) == OURS and client.reader.exactly(7) == b"welcome"
    client.send(preamble({"NAME": "peer"}) + b"thanks")
    assert client.reader.exactly(6) == b"thanks"


@pytest.mark.parametrize("alpn", [["h2"], []], ids=["h2", "none"])
def test_without_its_protocol_nothing_is_said(lab, alpn):
    ca = lab.ca()
    proxy = server_side(lab, lab.origin(raw=echo), ca)
    client = mesh_client(lab, proxy.port, ca, alpn)
    client.send(b"\x3d\x23\x04\x67 is mine")
    assert client.reader.exactly(12) == b"\x3d\x23\x04\x67 is mine"
    assert proxy.stat("metadata_exchange.alpn_protocol_not_found") == 1


@pytest.mark.parametrize("first", [b"x", b"\x3d\x23\x04\x00 and more", b"GET / HTTP/1.1\r\n\r\n" * 1000], ids=["short", "nearly", "long"])
@pytest.mark.parametrize("piece", [1, 100000])
def test_a_peer_that_does_not_take_part_is_served_all_the_same(lab, first, piece):
    ca = lab.ca()
    client = mesh_client(lab, server_side(lab, lab.origin(raw=echo), ca).port, ca)
    first = first[:30 * piece]
    for at in range(0, len(first), piece):
        client.send(first[at:at + piece])
    assert read_preamble(client.reader) == OURS
    assert client.reader.exactly(len(first)) == first


@pytest.mark.parametrize("bad", [struct.pack(">II", MAGIC, 3) + b"\xff\xff\xff", struct.pack(">II", MAGIC, 0), struct.pack(">II", MAGIC, 1 << 31),
                                 struct.pack(">II", MAGIC, 0xffffffff)], ids=["no Any", "empty", "too long", "longest"])
def test_words_that_are_none_end_the_connection(lab, bad):
    ca, origin = lab.ca(), lab.origin(raw=echo)
    proxy = server_side(lab, origin, ca)
    client = mesh_client(lab, proxy.port, ca)
    client.send(bad + b"late")
    assert read_preamble(client.reader) == OURS
    with pytest.raises((Closed, ConnectionResetError)):
        client.reader.exactly(1)
    assert proxy.stat("metadata_exchange.header_not_found") == 1


def test_the_client_side_tells_the_server_and_takes_its_words_out(lab):
    ca, heard = lab.ca(), []

    def server(sock, origin):
        reader = Reader(sock)
        sock.sendall(preamble({"NAME": "server"}) + b"welcome")
        heard.append(read_preamble(reader))
        sock.sendall(reader.exactly(5))
        reader.to_end()
    origin = lab.origin(raw=server, tls=pki.server_context(ca.issue("s"), alpn=[PEER_EXCHANGE]))
    client = lab.client(client_side(lab, origin.port, ca).port)
    assert client.reader.exactly(7) == b"welcome"
    client.send(b"hello")
    assert client.reader.exactly(5) == b"hello" and heard == [OURS]


def test_a_client_and_a_server_of_ours_understand_each_other(lab):
    ca = lab.ca()
    back = server_side(lab, lab.origin(raw=echo), ca)
    front = client_side(lab, back.port, ca)
    for _ in range(3):
        client = lab.client(front.port)
        client.send(b"through both")
        assert client.reader.exactly(12) == b"through both"
    assert [p.stat("metadata_exchange.alpn_protocol_found") for p in (front, back)] == [3, 3]
    assert [p.stat("metadata_exchange.header_not_found") for p in (front, back)] == [0, 0]
