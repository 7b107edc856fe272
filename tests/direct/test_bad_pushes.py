"""What a control plane gets wrong in one push: what is refused is told once, by type, resource and field, in the log and in
/config_dump; everything else takes effect, and what served before serves on under a trickle of requests."""
import json
import threading

import pytest
from google.protobuf import any_pb2
from support import config as c
from support import pki
from support.load import Load
from support.wait import eventually, free_port
from support.xds_server import URLS, ScriptedServer

SECTIONS = {"cluster": ["dynamic_active_clusters", "dynamic_warming_clusters"], "listener": ["dynamic_listeners"],
            "route": ["dynamic_route_configs"]}
HOLDERS = {"cluster": "cluster", "listener": "active_state", "route": "route_config"}
STATS = {"cluster": "cluster_manager.cds", "listener": "listener_manager.lds"}
NAMES = {"cluster": "Cluster", "endpoints": "ClusterLoadAssignment", "listener": "Listener", "route": "RouteConfiguration",
         "secret": "Secret"}
NO_SUCH = {**c.PREVIOUS_HOSTS, "name": "no.such"}


@pytest.fixture(params=["delta", "sotw"])
def delta(request):
    return request.param == "delta"


class Mesh:
    """A proxy with a listener, its route by RDS and its cluster by CDS and EDS, and a trickle of requests through them."""

    def __init__(self, lab, delta=True, clusters=(), **options):
        self.lab, self.ads, self.origin, self.port = lab, lab.keep(ScriptedServer(**options)), lab.origin(), free_port()
        self.log_path = str(lab.directory / f"proxy{len(lab.proxies)}/access.log")
        self.ads.change({"cluster": [c.cluster("c", kind="EDS")], "endpoints": [c.assignment("c", self.origin.port)],
                         "route": [c.route_config("r", [c.route("/", "c")])], "listener": [self.listener("http", self.port)]})
        self.proxy = lab.proxy(c.ads_bootstrap(self.ads.address, delta, clusters), concurrency=2)
        self.load = lab.keep(Load(self.port, threads=1, pause=0.005))
        eventually(lambda: self.load.count > 5)

    def listener(self, name, port, **fields):
        return c.listener(name, port, c.hcm(**{"rds": "r", "log_path": self.log_path, **fields}))

    def get(self, path="/", port=None):
        client = self.lab.client(port or self.port)
        try:
            return client.get(path)
        finally:
            client.close()

    def answers(self, path, status, flags):
        """Requests for the path are answered so, and the log says why."""
        def answered():
            lines = [x.split("\t") for x in self.proxy.access_log.read_text().splitlines() if f"\t{path}\t" in x]
            return self.get(path).status == status and any(x[1] == flags for x in lines)
        eventually(answered, what=f"{status} {flags} for {path}")

    def items(self, kind):
        sections = [self.proxy.admin_json(f"/config_dump?resource={section}") for section in SECTIONS[kind]]
        return [item for section in sections for item in section.get("configs", [])]

    def error_state(self, kind, name):
        """What /config_dump tells of the refusal of a resource; None: nothing."""
        for item in self.items(kind):
            state = item.get("error_state")
            names = {item.get("name"), item.get(HOLDERS[kind], {}).get("name"), (state or {}).get("failed_configuration", {}).get("name")}
            if state and name in names:
                return state
        return None

    def must_tell(self, kind, name, *words, state=True):
        """One line of the log, and the error_state, name the type, the resource and the words."""
        def told():
            lines = self.proxy.log().splitlines()
            return [x for x in lines if "refused" in x and all(w in x for w in (NAMES[kind], name, *words))]
        eventually(told, 3, f"a line about {NAMES[kind]} {name} with {words}")
        assert len(told()) == 1, told()
        if state:
            got = self.error_state(kind, name)
            assert got and all(w in got["details"] for w in words), got
            assert got["last_update_attempt"] and got["failed_configuration"]["@type"] == URLS[kind], got

    def counted(self, kind):
        return tuple(self.proxy.stat(f"{STATS[kind]}.update_{what}") for what in ("success", "rejected"))

    def must_be_well(self):
        before = self.load.count
        eventually(lambda: self.load.count > before + 5, what=f"requests that go on; {self.load.failures}")
        self.load.must_be_flawless(10)
        assert self.ads.opened == 1
        self.ads.check_requests()


