"""What a client does wrong, or a timer decides: status, body, connection, access log (flags.md section 2)."""
import time

import pytest
from support import config as c

ORDINARY = "http.test.downstream_rq_total"


def exchange(lab, proxy, data, half_close=False):
    client = lab.client(proxy.port)
    client.send(data)
    if half_close:
        client.half_close()
    return client, client.response()


def refused(lab, proxy, data, status, body, details, flag="DPE"):
    """The answer carries connection: close, and the connection ends within 1 s and a bit."""
    client, answer = exchange(lab, proxy, data)
    assert (answer.status, answer.text, answer.get("connection")) == (status, body, "close")
    started = time.monotonic()
    assert client.expect_close() == b""
    assert time.monotonic() - started < 3
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == (str(status), flag, details)
    return entry


BAD = "GET / HTTP/1.1\r\nhost: a\r\n"


@pytest.mark.parametrize("data", [
    "GET /p HTTP/1.10\r\nhost: a\r\n\r\n", "GET /a b HTTP/1.1\r\nhost: a\r\n\r\n", "get / HTTP/1.1\r\nhost: a\r\n\r\n",
    "FOO / HTTP/1.1\r\nhost: a\r\n\r\n", "GET p HTTP/1.1\r\nhost: a\r\n\r\n", " GET / HTTP/1.1\r\nhost: a\r\n\r\n",
    "GET /\xe9 HTTP/1.1\r\nhost: a\r\n\r\n", BAD + "x : y\r\n\r\n", BAD + "no colon\r\n\r\n", BAD + ": empty\r\n\r\n",
    BAD + "a(b: c\r\n\r\n", BAD + ":path: /x\r\n\r\n", BAD + "content-length: 3\r\ncontent-length: 3\r\n\r\nabc",
    BAD + "content-length: 3, 3\r\n\r\nabc", BAD + "content-length: +3\r\n\r\nabc", BAD + "content-length: -3\r\n\r\nabc",
    BAD + "content-length: 0x3\r\n\r\nabc", BAD + "content-length:\r\n\r\n", BAD + "content-length: 18446744073709551616\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"])
def test_a_malformed_head_is_400_dpe(lab, data):
    entry = refused(lab, lab.http(lab.origin()), data, 400, "Bad Request", "http1.codec_error")
    assert (entry["method"], entry["path"], entry["tx"]) == ("-", "-", "11")


