"""The gRPC access-log service: a real Envoy and pinnace tell it the same, field by field, of the same requests and connections;
and a service that is dead, slow or back again costs no request anything."""
import functools
import re
import threading
import time
from concurrent import futures

import grpc
import pytest
from envoy.extensions.access_loggers.grpc.v3 import als_pb2 as _config  # noqa: F401
from envoy.service.accesslog.v3 import als_pb2
from google.protobuf import json_format
from support import config as c
from support import h2, pki
from support.lab import Lab
from support.load import Load
from support.proxy import ENVOY, PINNACE
from support.wait import eventually, free_port

BOTH = pytest.mark.parametrize("binary", [ENVOY, PINNACE], ids=["envoy", "pinnace"])

# What pinnace does not fill, and why. One that is filled after all fails: strike it.
UNFILLED = {
    r"common_properties\.(up|down)stream_wire_bytes_(sent|received)": "pinnace counts bodies, not bytes on the wire",
    r"(request|response)\.(up|down)stream_header_bytes_(sent|received)": "nor heads on the wire, only as fields",
    r"common_properties\.time_to_((last_(upstream_tx|rx)|(first|last)_(upstream_rx|downstream_tx))_byte)": "one time is taken",
    r"common_properties\.tls_properties\.(local_certificate_properties\.subject|peer_certificate_properties\.issuer|tls_cipher_suite)":
        "of TLS pinnace keeps what policies and headers need: names, the peer's subject, the version",
}
UNFILLED_TCP = {**UNFILLED, r"common_properties\.stream_id": "connections have no id"}
# What differs by a quirk of Envoy's, by the name of the case. One that agrees after all fails: strike it.
NO_HOST = {"common_properties.upstream_cluster": "Envoy knows the cluster by its host, and there is none"}
QUIRKS = {
    "no upstream": NO_HOST, "TCP none": NO_HOST, "bad request": {"request": "Envoy makes an empty request of a head it could not read",
                    "response.response_headers_bytes": "connection: close is the codec's word in pinnace"},
    "HTTP/1.0": {"protocol_version": "Envoy refuses HTTP/1.0 before it has taken the head over", **{
        f"request.{x}": "as above" for x in ("authority", "path", "request_headers_bytes", "request_method")}},
}


class AccessLogService:
    """Keeps every message by stream: .streams is a list of lists of (when, message). It reads while .reading is set."""

    def __init__(self):
        self.port, self.streams, self.reading, self.lock = free_port(), [], threading.Event(), threading.Lock()
        self.reading.set()
        self.start()

    def start(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
        message = als_pb2.StreamAccessLogsMessage
        handler = grpc.stream_unary_rpc_method_handler(self._serve, message.FromString, lambda m: m.SerializeToString())
        name = "envoy.service.accesslog.v3.AccessLogService"
        self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"StreamAccessLogs": handler}),))
        eventually(lambda: self.server.add_insecure_port(f"127.0.0.1:{self.port}") or True, 5)
        self.server.start()

    def stop(self):
        self.server.stop(0).wait(5)

    close = stop

    def _serve(self, messages, _):
        mine = []
        with self.lock:
            self.streams.append(mine)
        try:
            self.reading.wait(60)
            for message in messages:
                mine.append((time.monotonic(), message))
        except Exception:  # noqa: BLE001 — grpc raises a bare Exception when the call was cancelled
            pass
        return als_pb2.StreamAccessLogsResponse()

    def messages(self):
        with self.lock:
            return [message for stream in self.streams for _, message in stream]

    def entries(self):
        return [e for m in self.messages() for e in [*m.http_logs.log_entry, *m.tcp_logs.log_entry]]

    def wait_entries(self, count, timeout=8):
        return eventually(lambda: len(self.entries()) >= count and self.entries(), timeout, f"{count} entries")


def logger(kind="Http", interval="0.05s", size=16384, name="test", **fields):
    common = {"log_name": name, "transport_api_version": "V3", "buffer_flush_interval": interval, "buffer_size_bytes": size,
              "grpc_service": {"envoy_grpc": {"cluster_name": "als"}}}
    url = f"type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.{kind}GrpcAccessLogConfig"
    return {"name": "grpc", "typed_config": {"@type": url, "common_config": common, **fields}}


