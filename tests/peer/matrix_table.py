"""Where pinnace does otherwise than Envoy on purpose, in test_matrix. A difference that is not here is a bug.

The values are pinnace's own, a tuple of them where the protocols have different words, or ... where any will do.
"""
RESETS = {
    # (who saw it, Envoy's code, pinnace's)
    ("origin", 2, 8): "a stream that is given up is CANCELled (RFC 9113 7), it is no INTERNAL_ERROR",
    ("origin", 2, 0): "the answer was complete, and nothing went wrong",
    ("client", 10, 0): "the answer was complete (RFC 9113 8.1): no CONNECT_ERROR",
}
# (case, where) → (why, pinnace's value)
KEY = "an HTTP/1.1 handshake has a Sec-WebSocket-Key (RFC 6455 4.1), which extended CONNECT has not (RFC 8441 5)"
IGNORED_UPGRADE = "RFC 9110 7.8 lets a server ignore Upgrade: its answer is an answer"
HALF = "a tunnel's direction ends by itself: END_STREAM is FIN (RFC 8441 5)"
TOO_SOON = "a client waits for the answer to its handshake (RFC 6455 4.1); what comes before is nobody's (CVE-2025-64763)"
REPLAY = "a stream above GOAWAY's last was not looked at (RFC 9113 6.8): it goes out again"
MALFORMED = "a malformed answer is a stream error (RFC 9113 8.1.1), which the origin is told"
HOP = "RFC 9110 7.6.1: what Connection names goes no further"
UNWANTED = "RFC 9110 15.2.2: 101 answers an Upgrade, and here was none (CVE-2024-23326)"
BROKEN = "the tunnel broke on its other side, however that is told there: CONNECT_ERROR (RFC 9113 8.5)"
NO_BODY = "RFC 9110 7.8: an upgrade has no body; its bytes could be read as the tunnel's"
TRAILER = "RFC 9110 6.5.1: framing and routing fields are no trailers"
TOLD = "the client is told RST_STREAM, but it was not the client that sent one"
DELIBERATE = {
    ("an_answer_with_hop_by_hop_fields", "client 0 head"): (HOP, ...),
    ("head_of_unknown_length", "client 0 head"): ("RFC 9112 6.1: Transfer-Encoding may be left out of an answer to HEAD", ...),
    ("websocket_with_a_body_in_the_request", "stuck"): (NO_BODY, None),
    ("websocket_with_a_body_in_the_request", "client 0 head"): (NO_BODY, ...),
    ("websocket_with_a_body_in_the_request", "client 0 body"): (NO_BODY, b"Bad Request"),
    ("websocket_with_a_body_in_the_request", "client 0 ended"): (NO_BODY, "complete"),
    ("websocket_with_a_body_in_the_request", "afterwards"): (NO_BODY, "closed"),
    ("websocket_with_a_body_in_the_request", "origin"): (NO_BODY, ...),
    ("an_unwanted_101", "stuck"): (UNWANTED, None),
    ("an_unwanted_101", "client 0 head"): (UNWANTED, ...),
    ("an_unwanted_101", "client 0 body"): (UNWANTED, ...),
    ("an_unwanted_101", "client 0 ended"): (UNWANTED, "complete"),
    ("an_unwanted_101", "afterwards"): (UNWANTED, "works"),
    ("origin_says_goaway_and_ignores_the_request", "client 0 head"): (REPLAY, ...),
    ("origin_says_goaway_and_ignores_the_request", "client 0 body"): (REPLAY, b"hello"),
    ("origin_says_goaway_and_ignores_the_request", "origin"): (REPLAY, ...),
    ("an_answer_with_an_informational_head_that_ends_the_stream", "origin 0 reset"): (MALFORMED, 1),
    ("an_answer_with_a_connection_field", "origin 0 reset"): (MALFORMED, 1),
    ("client_says_goaway_and_waits_for_its_answer", "afterwards"): ("after GOAWAY and the last answer nothing is left to do", "FIN"),
    ("early_answer_to_an_upload_that_goes_on", "origin 0 body"): ("how much had been read is chance", ...),
    ("websocket_answered_as_a_plain_request", "client 0 head"): (IGNORED_UPGRADE, ...),
    ("websocket_answered_as_a_plain_request", "client 0 body"): (IGNORED_UPGRADE, b"hello"),
    ("websocket_origin_ends__reset", "client 0 ended"): (BROKEN, "RST_STREAM 10"),
    ("websocket_origin_ends__reset", "client 0 reset"): (BROKEN, 10),
    ("websocket_ended_by_the_client_first", "stuck"): (HALF, None),
    ("websocket_ended_by_the_client_first", "origin 0 ended"): (HALF, ("complete", "FIN")),
    ("websocket_ended_by_the_client_first", "client 0 ended"): (HALF, "complete"),
    ("websocket_ended_by_the_client_first", "client 0 body"): (HALF, b"to the client, bye"),
    ("websocket_ended_by_the_client_first", "origin 0 reset"): (HALF, None),
    ("websocket_client_ends__close", "origin 0 ended"): (HALF, "complete"),
    ("websocket_client_ends__close", "origin 0 reset"): (HALF, None),
    ("websocket_with_much_data_both_ways", "stuck"): (HALF, None),
    ("websocket_with_much_data_both_ways", "origin 0 ended"): (HALF, ("complete", "FIN")),
    ("websocket_with_much_data_both_ways", "client 0 ended"): (HALF, "complete"),
    ("websocket_with_much_data_both_ways", "client 0 body"): (HALF, "8388621 bytes, crc32 c1fd3424"),
    ("websocket_with_much_data_both_ways", "origin 0 body"): (HALF, "8388621 bytes, crc32 c155153d"),
    ("websocket_with_much_data_both_ways", "origin 0 reset"): (HALF, None),
    ("websocket_ended_by_the_origin_first", "client 0 ended"): (HALF, "complete"),
    ("websocket_origin_ends__close", "client 0 ended"): (HALF, "complete"),
    ("websocket_data_before_the_answer", "stuck"): (TOO_SOON, None),
    ("websocket_data_before_the_answer", "client 0 ended"): (TOO_SOON, "RST_STREAM 1"),
    ("websocket_data_before_the_answer", "client 0 reset"): (TOO_SOON, 1),
    ("websocket_data_before_the_answer", "origin 0 ended"): (TOO_SOON, ...),
    ("websocket_data_before_the_answer", "origin 0 reset"): (TOO_SOON, ...),
    ("a_client_of_http_10", "log"): ("every refused request has its line", ...),
    ("websocket_with_a_body_in_the_request", "log"): (NO_BODY, ...),
    ("an_unwanted_101", "log"): (UNWANTED, ...),
    ("origin_says_goaway_and_ignores_the_request", "log"): (REPLAY, ...),
    ("origin_refuses_the_stream", "origin"): (REPLAY, ...),
    ("a_trailer_that_may_be_none", "client 0 trailers"): (TRAILER, [("x-good", "1")]),
    ("request_trailers_that_may_be_none", "origin 0 trailers"): (TRAILER, [("x-good", "1")]),
    ("request_trailers_that_may_be_none", "origin"): (TRAILER, ...),
    ("request_trailers_that_may_be_none", "client 0"): (TRAILER, ...),
    ("request_trailers_that_may_be_none", "afterwards"): (TRAILER, "works"),
    ("request_trailers_that_may_be_none", "log 0"): (TRAILER, ...),
    ("early_answer_to_an_upload_that_goes_on", "log 0 rx"): ("how much had been read is chance", ...),
    ("a_body_shorter_than_its_length", "log 0 details"): (TOLD, "http2.violation.of.messaging.rule"),
    ("a_request_longer_than_its_length", "log 0 details"): (TOLD, "http2.violation.of.messaging.rule"),
    ("websocket_with_an_origin_of_rfc_8441", "stuck"): ("Envoy leaves the field out", None),
    ("websocket_with_an_origin_of_rfc_8441", "client 0 head"): ("Envoy leaves the field out", ...),
    ("websocket_with_an_origin_of_rfc_8441", "log"): ("Envoy leaves the field out", ...),
    ("websocket_answered_as_a_plain_request", "log 0"): (IGNORED_UPGRADE, ...),
    ("websocket_ended_by_the_client_first", "log 0"): (HALF, ("-", "via_upstream", "18")),
    ("websocket_ended_by_the_origin_first", "log 0"): (HALF, ("-", "via_upstream")),
    ("websocket_client_ends__close", "log 0"): (HALF, ("-", "via_upstream")),
    ("websocket_origin_ends__close", "log 0"): (HALF, ("-", "via_upstream")),
    ("websocket_by_post", "log 0"): (HALF, ("-", "via_upstream")),
    ("websocket_with_much_data_both_ways", "log 0"): (HALF, ("-", "via_upstream")),
    ("websocket_data_before_the_answer", "log 0"): (TOO_SOON, ("DPE", "http2.data_before_tunnel", "0")),
}


def deliberate(down, up, case, where, theirs, ours):
    """Whether a difference is on purpose."""
    if "websocket" in case and (down, up) == ("h2", "h1") and where.endswith("head") and where.startswith("origin"):
        return [x for x in ours if x[0] != "sec-websocket-key"] == theirs  # KEY
    who = where.split(" ")[0]
    code = [int(x[11:]) if isinstance(x, str) and x.startswith("RST_STREAM") else x for x in (theirs, ours)]
    if where.endswith((" ended", " reset")) and (who, *code) in RESETS:
        return True
    part = where
    while part and (case, part) not in DELIBERATE:  # "log" stands for all that begins with it
        part = part.rpartition(" ")[0]
    wanted = DELIBERATE.get((case, part), (None, ()))[1]
    return wanted in (ours, ...) or (isinstance(wanted, tuple) and ours in wanted)
