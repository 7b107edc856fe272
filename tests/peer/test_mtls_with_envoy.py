"""mTLS between a real Envoy and pinnace, each as client and as server, HTTP and bare TCP; identities by XFCC."""
import pytest
from support import config as c
from support import pki
from support.proxy import ENVOY, PINNACE
from support.wait import free_port

PAIRS = [pytest.param(ENVOY, PINNACE, id="envoy-to-pinnace"), pytest.param(PINNACE, ENVOY, id="pinnace-to-envoy")]


def tunnel(lab, front_binary, back_binary, server_cert, client_cert, ca, exact=None, h2=False, tcp=False, alpn=("istio", "h2", "http/1.1")):
    """client → front (originates mTLS) → back (terminates it) → origin; returns (front, back, origin)."""
    origin = lab.origin(raw=(lambda s, _: [s.sendall(d) for d in iter(lambda: s.recv(65536), b"")]) if tcp else None)
    port, entry = free_port(), free_port()
    down = c.downstream_tls(cert=server_cert, ca=ca.pem, prefix=pki.DOMAIN, alpn=["h2"] if h2 else list(alpn))
    plain = [c.cluster("o", origin.port)]
    details = {"forward_client_cert_details": "APPEND_FORWARD", "set_current_client_cert_details": {"subject": True, "uri": True, "dns": True}}
    inner = c.tcp_proxy("o") if tcp else c.hcm([c.route("/", "o")], **details)
    back = lab.proxy(c.bootstrap([c.listener("in", port, c.chain(inner, tls=down), inspect=["tls"])], plain), binary=back_binary)
    up = c.upstream_tls(cert=client_cert, ca=ca.pem, exact=exact or pki.DOMAIN + "server", sni="outbound_.80_._.x.y",
                        alpn=["h2"] if h2 else ["istio"], params={"tls_maximum_protocol_version": "TLSv1_3"})
    options = {"typed_extension_protocol_options": c.http2()} if h2 else {}
    outer = c.tcp_proxy("back") if tcp else c.hcm([c.route("/", "back")])
    front = lab.proxy(c.bootstrap([c.listener("out", entry, outer)], [c.cluster("back", port, transport_socket=up, **options)]),
                      binary=front_binary)
    front.port = entry
    return front, back, origin


@pytest.mark.parametrize("front, back", PAIRS)
@pytest.mark.parametrize("h2", [False, True], ids=["h1", "h2"])
def test_requests_cross_with_the_callers_identity(lab, front, back, h2):
    ca = lab.ca()
    front, back, origin = tunnel(lab, front, back, ca.issue("server"), ca.issue("caller"), ca, h2=h2)
    client = lab.client(front.port)
    origin.default = lambda x: x.reply(200, x.read_body())
    for body in (b"", b"x" * 100, b"y" * 300000):
        assert client.get("/p", method="POST", body=body).body == body
    xfcc = origin.requests[0].get("x-forwarded-client-cert")
    assert f"By={pki.DOMAIN}server;" in xfcc and f"URI={pki.DOMAIN}caller" in xfcc
    assert origin.connections == 1


@pytest.mark.parametrize("front, back", PAIRS)
def test_bytes_cross_a_tcp_tunnel(lab, front, back):
    ca = lab.ca()
    front, back, _ = tunnel(lab, front, back, ca.issue("server"), ca.issue("caller"), ca, tcp=True)
    client = lab.client(front.port)
    body = bytes(range(256)) * 8192
    client.send_slowly_from_thread(body)
    assert client.reader.exactly(len(body)) == body


@pytest.mark.parametrize("front, back", PAIRS)
@pytest.mark.parametrize("case", ["wrong server", "wrong client", "stranger client", "expired client", "expired server"])
def test_who_is_not_whom_he_should_be_is_refused(lab, front, back, case):
    ca = lab.ca()
    server = ca.issue("server", days=-1 if case == "expired server" else 10)
    caller = {"wrong client": lambda: ca.issue(uri="spiffe://other/ns/a/sa/b"), "stranger client": lambda: lab.ca("stranger").issue("caller"),
              "expired client": lambda: ca.issue("caller", days=-1)}.get(case, lambda: ca.issue("caller"))()
    exact = pki.DOMAIN + "somebody-else" if case == "wrong server" else None
    front, back, origin = tunnel(lab, front, back, server, caller, ca, exact=exact)
    assert lab.client(front.port).get("/").status == 503
    assert front.next_log()["flags"] in ("UF", "UC")
    assert origin.requests == []


@pytest.mark.parametrize("front, back", PAIRS)
def test_sessions_are_resumed_between_the_two(lab, front, back):
    ca = lab.ca()
    front, back, origin = tunnel(lab, front, back, ca.issue("server"), ca.issue("caller"), ca)
    for _ in range(4):
        client = lab.client(front.port)
        assert client.get("/", headers=[("connection", "close")]).status == 200
    assert "URI" in origin.requests[-1].get("x-forwarded-client-cert")
