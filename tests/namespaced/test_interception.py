"""How traffic gets into a sidecar and out of it again, with iptables as istio-init sets it and a captured push: what is intercepted and
from which address it comes to the application, what passes through unregistered, what must not go in circles, and TPROXY.

The rules by themselves are test_pods.py's.
"""
from pathlib import Path

import pytest
from captured_mesh import PRODUCTPAGE, PROXY, REVIEWS, WORKLOADS, Captured, edited, forwarded
from demo.pods import Redirect
from envoy.config.listener.v3 import listener_pb2
from support.wait import eventually
from support.xds_server import URLS

STRANGER, STRANGER_ADDRESS, NOBODY = "stranger", "10.44.1.30", "192.0.2.9"
ADDRESS = WORKLOADS[PRODUCTPAGE].address
OUTSIDE = {STRANGER: {"address": STRANGER_ADDRESS, "ports": {80: "http", 3333: "greet", 9080: "auto"}}}


@pytest.fixture(scope="module")
def mesh():
    with Captured("plain", PRODUCTPAGE, REVIEWS, outside=OUTSIDE) as made:
        made.serve(PRODUCTPAGE, {8443: "https", 3333: "greet"})
        yield made


def test_plain_text_from_outside_the_mesh_reaches_the_application_from_127_0_0_6(mesh):
    status, headers, seen = mesh.curl(STRANGER, f"http://{ADDRESS}:9080/in")
    assert (status, headers["server"], seen["peer"], seen["local"]) == ("200", "istio-envoy", "127.0.0.6", ADDRESS)
    assert "x-forwarded-client-cert" not in seen["headers"]
    found = eventually(lambda: mesh.metrics(PRODUCTPAGE, "istio_requests_total", connection_security_policy="none", source_app="unknown"))
    assert found[0][0]["reporter"] == "destination"


def test_a_port_that_no_service_has_is_intercepted_too(mesh):
    status, headers, seen = mesh.curl(STRANGER, f"http://{ADDRESS}:8081/undeclared")
    assert (status, headers["server"], seen["peer"], seen["local"]) == ("200", "istio-envoy", "127.0.0.6", ADDRESS)
    assert " InboundPassthroughCluster 127.0.0.6:" in mesh.logged(PRODUCTPAGE, "GET /undeclared ")


def test_tls_that_is_not_the_meshs_passes_to_the_application_unopened(mesh):
    options = ["--cacert", mesh.visible(STRANGER, mesh.outside_ca.cert_path), "--connect-to", f"www.example.com:443:{ADDRESS}:8443"]
    status, headers, seen = mesh.curl(STRANGER, "https://www.example.com/", *options)
    assert (status, seen["tls"], seen["peer"]) == ("200", "www.example.com", "127.0.0.6")
    assert "x-request-id" not in seen["headers"]


def test_a_port_where_nobody_listens_is_answered_for_by_the_proxy(mesh):
    status, headers, body = mesh.curl(STRANGER, f"http://{ADDRESS}:8082/nobody")
    assert (status, headers["server"]) == ("503", "istio-envoy") and "upstream connect error" in body
    assert '" 503 URX,UF upstream_reset_before_response_started{remote_connection_failure' in mesh.logged(PRODUCTPAGE, "GET /nobody ")


def test_what_cannot_be_http_is_refused_at_once_where_a_service_speaks_http(mesh):
    answer = mesh.talk(STRANGER, ADDRESS, 9080, "this is no request\r")["answer"]
    assert answer.startswith("HTTP/1.1 400 Bad Request\r\n"), "Envoy answers the first line"
    assert '"- - HTTP/1.1" 400 DPE http1.codec_error - ' in mesh.logged(PRODUCTPAGE, " DPE ")


def test_an_unregistered_address_is_passed_through_and_may_speak_first(mesh):
    got = mesh.talk(PRODUCTPAGE, STRANGER_ADDRESS, 3333, "passed", greeted=True)
    assert got == {"greeting": f"{STRANGER} greets {ADDRESS} at {STRANGER_ADDRESS}\n", "answer": "passed\n", "end": "closed"}
    entry = mesh.logged(PRODUCTPAGE, f'"{STRANGER_ADDRESS}:3333" PassthroughCluster {ADDRESS}:')
    assert f" {STRANGER_ADDRESS}:3333 {ADDRESS}:" in entry, "the address that was meant is the local one"


