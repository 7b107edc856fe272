"""How long what is taken away goes on serving: chains that a push changes, listeners that the admin drains."""
import time

import pytest
from support import config as c
from support import pki
from support.wait import eventually, free_port


class Chains:
    """A listener with the chain kept.x and the chain changed.x; the origin answers /slow when it is told to."""

    def __init__(self, lab, drain_s):
        self.lab, self.ads, self.port, self.told = lab, lab.ads(), free_port(), []
        self.tls = c.downstream_tls(require=False, cert=lab.ca().issue("server"))
        self.origin = lab.origin().on("/slow", lambda x: (eventually(lambda: self.told, 30), x.reply(200, b"late")))
        self.ads.set("cluster", c.cluster("o", self.origin.port))
        self.push("v1")
        self.proxy = lab.proxy(c.ads_bootstrap(self.ads.address), drain_s=drain_s)

    def push(self, version):
        chains = [c.chain(c.hcm([c.route("/", "o")], server_name=server), tls=self.tls, match={"server_names": [sni]})
                  for sni, server in (("kept.x", "kept"), ("changed.x", version))]
        self.ads.set("listener", c.listener("two", self.port, *chains, inspect=["tls"]))

    def slow(self, sni):
        """A client of that chain whose request waits for its answer."""
        before = len(self.origin.requests)
        client = self.lab.client(self.port, tls=pki.client_context(), sni=sni, timeout=20)
        client.send(f"GET /slow HTTP/1.1\r\nhost: {sni}\r\n\r\n")
        self.origin.wait_requests(before + 1)
        return client

    def serves(self, version):
        client = self.lab.client(self.port, tls=pki.client_context(), sni="changed.x")
        return client.get("/").get("server") == version


def lasts(client, least, most):
    """The client's connection is closed by the proxy after that many seconds."""
    start = time.monotonic()
    assert client.closed_or_reset()
    took = time.monotonic() - start
    assert least <= took <= most, took


def test_the_drain_time_closes_what_is_left_of_a_changed_chain_and_nothing_else(lab):
    mesh = Chains(lab, drain_s=1)
    idle = lab.client(mesh.port, tls=pki.client_context(), sni="kept.x")
    assert idle.get("/").get("server") == "kept"
    kept, changed = mesh.slow("kept.x"), mesh.slow("changed.x")
    mesh.push("v2")
    lasts(changed, 0.5, 4)
    time.sleep(0.5)
    answer = idle.get("/")
    assert (answer.get("server"), answer.get("connection")) == ("kept", None)
    mesh.told.append(1)
    assert kept.response().text == "late"
    assert kept.get("/").get("connection") is None


def test_each_change_gives_its_chain_the_whole_drain_time(lab):
    mesh = Chains(lab, drain_s=2)
    first = mesh.slow("changed.x")
    mesh.push("v2")
    eventually(lambda: mesh.serves("v2"))
    time.sleep(1)
    second = mesh.slow("changed.x")
    mesh.push("v3")
    eventually(lambda: mesh.serves("v3"))
    start = time.monotonic()
    assert first.closed_or_reset()
    first_took = time.monotonic() - start
    assert second.closed_or_reset()
    second_took = time.monotonic() - start
    assert second_took - first_took > 0.5 and second_took < 5, (first_took, second_took)


def test_requests_that_outlive_their_chain_by_less_than_the_drain_time_are_answered(lab):
    mesh = Chains(lab, drain_s=20)
    changed = mesh.slow("changed.x")
    for version in ("v2", "v3", "v4"):
        mesh.push(version)
        eventually(lambda: mesh.serves(version))
    mesh.told.append(1)
    answer = changed.response()
    assert (answer.text, answer.get("connection")) == ("late", "close")


def accepts(lab, port):
    try:
        lab.client(port).close()
        return True
    except ConnectionRefusedError:
        return False


