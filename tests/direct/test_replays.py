"""A kept-alive connection that its peer closes just as it is used, and a stream its peer never looked at: nobody's failure.

The request goes out again, unasked, where it may be done twice (RFC 9110 9.2.2) or was not acted on (RFC 9113 8.7).
UNLIKE ENVOY, which answers 503.
"""
import socket
import threading

import pytest
from support import config as c
from support import h2
from support.wait import eventually

METHODS = ["GET", "HEAD", "PUT", "DELETE"]
ENDS = {"FIN": lambda x: x.close(), "reset": lambda x: x.reset()}


class Stale:
    """An origin's script: answers the first request of a connection, and ends the connection when the next one has come."""

    def __init__(self, end=ENDS["FIN"], answer=lambda x: x.reply(200, b"%s %s" % (x.method.encode(), x.read_body()))):
        self.end, self.answer, self.known, self.gone = end, answer, set(), []

    def __call__(self, x):
        first = x.socket not in self.known
        self.known.add(x.socket)
        if first:
            return self.answer(x)
        self.gone.append(x)
        x.body_read = True  # what is left of it is nobody's
        self.end(x)


def behind(lab, script, up="h1", routes=None, **fields):
    origin = lab.origin(raw=h2.speak if up == "h2" else None)
    origin.default = script
    if up == "h2":
        fields["typed_extension_protocol_options"] = c.http2()
    return origin, lab.http(c.cluster("origin", origin.port, **fields), routes=routes)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("method", METHODS)
def test_a_connection_that_ends_just_as_it_is_used_again_is_no_failure(lab, method, end):
    stale = Stale(ENDS[end])
    origin, proxy = behind(lab, stale)
    client = lab.client(proxy.port)
    body = b"body" if method == "PUT" else None
    for turn in range(6):
        answer = client.get(f"/{turn}", method=method, body=body)
        assert answer.status == 200 and answer.body == (b"" if method == "HEAD" else method.encode() + b" " + (body or b""))
    assert [x.path for x in stale.gone] == ["/1", "/2", "/3", "/4", "/5"]
    for turn in range(6):
        entry = proxy.next_log()
        assert (entry["path"], entry["code"], entry["flags"], entry["attempts"]) == (f"/{turn}", "200", "-", "1")
    assert client.is_open() and proxy.stat("http.test.downstream_rq_5xx") == 0


@pytest.mark.parametrize("idle", [2, 3, 8])
def test_any_number_of_stale_connections_is_no_failure(lab, idle):
    """Each may be the next that is tried: an idempotent request ends at a fresh one."""
    together = threading.Barrier(idle)

    def answer(x):
        if x.path == "/fill":
            together.wait(8)
        x.reply(200, b"ok")
    stale = Stale(answer=answer)
    origin, proxy = behind(lab, stale)
    clients = [lab.client(proxy.port) for _ in range(idle)]
    for client in clients:
        client.send("GET /fill HTTP/1.1\r\nhost: a\r\n\r\n")
    assert [client.response().status for client in clients] == [200] * idle
    eventually(lambda: proxy.stat("cluster.origin.upstream_rq_active") == 0)
    assert clients[0].get("/next").status == 200
    assert sum(x.path == "/next" for x in origin.requests) <= idle + 1


@pytest.mark.parametrize("method", METHODS)
def test_an_origin_that_closes_after_every_answer_is_never_seen_to(lab, method):
    """The race itself: the end of the connection and the next request pass each other on the way."""
    def script(x):
        x.reply(200, b"ok")
        x.close()
    _, proxy = behind(lab, script)
    client = lab.client(proxy.port)
    assert {client.get("/", method=method).status for _ in range(300)} == {200}


def test_the_body_that_came_before_is_sent_again_and_the_rest_follows(lab):
    def end(x):
        assert x.reader.exactly(5) == b"first"
        got.append(x)
    got = []
    origin, proxy = behind(lab, Stale(lambda x: (end(x), x.close())))
    client = lab.client(proxy.port)
    assert client.get("/").status == 200
    client.send("PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\nfirst")
    origin.wait_requests(3)
    client.send("second")
    assert client.response().text == "PUT firstsecond" and len(got) == 1