@pytest.mark.parametrize("data, status, body, details", [
    (BAD + "x: \0\r\n\r\n", 400, "Bad Request", "http1.invalid_characters"),
    (BAD + "x: \x7f\r\n\r\n", 400, "Bad Request", "http1.invalid_characters"),
    (BAD + "x\0: a\r\n\r\n", 400, "Bad Request", "http1.invalid_characters"),
    ("GET /\x01 HTTP/1.1\r\nhost: a\r\n\r\n", 400, "Bad Request", "http1.invalid_characters"),
    (BAD + "content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400, "Bad Request",
     "http1.content_length_and_chunked_not_allowed"),
    (BAD + "transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", 400, "Bad Request",
     "http1.content_length_and_chunked_not_allowed"),
    (BAD + "transfer-encoding: identity\r\ncontent-length: 3\r\n\r\n", 400, "Bad Request",
     "http1.content_length_and_chunked_not_allowed"),
    *[(BAD + f"transfer-encoding: {te}\r\n\r\n0\r\n\r\n", 501, "Not Implemented", "http1.invalid_transfer_encoding")
      for te in ("chunked, gzip", "gzip, chunked", "xchunked", "identity", "", "chunked;x", "chunked, chunked")],
    (BAD + "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 501, "Not Implemented",
     "http1.invalid_transfer_encoding"),
    (BAD + "transfer-encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400, "Bad Request", "http1.invalid_characters"),
    ("GET / HTTP/1.0\r\nhost: a\r\n\r\n", 426, "Upgrade Required", "low_version"),
    ("GET / HTTP/1.2\r\nhost: a\r\n\r\n", 426, "Upgrade Required", "low_version"),
    ("GET / HTTP/2.0\r\nhost: a\r\n\r\n", 426, "Upgrade Required", "low_version"),
    ("GET / HTTP/1.1\r\nhost: a<b\r\n\r\n", 400, "Bad Request", "http.invalid_authority"),
    ("GET / HTTP/1.1\r\nhost: a\x7cb{\r\n\r\n", 400, "Bad Request", "http.invalid_authority"),
    ("GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400, "Bad Request", "http1.invalid_scheme"),
    ("GET * HTTP/1.1\r\nhost: a\r\n\r\n", 400, "Bad Request", "http1.invalid_url"),
    ("CONNECT b.com HTTP/1.1\r\nhost: b.com\r\n\r\n", 400, "Bad Request", "http1.invalid_url"),
    ("CONNECT b.com:443 HTTP/1.1\r\nhost: b.com\r\ncontent-length: 3\r\n\r\nabc", 400, "Bad Request", "http1.body_disallowed"),
    (BAD + "connection: x-forwarded-for\r\n\r\n", 400, "Bad Request", "http1.connection_header_rejected"),
    (BAD + "x: " + "y" * 61440 + "\r\n\r\n", 431, "Request Header Fields Too Large", "http1.headers_too_large"),
    ("GET /" + "y" * 61440 + " HTTP/1.1\r\nhost: a\r\n\r\n", 431, "Request Header Fields Too Large", "http1.headers_too_large"),
    (BAD + "".join(f"h{i}: x\r\n" for i in range(100)) + "\r\n", 431, "Request Header Fields Too Large", "http1.too_many_headers"),
])
def test_a_head_that_must_not_pass_is_dpe(lab, data, status, body, details):
    refused(lab, lab.http(lab.origin()), data, status, body, details)


def test_a_head_just_within_the_limits_passes(lab):
    client = lab.client(lab.http(lab.origin()).port)
    assert client.send(BAD + "".join(f"h{i}: x\r\n" for i in range(99)) + "\r\n").response().status == 200
    assert client.send(BAD + "x: " + "y" * 59000 + "\r\n\r\n").response().status == 200


@pytest.mark.parametrize("data, status, details, flag", [
    ("GET / HTTP/1.1\r\n\r\n", 400, "missing_host_header", "-"),
    (BAD.replace("GET /", "GET /x#y") + "\r\n", 400, "path_normalization_failed", "-"),
    (BAD.replace("GET /", "GET /a%00b") + "\r\n", 400, "path_normalization_failed", "-"),
    (BAD + "connection: host\r\n\r\n", 400, "missing_host_header", "-"),
    (BAD + "connection: upgrade\r\nupgrade: foo\r\n\r\n", 403, "upgrade_failed", "-"),
])
def test_a_request_refused_after_its_head_has_an_empty_body(lab, data, status, details, flag):
    refused(lab, lab.http(lab.origin(), normalize_path=True), data, status, "", details, flag)


def test_options_star_is_404_and_keeps_the_connection(lab):
    proxy = lab.http(lab.origin())
    client, answer = exchange(lab, proxy, "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (answer.status, answer.text) == (404, "") and client.get("/").status == 200
    assert proxy.next_log()["details"] == "absolute_path_rejected"


@pytest.mark.parametrize("chunk", [b" 3\r\nabc", b"0x3\r\nabc", b"+3\r\nabc", b"-1\r\n", b"ZZ\r\n", b"\r\nabc", b"11111111111111111\r\n",
                                   b"3\nabc\r\n", b"3;a\nb\r\nabc\r\n", b"3\r\nabc0\r\n\r\n"])
def test_a_bad_chunk_is_400_and_the_upstream_connection_goes(lab, chunk):
    origin = lab.origin()
    proxy = lab.http(origin)
    client = lab.client(proxy.port)
    client.send("POST /up HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n")
    origin.wait_requests(1)
    client.send(chunk)
    answer = client.response()
    assert (answer.status, answer.text, answer.get("connection")) == (400, "Bad Request", "close")
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"], entry["path"]) == ("400", "DPE", "http1.codec_error", "/up")
    origin.wait_connections(lambda n: n == 0)


def test_garbage_after_a_good_request_hurts_only_itself(lab):
    proxy = lab.http(lab.origin())
    client, answer = exchange(lab, proxy, BAD + "\r\nnonsense\r\n\r\n")
    assert answer.status == 200 and client.response().status == 400


@pytest.mark.parametrize("way", ["close", "reset", "half_close"])
def test_a_client_that_leaves_while_waiting_is_dc(lab, way):
    origin = lab.origin().on("/x", lambda x: x.hang())
    proxy = lab.http(origin)
    client = lab.client(proxy.port)
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
    origin.wait_requests(1)
    getattr(client, way)()
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("0", "DC", "downstream_remote_disconnect")
    assert entry["host"] == f"127.0.0.1:{origin.port}"
    origin.wait_connections(lambda n: n == 0)


def test_a_client_that_leaves_mid_answer_is_dc_with_what_it_got(lab):
    def script(x):
        x.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        x.hang()
    origin = lab.origin().on("/x", script)
    proxy = lab.http(origin)
    client = lab.client(proxy.port)
    client.send("GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
    client.reader.until(b"abc")
    client.close()
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"], entry["tx"]) == ("200", "DC", "downstream_remote_disconnect", "3")
    origin.wait_connections(lambda n: n == 0)


def test_a_client_that_leaves_mid_body_is_dc(lab):
    origin = lab.origin()
    proxy = lab.http(origin)
    client = lab.client(proxy.port)
    client.send("POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nabc")
    origin.wait_requests(1)
    client.close()
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"], entry["rx"]) == ("0", "DC", "downstream_remote_disconnect", "3")
    origin.wait_connections(lambda n: n == 0)


def test_a_client_that_leaves_mid_head_is_logged_and_one_that_says_nothing_is_not(lab):
    proxy = lab.http(lab.origin())
    lab.client(proxy.port).close()
    client = lab.client(proxy.port)
    client.send("GET /x HT")
    client.close()
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"], entry["method"]) == ("0", "DC", "downstream_remote_disconnect", "-")


def test_the_request_headers_timeout_is_408(lab):
    proxy = lab.http(lab.origin(), request_headers_timeout="0.2s")
    refused(lab, proxy, "GET / HTTP/1.1\r\nhos", 408, "request header timeout", "request_header_timeout", "-")


def test_the_request_timeout_is_408(lab):
    proxy = lab.http(lab.origin(), request_timeout="0.3s")
    refused(lab, proxy, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc", 408, "request timeout",
            "request_overall_timeout", "-")


def test_the_stream_idle_timeout_while_waiting_is_504_si(lab):
    proxy = lab.http(lab.origin().on("/x", lambda x: x.hang()), stream_idle_timeout="0.3s")
    client, answer = exchange(lab, proxy, "GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (answer.status, answer.text, answer.get("connection")) == (504, "stream timeout", None)
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("504", "SI", "stream_idle_timeout")


def test_the_stream_idle_timeout_of_an_unfinished_request_is_408_si(lab):
    proxy = lab.http(lab.origin(), stream_idle_timeout="0.3s")
    refused(lab, proxy, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc", 408, "stream timeout",
            "stream_idle_timeout", "SI")


def test_the_stream_idle_timeout_mid_answer_cuts_it(lab):
    def script(x):
        x.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        x.hang()
    proxy = lab.http(lab.origin().on("/x", script), stream_idle_timeout="0.3s")
    _, answer = exchange(lab, proxy, "GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (answer.status, answer.body, answer.complete) == (200, b"abc", False)
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("200", "SI", "stream_idle_timeout")


def test_the_route_idle_timeout_overrides_the_stream_idle_timeout(lab):
    proxy = lab.http(lab.origin().on("/x", lambda x: x.hang()), stream_idle_timeout="60s",
                     routes=[c.route("/", "origin", idle_timeout="0.3s")])
    _, answer = exchange(lab, proxy, "GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (answer.status, answer.text) == (504, "stream timeout")


def test_the_max_stream_duration_is_504_without_flag(lab):
    proxy = lab.http(lab.origin().on("/x", lambda x: x.hang()), common_http_protocol_options={"max_stream_duration": "0.3s"})
    _, answer = exchange(lab, proxy, "GET /x HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (answer.status, answer.text, answer.get("connection")) == (504, "downstream duration timeout", None)
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"]) == ("-", "max_duration_timeout")


def test_an_idle_connection_is_closed_and_not_logged(lab):
    proxy = lab.http(lab.origin(), common_http_protocol_options={"idle_timeout": "0.3s"})
    assert lab.client(proxy.port).expect_close() == b""
    assert proxy.stat("http.test.downstream_cx_idle_timeout") == 1


def test_an_idle_connection_after_a_request_is_closed_too(lab):
    proxy = lab.http(lab.origin(), common_http_protocol_options={"idle_timeout": "0.3s"}, drain_timeout="0.2s")
    client = lab.client(proxy.port)
    assert client.get("/").status == 200
    assert client.expect_close() == b""


def test_max_requests_per_connection_ends_it_politely(lab):
    proxy = lab.http(lab.origin(), common_http_protocol_options={"max_requests_per_connection": 2})
    client = lab.client(proxy.port)
    assert client.get("/").get("connection") is None
    assert client.get("/").get("connection") == "close" and client.expect_close() == b""


def test_max_connection_duration_ends_it_politely(lab):
    proxy = lab.http(lab.origin(), common_http_protocol_options={"max_connection_duration": "0.3s"}, drain_timeout="0.5s")
    assert lab.client(proxy.port).expect_close() == b""
    client = lab.client(proxy.port)
    assert client.get("/").status == 200
    assert client.expect_close() == b""


def test_a_grpc_request_gets_its_local_answer_as_grpc(lab):
    proxy = lab.http(c.cluster("none"))
    _, answer = exchange(lab, proxy, "POST /s/m HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n")
    assert (answer.status, answer.get("grpc-status"), answer.text) == (200, "14", "")
    assert answer.get("grpc-message") == "no healthy upstream"
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("200", "UH", "no_healthy_upstream")
