"""The captured scenario "plain" with real traffic: what every mesh gets, from its first readiness check to its drain."""
import re
import signal
import threading
import time

import pytest
from captured_mesh import AGENT_CHECKS, CACHE, ECHO, MYSQL, PRODUCTPAGE, PROXY, REVIEWS, REVIEWS_V1, WORKLOADS, Captured, forwarded
from support.wait import eventually
from test_flows import Load

PRODUCTPAGE_ID = WORKLOADS[PRODUCTPAGE].identity


@pytest.fixture(scope="module")
def mesh():
    with Captured("plain", PRODUCTPAGE, REVIEWS_V1, REVIEWS, ECHO, MYSQL, CACHE) as made:
        yield made


def one(found):
    assert len(found) == 1, found
    return found[0]


def labels(reporter, source, destination, service, **more):
    """What Istio's metrics say of a flow between two of these pods."""
    out = {"reporter": reporter}
    for end, name in (("source", source), ("destination", destination)):
        has = WORKLOADS[name]
        out |= {f"{end}_workload": name.rsplit("-", 1)[0], f"{end}_workload_namespace": "default", f"{end}_principal": has.identity,
                f"{end}_app": has.app, f"{end}_version": has.version, f"{end}_canonical_service": has.app,
                f"{end}_canonical_revision": has.version, f"{end}_cluster": "Kubernetes"}
    security = "mutual_tls" if reporter == "destination" else "unknown"
    return out | {"destination_service": f"{service}.default.svc.cluster.local", "destination_service_name": service,
                  "destination_service_namespace": "default", "connection_security_policy": security, "response_flags": "-", **more}


@pytest.mark.parametrize("host", ["reviews", "reviews.default.svc.cluster.local", "reviews.default.svc.cluster.local.", "10.96.0.12"])
def test_productpage_reaches_reviews_over_mutual_tls(mesh, host):
    status, headers, seen = mesh.curl(PRODUCTPAGE, "http://10.96.0.12:9080/reviews/7?a=b", "-H", f"host: {host}:9080")
    assert (status, seen["path"], headers["server"]) == ("200", "/reviews/7?a=b", "envoy")
    name = seen["served_by"]
    assert name in (REVIEWS, REVIEWS_V1)
    assert (seen["peer"], seen["local"]) == ("127.0.0.6", WORKLOADS[name].address)
    peer = forwarded(seen)
    assert (peer["By"], peer["URI"]) == (WORKLOADS[name].identity, PRODUCTPAGE_ID)
    assert seen["headers"]["host"] == f"{host}:9080" and seen["headers"]["x-envoy-attempt-count"] == "1"
    left = [key for key in [*seen["headers"], *headers] if "peer-metadata" in key or "decorator" in key]
    assert not left, "what proxies tell each other stays between them"


def test_a_pod_called_by_its_own_address_gets_plain_text_and_takes_it(mesh):
    status, _, seen = mesh.curl(PRODUCTPAGE, f"http://{WORKLOADS[REVIEWS].address}:9080/by-address")
    assert (status, seen["served_by"], "x-forwarded-client-cert" in seen["headers"]) == ("200", REVIEWS, False)
    assert " PassthroughCluster " in mesh.logged(PRODUCTPAGE, "GET /by-address ")
    (has, _), = mesh.metrics(REVIEWS, "istio_requests_total", connection_security_policy="none")
    assert (has["source_workload"], has["source_principal"]) == ("productpage-v1", "unknown"), "what it says, but not who it is"


def test_every_endpoint_of_reviews_gets_its_share(mesh):
    seen = [mesh.curl(PRODUCTPAGE, "http://reviews:9080/share")[2]["served_by"] for _ in range(24)]
    assert set(seen) == {REVIEWS, REVIEWS_V1}