def test_a_replayed_request_is_answered_once(lab):
    origin, proxy = behind(lab, Stale())
    client = lab.client(proxy.port)
    assert client.get("/0").status == 200
    client.send("GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    assert [client.response().status, client.response().status] == [200, 200] and client.expect_close() == b""
    assert [proxy.next_log()["path"] for _ in range(3)] == ["/0", "/1", "/2"]
    assert proxy.stat("cluster.origin.upstream_rq_active") == 0


def check_failed(proxy, entry_path, details="connection_termination"):
    entry = proxy.next_log()
    while entry["path"] != entry_path:
        entry = proxy.next_log()
    assert (entry["code"], entry["flags"]) == ("503", "UC")
    assert entry["details"] == f"upstream_reset_before_response_started{{{details}}}"


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_may_have_been_done_is_not_done_again(lab, method, end):
    stale = Stale(lambda x: (x.reader.exactly(3), ENDS[end](x)))
    origin, proxy = behind(lab, stale)
    client = lab.client(proxy.port)
    assert client.get("/").status == 200
    assert client.get("/x", method=method, body=b"abc").status == 503
    check_failed(proxy, "/x")
    assert [x.method for x in origin.requests] == ["GET", method]


def test_a_post_goes_by_no_connection_whose_end_has_come(lab):
    origin, proxy = behind(lab, lambda x: (x.reply(200, b"ok"), x.close()))
    client = lab.client(proxy.port)
    for _ in range(50):
        assert client.get("/x", method="POST", body=b"abc").status == 200
        origin.wait_connections(lambda n: n == 0)
    assert len(origin.requests) == 50


def test_a_fresh_connection_that_ends_is_a_failure(lab):
    origin, proxy = behind(lab, lambda x: x.close())
    assert lab.client(proxy.port).get("/x").status == 503
    check_failed(proxy, "/x")
    assert len(origin.requests) == 1


@pytest.mark.parametrize("part", [b"H", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab"])
def test_an_answer_that_has_begun_is_not_asked_for_again(lab, part):
    origin, proxy = behind(lab, Stale(lambda x: (x.send(part), x.close())))
    client = lab.client(proxy.port)
    assert client.get("/").status == 200
    answer = client.get("/x")
    assert answer.status in (502, 503) or answer.status == 200 and not answer.complete
    assert [x.path for x in origin.requests] == ["/", "/x"]


# HTTP/2

def refusing(x):
    x.reset(h2.REFUSED_STREAM)


def going_away(x):
    x.peer.send(h2.goaway(max(0, x.stream - 2)))


def once(first, then=lambda x: x.reply(200, b"" if x.method == "HEAD" else x.method.encode() + x.read_body())):
    """first(x) for the first request, then(x) for the others."""
    seen = []

    def script(x):
        seen.append(x)
        (first if len(seen) == 1 else then)(x)
    return script


@pytest.mark.parametrize("first", [refusing, going_away])
@pytest.mark.parametrize("method", [*METHODS, "POST"])
def test_a_stream_that_was_not_looked_at_is_sent_again(lab, method, first):
    origin, proxy = behind(lab, once(first), "h2")
    body = b"body" if method in ("PUT", "POST") else None
    answer = lab.client(proxy.port).get("/x", method=method, body=body)
    assert answer.status == 200 and answer.body == (b"" if method == "HEAD" else method.encode() + (body or b""))
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["attempts"]) == ("200", "-", "1")
    assert len(origin.requests) == 2 and origin.connections == (2 if first is going_away else 1)


@pytest.mark.parametrize("method", METHODS)
def test_an_h2_origin_that_goes_after_every_answer_is_never_seen_to(lab, method):
    gone, lock = set(), threading.Lock()

    def script(x):
        with lock:
            if x.peer in gone:
                return  # beyond the GOAWAY: never looked at
            gone.add(x.peer)
            x.reply(200, b"" if method == "HEAD" else b"ok")
            x.peer.send(h2.goaway(x.stream))
            x.peer.socket.shutdown(socket.SHUT_WR)
    _, proxy = behind(lab, script, "h2")
    client = lab.client(proxy.port)
    assert {client.get("/", method=method).status for _ in range(200)} == {200}


def test_streams_below_a_goaway_are_answered_and_those_beyond_go_elsewhere(lab):
    both = threading.Event()

    def script(x):
        if x.peer.socket is not script.first.setdefault("socket", x.peer.socket):
            return x.reply(200, b"second")
        if x.stream == 1:
            both.wait(8)
            return x.reply(200, b"first")
        x.peer.send(h2.goaway(1))
        both.set()
    script.first = {}
    origin, proxy = behind(lab, script, "h2")
    peer = h2.Client(lab.client(proxy.port))
    one = peer.open()
    origin.wait_requests(1)
    two = peer.open()
    assert (peer.answer(one).body, peer.answer(two).body) == (b"first", b"second")


def test_a_goaway_that_covers_a_stream_does_not_replay_a_post(lab):
    def script(x):
        x.read_body()
        x.peer.send(h2.goaway(x.stream))
        x.peer.socket.shutdown(socket.SHUT_RDWR)
    origin, proxy = behind(lab, script, "h2")
    assert lab.client(proxy.port).get("/x", method="POST", body=b"abc").status == 503
    assert len(origin.requests) == 1


@pytest.mark.parametrize("first", [refusing, going_away])
def test_an_origin_that_refuses_for_ever_is_a_failure_in_the_end(lab, first):
    origin, proxy = behind(lab, first, "h2")
    assert lab.client(proxy.port).get("/x").status == 503
    assert proxy.next_log()["flags"] == "UR" and len(origin.requests) <= 8
