"""The captured scenarios "ingress" and "egress" with real traffic: what the gateways take in, and how a registered host is left for.

Two things work with these captures on no proxy, as a real Envoy shows: a sidecar's plain HTTP to a gateway's service (the capture's
gateway pods are labelled as if they had a sidecar, so mutual TLS comes to a plain port; that it fails at once is tested), and TLS
passed through the egress gateway (the DestinationRule that originates TLS for port 443 wraps it once more).
"""
import re

import pytest
from captured_mesh import ECHO, EGRESS, INGRESS, PRODUCTPAGE, REVIEWS, WORKLOADS, Captured, forwarded
from support.wait import eventually
from test_flows import Load

GATEWAY = WORKLOADS[INGRESS].address
VISITOR, PARTNER, VM, STRANGER = "visitor", "partner", "vm", "stranger"
VISITOR_ADDRESS, PARTNER_ADDRESS, WIKI, STRANGER_ADDRESS = "10.44.1.10", "10.44.1.20", "10.44.1.21", "10.44.1.30"
INGRESS_ID = WORKLOADS[INGRESS].identity


@pytest.fixture(scope="module")
def ingress():
    outside = {VISITOR: {"address": VISITOR_ADDRESS}}
    with Captured("ingress", INGRESS, PRODUCTPAGE, REVIEWS, ECHO, outside=outside) as made:
        yield made


def refused(answer):
    """Whatever of it curl met first: an alert, a reset, the end."""
    return answer[0].startswith("curl: (") and "timed out" not in answer[0]


def http(mesh, host, path, *options):
    return mesh.curl(VISITOR, f"http://{GATEWAY}:8080{path}", "-H", f"host: {host}", *options)


def https(mesh, host, path, *options):
    known = ["--cacert", mesh.visible(VISITOR, mesh.outside_ca.cert_path), "--connect-to", f"{host}:443:{GATEWAY}:8443"]
    return mesh.curl(VISITOR, f"https://{host}{path}", *known, *options)


@pytest.mark.parametrize("path, service", [("/productpage", PRODUCTPAGE), ("/static/x.css", PRODUCTPAGE), ("/reviews/1", REVIEWS)])
def test_http_goes_to_the_service_of_its_path_over_mutual_tls(ingress, path, service):
    status, headers, seen = http(ingress, "bookinfo.example.com", path)
    assert (status, headers["server"], seen["served_by"], seen["path"]) == ("200", "istio-envoy", service, path)
    peer = forwarded(seen)
    assert (peer["URI"], peer["By"]) == (INGRESS_ID, WORKLOADS[service].identity)
    assert seen["headers"]["x-forwarded-for"] == seen["headers"]["x-envoy-external-address"] == VISITOR_ADDRESS
    assert seen["headers"]["x-forwarded-proto"] == "http"


def test_the_gateway_counts_what_it_passes_on_as_the_source(ingress):
    assert http(ingress, "bookinfo.example.com", "/login")[0] == "200"

    def found(name, reporter):
        return ingress.metrics(name, "istio_requests_total", reporter=reporter, destination_workload="productpage-v1", response_code="200")
    (has, _), = eventually(lambda: found(INGRESS, "source"))
    assert (has["source_workload"], has["source_principal"]) == ("istio-ingressgateway", INGRESS_ID)
    (has, _), = [one for one in found(PRODUCTPAGE, "destination") if one[0]["source_principal"] == INGRESS_ID]
    assert (has["source_workload"], has["source_workload_namespace"]) == ("istio-ingressgateway", "istio-system")


def test_a_host_under_a_wildcard_reaches_the_http2_port_of_echo(ingress):
    status, _, seen = http(ingress, "anything.demo.example.com", "/wild")
    assert (status, seen["served_by"], seen["protocol"], seen["path"]) == ("200", ECHO, "h2", "/wild")


@pytest.mark.parametrize("host, path", [("nobody.example.com", "/productpage"), ("bookinfo.example.com", "/elsewhere"),
                                        ("demo.example.com", "/")])
def test_what_no_route_matches_is_not_found(ingress, host, path):
    status, _, body = http(ingress, host, path)
    assert (status, body) == ("404", "")
    assert re.search(r'" 404 NR route_not_found ', ingress.logged(INGRESS, f'"GET {path} ', f'"{host}"'))


@pytest.mark.parametrize("path", ["/", "/deep?a=b"])
def test_a_host_that_is_https_only_redirects(ingress, path):
    status, headers, _ = http(ingress, "secure.example.com", path)
    assert (status, headers["location"]) == ("301", f"https://secure.example.com{path}")


