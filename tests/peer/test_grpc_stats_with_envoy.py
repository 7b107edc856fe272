"""envoy.filters.http.grpc_stats: real Envoy and pinnace count the same calls under the same names."""
import pytest
from support import config as c
from support import h2
from support.lab import Lab
from support.proxy import ENVOY, PINNACE
from support.wait import eventually

GRPC = "application/grpc"
ISTIO = {"emit_filter_state": True, "stats_for_all_methods": False}
FEW = {"individual_method_stats_allowlist": {"services": [{"name": "pkg.Svc", "method_names": ["ok", "other"]}]}}
CONFIGS = {"as istiod": ISTIO, "nothing": {}, "all methods": {"stats_for_all_methods": True}, "few methods": FEW,
           "all, dots replaced": {"stats_for_all_methods": True, "replace_dots_in_grpc_service_name": True},
           "few, dots replaced": {**FEW, "replace_dots_in_grpc_service_name": True},
           "upstream time": {**ISTIO, "enable_upstream_stats": True}}


def message(text=b"abc", flag=0):
    return bytes([flag]) + len(text).to_bytes(4, "big") + text


def answer(x, status="0", body=message(), kind=GRPC, code=200):
    x.read_body()
    x.head(code, [("content-type", kind)])
    x.send(body)
    x.end_with([("grpc-status", status)] if status is not None else [("x", "y")])


def trailers_only(status):
    def script(x):
        x.read_body()
        x.head(200, [("content-type", GRPC), ("grpc-status", status)], end=True)
    return script


def in_pieces(x):
    x.read_body()
    x.head(200, [("content-type", GRPC)])
    for byte in message() + message(b"") + message(b"z" * 300):
        x.send(bytes([byte]))
    x.end_with([("grpc-status", "0")])


def plain(x):
    x.read_body()
    x.head(200, [("content-type", "text/plain"), ("grpc-status", "0")])
    x.send(message(), end=True)


def broken(x):
    x.read_body()
    x.head(200, [("content-type", GRPC)])
    x.send(message())
    x.reset()


# what the upstream does with /pkg.Svc/<name>
SCRIPTS = {"ok": answer, "other": lambda x: answer(x, "5"), "many": lambda x: answer(x, "0", message() * 3), "unknown": lambda x: answer(x, "17"),
           "large": lambda x: answer(x, "999"), "zeros": lambda x: answer(x, "00"), "none": lambda x: answer(x, None),
           "only": trailers_only("14"), "only0": trailers_only("0"), "pieces": in_pieces, "plain": plain, "broken": broken,
           "not200": lambda x: answer(x, "0", code=201), "proto": lambda x: answer(x, kind="application/grpc+proto")}
# name → (path, content-type, body)
CALLS = {**{name: (f"/pkg.Svc/{name}", GRPC, message()) for name in SCRIPTS},
         "three messages": ("/pkg.Svc/ok", GRPC, message() + message(b"") + message(b"x" * 70000, 1)),
         "no message": ("/pkg.Svc/ok", GRPC, b""), "half a message": ("/pkg.Svc/ok", GRPC, message()[:6]),
         "odd flag": ("/pkg.Svc/ok", GRPC, message(flag=0x80)), "+proto": ("/pkg.Svc/ok", GRPC + "+proto", message()),
         "web": ("/pkg.Svc/ok", GRPC + "-web", message()), "grpcx": ("/pkg.Svc/ok", GRPC + "x", message()),
         "parameter": ("/pkg.Svc/ok", GRPC + ";a=b", message()), "upper case": ("/pkg.Svc/ok", "Application/gRPC", message()), "not gRPC": ("/pkg.Svc/ok", "text/plain", message()),
         "no method": ("/pkg.Svc", GRPC, message()), "three parts": ("/pkg.Svc/ok/x", GRPC, message()), "slashes": ("//pkg.Svc//ok", GRPC, message()),
         "query": ("/pkg.Svc/ok?a=/b/c", GRPC, message()), "no service": ("/none/m", GRPC, message()), "no cluster": ("/unknown/m", GRPC, message()),
         "no route": ("/nowhere/m", GRPC, message()), "direct": ("/direct/m", GRPC, message()), "rewritten": ("/old/ok", GRPC, message())}


def made(lab, binary, settings):
    origin = lab.origin(raw=h2.speak)
    for name, script in SCRIPTS.items():
        origin.on(f"/pkg.Svc/{name}", script)
    origin.default = answer
    filters = [{"name": "envoy.filters.http.grpc_stats", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig", **settings}},
        {"name": "envoy.filters.http.router", "typed_config": {"@type": c.ROUTER}}]
    routes = [c.route("/none", "empty"), c.route("/unknown", "unknown"), c.route("/direct", {"direct_response": {"status": 503}}),
              c.route("/old", "origin", prefix_rewrite="/pkg.Svc"), c.route("/pkg.Svc", "origin"), c.route("//pkg.Svc", "origin")]
    clusters = [c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2()), c.cluster("empty")]
    return lab.http(*clusters, binary=binary, http_filters=filters,
                    route_config={"name": "r", "validate_clusters": False, "virtual_hosts": c.virtual_hosts(routes)})


def call(lab, proxy, path, kind, body):
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", path, fields=[("content-type", kind), ("te", "trailers")], end=False)
    peer.data(stream, body, end=True)
    return peer.answer(stream)


def counted(proxy):
    """Counters under grpc., and that histograms are there."""
    lines = proxy.admin("/stats?filter=^cluster[.][a-z]*[.]grpc").text.splitlines()
    return {k: int(v) if v.isdigit() else "histogram" for k, _, v in (line.partition(": ") for line in lines)}


def more(before, after):
    """What was counted between the two; a histogram is named once it is there."""
    return {k: v if v == "histogram" else v - before.get(k, 0) for k, v in after.items() if v != before.get(k)}


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request, tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("pair"))
    yield lab, [made(lab, binary, CONFIGS[request.param]) for binary in (ENVOY, PINNACE)]
    lab.close()


@pytest.mark.parametrize("name", CALLS)
def test_envoy_and_pinnace_count_alike(pair, name):
    lab, proxies = pair
    before = [counted(proxy) for proxy in proxies]
    for proxy in proxies:
        call(lab, proxy, *CALLS[name])

    def counts():
        envoy, ours = (more(was, counted(proxy)) for was, proxy in zip(before, proxies))
        return envoy == ours, envoy, ours
    try:
        eventually(lambda: counts()[0], 2)  # a call that was cut counts when its end is heard of
    except AssertionError:
        _, envoy, ours = counts()
        assert ours == envoy
