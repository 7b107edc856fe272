"""The first answer to what something waits for is a bad one, or none comes for what the bootstrap names: nobody waits for ever, only
what needs it does without, and a good one that comes later is taken. ENVOY: onConfigUpdateFailed ends the wait too."""
import pytest
from direct.test_bad_pushes import BROKEN
from direct.test_bad_pushes_streams import gateway_secret, secret_cert, served, tls_chain
from direct.test_extension_configs import GRPC_WEB, coding, extension
from direct.test_extension_configs import listener as extended
from support import config as c
from support.wait import eventually, free_port
from support.xds_server import ScriptedServer

ADS = {"ads": {}, "resource_api_version": "V3"}
FOR_EVER = {**ADS, "initial_fetch_timeout": "0s"}


@pytest.fixture(params=[True, False], ids=["delta", "sotw"])
def delta(request):
    return request.param


@pytest.fixture
def ads(lab):
    return lab.keep(ScriptedServer())


def test_a_refused_secret_costs_its_own_chain_only(lab, ads, delta):
    ca, origin, port, name = lab.ca(), lab.origin(), free_port(), "kubernetes://shop/bad"
    good = c.downstream_tls(require=False, cert=ca.issue("good"))
    broken = secret_cert(name, ca.issue("one"))
    broken["tls_certificate"]["private_key"]["inline_string"] = ca.issue("two").key
    ads.change({"cluster": [c.cluster("o", origin.port)], "secret": [broken], "listener": [c.listener(
        "gateway", port, tls_chain("good.x", good), tls_chain("bad.x", gateway_secret(name, "0s")), inspect=["tls"])]})
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta))
    assert served(lab, port, "good.x") and not served(lab, port, "bad.x")
    assert [kind for kind, _ in ads.nacks] == ["secret"] and name in ads.nacks[0][1]
    assert [x for x in proxy.log().splitlines() if "refused (Secret)" in x and name in x]
    ads.set("secret", secret_cert(name, ca.issue("right")))
    eventually(lambda: served(lab, port, "bad.x"))


@pytest.mark.parametrize("broken", ["undecodable", "no address"])
def test_refused_endpoints_leave_their_cluster_without_any(lab, ads, delta, broken):
    origin, port = lab.origin(), free_port()
    bad = ("c", BROKEN["garbage"]("endpoints")) if broken == "undecodable" else \
        {"cluster_name": "c", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
            "address": "no address", "port_value": 1}}}}]}]}
    cluster = c.cluster("c", kind="EDS")
    cluster["eds_cluster_config"]["eds_config"] = FOR_EVER
    ads.change({"cluster": [cluster], "listener": [c.listener("l", port, c.hcm([c.route("/", "c")], log=False))]})
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta), wait_ready=False)
    eventually(lambda: "c" in ads.subscribed("endpoints"))
    assert proxy.admin("/ready").status == 503
    assert ads.say("endpoints", bad)
    proxy.wait_ready()
    assert lab.client(port).get("/").status == 503
    ads.set("endpoints", c.assignment("c", origin.port))
    client = lab.client(port)
    eventually(lambda: client.get("/").status == 200)


def test_a_cluster_whose_new_endpoints_are_refused_serves_on_with_its_old_ones(lab, ads, delta):
    first, second, port = lab.origin("first"), lab.origin("second"), free_port()
    ads.change({"cluster": [c.cluster("c", kind="EDS")], "endpoints": [c.assignment("c", first.port)],
                "listener": [c.listener("l", port, c.hcm([c.route("/", "c")], log=False))]})
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta))
    client, moved = lab.client(port), c.cluster("c", kind="EDS")
    assert client.get("/").text == "first"
    moved["eds_cluster_config"]["service_name"] = "other"
    ads.set("cluster", moved)
    eventually(lambda: "other" in ads.subscribed("endpoints"))
    assert ads.say("endpoints", {"cluster_name": "other", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {
        "socket_address": {"address": "no address", "port_value": 1}}}}]}]})
    assert proxy.stat("cluster_manager.warming_clusters") == 1 and client.get("/").text == "first"
    ads.set("endpoints", c.assignment("other", second.port))
    eventually(lambda: client.get("/").text == "second")


def test_a_refused_extension_leaves_its_filter_without_a_configuration(lab, ads, delta):
    origin, port = lab.origin(), free_port()
    origin.default = lambda x: x.reply(200, b"x" * 100, [("content-type", "text/plain")])
    ads.change({"cluster": [c.cluster("up", origin.port)], "listener": [extended(port, c.route("/", "up"))],
                "extension": [extension(GRPC_WEB)]})
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta))
    assert coding(lab, port)[0] == 500
    assert "not among the type_urls" in proxy.log()
    ads.set("extension", extension("type.googleapis.com/envoy.extensions.filters.http.compressor.v3.Compressor"))
    eventually(lambda: coding(lab, port) == (200, "gzip"))


def test_a_refused_runtime_layer_is_gone_on_without(lab, ads, delta):
    port = free_port()
    ads.set("listener", c.listener("l", port, c.hcm([c.route("/", {"direct_response": {"status": 200}})], log=False)))
    live = {"name": "live", "rtds_layer": {"name": "live", "rtds_config": FOR_EVER}}
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta, layered_runtime={"layers": [live]}), wait_ready=False)
    eventually(lambda: ads.subscribed("runtime") == {"live"})
    assert ads.requests_of("cluster") == []
    assert ads.say("runtime", ("live", BROKEN["garbage"]("runtime")))
    proxy.wait_ready()
    assert lab.client(port).get("/").status == 200


def test_what_the_bootstrap_names_and_nobody_sends_is_gone_on_without(lab, ads, delta):
    """A static cluster by EDS and a static listener by RDS, each within its initial_fetch_timeout."""
    port, plain = free_port(), free_port()
    cluster = c.cluster("c", kind="EDS")
    cluster["eds_cluster_config"]["eds_config"] = {**ADS, "initial_fetch_timeout": "0.3s"}
    routes = {"rds": {"route_config_name": "never", "config_source": {**ADS, "initial_fetch_timeout": "0.3s"}}}
    manager = c.hcm(rds="never", log=False)
    manager["typed_config"].update(routes)
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta, clusters=[cluster], listeners=[
        c.listener("by rds", port, manager), c.listener("plain", plain, c.hcm([c.route("/", "c")], log=False))]))
    assert lab.client(port).get("/").status == 404
    assert lab.client(plain).get("/").status == 503
    assert "cluster c: no endpoints within initial_fetch_timeout" in proxy.log()
    assert "no routes never within initial_fetch_timeout" in proxy.log()


def test_a_cluster_that_comes_back_waits_for_its_endpoints_anew(lab, ads, delta):
    """Those of before may be gone by now."""
    first, second, port = lab.origin("first"), lab.origin("second"), free_port()
    named = c.listener("l", port, c.hcm([c.route("/", "c")], log=False))
    ads.change({"cluster": [c.cluster("c", kind="EDS")], "endpoints": [c.assignment("c", first.port)], "listener": [named]})
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta))
    client = lab.client(port)
    assert client.get("/").text == "first"
    ads.change({"cluster": []}, {"cluster": ["c"]})
    eventually(lambda: client.get("/").status == 503 and ads.subscribed("endpoints") == set())
    ads.change({"endpoints": [c.assignment("c", second.port)], "cluster": [c.cluster("c", kind="EDS")]})
    seen = []
    eventually(lambda: seen.append(client.get("/")) or seen[-1].status == 200)
    assert {x.text for x in seen if x.status == 200} == {"second"}
    assert proxy.stat("cluster_manager.warming_clusters") == 0