BROKEN = {"garbage": lambda kind: any_pb2.Any(type_url=URLS[kind], value=b"\x0a\xff\xff\xff\xff"),
          "another type": lambda kind: ScriptedServer.packed("secret", {"name": "broken"})}


@pytest.mark.parametrize("kind", ["cluster", "listener"])
@pytest.mark.parametrize("broken", BROKEN)
def test_an_undecodable_resource_refuses_the_whole_response(lab, delta, kind, broken):
    mesh, port = Mesh(lab, delta), free_port()
    before = mesh.counted(kind)
    good = mesh.listener("good", port) if kind == "listener" else c.cluster("good", mesh.origin.port)
    message = mesh.ads.say(kind, good, ("broken", BROKEN[broken](kind)))
    assert message
    assert mesh.counted(kind) == (before[0], before[1] + 1)
    assert "good" not in json.dumps(mesh.items(kind))
    mesh.must_tell(kind, "", state=False)
    assert mesh.ads.say(kind, good, mesh.listener("http", mesh.port) if kind == "listener" else c.cluster("c", kind="EDS")) is None
    eventually(lambda: "good" in json.dumps(mesh.items(kind)))
    assert mesh.counted(kind) == (before[0] + 1, before[1] + 1)
    mesh.must_be_well()


@pytest.mark.parametrize("kind", ["cluster", "endpoints", "listener", "route"])
def test_an_undecodable_resource_is_told_by_its_name(lab, kind):
    """In delta the response says the name beside the resource."""
    mesh = Mesh(lab)
    message = mesh.ads.say(kind, ("broken", BROKEN["garbage"](kind)))
    assert message and "broken" in message, message
    mesh.must_tell(kind, "broken", state=False)
    mesh.must_be_well()


@pytest.mark.parametrize("kind", ["cluster", "listener"])
def test_a_name_that_appears_twice_is_refused_and_told(lab, delta, kind):
    """ENVOY: in delta nothing of the response is taken; in state of the world the first of the name is."""
    mesh, port, other = Mesh(lab, delta), free_port(), free_port()
    twice = [mesh.listener("twice", port), mesh.listener("twice", other)] if kind == "listener" else \
        [c.cluster("twice", mesh.origin.port), c.cluster("twice", mesh.origin.port, connect_timeout="9s")]
    kept = [mesh.listener("http", mesh.port)] if kind == "listener" else [c.cluster("c", kind="EDS")]
    before = mesh.counted(kind)
    message = mesh.ads.say(kind, *kept, *twice)
    assert message and "twice" in message
    mesh.must_tell(kind, "twice", state=False)
    assert mesh.counted(kind) == (before[0], before[1] + 1)
    held = [x.get(HOLDERS[kind], {}) for x in mesh.items(kind)]
    assert ("twice" in [x.get("listener", x).get("name") for x in held]) == (not delta)
    mesh.must_be_well()