@pytest.mark.parametrize("port", [80, 9080])
def test_an_unregistered_host_at_a_port_of_the_mesh_is_reached_where_the_client_meant(mesh, port):
    path = f"/unregistered-{port}"
    status, headers, seen = mesh.curl(PRODUCTPAGE, f"http://{STRANGER_ADDRESS}:{port}{path}", "-H", "host: unknown.example.com")
    assert (status, headers["server"], seen["served_by"], seen["peer"]) == ("200", "envoy", STRANGER, ADDRESS)
    assert seen["headers"]["host"] == "unknown.example.com"
    assert mesh.logged(PRODUCTPAGE, f"GET {path} ", " PassthroughCluster ").endswith(" allow_any")
    assert mesh.metrics(PRODUCTPAGE, "istio_requests_total", destination_service_name="PassthroughCluster", response_code="200")


def test_what_is_not_http_at_an_http_port_is_passed_through(mesh):
    assert mesh.talk(PRODUCTPAGE, STRANGER_ADDRESS, 9080, "not HTTP")["answer"] == "not HTTP\n"
    assert mesh.logged(PRODUCTPAGE, '"- - -" 0 - ', f'"{STRANGER_ADDRESS}:9080" PassthroughCluster ')


def test_an_address_that_nobody_has_fails_and_is_logged(mesh):
    assert mesh.talk(PRODUCTPAGE, NOBODY, 3333)["answer"] == ""
    assert '"- - -" 0 UF,URX ' in mesh.logged(PRODUCTPAGE, f"{NOBODY}:3333", " PassthroughCluster ")
    status, headers, _ = mesh.curl(PRODUCTPAGE, f"http://{NOBODY}/")
    assert (status, headers["server"]) == ("503", "envoy")


def test_what_the_proxys_user_sends_does_not_pass_the_proxy(mesh):
    status, headers, seen = mesh.curl(PRODUCTPAGE, f"http://{STRANGER_ADDRESS}/as-1337", uid=PROXY)
    assert (status, seen["peer"]) == ("200", ADDRESS) and "x-request-id" not in seen["headers"]
    # A later request is in the log, this one is not.
    mesh.curl(PRODUCTPAGE, f"http://{STRANGER_ADDRESS}/as-the-application")
    mesh.logged(PRODUCTPAGE, "GET /as-the-application ")
    assert not mesh.entries(PRODUCTPAGE, "GET /as-1337 ")


# ---- circles

def test_an_application_that_calls_its_own_service_comes_in_again_by_its_own_proxy(mesh):
    status, _, seen = mesh.curl(PRODUCTPAGE, "http://productpage:9080/myself")
    assert (status, seen["served_by"], seen["peer"]) == ("200", PRODUCTPAGE, "127.0.0.6")
    peer = forwarded(seen)
    assert peer["URI"] == peer["By"] == WORKLOADS[PRODUCTPAGE].identity
    entries = eventually(lambda: len(found := mesh.entries(PRODUCTPAGE, "GET /myself ")) > 1 and found)
    assert len(entries) == 2 and sum(" inbound|9080|| " in one for one in entries) == 1


def test_an_application_that_calls_its_own_address_reaches_itself_directly(mesh):
    status, headers, seen = mesh.curl(PRODUCTPAGE, f"http://{ADDRESS}:9080/directly")
    assert (status, seen["peer"]) == ("200", ADDRESS) and "x-request-id" not in seen["headers"]


def sockets(process):
    return sum("socket:" in str(file.readlink()) for file in Path(f"/proc/{process.pid}/fd").iterdir() if file.is_symlink())


def cpu(process):
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / 100


ENDED = ("closed", "ConnectionResetError", "BrokenPipeError", "OSError")  # not a timeout; the last: it ended before the client did
GUARDED = [(source, address, port) for port in (15001, 15006)
           for source, address in ((PRODUCTPAGE, "127.0.0.1"), (PRODUCTPAGE, ADDRESS), (STRANGER, ADDRESS))]
