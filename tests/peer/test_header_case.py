"""preserve_case: the names of fields arrive as their senders spelt them, as through Envoy."""
import pytest
from support import config as c
from support.client import RawClient, parse_head
from support.lab import Lab
from support.proxy import ENVOY, PINNACE

PRESERVE = {"header_key_format": {"stateful_formatter": {"name": "preserve_case", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig"}}}}
REQUESTS = {
    "get": "GET /p HTTP/1.1\r\nHOST: a\r\nX-Mixed-Case: Value\r\nlower: 1\r\nUPPER: 2\r\nUser-Agent: me\r\n\r\n",
    "post": "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nX-A: 1\r\nx-a: 2\r\n\r\nbody",
    "chunked": "POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
}
ANSWERS = {
    "length": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Answer: A\r\nSet-Cookie: a=1\r\nset-cookie: b=2\r\n\r\nok",
    "chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nServer: mine\r\nDATE: x\r\n\r\n2\r\nok\r\n0\r\n\r\n",
}


def names(head):
    return sorted(line.split(b":")[0] for line in head.split(b"\r\n")[1:] if line)


def ask(lab, binary, request, answer, down, up):
    def script(exchange):
        exchange.read_body()
        exchange.send(answer)
    origin = lab.origin()
    origin.default = script
    options = c.http_options(explicit_http_config={"http_protocol_options": PRESERVE if up else {}})
    proxy = lab.http(c.cluster("o", origin.port, typed_extension_protocol_options=options), routes=[c.route("/", "o")],
                     http_protocol_options=PRESERVE if down else {}, binary=binary)
    client = RawClient(proxy.port)
    client.send(request)
    head = client.reader.until(b"\r\n\r\n")
    assert parse_head(head)[0].startswith("HTTP/1.1 200")
    seen, = origin.requests
    client.close()
    return names(seen.head), names(head)


@pytest.fixture
def lab(tmp_path):
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("down, up", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("request_kind, answer_kind", [("get", "length"), ("post", "chunked"), ("chunked", "length")])
def test_names_are_spelt_as_through_envoy(lab, request_kind, answer_kind, down, up):
    theirs, ours = (ask(lab, binary, REQUESTS[request_kind], ANSWERS[answer_kind], down, up) for binary in (ENVOY, PINNACE))
    assert ours == theirs
    assert (b"HOST" in ours[0] or b"Host" in ours[0]) == down
