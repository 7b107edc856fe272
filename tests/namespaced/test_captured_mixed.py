"""A mesh of pinnace and Envoy sidecars with one captured push: mutual TLS both ways, over every protocol that echo has.

productpage and one echo have pinnace, reviews and the other echo have Envoy, without Istio's filters and so without the protocol those
speak (captured_mesh.for_plain_envoy); each client is told only of the echo whose proxy is of the other kind.
"""
import difflib
import math
import re
import time

import pytest
from captured_mesh import ECHO, ECHO_1, PRODUCTPAGE, REVIEWS, WORKLOADS, Captured, forwarded
from support.wait import eventually
from test_flows import Load

ENVOYS = (REVIEWS, ECHO_1)
STRANGER, AWAY, NOBODY = "stranger", "10.44.1.30", "192.0.2.9"
# A client, the HTTP service it calls, and the echo it is told of.
WAYS = {"pinnace to Envoy": (PRODUCTPAGE, REVIEWS, ECHO_1), "Envoy to pinnace": (REVIEWS, PRODUCTPAGE, ECHO)}


@pytest.fixture(scope="module")
def mesh():
    outside = {STRANGER: {"address": AWAY, "ports": {80: "http", 81: "hangup", 3333: "greet", 9080: "auto"}}}
    with Captured("plain", PRODUCTPAGE, REVIEWS, ECHO, ECHO_1, envoys=ENVOYS, outside=outside) as made:
        for client, _, echo in WAYS.values():
            hidden = WORKLOADS[ECHO if echo == ECHO_1 else ECHO_1].address
            made.endpoints(client, made.addresses - {hidden})
            eventually(lambda: f"{hidden}:9000" not in made.raw(client, "/clusters")[1])
        for name, process in made.proxies.items():
            assert (b"/envoy" in open(f"/proc/{process.pid}/cmdline", "rb").read().split(b"\0")[0]) == (name in ENVOYS)
        yield made


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


def test_http_goes_over_mutual_tls(mesh, way):
    client, service, _ = way
    status, headers, seen = mesh.curl(client, f"http://{WORKLOADS[service].app}:9080/mixed?a=b")
    assert (status, headers["server"], seen["served_by"], seen["path"]) == ("200", "envoy", service, "/mixed?a=b")
    peer = forwarded(seen)
    assert (peer["URI"], peer["By"]) == (WORKLOADS[client].identity, WORKLOADS[service].identity)
    # Each logs the other's names, under one id.
    identity = seen["headers"]["x-request-id"]
    server_name = f"outbound_.9080_._.{WORKLOADS[service].app}.default.svc.cluster.local"
    assert f"{WORKLOADS[service].address}:9080" in mesh.logged(client, identity)
    assert f" {server_name} default" in mesh.logged(service, identity)


def test_what_sidecars_tell_each_other_reaches_no_application(mesh, way):
    client, service, _ = way
    _, headers, seen = mesh.curl(client, f"http://{WORKLOADS[service].app}:9080/")
    names = [*seen["headers"], *headers]
    assert "x-envoy-decorator-operation" not in names, "the proxy that gets it takes it out"
    # The filter of Istio that takes these out is not in this Envoy.
    assert service in ENVOYS or not [name for name in names if "peer-metadata" in name]


@pytest.mark.parametrize("protocol", ["--http1.1", "--http2-prior-knowledge"])
def test_http2_goes_over_mutual_tls(mesh, way, protocol):
    client, _, echo = way
    status, _, seen = mesh.curl(client, "http://echo:9002/two", protocol)
    assert (status, seen["served_by"], seen["protocol"]) == ("200", echo, "h2")
    assert forwarded(seen)["URI"] == WORKLOADS[client].identity


def test_grpc_goes_over_mutual_tls(mesh, way):
    client, _, echo = way
    got = mesh.grpc(client, "echo:9001")
    assert got["trailers"]["served-by"] == echo
    assert (got["failure"], got["stream"]) == (["FAILED_PRECONDITION", "as asked"], ["ONE", "TWO", "THREE"])


@pytest.mark.parametrize("port", [9000, 9003])
def test_tcp_goes_over_mutual_tls_byte_for_byte(mesh, way, port):
    client, _, echo = way
    text = "neither HTTP nor TLS " * 50
    assert mesh.talk(client, "echo", port, text) == {"greeting": "", "answer": text + "\n", "end": "closed"}
    entry = mesh.logged(echo, f" inbound|{port}|| ", f" {WORKLOADS[client].address}:")
    assert f" outbound_.{port}_._.echo.default.svc.cluster.local -" in entry, "it came over TLS"


