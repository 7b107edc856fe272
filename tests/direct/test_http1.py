"""HTTP/1.1 through one listener and one cluster."""
import re

import pytest
from support import config as c
from support import h2
from support.wait import eventually

MIB = 1 << 20


def test_a_request_is_forwarded_and_answered(lab):
    origin = lab.origin()
    proxy = lab.http(origin)
    answer = lab.client(proxy.port).get("/p?q=1", headers=[("X-Mixed", "Case")])
    assert (answer.status, answer.reason, answer.text) == (200, "OK", "origin")
    assert answer.get("server") == "envoy" and answer.get("date")
    assert [k for k, _ in answer.headers] == ["x-origin", "content-length", "x-envoy-upstream-service-time", "date", "server"]
    assert re.fullmatch(r"\d+", answer.get("x-envoy-upstream-service-time"))
    seen = origin.requests[0]
    assert (seen.method, seen.target) == ("GET", "/p?q=1")
    assert [k for k, _ in seen.headers] == ["host", "x-mixed", "x-forwarded-proto", "x-request-id",
                                            "x-envoy-expected-rq-timeout-ms"]
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", seen.get("x-request-id"))


def test_one_connection_carries_many_requests_on_both_sides(lab):
    origin = lab.origin()
    proxy = lab.http(origin)
    client = lab.client(proxy.port)
    for i in range(50):
        assert client.get(f"/{i}").status == 200
    assert [x.target for x in origin.requests] == [f"/{i}" for i in range(50)]
    assert origin.connections == 1
    assert proxy.stat("http.test.downstream_cx_total") == 1


def test_pipelined_requests_are_answered_in_order(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, x.target.encode())
    proxy = lab.http(origin)
    client = lab.client(proxy.port)
    client.send("".join(f"GET /{i} HTTP/1.1\r\nhost: a\r\n\r\n" for i in range(20)))
    assert [client.response().text for _ in range(20)] == [f"/{i}" for i in range(20)]


def test_a_pipelined_body_does_not_swallow_the_next_request(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, x.target.encode() + x.read_body())
    client = lab.client(lab.http(origin).port)
    client.send("POST /1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcPOST /2 HTTP/1.1\r\nhost: a\r\n"
                "transfer-encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\n\r\nGET /3 HTTP/1.1\r\nhost: a\r\n\r\n")
    assert [client.response().text for _ in range(3)] == ["/1abc", "/2def", "/3"]


def test_a_request_in_single_bytes_is_understood(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, x.read_body())
    client = lab.client(lab.http(origin).port)
    for byte in b"POST /x HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n5;e=1\r\nhello\r\n0\r\nt: 1\r\n\r\n":
        client.send(bytes([byte]))
    assert client.response().text == "hello"


@pytest.mark.parametrize("cut", [1, 2])
def test_a_request_cut_after_its_first_bytes_is_not_taken_for_http2(lab, cut):
    """They are the first bytes of HTTP/2's preface too."""
    origin = lab.origin()
    proxy = lab.http(origin)
    client = lab.client(proxy.port)
    request = "PROPFIND /x HTTP/1.1\r\nhost: a\r\n\r\n" if cut > 1 else "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"
    for piece in (request[:cut], request[cut:]):
        client.send(piece)
        sent = len(request) if piece != request[:cut] else cut
        eventually(lambda sent=sent: proxy.stat("http.test.downstream_cx_rx_bytes_total") == sent)
    assert client.response().text == "origin"
    assert origin.requests[0].method == request.split()[0]


@pytest.mark.parametrize("cut", [1, 15, 16, 20])
def test_http2s_preface_may_come_in_two_pieces(lab, cut):
    proxy = lab.http(lab.origin())
    client = lab.client(proxy.port)
    client.send(h2.PREFACE[:cut])
    eventually(lambda: proxy.stat("http.test.downstream_cx_rx_bytes_total") == cut)
    client.send(h2.PREFACE[cut:] + h2.frame(h2.SETTINGS) + h2.frame(h2.HEADERS, 5, 1, h2.request_block()))
    frames = h2.Frames(client.reader, client.send)
    assert frames.until(h2.DATA)[3] == b"origin"


def test_the_beginning_of_both_protocols_times_out_as_http1(lab):
    proxy = lab.http(lab.origin(), request_headers_timeout="0.2s")
    client = lab.client(proxy.port)
    client.send("P")
    answer = client.response()
    assert (answer.status, answer.text) == (408, "request header timeout")


