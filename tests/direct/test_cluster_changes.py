"""Clusters and listeners that change shape under requests, and configurations whose numbers are out of range."""
import time

import pytest
from support import config as c
from support.wait import eventually, free_port


def mesh(lab, cluster, routes=None, **options):
    ads, port = lab.ads(), free_port()
    ads.set("cluster", cluster)
    ads.set("listener", c.listener("main", port, c.hcm(routes or [c.route("/", "o")])))
    return ads, port, lab.proxy(c.ads_bootstrap(ads.address), **options)


def test_a_cluster_that_gains_transport_sockets_between_two_tries(lab):
    """The second try's endpoint knows the sockets of the new version, not of the one that the request began with."""
    origin, plain = lab.origin(), {"name": "raw", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}
    origin.on("/", lambda x: x.reply(503 if len(origin.requests) == 1 else 200, b"x"))
    retried = c.route("/", "o", retry_policy={"retry_on": "5xx", "retry_back_off": {"base_interval": "2s"}})
    ads, port, proxy = mesh(lab, c.cluster("o", origin.port), [retried])
    client = lab.client(port, timeout=10)
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    origin.wait_requests(1)
    matches = [{"name": f"m{i}", "match": {"tlsMode": f"m{i}"}, "transport_socket": plain} for i in range(40)]
    ads.set("cluster", c.cluster("o", origin.port, transport_socket_matches=matches))
    assert ads.wait("cluster") is None
    assert client.response().status == 200
    proxy.check_alive()


def test_a_cluster_that_turns_from_endpoints_to_destinations_and_back(lab):
    origin = lab.origin()
    ads, port, proxy = mesh(lab, c.cluster("o", origin.port))
    client = lab.client(port)
    assert client.get("/").status == 200
    for _ in range(3):
        ads.set("cluster", c.cluster("o", kind="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", cleanup_interval="0.05s"))
        eventually(lambda: client.get("/").status == 503, what="nobody was redirected")
        time.sleep(0.2)
        ads.set("cluster", c.cluster("o", origin.port))
        eventually(lambda: client.get("/").status == 200)
        time.sleep(0.2)  # no clean-up takes the endpoints for unused destinations
        assert client.get("/").status == 200
    before = origin.connections
    ads.set("cluster", c.cluster("o", origin.port, connect_timeout="3s"))
    eventually(lambda: client.get("/").status == 200 and origin.connections > before, what="the new version's own connections")
    proxy.check_alive()


def test_a_connection_of_some_age_takes_no_more_requests(lab):
    """DestinationRule: connectionPool.tcp.maxConnectionDuration."""
    origin = lab.origin()
    options = c.http_options(common_http_protocol_options={"max_connection_duration": "0.3s"})
    proxy = lab.http(c.cluster("o", origin.port, typed_extension_protocol_options=options))
    client = lab.client(proxy.port)
    assert client.get("/").status == 200
    assert client.get("/").status == 200
    assert origin.connections == 1
    origin.wait_connections(lambda n: n == 0)
    assert client.get("/").status == 200
    assert origin.connections == 2
    assert proxy.stat("cluster.o.upstream_cx_max_duration_reached") == 1


def test_the_age_of_a_connection_ends_no_request(lab):
    origin, go = lab.origin(), []
    origin.on("/slow", lambda x: (eventually(lambda: go), x.reply(200, b"late")))
    options = c.http_options(common_http_protocol_options={"max_connection_duration": "0.2s"})
    proxy = lab.http(c.cluster("o", origin.port, typed_extension_protocol_options=options))
    client = lab.client(proxy.port)
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    origin.wait_requests(1)
    eventually(lambda: proxy.stat("cluster.o.upstream_cx_max_duration_reached") == 1)
    go.append(1)
    assert client.response().text == "late"


ONE = c.assignment("c", 1)["endpoints"]


def at_priority(priority):
    return c.cluster("c", 1, load_assignment={"cluster_name": "c", "endpoints": [{**ONE[0], "priority": priority}]})


def at_port(port):
    return c.cluster("c", 1, load_assignment=c.assignment("c", c.endpoint(port)))


@pytest.mark.parametrize("cluster, words", [
    (c.cluster("c", 1, lb_policy="LEAST_REQUEST", least_request_lb_config={"choice_count": 0}), "choice_count"),
    (at_priority(4000000000), "priority"), (at_priority(129), "priority"), (at_port(70000), "port_value"),
    (c.cluster("c", kind="ORIGINAL_DST", lb_policy="CLUSTER_PROVIDED", cleanup_interval="0s"), "cleanup_interval"),
    (c.cluster("c", 1, round_robin_lb_config={"slow_start_config": {"slow_start_window": "10s"}}), "slow_start_config"),
    (c.cluster("c", 1, common_http_protocol_options={"max_stream_duration": "1s"}), "max_stream_duration"),
    (c.cluster("c", 1, upstream_connection_options={"set_local_interface_name_on_upstream_connections": True}), "set_local_interface"),
    (c.cluster("c", 1, load_assignment={**c.assignment("c", 1), "policy": {"overprovisioning_factor": 0}}), "overprovisioning_factor")])
def test_what_is_out_of_range_or_not_done_is_refused_by_name(lab, cluster, words):
    ads = lab.ads()
    proxy = lab.proxy(c.ads_bootstrap(ads.address))
    ads.set("cluster", cluster)
    nack = ads.wait("cluster")
    assert nack and words in nack
    proxy.check_alive()