def test_tls_of_the_application_goes_inside_mutual_tls(mesh, way):
    client, _, echo = way
    options = ["--cacert", mesh.visible(client, mesh.outside_ca.cert_path), "--connect-to", "tls.example.com:443:10.96.0.16:9443"]
    status, _, seen = mesh.curl(client, "https://tls.example.com/secret", *options)
    assert (status, seen["served_by"], seen["tls"]) == ("200", echo, "tls.example.com")


def test_pinnace_counts_an_envoy_that_says_nothing_of_itself_by_its_certificate_and_endpoint(mesh):
    mesh.curl(PRODUCTPAGE, "http://reviews:9080/counted")
    (has, _), *_ = eventually(lambda: mesh.metrics(PRODUCTPAGE, "istio_requests_total", reporter="source", response_code="200",
                                                   destination_service_name="reviews"))
    assert (has["destination_workload"], has["destination_canonical_service"], has["destination_canonical_revision"]) == (
        "reviews-v2-0", "reviews", "v2")
    assert has["destination_principal"] == WORKLOADS[REVIEWS].identity
    mesh.curl(REVIEWS, "http://productpage:9080/counted")
    (has, _), *_ = eventually(lambda: mesh.metrics(PRODUCTPAGE, "istio_requests_total", reporter="destination", response_code="200"))
    assert (has["source_principal"], has["connection_security_policy"]) == (WORKLOADS[REVIEWS].identity, "mutual_tls")
    assert has["source_workload_namespace"] == "default"


def test_no_request_fails_under_load_both_ways(mesh):
    def counted():
        return sum(value for _, value in mesh.metrics(PRODUCTPAGE, "istio_requests_total", response_code="200", reporter="source"))
    start = counted()
    with Load(mesh, (PRODUCTPAGE, "reviews", 9080, "/load"), (REVIEWS, "productpage", 9080, "/load")) as load:
        eventually(lambda: counted() > start + 100)
    assert set(load.seen) == {"200"} and load.seen["200"] > 200, load.seen


# Each a call of Captured.curl or Captured.talk from the pod, or with the pod's address for {me} from a stranger.
OUTBOUND = [
    ("curl", "http://echo:9002/two"), ("curl", "http://echo:9003/sniffed", "-d", "abc"), ("talk", "echo", 9000),
    ("curl", f"http://{NOBODY}/"), ("talk", NOBODY, 3333), ("talk", AWAY, 3333, "x", True), ("talk", AWAY, 9080, "not HTTP"),
    ("curl", f"http://{AWAY}/unknown", "-H", "host: unknown.example.com"), ("curl", f"http://{AWAY}/slow", "-m", "0.4"),
    ("curl", f"http://{AWAY}:81/hangup"), ("curl", f"http://{AWAY}:81/hangup", "-d", "abc"),
    ("curl", f"http://{AWAY}:9080/q?a=1", "-H", "x-forwarded-for: 9.9.9.9"), ("curl", f"http://{AWAY}/..%2f/a/../b//c", "--path-as-is"),
    ("talk", AWAY, 9080, "GET / HTTP/1.1\r\nbad header\r\n\r"), ("talk", AWAY, 9080, "GET / HTTP/1.0\r\n\r"),
    ("curl", "http://details:9080/no-endpoint"), ("talk", "mysql", 3306, "no endpoint"), ("curl", "http://10.96.0.11:9080/no-such-host"),
    ("curl", "http://echo:9002/upgrade", "-H", "connection: upgrade", "-H", "upgrade: other")]
# Lines of five bytes and more: with fewer, Envoy's tls_inspector waits for the rest of what could be a record's header, pinnace does not.
INBOUND = [
    ("curl", "http://{me}:9080/in"), ("curl", "http://{me}:9080/in2", "--http2-prior-knowledge"),
    ("curl", "http://{me}:9080/slow", "-m", "0.4"), ("curl", "http://{me}:8082/nobody"), ("talk", "{me}", 8083, "nobody"),
    ("curl", "http://{me}:8090/hangup"), ("talk", "{me}", 8090, "hang up"), ("curl", "https://{me}:9080/tls-of-a-stranger", "-k"),
    ("talk", "{me}", 9080, "GET / HTTP/1.1\r\nbad header\r\n\r"), ("curl", "http://{me}:9080/", "-H", "host;"),
    ("curl", "http://{me}:9080/head", "--head"), ("curl", "http://{me}:9080/tea", "-H", "te: trailers", "-d", "abc")]


