"""envoy.filters.http.compressor: the same answers in the same codings as real Envoy, and they decode to what the origin sent."""
import gzip
import subprocess
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from support import config as c
from support import h2
from support.client import RawClient
from support.lab import Lab
from support.proxy import ENVOY, PINNACE

TYPE = "type.googleapis.com/envoy.extensions."
LIBRARIES = {"brotli": "brotli.compressor.v3.Brotli", "zstd": "zstd.compressor.v3.Zstd", "gzip": "gzip.compressor.v3.Gzip"}
NAMES = {"brotli": "br", "zstd": "zstd", "gzip": "gzip"}
TEXT = b"hello " * 100
LONG = bytes(i * i % 251 for i in range(3 << 20))

TYPES = ["text/html", "text/plain", "text/css", "application/javascript", "application/x-javascript", "text/javascript",
         "text/x-javascript", "text/ecmascript", "text/js", "text/jscript", "text/x-js", "application/ecmascript", "application/x-json",
         "application/xml", "application/json", "image/svg+xml", "text/xml", "application/xhtml+xml", "application/grpc-web", "Text/HTML",
         "text/plain; charset=utf-8", "text/plain;charset=x", "application/grpc", "application/octet-stream", "text/plaintext", "text/markdown", ""]
ACCEPTED = [None, "", "*", "gzip;q=0", "gzip;q=0, *", "identity", "identity;q=0.5, gzip;q=0.2", "br", "zstd", "deflate", "gzip, br", "br, gzip",
            "gzip;q=0.5, br;q=0.6", "GZIP", "gzip ; q=0.3", "*;q=0.5, gzip;q=0.1", "identity, gzip", "x;q=1", "gzip;q=abc", "gzip;q=1.5",
            "gzip;q=-1", "gzip;foo=bar", "*;q=0"]
FIELDS = [("cache-control", v) for v in ("no-transform", "no-cache, no-transform", "No-Transform", "public")] \
    + [("etag", v) for v in ('"abc"', 'W/"abc"', 'w/"abc"')] + [("content-encoding", v) for v in ("gzip", "identity", "")] \
    + [("vary", v) for v in ("Origin", "accept-encoding", "Accept-Encoding, x", "*")]
CASES = [(f"?content-type={quote(t)}", "gzip") for t in TYPES] + [("", a) for a in ACCEPTED] \
    + [(f"?{name}={quote(value)}", "gzip") for name, value in FIELDS] + [(f"?size={n}", "gzip") for n in (0, 1, 29, 30, 31)] \
    + [(f"?status={s}", "gzip") for s in (201, 204, 206, 301, 304, 404, 500)] + [("?how=chunked", "gzip"), ("?how=close", "gzip")]


def compressor(kind, **fields):
    library = {"name": "my_" + kind, "typed_config": {"@type": TYPE + "compression." + LIBRARIES[kind]}}
    return {"name": "compressor." + kind, "typed_config": {"@type": TYPE + "filters.http.compressor.v3.Compressor",
                                                           "compressor_library": library, **(fields or {"response_direction_config": {}})}}


def filters(*compressors):
    return [*compressors, {"name": "router", "typed_config": {"@type": c.ROUTER}}]


def answer(x):
    """As the query says: status, size and how of the body; the rest are fields of the head."""
    asked = dict(parse_qsl(urlsplit(x.target).query, keep_blank_values=True))
    status, size, how = int(asked.pop("status", 200)), asked.pop("size", None), asked.pop("how", "length")
    body = TEXT if size is None else b"x" * int(size)
    fields = list(asked.items())
    if how == "length":
        return x.reply(status, body, fields)
    if how == "chunked":
        return x.chunked([body], fields)
    x.read_body()
    x.send("HTTP/1.1 200 OK\r\n" + "".join(f"{k}: {v}\r\n" for k, v in fields) + "\r\n")
    x.send(body)
    return x.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("pair"))
    origin = lab.origin()
    origin.default = answer
    yield [lab.http(origin, binary=binary, http_filters=filters(*map(compressor, LIBRARIES))) for binary in (ENVOY, PINNACE)]
    lab.close()


def told(proxy, path, accepted):
    client = RawClient(proxy.port)
    got = client.get("/" + path, headers=[] if accepted is None else [("accept-encoding", accepted)])
    client.close()
    return {"status": got.status, **{k: got.get(k) for k in ("content-encoding", "vary", "content-length", "transfer-encoding", "etag")}}


def test_the_answers_are_coded_alike(pair):
    different = []
    for path, accepted in CASES:
        theirs, ours = (told(proxy, path, accepted) for proxy in pair)
        if theirs != ours:
            different.append(f"{path} accept-encoding {accepted}: envoy {theirs}, pinnace {ours}")
    assert not different, "\n".join(different)