def als_cluster(service):
    return c.cluster("als", service.port, typed_extension_protocol_options=c.http2())


def leaves(message):
    """A message as {path: text}; what differs from run to run (times, ports, ids that the proxy made) is only named."""
    out = {}

    def walk(value, path):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            here = f"{path}.{key}" if path else str(key)
            if isinstance(item, (dict, list)) and item:
                walk(item, here)
            elif re.search(r"start_time$|duration$|time_to_\w+$", here):
                out[here] = "a time"
            elif re.search(r"request_id$|stream_id$", here) and item != "mine":
                out[here] = "an id"
            else:
                out[here] = "a port" if here.endswith("port_value") else str(item)
    walk(json_format.MessageToDict(message, preserving_proto_field_name=True), "")
    return out


def must_agree(name, envoy, ours, table=UNFILLED):
    quirks, paths = QUIRKS.get(name, {}), sorted({*envoy, *ours})
    unfilled = [path for path in paths if any(re.fullmatch(entry, path) for entry in table)]
    assert not [path for path in unfilled if path in ours], "filled now: strike it from the list"
    wrong = {path: (envoy.get(path), ours.get(path)) for path in paths if envoy.get(path) != ours.get(path)}
    assert quirks.keys() <= wrong.keys(), f"agrees now: strike it from the list: {quirks.keys() - wrong.keys()}"
    wrong = {path: pair for path, pair in wrong.items() if path not in unfilled and path not in quirks}
    assert not wrong, f"(Envoy, pinnace): {wrong}"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """What all proxies share: ports that do not answer, a CA and certificates."""
    lab = Lab(tmp_path_factory.mktemp("als"))
    lab.refused, lab.silent, lab.root = lab.refused_port(), lab.silent_port(), lab.ca()
    lab.server, lab.caller = lab.root.issue("server", dns="server.x"), lab.root.issue("client", dns="client.x")
    yield lab
    lab.close()


# ---- HTTP
class Side:
    """One proxy with a plain and a TLS listener, its origin and its service; and what a client may do."""

    def __init__(self, lab, binary):
        self.lab, self.port, self.tls_port = lab, free_port(), free_port()
        self.service, self.origin = lab.keep(AccessLogService()), lab.origin()
        self.origin.on("/slow", lambda x: x.hang()).on("/gone", lambda x: x.hang()).on("/cut", lambda x: x.reset())
        self.origin.on("/chunks", lambda x: x.chunked([b"ab", b"cd"], [("x-origin", "o")])).on("/busy", lambda x: x.reply(503, b"busy"))
        self.origin.on("/broken", lambda x: (x.send("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nab"), x.close()))
        once = {"retry_on": "5xx", "num_retries": 1, "retry_back_off": {"base_interval": "0.001s"}}
        routes = [*[c.route(f"/{name}", name, name=f"to {name}") for name in ("none", "dead", "unknown", "silent")],
                  c.route("/direct", {"direct_response": {"status": 218, "body": {"inline_string": "x"}}}),
                  c.route("/redirect", {"redirect": {"https_redirect": True}}), c.route("/slow", "origin", timeout="0.3s"),
                  c.route("/old", "origin", name="old", prefix_rewrite="/new"), c.route("/busy", "origin", retry_policy=once),
                  *[c.route(path, "origin") for path in ("/plain", "/cut", "/chunks", "/broken", "/gone")]]
        log = logger(additional_request_headers_to_log=["X-Mine", "x-no", "x-empty"], additional_response_headers_to_log=["X-Origin"])
        hcm = c.hcm(log=False, access_log=[log], route_config={
            "name": "r", "validate_clusters": False, "virtual_hosts": c.virtual_hosts(routes)})
        clusters = [c.cluster("origin", self.origin.port), c.cluster("dead", lab.refused), c.cluster("none"),
                    c.cluster("silent", lab.silent, connect_timeout="0.3s"), als_cluster(self.service)]
        tls = c.downstream_tls(require=False, cert=lab.server, ca=lab.root.pem, alpn=["http/1.1"])
        lab.proxy(c.bootstrap([c.listener("plain", self.port, hcm),
                               c.listener("tls", self.tls_port, c.chain(hcm, tls=tls), inspect=["tls"])], clusters), binary=binary)

    def get(self, path="/plain", client=None, **fields):
        client = client or self.lab.client(self.port)
        client.get(path, **fields)
        client.close()

    def send(self, data):
        client = self.lab.client(self.port)
        client.send(data).response()
        client.close()

    def give_up(self):
        before, client = len(self.origin.requests), self.lab.client(self.port)
        client.send("GET /gone HTTP/1.1\r\nhost: a\r\n\r\n")
        eventually(lambda: len(self.origin.requests) > before)
        client.close()

    def h2(self):
        peer = h2.Client(self.lab.client(self.port))
        peer.get("/plain", method="POST", fields=[("x-mine", "h2"), ("user-agent", "h2")])
        peer.client.close()

    def tls(self, cert=True, sni="sni.x", **options):
        context = pki.client_context(self.lab.caller if cert else None, self.lab.root, alpn=["http/1.1"], **options)
        self.get(client=self.lab.client(self.tls_port, tls=context, sni=sni))

    def told(self, do):
        before = len(self.service.entries())
        do(self)
        return leaves(self.service.wait_entries(before + 1)[before])