def test_priorities_split_the_load_by_health_and_overprovisioning(lab):
    origins = [lab.origin(name) for name in ("p0a", "p0b", "p1")]
    first = [c.endpoint(origins[0].port), c.endpoint(origins[1].port, health="UNHEALTHY")]
    assignment = {"cluster_name": "o", "policy": {"overprovisioning_factor": 100}, "endpoints": [
        {"priority": 0, "lb_endpoints": first}, {"priority": 1, "lb_endpoints": [c.endpoint(origins[2].port)]}]}
    proxy = lab.http(c.cluster("o", 1, load_assignment=assignment))
    client = lab.client(proxy.port)
    texts = [client.get("/").text for _ in range(400)]
    assert set(texts) == {"p0a", "p1"}
    assert 130 < texts.count("p0a") < 270, "half of the first level is healthy"


@pytest.mark.parametrize("delta", [True, False])
def test_a_listener_takes_the_address_of_one_that_goes_with_the_same_push(lab, delta):
    ads, port = lab.ads(), free_port()
    ads.set("cluster", c.cluster("o", lab.origin().port))
    ads.set("listener", c.listener("old", port, c.hcm([c.route("/", "o")], server_name="old")))
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta), concurrency=2)
    for i in range(5):
        old, new = (("old", "new"), ("new", "old"))[i % 2]
        kept = lab.client(port)
        assert kept.get("/").get("server") == old
        ads.change({"listener": [c.listener(new, port, c.hcm([c.route("/", "o")], server_name=new))]}, {"listener": [old]})
        assert ads.wait("listener") is None
        eventually(lambda: lab.client(port).get("/").get("server") == new)
        answer = kept.get("/")
        assert (answer.status, answer.get("connection")) == (200, "close")
    assert proxy.stat("listener_manager.total_listeners_active") == 1


def test_an_address_that_changes_and_changes_back_while_it_warms(lab):
    ads, first, second = lab.ads(), free_port(), free_port()
    ads.set("cluster", c.cluster("o", lab.origin().port))
    ads.set("listener", c.listener("l", first, c.hcm([c.route("/", "o")])))
    proxy = lab.proxy(c.ads_bootstrap(ads.address))
    ads.set("listener", c.listener("l", second, c.hcm(rds="late")))  # waits for its routes
    eventually(lambda: "late" in ads.subscribed("route"))
    assert lab.client(first).get("/").status == 200
    ads.set("listener", c.listener("l", first, c.hcm([c.route("/", "o")], server_name="back")))
    assert ads.wait("listener") is None
    eventually(lambda: lab.client(first).get("/").get("server") == "back")
    with pytest.raises(ConnectionRefusedError):
        lab.client(second)
    ads.set("listener", c.listener("l", second, c.hcm([c.route("/", "o")], server_name="moved")))
    eventually(lambda: lab.client(second).get("/").get("server") == "moved")
    proxy.check_alive()


def test_what_was_never_delivered_stands_in_the_dump_with_its_name(lab):
    """istioctl reads the resource of each entry, whether it came or not."""
    ads = lab.ads()
    tls = c.downstream_tls(sds="kubernetes://late", require=False)
    ads.set("listener", c.listener("l", free_port(), c.hcm(rds="late")), c.listener("t", free_port(), c.chain(c.hcm([c.route("/", "o")]), tls=tls)))
    proxy = lab.proxy(c.ads_bootstrap(ads.address), wait_ready=False)
    eventually(lambda: "late" in ads.subscribed("route") and "kubernetes://late" in ads.subscribed("secret"))
    ads.set("route", c.route_config("late", [c.route({"safe_regex": {"regex": "("}}, "o")]))
    assert ads.wait("route")

    def entries(section):
        return proxy.admin_json(f"/config_dump?resource={section}").get("configs", [])
    routes = eventually(lambda: entries("dynamic_route_configs"))
    assert [(x["route_config"]["name"], "error_state" in x) for x in routes] == [("late", True)]
    secrets = entries("dynamic_warming_secrets")
    assert [(x["name"], x["secret"]["name"]) for x in secrets] == [("kubernetes://late", "kubernetes://late")]
    assert secrets[0]["secret"]["@type"].endswith("v3.Secret") and secrets[0]["last_updated"]


def test_two_listeners_cannot_both_take_the_address_of_one_that_goes(lab):
    ads, port = lab.ads(), free_port()

    def made(name):
        return c.listener(name, port, c.hcm([c.route("/", {"direct_response": {"status": 200}})], server_name=name))
    ads.set("listener", made("old"))
    proxy = lab.proxy(c.ads_bootstrap(ads.address))
    ads.change({"listener": [made("a"), made("b")]}, {"listener": ["old"]})
    nack = ads.wait("listener")
    assert nack and "already used" in nack
    eventually(lambda: lab.client(port).get("/").get("server") in ("a", "b"))
    assert proxy.stat("listener_manager.total_listeners_active") == 1


def test_a_listener_gains_and_loses_addresses_and_changes_its_backlog(lab):
    ads, first, second = lab.ads(), free_port(), free_port()

    def made(name, *more, **fields):
        return c.listener("l", first, c.hcm([c.route("/", {"direct_response": {"status": 200}})], server_name=name),
                          additional_addresses=[{"address": c.address(port)} for port in more], **fields)

    def serves(port, name):
        try:
            return lab.client(port).get("/").get("server") == name
        except OSError:
            return False
    ads.set("listener", made("one"))
    lab.proxy(c.ads_bootstrap(ads.address), concurrency=2)
    ads.set("listener", made("two", second))
    assert ads.wait("listener") is None
    eventually(lambda: serves(first, "two") and serves(second, "two"))
    ads.set("listener", made("three", second, tcp_backlog_size=7))
    assert ads.wait("listener") is None
    eventually(lambda: serves(first, "three") and serves(second, "three"))
    ads.set("listener", made("four"))
    assert ads.wait("listener") is None
    eventually(lambda: serves(first, "four"))
    eventually(lambda: not serves(second, "four"))
