"""Streams that die and control planes that are away: what served serves on under a trickle of requests, the proxy comes back
with ever longer waits, says what it has, and learns what changed and went away. And secrets that come late or never."""
import re
import socket
import ssl
import struct
import threading
import time

import pytest
from support import config as c
from support import pki
from support.load import Load
from support.wait import eventually, free_port
from support.xds_server import URLS, ScriptedServer, secret_ca, secret_cert
from test_bad_pushes import BROKEN, Mesh

ADS = {"ads": {}, "resource_api_version": "V3"}


@pytest.fixture(params=["delta", "sotw"])
def delta(request):
    return request.param == "delta"


class Relay:
    """A way to the control plane that the test can cut: after so many bytes of its answers, or at once; while it is
    cut, whoever comes is taken and closed, and counted in .refused (when)."""

    def __init__(self, lab, to):
        self.to, self.left, self.cut, self.refused, self.open = to, None, False, [], ()
        self.port = lab.origin(raw=self._serve).port

    def down(self):
        self.cut = True
        for one in self.open:
            self._shut(one)

    @staticmethod
    def _shut(one):
        try:
            one.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def up(self, to=None):
        self.to, self.left, self.cut = to or self.to, None, False

    def _serve(self, near, _):
        if self.cut:
            self.refused.append(time.monotonic())
            return
        with socket.create_connection(("127.0.0.1", self.to)) as far:
            self.open = [near, far]
            threading.Thread(target=self._copy, args=(near, far), daemon=True).start()
            self._copy(far, near, limited=True)

    def _copy(self, source, sink, limited=False):
        try:
            while got := source.recv(4096):
                if limited and self.left is not None:
                    got, self.left = got[:self.left], max(0, self.left - len(got))
                    if not self.left:
                        self.cut = True
                        source.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sink.sendall(got)
                if limited and self.left == 0:
                    break
        except OSError:
            pass
        self._shut(source)
        self._shut(sink)


class FarMesh(Mesh):
    """A Mesh whose proxy reaches its control plane through a Relay, with a second listener, route and cluster."""

    def __init__(self, lab, delta, **options):
        self.lab, self.ads, self.origin, self.port = lab, lab.keep(ScriptedServer(**options)), lab.origin(), free_port()
        self.second, self.relay = free_port(), Relay(lab, self.ads.address)
        self.log_path = str(lab.directory / f"proxy{len(lab.proxies)}/access.log")
        self.ads.change({"cluster": [c.cluster("c", kind="EDS"), c.cluster("d", kind="EDS")],
                         "endpoints": [c.assignment(n, self.origin.port) for n in "cd"],
                         "route": [c.route_config("r", [c.route("/d", "d"), c.route("/", "c")]), c.route_config("s", [c.route("/", "d")])],
                         "listener": [self.listener("http", self.port), self.listener("second", self.second, rds="s")]})
        self.proxy = lab.proxy(c.ads_bootstrap(self.relay.port, delta), concurrency=2)
        self.load = lab.keep(Load(self.port, threads=1, pause=0.005))
        eventually(lambda: self.load.count > 5)

    def must_be_well(self):
        before = self.load.count
        eventually(lambda: self.load.count > before + 5)
        self.load.must_be_flawless(10)
        self.ads.check_requests()


def test_a_push_cut_off_in_its_middle_takes_no_effect_until_it_has_come_whole(lab, delta):
    mesh, other = FarMesh(lab, delta), lab.origin("other")
    big = {"filter_metadata": {"x": {"y": "z" * (1 << 20)}}}
    mesh.relay.left = 300000
    mesh.ads.change({"cluster": [c.cluster("c", other.port, metadata=big)]})
    eventually(lambda: mesh.relay.refused, what="the proxy at the closed door")
    assert mesh.get().text == "origin" and mesh.proxy.stat("control_plane.connected_state") == 0
    assert re.search(r"ADS: stream closed: .*the configuration in force stays; trying again in \d+ ms", mesh.proxy.log())
    mesh.relay.up()
    eventually(lambda: mesh.get().text == "other", 15)
    assert mesh.proxy.stat("control_plane.connected_state") == 1 and "connected again" in mesh.proxy.log()
    assert mesh.ads.nacks == []
    mesh.must_be_well()


