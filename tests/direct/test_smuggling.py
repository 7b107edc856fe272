"""Requests that two parties could read differently, or that would carry a second one inside (security-cases 8 and 14).

Each is refused at decode, with nothing forwarded, or forwarded in the one form in which it can only be read one way.
"""
import pytest
from support import config as c
from support import h2
from support.attack import Attacker, limited
from support.wait import eventually

EVIL = b"GET /evil HTTP/1.1\r\nhost: a\r\n\r\n"


def post(*fields, body=b"abc"):
    return {"method": "POST", "fields": fields, "body": body}


def field(name, value):
    return {"fields": [(name, value)]}


def trailer(name, value):
    return {"method": "POST", "trailers": [(name, value)]}


# HTTP/2 requests that reset their stream with PROTOCOL_ERROR, and of which nothing is forwarded.
REFUSED = {
    "CR LF in a value": field("x", "a\r\ninjected: 1"), "LF in a value": field("x", "a\ninjected: 1"), "CR in a value": field("x", "a\rb"),
    "NUL in a value": field("x", "a\0b"), "a control in a value": field("x", "a\x01b"), "DEL in a value": field("x", "a\x7fb"),
    "an upper-case name": field("X-Up", "a"), "a space in a name": field("x y", "a"), "a colon in a name": field("x:y", "a"),
    "CR LF in a name": field("x\r\ny", "a"), "NUL in a name": field("x\0", "a"), "an 8-bit name": field("x\xe9", "a"), "an empty name": field("", "a"),
    "a TAB in a name": field("x\t", "a"), "a name that ends in a space": field("transfer-encoding ", "chunked"), "a name with (": field("x(", "a"),
    "transfer-encoding": field("transfer-encoding", "chunked"), "connection": field("connection", "close"), "keep-alive": field("keep-alive", "1"),
    "upgrade": field("upgrade", "websocket"), "proxy-connection": field("proxy-connection", "close"), "te: gzip": field("te", "gzip"),
    "CR LF in x-forwarded-for": field("x-forwarded-for", "1.1.1.1\r\nx: y"),
    "a signed length": post(("content-length", "+3")), "a negative length": post(("content-length", "-1")), "a hexadecimal length": post(("content-length", "0x3")),
    "two equal lengths": post(("content-length", "3"), ("content-length", "3")), "two lengths": post(("content-length", "3"), ("content-length", "4")),
    "a list of lengths": post(("content-length", "3, 3")), "an empty length": post(("content-length", "")), "a length with a space": post(("content-length", " 3")),
    "a length beyond 64 bits": post(("content-length", "99999999999999999999")), "a length and no body": {"method": "POST", "fields": [("content-length", "5")]},
    "a space in the path": {"path": "/a b"}, "a request line in the path": {"path": "/a HTTP/1.1\r\nhost: b\r\n\r\nGET /evil"}, "NUL in the path": {"path": "/a\0"},
    "a TAB in the path": {"path": "/a\tb"}, "DEL in the path": {"path": "/\x7f"}, "an empty path": {"path": ""}, "a relative path": {"path": "a"},
    "an absolute path": {"path": "http://b/x"}, "a star": {"path": "*"}, "no path": {"path": None}, "CR LF in the query": {"path": "/?a\r\nb: c"},
    "a request line in the method": {"method": "GET /evil HTTP/1.1\r\nx:"}, "a space in the method": {"method": "G T"}, "an empty method": {"method": ""},
    "no method": {"method": None}, "CR LF in the method": {"method": "GET\r\n"},
    "a space in the authority": {"authority": "a b"}, "CR LF in the authority": {"authority": "a\r\nx: y"}, "a slash in the authority": {"authority": "a/b"},
    "an 8-bit authority": {"authority": "\xe9"}, "NUL in the authority": {"authority": "a\0b"},
    "an empty authority": {"authority": ""}, "no authority": {"authority": None},
    "two hosts": {"authority": None, "fields": [("host", "a"), ("host", "b")]}, "CR LF in the host": {"authority": None, "fields": [("host", "a\r\nb: c")]},
    "an empty scheme": {"scheme": ""}, "no scheme": {"scheme": None}, "a space in the scheme": {"scheme": "ht tp"}, "a URL as the scheme": {"scheme": "http://evil/x?"},
    "CR LF in the scheme": {"scheme": "http\r\nx: y"},
    "a second path": field(":path", "/evil"), "a pseudo-header after a field": {"fields": [("x", "y"), (":authority", "evil")]}, "an unknown pseudo-header": field(":foo", "x"),
    "a status": field(":status", "200"), "a protocol without CONNECT": field(":protocol", "websocket"), "CONNECT with a path": {"method": "CONNECT"},
    "CR LF in a trailer": trailer("x", "a\r\nb: c"), "transfer-encoding in the trailers": trailer("transfer-encoding", "chunked"),
    "a pseudo-header in the trailers": trailer(":path", "/evil"), "an upper-case trailer": trailer("X-Up", "a"),
}