def test_a_chunked_request_stays_chunked_and_a_chunked_answer_too(lab):
    origin = lab.origin().on("/c", lambda x: x.chunked([b"one", b"two"], [("x-a", "1")]))
    client = lab.client(lab.http(origin).port)
    client.send("POST /c HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    answer = client.response()
    assert (answer.text, answer.get("transfer-encoding"), answer.get("content-length")) == ("onetwo", "chunked", None)
    assert origin.requests[0].read_body() == b"abcde"
    assert origin.requests[0].get("transfer-encoding") == "chunked"
    assert client.get("/again").status == 200


@pytest.mark.parametrize("enabled", [False, True])
def test_trailers_towards_an_h1_side_follow_enable_trailers(lab, enabled):
    """ENVOY: trailers of the answer pass when the listener has them enabled; the cluster decides for requests."""
    origin = lab.origin().on("/t", lambda x: x.chunked([b"x"], trailers=[("x-end", "1")]))
    proxy = lab.http(origin, http_protocol_options={"enable_trailers": enabled})
    client = lab.client(proxy.port)
    client.send("POST /t HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx-req: 1\r\n\r\n")
    assert client.response().trailers == []  # the cluster did not enable them, so the codec never saw them
    assert origin.requests[0].trailers == []


@pytest.mark.parametrize("trailer", [b"nocolon", b"b(d: 1", b"x: \x01"])
def test_a_broken_request_trailer_is_refused_even_where_trailers_are_dropped(lab, trailer):
    client = lab.client(lab.http(lab.origin()).port)
    client.send(b"POST /t HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n" + trailer + b"\r\n\r\n")
    assert client.response().status == 400


def test_expect_100_is_answered_by_the_proxy_by_default(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, x.read_body())
    client = lab.client(lab.http(origin).port)
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert client.reader.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue"
    client.send("ok")
    assert client.response().text == "ok"
    assert origin.requests[0].get("expect") is None


def test_expect_100_is_forwarded_with_proxy_100_continue(lab):
    def ask(x):
        x.send("HTTP/1.1 100 Continue\r\nx-from: origin\r\n\r\n")
        x.reply(200, x.read_body())
    origin = lab.origin().on("/ask", ask)
    client = lab.client(lab.http(origin, proxy_100_continue=True).port)
    client.send("POST /ask HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    head = client.reader.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 100 Continue") and b"x-from: origin" in head
    client.send("ok")
    assert client.response().text == "ok"
    assert origin.requests[0].get("expect") == "100-continue"


def test_expect_100_may_be_refused_by_the_origin(lab):
    def refuse(x):
        x.send("HTTP/1.1 417 No\r\ncontent-length: 2\r\n\r\nno")
        x.hang()
    client = lab.client(lab.http(lab.origin().on("/no", refuse), proxy_100_continue=True).port)
    client.send("POST /no HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    answer = client.response()
    assert (answer.status, answer.text, answer.get("connection")) == (417, "no", "close")


@pytest.mark.parametrize("raw, status, length", [
    ("HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", 200, "7"), ("HTTP/1.1 404 N\r\ncontent-length: 0\r\n\r\n", 404, "0")])
def test_head_keeps_the_content_length_and_the_connection(lab, raw, status, length):
    client = lab.client(lab.http(lab.origin().on("/h", lambda x: x.send(raw))).port)
    for _ in range(2):
        answer = client.get("/h", method="HEAD")
        assert (answer.status, answer.get("content-length")) == (status, length)
    assert client.get("/after").text == "origin"


def test_204_and_304_have_no_body_and_keep_the_connection(lab):
    origin = lab.origin().on("/204", lambda x: x.send("HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n"))
    origin.on("/304", lambda x: x.send("HTTP/1.1 304 No\r\ncontent-length: 5\r\netag: e\r\n\r\n"))
    client = lab.client(lab.http(origin).port)
    answer = client.get("/204")
    assert (answer.status, answer.get("content-length"), answer.get("transfer-encoding")) == (204, None, None)
    answer = client.get("/304")
    assert (answer.status, answer.get("content-length"), answer.get("etag")) == (304, "5", "e")
    assert client.get("/").text == "origin" and origin.connections == 1


def test_an_answer_without_length_becomes_chunked_and_the_client_stays(lab):
    def until_close(x):
        x.send("HTTP/1.1 200 OK\r\n\r\nto the end")
        x.close()
    client = lab.client(lab.http(lab.origin().on("/c", until_close)).port)
    answer = client.get("/c")
    assert (answer.text, answer.get("transfer-encoding"), answer.complete) == ("to the end", "chunked", True)
    assert client.get("/").status == 200


def test_connection_close_from_the_client_is_honoured(lab):
    client = lab.client(lab.http(lab.origin()).port)
    answer = client.get("/", headers=[("Connection", "close")])
    assert answer.get("connection") == "close" and client.expect_close() == b""


def test_connection_close_from_the_origin_costs_only_its_connection(lab):
    def reply_and_close(x):
        x.reply(200, b"bye", [("connection", "close")])
        x.close()
    origin = lab.origin()
    origin.default = reply_and_close
    client = lab.client(lab.http(origin).port)
    for _ in range(5):
        answer = client.get("/")
        assert (answer.text, answer.get("connection")) == ("bye", None)
    assert origin.connections == 5


def test_a_long_upload_arrives_whole_in_bounded_memory(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, str(sum(x.read_body())).encode())
    proxy = lab.http(origin)
    body = bytes(range(256)) * (10 * MIB // 256)
    client = lab.client(proxy.port)
    assert client.get("/", method="POST", body=b"warm").status == 200
    before = proxy.rss_kib()
    assert client.get("/up", method="POST", body=body).text == str(sum(body))
    assert proxy.rss_kib() - before < proxy.rss_allowance_kib()


def test_an_upload_to_an_origin_that_does_not_read_is_held_back(lab):
    def slow(x):
        eventually(lambda: ready, 20)
        x.reply(200, str(len(x.read_body())).encode())
    ready = []
    origin = lab.origin(receive_buffer=65536).on("/slow", slow)
    proxy = lab.http(origin)
    client = lab.client(proxy.port, timeout=20)
    client.get("/")
    before = proxy.rss_kib()
    body = b"x" * (40 * MIB)  # more than the kernel's own buffers on the way
    client.send(f"POST /slow HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n\r\n")
    thread = client.send_slowly_from_thread(body)
    origin.wait_requests(2)
    thread.join(0.5)
    held, grown = thread.is_alive(), proxy.rss_kib() - before
    ready.append(1)
    assert grown < proxy.rss_allowance_kib()
    assert held, "40 MiB vanished into a path whose end does not read"
    assert client.response().text == str(len(body))


@pytest.mark.parametrize("way", ["length", "chunked"])
def test_a_long_download_for_a_slow_reader_is_held_back(lab, way):
    body = bytes(range(256)) * (10 * MIB // 256)
    parts = [body[i:i + 65536] for i in range(0, len(body), 65536)]
    origin = lab.origin().on("/d", lambda x: x.reply(200, body) if way == "length" else x.chunked(parts))
    proxy = lab.http(origin)
    client = lab.client(proxy.port, receive_buffer=16384)
    client.get("/")
    before = proxy.rss_kib()
    client.send("GET /d HTTP/1.1\r\nhost: a\r\n\r\n")
    client.reader.until(b"\r\n\r\n")
    origin.wait_requests(2)
    highest = 0
    for _ in range(20):
        client.reader.fill()
        highest = max(highest, proxy.rss_kib())
    assert highest - before < proxy.rss_allowance_kib()
    got = len(client.reader.buffer)
    while got < len(body):
        client.reader.fill()
        got = len(client.reader.buffer)
    assert body[-1000:] in client.reader.buffer


def test_an_early_answer_ends_the_upload(lab):
    def early(x):
        x.send("HTTP/1.1 413 No\r\ncontent-length: 3\r\n\r\nbig")
        x.hang()
    proxy = lab.http(lab.origin().on("/early", early))
    client = lab.client(proxy.port)
    client.send("POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\nxxx")
    answer = client.response()
    assert (answer.status, answer.text, answer.get("connection")) == (413, "big", "close")
    assert client.expect_close() == b""
    assert proxy.next_log()["code"] == "413"


def test_informational_answers_are_dropped_unless_asked_for(lab):
    def hints(x):
        x.send("HTTP/1.1 103 Early\r\nlink: x\r\n\r\n")
        x.reply(200, b"done")
    client = lab.client(lab.http(lab.origin().on("/103", hints)).port)
    answer = client.get("/103")
    assert (answer.text, answer.informational) == ("done", [])


def test_a_unix_socket_serves_both_sides(lab):
    origin = lab.origin(path=str(lab.directory / "up.sock"))
    path = str(lab.directory / "down.sock")
    proxy = lab.proxy(c.bootstrap([c.listener("uds", path, c.hcm([c.route("/", "o")]))], [c.cluster("o", origin.port)]))
    assert lab.client(path).get("/").text == "origin"
    assert proxy.next_log()["host"] == origin.port


def test_ipv6_serves_both_sides(lab):
    from support.wait import free_port
    origin = lab.origin(host="::1")
    port = free_port("::1")
    lab.proxy(c.bootstrap([c.listener("six", port, c.hcm([c.route("/", "o")]), host="::1")],
                          [c.cluster("o", c.endpoint(origin.port, "::1"))]))
    assert lab.client(port, host="::1").get("/").text == "origin"
