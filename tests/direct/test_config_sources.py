"""Where configuration comes from: streams of its own for each type (api_config_source), runtime layers by RTDS, secrets from
clusters that come by CDS, and the names by which pilot-agent serves files."""
import ssl

import pytest
from support import config as c
from support import pki
from support.load import Load
from support.wait import eventually, free_port
from support.xds_server import URLS, ScriptedServer, secret_ca, secret_cert

ADS = {"ads": {}, "resource_api_version": "V3"}


@pytest.fixture(params=["delta", "sotw"])
def delta(request):
    return request.param == "delta"


def api(delta, cluster="xds-grpc", timeout="0s"):
    """As go-control-plane's samples and istiod write it."""
    return {"resource_api_version": "V3", "initial_fetch_timeout": timeout, "api_config_source": {
        "api_type": "DELTA_GRPC" if delta else "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": cluster}}]}}


def grpc_cluster(name, address):
    return c.cluster(name, address, typed_extension_protocol_options=c.http2())


def eds(name, source, service=None):
    return c.cluster(name, kind="EDS", eds_cluster_config={"eds_config": source, **({"service_name": service} if service else {})})


def by_rds(name, port, route, source, tls=None):
    hcm = c.hcm(log=False, rds=route)
    hcm["typed_config"]["rds"]["config_source"] = source
    return c.listener(name, port, c.chain(hcm, tls=tls))


def from_sds(source, name, root=None, require=True):
    tls = c.downstream_tls(require=require, sds=name, sds_ca=root)
    tls["common_tls_context"]["tls_certificate_sds_secret_configs"][0]["sds_config"] = source
    if root:
        tls["common_tls_context"]["validation_context_sds_secret_config"]["sds_config"] = source
    return tls


class Separate:
    """A proxy whose every resource comes over a stream of its own, of one protocol."""

    def __init__(self, lab, delta, **options):
        self.lab, self.xds, self.origin, self.port, self.tls_port = lab, lab.keep(ScriptedServer()), lab.origin(), free_port(), free_port()
        self.ca, self.delta, source = lab.ca(), delta, api(delta)
        self.source = source
        self.xds.change({
            "cluster": [eds("c", source), eds("d", source)], "endpoints": [c.assignment(n, self.origin.port) for n in "cd"],
            "route": [c.route_config("r", [c.route("/d", "d"), c.route("/", "c")]), c.route_config("s", [c.route("/", "d")])],
            "secret": [secret_cert("default", self.ca.issue("server"))],
            "listener": [by_rds("http", self.port, "r", source),
                         by_rds("tls", self.tls_port, "s", source, from_sds(source, "default", require=False))]})
        self.proxy = lab.proxy(c.bootstrap([], [grpc_cluster("xds-grpc", self.xds.address)],
                                           dynamic_resources={"cds_config": source, "lds_config": source}), **options)

    def get(self, path="/"):
        client = self.lab.client(self.port)
        try:
            return client.get(path)
        finally:
            client.close()

    def get_tls(self):
        return self.lab.client(self.tls_port, tls=pki.client_context(ca=self.ca)).get("/")

    def asked(self):
        """Type and names of the streams that are open."""
        with self.xds.lock:
            return sorted((kind, *sorted(watch.names)) for stream in self.xds.streams for kind, watch in stream.types.items())


ALL = sorted([("cluster",), ("listener",), ("endpoints", "c"), ("endpoints", "d"), ("route", "r"), ("route", "s"), ("secret", "default")])


def test_every_resource_may_come_over_a_stream_of_its_own(lab, delta):
    apart = Separate(lab, delta)
    assert apart.get().text == apart.get_tls().text == "origin"
    assert apart.asked() == ALL and apart.xds.opened == len(ALL)
    assert all(stream.delta == delta and stream.node.id for stream in apart.xds.streams)
    assert {call for call in apart.xds.calls} == {(kind, delta) for kind in ("cluster", "endpoints", "listener", "route")}
    assert apart.xds.nacks == []
    apart.xds.check_requests()