def send(peer, stream, method="GET", path="/", authority="a", scheme="http", fields=(), body=None, trailers=None):
    ends = body is None and not trailers
    out = h2.frame(h2.HEADERS, 5 if ends else 4, stream, h2.request_block(method, path, authority, scheme, fields))
    if body is not None:
        out += h2.frame(h2.DATA, int(not trailers), stream, body)
    if trailers:
        out += h2.frame(h2.HEADERS, 5, stream, b"".join(h2.literal(*t) for t in trailers))
    peer.send(out)


def settled(peer, stream):
    return peer.how or peer.resets(stream) or peer.heads(stream)


def each(lab, proxy, cases):
    """(name, case, peer, stream) of each case on one connection, once it has been answered one way or the other."""
    peer, stream = Attacker(lab.client(proxy.port)), -1
    for name, case in cases.items():
        if peer.how:
            peer, stream = Attacker(lab.client(proxy.port)), -1
        stream += 2
        send(peer, stream, **case)
        eventually(lambda: settled(peer, stream), 4, name)
        yield name, peer, stream


def unlimited(lab, origin):
    return limited(lab, origin, runtime={"overload.premature_reset_total_stream_count": 100000})


def test_a_malformed_request_resets_its_stream_and_nothing_of_it_is_forwarded(lab):
    origin = lab.origin()
    proxy = unlimited(lab, origin)
    wrong = {}
    for name, peer, stream in each(lab, proxy, REFUSED):
        if peer.resets(stream) != [h2.PROTOCOL_ERROR] or peer.heads(stream):
            wrong[name] = (peer.resets(stream), peer.heads(stream), peer.how)
    # With trailers the head has gone before they are looked at: but never a whole request.
    heads = [x.head for x in origin.requests if x.method != "POST"]
    assert not wrong and not heads
    assert all(not x.trailers and x.get("transfer-encoding") == "chunked" for x in origin.requests)


def test_the_log_says_that_a_malformed_request_was_one(lab):
    """ENVOY: DPE, and http2.invalid.header.field or http2.violation.of.messaging.rule; never the client's own reset."""
    proxy = unlimited(lab, lab.origin())
    wrong = {}
    for name, _, _ in each(lab, proxy, REFUSED):
        entry = proxy.next_log()
        if entry["flags"] != "DPE" or entry["details"] not in ("http2.invalid.header.field", "http2.violation.of.messaging.rule"):
            wrong[name] = (entry["flags"], entry["details"])
    assert not wrong


def test_a_user_in_the_authority_is_answered_and_not_forwarded(lab):
    """RFC 9113 8.1.1 allows an answer to what is malformed."""
    origin = lab.origin()
    proxy = limited(lab, origin)
    client = h2.Client(lab.client(proxy.port))
    assert client.get("/", authority="u@a").status == 400
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("400", "DPE", "http.invalid_authority")
    assert not origin.requests


TOO_LONG = {"more than its length": post(("content-length", "1"), body=b"abc" + EVIL), "more than none": post(("content-length", "0"), body=EVIL),
            "less than its length": post(("content-length", "5"), body=b"abc")}


