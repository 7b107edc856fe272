"""Corners of HTTP/1.1: what a client may send that most do not, and what must stay bounded when it does."""
import pytest
from support import config as c
from support import h2
from support.attack import Attack, limited, repeat

ANSWERS = {"direct": {"direct_response": {"status": 200, "body": {"inline_string": "x" * 4000}}},
           "redirect": {"redirect": {"path_redirect": "/" + "x" * 2000}}}


@pytest.mark.parametrize("kind", ANSWERS)
def test_pipelined_requests_whose_answers_nobody_reads_are_held_back_or_cut(lab, kind):
    """CVE-2020-8661."""
    proxy = limited(lab, lab.origin(), routes=[c.route("/made", ANSWERS[kind]), c.route("/", "origin")])
    attack = Attack(lab, proxy, raw=True, receive_buffer=4096, timeout=1)
    try:
        for piece in repeat(b"GET /made HTTP/1.1\r\nhost: a\r\n\r\n", 50000):
            attack.peer.send(piece)
    except OSError:
        pass  # held back, or the connection is gone
    attack.stays_bounded()


def upstream(lab, up="h1", script=None, routes=None, cluster=None, **hcm):
    """(origin, proxy): an origin whose answer to everything is the script's, behind a proxy."""
    origin = lab.origin(raw=h2.speak if up == "h2" else None)
    origin.default = script or origin.default
    options = {"typed_extension_protocol_options": c.http2()} if up == "h2" else {}
    return origin, lab.http(c.cluster("origin", origin.port, **options, **(cluster or {})), routes=routes, **hcm)


# HTTP/1.0

def test_http_1_0_is_refused_unless_it_is_allowed(lab):
    origin, proxy = upstream(lab)
    client = lab.client(proxy.port).send("GET / HTTP/1.0\r\nhost: a\r\n\r\n")
    assert client.response().status == 426 and client.expect_close() == b""
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("426", "DPE", "low_version") and not origin.requests


@pytest.mark.parametrize("host", ["given", "by default"])
def test_http_1_0_where_it_is_allowed_is_answered_and_closed(lab, host):
    origin, proxy = upstream(lab, http_protocol_options={"accept_http_10": True, "default_host_for_http_10": "fallback"})
    client = lab.client(proxy.port).send("GET /p HTTP/1.0\r\n" + ("host: a\r\n" if host == "given" else "") + "\r\n")
    answer = client.response()
    assert (answer.status, answer.text, answer.get("connection")) == (200, "origin", "close") and client.expect_close() == b""
    seen, = origin.requests
    assert seen.head.split(b"\r\n")[0] == b"GET /p HTTP/1.1" and seen.get("host") == ("a" if host == "given" else "fallback")
    assert proxy.next_log()["protocol"] == "HTTP/1.0"


def test_http_1_0_without_a_host_and_without_a_default_is_400(lab):
    _, proxy = upstream(lab, http_protocol_options={"accept_http_10": True})
    assert lab.client(proxy.port).send("GET / HTTP/1.0\r\n\r\n").response().status == 400
    assert proxy.next_log()["details"] == "missing_host_header"


def test_http_1_0_with_keep_alive_is_kept(lab):
    _, proxy = upstream(lab, http_protocol_options={"accept_http_10": True})
    client = lab.client(proxy.port)
    for _ in range(3):
        answer = client.send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").response()
        assert (answer.text, answer.get("connection")) == ("origin", "keep-alive")


def test_an_answer_without_a_length_ends_with_the_connection_for_http_1_0(lab):
    _, proxy = upstream(lab, script=lambda x: x.chunked([b"one", b"two"]), http_protocol_options={"accept_http_10": True})
    answer = lab.client(proxy.port).send("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n").response()
    assert (answer.text, answer.get("transfer-encoding"), answer.get("connection")) == ("onetwo", None, "close")


# Targets and framing

@pytest.mark.parametrize("target, path", [("http://b:81/p?q=1", "/p?q=1"), ("http://b:81", "/"), ("HTTP://b:81/p", "/p")])
def test_the_absolute_form_goes_before_the_host(lab, target, path):
    """RFC 9112 3.2.2."""
    origin, proxy = upstream(lab)
    assert lab.client(proxy.port).get(target, host="a").status == 200
    seen, = origin.requests
    assert (seen.target, [v for k, v in seen.headers if k == "host"]) == (path, ["b:81"])


def test_the_absolute_form_with_a_query_and_no_path_is_refused(lab):
    """UNLIKE ENVOY, which finds no route for it."""
    origin, proxy = upstream(lab)
    assert lab.client(proxy.port).get("http://b:81?q").status == 400
    assert proxy.next_log()["details"] == "http1.invalid_url" and not origin.requests