def mesh_of_two(lab, drain_s):
    """An inbound and an outbound listener by LDS."""
    ads, ports = lab.ads(), [free_port(), free_port()]
    ads.set("cluster", c.cluster("o", lab.origin().port))
    ads.set("listener", *[c.listener(way, port, c.hcm([c.route("/", "o")], log=False), traffic_direction=way)
                          for way, port in zip(("INBOUND", "OUTBOUND"), ports)])
    return ads, lab.proxy(c.ads_bootstrap(ads.address), drain_s=drain_s), *ports


def test_a_graceful_drain_tells_clients_first_and_closes_the_listeners_at_its_end(lab):
    _, proxy, inbound, outbound = mesh_of_two(lab, 1)
    start = time.monotonic()
    assert proxy.admin("/drain_listeners?inboundonly&graceful", "POST").text == "OK\n"
    answer = lab.client(inbound).get("/")
    assert (answer.status, answer.get("connection")) == (200, "close")
    eventually(lambda: not accepts(lab, inbound), 4)
    assert time.monotonic() - start > 0.8
    assert lab.client(outbound).get("/").get("connection") is None
    assert proxy.admin("/ready").text == "LIVE\n"


def test_a_graceful_drain_that_skips_the_exit_leaves_the_listeners_open(lab):
    """The agent's preStop of a native sidecar, and then what it asks for at SIGTERM, which has begun already."""
    _, proxy, inbound, _ = mesh_of_two(lab, 1)
    assert proxy.admin("/drain_listeners?inboundonly&graceful&skip_exit", "POST").text == "OK\n"
    assert lab.client(inbound).get("/").get("connection") == "close"
    assert proxy.admin("/drain_listeners?inboundonly&graceful", "POST").text == "OK\n"
    time.sleep(1.5)
    assert lab.client(inbound).get("/").get("connection") == "close"
    assert proxy.admin("/drain_listeners?inboundonly", "POST").text == "OK\n"
    eventually(lambda: not accepts(lab, inbound))


def test_skip_exit_is_of_a_graceful_drain_only(lab):
    _, proxy, inbound, _ = mesh_of_two(lab, 1)
    answer = proxy.admin("/drain_listeners?skip_exit", "POST")
    assert (answer.status, answer.text) == (400, "skip_exit requires graceful\n")
    assert lab.client(inbound).get("/").get("connection") is None


@pytest.mark.parametrize("query, open_after", [("", (False, False)), ("?inboundonly", (False, True))])
def test_a_listener_that_comes_after_a_drain_is_not_opened(lab, query, open_after):
    ads, proxy, inbound, _ = mesh_of_two(lab, 1)
    assert proxy.admin("/drain_listeners" + query, "POST").text == "OK\n"
    eventually(lambda: not accepts(lab, inbound))
    ports = [free_port(), free_port()]
    ads.set("listener", *[c.listener("new " + way, port, c.hcm([c.route("/", "o")], log=False), traffic_direction=way)
                          for way, port in zip(("INBOUND", "OUTBOUND"), ports)])
    assert ads.wait("listener") is None
    time.sleep(0.3)
    assert tuple(accepts(lab, port) for port in ports) == open_after


def test_a_listener_that_drains_only_when_it_changes_does_not_heed_the_health_check(lab):
    """Listener.drain_type MODIFY_ONLY."""
    ports = [free_port(), free_port()]
    made = [c.listener(f"l{i}", port, c.hcm([c.route("/", "o")], log=False), **fields)
            for i, (port, fields) in enumerate(zip(ports, ({}, {"drain_type": "MODIFY_ONLY"})))]
    proxy = lab.proxy(c.bootstrap(made, [c.cluster("o", lab.origin().port)]))
    old = [lab.client(port) for port in ports]
    assert [client.get("/").get("connection") for client in old] == [None, None]
    proxy.admin("/healthcheck/fail", "POST")
    eventually(lambda: lab.client(ports[0]).get("/").get("connection") == "close")
    assert [client.get("/").get("connection") for client in old] == ["close", None]
    assert lab.client(ports[1]).get("/").get("connection") is None