def test_each_of_the_streams_brings_changes_and_takes_refusals(lab, delta):
    apart, new = Separate(lab, delta), lab.origin("new")
    load = lab.keep(Load(apart.port, threads=1, pause=0.005))
    apart.xds.set("endpoints", c.assignment("c", new.port))
    eventually(lambda: apart.get().text == "new")
    apart.xds.set("route", c.route_config("r", [c.route("/x", {"direct_response": {"status": 202}}), c.route("/", "c")]))
    eventually(lambda: apart.get("/x").status == 202)
    fresh = apart.ca.issue("fresh")
    apart.xds.set("secret", secret_cert("default", fresh))
    der = ssl.PEM_cert_to_DER_cert(fresh.chain)
    eventually(lambda: lab.client(apart.tls_port, tls=pki.client_context()).socket.getpeercert(True) == der)
    bad = {"cluster": c.cluster("bad", kind="EDS", lb_policy="MAGLEV"), "endpoints": c.assignment("c", c.endpoint(1, host="nonsense")),
           "route": c.route_config("r", [c.route({"safe_regex": {"regex": "("}}, "c")]),
           "listener": c.listener("bad", apart.port, c.hcm(rds="r", log=False)),
           "secret": secret_cert("default", type("Broken", (), {"chain": "x", "key": "y"}))}
    for count, (kind, resource) in enumerate(bad.items(), 1):
        apart.xds.set(kind, resource)
        eventually(lambda: len(apart.xds.nacks) == count, 5, f"a NACK of {kind}: {apart.xds.nacks}")  # noqa: B023
        assert apart.xds.nacks[-1][0] == kind and (resource.get("cluster_name") or resource["name"]) in apart.xds.nacks[-1][1]
    load.must_be_flawless(20)
    apart.xds.check_requests()


def test_a_stream_ends_with_the_need_for_its_resource(lab, delta):
    apart = Separate(lab, delta)
    apart.xds.change(removes={"listener": ["tls"], "cluster": ["d"]})
    eventually(lambda: {("endpoints", "d"), ("route", "s")}.isdisjoint(apart.asked()), what=f"{apart.asked()}")
    assert apart.get().text == "origin" and apart.get("/d").status == 503
    apart.xds.change({"cluster": [eds("d", apart.source)]})
    eventually(lambda: apart.get("/d").text == "origin")
    apart.xds.check_requests()


def test_the_secret_stream_ends_with_the_need_for_the_secret(lab, delta):
    apart = Separate(lab, delta, drain_s=1)
    apart.xds.remove("listener", "tls")
    eventually(lambda: ("secret", "default") not in apart.asked())


def test_all_streams_come_back_with_what_changed_meanwhile(lab, delta):
    apart, new = Separate(lab, delta), lab.origin("new")
    load = lab.keep(Load(apart.port, threads=1, pause=0.005))
    apart.xds.stop()
    apart.xds.change({"endpoints": [c.assignment("c", new.port)]}, {"listener": ["tls"]})
    assert apart.get().text == "origin"
    apart.xds.start()
    eventually(lambda: apart.get().text == "new", 20)
    eventually(lambda: [x["name"] for x in apart.proxy.admin_json("/config_dump?resource=dynamic_listeners")["configs"]] == ["http"], 20)
    if delta:
        last = {s: r for s, r in apart.xds.requests if r.type_url == URLS["listener"] and not r.response_nonce}
        assert set(list(last.values())[-1].initial_resource_versions) == {"http", "tls"}
    load.must_be_flawless(20)
    apart.xds.check_requests()


@pytest.mark.parametrize("own", ["sotw", "delta"])
def test_ads_and_streams_of_their_own_stand_side_by_side(lab, delta, own):
    """A route by ADS and one of the same name from elsewhere are two."""
    ads, other, origin, first, second = lab.keep(ScriptedServer()), lab.keep(ScriptedServer()), lab.origin(), free_port(), free_port()
    source = api(own == "delta", "other")
    ads.change({"cluster": [eds("c", ADS), eds("d", source)], "endpoints": [c.assignment("c", origin.port)],
                "route": [c.route_config("r", [c.route("/", "c")])],
                "listener": [by_rds("first", first, "r", ADS), by_rds("second", second, "t", source)]})
    other.change({"endpoints": [c.assignment("d", lab.origin("elsewhere").port)], "route": [c.route_config("t", [c.route("/", "d")])]})
    lab.proxy(c.ads_bootstrap(ads.address, delta, [grpc_cluster("other", other.address)]))
    assert (lab.client(first).get("/").text, lab.client(second).get("/").text) == ("origin", "elsewhere")
    assert ads.subscribed("endpoints") == {"c"} and ads.subscribed("route") == {"r"} and other.subscribed("route") == {"t"}
    for server in (ads, other):
        server.check_requests()


