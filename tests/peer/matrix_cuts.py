"""Cases of test_matrix in which something ends before its time: early answers, resets and closes at every step, WebSocket."""
from matrix import answered, case, upload


def each(*only):
    """One case for each way to end: work(talk, end), where end(stream) ends it."""
    def add(work):
        for way in ("reset", "close"):
            def run(talk, way=way):
                work(talk, lambda stream: getattr(stream, way)())
            run.__name__ = f"{work.__name__}__{way}"
            case(*only)(run)
        return work
    return add


# The answer is complete before the request

@case()
def early_answer_then_the_request_ends(talk):
    call, served = upload(talk)
    served.answer(413, body=b"too big", end=True)
    call.received.wait_end()
    call.data(b"-last", end=True)


@case()
def early_answer_of_unknown_length_then_the_request_ends(talk):
    call, served = upload(talk, size=None)
    served.answer(200)
    served.data(b"enough", end=True)
    call.received.wait_end()
    call.data(b"-last", end=True)


@case()
def early_answer_without_a_body(talk):
    call, served = upload(talk)
    served.answer(403, end=True)
    call.received.wait_end()
    call.data(b"-last", end=True)


@case()
def early_answer_and_the_client_stops_there(talk):
    call, served = upload(talk)
    served.answer(413, body=b"too big", end=True)
    call.received.wait_end()


@each()
def early_answer_and_the_origin_ends(talk, end):
    call, served = upload(talk)
    served.answer(413, body=b"too big", end=True)
    end(served)
    call.received.wait_end()


@case("up h2")
def early_answer_with_rst_stream_no_error(talk):
    call, served = upload(talk)
    served.answer(413, body=b"too big", end=True)
    served.reset(0)
    call.received.wait_end()


@case()
def answer_that_begins_early_and_ends_late(talk):
    call, served = upload(talk)
    served.answer(200, [("content-length", "10")], b"first")
    call.received.wait_body(5)
    call.data(b"-last", end=True)
    served.received.wait_end()
    served.data(b"-last", end=True)


@case()
def early_answer_with_trailers(talk):
    call, served = upload(talk, size=None)
    served.answer(200)
    served.data(b"enough")
    served.trailers([("x-status", "0")])
    call.received.wait_end()
    call.data(b"-last", end=True)


@case()
def early_answer_to_an_upload_that_goes_on(talk):
    call = talk.call("POST", fields=[("content-length", str(64 << 20))])
    call.data(b"first")
    served = talk.served()
    served.received.wait_body(5)
    served.answer(413, body=b"too big", end=True)
    for _ in range(64):
        if not call.data(b"x" * (1 << 20)):
            break


# The client gives up

@each()
def client_ends_in_the_middle_of_the_body(talk, end):
    call, _ = upload(talk)
    end(call)


@each()
def client_ends_in_the_middle_of_a_chunked_body(talk, end):
    call, _ = upload(talk, size=None)
    end(call)


@each()
def client_ends_before_the_answer(talk, end):
    call = talk.call("GET", end=True)
    talk.served()
    end(call)


@each()
def client_ends_after_the_head_of_the_answer(talk, end):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, [("content-length", "10")])
    call.received.wait_head()
    end(call)


@each()
def client_ends_in_the_middle_of_the_answer(talk, end):
    call, _ = answered(talk)
    end(call)


@each()
def client_ends_with_both_bodies_under_way(talk, end):
    call, served = upload(talk)
    served.answer(200, [("content-length", "10")], b"first")
    call.received.wait_body(5)
    end(call)


@each()
def client_ends_after_the_answer(talk, end):
    call = talk.call("GET", end=True)
    talk.served().answer(200, body=b"hello", end=True)
    call.received.wait_end()
    end(call)


@case("down h1")
def client_half_closes_before_the_answer(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    call.finish()
    talk.wait_gone(served)
    served.answer(200, body=b"hello", end=True)


# The origin gives up

@each()
def origin_ends_in_the_middle_of_the_request(talk, end):
    call, served = upload(talk)
    end(served)
    call.received.wait_end()


@each()
def origin_ends_before_the_answer(talk, end):
    call = talk.call("GET", end=True)
    end(talk.served())
    call.received.wait_end()


@each()
def origin_ends_before_the_answer_to_a_post(talk, end):
    call, served = upload(talk)
    call.data(b"-last", end=True)
    served.received.wait_end()
    end(served)
    call.received.wait_end()


@each()
def origin_ends_after_the_head_of_the_answer(talk, end):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, [("content-length", "10")])
    call.received.wait_head()
    end(served)
    call.received.wait_end()


