"""HttpProtocolOptions: which protocol an upstream connection speaks, and how many streams share it, as with real Envoy."""
import pytest
from support import config as c
from support import h2
from support.proxy import ENVOY, PINNACE
from support.wait import eventually

both = pytest.mark.parametrize("binary", [PINNACE, ENVOY], ids=["pinnace", "envoy"])
EITHER = {"http_protocol_options": {}, "http2_protocol_options": {}}


def options(**fields):
    return {"typed_extension_protocol_options": {c.OPTIONS: {"@type": "type.googleapis.com/" + c.OPTIONS, **fields}}}


def get(client, protocol):
    return (h2.Client(client) if protocol == "HTTP/2" else client).get("/")


@both
def test_an_upstream_speaks_what_its_client_speaks(lab, binary):
    back = lab.http(lab.origin())
    front = lab.http(c.cluster("back", back.port, **options(use_downstream_protocol_config=EITHER)), binary=binary)
    for protocol in ("HTTP/1.1", "HTTP/2", "HTTP/1.1", "HTTP/2"):
        assert get(lab.client(front.port), protocol).status == 200
        assert back.next_log()["protocol"] == protocol
    assert back.stat("http.test.downstream_cx_total") == 2  # one of each


@both
@pytest.mark.parametrize("offered", [["h2", "http/1.1"], ["h2"], ["http/1.1"], []], ids=lambda x: "+".join(x) or "none")
@pytest.mark.parametrize("down", ["HTTP/1.1", "HTTP/2"])
def test_alpn_decides_where_that_is_asked_for(lab, binary, offered, down):
    ca = lab.ca()
    tls = c.downstream_tls(require=False, cert=ca.issue("back"), alpn=offered)
    back = lab.http(lab.origin(), chain={"tls": tls})
    front = lab.http(c.cluster("back", back.port, transport_socket=c.upstream_tls(ca=ca.pem), **options(auto_config=EITHER)), binary=binary)
    client = lab.client(front.port)
    peer = h2.Client(client) if down == "HTTP/2" else client
    for _ in range(3):
        assert peer.get("/").status == 200
        assert back.next_log()["protocol"] == ("HTTP/2" if "h2" in offered else "HTTP/1.1")
    assert back.stat("http.test.downstream_cx_total") == 1


@both
@pytest.mark.parametrize("told_by", ["the origin", "the configuration"])
def test_a_connection_carries_so_many_streams_and_others_the_rest(lab, binary, told_by):
    """Of a new connection the origin's limit is not yet known: it is filled up to the configured one."""
    configured = {"max_concurrent_streams": 2} if told_by == "the configuration" else {}
    origin = lab.origin(raw=lambda sock, origin: h2.speak(sock, origin, streams=100 if configured else 2)).on("/wait", lambda x: x.hang())
    proxy = lab.http(c.cluster("origin", origin.port, typed_extension_protocol_options=c.http2(configured)), binary=binary)
    client = h2.Client(lab.client(proxy.port))
    assert client.get("/").status == 200  # the origin's SETTINGS have come

    def at_origin():
        return [x for x in origin.requests if x.path == "/wait"]

    waiting = []
    for opened, connections in ((2, 1), (4, 2), *([(6, 3)] if configured else [])):
        waiting += [client.open(path="/wait") for _ in range(2)]
        eventually(lambda count=opened: len(at_origin()) == count, what=f"{opened} streams at the origin")
        assert origin.connections == connections
    used = origin.connections
    for stream in waiting:
        client.send(h2.rst(stream, h2.CANCEL))
    eventually(lambda: all(x.reset_code is not None for x in at_origin()), what="all of them reset")
    assert client.get("/").status == 200 and origin.connections == used