def test_a_clients_own_claims_do_not_get_in(ingress):
    claims = ["-H", "x-forwarded-client-cert: URI=spiffe://cluster.local/ns/default/sa/admin", "-H", "x-envoy-original-path: /x",
              "-H", "x-envoy-peer-metadata: bm9ib2R5", "-H", "x-envoy-peer-metadata-id: nobody"]
    seen = http(ingress, "bookinfo.example.com", "/productpage", *claims)[2]
    assert "admin" not in str(seen["headers"]) and forwarded(seen)["URI"] == INGRESS_ID
    assert "x-envoy-peer-metadata" not in seen["headers"]


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_https_is_terminated_with_the_certificate_of_its_files(ingress, version):
    status, headers, seen = https(ingress, "bookinfo.example.com", "/productpage", version)
    assert (status, seen["served_by"], seen["headers"]["x-forwarded-proto"]) == ("200", PRODUCTPAGE, "https")
    assert forwarded(seen)["URI"] == INGRESS_ID


def test_mutual_tls_needs_a_certificate_of_the_named_root(ingress):
    def options(cert):
        return ["--cert", ingress.visible(VISITOR, cert.chain_path), "--key", ingress.visible(VISITOR, cert.key_path)]
    good = options(ingress.visitors.issue("visitor", uri="", dns="visitor.example.com"))
    status, _, seen = https(ingress, "mutual.example.com", "/productpage", *good)
    assert (status, seen["served_by"]) == ("200", PRODUCTPAGE)
    visitor, by_gateway = seen["headers"]["x-forwarded-client-cert"].split(",By=")
    assert re.fullmatch(r'Hash=[0-9a-f]{64};Cert="-----BEGIN%20CERTIFICATE-----[^"]+";Subject="CN=visitor,O=test";URI=;'
                        r'DNS=visitor\.example\.com', visitor)
    assert by_gateway.endswith(f"URI={INGRESS_ID}")
    for bad in ([], options(ingress.ca.issue("productpage")), options(ingress.outside_ca.issue("stranger"))):
        assert refused(https(ingress, "mutual.example.com", "/productpage", *bad))
    # The same connection does not serve the host that needs none from the one that does.
    status, _, body = https(ingress, "bookinfo.example.com", "/productpage", "-H", "host: mutual.example.com")
    assert status == "404", body


def test_tls_passes_to_the_application_that_has_the_key(ingress):
    status, headers, seen = https(ingress, "pass.example.com", "/through")
    assert (status, seen["served_by"], seen["tls"]) == ("200", ECHO, "pass.example.com")
    assert "x-request-id" not in seen["headers"]
    (has, _), = eventually(lambda: ingress.metrics(ECHO, "istio_tcp_connections_opened_total", source_principal=INGRESS_ID))
    assert has["connection_security_policy"] == "mutual_tls"


@pytest.mark.parametrize("host", ["unknown.example.com", "example.com"])
def test_an_unknown_server_name_is_refused_and_logged(ingress, host):
    assert refused(https(ingress, host, "/"))
    assert " 0 NR filter_chain_not_found " in ingress.logged(INGRESS, f" {host} ")


def test_plain_text_at_the_tls_port_is_refused(ingress):
    assert refused(ingress.curl(VISITOR, f"http://{GATEWAY}:8443/productpage"))


def test_tcp_goes_to_the_service_of_its_port(ingress):
    assert ingress.talk(VISITOR, GATEWAY, 31400, "from outside")["answer"] == "from outside\n"
    found = eventually(lambda: ingress.metrics(ECHO, "istio_tcp_connections_opened_total", source_principal=INGRESS_ID,
                                               destination_service_name="echo"))
    assert found[0][0]["source_workload"] == "istio-ingressgateway"


def test_mutual_tls_to_a_port_that_speaks_plain_http_fails_at_once(ingress):
    status, _, body = ingress.curl(PRODUCTPAGE, "http://10.96.0.100/", "-H", "host: istio-ingressgateway.istio-system", "-m", "5")
    assert status == "503" and "remote connection failure" in body, (status, body)
    assert '" 503 URX,UF upstream_reset_before_response_started{remote_connection_failure|TLS_error:' in ingress.logged(
        PRODUCTPAGE, '"istio-ingressgateway.istio-system"', '"GET / ')


@pytest.fixture
def restarted(ingress):
    """The gateway's proxy is another afterwards: a drain cannot be taken back."""
    ingress.pods[VISITOR].set_hosts({"bookinfo.example.com": GATEWAY})
    yield
    ingress.proxies[INGRESS].kill()
    ingress.start_proxy(INGRESS)
    ingress.wait_live(INGRESS)


def test_a_draining_gateway_asks_all_who_come_to_leave(ingress, restarted):
    assert ingress.raw(INGRESS, "/drain_listeners?graceful", "POST") == ("HTTP/1.1 200 OK", "OK\n")
    for _ in range(3):  # new connections are taken all the while
        status, headers, _ = http(ingress, "bookinfo.example.com", "/productpage")
        assert (status, headers.get("connection")) == ("200", "close")


