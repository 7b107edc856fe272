"""envoy.filters.http.grpc_web: the same gRPC-Web calls through real Envoy and pinnace, byte by byte on both sides."""
import base64

import pytest
from support import config as c
from support import h2
from support.client import Closed, RawClient
from support.lab import Lab
from support.origin import Origin
from support.proxy import ENVOY, PINNACE
from support.wait import eventually

WEB, TEXT, GRPC = "application/grpc-web", "application/grpc-web-text", "application/grpc"
FILTERS = [{"name": "envoy.filters.http.grpc_web", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.grpc_web.v3.GrpcWeb"}},
           {"name": "envoy.filters.http.router", "typed_config": {"@type": c.ROUTER}}]


def message(text=b"abc", flag=0):
    return bytes([flag]) + len(text).to_bytes(4, "big") + text


def answering(*parts, status=200, kind=GRPC, head=(), trailers=(("grpc-status", "0"), ("grpc-message", "fine"), ("x-other", "a:b"))):
    def script(x):
        x.read_body()
        x.head(status, [("content-type", kind), *head], end=not parts and not trailers)
        for part in parts:
            x.send(part, end=part is parts[-1] and not trailers)
        if trailers:
            x.end_with(trailers)
    return script


def broken(x):
    x.read_body()
    x.head(200, [("content-type", GRPC)])
    x.send(message())
    x.reset()


ALL = message() + message(b"") + message(b"z" * 20)
ANSWERS = {"one": answering(message()), "three": answering(ALL), "bytes": answering(*[bytes([b]) for b in ALL]), "cuts": answering(ALL[:7], ALL[7:300], ALL[300:]),
           "large": answering(message(bytes(range(256)) * 800)), "compressed": answering(message(b"x", 1)), "empty": answering(),
           "only": answering(trailers=(), head=[("grpc-status", "7"), ("grpc-message", "no")]), "bare": answering(trailers=()),
           "no status": answering(message(), trailers=[("x", "y")]), "no trailers": answering(message(), trailers=()),
           "length": answering(message(), head=[("content-length", "8")]), "+proto": answering(message(), kind=GRPC + "+proto"),
           "201": answering(message(), status=201), "500": answering(b"went wrong: 50% \n\xc3\xbc", status=500, kind="text/plain", trailers=()),
           "404": answering(b"not", b" here", status=404, kind="text/plain", head=[("content-length", "8")], trailers=()), "429": answering(status=429, trailers=()),
           "html": answering(b"<html>", kind="text/html", trailers=()), "html, trailers": answering(b"<html>", kind="text/html"),
           "foreign, long": answering(*[b"y" * 6000] * 5, status=503, kind="text/plain", trailers=()),
           "web": answering(message(), message(b"grpc-status: 0\r\n", 0x80), kind=WEB + "+proto; a=b", trailers=()), "broken": broken}
REQUESTS = {"binary": (WEB, None, ALL), "binary+proto": (WEB + "+proto", WEB, ALL), "text": (TEXT, TEXT, base64.b64encode(ALL)),
            "text+proto": (TEXT + "+proto", TEXT + "+proto", base64.b64encode(ALL)), "text in, binary out": (TEXT, WEB, base64.b64encode(message())),
            "binary in, text out": (WEB, TEXT, message())}
# of requests that fail or are none of gRPC-Web
ODD = {"bad size": (TEXT, TEXT, b"AAAAA"), "bad letter": (TEXT, None, b"AA*A"), "bad bits": (TEXT, None, b"AB=="), "empty text": (TEXT, TEXT, b""), "empty": (WEB, None, b""),
       "json": (WEB + "+json", None, message()), "grpc": (GRPC, None, message()), "plain": ("text/plain", None, b"x"), "upper": (WEB.upper(), None, message()),
       "parameter": (WEB + ";charset=utf-8", None, message())}
UNSENT = ("x-request-id", "date", "x-envoy-upstream-service-time", "x-forwarded-proto", "x-envoy-expected-rq-timeout-ms")


def made(lab, binary):
    grpc, plain = lab.keep(Origin(raw=h2.speak)), lab.keep(Origin("plain"))
    for name, script in ANSWERS.items():
        grpc.on("/s.S/" + name.replace(" ", ""), script)
    grpc.default = ANSWERS["one"]
    routes = [c.route("/none", "empty"), c.route("/unknown", "unknown"), c.route("/direct", {"direct_response": {"status": 503, "body": {"inline_string": "no"}}}),
              c.route("/h1", "plain"), c.route("/s.S", "grpc")]
    clusters = [c.cluster("grpc", grpc.port, typed_extension_protocol_options=c.http2()), c.cluster("plain", plain.port), c.cluster("empty")]
    proxy = lab.http(*clusters, binary=binary, http_filters=FILTERS,
                     route_config={"name": "r", "validate_clusters": False, "virtual_hosts": c.virtual_hosts(routes)})
    return proxy, (grpc, plain)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("pair"))
    yield lab, [made(lab, binary) for binary in (ENVOY, PINNACE)]
    lab.close()