HEADERS = [(x, "mine") for x in ("x-mine", "user-agent", "referer", "x-forwarded-for", "x-request-id")] + [("x-empty", "")]
REQUESTS = {
    "plain": lambda x: x.get(), "headers": lambda x: x.get(headers=HEADERS), "HEAD": lambda x: x.get(method="HEAD"),
    "no text": lambda x: x.send(b"GET /plain HTTP/1.1\r\nhost: a\r\nuser-agent: a\xffb\r\nx-mine: \xc3\xa9 \xc3\r\n\r\n"),
    "a header twice": lambda x: x.get(headers=[("x-mine", "one"), ("x-mine", "two")]), "OPTIONS": lambda x: x.get(method="OPTIONS"),
    "a body": lambda x: x.get(method="POST", body=b"12345"), "an empty body": lambda x: x.get(method="PUT", body=b""),
    "another method": lambda x: x.get(method="PURGE"), "a query": lambda x: x.get("/plain?a=b&c=%20"),
    **{name: lambda x, path=path: x.get(path) for name, path in {
        "chunks": "/chunks", "direct answer": "/direct", "redirect": "/redirect", "no route": "/nowhere", "no cluster": "/unknown",
        "no upstream": "/none", "connect failure": "/dead", "connect timeout": "/silent", "timeout": "/slow", "retried": "/busy",
        "reset by the upstream": "/cut", "broken in the body": "/broken", "rewritten": "/old/x?y=z"}.items()},
    "given up by the client": Side.give_up, "bad request": lambda x: x.send("GET /plain HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n"),
    "no host": lambda x: x.send("GET /plain HTTP/1.1\r\n\r\n"), "HTTP/1.0": lambda x: x.send("GET /plain HTTP/1.0\r\nhost: a\r\n\r\n"),
    "HTTP/2": Side.h2, "mTLS": Side.tls, "mTLS 1.2": lambda x: x.tls(maximum=pki.ssl.TLSVersion.TLSv1_2),
    "TLS": lambda x: x.tls(cert=False), "TLS without SNI": lambda x: x.tls(sni=None)}


@pytest.fixture(scope="module")
def http_pair(world):
    return [Side(world, binary) for binary in (ENVOY, PINNACE)]


@pytest.mark.parametrize("name", REQUESTS)
def test_entries_of_requests_agree(http_pair, name):
    must_agree(name, *(side.told(REQUESTS[name]) for side in http_pair))


# ---- TCP
def tcp_side(lab, binary):
    """One proxy with listeners to an echo, to a refused port, to no host, to no cluster, and to the echo with mTLS on both sides."""
    service = lab.keep(AccessLogService())
    echo = lab.origin(raw=lambda s, _: [s.sendall(d) for d in iter(lambda: s.recv(65536), b"")])
    secure = lab.origin(tls=pki.server_context(lab.server, lab.root, require=True), raw=echo.raw)
    up = c.upstream_tls(cert=lab.caller, ca=lab.root.pem, sni="up.x")
    clusters = [c.cluster("echo", echo.port), c.cluster("dead", lab.refused), c.cluster("none"), als_cluster(service),
                c.cluster("secure", secure.port, transport_socket=up)]
    ports = {name: free_port() for name in ("echo", "dead", "none", "unknown", "secure")}
    tls = {"secure": c.downstream_tls(cert=lab.server, ca=lab.root.pem)}
    lab.proxy(c.bootstrap([c.listener(name, port, c.chain(c.tcp_proxy(name, log=False, access_log=[logger("Tcp")]), tls=tls.get(name)),
                                      inspect=["tls"] if name in tls else []) for name, port in ports.items()], clusters), binary=binary)
    return service, ports