def test_a_control_plane_that_is_long_away_is_asked_with_ever_longer_waits(lab):
    """Full jitter below 0.5 s, 1 s, 2 s, 4 s …: four attempts take at most 7.7 s; eight in as long are all but impossible."""
    mesh = FarMesh(lab, True)
    mesh.relay.down()
    eventually(lambda: len(mesh.relay.refused) >= 4, 12, "four attempts")
    waits = [int(ms) for ms in re.findall(r"trying again in (\d+) ms", mesh.proxy.log())]
    for i, wait in enumerate(waits[:6]):
        assert 50 <= wait <= 50 + (500 << i), waits
    assert len(mesh.relay.refused) < 9, waits
    assert len([x for x in mesh.proxy.log().splitlines() if "stream closed" in x and "warn" in x.lower()]) == 1, "one warning, then quiet"
    mesh.relay.up()
    eventually(lambda: mesh.proxy.stat("control_plane.connected_state") == 1, 40)
    mesh.must_be_well()


@pytest.mark.parametrize("versionless", [False, True], ids=["versions", "no versions"])
def test_who_comes_back_asks_for_all_it_had_and_says_what_that_is(lab, versionless):
    mesh = FarMesh(lab, True, versionless=versionless)
    for kind in ("cluster", "endpoints", "listener", "route"):
        assert mesh.ads.wait(kind) is None
    mesh.relay.down()
    eventually(lambda: not mesh.ads.streams and mesh.relay.refused)
    assert mesh.get().text == "origin"
    mesh.relay.up()
    stream = mesh.ads.wait_stream()[0]
    eventually(lambda: {r.type_url for r in mesh.ads.requests_of("route", stream)})
    first = {kind: mesh.ads.requests_of(kind, stream)[0] for kind in ("cluster", "endpoints", "listener", "route")}
    had = {"cluster": {"c", "d"}, "endpoints": {"c", "d"}, "listener": {"http", "second"}, "route": {"r", "s"}}
    for kind, request in first.items():
        versions = request.initial_resource_versions
        assert not request.response_nonce and set(versions) == had[kind], kind
        assert set(request.resource_names_subscribe) - {"*"} == (had[kind] if kind in ("endpoints", "route") else set())
        assert all(v == "" for v in versions.values()) if versionless else all(
            v == mesh.ads.resources[kind][n][0] for n, v in versions.items())
    order = list(dict.fromkeys(r.type_url for s, r in mesh.ads.requests if s is stream))
    assert order[:4] == [URLS[k] for k in ("cluster", "endpoints", "listener", "route")]
    mesh.must_be_well()


def test_what_changed_and_went_while_the_control_plane_was_away_is_learned_after(lab, delta):
    mesh, new = FarMesh(lab, delta), lab.origin("new")
    mesh.relay.down()
    eventually(lambda: not mesh.ads.streams and mesh.relay.refused)
    mesh.ads.change({"endpoints": [c.assignment("c", new.port)]},
                    {"listener": ["second"], "cluster": ["d"], "endpoints": ["d"], "route": ["s"]})
    assert mesh.get("/d").text == mesh.get(port=mesh.second).text == "origin"
    mesh.relay.up()
    eventually(lambda: mesh.get().text == "new", 15)
    mesh.answers("/d", 503, "NC")
    eventually(lambda: [x["name"] for x in mesh.items("listener")] == ["http"])
    eventually(lambda: mesh.ads.subscribed("endpoints") == {"c"} and mesh.ads.subscribed("route") == {"r"})
    mesh.must_be_well()


def test_what_was_refused_before_the_stream_died_is_not_in_the_way_after(lab, delta):
    mesh = FarMesh(lab, delta)
    mesh.ads.set("cluster", c.cluster("c", kind="EDS", lb_policy="MAGLEV"))
    assert mesh.ads.wait("cluster")
    mesh.relay.down()
    eventually(lambda: not mesh.ads.streams and mesh.relay.refused)
    mesh.ads.set("cluster", c.cluster("c", kind="EDS", connect_timeout="7s"))
    mesh.relay.up()
    eventually(lambda: mesh.error_state("cluster", "c") is None and '"7s"' in mesh.proxy.admin("/config_dump").text, 15)
    mesh.must_be_well()


def test_the_version_in_force_is_that_of_the_last_response_taken(lab, delta):
    mesh = Mesh(lab, delta)

    def version():
        return next(x["version_info"] for x in mesh.proxy.admin_json("/config_dump")["configs"] if "ClustersConfigDump" in x["@type"])
    before = version()
    assert mesh.ads.say("cluster", ("broken", BROKEN["garbage"]("cluster"))) and version() == before
    assert mesh.ads.say("cluster", c.cluster("c", kind="EDS"), c.cluster("new", 1)) is None and version() != before
    mesh.must_be_well()