@pytest.mark.parametrize("kind", TOO_LONG)
def test_a_body_of_another_length_than_announced_never_becomes_a_second_request(lab, kind):
    """CVE-2026-48743."""
    origin = lab.origin()
    proxy = limited(lab, origin)
    peer = Attacker(lab.client(proxy.port))
    send(peer, 1, **TOO_LONG[kind])
    eventually(lambda: peer.resets(1), what="a reset")
    assert peer.resets(1) == [h2.PROTOCOL_ERROR]
    assert lab.client(proxy.port).get("/after").status == 200
    assert [x.path for x in origin.requests if x.path != "/"] == ["/after"]
    assert proxy.stat("cluster.origin.upstream_rq_active") == 0
    assert proxy.next_log()["flags"] == "DPE"


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "PUT"])
def test_a_request_inside_a_body_stays_a_body(lab, method):
    """HTTP/2 needs no length; towards HTTP/1 the body is chunked, whatever the method."""
    origin = lab.origin()
    peer = h2.Client(lab.client(limited(lab, origin).port))
    stream = peer.open(method, "/in", end=False)
    peer.data(stream, EVIL, end=True)
    assert peer.answer(stream).status == 200
    seen, = origin.requests
    assert (seen.method, seen.path, seen.read_body(), seen.get("transfer-encoding")) == (method, "/in", EVIL, "chunked")


@pytest.mark.parametrize("scheme", ["htTp", "HTTPS", "ftp", "https", "http"])
def test_the_scheme_that_is_forwarded_is_one_of_two_spellings(lab, scheme):
    """CVE-2023-35944."""
    origin = lab.origin(raw=h2.speak)
    proxy = limited(lab, c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2()))
    peer = h2.Client(lab.client(proxy.port))
    side = peer.get("/", scheme=scheme)
    assert side.status == 200
    said = scheme.lower()
    assert origin.requests[0].get(":scheme") == (said if said in ("http", "https") else "http")
    assert origin.requests[0].get("x-forwarded-proto") == "http"  # what the connection is, whatever the client says


def test_the_authority_counts_and_a_host_beside_it_is_dropped(lab):
    origin = lab.origin()
    peer = h2.Client(lab.client(limited(lab, origin).port))
    assert peer.get("/", fields=[("host", "evil")]).status == 200
    assert [v for k, v in origin.requests[0].headers if k == "host"] == ["a"]


def test_crumbs_of_a_cookie_become_one(lab):
    origin = lab.origin()
    peer = h2.Client(lab.client(limited(lab, origin).port))
    assert peer.get("/", fields=[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2")]).status == 200
    assert [v for k, v in origin.requests[0].headers if k == "cookie"] == ["a=1; b=2"]


# HTTP/1.1 answers after which the connection must not carry another request; what follows the answer is never one.
SPLIT = {"a second answer": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
         "more than its length": b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokevil",
         "after the last chunk": b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
         "a body to 204": b"HTTP/1.1 204 No\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
         "a body to 304": b"HTTP/1.1 304 No\r\ncontent-length: 4\r\n\r\nevil"}


@pytest.mark.parametrize("kind", SPLIT)
def test_what_follows_an_answer_never_answers_the_next_request(lab, kind):
    origin = lab.origin().on("/split", lambda x: (x.send(SPLIT[kind]), x.hang()))
    proxy = limited(lab, origin)
    client = lab.client(proxy.port)
    assert client.get("/split").status in (200, 204, 304)
    for _ in range(5):
        assert client.get("/next").text == "origin"
    assert origin.connections == 2


def test_bytes_on_an_idle_upstream_connection_cost_that_connection(lab):
    spoken = []

    def late(x):
        x.reply(200, b"ok")
        eventually(lambda: spoken, 5)
        x.send(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")
        x.hang()
    origin = lab.origin().on("/late", late)
    client = lab.client(limited(lab, origin).port)
    assert client.get("/late").text == "ok"
    spoken.append(1)
    origin.wait_connections(lambda n: n == 0)
    assert client.get("/next").text == "origin"