def test_a_body_goes_and_comes_back_whole(mesh):
    text = "".join(f"line {n} " for n in range(30000))
    file = mesh.pods[PRODUCTPAGE].folder / "body"
    file.write_text(text)
    status, _, seen = mesh.curl(PRODUCTPAGE, "http://reviews:9080/body", "--data-binary", f"@{file}")
    assert status == "200" and seen["body"] == text


def test_a_websocket_is_a_tunnel_through_both_sidecars(mesh):
    request = "GET /ws HTTP/1.1\r\nhost: reviews:9080\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r"
    answer = mesh.talk(PRODUCTPAGE, "reviews", 9080, request)["answer"]
    head, _, after = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 101 Switching Protocols\r\n") and "\r\nupgrade: websocket" in head
    assert after == "upgraded\n"
    for _ in range(2):  # a request after it is not in its way
        assert mesh.curl(PRODUCTPAGE, "http://reviews:9080/after-ws")[0] == "200"


def test_tcp_of_echo_goes_both_ways_and_ends_when_both_have(mesh):
    assert mesh.talk(PRODUCTPAGE, "echo", 9000, "spoken") == {"greeting": "", "answer": "spoken\n", "end": "closed"}


def test_grpc_of_echo_keeps_metadata_trailers_status_and_streams(mesh):
    got = mesh.grpc(PRODUCTPAGE, "echo:9001")
    assert got["answer"]["said"] == "hello" and got["answer"]["metadata"]["x-word"] == "mesh"
    assert got["trailers"]["served-by"] == ECHO
    assert got["failure"] == ["FAILED_PRECONDITION", "as asked"]
    assert got["stream"] == ["ONE", "TWO", "THREE"]
    for status in ("0", "9"):
        for pod, reporter in ((PRODUCTPAGE, "source"), (ECHO, "destination")):
            protocol = {"request_protocol": "grpc", "response_code": "200", "grpc_response_status": status}
            want = labels(reporter, PRODUCTPAGE, ECHO, "echo", **protocol)
            found = eventually(lambda: mesh.metrics(pod, "istio_requests_total", grpc_response_status=status))
            assert one(found)[0] == want


@pytest.mark.parametrize("speak", ["--http1.1", "--http2-prior-knowledge"])
def test_http2_of_echo_gets_http2_from_clients_of_either_version(mesh, speak):
    status, _, seen = mesh.curl(PRODUCTPAGE, "http://echo:9002/two", speak)
    assert (status, seen["protocol"], seen["path"]) == ("200", "h2", "/two")
    assert f"URI={PRODUCTPAGE_ID}" in seen["headers"]["x-forwarded-client-cert"]


def test_the_sniffed_port_of_echo_takes_http_as_http(mesh):
    status, headers, seen = mesh.curl(PRODUCTPAGE, "http://echo:9003/sniffed")
    assert (status, headers["server"], seen["path"]) == ("200", "envoy", "/sniffed")
    assert f"URI={PRODUCTPAGE_ID}" in seen["headers"]["x-forwarded-client-cert"]


def test_the_sniffed_port_of_echo_takes_anything_else_as_tcp(mesh):
    assert mesh.talk(PRODUCTPAGE, "echo", 9003, "neither HTTP nor TLS")["answer"] == "neither HTTP nor TLS\n"
    want = labels("destination", PRODUCTPAGE, ECHO, "echo", request_protocol="tcp")
    assert one(mesh.metrics(ECHO, "istio_tcp_connections_opened_total", request_protocol="tcp",
                            destination_service_name="echo"))[0] == want


def test_tls_of_echo_reaches_the_application_as_the_client_sent_it(mesh):
    options = ["--cacert", mesh.visible(PRODUCTPAGE, mesh.outside_ca.cert_path), "--connect-to", "tls.example.com:443:10.96.0.16:9443"]
    status, headers, seen = mesh.curl(PRODUCTPAGE, "https://tls.example.com/secret", *options)
    assert (status, seen["served_by"], seen["tls"]) == ("200", ECHO, "tls.example.com")
    assert "x-request-id" not in seen["headers"] and "x-envoy-upstream-service-time" not in headers