def tls_chain(sni, tls):
    return c.chain(c.hcm([c.route("/", "o")], log=False), tls=tls, match={"server_names": [sni]}, name=sni)


def gateway_secret(name, timeout="1s"):
    """What istiod makes of a gateway's credentialName: over ADS, with a limit."""
    return {"@type": c.DOWN_TLS, "common_tls_context": {"tls_certificate_sds_secret_configs": [
        {"name": name, "sds_config": {**ADS, "initial_fetch_timeout": timeout}}]}, "require_client_certificate": False}


def served(lab, port, sni):
    try:
        return lab.client(port, tls=pki.client_context(), sni=sni).get("/").text == "origin"
    except (ssl.SSLError, OSError):
        return False


@pytest.mark.parametrize("running", [False, True], ids=["at the start", "later"])
def test_a_gateway_secret_that_never_comes_costs_its_own_chain_only_and_works_when_it_does(lab, delta, running):
    """ENVOY: at the start nothing listens until all of the first listeners are ready; later only its own listener waits."""
    ads, ca, origin, port, plain = lab.keep(ScriptedServer()), lab.ca(), lab.origin(), free_port(), free_port()
    name, good = "kubernetes://shop/late", c.downstream_tls(require=False, cert=ca.issue("good"))
    chains = [tls_chain("good.x", good), tls_chain("late.x", gateway_secret(name, "2s"))]
    both = [c.listener("gateway", port, *chains, inspect=["tls"]), c.listener("plain", plain, c.hcm([c.route("/", "o")], log=False))]
    ads.change({"cluster": [c.cluster("o", origin.port)], "listener": [] if running else both})
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta), wait_ready=running)
    if running:
        ads.set("listener", *both)
        eventually(lambda: lab.client(plain).get("/").text == "origin")
        assert proxy.stat("listener_manager.total_listeners_warming") == 1, "the other listener waited for the secret"
    else:
        eventually(lambda: ads.subscribed("secret") == {name})
        assert proxy.admin("/ready").status == 503
    eventually(lambda: served(lab, port, "good.x"))
    proxy.wait_ready()
    assert lab.client(plain).get("/").text == "origin"
    assert ads.wait("listener") is None and ads.subscribed("secret") == {name}
    kept = lab.client(port, tls=pki.client_context(), sni="good.x")
    assert kept.get("/").text == "origin" and not served(lab, port, "late.x")
    lines = [x for x in proxy.log().splitlines() if name in x]
    assert len(lines) == 1 and "has not come in time" in lines[0], lines
    assert [x["name"] for x in proxy.admin_json("/config_dump?resource=dynamic_warming_secrets")["configs"]] == [name]
    before = len(ads.requests_of("listener"))
    ads.set("secret", secret_cert(name, ca.issue("late")))
    eventually(lambda: served(lab, port, "late.x"))
    assert kept.get("/").get("connection") is None and kept.get("/").text == "origin"
    assert len(ads.requests_of("listener")) == before and ads.opened == 1
    ads.check_requests()


def test_a_listener_updated_with_a_secret_that_never_comes_serves_its_old_self_until_the_time_is_over(lab):
    ads, ca, origin, port = lab.keep(ScriptedServer()), lab.ca(), lab.origin(), free_port()
    good = tls_chain("good.x", c.downstream_tls(require=False, cert=ca.issue("good")))
    ads.change({"cluster": [c.cluster("o", origin.port)], "listener": [c.listener("gateway", port, good, inspect=["tls"])]})
    proxy = lab.proxy(c.ads_bootstrap(ads.address))
    load = lab.keep(Load(port, threads=1, pause=0.01, tls=SniContext("good.x")))
    ads.set("listener", c.listener("gateway", port, good, tls_chain("late.x", gateway_secret("kubernetes://late")), inspect=["tls"]))
    assert ads.wait("listener") is None
    eventually(lambda: proxy.stat("listener_manager.total_listeners_warming") == 1)
    eventually(lambda: proxy.stat("listener_manager.total_listeners_warming") == 0)
    assert not served(lab, port, "late.x")
    ads.set("secret", secret_cert("kubernetes://late", ca.issue("late")))
    eventually(lambda: served(lab, port, "late.x"))
    load.must_be_flawless(20)
    assert load.reconnects == 0


