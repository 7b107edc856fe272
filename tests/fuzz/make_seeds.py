#!/usr/bin/env python3
"""Writes the seeds that are not kept as text: ClientHellos of OpenSSL, PROXY protocol version 2, HTTP/2 frames.

A seed is an input that means something, named after what it shows; the others in seeds/ were written by hand or found by
the fuzzer. ClientHellos are random, so a second run changes them.
"""
import base64
import ssl
import struct
import sys
from pathlib import Path

import hpack
from google.protobuf import any_pb2, struct_pb2

SEEDS = Path(__file__).resolve().parent / "seeds"
DATA, HEADERS, PRIORITY, RST, SETTINGS, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, PADDED, ACK = 1, 4, 8, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def hello(server_name, alpn, oldest, newest):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.minimum_version, context.maximum_version = oldest, newest
    if alpn:
        context.set_alpn_protocols(alpn)
    out = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), out, server_hostname=server_name).do_handshake()
    except ssl.SSLWantReadError:
        return out.read()


def in_records(one_record, size):
    body = one_record[5:]
    parts = [body[at:at + size] for at in range(0, len(body), size)]
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(part)) + part for part in parts)


def tls_inspector():
    v2, v3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
    both = hello("some.example.com", ["h2", "http/1.1"], v2, v3)
    return {"both_versions": both, "only_tls_1_2": hello("a.b", ["http/1.1"], v2, v2),
            "only_tls_1_3_istio": hello("a.b", ["istio-http/1.1", "istio"], v3, v3),
            "without_server_name": hello(None, [], v2, v3), "in_records_of_40": in_records(both, 40),
            "in_records_of_1": in_records(hello("a.b", ["h2"], v2, v2), 1), "with_more_after": both + b"more"}


def proxy2(command, family, body):
    return b"\r\n\r\n\0\r\nQUIT\n" + bytes([command, family]) + struct.pack(">H", len(body)) + body


def tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


def proxy_protocol():
    v4 = bytes([1, 2, 3, 4, 5, 6, 7, 8]) + struct.pack(">HH", 4096, 80)
    v6 = bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack(">HH", 4096, 80)
    mapped = bytes(10) + b"\xff\xff\1\2\3\4" + bytes(15) + b"\2" + struct.pack(">HH", 4096, 80)
    tls = tlv(0x20, b"\7\0\0\0\0" + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"client"))
    return {"v2_tcp4": proxy2(0x21, 0x11, v4) + b"GET / HTTP/1.1\r\n", "v2_tcp6": proxy2(0x21, 0x21, v6),
            "v2_tcp6_mapped": proxy2(0x21, 0x21, mapped), "v2_local": proxy2(0x20, 0, b""),
            "v2_local_with_addresses": proxy2(0x20, 0x11, v4), "v2_unspecified": proxy2(0x21, 0, b"abc"),
            "v2_tlvs": proxy2(0x21, 0x11, v4 + tlv(1, b"h2") + tlv(2, b"a.b") + tls + tlv(4, b"")),
            "v2_tlv_cut_short": proxy2(0x21, 0x11, v4 + b"\1\0\5ab"), "v2_unix": proxy2(0x21, 0x31, bytes(216))}


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def settings(*pairs):
    return frame(SETTINGS, payload=b"".join(struct.pack(">HI", *pair) for pair in pairs))


def metadata_exchange():
    def struct_of(**fields):
        out = struct_pb2.Struct()
        out.update(fields)
        return out

    def preamble(body, length=None):
        return struct.pack(">II", 0x3D230467, len(body) if length is None else length) + body

    def told(metadata):
        packed = any_pb2.Any()
        packed.Pack(struct_of(**{"x-envoy-peer-metadata-id": "sidecar~1", "x-envoy-peer-metadata": metadata}))
        return packed.SerializeToString(deterministic=True)

    peer = {"NAME": "cart-1", "NAMESPACE": "buyers", "WORKLOAD_NAME": "cart", "CLUSTER_ID": "k", "OWNER": "kubernetes://apis/apps/v1/namespaces/b/deployments/cart",
            "LABELS": {"app": "cart", "version": "v1", "service.istio.io/canonical-name": "cart"}}
    words = struct_of(**peer).SerializeToString(deterministic=True)
    return {"peer_and_bytes": preamble(told(peer)) + b"hello", "peer": preamble(told(peer)), "nobody": preamble(told({})), "empty": preamble(b""),
            "no_struct": preamble(b"\x0a\x03abc"), "too_long": preamble(b"", 1 << 20), "other_protocol": b"GET / HTTP/1.1\r\n", "half_a_magic": b"\x3d\x23\x04x",
            "header": base64.b64encode(words), "header_of_nothing": b"====", "endpoint": b"cart;buyers;cart;v1;k",
            "control_characters": preamble(told({"WORKLOAD_NAME": "a\n\x7f" + "b" * 300}))}