GUARDED += [(PRODUCTPAGE, STRANGER_ADDRESS, 15001)]


@pytest.mark.parametrize("source, address, port", GUARDED)
def test_the_proxys_own_ports_lead_nowhere(mesh, source, address, port):
    proxy = mesh.proxies[PRODUCTPAGE]
    before, used = eventually(lambda: (first := sockets(proxy)) == sockets(proxy) and (first, cpu(proxy)))
    blackholed = count_blackholed(mesh)
    got = mesh.talk(source, address, port, "round and round")
    assert got["answer"] == "" and got["end"] in ENDED, got
    eventually(lambda: count_blackholed(mesh) == blackholed + 1, what="the guard's chain took it, once")
    eventually(lambda: sockets(proxy) <= before + 2, what="no socket stays")
    assert cpu(proxy) - used < 0.5


def count_blackholed(mesh):
    found = mesh.metrics(PRODUCTPAGE, "istio_tcp_connections_opened_total", destination_service_name="BlackHoleCluster")
    return sum(value for _, value in found)


def test_http_to_the_proxys_own_port_does_not_multiply(mesh):
    proxy = mesh.proxies[PRODUCTPAGE]
    used = cpu(proxy)
    for port in (15001, 15006):
        for source in (STRANGER, PRODUCTPAGE):
            status = mesh.curl(source, f"http://{ADDRESS}:{port}/loop")[0]
            assert status in ("502", "503") or status.startswith("curl: ("), status
    assert cpu(proxy) - used < 0.5
    assert len(mesh.entries(PRODUCTPAGE, "GET /loop ")) <= 4


# ---- TPROXY

def tproxy_rules(pod):
    """istio-init's with interceptionMode TPROXY: inbound by mark and TPROXY, outbound by REDIRECT as ever. 1337 is a mark as well."""
    mangle = ["*mangle", "-N ISTIO_DIVERT", "-N ISTIO_TPROXY", "-N ISTIO_INBOUND",
              "-A ISTIO_DIVERT -j MARK --set-mark 1337", "-A ISTIO_DIVERT -j ACCEPT",
              "-A ISTIO_TPROXY ! -d 127.0.0.1/32 -p tcp -j TPROXY --tproxy-mark 1337/0xffffffff --on-port 15006",
              "-A PREROUTING -p tcp -j ISTIO_INBOUND",
              "-A PREROUTING -p tcp -m mark --mark 1337 -j CONNMARK --save-mark",
              # What is on its way from proxy to application, and what is the application's own, is not taken again.
              "-A ISTIO_INBOUND -p tcp -m mark --mark 1337 -j RETURN",
              "-A ISTIO_INBOUND -p tcp -s 127.0.0.6/32 -i lo -j RETURN",
              "-A ISTIO_INBOUND -p tcp -i lo -m mark ! --mark 1338 -j RETURN",
              *[f"-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN" for port in (15008, 15090, 15021, 15020)],
              "-A ISTIO_INBOUND -p tcp -m conntrack --ctstate RELATED,ESTABLISHED -j ISTIO_DIVERT",
              "-A ISTIO_INBOUND -p tcp -j ISTIO_TPROXY",
              "-A OUTPUT -p tcp -o lo -m mark --mark 1337 -j RETURN",
              "-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --uid-owner 1337 -j MARK --set-mark 1338",
              "-A OUTPUT ! -d 127.0.0.1/32 -p tcp -o lo -m owner --gid-owner 1337 -j MARK --set-mark 1338",
              "-A OUTPUT -p tcp -m connmark --mark 1337 -j CONNMARK --restore-mark",
              "COMMIT", ""]
    nat = [line for line in Redirect().rules().splitlines() if "PREROUTING" not in line] + [""]
    pod.run([pod.mesh.iptables_commands[0], "--noflush"], input="\n".join(mangle + nat), check=True)
    pod.ip("rule add fwmark 1337 lookup 133", "route add local default dev lo table 133")