@pytest.fixture(scope="module")
def tcp_pair(world):
    return [tcp_side(world, binary) for binary in (ENVOY, PINNACE)]


@pytest.mark.parametrize("name", ["echo", "dead", "none", "unknown", "secure"])
def test_entries_of_connections_agree(world, tcp_pair, name):
    entries = []
    for service, ports in tcp_pair:
        before = len(service.entries())
        client = world.client(ports[name], tls=pki.client_context(world.caller) if name == "secure" else None, sni="tcp.x")
        if name in ("echo", "secure"):
            client.send(b"12345678")
            assert client.reader.exactly(8) == b"12345678"
        else:
            client.closed_or_reset()
        client.close()
        entries.append(leaves(service.wait_entries(before + 1)[before]))
    must_agree(f"TCP {name}", *entries, UNFILLED_TCP)


@BOTH
@pytest.mark.parametrize("fields, filled", [
    ({"additional_request_headers_to_log": [":path"]}, {"request.request_headers.:path": "/x"}),
    ({"additional_response_headers_to_log": [":status"]}, {"response.response_headers.:status": "200"}),
    ({"additional_response_trailers_to_log": ["x-end"]}, {"response.response_trailers.x-end": "now"})],
    ids=["request", "response", "trailers"])
def test_pseudo_headers_and_trailers_may_be_asked_for(lab, binary, fields, filled):
    service, origin = lab.keep(AccessLogService()), lab.origin(raw=h2.speak)
    origin.default = lambda x: (x.head(200), x.send(b"a"), x.end_with([("x-end", "now")]))
    cluster = c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2())
    proxy = lab.http(cluster, als_cluster(service), binary=binary, log=False, access_log=[logger(**fields)])
    lab.client(proxy.port).get("/x")
    entry = leaves(service.wait_entries(1)[0])
    assert {path: entry.get(path) for path in filled} == filled


@BOTH
@pytest.mark.parametrize("kind", ["Http", "Tcp"])
def test_what_istiod_makes_of_a_provider_is_taken(lab, binary, kind):
    """filter_state_objects_to_log is always in it."""
    service, log = lab.keep(AccessLogService()), logger(kind)
    log["typed_config"]["common_config"]["filter_state_objects_to_log"] = ["upstream_peer", "downstream_peer"]
    make = lab.tcp if kind == "Tcp" else functools.partial(lab.http, binary=binary)
    proxy = make(lab.origin(), als_cluster(service), log=False, access_log=[log], options={"binary": binary} if kind == "Tcp" else {})
    client = lab.client(proxy.port)
    client.get("/")
    client.close()
    service.wait_entries(1)


# ---- streams and batches
def logged(lab, binary, service=None, **options):
    service = service or lab.keep(AccessLogService())
    return service, lab.http(lab.origin(), als_cluster(service), binary=binary, log=False, access_log=[logger(**options)])


@BOTH
def test_who_logs_is_said_in_the_first_message_of_each_stream_only(lab, binary):
    service, proxy = logged(lab, binary, name="mine")
    client = lab.client(proxy.port)
    for _ in range(2):
        for _ in range(3):
            before = len(service.entries())
            client.get("/")
            service.wait_entries(before + 1)
        service.stop()
        service.start()

        def there_again(count=len(service.streams)):
            client.get("/")
            return len(service.streams) > count and service.streams[-1]
        eventually(there_again)
    assert len(service.streams) == 3
    for messages in service.streams:
        assert [m.HasField("identifier") for _, m in messages] == [True] + [False] * (len(messages) - 1)
        identifier = messages[0][1].identifier
        assert (identifier.log_name, identifier.node.cluster) == ("mine", "test.default")
        assert identifier.node.id.startswith("sidecar~") and identifier.node.user_agent_name


