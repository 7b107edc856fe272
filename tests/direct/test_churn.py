"""Pushes under load: hundreds of changes while keep-alive requests run, and not one may fail."""
import random

from support import config as c
from support.load import Load
from support.wait import eventually, free_port

HCM_LOG = {"log": False}


def base(ads, port, origins):
    ads.change({"cluster": [c.cluster("c", kind="EDS")], "endpoints": [c.assignment("c", *[o.port for o in origins])],
                "route": [c.route_config("r", [c.route("/", "c", retry_policy={"retry_on": "connect-failure,reset", "num_retries": 2})])],
                "listener": [c.listener("main", port, c.hcm(rds="r", **HCM_LOG))]})


def start(lab, ads, delta=True):
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta), wait_ready=False, concurrency=2, drain_s=2)
    proxy.wait_ready()
    return proxy


def test_200_pushes_of_every_kind_under_load_fail_no_request(lab):
    ads, port = lab.ads(), free_port()
    origins = [lab.origin(f"o{i}") for i in range(4)]
    base(ads, port, origins)
    proxy = start(lab, ads)
    load = lab.keep(Load(port, threads=4))
    rng = random.Random(7)
    extra = [free_port() for _ in range(3)]
    for i in range(200):
        kind = i % 5
        if kind == 0:
            some = rng.sample(origins, rng.randint(1, 4))
            ads.set("endpoints", c.assignment("c", *[c.endpoint(o.port, weight=rng.randint(1, 5)) for o in some]))
        elif kind == 1:
            ads.set("route", c.route_config("r", [c.route(f"/v{i}", "c"), c.route("/", "c", timeout=f"{15 + i}s", retry_policy={
                "retry_on": "connect-failure,reset", "num_retries": 2})]))
        elif kind == 2:
            ads.set("cluster", c.cluster("c", kind="EDS", connect_timeout=f"{2 + i}s", lb_policy=rng.choice(
                ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])), c.cluster(f"x{i % 3}", origins[0].port, connect_timeout=f"{1 + i}s"))
        elif kind == 3:
            ads.set("listener", c.listener("main", port, c.hcm(rds="r", server_name=f"v{i}", drain_timeout="1s", **HCM_LOG)))
        else:
            which = i // 5 % 3
            name = f"side{which}"
            if name in ads.resources["listener"]:
                ads.remove("listener", name)
            else:
                ads.set("listener", c.listener(name, extra[which], c.hcm(rds="r", **HCM_LOG)))
        if i % 10 == 9:
            ads.wait("listener")
    for kind in ("cluster", "endpoints", "listener", "route"):
        assert ads.wait(kind) is None
    load.must_be_flawless(300)
    assert ads.nacks == []
    assert lab.client(port).get("/").get("server") == "v198"
    assert ads.opened == 1
    assert proxy.stat("listener_manager.lds.update_rejected") == 0


def test_a_route_change_moves_the_very_next_request_and_no_other(lab):
    ads, port = lab.ads(), free_port()
    base(ads, port, [lab.origin("one")])
    ads.set("cluster", c.cluster("two", lab.origin("two").port))
    start(lab, ads)
    client = lab.client(port)
    for to, name in (("two", "two"), ("c", "one")) * 5:
        ads.set("route", c.route_config("r", [c.route("/", to)]))
        eventually(lambda: client.get("/").text == name)
        assert {client.get("/").text for _ in range(20)} == {name}


def test_a_cluster_and_its_route_swapped_together_never_miss(lab):
    """The order of a mesh: new cluster, then the route to it, then the old cluster goes."""
    ads, port = lab.ads(), free_port()
    base(ads, port, [lab.origin("o")])
    start(lab, ads)
    load = lab.keep(Load(port, threads=3))
    old = None
    for i in range(30):
        name = f"gen{i}"
        ads.change({"cluster": [c.cluster(name, kind="EDS")], "endpoints": [c.assignment(name, lab.origin(name).port)]})
        assert ads.wait("cluster") is None
        eventually(lambda: name in ads.subscribed("endpoints"))
        assert ads.wait("endpoints") is None
        ads.set("route", c.route_config("r", [c.route("/", name)]))
        assert ads.wait("route") is None
        probe = lab.client(port)
        eventually(lambda: probe.get("/").text == name)
        if old:
            ads.change(removes={"cluster": [old], "endpoints": [old]})
        old = name
    load.must_be_flawless(300)


def test_a_thousand_idle_connections_survive_the_removal_of_their_cluster(lab):
    """CVE-2022-23606: deleting a cluster with many idle upstream connections."""
    ads, port = lab.ads(), free_port()
    origin = lab.origin()
    hold = []
    origin.default = lambda x: (eventually(lambda: hold, 30), x.reply(200, b"x"))
    base(ads, port, [origin])
    proxy = start(lab, ads)
    clients = [lab.client(port, timeout=30) for _ in range(300)]
    for client in clients:
        client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    origin.wait_connections(lambda n: n >= 300, 20)
    hold.append(1)
    assert all(client.response().status == 200 for client in clients)
    ads.remove("cluster", "c")
    origin.wait_connections(lambda n: n == 0)
    assert clients[0].get("/").status == 503
    proxy.check_alive()


def test_a_listener_change_leaves_idle_connections_of_unchanged_chains_alone(lab):
    ads, port = lab.ads(), free_port()
    origin = lab.origin()
    base(ads, port, [origin])

    def push(i):
        chains = [c.chain(c.hcm(rds="r", **HCM_LOG), name="kept", match={"direct_source_prefix_ranges": []}),
                  c.chain(c.hcm(rds="r", server_name=f"v{i}", **HCM_LOG), name="changed", match={"server_names": ["x.y"]})]
        ads.set("listener", c.listener("main", port, *chains, inspect=["tls"]))
    push(0)
    proxy = start(lab, ads)
    client = lab.client(port)
    assert client.get("/").status == 200
    for i in range(1, 20):
        push(i)
        assert ads.wait("listener") is None
        answer = client.get("/")
        assert (answer.status, answer.get("connection")) == (200, None)
    assert proxy.stat("http.test.downstream_cx_total") == 1


def test_a_request_in_flight_survives_the_change_of_all_it_uses(lab):
    ads, port = lab.ads(), free_port()
    go = []
    origin = lab.origin().on("/slow", lambda x: (eventually(lambda: go, 20), x.reply(200, b"late")))
    base(ads, port, [origin])
    start(lab, ads)
    client = lab.client(port)
    client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    origin.wait_requests(1)
    other = lab.origin("other")
    ads.change({"cluster": [c.cluster("d", other.port)], "route": [c.route_config("r", [c.route("/", "d")])],
                "listener": [c.listener("main", port, c.hcm(rds="r", server_name="next", **HCM_LOG))]}, {"cluster": ["c"]})
    eventually(lambda: lab.client(port).get("/").text == "other")
    go.append(1)
    assert client.response().text == "late"