def transparent(with_source):
    """What istiod sends a pod with TPROXY: transparent sockets, and inbound a filter that keeps the client's address."""
    def change(pool):
        def listener(message):
            message.transparent.value = True
            if with_source and message.name == "virtualInbound":
                kept = list(message.listener_filters)
                del message.listener_filters[1:]
                added = message.listener_filters.add(name="envoy.filters.listener.original_src")
                added.typed_config.type_url = "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc"
                added.typed_config.value = b"\x10" + bytes([1337 & 127 | 128, 1337 >> 7])  # mark: 1337
                message.listener_filters.extend(kept[1:])
        listeners = pool[URLS["listener"]]
        for name in ("virtualInbound", "virtualOutbound"):
            listeners[name] = edited(listeners[name], listener_pb2.Listener, listener)
    return change


def with_tproxy(with_source, **more):
    return Captured("plain", PRODUCTPAGE, REVIEWS, outside=OUTSIDE, transparent={PRODUCTPAGE: tproxy_rules},
                    edits={PRODUCTPAGE: transparent(with_source)}, **more)


@pytest.fixture(scope="module")
def tproxy():
    with with_tproxy(False) as made:
        yield made


def test_with_tproxy_what_comes_in_is_taken_without_being_rewritten(tproxy):
    status, headers, seen = tproxy.curl(STRANGER, f"http://{ADDRESS}:9080/in")
    assert (status, headers["server"], seen["local"], seen["peer"]) == ("200", "istio-envoy", ADDRESS, "127.0.0.6")
    tracked = tproxy.pods[PRODUCTPAGE].run(["iptables-save", "-t", "nat"]).stdout
    assert "-A PREROUTING" not in tracked, "no address translation had a part in it"


def test_with_tproxy_mutual_tls_comes_in(tproxy):
    status, _, seen = tproxy.curl(REVIEWS, "http://productpage:9080/mutual")
    assert (status, seen["peer"]) == ("200", "127.0.0.6")
    assert forwarded(seen)["URI"] == WORKLOADS[REVIEWS].identity


def test_with_tproxy_an_undeclared_port_is_intercepted(tproxy):
    status, headers, seen = tproxy.curl(STRANGER, f"http://{ADDRESS}:8081/undeclared")
    assert (status, headers["server"], seen["peer"]) == ("200", "istio-envoy", "127.0.0.6")


def test_with_tproxy_traffic_leaves_as_ever(tproxy):
    status, _, seen = tproxy.curl(PRODUCTPAGE, "http://reviews:9080/out")
    assert status == "200" and forwarded(seen)["URI"] == WORKLOADS[PRODUCTPAGE].identity
    assert tproxy.talk(PRODUCTPAGE, STRANGER_ADDRESS, 3333, "x", greeted=True)["greeting"].startswith(f"{STRANGER} greets {ADDRESS} ")


def test_with_tproxy_an_application_that_calls_its_own_service_comes_in_again_by_its_own_proxy(tproxy):
    status, _, seen = tproxy.curl(PRODUCTPAGE, "http://productpage:9080/myself")
    assert (status, seen["peer"]) == ("200", "127.0.0.6")
    assert forwarded(seen)["URI"] == forwarded(seen)["By"] == WORKLOADS[PRODUCTPAGE].identity


def test_with_tproxy_the_proxys_own_ports_lead_nowhere(tproxy):
    for port in (15001, 15006):
        got = tproxy.talk(STRANGER, ADDRESS, port, "round and round")
        assert got["answer"] == "" and got["end"] in ENDED, got


def test_with_tproxy_and_original_src_the_application_sees_who_called():
    with with_tproxy(True) as mesh:
        assert mesh.curl(STRANGER, f"http://{ADDRESS}:9080/in")[2]["peer"] == STRANGER_ADDRESS
        assert mesh.curl(STRANGER, f"http://{ADDRESS}:8081/undeclared")[2]["peer"] == STRANGER_ADDRESS
        assert mesh.curl(REVIEWS, "http://productpage:9080/mutual")[2]["peer"] == WORKLOADS[REVIEWS].address