def test_mysql_speaks_first(mesh):
    got = mesh.talk(PRODUCTPAGE, "mysql", 3306, "select 1", greeted=True)
    assert got == {"greeting": f"{MYSQL} greets 127.0.0.6 at 10.44.0.18\n", "answer": "select 1\n", "end": "closed"}
    found = mesh.metrics(MYSQL, "istio_tcp_connections_opened_total", source_principal=PRODUCTPAGE_ID)
    assert one(found)[0]["connection_security_policy"] == "mutual_tls"


def test_a_headless_service_is_reached_by_the_address_of_its_pod(mesh):
    assert mesh.talk(PRODUCTPAGE, "10.44.0.19", 6379, "get x")["answer"] == "get x\n"
    assert one(mesh.metrics(CACHE, "istio_tcp_connections_opened_total"))[0]["source_principal"] == PRODUCTPAGE_ID


def test_both_ends_count_an_http_request_under_the_names_of_both(mesh):
    mesh.endpoints(PRODUCTPAGE, mesh.addresses - {WORKLOADS[REVIEWS_V1].address})

    def count(pod, reporter):
        want = labels(reporter, PRODUCTPAGE, REVIEWS, "reviews", request_protocol="http", response_code="200", grpc_response_status="")
        found = mesh.metrics(pod, "istio_requests_total", reporter=reporter, destination_workload=want["destination_workload"])
        return sum(value for has, value in found if has == want)
    ends = ((PRODUCTPAGE, "source"), (REVIEWS, "destination"))
    try:
        eventually(lambda: mesh.curl(PRODUCTPAGE, "http://reviews:9080/")[2]["served_by"] == REVIEWS)
        before = [count(*end) for end in ends]
        for _ in range(3):
            assert mesh.curl(PRODUCTPAGE, "http://reviews:9080/counted")[2]["served_by"] == REVIEWS
        eventually(lambda: [count(*end) for end in ends] == [value + 3 for value in before])
    finally:
        mesh.endpoints(PRODUCTPAGE, mesh.addresses)
    for family in ("request_duration_milliseconds", "request_bytes", "response_bytes"):
        found = mesh.metrics(REVIEWS, f"istio_{family}_count", source_principal=PRODUCTPAGE_ID, response_code="200")
        assert one(found)[1] >= 3


def test_both_ends_count_a_connection_and_its_bytes_under_the_names_of_both(mesh):
    def counted():
        out = []
        for pod, reporter in ((PRODUCTPAGE, "source"), (ECHO, "destination")):
            want = labels(reporter, PRODUCTPAGE, ECHO, "echo", request_protocol="tcp")
            for name in ("connections_opened", "connections_closed", "received_bytes", "sent_bytes"):
                found = mesh.metrics(pod, f"istio_tcp_{name}_total", reporter=reporter, destination_service_name="echo")
                out.append(sum(value for has, value in found if has == want))
        return out
    # A connection's bytes are counted at its end, so the first look waits for those of other tests.
    before = eventually(lambda: (now := counted())[0] == now[1] and now[4] == now[5] and now)
    assert mesh.talk(PRODUCTPAGE, "echo", 9000, "1234567")["answer"] == "1234567\n"
    eventually(lambda: [now - was for now, was in zip(counted(), before)] == [1, 1, 8, 8] * 2, what=lambda: (before, counted()))