def h2_server():
    """The first byte is server_side.h's How."""
    def request(encoder, stream, flags, *fields, method="GET", path="/"):
        head = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a.b"), *fields]
        return frame(HEADERS, flags | END_HEADERS, stream, encoder.encode(head))

    start = PREFACE + settings()
    e = hpack.Encoder
    one = request(e(), 1, END_STREAM)
    coder = e()
    two = request(coder, 1, END_STREAM, ("cookie", "a=1"), ("cookie", "b=2")) + request(coder, 3, END_STREAM, ("x-a", "1"))
    body = frame(DATA, 0, 1, b"first") + frame(DATA, END_STREAM | PADDED, 1, b"\3second\0\0\0")
    coder = e()
    trailers = (request(coder, 1, 0, ("te", "trailers"), method="POST") + frame(DATA, 0, 1, b"body")
                + frame(HEADERS, END_STREAM | END_HEADERS, 1, coder.encode([("x-sum", "1")])))
    block = e().encode([(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "a.b"), ("x-long", "y" * 60)])
    continued = (frame(HEADERS, END_STREAM, 1, block[:10]) + frame(CONTINUATION, 0, 1, block[10:20])
                 + frame(CONTINUATION, END_HEADERS, 1, block[20:]))
    websocket = frame(HEADERS, END_HEADERS, 1, e().encode(
        [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/"), (":authority", "a.b")]))
    connect = frame(HEADERS, END_HEADERS, 1, e().encode([(":method", "CONNECT"), (":authority", "a.b:443")]))
    post = request(e(), 1, 0, ("content-length", "11"), method="POST")
    rst = frame(RST, 0, 1, struct.pack(">I", 8))
    seeds = {"settings_and_get": start + one, "two_streams_cookies": start + two, "post_padded": start + post + body,
             "trailers": start + trailers, "continuation_cut_in_bytes": start + continued, "websocket": start + websocket,
             "websocket_and_data": start + websocket + frame(DATA, 0, 1, b"early"), "connect": start + connect,
             "reset": start + post + rst, "ping_and_window": start + one + frame(PING, 0, 0, b"12345678")
             + frame(WINDOW, 0, 0, b"\0\0\1\0") + frame(WINDOW, 0, 1, b"\0\0\1\0"),
             "priority": start + frame(PRIORITY, 0, 1, b"\0\0\0\3\7") + one,
             "goaway": start + one + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)),
             "goaway_then_get": start + frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0)) + one,
             "too_many_continuations": start + frame(HEADERS, 0, 1, block) + frame(CONTINUATION, 0, 1, b"\0\1x\1y") * 40,
             "small_peer_window": PREFACE + settings((4, 3), (5, 16384), (3, 1)) + post + body,
             "content_length_wrong": start + request(e(), 1, 0, ("content-length", "2"), method="POST") + body,
             "upper_case_name": start + request(e(), 1, END_STREAM, ("X-A", "1")),
             "connection_field": start + request(e(), 1, END_STREAM, ("connection", "close")),
             "data_on_idle_stream": start + frame(DATA, END_STREAM, 5, b"x"), "settings_ack": start + frame(SETTINGS, ACK) + one}
    return {name: bytes([0x40 + at % 8 + (8 if "trailers" in name else 0)]) + wire for at, (name, wire) in enumerate(seeds.items())}


def h2_client():
    """The first byte is client_side.h's How."""
    def answer(encoder, stream, flags, status, *fields):
        return frame(HEADERS, flags | END_HEADERS, stream, encoder.encode([(":status", status), *fields]))

    start, e = settings() + frame(SETTINGS, ACK), hpack.Encoder
    coder = e()
    two = (answer(coder, 1, 0, "200", ("content-length", "4")) + answer(coder, 3, END_STREAM, "404")
           + frame(DATA, END_STREAM, 1, b"body"))
    coder = e()
    trailers = (answer(coder, 1, 0, "200") + frame(DATA, 0, 1, b"body")
                + frame(HEADERS, END_STREAM | END_HEADERS, 1, coder.encode([("grpc-status", "0")])))
    coder = e()
    early = answer(coder, 1, 0, "103", ("link", "</a>")) + answer(coder, 1, END_STREAM, "204")
    block = e().encode([(":status", "200"), ("x-long", "y" * 60)])
    continued = frame(HEADERS, END_STREAM, 1, block[:3]) + frame(CONTINUATION, END_HEADERS, 1, block[3:])
    seeds = {"answer": start + answer(e(), 1, END_STREAM, "200"), "two_answers": start + two, "trailers": start + trailers,
             "early_hints": start + early, "continuation": start + continued,
             "refused": start + frame(RST, 0, 1, struct.pack(">I", 7)) + frame(RST, 0, 3, struct.pack(">I", 8)),
             "goaway": start + frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)) + answer(e(), 1, END_STREAM, "200"),
             "window_opens": settings((4, 1)) + frame(WINDOW, 0, 3, b"\0\0\0\5") + answer(e(), 1, END_STREAM, "200"),
             "one_stream_at_most": settings((3, 1)) + answer(e(), 1, END_STREAM, "200"),
             "status_of_two_digits": start + answer(e(), 1, END_STREAM, "20"),
             "push": start + frame(5, END_HEADERS, 1, b"\0\0\0\2" + e().encode([(":method", "GET")])),
             "tunnel": start + answer(e(), 1, 0, "200") + frame(DATA, 0, 1, b"bytes") + frame(DATA, END_STREAM, 1)}
    return {name: bytes([0x44 if name == "tunnel" else 0x40 + at % 4]) + wire for at, (name, wire) in enumerate(seeds.items())}


def main():
    for target in (tls_inspector, proxy_protocol, metadata_exchange, h2_server, h2_client):
        folder = SEEDS / target.__name__
        folder.mkdir(parents=True, exist_ok=True)
        for name, seed in target().items():
            (folder / name).write_bytes(seed)
        print(f"{target.__name__}: {len(list(folder.iterdir()))} seeds")


if __name__ == "__main__":
    sys.exit(main())
