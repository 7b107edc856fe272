"""ECDS: filters whose configuration comes by its own resource, warms their listener, changes without a new listener and is
refused by name. envoy.config.core.v3.ExtensionConfigSource."""
import pytest
from support import config as c
from support.wait import eventually, free_port

COMPRESSOR = "type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor"
GRPC_WEB = "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"
CORS = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"
NAME = "extensions.istio.io/wasmplugin/default.x"
ADS = {"ads": {}, "resource_api_version": "V3"}


def extension(types, least=1, name=NAME):
    return {"name": name, "typed_config": {
        "@type": types, "compressor_library": {"name": "gzip", "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.compression.gzip.compressor.v3.Gzip"}},
        "response_direction_config": {"common_config": {"min_content_length": least, "content_type": ["text/plain"]}}}
        if types == COMPRESSOR else {"@type": types}}


def listener(port, *routes, name="http", types=(COMPRESSOR,), wait="0s", **discovery):
    source = {**ADS, "initial_fetch_timeout": wait} if wait else ADS
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": c.ROUTER}}
    return c.listener(name, port, c.hcm(list(routes), log=False, http_filters=[
        {"name": NAME, "config_discovery": {"config_source": source, "type_urls": list(types), **discovery}}, router]))


def coding(lab, port):
    answer = lab.client(port).get("/", headers=[("accept-encoding", "gzip")])
    return answer.status, answer.get("content-encoding")


@pytest.fixture(params=[True, False], ids=["delta", "sotw"])
def started(lab, request):
    ads = lab.ads()
    origin = lab.origin()
    origin.default = lambda x: (x.read_body(), x.reply(200, b"x" * 100, [("content-type", "text/plain")]))
    ads.set("cluster", c.cluster("up", origin.port))
    return ads, lab.proxy(c.ads_bootstrap(ads.address, delta=request.param), wait_ready=False), c.route("/", "up")


def test_a_listener_waits_for_its_extension_which_then_changes_under_it(lab, started):
    ads, proxy, route = started
    port = free_port()
    ads.set("listener", listener(port, route))
    eventually(lambda: NAME in ads.subscribed("extension"))
    assert proxy.admin("/ready").status == 503
    assert [x["name"] for x in dump(proxy, "dynamic_listeners") if "warming_state" in x] == ["http"]
    ads.set("extension", extension(COMPRESSOR))
    proxy.wait_ready()
    assert ads.wait("extension") is None
    assert coding(lab, port) == (200, "gzip")
    kept = lab.client(port)
    kept.get("/")
    ads.set("extension", extension(COMPRESSOR, least=1000))
    eventually(lambda: coding(lab, port) == (200, None))
    assert kept.get("/", headers=[("accept-encoding", "gzip")]).get("content-encoding") is None  # the connection goes on
    ads.set("listener", listener(port, route), listener(second := free_port(), route, name="late"))
    eventually(lambda: coding(lab, second) == (200, None), what="a listener that comes after the extension")


def dump(proxy, field):
    for section in proxy.admin_json("/config_dump")["configs"]:
        if field in section:
            return section[field]
    return []


def test_one_that_cannot_be_used_is_refused_and_the_one_in_force_stays(lab, started):
    ads, proxy, route = started
    port = free_port()
    ads.change({"listener": [listener(port, route)], "extension": [extension(COMPRESSOR)]})
    proxy.wait_ready()
    ads.set("extension", extension(GRPC_WEB))
    why = ads.wait("extension")
    assert why and NAME in why and "GrpcWeb: not among the type_urls of the filter" in why
    assert coding(lab, port) == (200, "gzip")
    eventually(lambda: "refused (TypedExtensionConfig): " + NAME in proxy.log())
    shown = dump(proxy, "ecds_filters")
    assert shown[0]["ecds_filter"]["typed_config"]["@type"] == COMPRESSOR
    assert "not among the type_urls" in shown[0]["error_state"]["details"]
    ads.set("extension", extension(COMPRESSOR, least=1000))
    assert ads.wait("extension") is None
    eventually(lambda: coding(lab, port) == (200, None))


def test_the_default_serves_until_the_extension_comes(lab, started):
    ads, proxy, route = started
    port = free_port()
    default = extension(COMPRESSOR)["typed_config"]
    ads.set("listener", listener(port, route, default_config=default, apply_default_config_without_warming=True))
    proxy.wait_ready()
    assert coding(lab, port) == (200, "gzip")
    ads.set("extension", extension(COMPRESSOR, least=1000))
    eventually(lambda: coding(lab, port) == (200, None))


def test_a_listener_that_comes_back_begins_with_its_default_again(lab, started):
    """What came in its former life is forgotten, on the workers too."""
    ads, proxy, route = started
    port, other = free_port(), free_port()
    whole = listener(port, route, default_config=extension(COMPRESSOR)["typed_config"], apply_default_config_without_warming=True)
    plain = c.listener("plain", other, c.hcm([route], log=False))
    ads.change({"listener": [whole, plain], "extension": [extension(COMPRESSOR, least=1000)]})
    proxy.wait_ready()
    eventually(lambda: coding(lab, port) == (200, None))
    ads.remove("extension", NAME)
    ads.remove("listener", "http")
    eventually(lambda: ads.subscribed("extension") == set())
    ads.set("listener", whole, plain)
    eventually(lambda: coding(lab, port) == (200, "gzip"))


def test_without_a_default_requests_are_denied_once_the_wait_is_over(lab, started):
    ads, proxy, route = started
    port = free_port()
    ads.set("listener", listener(port, route, wait="0.3s"))
    proxy.wait_ready()
    assert coding(lab, port)[0] == 500
    ads.set("extension", extension(COMPRESSOR))
    eventually(lambda: coding(lab, port) == (200, "gzip"))


def test_a_filter_that_does_nothing_may_come(lab, started):
    ads, proxy, route = started
    port = free_port()
    ads.change({"listener": [listener(port, route, types=[COMPRESSOR, CORS])], "extension": [extension(CORS)]})
    proxy.wait_ready()
    assert coding(lab, port) == (200, None)


def test_a_listener_whose_filter_could_be_nothing_that_is_known_is_refused(lab, started):
    ads, proxy, route = started
    wasm = "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm"
    ads.set("listener", listener(free_port(), route, types=[wasm]))
    assert "type_urls: no filter of these types is supported" in ads.wait("listener")