def test_and_counted_alike(pair):
    for path, accepted in CASES:
        for proxy in pair:
            told(proxy, path, accepted)

    def counted(proxy):
        values = dict(line.rsplit(": ", 1) for line in proxy.admin("/stats?usedonly&filter=compressor").text.splitlines())
        # Sizes are the library's affair, and requests are not compressed here.
        return {k: v for k, v in values.items() if "compressed_bytes" not in k and ".request." not in k}

    theirs, ours = map(counted, pair)
    assert theirs == ours and len(ours) >= 20


@pytest.mark.parametrize("kind", LIBRARIES)
@pytest.mark.parametrize("down", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_what_is_coded_decodes_to_what_was_sent(lab, kind, down, how):
    origin = lab.origin()
    pieces = [LONG[i:i + 70001] for i in range(0, len(LONG), 70001)]
    origin.default = lambda x: x.reply(200, LONG) if how == "length" else x.chunked(pieces, trailers=[("t", "1")])
    proxy = lab.http(origin, http_filters=filters(compressor(kind)))
    done = subprocess.run(["curl", "-sS", "-D", "-", "-o", "-", "--compressed", down, "-H", f"accept-encoding: {NAMES[kind]}",
                           f"http://127.0.0.1:{proxy.port}/"], capture_output=True, timeout=60)
    head, body = done.stdout.split(b"\r\n\r\n", 1)
    assert b"content-encoding: " + NAMES[kind].encode() in head and body == LONG, done.stderr
    coded, plain = (proxy.stat(f"http.test.compressor.my_{kind}.{kind}.response.total_{x}_bytes") for x in ("compressed", "uncompressed"))
    assert plain == len(LONG) and 0 < coded < plain


@pytest.mark.parametrize("kind", LIBRARIES)
def test_a_piece_of_an_endless_answer_can_be_decoded_before_the_next(lab, kind):
    """Server-sent events pass a compressor without waiting for more."""
    def events(x):
        x.send("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n6\r\nevent1\r\n")
        x.hang()
    proxy = lab.http(lab.origin().on("/events", events), http_filters=filters(compressor(kind)))
    curl = subprocess.Popen(["curl", "-sSN", "--compressed", "-H", f"accept-encoding: {NAMES[kind]}", f"http://127.0.0.1:{proxy.port}/events"],
                            stdout=subprocess.PIPE)
    try:
        assert curl.stdout.read(6) == b"event1"
    finally:
        curl.terminate()
        curl.wait(10)


def test_trailers_follow_the_coded_body(lab):
    origin = lab.origin(raw=h2.speak)

    def script(x):
        x.read_body()
        x.head(200)
        x.send(TEXT)
        x.end_with([("t", "1")])
    origin.default = script
    proxy = lab.http(c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2()), http_filters=filters(compressor("gzip")))
    got = h2.Client(lab.client(proxy.port)).get("/", fields=[("accept-encoding", "gzip")])
    assert gzip.decompress(got.body) == TEXT and got.trailer("t") == "1"


@pytest.mark.parametrize("fields, path, coded", [
    ({"response_direction_config": {"common_config": {"enabled": {"default_value": False, "runtime_key": "k"}}}}, "", False),
    ({"response_direction_config": {"common_config": {"min_content_length": 601}}}, "", False),
    ({"response_direction_config": {"common_config": {"content_type": ["image/PNG"]}}}, "?content-type=image/png", True),
    ({"response_direction_config": {"common_config": {"content_type": ["image/png"]}}}, "?content-type=text/html", False),
    ({"response_direction_config": {"disable_on_etag_header": True}}, "?etag=x", False),
    ({"response_direction_config": {"uncompressible_response_codes": [206]}}, "?status=206", False),
    ({"content_length": 601}, "", False),
    ({"content_type": ["image/png"]}, "?content-type=image/png", True),
], ids=str)
@pytest.mark.parametrize("binary", [ENVOY, PINNACE], ids=["envoy", "pinnace"])
def test_its_fields_are_heeded(lab, binary, fields, path, coded):
    origin = lab.origin()
    origin.default = answer
    proxy = lab.http(origin, binary=binary, http_filters=filters(compressor("gzip", **fields)))
    assert (told(proxy, path, "gzip")["content-encoding"] == "gzip") == coded


def test_the_origin_need_not_hear_what_the_client_accepts(lab):
    origin = lab.origin()
    proxy = lab.http(origin, http_filters=filters(compressor("gzip", response_direction_config={"remove_accept_encoding_header": True})))
    assert told(proxy, "", "gzip")["content-encoding"] is None  # "origin" is shorter than 30 bytes
    assert origin.requests[0].get("accept-encoding") is None
