"""Cases of test_matrix about what only HTTP/2 has: GOAWAY, windows, padding, many streams, settings."""
import struct

from matrix import case
from support import h2

KIB = 1024


def goaway(connection, last, code=0):
    connection.raw(h2.frame(h2.GOAWAY, 0, 0, struct.pack(">II", last, code)))


def padded(stream, payload, padding, end=False):
    return h2.frame(h2.DATA, 8 | int(end), stream.id, bytes([padding]) + payload + bytes(padding))


# GOAWAY

@case("up h2")
def origin_says_goaway_while_it_answers(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, [("content-length", "10")], b"first")
    call.received.wait_body(5)
    goaway(served.connection, served.id)
    served.data(b"-last", end=True)
    call.received.wait_end()


@case("up h2")
def origin_says_goaway_and_ignores_the_request(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    goaway(served.connection, 0)
    again = talk.served(1)
    if again:
        again.answer(200, body=b"hello", end=True)
    call.received.wait_end()


@case("up h2")
def origin_says_goaway_with_an_error(talk):
    call = talk.call("POST", fields=[("content-length", "10")])
    call.data(b"first")
    served = talk.served()
    served.received.wait_body(5)
    goaway(served.connection, served.id, 11)
    served.close()
    call.received.wait_end()


@case("down h2")
def client_says_goaway_and_waits_for_its_answer(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    goaway(talk.client, 0)
    served.answer(200, body=b"hello", end=True)
    call.received.wait_end()


# Windows

@case("down h2")
def cancelled_uploads_give_their_windows_back(talk):
    """More than the connection's window altogether."""
    for _ in range(40):
        call = talk.call("POST")
        call.data(bytes(60 * KIB))
        served = talk.served()
        served.received.wait_body(60 * KIB)
        call.reset()
        talk.wait_gone(served)
        talk.calls.pop()
        talk.exchanges.pop()
    talk.call("GET", end=True)
    talk.served().answer(200, body=b"hello", end=True)


@case("down h2")
def cancelled_downloads_give_their_windows_back(talk):
    for _ in range(40):
        call = talk.call("GET", end=True)
        served = talk.served()
        served.answer(200)
        served.data(bytes(60 * KIB))
        call.received.wait_body(60 * KIB)
        call.reset()
        talk.wait_gone(served)
        talk.calls.pop()
        talk.exchanges.pop()
    talk.call("GET", end=True)
    talk.served().answer(200, body=b"hello", end=True)


@case("down h2")
def early_answers_to_uploads_give_their_windows_back(talk):
    for _ in range(40):
        call = talk.call("POST")
        call.data(bytes(60 * KIB))
        served = talk.served()
        served.received.wait_body(60 * KIB)
        served.answer(413, body=b"too big", end=True)
        call.received.wait_end()
        call.data(bytes(10 * KIB))
        talk.calls.pop()
        talk.exchanges.pop()
    talk.call("GET", end=True)
    talk.served().answer(200, body=b"hello", end=True)


@case("down h2")
def padding_of_a_request_is_given_back(talk):
    call = talk.call("POST")
    served = talk.served()
    for count in range(200, 8001, 200):
        talk.client.raw(b"".join(padded(call, b"x", 255) for _ in range(200)))
        served.received.wait_body(count)
    talk.client.raw(padded(call, b"y", 255, end=True))
    call.sent_end = True
    served.received.wait_end()
    served.answer(200, body=b"hello", end=True)


@case("up h2")
def padding_of_an_answer_is_given_back(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200)
    for count in range(200, 8001, 200):
        served.connection.raw(b"".join(padded(served, b"x", 255) for _ in range(200)))
        call.received.wait_body(count)
    served.connection.raw(padded(served, b"y", 255, end=True))
    served.sent_end = True


@case("down h2", "up h2")
def a_stalled_upload_does_not_hold_up_other_streams(talk):
    """The origin gives no window for the first; the second shares both connections with it."""
    stalled = talk.call("POST")
    first = talk.served()
    first.connection.h2.acknowledge_received_data = lambda size, stream: None
    stalled.data(bytes(300 * KIB))
    call = talk.call("POST")
    call.data(b"body", end=True)
    served = talk.served()
    served.answer(200, body=b"hello", end=True)
    call.received.wait_end()
    stalled.reset()


@case("up h2")
def windows_that_shrink_in_the_middle(talk):
    call = talk.call("POST")
    call.data(b"first")
    served = talk.served()
    served.received.wait_body(5)
    served.connection.change_settings({4: 10})
    call.data(bytes(100), end=True)
    served.received.wait_end()
    served.answer(200, body=b"hello", end=True)


# Many streams

@case("down h2")
def twenty_requests_at_once(talk):
    calls = [talk.call("POST") for _ in range(20)]
    served = [talk.served() for _ in calls]
    for call in calls:
        call.data(b"body", end=True)
    for one in served:
        one.received.wait_end()
        one.answer(200, body=b"hello", end=True)
    for call in calls:
        call.received.wait_end()


@case("down h2", "up h2")
def an_origin_that_takes_one_stream_at_a_time(talk):
    first = talk.call("GET", end=True)
    served = talk.served()
    served.connection.change_settings({3: 1})
    calls = [talk.call("GET", end=True) for _ in range(3)]
    served.answer(200, body=b"hello", end=True)
    for _ in calls:
        talk.served().answer(200, body=b"hello", end=True)
    for call in [first, *calls]:
        call.received.wait_end()


# Heads

@case()
def large_heads_both_ways(talk):
    fields = [(f"x-field-{i}", "v" * 1000) for i in range(40)]
    talk.call("GET", fields=fields, end=True)
    talk.served().answer(200, fields, b"hello", end=True)


@case("up h2")
def an_answer_with_an_informational_head_that_ends_the_stream(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.connection.raw(h2.frame(h2.HEADERS, 5, served.id, b"\x08\x03103"))
    call.received.wait_end()


@case("up h2")
def an_answer_with_a_connection_field(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.connection.raw(h2.frame(h2.HEADERS, 5, served.id, h2.status_block(200, ("connection", "close"))))
    call.received.wait_end()


@case("up h2")
def an_answer_longer_than_its_length(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, [("content-length", "5")])
    call.received.wait_head()
    served.data(b"much more than that", end=True)
    call.received.wait_end()


@case("down h2")
def a_request_longer_than_its_length(talk):
    call = talk.call("POST", fields=[("content-length", "5")])
    served = talk.served()
    call.data(b"much more than that", end=True)
    call.received.wait_end()


@case("up h2")
def reset_without_error_in_the_middle_of_an_answer(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, body=b"first")
    call.received.wait_body(5)
    served.reset(0)
    call.received.wait_end()


