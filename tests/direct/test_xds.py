"""Configuration over real ADS: warming, NACK, removal, a control plane that goes and comes."""
import socket

import pytest
from support import config as c
from support.load import Load
from support.wait import eventually, free_port


@pytest.fixture(params=["delta", "sotw"])
def delta(request):
    return request.param == "delta"


def connectable(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def start(lab, ads, delta=True, **options):
    return lab.proxy(c.ads_bootstrap(ads.address, delta), wait_ready=False, concurrency=2, **options)


def whole(lab, ads, origin, port, name="http"):
    """One listener, its route by RDS, its cluster by CDS and EDS; all at once."""
    ads.change({"cluster": [c.cluster("c", kind="EDS")], "endpoints": [c.assignment("c", origin.port)],
                "route": [c.route_config("r", [c.route("/", "c")])], "listener": [c.listener(name, port, c.hcm(rds="r", log_path=str(lab.directory / "proxy0/access.log")))]})


def test_everything_by_ads_serves_a_request(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    proxy = start(lab, ads, delta)
    proxy.wait_ready()
    assert lab.client(port).get("/").text == "origin"
    assert ads.nacks == [] and ads.opened == 1
    for kind in ("cluster", "endpoints", "listener", "route"):
        assert ads.wait(kind) is None
    node = ads.streams[0].node
    assert node.id == "sidecar~127.0.0.1~test.default~default.svc" and node.user_agent_name
    assert [r.HasField("node") for _, r in ads.streams[0].requests].count(True) == 1


def test_ads_over_a_unix_socket(lab, delta):
    ads, origin, port = lab.ads(path=str(lab.directory / "ads.sock")), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    start(lab, ads, delta).wait_ready()
    assert lab.client(port).get("/").text == "origin"


def test_clusters_and_their_endpoints_come_before_listeners(lab, delta):
    """ENVOY: CDS and EDS first, then LDS, then RDS."""
    ads, port = lab.ads(), free_port()
    whole(lab, ads, lab.origin(), port)
    start(lab, ads, delta).wait_ready()
    order = []
    for _, request in ads.streams[0].requests:
        kind = request.type_url.split(".")[-1]
        if kind not in order:
            order.append(kind)
    assert order == ["Cluster", "ClusterLoadAssignment", "Listener", "RouteConfiguration"]


def test_a_proxy_is_not_ready_before_its_first_configuration(lab):
    ads, port = lab.ads(), free_port()
    ads.set("cluster", c.cluster("c", kind="EDS"))
    proxy = start(lab, ads)
    ads.wait_stream()
    eventually(lambda: ads.subscribed("endpoints") == {"c"})
    assert (proxy.admin("/ready").status, proxy.admin("/ready").text) == (503, "PRE_INITIALIZING\n")
    ads.set("endpoints", c.assignment("c", lab.origin().port))
    ads.set("listener", c.listener("http", port, c.hcm(rds="r")))
    eventually(lambda: ads.subscribed("route") == {"r"})
    assert proxy.admin("/ready").text == "INITIALIZING\n" and not connectable(port)
    ads.set("route", c.route_config("r", [c.route("/", "c")]))
    proxy.wait_ready()
    assert lab.client(port).get("/").text == "origin"


def test_a_listener_goes_live_only_when_its_route_has_come(lab, delta):
    ads, origin, first, second = lab.ads(), lab.origin(), free_port(), free_port()
    whole(lab, ads, origin, first)
    proxy = start(lab, ads, delta)
    proxy.wait_ready()
    ads.set("listener", c.listener("second", second, c.hcm(rds="late")))
    eventually(lambda: "late" in ads.subscribed("route"))
    assert ads.wait("listener") is None
    assert not connectable(second)
    dump = proxy.admin_json("/config_dump?resource=dynamic_listeners")["configs"]
    assert [("warming_state" in d, "active_state" in d) for d in dump if d["name"] == "second"] == [(True, False)]
    ads.set("route", c.route_config("late", [c.route("/", "c")]))
    eventually(lambda: connectable(second))
    assert lab.client(second).get("/").text == "origin"


def test_an_updated_listener_serves_its_old_self_until_the_new_one_is_warm(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    start(lab, ads, delta).wait_ready()
    ads.set("listener", c.listener("http", port, c.hcm(rds="next", server_name="new")))
    eventually(lambda: "next" in ads.subscribed("route"))
    assert ads.wait("listener") is None
    assert lab.client(port).get("/").get("server") == "envoy"
    ads.set("route", c.route_config("next", [c.route("/", "c")]))
    eventually(lambda: lab.client(port).get("/").get("server") == "new")


def test_an_updated_cluster_serves_its_old_endpoints_until_new_ones_come(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    start(lab, ads, delta).wait_ready()
    ads.set("cluster", c.cluster("c", kind="EDS", eds_cluster_config={
        "service_name": "elsewhere", "eds_config": {"ads": {}, "resource_api_version": "V3"}}))
    eventually(lambda: "elsewhere" in ads.subscribed("endpoints"))
    client = lab.client(port)
    assert client.get("/").text == "origin"
    ads.set("endpoints", c.assignment("elsewhere", lab.origin("new").port))
    eventually(lambda: client.get("/").text == "new")


def test_a_bad_resource_is_nacked_by_name_and_the_good_ones_take_effect(lab, delta):
    ads, origin, port, good = lab.ads(), lab.origin(), free_port(), free_port()
    whole(lab, ads, origin, port)
    proxy = start(lab, ads, delta)
    proxy.wait_ready()
    bad = c.listener("bad", free_port(), c.hcm(rds="r"))
    bad["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"].insert(0, {"name": "some.lua", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
        "default_source_code": {"inline_string": "function ("}}})
    ads.set("listener", c.listener("good", good, c.hcm(rds="r")), bad)
    message = ads.wait("listener")
    assert message and "bad" in message and "some.lua" in message
    eventually(lambda: connectable(good))
    assert lab.client(good).get("/").text == "origin" and lab.client(port).get("/").text == "origin"
    assert proxy.stat("listener_manager.lds.update_rejected") == 1
    dump = proxy.admin_json("/config_dump?resource=dynamic_listeners")["configs"]
    assert any(d.get("name") == "bad" and "error_state" in d for d in dump)


def test_a_bad_cluster_does_not_take_the_good_ones_along(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    proxy = start(lab, ads, delta)
    proxy.wait_ready()
    broken = c.cluster("broken", 1, load_assignment=c.assignment("broken", c.endpoint(1, host="not an address")))
    ads.change({"cluster": [broken, c.cluster("fine", lab.origin("fine").port)],
                "route": [c.route_config("r", [c.route("/fine", "fine"), c.route("/", "c")])]})
    message = ads.wait("cluster")
    assert message and "broken" in message
    client = lab.client(port)
    eventually(lambda: client.get("/fine").text == "fine")
    assert proxy.stat("cluster_manager.cds.update_rejected") == 1


@pytest.mark.parametrize("kind, resource, words", [
    ("route", c.route_config("r", [c.route({"safe_regex": {"regex": "("}}, "c")]), ["r"]),
    ("endpoints", c.assignment("c", c.endpoint(1, host="nonsense")), ["c"]),
    ("cluster", c.cluster("c", kind="EDS", lb_policy="MAGLEV"), ["c", "lb_policy"]),
    ("listener", c.listener("http", 1, {"name": "no.such", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"}}), ["http", "no.such"]),
])
def test_a_bad_update_leaves_the_old_one_serving(lab, delta, kind, resource, words):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    start(lab, ads, delta).wait_ready()
    client = lab.client(port)
    assert client.get("/").status == 200
    ads.set(kind, resource)
    message = ads.wait(kind)
    assert message and all(word in message for word in words), message
    assert client.get("/").text == "origin" and lab.client(port).get("/").text == "origin"
    whole(lab, ads, origin, port)
    ads.set(kind, {**ads_good(kind, origin, port)})
    assert ads.wait(kind) is None
    assert client.get("/").text == "origin"


def ads_good(kind, origin, port):
    return {"route": c.route_config("r", [c.route("/", "c", timeout="7s")]),
            "endpoints": c.assignment("c", c.endpoint(origin.port, weight=2)),
            "cluster": c.cluster("c", kind="EDS", connect_timeout="3s"),
            "listener": c.listener("http", port, c.hcm(rds="r", server_name="x"))}[kind]


def test_a_removed_listener_stops_accepting_and_a_removed_cluster_is_not_found(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    other = free_port()
    ads.set("listener", c.listener("other", other, c.hcm(rds="r")))
    proxy = start(lab, ads, delta)
    proxy.wait_ready()
    assert lab.client(other).get("/").status == 200
    ads.remove("listener", "other")
    eventually(lambda: not connectable(other))
    client = lab.client(port)
    ads.remove("cluster", "c")
    eventually(lambda: client.get("/").status == 503)
    eventually(lambda: proxy.next_log()["flags"] == "NC")
    assert "c::" not in proxy.admin("/clusters").text.replace("xds-grpc::", "")
    whole(lab, ads, origin, port)
    eventually(lambda: client.get("/").status == 200)


def test_endpoints_may_go_to_none_and_come_back(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    start(lab, ads, delta).wait_ready()
    client = lab.client(port)
    ads.set("endpoints", c.assignment("c"))
    eventually(lambda: client.get("/").text == "no healthy upstream")
    ads.set("endpoints", c.assignment("c", origin.port))
    eventually(lambda: client.get("/").text == "origin")


def test_a_killed_control_plane_leaves_everything_serving_and_is_found_again(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    start(lab, ads, delta).wait_ready()
    load = lab.keep(Load(port, threads=3))
    for _ in range(2):
        ads.stop()
        before = load.count
        eventually(lambda: load.count > before + 200)
        ads.start()
        ads.wait_stream()
    ads.set("route", c.route_config("r", [c.route("/new", {"direct_response": {"status": 202}}), c.route("/", "c")]))
    client = lab.client(port)
    eventually(lambda: client.get("/new").status == 202)
    load.must_be_flawless(400)


def test_what_was_removed_while_the_control_plane_was_away_is_removed_after(lab, delta):
    ads, origin, port, other = lab.ads(), lab.origin(), free_port(), free_port()
    whole(lab, ads, origin, port)
    ads.set("listener", c.listener("other", other, c.hcm(rds="r")))
    start(lab, ads, delta).wait_ready()
    ads.stop()
    ads.remove("listener", "other")
    ads.start()
    eventually(lambda: not connectable(other), 15)
    assert lab.client(port).get("/").text == "origin"


def test_a_proxy_started_without_control_plane_comes_up_when_it_does(lab, delta):
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    whole(lab, ads, origin, port)
    ads.stop()
    proxy = start(lab, ads, delta)
    eventually(lambda: proxy.admin("/ready").status == 503)
    ads.start()
    proxy.wait_ready()
    assert lab.client(port).get("/").text == "origin"


def test_an_upgrade_with_filters_of_its_own_is_refused_by_name(lab):
    ads, port = lab.ads(), free_port()
    whole(lab, ads, lab.origin(), port)
    start(lab, ads).wait_ready()
    own = [{"upgrade_type": "websocket", "filters": [{"name": "envoy.filters.http.router", "typed_config": {"@type": c.ROUTER}}]}]
    ads.set("listener", c.listener("own", free_port(), c.hcm(rds="r", upgrade_configs=own)))
    message = ads.wait("listener")
    assert message and "upgrade_configs[websocket]: filters: not supported by pinnace" in message, message


def test_a_listener_that_changes_its_direction_changes_what_its_chains_do(lab):
    """The chain itself stays as it was, to the byte: who receives is told by the request outbound, by the response inbound."""
    ads, origin, port = lab.ads(), lab.origin(), free_port()
    manager = c.hcm([{**c.route("/", "o"), "decorator": {"operation": "op"}}], tracing={}, log=False)
    ads.change({"cluster": [c.cluster("o", origin.port)], "listener": [c.listener("l", port, manager, traffic_direction="OUTBOUND")]})
    lab.proxy(c.ads_bootstrap(ads.address))

    def told():
        answer = lab.client(port).get("/")
        return origin.requests[-1].get("x-envoy-decorator-operation"), answer.get("x-envoy-decorator-operation")
    eventually(lambda: told() == ("op", None))
    ads.set("listener", c.listener("l", port, manager, traffic_direction="INBOUND"))
    eventually(lambda: told() == (None, "op"))