def test_one_name_from_two_sources_is_two_resources(lab):
    ads, other, port, second = lab.keep(ScriptedServer()), lab.keep(ScriptedServer()), free_port(), free_port()
    source = api(True, "other")
    for server, status in ((ads, 201), (other, 202)):
        server.set("route", c.route_config("r", [c.route("/", {"direct_response": {"status": status}})]))
    ads.set("listener", by_rds("first", port, "r", ADS), by_rds("second", second, "r", source))
    lab.proxy(c.ads_bootstrap(ads.address, True, [grpc_cluster("other", other.address)]))
    for server, at, status in ((ads, port, 203), (other, second, 204), (ads, port, 205)):
        server.set("route", c.route_config("r", [c.route("/", {"direct_response": {"status": status}})]))
        eventually(lambda: lab.client(at).get("/").status == status, 5)  # noqa: B023
    assert lab.client(second).get("/").status == 204


@pytest.mark.parametrize("source, words", [
    ({"path_config_source": {"path": "/x.yaml"}}, "api_config_source"),
    ({"api_config_source": {"api_type": "REST", "transport_api_version": "V3", "cluster_names": ["x"], "refresh_delay": "1s"}}, "api_type"),
    ({"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [
        {"google_grpc": {"target_uri": "x", "stat_prefix": "x"}}]}}, "envoy_grpc")], ids=["file", "REST", "google_grpc"])
def test_other_sources_are_refused_by_name(lab, source, words):
    ads = lab.keep(ScriptedServer())
    lab.proxy(c.ads_bootstrap(ads.address))
    ads.set("listener", by_rds("bad", free_port(), "r", source))
    message = ads.wait("listener")
    assert message and "bad" in message and words in message and "rds" in message, message


@pytest.mark.parametrize("kind, field", [("cluster", "cds_config"), ("listener", "lds_config")])
def test_clusters_or_listeners_that_never_come_are_gone_on_without_after_their_initial_fetch_timeout(lab, delta, kind, field):
    ads, port = lab.keep(ScriptedServer(silent=[kind])), free_port()
    ads.set("listener", c.listener("l", port, c.hcm([c.route("/", {"direct_response": {"status": 202}})], log=False)))
    bootstrap = c.ads_bootstrap(ads.address, delta)
    bootstrap["dynamic_resources"][field]["initial_fetch_timeout"] = "0.5s"
    proxy = lab.proxy(bootstrap, wait_ready=False)
    proxy.wait_ready(5)
    assert kind == "listener" or lab.client(port).get("/").status == 202


# ---- RTDS
def with_runtime(lab, ads, delta, source=None, timeout="0s", extra=()):
    source = source or {**ADS, "initial_fetch_timeout": timeout}
    live = {"name": "live", "rtds_layer": {"name": "live", "rtds_config": source}}
    layers = [{"name": "fixed", "static_layer": {"fixed": 1, "both": 1}}, live, *extra]
    return lab.proxy(c.ads_bootstrap(ads.address, delta, layered_runtime={"layers": layers}), wait_ready=False)


def share(key="share.new"):
    """/ goes to `new` by the share the key says, 0 % without one."""
    part = {"prefix": "/", "runtime_fraction": {"default_value": {"numerator": 0, "denominator": "HUNDRED"}, "runtime_key": key}}
    return [c.route(part, {"direct_response": {"status": 202}}), c.route("/", {"direct_response": {"status": 200}})]


def shares(client, count=40):
    return {client.get("/").status for _ in range(count)}


@pytest.mark.parametrize("own", [False, True], ids=["ads", "own stream"])
def test_the_first_clusters_wait_for_the_runtime_layer(lab, delta, own):
    ads, port = lab.keep(ScriptedServer()), free_port()
    ads.set("listener", c.listener("l", port, c.hcm(share(), log=False)))
    proxy = with_runtime(lab, ads, delta, source=api(delta) if own else None)
    eventually(lambda: ads.subscribed("runtime") == {"live"})
    assert proxy.admin("/ready").status == 503 and ads.requests_of("cluster") == []
    ads.set("runtime", {"name": "live", "layer": {"share": {"new": 100}}})
    proxy.wait_ready()
    assert shares(lab.client(port)) == {202}
    assert ads.wait("runtime") is None and (not own or ads.calls == [("runtime", delta)])
    ads.check_requests()