class SniContext:
    """A client context that always asks for one name."""

    def __init__(self, sni):
        self.sni, self.context = sni, pki.client_context()

    def wrap_socket(self, sock, **_):
        return self.context.wrap_socket(sock, server_hostname=self.sni)


def test_a_cluster_whose_secret_never_comes_goes_live_and_its_requests_fail_until_it_does(lab, delta):
    ca = lab.ca()
    secure = lab.origin("secure", tls=pki.server_context(ca.issue("server"), ca, require=True))
    mesh = Mesh(lab, delta)
    tls = c.upstream_tls(sds="kubernetes://me", ca=ca.pem)
    wanted = tls["typed_config"]["common_tls_context"]["tls_certificate_sds_secret_configs"][0]
    wanted["sds_config"] = {**ADS, "initial_fetch_timeout": "0.5s"}
    mesh.ads.change({"cluster": [c.cluster("secure", secure.port, transport_socket=tls)],
                     "route": [c.route_config("r", [c.route("/secure", "secure"), c.route("/", "c")])]})
    mesh.answers("/secure", 503, "UF")
    assert secure.connections == 0 or not secure.requests
    mesh.ads.set("secret", secret_cert("kubernetes://me", ca.issue("me")))
    eventually(lambda: mesh.get("/secure").text == "secure")
    mesh.must_be_well()


class Agent:
    """A listener with identity and trust from an SDS agent on a socket of its own (StreamSecrets), a second without TLS."""

    def __init__(self, lab, refusal=None):
        self.lab, self.ads, self.ca, self.origin = lab, lab.keep(ScriptedServer()), lab.ca(), lab.origin()
        path = str(lab.directory / "sds.sock")
        self.sds = lab.keep(ScriptedServer(path=path))
        self.sds.refusal = refusal
        self.sds.set("secret", secret_cert("default", self.ca.issue("server")), secret_ca("ROOTCA", self.ca.pem))
        self.port, self.plain = free_port(), free_port()
        source = {"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "set_node_on_first_message_only": True,
                                        "grpc_services": [{"envoy_grpc": {"cluster_name": "sds-grpc"}}]},
                  "initial_fetch_timeout": "0s", "resource_api_version": "V3"}
        tls = c.downstream_tls(sds="default", sds_ca="ROOTCA", prefix=pki.DOMAIN)
        common = tls["common_tls_context"]
        common["tls_certificate_sds_secret_configs"][0]["sds_config"] = source
        common["combined_validation_context"]["validation_context_sds_secret_config"]["sds_config"] = source
        self.ads.change({"cluster": [c.cluster("o", self.origin.port)], "listener": [
            c.listener("tls", self.port, c.chain(c.hcm([c.route("/", "o")], log=False), tls=tls)),
            c.listener("plain", self.plain, c.hcm([c.route("/", "o")], log=False))]})
        self.proxy = lab.proxy(c.ads_bootstrap(self.ads.address, sds_address=path), wait_ready=refusal is None)

    def lets_in(self, ca, server_ca=None):
        try:
            return self.lab.client(self.port, tls=pki.client_context(ca.issue("client"), server_ca)).get("/").text == "origin"
        except (ssl.SSLError, OSError):
            return False


def test_an_agent_that_cannot_make_a_certificate_is_asked_again_until_it_can(lab):
    agent = Agent(lab, refusal="failed to generate the workload certificate")
    eventually(lambda: getattr(agent.sds, "refused", 0) >= 4, 20)
    assert agent.proxy.admin("/ready").status == 503
    assert re.search(r"SDS from sds-grpc for default: stream closed: .*failed to generate the workload certificate", agent.proxy.log())
    assert not agent.lets_in(agent.ca)
    agent.sds.refusal = None
    agent.proxy.wait_ready(30)
    assert agent.lets_in(agent.ca, agent.ca)
    agent.ads.check_requests()


def test_an_agent_that_goes_away_leaves_the_secrets_it_gave_and_is_heard_again_after(lab):
    agent = Agent(lab)
    agent.proxy.wait_ready()
    kept = lab.client(agent.port, tls=pki.client_context(agent.ca.issue("client"), agent.ca))
    assert kept.get("/").text == "origin"
    agent.sds.refusal = "failed to generate the workload certificate"
    agent.sds.stop()
    agent.sds.start()
    eventually(lambda: getattr(agent.sds, "refused", 0) >= 2, 20)
    assert kept.get("/").text == "origin" and agent.lets_in(agent.ca, agent.ca)
    other = lab.ca("other")
    agent.sds.set("secret", secret_cert("default", other.issue("server")), secret_ca("ROOTCA", agent.ca.pem + other.pem))
    agent.sds.refusal = None
    eventually(lambda: agent.lets_in(other, other), 30)
    assert kept.get("/").text == "origin"