def test_no_request_fails_while_a_gateway_drains(ingress, restarted):
    def count():
        return sum(value for _, value in ingress.metrics(INGRESS, "istio_requests_total", response_code="200"))
    with Load(ingress, *[(VISITOR, "bookinfo.example.com", 8080, path) for path in ("/productpage", "/reviews/1")]) as load:
        eventually(lambda: count() > 20)
        assert ingress.raw(INGRESS, "/drain_listeners?graceful", "POST") == ("HTTP/1.1 200 OK", "OK\n")
        before = count()
        eventually(lambda: count() > before + 100, what="requests while it drains")
    assert set(load.seen) == {"200"}, load.seen


# ---- egress

@pytest.fixture(scope="module")
def egress():
    outside = {PARTNER: {"address": PARTNER_ADDRESS, "ports": {80: "http", 443: "https"}, "extra": [WIKI]},
               VM: {"address": "10.44.1.40", "ports": {7000: "greet"}, "extra": ["10.45.0.1", "10.45.0.2"]},
               STRANGER: {"address": STRANGER_ADDRESS, "ports": {80: "http", 443: "https"}}}
    dns = {"edition.cnn.com": PARTNER_ADDRESS, "en.wikipedia.org": WIKI, "other.example.com": STRANGER_ADDRESS}
    with Captured("egress", EGRESS, PRODUCTPAGE, outside=outside, dns=dns) as made:
        yield made


def trusted(mesh):
    return ["--cacert", mesh.visible(PRODUCTPAGE, mesh.outside_ca.cert_path)]


def test_the_registered_host_is_left_for_by_the_egress_gateway_which_speaks_tls(egress):
    status, _, seen = egress.curl(PRODUCTPAGE, "http://edition.cnn.com/politics")
    assert (status, seen["served_by"], seen["path"]) == ("200", PARTNER, "/politics")
    assert (seen["tls"], seen["peer"]) == ("edition.cnn.com", WORKLOADS[EGRESS].address)
    assert seen["headers"]["host"] == "edition.cnn.com" and seen["headers"]["x-forwarded-for"] == WORKLOADS[PRODUCTPAGE].address
    first, second = egress.logged(PRODUCTPAGE, '"GET /politics HTTP/1.1" 200'), egress.logged(EGRESS, '"GET /politics HTTP/2" 200')
    assert " outbound|80|cnn|istio-egressgateway.istio-system.svc.cluster.local " in first
    assert re.search(r' "10.44.1.20:443" outbound\|443\|\|edition.cnn.com .* edition.cnn.com -$', second)


def test_the_egress_gateway_takes_only_the_mesh(egress):
    options = ["-k", "--connect-to", f"edition.cnn.com:443:{WORKLOADS[EGRESS].address}:8080"]
    assert refused(egress.curl(STRANGER, "https://edition.cnn.com/", *options))
    with_another = ["--cert", egress.visible(STRANGER, egress.server_cert.chain_path),
                    "--key", egress.visible(STRANGER, egress.server_cert.key_path)]
    assert refused(egress.curl(STRANGER, "https://edition.cnn.com/", *options, *with_another))
    of_the_mesh = egress.ca.issue("visitor")
    known = ["--cert", egress.visible(STRANGER, of_the_mesh.chain_path), "--key", egress.visible(STRANGER, of_the_mesh.key_path)]
    assert egress.curl(STRANGER, "https://edition.cnn.com/", *options, *known)[0] == "200"


def test_a_wildcard_host_is_left_for_directly_by_its_server_name(egress):
    status, _, seen = egress.curl(PRODUCTPAGE, "https://en.wikipedia.org/wiki/Pinnace", *trusted(egress))
    assert (status, seen["served_by"], seen["tls"], seen["local"]) == ("200", PARTNER, "en.wikipedia.org", WIKI)
    assert seen["peer"] == WORKLOADS[PRODUCTPAGE].address
    assert "outbound|443||*.wikipedia.org" in egress.logged(PRODUCTPAGE, f"{WIKI}:443", "en.wikipedia.org")


def test_an_unregistered_host_is_passed_through_over_either_protocol(egress):
    for url in ("http://other.example.com/a", "https://other.example.com/a"):
        status, _, seen = egress.curl(PRODUCTPAGE, url, *trusted(egress))
        assert (status, seen["served_by"], seen["peer"]) == ("200", STRANGER, WORKLOADS[PRODUCTPAGE].address)
        assert "PassthroughCluster" in egress.logged(PRODUCTPAGE, f"{STRANGER_ADDRESS}:{443 if 'https' in url else 80}")


def test_a_registered_tcp_service_outside_gets_plain_connections_by_weight(egress):
    seen = [egress.talk(PRODUCTPAGE, "vm.internal", 7000, "x", greeted=True)["greeting"] for _ in range(32)]
    assert all(line.startswith(f"vm greets {WORKLOADS[PRODUCTPAGE].address} at 10.45.0.") for line in seen), seen
    second = sum(line.endswith("10.45.0.2\n") for line in seen)
    assert 14 <= second < 32, "weights 1 and 3"
