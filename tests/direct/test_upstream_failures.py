"""Every way an upstream fails: what the client gets and what the access log says (/flags of Envoy 1.40)."""
import ssl
import threading

import pytest
from support import config as c
from support import h2, pki

BEFORE = "upstream connect error or disconnect/reset before headers. reset reason: "
RETRIED = "upstream connect error or disconnect/reset before headers. retried and the latest reset reason: "


def check(lab, proxy, want, path="/x", keep=True, timeout=10, **request):
    """want: (status, body, flags, details); details ending in * is a prefix. Returns the log entry."""
    status, body, flags, details = want
    client = lab.client(proxy.port, timeout=timeout)
    answer = client.get(path, **request)
    assert (answer.status, answer.text) == (status, body)
    if keep:
        assert answer.get("connection") is None and client.is_open()
    else:
        assert answer.get("connection") == "close"
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"]) == (str(status), flags)
    if details.endswith("*"):
        assert entry["details"].startswith(details[:-1])
    else:
        assert entry["details"] == details
    assert " " not in entry["details"]
    assert entry["tx"] == str(len(body))
    return entry


def test_a_local_answer_has_exactly_these_headers(lab):
    client = lab.client(lab.http(c.cluster("none")).port)
    assert [k for k, _ in client.get("/").headers] == ["content-length", "content-type", "date", "server"]


def test_no_route_is_404_nr(lab):
    proxy = lab.http(lab.origin(), routes=[c.route("/only", "origin")])
    entry = check(lab, proxy, (404, "", "NR", "route_not_found"))
    assert (entry["host"], entry["cluster"], entry["attempts"], entry["route"]) == ("-", "-", "0", "-")


def test_no_virtual_host_is_404_nr(lab):
    proxy = lab.http(lab.origin(), hosts=c.virtual_hosts([c.route("/", "origin")], ["b.com"]))
    check(lab, proxy, (404, "", "NR", "route_not_found"), host="c.com")


@pytest.mark.parametrize("code, status", [(None, 503), ("NOT_FOUND", 404), ("INTERNAL_SERVER_ERROR", 500)])
def test_an_unknown_cluster_is_nc(lab, code, status):
    fields = {"cluster_not_found_response_code": code} if code else {}
    unknown = c.route("/", {"route": {"cluster": "nowhere", **fields}}, name="to-nowhere")
    hosts = c.virtual_hosts([unknown])
    proxy = lab.http(lab.origin(), hosts=hosts, **{"route_config": {
        "name": "r", "virtual_hosts": hosts, "validate_clusters": False}})
    entry = check(lab, proxy, (status, "", "NC", "cluster_not_found"))
    assert (entry["host"], entry["cluster"], entry["attempts"], entry["route"]) == ("-", "-", "0", "to-nowhere")


@pytest.mark.parametrize("kind", ["empty", "unhealthy"])
def test_no_healthy_host_is_uh(lab, kind):
    if kind == "empty":
        one = c.cluster("none")
    else:
        one = c.cluster("none", c.endpoint(lab.origin().port, health="UNHEALTHY"),
                        common_lb_config={"healthy_panic_threshold": {"value": 0}})
    entry = check(lab, lab.http(one), (503, "no healthy upstream", "UH", "no_healthy_upstream"))
    assert (entry["host"], entry["cluster"], entry["attempts"]) == ("-", "none", "1")


