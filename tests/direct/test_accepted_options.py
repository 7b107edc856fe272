"""Fields that istiod sends only now and then: each does what it says."""
import subprocess

import pytest
from support import config as c
from support import pki
from support.wait import eventually, free_port
from support.xds_server import secret_ca, secret_cert


def sources(origin):
    """Origins that keep whence they were dialled."""
    seen = []

    def raw(sock, _):
        seen.append(sock.getpeername()[0])
        sock.sendall(b"x")
    origin.raw = raw
    return seen


@pytest.mark.parametrize("bind, want", [
    ({"source_address": {"address": "127.0.0.6", "port_value": 0}}, "127.0.0.6"),
    ({"source_address": {"address": "::1", "port_value": 0}, "extra_source_addresses": [{"address": {"address": "127.0.0.9", "port_value": 0}}]},
     "127.0.0.9")])
def test_connections_leave_from_the_address_of_their_family(lab, bind, want):
    origin = lab.origin()
    seen = sources(origin)
    proxy = lab.tcp(c.cluster("o", origin.port, upstream_bind_config=bind))
    assert lab.client(proxy.port).expect_close() == b"x"
    assert seen == [want]


def test_a_connection_never_leaves_from_another_family(lab):
    """The mark by which interception knows its own must not be lost."""
    origin = lab.origin()
    proxy = lab.http(c.cluster("o", origin.port, upstream_bind_config={"source_address": {"address": "::6", "port_value": 0}}))
    assert lab.client(proxy.port).get("/").status == 503
    assert origin.connections == 0


def test_additional_addresses_are_served_too(lab):
    first, second = free_port(), free_port()
    made = c.listener("l", first, c.hcm([c.route("/", "o")]), additional_addresses=[{"address": c.address(second, "127.0.0.2")}])
    proxy = lab.proxy(c.bootstrap([made], [c.cluster("o", lab.origin().port)]))
    assert lab.client(first).get("/").status == 200
    assert lab.client(second, host="127.0.0.2").get("/").status == 200
    listed = proxy.admin_json("/listeners?format=json")["listener_statuses"][0]
    assert [x["socket_address"]["port_value"] for x in listed["additional_local_addresses"]] == [second]


@pytest.mark.parametrize("trust, served", [("ACCEPT_UNTRUSTED", True), ("VERIFY_TRUST_CHAIN", False)])
def test_an_untrusted_server_is_spoken_to_where_that_is_asked_for(lab, trust, served):
    """DestinationRule insecureSkipVerify."""
    origin = lab.origin(tls=pki.server_context(lab.ca("stranger").issue("server")))
    tls = c.upstream_tls(ca=lab.ca().pem)
    tls["typed_config"]["common_tls_context"]["validation_context"]["trust_chain_verification"] = trust
    proxy = lab.http(c.cluster("o", origin.port, transport_socket=tls))
    assert (lab.client(proxy.port).get("/").status == 200) == served


def test_an_optional_client_certificate_is_checked_where_there_is_one(lab):
    """Gateway OPTIONAL_MUTUAL: the root by a secret, no certificate needed."""
    ads, ca, port, origin = lab.ads(), lab.ca(), free_port(), lab.origin()
    tls = c.downstream_tls(require=False, sds="kubernetes://c", sds_ca="kubernetes://c-cacert")
    hcm = c.hcm([c.route("/", "o")], forward_client_cert_details="SANITIZE_SET", set_current_client_cert_details={"uri": True})
    ads.set("cluster", c.cluster("o", origin.port))
    ads.set("listener", c.listener("l", port, c.chain(hcm, tls=tls)))
    ads.set("secret", secret_cert("kubernetes://c", ca.issue("server")), secret_ca("kubernetes://c-cacert", ca.pem))
    lab.proxy(c.ads_bootstrap(ads.address))
    assert lab.client(port, tls=pki.client_context()).get("/").status == 200
    assert lab.client(port, tls=pki.client_context(ca.issue("known"))).get("/").status == 200
    assert [x.get("x-forwarded-client-cert") is not None for x in origin.requests] == [False, True]
    with pytest.raises(OSError):
        assert lab.client(port, tls=pki.client_context(lab.ca("stranger").issue())).get("/").status == 0