def test_both_ends_log_a_request_under_one_id(mesh):
    _, headers, seen = mesh.curl(PRODUCTPAGE, "http://reviews:9080/logged", "-A", "a tester")
    pod, identity = seen["served_by"], seen["headers"]["x-request-id"]
    address = WORKLOADS[pod].address
    outbound, inbound = mesh.logged(PRODUCTPAGE, identity), mesh.logged(pod, identity)
    for line in (outbound, inbound):
        start = r'\[20\d\d-\d\d-\d\dT[\d:.]+Z\] "GET /logged HTTP/1.1" 200 - via_upstream - "-" 0 \d+ \d+ \d+ "-" "a tester" '
        assert re.match(start, line), line
    assert re.search(r' "reviews:9080" "{0}:9080" outbound\|9080\|\|reviews.default.svc.cluster.local 10.44.0.10:\d+ 10.96.0.12:9080 '
                     r'10.44.0.10:\d+ - default$'.format(re.escape(address)), outbound), outbound
    assert re.search(r' "reviews:9080" "{0}:9080" inbound\|9080\|\| 127.0.0.6:\d+ {0}:9080 10.44.0.10:\d+ '
                     r'outbound_.9080_._.reviews.default.svc.cluster.local default$'.format(re.escape(address)), inbound), inbound


def test_the_kubelet_hears_the_agent_through_the_proxy(mesh):
    address = f"http://{WORKLOADS[PRODUCTPAGE].address}:15021"
    assert mesh.curl(REVIEWS, f"{address}/healthz/ready", uid=PROXY)[::2] == ("200", "ready")
    assert mesh.curl(REVIEWS, f"{address}/other", uid=PROXY)[0] == "404"
    agent, = [one for one in mesh.pods[PRODUCTPAGE].processes if one.name.endswith("server-15020") and one.alive]
    agent.stop()
    try:
        assert mesh.curl(REVIEWS, f"{address}/healthz/ready", uid=PROXY)[0] == "503"
    finally:
        mesh.serve(PRODUCTPAGE, {15020: "http"}, uid=PROXY, address="127.0.0.1")


def test_the_agents_questions_are_answered_as_it_reads_them(mesh):
    for name in mesh.proxies:
        (updates, counts), (state, lines) = (mesh.raw(name, check) for check in AGENT_CHECKS)
        assert updates == state == "HTTP/1.1 200 OK"
        expected = r"cluster_manager\.cds\.update_success: [1-9]\d*\nlistener_manager\.lds\.update_success: [1-9]\d*\n"
        assert re.fullmatch(expected, re.sub(r"\S+rejected: 0\n", "", counts)), counts
        assert sorted(lines.splitlines()) == ["listener_manager.workers_started: 1", "server.state: 0"]
        assert not mesh.planes[name].nacks


def test_prometheus_reads_metrics_by_the_port_for_it(mesh):
    mesh.curl(PRODUCTPAGE, "http://reviews:9080/for-prometheus")
    assert 'istio_build{component="proxy",tag="unknown"} 1\n' in mesh.raw(PRODUCTPAGE, "/stats/prometheus", port=15090)[1]
    status, text = mesh.raw(PRODUCTPAGE, "/stats/prometheus?usedonly&filter=istio_requests_total", port=15090)
    assert status == "HTTP/1.1 200 OK" and "# EOF" not in text
    assert {line.partition("{")[0] for line in text.splitlines() if line and line[0] != "#"} == {"istio_requests_total"}
    status, headers, text = mesh.curl(PRODUCTPAGE, "http://localhost:15090/stats/prometheus", "--compressed", uid=PROXY)
    assert status == "200" and headers["content-encoding"] in ("br", "zstd", "gzip") and "\nistio_requests_total{" in text


@pytest.fixture
def restarted(mesh):
    """Reviews' proxy is another afterwards: a drain cannot be taken back."""
    yield
    mesh.proxies[REVIEWS].kill()
    mesh.start_proxy(REVIEWS)
    mesh.wait_live(REVIEWS)


