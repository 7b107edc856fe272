"""The cases of test_matrix: what client and origin do, step by step, in terms that h1 and h2 share.

A case gets a Talk and drives both ends; what each of them saw is compared afterwards (Talk.story). A name with "h1 only" or
"h2 only" holds for that protocol on the side that it names.
"""
import os

MIB = 1 << 20
LARGE = 1024 * MIB if os.environ.get("PINNACE_LARGE") else 64 * MIB
PIECE = bytes(range(256)) * (4 * MIB // 256)
CASES = {}


def case(*only):
    """only: "down h1", "up h2", ...: where the case makes sense."""
    def add(work):
        CASES[work.__name__] = (work, only)
        return work
    return add


def upload(talk, method="POST", size=10, **options):
    """A request whose head and first 5 bytes have reached the origin: (call, the origin's end)."""
    call = talk.call(method, fields=[("content-length", str(size))] if size else [], **options)
    call.data(b"first")
    served = talk.served()
    served.received.wait_body(5)
    return call, served


def answered(talk, fields=(("content-length", "10"),), **options):
    """A request that is complete, of whose answer the head and 5 bytes have reached the client."""
    call = talk.call("GET", end=True, **options)
    served = talk.served()
    served.answer(200, fields, b"first")
    call.received.wait_body(5)
    return call, served


# Whole exchanges

@case()
def get(talk):
    talk.call("GET", end=True)
    talk.served().answer(200, [("x-from", "origin")], b"hello", end=True)


@case()
def get_with_an_answer_of_unknown_length(talk):
    talk.call("GET", end=True)
    served = talk.served()
    served.answer(200)
    served.data(b"hello ")
    served.data(b"world", end=True)


@case()
def get_with_an_empty_answer(talk):
    talk.call("GET", end=True)
    talk.served().answer(200, end=True)


@case()
def get_with_an_empty_answer_that_ends_later(talk):
    talk.call("GET", end=True)
    served = talk.served()
    served.answer(200)
    served.data(b"", end=True)


@case()
def head(talk):
    talk.call("HEAD", end=True)
    talk.served().answer(200, [("content-length", "7")], end=True)


@case()
def no_content(talk):
    talk.call("DELETE", end=True)
    talk.served().answer(204, end=True)


@case()
def not_modified(talk):
    talk.call("GET", end=True)
    talk.served().answer(304, [("etag", '"x"'), ("content-length", "7")], end=True)


@case()
def post_of_unknown_length(talk):
    call, served = upload(talk, size=None)
    call.data(b"-last", end=True)
    served.received.wait_end()
    served.answer(200, body=b"thanks", end=True)


@case()
def post_with_a_length(talk):
    call, served = upload(talk)
    call.data(b"-last", end=True)
    served.received.wait_end()
    served.answer(200, body=b"thanks", end=True)


@case()
def post_with_no_body(talk):
    talk.call("POST", end=True)
    talk.served().answer(201, end=True)


@case()
def post_with_an_empty_body_that_ends_later(talk):
    talk.call("POST").data(b"", end=True)
    served = talk.served()
    served.received.wait_end()
    served.answer(200, body=b"thanks", end=True)


@case()
def get_with_a_body(talk):
    talk.call("GET", fields=[("content-length", "4")]).data(b"body", end=True)
    served = talk.served()
    served.received.wait_end()
    served.answer(200, body=b"thanks", end=True)


@case()
def trailers_both_ways(talk):
    call = talk.call("POST", fields=[("te", "trailers")])
    call.data(b"body")
    call.trailers([("x-sum", "1"), ("x-more", "2")])
    served = talk.served()
    served.received.wait_end()
    served.answer(200)
    served.data(b"answer")
    served.trailers([("x-status", "0"), ("x-status", "1")])


@case()
def trailers_without_a_body(talk):
    talk.call("POST").trailers([("x-sum", "1")])
    served = talk.served()
    served.received.wait_end()
    served.answer(200)
    served.trailers([("x-status", "0")])


@case("down h2", "up h2")
def trailers_after_a_known_length(talk):
    call = talk.call("POST", fields=[("content-length", "4")])
    call.data(b"body")
    call.trailers([("x-sum", "1")])
    served = talk.served()
    served.received.wait_end()
    served.answer(200, [("content-length", "6")])
    served.data(b"answer")
    served.trailers([("x-status", "0")])


@case("down h2")
def request_trailers_after_a_known_length(talk):
    call = talk.call("POST", fields=[("content-length", "4")])
    call.data(b"body")
    call.trailers([("x-sum", "1")])
    served = talk.served()
    served.received.wait_end()
    served.answer(200, body=b"thanks", end=True)


@case("up h2")
def answer_trailers_after_a_known_length(talk):
    talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, [("content-length", "6")])
    served.data(b"answer")
    served.trailers([("x-status", "0")])