def test_certificate_and_root_rotate_under_connections_that_stay(lab):
    """As istiod's CA is changed: first both roots are trusted, then the certificate is of the new one, then the old root goes."""
    agent, new = Agent(lab), lab.ca("new")
    agent.proxy.wait_ready()
    load = lab.keep(Load(agent.port, threads=2, pause=0.005, tls=pki.client_context(agent.ca.issue("client"))))
    eventually(lambda: load.count > 10)
    agent.sds.set("secret", secret_ca("ROOTCA", agent.ca.pem + new.pem))
    eventually(lambda: agent.lets_in(new, agent.ca) and agent.lets_in(agent.ca))
    agent.sds.set("secret", secret_cert("default", new.issue("server")))
    eventually(lambda: agent.lets_in(new, new))
    agent.sds.set("secret", secret_ca("ROOTCA", new.pem))
    eventually(lambda: not agent.lets_in(agent.ca))
    assert agent.lets_in(new, new)
    load.must_be_flawless(20)
    assert load.reconnects == 0
    assert agent.sds.nacks == []
    agent.sds.check_requests()


@pytest.mark.parametrize("case", ["root for certificate", "certificate for root", "broken root", "broken certificate",
                                  "key of another", "empty"])
def test_a_secret_that_cannot_be_used_is_refused_by_name_and_the_old_one_serves(lab, case):
    agent = Agent(lab)
    agent.proxy.wait_ready()
    ca, one, two = agent.ca, agent.ca.issue("one"), agent.ca.issue("two")
    mixed = secret_cert("default", one)
    mixed["tls_certificate"]["private_key"]["inline_string"] = two.key
    nonsense = {"certificate_chain": c.pem("x"), "private_key": c.pem("y")}
    broken = {"root for certificate": secret_ca("default", ca.pem), "certificate for root": secret_cert("ROOTCA", one),
              "broken root": secret_ca("ROOTCA", "no certificate"), "broken certificate": {"name": "default", "tls_certificate": nonsense},
              "key of another": mixed, "empty": {"name": "default"}}[case]
    agent.sds.set("secret", broken)
    eventually(lambda: agent.sds.nacks, 5, what="a NACK")
    assert agent.sds.nacks[0][0] == "secret" and broken["name"] in agent.sds.nacks[0][1], agent.sds.nacks
    assert [x for x in agent.proxy.log().splitlines() if "refused (Secret)" in x and broken["name"] in x]
    assert agent.lets_in(ca, ca)
    agent.sds.set("secret", secret_cert("default", ca.issue("server")), secret_ca("ROOTCA", ca.pem))
    assert agent.sds.wait("secret") is None and agent.lets_in(ca, ca)


@pytest.mark.parametrize("where", ["listener", "cluster"])
def test_a_certificate_that_cannot_be_used_refuses_its_resource_and_the_old_one_serves(lab, where):
    """Given inline, in an update of what serves."""
    ads, ca, port = lab.keep(ScriptedServer()), lab.ca(), free_port()
    origin = lab.origin(tls=pki.server_context(ca.issue("origin"), ca, require=True))
    broken = type("Broken", (), {"chain": "no certificate", "key": "no key"})
    make = {"listener": lambda cert: c.listener("l", port, c.chain(c.hcm([c.route("/", "o")], log=False),
                                                                   tls=c.downstream_tls(require=False, cert=cert))),
            "cluster": lambda cert: c.cluster("o", origin.port, transport_socket=c.upstream_tls(cert=cert, ca=ca.pem))}
    ads.change({kind: [made(ca.issue("good"))] for kind, made in make.items()})
    proxy = lab.proxy(c.ads_bootstrap(ads.address))
    assert served(lab, port, "x")
    ads.set(where, make[where](broken))
    message = ads.wait(where)
    assert message and "certificate" in message, message
    assert [x for x in proxy.log().splitlines() if "refused" in x and "certificate" in x]
    assert all(served(lab, port, "x") for _ in range(3))