BAD = {
    "cluster: policy": ("cluster", lambda m: c.cluster("bad", kind="EDS", lb_policy="MAGLEV"), ["lb_policy"]),
    "cluster: address": ("cluster", lambda m: c.cluster("bad", c.endpoint(1, host="no address")), ["no address"]),
    "cluster: socket": ("cluster", lambda m: c.cluster("bad", 1, transport_socket=NO_SUCH), ["transport_socket", "no.such"]),
    "cluster: circuit": ("cluster", lambda m: c.cluster("bad", 1, health_checks=[{
        "timeout": "1s", "interval": "1s", "unhealthy_threshold": 1, "healthy_threshold": 1, "tcp_health_check": {}}]), ["health_checks"]),
    "listener: filter": ("listener", lambda m: c.listener("bad", free_port(), NO_SUCH), ["no.such"]),
    "listener: http filter": ("listener", lambda m: c.listener("bad", free_port(), c.hcm(
        rds="r", log=False, http_filters=[NO_SUCH, {"name": "router", "typed_config": {"@type": c.ROUTER}}])), ["no.such"]),
    "listener: route": ("listener", lambda m: c.listener("bad", free_port(), c.hcm(
        [c.route({"safe_regex": {"regex": "("}}, "c")], log=False)), ["regex"]),
    "listener: address": ("listener", lambda m: m.listener("bad", m.port), ["already used", "http"]),
    "listener: chains": ("listener", lambda m: c.listener("bad", free_port(), *[c.chain(c.hcm(rds="r", log=False))] * 2), ["filter chain"]),
    "listener: certificate": ("listener", lambda m: c.listener("bad", free_port(), c.chain(c.hcm(rds="r", log=False), tls={
        "@type": c.DOWN_TLS, "common_tls_context": {"tls_certificates": [
            {"certificate_chain": c.pem("no"), "private_key": c.pem("no")}]}})), ["certificate"]),
    "route: regex": ("route", lambda m: c.route_config("r", [c.route({"safe_regex": {"regex": "("}}, "c")]), ["regex"]),
    "route: domain twice": ("route", lambda m: c.route_config("r", hosts=[
        {"name": n, "domains": ["a.b"], "routes": [c.route("/", "c")]} for n in "xy"]), ["a.b"]),
    "endpoints: address": ("endpoints", lambda m: c.assignment("c", c.endpoint(1, host="no address")), ["no address"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_refused_resource_is_told_by_type_name_and_field_until_a_good_one_comes(lab, case):
    (kind, make, words), mesh = BAD[case], Mesh(lab)
    bad, dumped = make(mesh), kind in SECTIONS
    name, before = bad.get("name", "c"), mesh.counted(kind) if kind in STATS else None
    mesh.ads.set(kind, bad)
    message = mesh.ads.wait(kind)
    assert message and all(w in message for w in [name, *words]), message
    mesh.must_tell(kind, name, *words, state=dumped)
    assert not dumped or mesh.error_state(kind, name)["failed_configuration"]["name"] == name
    if before:
        assert mesh.counted(kind) == (before[0], before[1] + 1)
    good = {"cluster": lambda: c.cluster("bad", mesh.origin.port), "listener": lambda: mesh.listener("bad", free_port()),
            "route": lambda: c.route_config("r", [c.route("/", "c", timeout="7s")]),
            "endpoints": lambda: c.assignment("c", c.endpoint(mesh.origin.port, weight=2))}[kind]()
    mesh.ads.set(kind, good)
    assert mesh.ads.wait(kind) is None
    assert not dumped or mesh.error_state(kind, name) is None
    if before:
        assert mesh.counted(kind) == (before[0] + 1, before[1] + 1)
    mesh.must_be_well()


@pytest.mark.parametrize("kind", ["cluster", "listener"])
def test_a_refused_newcomer_that_goes_away_leaves_nothing_behind(lab, delta, kind):
    mesh = Mesh(lab, delta)
    gauge = {"cluster": "cluster_manager.active_clusters", "listener": "listener_manager.total_listeners_active"}[kind]
    before = mesh.proxy.stat(gauge)
    mesh.ads.set(kind, BAD["cluster: policy" if kind == "cluster" else "listener: filter"][1](mesh))
    assert mesh.ads.wait(kind)
    assert mesh.error_state(kind, "bad") and mesh.proxy.stat(gauge) == before, "a refused resource counts as active"
    mesh.ads.remove(kind, "bad")
    eventually(lambda: mesh.error_state(kind, "bad") is None)
    assert mesh.ads.wait(kind) is None
    mesh.must_be_well()


def test_the_control_plane_cannot_take_the_place_of_a_static_cluster(lab, delta):
    """ENVOY: a cluster of the bootstrap stays what it is, whatever CDS says and takes back under its name."""
    fixed = lab.origin("fixed")
    mesh = Mesh(lab, delta, clusters=[c.cluster("static", fixed.port)])
    mesh.ads.set("route", c.route_config("r", [c.route("/static", "static"), c.route("/", "c")]))
    eventually(lambda: mesh.get("/static").text == "fixed")
    mesh.ads.set("cluster", c.cluster("static", lab.origin("usurper").port))
    mesh.ads.wait("cluster")
    assert mesh.get("/static").text == "fixed"
    mesh.ads.remove("cluster", "static")
    mesh.ads.wait("cluster")
    assert mesh.get("/static").text == "fixed"
    mesh.must_be_well()


def test_a_route_to_a_cluster_that_is_not_there_or_not_warm_is_503_nc_until_it_is(lab, delta):
    mesh, late = Mesh(lab, delta), lab.origin("late")
    mesh.ads.set("route", c.route_config("r", [c.route("/late", "late"), c.route("/", "c")]))
    assert mesh.ads.wait("route") is None
    mesh.answers("/late", 503, "NC")
    mesh.ads.set("cluster", c.cluster("late", kind="EDS"))
    eventually(lambda: mesh.ads.subscribed("endpoints") == {"c", "late"})
    mesh.answers("/late", 503, "NC")
    assert mesh.proxy.stat("cluster_manager.warming_clusters") == 1
    mesh.ads.set("endpoints", c.assignment("late", late.port))
    eventually(lambda: mesh.get("/late").text == "late")
    assert mesh.proxy.stat("cluster_manager.warming_clusters") == 0
    mesh.must_be_well()


def test_a_tcp_listener_whose_cluster_is_not_there_closes_until_it_is(lab, delta):
    mesh, port = Mesh(lab, delta), free_port()
    mesh.ads.set("listener", c.listener("tcp", port, c.tcp_proxy("late", log=False)))
    assert mesh.ads.wait("listener") is None
    eventually(lambda: lab.client(port).closed_or_reset())
    mesh.ads.set("cluster", c.cluster("late", mesh.origin.port))
    eventually(lambda: mesh.get(port=port).text == "origin")
    mesh.must_be_well()


def test_a_route_configuration_that_must_know_its_clusters_is_refused_without_them(lab):
    """validate_clusters."""
    mesh = Mesh(lab)
    mesh.ads.set("route", {**c.route_config("r", [c.route("/", "nowhere")]), "validate_clusters": True})
    message = mesh.ads.wait("route")
    assert message and "nowhere" in message
    mesh.must_tell("route", "r", "nowhere")
    mesh.must_be_well()


def test_a_listener_whose_route_never_comes_goes_live_with_404_after_its_initial_fetch_timeout(lab, delta):
    mesh, port = Mesh(lab, delta), free_port()
    rds = {"route_config_name": "never", "config_source": {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0.5s"}}
    made = c.listener("waits", port, c.hcm(rds="never", log=False))
    made["filter_chains"][0]["filters"][0]["typed_config"]["rds"] = rds
    mesh.ads.set("listener", made)
    assert mesh.ads.wait("listener") is None
    eventually(lambda: mesh.get(port=port).status == 404, 5)
    mesh.ads.set("route", c.route_config("never", [c.route("/", "c")]))
    eventually(lambda: mesh.get(port=port).text == "origin")
    mesh.must_be_well()


def test_a_cluster_whose_endpoints_never_come_goes_live_after_its_initial_fetch_timeout(lab, delta):
    mesh = Mesh(lab, delta)
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0.5s"}
    mesh.ads.change({"cluster": [c.cluster("never", kind="EDS", eds_cluster_config={"eds_config": source})],
                     "route": [c.route_config("r", [c.route("/never", "never"), c.route("/", "c")])]})
    mesh.answers("/never", 503, "UH")
    mesh.ads.set("endpoints", c.assignment("never", mesh.origin.port))
    eventually(lambda: mesh.get("/never").text == "origin")
    mesh.must_be_well()


def test_a_route_taken_away_in_use_goes_on_serving(lab):
    """ENVOY: a removal of RDS is ignored: only its listener ends a route's life."""
    mesh = Mesh(lab)
    mesh.ads.remove("route", "r")
    assert mesh.ads.wait("route") is None
    before = mesh.load.count
    eventually(lambda: mesh.load.count > before + 20)
    mesh.ads.set("route", c.route_config("r", [c.route("/", "c", prefix_rewrite="/new")]))
    eventually(lambda: mesh.origin.requests[-1].target == "/new")
    mesh.must_be_well()


def test_what_is_not_needed_any_more_is_not_asked_for_any_more(lab, delta):
    mesh, port = Mesh(lab, delta), free_port()
    mesh.ads.change({"cluster": [c.cluster("d", kind="EDS")], "endpoints": [c.assignment("d", mesh.origin.port)],
                     "route": [c.route_config("s", [c.route("/", "d")])], "listener": [mesh.listener("second", port, rds="s")]})
    eventually(lambda: mesh.get(port=port).text == "origin")
    assert (mesh.ads.subscribed("endpoints"), mesh.ads.subscribed("route")) == ({"c", "d"}, {"r", "s"})
    mesh.ads.change(removes={"listener": ["second"], "cluster": ["d"]})
    eventually(lambda: (mesh.ads.subscribed("endpoints"), mesh.ads.subscribed("route")) == ({"c"}, {"r"}))
    mesh.ads.change({"cluster": [c.cluster("d", kind="EDS")], "listener": [mesh.listener("second", port, rds="s")]})
    eventually(lambda: mesh.get(port=port).text == "origin")
    mesh.must_be_well()


def test_a_cluster_or_listener_removed_in_use_lets_its_requests_finish(lab, delta):
    mesh, port, go = Mesh(lab, delta), free_port(), []
    slow = lab.origin("slow")
    slow.default = lambda x: (eventually(lambda: go, 20), x.reply(200, b"late"))
    mesh.ads.change({"cluster": [c.cluster("slow", slow.port)], "listener": [mesh.listener("second", port)],
                     "route": [c.route_config("r", [c.route("/slow", "slow"), c.route("/", "c")])]})
    eventually(lambda: mesh.get(port=port).status == 200)
    clients = [lab.client(mesh.port), lab.client(port)]
    for client in clients:
        client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    slow.wait_requests(2)
    mesh.ads.change(removes={"cluster": ["slow"], "listener": ["second"]})
    eventually(lambda: "slow" not in json.dumps(mesh.items("cluster")) and mesh.ads.wait("listener") is None)
    mesh.answers("/slow", 503, "NC")
    go.append(1)
    assert [client.response().text for client in clients] == ["late", "late"]
    mesh.ads.change({"listener": [mesh.listener("second", port)]})
    eventually(lambda: mesh.get(port=port).text == "origin")
    mesh.must_be_well()


def test_a_request_that_waits_for_a_connection_of_a_cluster_that_goes_is_answered(lab, delta):
    """Its pool outlives the cluster, and dials once more when the one connection that was allowed is free."""
    mesh = Mesh(lab, delta)
    slow, released = lab.origin("slow"), threading.Event()
    slow.default = lambda x: (released.wait(10), x.reply(200, b"slow"))
    one = {"thresholds": [{"max_connections": 1}]}
    mesh.ads.change({"cluster": [c.cluster("slow", slow.port, circuit_breakers=one)],
                     "route": [c.route_config("r", [c.route("/slow", "slow"), c.route("/", "c")])]})
    released.set()
    eventually(lambda: mesh.get("/slow").text == "slow")
    released.clear()
    clients = [lab.client(mesh.port) for _ in range(4)]  # two of each worker
    for client in clients:
        client.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    eventually(lambda: mesh.proxy.stat("cluster.slow.upstream_rq_active") == 4)
    mesh.ads.change({}, {"cluster": ["slow"]})
    eventually(lambda: mesh.proxy.stat("cluster_manager.active_clusters") == 2)
    released.set()
    assert [client.response().text for client in clients] == ["slow"] * 4
    mesh.must_be_well()


def test_a_changed_chain_drains_while_the_connections_of_the_others_stay(lab, delta):
    mesh, port, tls = Mesh(lab, delta), free_port(), c.downstream_tls(require=False, cert=lab.ca().issue("server"))

    def made(changed):
        return c.listener("two", port, *[c.chain(c.hcm(rds="r", server_name=server, log=False), tls=tls, match={"server_names": [sni]})
                                         for sni, server in (("kept.x", "kept"), ("changed.x", changed))], inspect=["tls"])
    mesh.ads.set("listener", made("v1"))
    kept = eventually(lambda: lab.client(port, tls=pki.client_context(), sni="kept.x"))
    old = lab.client(port, tls=pki.client_context(), sni="changed.x")
    assert (kept.get("/").get("server"), old.get("/").get("server")) == ("kept", "v1")
    mesh.ads.set("listener", made("v2"))
    eventually(lambda: lab.client(port, tls=pki.client_context(), sni="changed.x").get("/").get("server") == "v2")
    answer = old.get("/")
    assert (answer.get("server"), answer.get("connection")) == ("v1", "close")
    assert old.closed_or_reset()
    for _ in range(3):
        answer = kept.get("/")
        assert (answer.get("server"), answer.get("connection")) == ("kept", None)
    mesh.must_be_well()


def test_resources_without_versions_are_taken_for_what_they_say(lab, delta):
    """istiod: Resource.version is empty for CDS, LDS, RDS and EDS."""
    mesh = Mesh(lab, delta, versionless=True)
    for i in range(3):
        fresh = lab.origin(f"fresh{i}")
        mesh.ads.change({"endpoints": [c.assignment("c", fresh.port)], "listener": [mesh.listener("http", mesh.port, server_name=f"s{i}")],
                         "cluster": [c.cluster("c", kind="EDS", connect_timeout=f"{i + 1}s")]})
        eventually(lambda: (lambda a: (a.text, a.get("server")) == (f"fresh{i}", f"s{i}"))(mesh.get()))  # noqa: B023
    mesh.ads.remove("listener", "http")
    eventually(lambda: not mesh.items("listener"))
    assert not mesh.ads.nacks
    mesh.ads.check_requests()


def test_a_response_of_a_type_nobody_asked_for_is_ignored(lab, delta):
    mesh, url = Mesh(lab, delta), "type.googleapis.com/istio.networking.nds.v1.NameTable"
    mesh.ads.say(url, ("x", any_pb2.Any(type_url=url, value=b"\x0a\x00")))
    eventually(lambda: url in mesh.proxy.log() and "ignored" in mesh.proxy.log())
    mesh.ads.set("route", c.route_config("r", [c.route("/", "c", timeout="9s")]))
    assert mesh.ads.wait("route") is None
    assert not [r for _, r in mesh.ads.requests if r.type_url == url]
    mesh.must_be_well()


def test_a_response_with_some_of_the_endpoints_leaves_the_others(lab, delta):
    """State of the world too: istiod answers with what changed."""
    mesh, other, moved = Mesh(lab, delta), lab.origin("other"), lab.origin("moved")
    mesh.ads.change({"cluster": [c.cluster("d", kind="EDS")], "endpoints": [c.assignment("d", other.port)],
                     "route": [c.route_config("r", [c.route("/d", "d"), c.route("/", "c")])]})
    eventually(lambda: mesh.get("/d").text == "other")
    assert mesh.ads.say("endpoints", c.assignment("d", moved.port)) is None
    eventually(lambda: mesh.get("/d").text == "moved")
    assert mesh.get("/").text == "origin"
    assert mesh.ads.say("route", c.route_config("r", [c.route("/d", "c"), c.route("/", "c")])) is None
    eventually(lambda: mesh.get("/d").text == "origin")
    mesh.must_be_well()


def test_a_cluster_sent_again_unchanged_keeps_its_connections_and_counts(lab, delta):
    mesh = Mesh(lab, delta)
    before = mesh.origin.connections, mesh.proxy.stat("cluster.c.upstream_rq_total")
    for _ in range(5):
        assert mesh.ads.say("cluster", c.cluster("c", kind="EDS")) is None
        assert mesh.ads.say("endpoints", c.assignment("c", mesh.origin.port)) is None
        count = mesh.load.count
        eventually(lambda: mesh.load.count > count + 5)  # noqa: B023
    assert mesh.load.reconnects == 0 and mesh.origin.connections == before[0]
    assert mesh.proxy.stat("cluster.c.upstream_rq_total") > before[1]
    assert mesh.proxy.stat("cluster.c.upstream_cx_destroy") == 0
    mesh.must_be_well()


def test_endpoints_that_only_change_their_weight_keep_their_connections(lab, delta):
    mesh, other = Mesh(lab, delta), lab.origin("origin")
    before = mesh.origin.connections
    for weight in (2, 3):
        mesh.ads.set("endpoints", c.assignment("c", c.endpoint(mesh.origin.port, weight=weight), c.endpoint(other.port, weight=weight)))
        assert mesh.ads.wait("endpoints") is None
        eventually(lambda: len(other.requests) > 5 * weight)  # noqa: B023
    assert mesh.origin.connections == before and mesh.load.reconnects == 0
    mesh.must_be_well()