@pytest.mark.parametrize("extension", [";a", ";a=b", ' ; a = "x;y"', ';a="\\""', ";" + "x" * 500])
def test_chunk_extensions_are_dropped(lab, extension):
    origin, proxy = upstream(lab, script=lambda x: x.reply(200, x.read_body()))
    client = lab.client(proxy.port)
    for _ in range(2):
        client.send(f"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3{extension}\r\nabc\r\n0{extension}\r\n\r\n")
        assert client.response().text == "abc"
    assert origin.connections == 1


def test_chunk_extensions_without_end_are_refused(lab):
    origin, proxy = upstream(lab, script=lambda x: x.reply(200, x.read_body()))
    attack = Attack(lab, proxy, raw=True)
    attack.peer.send("POST /flood HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;")
    attack.send_all(repeat(b"x" * 1024, 4096))
    assert attack.log_of("/flood")["flags"] == "DPE"
    attack.stays_bounded()


def test_chunk_extensions_on_every_small_chunk_cost_little(lab):
    """CVE-2023-39326: many bytes on the wire for few of the body."""
    _, proxy = upstream(lab, script=lambda x: x.reply(200, str(len(x.read_body())).encode()))
    attack = Attack(lab, proxy, raw=True)
    attack.peer.send("POST /flood HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
    attack.send_all(repeat(b"1;" + b"x" * 200 + b"\r\na\r\n", 20000))
    attack.peer.send_slowly_from_thread(b"0\r\n\r\n")
    assert attack.peer.response().text in ("20000", "Bad Request")
    attack.stays_bounded()


@pytest.mark.parametrize("up", ["h1", "h2"])
def test_many_small_chunks_arrive_whole(lab, up):
    def script(x):
        body = x.read_body()
        x.reply(200, b"%d %s" % (len(body), body[-3:]))
    _, proxy = upstream(lab, up, script)
    attack = Attack(lab, proxy, raw=True)
    attack.peer.send("POST /many HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n")
    attack.send_all(repeat(b"1\r\na\r\n", 49997))
    attack.peer.send(b"3\r\nxyz\r\n0\r\n\r\n")
    assert attack.peer.response().text == "50000 xyz"
    attack.stays_bounded()


# An answer before the end of its request

@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_before_the_end_of_the_request_is_passed_and_both_connections_close(lab, framing):
    def early(x):
        x.body_read = True
        x.reply(413, b"too much")
        x.hang()
    origin, proxy = upstream(lab)
    origin.on("/early", early)
    client = lab.client(proxy.port)
    length, piece = ("content-length: 1000000", b"abc") if framing == "length" else ("transfer-encoding: chunked", b"3\r\nabc\r\n")
    client.send(f"POST /early HTTP/1.1\r\nhost: a\r\n{length}\r\n\r\n").send(piece)
    answer = client.response()
    assert (answer.status, answer.text, answer.get("connection")) == (413, "too much", "close")
    client.closed_or_reset()
    origin.wait_connections(lambda n: n == 0)
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"]) == ("413", "-")
    assert lab.client(proxy.port).get("/").status == 200 and origin.connections == 2


# Requests per connection

@pytest.mark.parametrize("down", ["h1", "h2"])
def test_a_client_is_told_to_go_after_so_many_requests(lab, down):
    _, proxy = upstream(lab, common_http_protocol_options={"max_requests_per_connection": 3})
    client = lab.client(proxy.port)
    if down == "h1":
        assert [client.get("/").get("connection") for _ in range(3)] == [None, None, "close"] and client.expect_close() == b""
        return
    peer = h2.Client(client)
    assert [peer.get("/").status for _ in range(3)] == [200] * 3
    assert peer.to_end() == h2.NO_ERROR and peer.goaways[-1][0] in (5, (1 << 31) - 1)


@pytest.mark.parametrize("up", ["h1", "h2"])
def test_an_upstream_connection_carries_so_many_requests(lab, up):
    protocol = {"http2_protocol_options": {}} if up == "h2" else {"http_protocol_options": {}}
    options = c.http_options(explicit_http_config=protocol, common_http_protocol_options={"max_requests_per_connection": 2})
    origin = lab.origin(raw=h2.speak if up == "h2" else None)
    proxy = lab.http(c.cluster("origin", origin.port, typed_extension_protocol_options=options))
    client = lab.client(proxy.port)
    assert [client.get("/").status for _ in range(5)] == [200] * 5
    assert origin.connections == 3 and proxy.stat("cluster.origin.upstream_cx_max_requests") == 2
    origin.wait_connections(lambda n: n == 1)