def normalised(entry):
    """Without what differs anyway: time, durations, addresses, ids, and the length of an answer that tells of these."""
    out = re.sub(r"^\[\S+\] ", "", re.sub(r"\d+\.\d+\.\d+\.\d+(:\d+)?", "IP", entry))
    out = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", out)
    return re.sub(r'" (\d+) (\d+) \d+ (?:\d+|-) "', lambda m: f'" {m[1]} {"-" if "via_upstream" in out else m[2]} "', out)


@pytest.mark.parametrize("flows", [OUTBOUND, INBOUND], ids=["outbound", "inbound"])
def test_both_kinds_of_proxy_log_the_same_of_the_same_flows(mesh, flows):
    logs = []
    for name in (PRODUCTPAGE, REVIEWS):
        if flows is INBOUND:
            mesh.serve(name, {8090: "hangup"})
        start = time.strftime("[%Y-%m-%dT%H:%M:%S", time.gmtime(math.ceil(time.time())))
        eventually(lambda: time.strftime("[%Y-%m-%dT%H:%M:%S", time.gmtime()) >= start)
        for kind, *words in flows:
            words = [word.format(me=WORKLOADS[name].address) if isinstance(word, str) else word for word in words]
            getattr(mesh, kind)(STRANGER if flows is INBOUND else name, *words)

        def entries():
            return [entry for entry in mesh.entries(name) if entry[:20] >= start]
        eventually(lambda: len(entries()) >= len(flows), what=lambda: entries())
        logs.append(sorted(map(normalised, entries())))
    assert not list(difflib.unified_diff(*logs, "pinnace", "Envoy", n=0, lineterm=""))


REQUESTS = [[], ["-d", "abc"], ["-d", "abc", "-H", "expect: 100-continue"], ["-d", "abc", "-H", "transfer-encoding: chunked"],
            ["-H", "x-forwarded-for: 9.9.9.9", "-H", "x-forwarded-proto: https"], ["-H", "x-request-id: mine", "-H", "x-b3-traceid: 1"],
            ["-H", "x-envoy-retry-on: 5xx", "-H", "x-envoy-upstream-rq-timeout-ms: 9000", "-H", "x-envoy-max-retries: 1"],
            ["-H", "connection: x-hop, close", "-H", "x-hop: 1", "-H", "te: trailers"], ["--http2-prior-knowledge", "-H", "te: trailers"],
            ["-H", "cookie: a=1", "-H", "cookie: b=2", "-H", "x_under: 1", "-H", "x-empty;"],
            ["-H", "x-forwarded-client-cert: URI=spiffe://me", "-H", "x-envoy-original-path: /p", "-H", "x-envoy-internal: true"]]


# What passes through is asked as the client asks, and the server outside the mesh speaks HTTP/1.1 only.
WAYS_OF_REQUESTS = [("inbound", options) for options in REQUESTS]
WAYS_OF_REQUESTS += [("outbound", options) for options in REQUESTS if "--http2-prior-knowledge" not in options]


@pytest.mark.parametrize("direction, options", WAYS_OF_REQUESTS, ids=lambda told: told if isinstance(told, str) else " ".join(told))
def test_both_kinds_of_proxy_pass_on_the_same_request_and_answer(mesh, direction, options):
    both = []
    for name in (PRODUCTPAGE, REVIEWS):
        source, target = (name, AWAY) if direction == "outbound" else (STRANGER, WORKLOADS[name].address)
        port = 80 if direction == "outbound" else 9080
        request = [f"http://{target}:{port}/a/./b?c=d", "--path-as-is", "-H", "host: a.example.com", *options]
        status, headers, seen = mesh.curl(source, *request)
        for here in (headers, seen["headers"]):
            here.pop("x-envoy-decorator-operation", None)  # has a test of its own
            for varies in ("x-request-id", "date", "x-envoy-upstream-service-time", "content-length"):
                if here.get(varies) not in (None, "mine"):
                    here[varies] = "-"
        # What says who the client is to another of Istio's proxies has not been in this Envoy.
        told = {key: value for key, value in seen["headers"].items() if "peer-metadata" not in key}
        both.append((status, headers, told, seen["method"], seen["path"], seen["body"]))
    assert both[0] == both[1], "pinnace and Envoy"