@each()
def origin_ends_in_the_middle_of_the_answer(talk, end):
    call, served = answered(talk)
    end(served)
    call.received.wait_end()


@each()
def origin_ends_in_the_middle_of_an_answer_of_unknown_length(talk, end):
    call, served = answered(talk, fields=())
    end(served)
    call.received.wait_end()


@each()
def origin_ends_with_both_bodies_under_way(talk, end):
    call, served = upload(talk)
    served.answer(200, [("content-length", "10")], b"first")
    call.received.wait_body(5)
    end(served)
    call.received.wait_end()


@each()
def origin_ends_after_the_answer(talk, end):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.answer(200, body=b"hello", end=True)
    call.received.wait_end()
    end(served)


@case("up h2")
def origin_refuses_the_stream(talk):
    call = talk.call("POST", body=b"body", end=True)
    for _ in range(4):  # pinnace tries again, unasked
        served = talk.served(1)
        if served is None:
            break
        served.received.wait_end()
        served.reset(7)
    call.received.wait_end()


@case("up h1")
def an_answer_that_ends_with_its_connection(talk):
    call = talk.call("GET", end=True)
    served = talk.served()
    served.connection.wire.sendall(b"HTTP/1.1 200 X\r\n\r\nto the end")
    call.received.wait_body(10)
    served.close()
    call.received.wait_end()


@case("down h2")
def a_body_shorter_than_its_length(talk):
    call, _ = upload(talk)
    call.data(b"", end=True)
    call.received.wait_end()


@case("up h2")
def an_answer_shorter_than_its_length(talk):
    call, served = answered(talk)
    served.data(b"", end=True)
    call.received.wait_end()


# WebSocket

def websocket_answer(served):
    served.answer(101, [("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")])


def websocket(talk):
    """An open tunnel through which both ends have spoken."""
    call = talk.call("GET", upgrade="websocket")
    served = talk.served()
    websocket_answer(served)
    call.received.wait_head()
    call.data(b"to the origin")
    served.received.wait_body(13)
    served.data(b"to the client")
    call.received.wait_body(13)
    return call, served


@case()
def websocket_ended_by_the_client_first(talk):
    call, served = websocket(talk)
    call.finish()
    served.received.wait_end()
    served.data(b", bye")
    served.finish()


@case()
def websocket_ended_by_the_origin_first(talk):
    call, served = websocket(talk)
    served.finish()
    call.received.wait_end()
    call.data(b", bye")
    call.finish()


@each()
def websocket_client_ends(talk, end):
    call, served = websocket(talk)
    end(call)
    served.received.wait_end()
    served.finish()


@each()
def websocket_origin_ends(talk, end):
    call, served = websocket(talk)
    end(served)
    call.received.wait_end()


@each()
def websocket_client_ends_before_the_answer(talk, end):
    call = talk.call("GET", upgrade="websocket")
    served = talk.served()
    end(call)
    served.received.wait_end()


@each()
def websocket_origin_ends_before_the_answer(talk, end):
    call = talk.call("GET", upgrade="websocket")
    end(talk.served())
    call.received.wait_end()


@case()
def websocket_refused_with_a_body(talk):
    call = talk.call("GET", upgrade="websocket")
    served = talk.served()
    served.answer(403, body=b"no", end=True)
    call.received.wait_end()


@case()
def websocket_refused_without_a_body(talk):
    call = talk.call("GET", upgrade="websocket")
    served = talk.served()
    served.answer(404, end=True)
    call.received.wait_end()


@case("up h1")
def websocket_answered_as_a_plain_request(talk):
    call = talk.call("GET", upgrade="websocket")
    talk.served().answer(200, body=b"hello", end=True)
    call.received.wait_end()


@case("down h2")
def websocket_data_before_the_answer(talk):
    call = talk.call("GET", upgrade="websocket")
    served = talk.served()
    call.data(b"too soon")
    call.received.wait_end()
    served.received.wait_end()


@case()
def websocket_with_much_data_both_ways(talk):
    call, served = websocket(talk)
    piece = bytes(range(256)) * 4096
    for _ in range(8):
        call.data(piece)
        served.data(piece)
    served.received.wait_body(13 + 8 * len(piece))
    call.received.wait_body(13 + 8 * len(piece))
    call.finish()
    served.received.wait_end()
    served.finish()