def test_a_pod_that_is_gone_is_gone_around(mesh, restarted):
    mesh.proxies[REVIEWS].kill()  # and nobody has been told
    seen = [mesh.curl(PRODUCTPAGE, "http://reviews:9080/around") for _ in range(12)]
    assert all(status == "200" and told["served_by"] == REVIEWS_V1 for status, _, told in seen), seen
    assert "2" in {told["headers"]["x-envoy-attempt-count"] for _, _, told in seen}


def test_a_draining_sidecar_sends_those_who_come_in_elsewhere_and_keeps_those_who_go_out(mesh, restarted):
    address = WORKLOADS[REVIEWS].address
    assert mesh.raw(REVIEWS, "/drain_listeners?inboundonly&graceful", "POST") == ("HTTP/1.1 200 OK", "OK\n")
    for _ in range(3):  # new connections are taken all the while
        status, headers, _ = mesh.curl(PRODUCTPAGE, f"http://{address}:9080/direct", uid=PROXY)
        assert (status, headers.get("connection")) == ("200", "close")
        status, headers, _ = mesh.curl(REVIEWS, "http://productpage:9080/")
        assert (status, headers.get("connection")) == ("200", None)


def test_an_agent_that_waits_for_connections_sees_the_last_one_go(mesh, restarted):
    mesh.proxies[REVIEWS].kill()
    mesh.start_proxy(REVIEWS, suffixes=["downstream_cx_active"])
    mesh.wait_live(REVIEWS)

    def connections():
        """As the agent counts them."""
        _, text = mesh.raw(REVIEWS, "/stats?usedonly&filter=downstream_cx_active$")
        counts = [line.split(": ") for line in text.splitlines() if line.startswith("listener.") and "worker_" not in line]
        own = ("listener.admin", "listener.0.0.0.0_15021", "listener.0.0.0.0_15090", "listener.envoy_internal_")
        return sum(int(value) for name, value in counts if not name.startswith(own))
    before, answers = connections(), []
    # Not over mutual TLS: the connection of another sidecar's pool would stay.
    url = f"http://{WORKLOADS[REVIEWS].address}:9080/slow"
    slow = threading.Thread(target=lambda: answers.append(mesh.curl(PRODUCTPAGE, url, uid=PROXY)))
    slow.start()
    eventually(lambda: connections() == before + 1)
    assert mesh.raw(REVIEWS, "/drain_listeners?inboundonly&graceful", "POST")[1] == "OK\n"
    slow.join()
    assert answers[0][0] == "200" and answers[0][1]["connection"] == "close"
    eventually(lambda: connections() == before)


def test_a_sidecar_is_drained_and_killed_without_a_failed_request(mesh, restarted):
    drained, others = WORKLOADS[REVIEWS].address, mesh.addresses - {WORKLOADS[REVIEWS].address}
    sources = [PRODUCTPAGE, MYSQL]

    def requests():
        return [value for _, value in mesh.metrics(REVIEWS, "istio_requests_total")]
    try:
        with Load(mesh, *[(name, "reviews", 9080, "/load") for name in sources]) as load:
            for name in sources:
                eventually(lambda: mesh.metrics(REVIEWS, "istio_requests_total", source_app=WORKLOADS[name].app))
            assert mesh.raw(REVIEWS, "/drain_listeners?inboundonly&graceful", "POST") == ("HTTP/1.1 200 OK", "OK\n")
            time.sleep(0.5)  # requests go on to it while it drains: Kubernetes has not told the others yet
            for name in sources:
                mesh.endpoints(name, others)
                eventually(lambda: f"{drained}:9080" not in mesh.raw(name, "/clusters")[1])
            eventually(lambda: requests() == requests(), what="no more requests at the drained pod")
            mesh.proxies[REVIEWS].signal(signal.SIGKILL)  # as the agent ends it
            mesh.proxies[REVIEWS].wait(5)
            time.sleep(0.3)  # the load goes on without it
        assert set(load.seen) == {"200"} and load.seen["200"] > 100, load.seen
    finally:
        for name in sources:
            mesh.endpoints(name, mesh.addresses)