@case()
def an_informational_answer_first(talk):
    talk.call("GET", end=True)
    served = talk.served()
    served.informational(103, [("link", "x")])
    served.answer(200, body=b"hello", end=True)


@case()
def expect_continue(talk):
    call = talk.call("POST", fields=[("expect", "100-continue"), ("content-length", "4")])
    call.received.wait(lambda x: x.informational or x.head or x.ended, "100 Continue")
    call.data(b"body", end=True)
    served = talk.served()
    served.received.wait_end()
    served.answer(200, body=b"thanks", end=True)


@case("down h2")
def a_scheme_that_is_not_the_connections(talk):
    talk.call("GET", scheme="http" if talk.client.scheme == "https" else "https", end=True)
    talk.served().answer(200, body=b"hello", end=True)


@case("down h1", "up h2")
def websocket_with_an_origin_of_rfc_8441(talk):
    """HTTP/2 has no Sec-WebSocket-Accept, but a client over HTTP/1.1 must have one (RFC 6455 4.1)."""
    call = talk.call("GET", upgrade="websocket")
    talk.served().answer(101)
    assert call.received.wait_head().get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", call.received.head


@case("down h2")
def cookie_crumbs(talk):
    talk.call("GET", fields=[("cookie", "a=1"), ("cookie", "b=2")], end=True)
    talk.served().answer(200, [("set-cookie", "a=1"), ("set-cookie", "b=2")], b"hello", end=True)


@case()
def a_large_body_up(talk):
    call = talk.call("POST", fields=[("content-length", str(LARGE))])
    for at in range(0, LARGE, len(PIECE)):
        call.data(PIECE, end=at + len(PIECE) == LARGE)
    served = talk.served()
    served.received.wait_end(300)
    served.answer(200, body=str(served.received.body.crc).encode(), end=True)


@case()
def a_large_body_of_unknown_length_up(talk):
    call = talk.call("POST")
    for at in range(0, LARGE, len(PIECE)):
        call.data(PIECE, end=at + len(PIECE) == LARGE)
    served = talk.served()
    served.received.wait_end(300)
    served.answer(200, body=str(served.received.body.crc).encode(), end=True)


@case()
def a_large_body_down(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, [("content-length", str(LARGE))])
    for at in range(0, LARGE, len(PIECE)):
        served.data(PIECE, end=at + len(PIECE) == LARGE)
    call.received.wait_end(300)


@case()
def a_large_body_of_unknown_length_down(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200)
    for at in range(0, LARGE, len(PIECE)):
        served.data(PIECE, end=at + len(PIECE) == LARGE)
    call.received.wait_end(300)


@case()
def two_requests_after_each_other(talk):
    for body in (b"one", b"two"):
        call = talk.call("GET", end=True)
        talk.served().answer(200, body=body, end=True)
        call.received.wait_end()


@case("down h2")
def two_requests_at_once_answered_in_the_other_order(talk):
    one = talk.call("GET", end=True)
    first = talk.served()
    two = talk.call("GET", end=True)
    talk.served().answer(200, body=b"two", end=True)
    two.received.wait_end()
    first.answer(200, body=b"one", end=True)
    one.received.wait_end()
