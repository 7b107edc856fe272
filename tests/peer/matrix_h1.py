"""Cases of test_matrix about what only HTTP/1.1 has: pipelining, old versions, framing by hand, other upgrades."""
from matrix import case
from matrix_cuts import websocket_answer


def raw(talk, *requests):
    """Sends requests as they are in one write; (method, rest of the head and body) each. @ stands for the path."""
    calls = [talk.expect(method) for method, _ in requests]
    talk.client.wire.sendall("".join(f"{method} {rest}".replace("@", talk.path) for method, rest in requests).encode("latin-1"))
    return calls


def says(talk, answer):
    """A GET that the origin answers with these bytes and then closes."""
    call = talk.call("GET", end=True)
    served = talk.served()
    served.connection.wire.sendall(answer)
    served.close()
    call.received.wait_end()
    talk.wait_upstream_gone()


@case("down h1")
def three_pipelined_requests(talk):
    raw(talk, ("GET", "@ HTTP/1.1\r\nhost: a\r\n\r\n"), ("POST", "@ HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody"),
        ("GET", "@ HTTP/1.1\r\nhost: a\r\n\r\n"))
    for _ in range(3):
        served = talk.served()
        served.received.wait_end()
        served.answer(200, body=served.received.get(":method").encode(), end=True)


@case("down h1")
def a_pipelined_request_behind_an_early_answer(talk):
    call = talk.call("POST", fields=[("content-length", "10")])
    call.data(b"first")
    served = talk.served()
    served.received.wait_body(5)
    served.answer(413, body=b"too big", end=True)
    call.received.wait_end()
    call.data(b"-lastGET / HTTP/1.1\r\nhost: a\r\n\r\n")


@case("down h1")
def a_client_of_http_10(talk):
    raw(talk, ("GET", "@ HTTP/1.0\r\nhost: a\r\n\r\n"))[0].received.wait_end()


@case("down h1")
def a_client_that_says_connection_close(talk):
    talk.call("GET", fields=[("connection", "close")], end=True)
    talk.served().answer(200, body=b"hello", end=True)


@case("down h1")
def chunks_with_extensions(talk):
    raw(talk, ("POST", "@ HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4;a=b\r\nbody\r\n0;c\r\nx-sum: 1\r\n\r\n"))
    served = talk.served()
    served.received.wait_end()
    served.answer(200, body=b"hello", end=True)


@case("down h1")
def an_upgrade_to_h2c(talk):
    talk.call("GET", fields=[("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAAP__")], end=True)
    served = talk.served(1)
    if served:
        served.answer(200, body=b"hello", end=True)


@case("down h1")
def an_upgrade_to_something_unknown(talk):
    talk.call("GET", fields=[("connection", "upgrade"), ("upgrade", "gopher")], end=True).received.wait_end()


@case("down h1")
def websocket_with_a_body_in_the_request(talk):
    raw(talk, ("GET", "@ HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\ncontent-length: 4\r\n\r\nbody"))[0].received.wait_end(2)


@case("down h1")
def websocket_by_post(talk):
    call = talk.call("POST", upgrade="websocket")
    served = talk.served()
    websocket_answer(served)
    call.received.wait_head()
    served.close()
    call.received.wait_end()


@case("up h1")
def head_of_unknown_length(talk):
    talk.call("HEAD", end=True)
    talk.served().connection.wire.sendall(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n")


@case("up h2")
def head_that_ends_with_empty_data(talk):
    talk.call("HEAD", end=True)
    served = talk.served()
    served.answer(200, [("content-length", "7")])
    served.data(b"", end=True)


@case("up h1")
def an_origin_of_http_10(talk):
    says(talk, b"HTTP/1.0 200 X\r\n\r\nto the end")


@case("up h1")
def an_origin_of_http_10_with_a_length(talk):
    says(talk, b"HTTP/1.0 200 X\r\ncontent-length: 5\r\n\r\nhello")


@case("up h1")
def an_answer_with_both_framings(talk):
    says(talk, b"HTTP/1.1 200 X\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n")


@case("up h1")
def an_answer_with_another_coding(talk):
    says(talk, b"HTTP/1.1 200 X\r\ntransfer-encoding: gzip\r\n\r\nhello")


@case("up h1")
def an_answer_with_two_lengths(talk):
    says(talk, b"HTTP/1.1 200 X\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!")


@case("up h1")
def an_answer_that_is_no_http(talk):
    says(talk, b"SSH-2.0-OpenSSH\r\n\r\n")


@case("up h1")
def an_answer_cut_in_its_head(talk):
    says(talk, b"HTTP/1.1 200 X\r\ncontent-le")


@case("up h1")
def an_answer_cut_in_its_chunks(talk):
    says(talk, b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")


@case("up h1")
def an_answer_with_a_bad_chunk(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.connection.wire.sendall(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    call.received.wait_body(5)
    served.connection.wire.sendall(b"ZZ\r\n")
    call.received.wait_end()


@case("up h1")
def an_answer_with_bytes_behind_it(talk):
    says(talk, b"HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nhelloHTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n")


@case("up h1")
def an_unwanted_101(talk):
    says(talk, b"HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")


@case("up h1")
def a_204_with_a_length_and_a_body(talk):
    says(talk, b"HTTP/1.1 204 X\r\ncontent-length: 5\r\n\r\nhello")


@case("up h1")
def a_204_with_chunks(talk):
    says(talk, b"HTTP/1.1 204 X\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")


@case("up h1")
def a_205_with_a_body(talk):
    says(talk, b"HTTP/1.1 205 X\r\ncontent-length: 5\r\n\r\nhello")


@case("up h1")
def an_answer_with_hop_by_hop_fields(talk):
    says(talk, b"HTTP/1.1 200 X\r\nconnection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\nproxy-connection: close\r\n"
               b"content-length: 5\r\n\r\nhello")


@case("up h1")
def several_informational_answers(talk):
    says(talk, b"HTTP/1.1 100 X\r\n\r\nHTTP/1.1 103 X\r\nlink: x\r\n\r\nHTTP/1.1 102 X\r\n\r\nHTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nhello")


@case("up h1")
def a_trailer_that_may_be_none(talk):
    says(talk, b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\ncontent-length: 3\r\nhost: b\r\nx-good: 1\r\n\r\n")


@case()
def request_trailers_that_may_be_none(talk):
    call = talk.call("POST", fields=[("te", "trailers")])
    call.data(b"body")
    call.trailers([("content-length", "3"), ("transfer-encoding", "chunked"), ("x-good", "1")] if talk.client.protocol == "h1"
                  else [("content-length", "4"), ("x-good", "1")])
    served = talk.served(1)
    if served:
        served.received.wait_end()
        served.answer(200, body=b"hello", end=True)