def test_a_runtime_layer_that_never_comes_is_gone_on_without_after_its_initial_fetch_timeout(lab, delta):
    ads, port = lab.keep(ScriptedServer()), free_port()
    ads.set("listener", c.listener("l", port, c.hcm(share(), log=False)))
    proxy = with_runtime(lab, ads, delta, timeout="0.7s")
    eventually(lambda: ads.subscribed("runtime") == {"live"})
    assert ads.requests_of("cluster") == []
    proxy.wait_ready(5)
    assert "runtime layer live has not come in time" in proxy.log()
    assert shares(lab.client(port)) == {200}
    ads.set("runtime", {"name": "live", "layer": {"share": {"new": 100}}})
    client = lab.client(port)
    eventually(lambda: shares(client, 5) == {202})


def test_a_runtime_update_moves_requests_at_once_and_without_a_push(lab, delta):
    ads, port = lab.keep(ScriptedServer()), free_port()
    ads.set("runtime", {"name": "live", "layer": {"share": {"new": 100}}})
    ads.set("route", c.route_config("r", share()))
    ads.set("listener", c.listener("l", port, c.hcm(rds="r", log=False)))
    proxy = with_runtime(lab, ads, delta)
    proxy.wait_ready()
    client = lab.client(port)
    assert shares(client) == {202}
    answered = [len(ads.requests_of(kind)) for kind in ("cluster", "listener", "route")]
    values = [("100", {202}), ({"numerator": 50}, {200, 202}), (250, {202}), (-1, {200}), (1.5, {200}), ("much", {200}),
              ({"numerator": 1000000, "denominator": "MILLION"}, {202})]
    for layer, want in [({"share": {"new": 0}}, {200}), *[({"share.new": value}, want) for value, want in values], ({}, {200})]:
        ads.set("runtime", {"name": "live", "layer": layer})
        assert ads.wait("runtime") is None
        eventually(lambda: shares(client, 60) == want, 3, f"{want} of {layer}")  # noqa: B023
    assert [len(ads.requests_of(kind)) for kind in ("cluster", "listener", "route")] == answered and client.is_open()
    ads.check_requests()


def test_later_layers_win_and_the_admin_tells_which(lab):
    ads = lab.keep(ScriptedServer())
    ads.set("runtime", {"name": "live", "layer": {"both": 2, "own": "x", "top": 1}})
    proxy = with_runtime(lab, ads, True, extra=[{"name": "last", "static_layer": {"top": 3}}])
    proxy.wait_ready()

    def told():
        page = proxy.admin_json("/runtime")
        return page["layers"], {k: (v["layer_values"], v["final_value"]) for k, v in page["entries"].items()}
    assert told() == (["fixed", "live", "last"], {"both": (["1", "2", ""], "2"), "fixed": (["1", "", ""], "1"), "own": (["", "x", ""], "x"),
                                                  "top": (["", "1", "3"], "3")})
    ads.set("runtime", {"name": "live", "layer": {}})
    eventually(lambda: told()[1] == {"both": (["1", "", ""], "1"), "fixed": (["1", "", ""], "1"), "top": (["", "", "3"], "3")})


def test_a_runtime_layer_nobody_asked_for_is_refused_by_name(lab, delta):
    ads, port = lab.keep(ScriptedServer()), free_port()
    ads.set("runtime", {"name": "live", "layer": {"share.new": 100}})
    ads.set("listener", c.listener("l", port, c.hcm(share(), log=False)))
    proxy = with_runtime(lab, ads, delta)
    proxy.wait_ready()
    message = ads.say("runtime", {"name": "stranger", "layer": {"share.new": 0}})
    assert message and "stranger" in message
    eventually(lambda: [x for x in proxy.log().splitlines() if "refused (Runtime): stranger" in x])
    assert shares(lab.client(port)) == {202}
    ads.check_requests()