def fields(headers):
    return sorted((k, v) for k, v in headers if k not in UNSENT)


def over_h2(lab, proxy, path, sent, body, pieces=1):
    peer = h2.Client(lab.client(proxy.port))
    stream = peer.open("POST", path, fields=sent, end=False)
    size = max(1, -(-len(body) // pieces))
    for at in range(0, max(1, len(body)), size):
        peer.data(stream, body[at:at + size], end=at + size >= len(body))
    side = peer.answer(stream)
    return side.status, fields(side.final or []), side.body, side.trailers, side.ended


def over_h1(lab, proxy, path, sent, body, pieces=1):
    client = RawClient(proxy.port, timeout=5)
    lines = [f"POST {path} HTTP/1.1", "host: a", f"content-length: {len(body)}", *[f"{k}: {v}" for k, v in sent]]
    try:
        client.send(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        answer = client.response("POST")
        return answer.status, fields(answer.headers), answer.body
    except (Closed, ConnectionResetError):
        return "closed"
    finally:
        client.close()


def ask(lab, made_pair, call, path, kind, accept, body, **how):
    """What the client sees, and what the origins."""
    proxy, origins = made_pair
    before = [len(o.requests) for o in origins]
    sent = [("content-type", kind)] + [("accept", accept)] * bool(accept)
    outcome = call(lab, proxy, path, sent, body, **how)
    seen = [x for o, n in zip(origins, before) for x in o.requests[n:]]
    return outcome, [(fields(x.headers), x.body) for x in seen]


def agree(pair, *arguments, **how):
    lab, proxies = pair
    envoy, ours = (ask(lab, made_pair, *arguments, **how) for made_pair in proxies)
    if envoy[0][0] == ours[0][0] == 400:
        envoy, ours = envoy[0], ours[0]  # whether the head had left before the body was looked at is a matter of reads
    assert ours == envoy


# As text, Envoy never ends an answer that is gRPC-Web's already: it waits for a frame without the trailers' flag.
ENDLESS = [(kind, "web") for kind, sent in REQUESTS.items() if sent[1] and TEXT in sent[1]]


@pytest.mark.parametrize("call", [over_h1, over_h2])
@pytest.mark.parametrize("request_kind, answer", [(k, a) for k in REQUESTS for a in ANSWERS if (k, a) not in ENDLESS])
def test_envoy_and_pinnace_agree(pair, call, request_kind, answer):
    agree(pair, call, "/s.S/" + answer.replace(" ", ""), *REQUESTS[request_kind])


@pytest.mark.parametrize("call", [over_h1, over_h2])
@pytest.mark.parametrize("path", ["/s.S/one", "/none/m", "/unknown/m", "/direct/m", "/nowhere/m", "/h1/m"])
@pytest.mark.parametrize("kind", [*ODD, "binary", "text"])
def test_they_agree_on_what_is_odd_and_on_answers_of_their_own(pair, call, path, kind):
    agree(pair, call, path, *{**ODD, **REQUESTS}[kind])


@pytest.mark.parametrize("pieces", [2, 3, 7, 50])
def test_they_agree_on_bodies_in_pieces(pair, pieces):
    agree(pair, over_h2, "/s.S/three", *REQUESTS["text"], pieces=pieces)


def test_they_have_counted_the_same(pair):
    """After all of the above."""
    def counted(proxy):
        return sorted(proxy.admin("/stats?filter=^cluster[.][a-z]*[.]grpc").text.splitlines())
    (envoy, _), (ours, _) = pair[1]
    eventually(lambda: counted(ours) == counted(envoy) and counted(ours), 3)


@pytest.mark.parametrize("call", [over_h1, over_h2])
@pytest.mark.parametrize("request_kind, answer", ENDLESS)
def test_pinnace_ends_where_envoy_does_not(pair, call, request_kind, answer):
    lab, (_, ours) = pair
    (status, _, body, *_), _ = ask(lab, ours, call, "/s.S/" + answer.replace(" ", ""), *REQUESTS[request_kind])
    assert status == 200 and base64.b64decode(body)