@pytest.mark.parametrize("health, served", [("DRAINING", False), ("UNHEALTHY", False), ("TIMEOUT", False), ("HEALTHY", True), ("UNKNOWN", True)])
def test_endpoints_take_requests_by_the_health_that_is_told_of_them(lab, health, served):
    first, second = lab.origin("first"), lab.origin("second")
    assignment = c.assignment("o", c.endpoint(first.port, health=health), c.endpoint(second.port))
    proxy = lab.http(c.cluster("o", 1, load_assignment=assignment, common_lb_config={"healthy_panic_threshold": {"value": 0}}))
    client = lab.client(proxy.port)
    assert ("first" in {client.get("/").text for _ in range(12)}) == served


def test_connections_are_kept_alive_as_asked(lab):
    origin = lab.origin()
    keepalive = {"keepalive_probes": 3, "keepalive_time": 77, "keepalive_interval": 5}
    proxy = lab.http(c.cluster("o", origin.port, upstream_connection_options={"tcp_keepalive": keepalive}))
    assert lab.client(proxy.port).get("/").status == 200
    shown = subprocess.run(["ss", "-tnoH", "dst", f"127.0.0.1:{origin.port}"], capture_output=True, text=True, timeout=10).stdout
    assert "timer:(keepalive,1min" in shown, shown


def test_the_managers_count_what_comes_and_goes(lab):
    ads, ports = lab.ads(), [free_port() for _ in range(2)]
    origin = lab.origin()

    def listener(i, name):
        return c.listener(f"l{i}", ports[i], c.hcm([c.route("/", "c0")], server_name=name))
    ads.set("cluster", c.cluster("c0", origin.port), c.cluster("c1", origin.port))
    ads.set("listener", listener(0, "a"), listener(1, "a"))
    proxy = lab.proxy(c.ads_bootstrap(ads.address), concurrency=2)
    before = {kind: proxy.stat(f"{kind}_manager.{kind}_added") for kind in ("cluster", "listener")}
    assert before["listener"] == 2 and before["cluster"] >= 2
    ads.change({"cluster": [c.cluster("c1", origin.port, connect_timeout="9s")], "listener": [listener(1, "b")]})
    eventually(lambda: proxy.stat("listener_manager.listener_modified") == 1 and proxy.stat("cluster_manager.cluster_modified") == 1)
    ads.change(removes={"cluster": ["c1"], "listener": ["l1"]})
    eventually(lambda: proxy.stat("listener_manager.listener_removed") == 1 and proxy.stat("cluster_manager.cluster_removed") == 1)
    assert proxy.stat("listener_manager.listener_create_success") == 3 * 2, "once a worker"
    ads.set("listener", c.listener("bad", ports[1], c.hcm([c.route({"safe_regex": {"regex": "("}}, "c0")])))
    assert ads.wait("listener")
    assert proxy.stat("listener_manager.listener_create_failure") == 1
    assert proxy.stat("listener_manager.lds.update_failure") == 0
    ads.stop()
    eventually(lambda: proxy.stat("listener_manager.lds.update_failure") > 0 and proxy.stat("cluster_manager.cds.update_failure") > 0)


def test_days_until_the_first_certificate_is_over_are_told(lab):
    plain = lab.http(lab.origin())
    assert plain.stat("server.days_until_first_cert_expiring") == 2**32 - 1
    ca = lab.ca()
    proxy = lab.http(lab.origin(), chain={"tls": c.downstream_tls(cert=ca.issue("server", days=5), ca=ca.pem)})
    assert proxy.stat("server.days_until_first_cert_expiring") in (4, 5)


@pytest.mark.release_only  # sanitizers have an allocator of their own
def test_the_heap_is_told(lab):
    proxy = lab.http(lab.origin())
    allocated, size = (proxy.stat(f"server.memory_{what}") for what in ("allocated", "heap_size"))
    assert 100_000 < allocated <= size < 100_000_000