# ---- secrets
def test_a_secret_may_come_from_a_cluster_that_comes_by_cds(lab, delta):
    """sds-external: named by a listener and by a cluster of the same push."""
    ads, ca, port, path = lab.keep(ScriptedServer()), lab.ca(), free_port(), str(lab.directory / "external.sock")
    external = lab.keep(ScriptedServer(path=path))
    external.set("secret", secret_cert("gateway", ca.issue("server")), secret_cert("me", ca.issue("me")), secret_ca("root", ca.pem))
    secure = lab.origin("secure", tls=pki.server_context(ca.issue("origin"), ca, require=True))
    source = api(False, "sds-external")
    up = c.upstream_tls(sds="me", sds_ca="root")
    up["typed_config"]["common_tls_context"].update(from_sds(source, "me", "root")["common_tls_context"])
    ads.change({"cluster": [c.cluster("a-first", secure.port, transport_socket=up), grpc_cluster("sds-external", path)],
                "listener": [c.listener("l", port, c.chain(c.hcm([c.route("/", "a-first")], log=False),
                                                           tls=from_sds(source, "gateway", "root")))]})
    lab.proxy(c.ads_bootstrap(ads.address, delta))
    assert lab.client(port, tls=pki.client_context(ca.issue("client"), ca)).get("/").text == "secure"
    assert external.subscribed("secret") == {"gateway", "me", "root"}
    fresh = ca.issue("fresh")
    external.set("secret", secret_cert("gateway", fresh))
    der = ssl.PEM_cert_to_DER_cert(fresh.chain)
    eventually(lambda: lab.client(port, tls=pki.client_context(ca.issue("client"))).socket.getpeercert(True) == der)
    external.check_requests()


def test_a_secret_whose_cluster_comes_later_is_there_when_it_does(lab, delta):
    ads, ca, port, origin, path = lab.keep(ScriptedServer()), lab.ca(), free_port(), lab.origin(), str(lab.directory / "external.sock")
    external = lab.keep(ScriptedServer(path=path))
    external.set("secret", secret_cert("gateway", ca.issue("server")))
    ads.set("cluster", c.cluster("o", origin.port))
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta))
    tls = from_sds(api(False, "sds-external"), "gateway", require=False)
    ads.set("listener", c.listener("l", port, c.chain(c.hcm([c.route("/", "o")], log=False), tls=tls)))
    ads.wait("listener")
    eventually(lambda: "sds-external" in proxy.log(), what="a line that names the cluster")
    assert not external.streams
    ads.set("cluster", grpc_cluster("sds-external", path))
    ads.set("listener", c.listener("l", port, c.chain(c.hcm([c.route("/", "o")], log=False, server_name="again"), tls=tls)))
    eventually(lambda: lab.client(port, tls=pki.client_context(ca=ca)).get("/").text == "origin", 20)


def test_files_are_served_by_the_agent_under_the_names_istio_gives_them(lab):
    ads, ca, port, plain, path = lab.keep(ScriptedServer()), lab.ca(), free_port(), free_port(), str(lab.directory / "files.sock")
    agent = lab.keep(ScriptedServer(path=path))
    certificate, root, system = "file-cert:/etc/certs/a.crt~/etc/certs/a.key", "file-root:/etc/certs/ca.crt", "file-root:system"
    agent.set("secret", secret_cert(certificate, ca.issue("server")), secret_ca(root, ca.pem), secret_ca(system, ca.pem))
    outside = lab.origin("outside", tls=pki.server_context(ca.issue("outside")))
    outside.default = lambda x: (x.reply(200, b"outside", [("connection", "close")]), x.close())
    source = api(False, "sds-files-grpc")
    up = c.upstream_tls(sni="outside.x", sds_ca=system)
    up["typed_config"]["common_tls_context"]["validation_context_sds_secret_config"]["sds_config"] = source
    ads.change({"cluster": [c.cluster("outside", outside.port, transport_socket=up)], "listener": [
        c.listener("tls", port, c.chain(c.hcm([c.route("/", "outside")], log=False), tls=from_sds(source, certificate, root))),
        c.listener("plain", plain, c.hcm([c.route("/", "outside")], log=False))]})
    proxy = lab.proxy(c.ads_bootstrap(ads.address, True, [grpc_cluster("sds-files-grpc", path)]))
    assert lab.client(plain).get("/").text == "outside"
    assert lab.client(port, tls=pki.client_context(ca.issue("client"), ca)).get("/").text == "outside"
    assert agent.subscribed("secret") == {certificate, root, system} and agent.opened == 3
    active = proxy.admin_json("/config_dump?resource=dynamic_active_secrets")["configs"]
    assert sorted(x["name"] for x in active) == [certificate, root, system]
    agent.set("secret", secret_ca(system, lab.ca("other").pem))
    eventually(lambda: lab.client(plain).get("/").status == 503, what="an upstream that the new root does not vouch for, refused")
    agent.check_requests()