def test_a_refused_connection_is_uf(lab):
    port = lab.refused_port()
    entry = check(lab, lab.http(c.cluster("dead", port)), (
        503, BEFORE + "remote connection failure", "UF",
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"))
    assert (entry["host"], entry["cluster"], entry["attempts"], entry["local"], entry["utfr"]) == (
        f"127.0.0.1:{port}", "dead", "1", "-", "delayed_connect_error:_Connection_refused")


def test_a_connection_that_does_not_come_is_uf(lab):
    port = lab.silent_port()
    entry = check(lab, lab.http(c.cluster("silent", port, connect_timeout="0.2s")), (
        503, BEFORE + "connection timeout", "UF", "upstream_reset_before_response_started{connection_timeout}"))
    assert (entry["host"], entry["local"], entry["utfr"]) == (f"127.0.0.1:{port}", "-", "-")


@pytest.mark.parametrize("case", ["untrusted", "san", "expired", "plaintext", "no client cert, TLS 1.2", "version"])
def test_a_failed_tls_handshake_is_uf_with_its_reason(lab, case):
    ca, other = lab.ca(), lab.ca("other")
    server = {"untrusted": other.issue, "expired": lambda: ca.issue(days=-1)}.get(case, ca.issue)()
    if case == "plaintext":
        origin = lab.origin(raw=lambda sock, _: (sock.recv(9), sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
    elif case.startswith("no client"):
        origin = lab.origin(tls=pki.server_context(server, ca, require=True, maximum=ssl.TLSVersion.TLSv1_2))
    else:
        origin = lab.origin(tls=pki.server_context(server, maximum=ssl.TLSVersion.TLSv1_2 if case == "version" else None))
    params = {"tls_minimum_protocol_version": "TLSv1_3", "tls_maximum_protocol_version": "TLSv1_3"} if case == "version" else None
    exact = pki.DOMAIN + ("someone-else" if case == "san" else "good")
    tls = c.upstream_tls(ca=ca.pem, exact=exact, params=params)
    proxy = lab.http(c.cluster("tls", origin.port, transport_socket=tls))
    entry = check(lab, proxy, (503, BEFORE + "remote connection failure", "UF",
                               "upstream_reset_before_response_started{remote_connection_failure|TLS_error:|*"))
    # The libraries word their errors differently; what a person searches for must be there in both.
    assert entry["utfr"].startswith("TLS_error:|") and " " not in entry["utfr"]
    word = {"san": "SAN", "expired": "certificate_has_expired", "untrusted": "CERTIFICATE_VERIFY_FAILED",
            "plaintext": "wrong_version_number", "version": "alert_protocol_version"}.get(case, "alert_handshake_failure")
    assert word.lower() in entry["utfr"].lower()
    assert entry["host"] == f"127.0.0.1:{origin.port}"
    assert proxy.stat("cluster.tls.upstream_cx_connect_fail") == 1


def test_a_client_certificate_missed_by_a_tls13_server_is_uc(lab):
    ca = lab.ca()
    origin = lab.origin(tls=pki.server_context(ca.issue(), ca, require=True))
    proxy = lab.http(c.cluster("tls", origin.port, transport_socket=c.upstream_tls(
        ca=ca.pem, params={"tls_maximum_protocol_version": "TLSv1_3"})))
    check(lab, proxy, (503, BEFORE + "connection termination", "UC",
                       "upstream_reset_before_response_started{connection_termination}"))


@pytest.mark.parametrize("way", ["close", "reset"])
def test_an_upstream_that_goes_before_its_answer_is_uc(lab, way):
    proxy = lab.http(lab.origin().on("/x", lambda x: getattr(x, way)()))
    entry = check(lab, proxy, (503, BEFORE + "connection termination", "UC",
                               "upstream_reset_before_response_started{connection_termination}"))
    assert entry["local"] != "-" and entry["utfr"] == "-" and entry["attempts"] == "1"


@pytest.mark.parametrize("head", [
    b"HTTP/1.1 200 OK\r\ncontent-le", b"HTTP/1.1 200", b"nonsense\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n", b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", b"HTTP/1.1 200 OK\r\ncontent-length: +2\r\n\r\nok",
    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\nok", b"HTTP/1.1 204 N\r\ncontent-length: 3\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nx : y\r\ncontent-length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nx: \0\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"".join(b"h%d: x\r\n" % i for i in range(101)) + b"content-length: 0\r\n\r\n",
    b"HTTP/1.1 100 C\r\ncontent-length: 3\r\n\r\nabc", b"HTTP/1.1 204 N\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"])
def test_a_broken_response_head_is_502_upe(lab, head):
    def script(x):
        x.send(head)
        x.close()
    proxy = lab.http(lab.origin().on("/x", script))
    check(lab, proxy, (502, BEFORE + "protocol error", "UPE", "upstream_reset_before_response_started{protocol_error}"))


@pytest.mark.parametrize("framing, more, way", [
    (b"content-length: 10\r\n\r\nabc", b"", "close"), (b"content-length: 10\r\n\r\nabc", b"", "reset"),
    (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"", "close"),
    (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"ZZ\r\n", "hang"),
    (b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", b"0\r\n", "close")])
def test_an_upstream_that_breaks_mid_body_is_upe(lab, framing, more, way):
    def script(x):
        x.send(b"HTTP/1.1 200 OK\r\n" + framing)
        client_has_body.wait(5)
        x.send(more)
        getattr(x, way)()
    client_has_body = threading.Event()
    proxy = lab.http(lab.origin().on("/x", script))
    client = lab.client(proxy.port)
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.reader.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 OK")
    while b"abc" not in client.reader.buffer:
        client.reader.fill()
    client_has_body.set()
    assert b"0\r\n\r\n" not in client.expect_close()
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"], entry["tx"]) == (
        "200", "UPE", "upstream_reset_after_response_started{protocol_error}", "3")


@pytest.mark.parametrize("code, body, flag, reason", [
    (h2.CANCEL, "remote reset", "UR", "remote_reset"), (h2.REFUSED_STREAM, "remote refused stream reset", "UR", "remote_refused_stream_reset")])
def test_a_stream_reset_by_an_h2_upstream_is_ur(lab, code, body, flag, reason):
    def answer(sock, stream):
        sock.sendall(h2.frame(h2.RST, 0, stream, code.to_bytes(4, "big")))
    origin = lab.origin(raw=h2.serve(answer))
    proxy = lab.http(c.cluster("h2", origin.port, typed_extension_protocol_options=c.http2()))
    check(lab, proxy, (503, BEFORE + body, flag, "upstream_reset_before_response_started{%s}" % reason))


def test_an_h2_upstream_that_goes_away_is_uc(lab):
    def answer(sock, stream):
        sock.sendall(h2.frame(h2.GOAWAY, 0, 0, (0).to_bytes(4, "big") * 2))
        return "close"
    origin = lab.origin(raw=h2.serve(answer))
    proxy = lab.http(c.cluster("h2", origin.port, typed_extension_protocol_options=c.http2()))
    client = lab.client(proxy.port)
    assert client.get("/").status == 503
    assert proxy.next_log()["flags"] in ("UC", "UR")


def test_an_h1_only_upstream_of_an_h2_cluster_is_upe(lab):
    origin = lab.origin()
    proxy = lab.http(c.cluster("h2", origin.port, typed_extension_protocol_options=c.http2()))
    check(lab, proxy, (502, BEFORE + "protocol error", "UPE", "upstream_reset_before_response_started{protocol_error}"))


def test_the_route_timeout_is_504_ut(lab):
    origin = lab.origin().on("/x", lambda x: x.hang())
    proxy = lab.http(origin, routes=[c.route("/", "origin", timeout="0.2s")])
    entry = check(lab, proxy, (504, "upstream request timeout", "UT", "response_timeout"))
    assert (entry["attempts"], entry["host"]) == ("1", f"127.0.0.1:{origin.port}") and entry["local"] != "-"
    origin.wait_connections(lambda n: n == 0)


def test_the_route_timeout_mid_body_cuts_the_answer(lab):
    def script(x):
        x.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        x.hang()
    proxy = lab.http(lab.origin().on("/x", script), routes=[c.route("/", "origin", timeout="0.3s")])
    answer = lab.client(proxy.port).get("/x")
    assert (answer.status, answer.body, answer.complete) == (200, b"abc", False)
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("200", "UT", "response_timeout")


def test_the_per_try_timeout_without_a_retry_left_is_ut(lab):
    policy = {"retry_on": "connect-failure", "num_retries": 1, "per_try_timeout": "0.2s"}
    proxy = lab.http(lab.origin().on("/x", lambda x: x.hang()), routes=[c.route("/", "origin", retry_policy=policy)])
    check(lab, proxy, (504, "upstream request timeout", "UT", "upstream_per_try_timeout"))


def test_the_per_try_timeout_with_retries_used_up_is_urx_ut(lab):
    policy = {"retry_on": "5xx", "num_retries": 1, "per_try_timeout": "0.2s"}
    origin = lab.origin().on("/x", lambda x: x.hang())
    proxy = lab.http(origin, routes=[c.route("/", "origin", retry_policy=policy)])
    entry = check(lab, proxy, (504, "upstream request timeout", "URX,UT", "upstream_per_try_timeout"))
    assert entry["attempts"] == "2" and len(origin.requests) == 2


def retrying(lab, one, retry_on="5xx,reset,connect-failure", retries=2, **fields):
    policy = {"retry_on": retry_on, "num_retries": retries, "retry_back_off": {"base_interval": "0.005s"}, **fields}
    name = one.name if hasattr(one, "name") else one["name"]
    return lab.http(one, routes=[c.route("/", name, retry_policy=policy)])


def test_retries_used_up_on_503_give_the_last_answer_and_urx(lab):
    origin = lab.origin().on("/x", lambda x: x.reply(503, b"mine"))
    proxy = retrying(lab, origin)
    client = lab.client(proxy.port)
    answer = client.get("/x")
    assert (answer.status, answer.text) == (503, "mine") and answer.get("x-envoy-upstream-service-time")
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"], entry["attempts"]) == ("URX", "via_upstream", "3")
    assert len(origin.requests) == 3


def test_retries_used_up_on_close_are_urx_uc(lab):
    proxy = retrying(lab, lab.origin().on("/x", lambda x: x.close()))
    check(lab, proxy, (503, RETRIED + "connection termination", "URX,UC",
                       "upstream_reset_before_response_started{connection_termination}"))


def test_retries_used_up_on_refusal_are_urx_uf(lab):
    proxy = retrying(lab, c.cluster("dead", lab.refused_port()))
    entry = check(lab, proxy, (
        503, RETRIED + "remote connection failure", "URX,UF",
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}"))
    assert entry["attempts"] == "3"


def test_an_answer_of_the_upstream_is_no_failure(lab):
    proxy = lab.http(lab.origin().on("/x", lambda x: x.reply(500, b"mine")))
    lab.client(proxy.port).get("/x")
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"], entry["tx"]) == ("500", "-", "via_upstream", "4")


def test_a_head_request_gets_no_body_of_a_local_answer(lab):
    proxy = lab.http(c.cluster("dead", lab.refused_port()))
    client = lab.client(proxy.port)
    answer = client.get("/x", method="HEAD")
    assert (answer.status, answer.get("content-length")) == (503, "98")
    assert client.get("/x", method="HEAD").status == 503
    assert proxy.next_log()["tx"] == "0"