@BOTH
@pytest.mark.parametrize("size", [0, 1, 3000])
def test_a_batch_is_sent_once_it_has_its_size(lab, binary, size):
    service, proxy = logged(lab, binary, interval="100s", size=size)
    client = lab.client(proxy.port)
    for _ in range(30):
        client.get("/")
    for message in eventually(lambda: len(service.messages()) >= (30 if size < 2 else 2) and service.messages()):
        sizes = [entry.ByteSize() for entry in message.http_logs.log_entry]
        assert sum(sizes) >= size and (sum(sizes[:-1]) < size or len(sizes) == 1), sizes


@BOTH
def test_a_batch_is_sent_once_it_has_waited_long_enough(lab, binary):
    service, proxy = logged(lab, binary, interval="0.5s", size=1 << 20)
    client, began = lab.client(proxy.port), time.monotonic()
    for _ in range(5):
        client.get("/")
    service.wait_entries(5)
    sizes = [len(m.http_logs.log_entry) for m in service.messages()]
    if binary == ENVOY:  # its timer runs from the start, not from the first entry of a batch
        assert len(sizes) <= 2
    else:
        assert sizes == [5] and service.streams[0][0][0] - began >= 0.4


def test_loggers_alike_share_a_stream_and_others_have_their_own(lab):
    service, ports = lab.keep(AccessLogService()), [free_port() for _ in range(3)]
    listeners = [c.listener(f"l{i}", port, c.hcm([c.route("/", "als")], log=False, access_log=[logger(name=name)]))
                 for i, (port, name) in enumerate(zip(ports, ("one", "one", "two")))]
    lab.proxy(c.bootstrap(listeners, [als_cluster(service)]))
    for port in ports:
        lab.client(port).get("/")
    service.wait_entries(3)
    assert sorted(messages[0][1].identifier.log_name for messages in service.streams) == ["one", "two"]


# ---- a service that is not well
def test_a_filter_chooses_what_the_service_hears(lab):
    service, log = lab.keep(AccessLogService()), {**logger(), "filter": {"response_flag_filter": {"flags": ["NR"]}}}
    proxy = lab.http(lab.origin(), als_cluster(service), log=False, access_log=[log], routes=[c.route("/known", "origin")])
    client = lab.client(proxy.port)
    for path in ("/known", "/nowhere", "/known", "/nowhere/else"):
        client.get(path)
    assert [e.request.path for e in service.wait_entries(2)] == ["/nowhere", "/nowhere/else"]


def counters(proxy):
    return tuple(proxy.stat(f"access_logs.grpc_access_log.logs_{what}") for what in ("written", "dropped"))


@BOTH
def test_a_service_that_is_not_there_costs_no_request_and_hears_all_again_when_it_is(lab, binary):
    service, proxy = logged(lab, binary, size=0)
    service.stop()
    load = lab.keep(Load(proxy.port, threads=2, pause=0.002))
    eventually(lambda: load.count > 100)
    assert sum(counters(proxy)) > 50 and service.entries() == []
    service.start()
    service.wait_entries(20, 20)
    service.stop()
    before, heard = load.count, len(service.entries())
    eventually(lambda: load.count > before + 100)
    service.start()
    service.wait_entries(heard + 20, 20)
    load.must_be_flawless(200)


def test_a_service_that_does_not_read_costs_no_request_and_no_memory(lab):
    """UNLIKE ENVOY: it keeps all that the service does not take, 32 MiB here, and drops nothing."""
    service, proxy = logged(lab, PINNACE, size=0, additional_request_headers_to_log=["x-big"])
    client, big = lab.client(proxy.port), [("x-big", "x" * 16000)]
    for _ in range(50):
        assert client.get("/", headers=big).status == 200
    service.wait_entries(50)
    service.reading.clear()
    service.stop()
    service.start()
    before, memory = counters(proxy), proxy.rss_kib()
    for _ in range(2000):
        assert client.get("/", headers=big).status == 200
    written, dropped = (now - then for now, then in zip(counters(proxy), before))
    assert written + dropped == 2000 and dropped > 1000, (written, dropped)
    assert proxy.rss_kib() - memory < proxy.rss_allowance_kib()
    service.reading.set()
    eventually(lambda: client.get("/", headers=[("x-big", "after")]) and service.entries()[-1].request.request_headers["x-big"] == "after")
