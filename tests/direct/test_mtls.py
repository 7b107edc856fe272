"""TLS on both sides: who is let in, who is refused, what the peer learns, and how secrets come and change."""
import ssl
import urllib.parse

import pytest
from support import config as c
from support import pki
from support.load import Load
from support.wait import eventually, free_port
from support.xds_server import secret_ca, secret_cert


def tls_http(lab, cert, ca, origin=None, alpn=(), require=True, prefix=None, clusters=None, params=None, **hcm):
    origin = origin or lab.origin()
    tls = c.downstream_tls(require=require, cert=cert, ca=ca.pem if ca else None, prefix=prefix, alpn=alpn, params=params)
    return lab.http(*(clusters or [origin]), chain={"tls": tls}, **hcm)


def refused(lab, port, context):
    """The handshake, or the first read after it (TLS 1.3 tells the client late), fails with an alert or a close."""
    with pytest.raises((ssl.SSLError, ConnectionResetError, OSError)):
        client = lab.client(port, tls=context)
        assert client.get("/").status == 0, "a request was answered"
    return True


def test_a_client_with_a_good_certificate_is_served(lab):
    ca = lab.ca()
    proxy = tls_http(lab, ca.issue("server"), ca, prefix=pki.DOMAIN)
    client = lab.client(proxy.port, tls=pki.client_context(ca.issue("client"), ca))
    assert client.get("/").text == "origin"
    assert client.socket.version() == "TLSv1.3"
    assert proxy.stat("http.test.downstream_cx_ssl_total") == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("who, stat", [
    ("nobody", "fail_verify_no_cert"), ("stranger", "fail_verify_error"), ("expired", "fail_verify_error"),
    ("elsewhere", "fail_verify_san"), ("dns only", "fail_verify_san"), ("server only", "fail_verify_error"),
    ("prefix in dns", "fail_verify_san")])
def test_who_is_refused(lab, who, stat, version):
    ca = lab.ca()
    cert = {"nobody": lambda: None, "stranger": lambda: lab.ca("stranger").issue("client"),
            "expired": lambda: ca.issue("client", days=-1), "elsewhere": lambda: ca.issue(uri="spiffe://other.local/ns/x/sa/y"),
            "dns only": lambda: ca.issue(uri="", dns="cluster.local"), "server only": lambda: ca.issue(usage="serverAuth"),
            "prefix in dns": lambda: ca.issue(san="DNS:x.y,URI:https://a/?" + pki.DOMAIN)}[who]()
    proxy = tls_http(lab, ca.issue("server"), ca, prefix=pki.DOMAIN, listener={"stat_prefix": "tls"})
    assert refused(lab, proxy.port, pki.client_context(cert, maximum=version))
    assert lab.client(proxy.port, tls=pki.client_context(ca.issue("client"))).get("/").status == 200
    eventually(lambda: proxy.stat(f"listener.tls.ssl.{stat}") >= 1, 2, stat)


def test_plaintext_to_a_tls_chain_is_closed_without_an_answer(lab):
    ca = lab.ca()
    proxy = tls_http(lab, ca.issue("server"), ca)
    client = lab.client(proxy.port)
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.closed_or_reset()
    assert lab.client(proxy.port, tls=pki.client_context(ca.issue("client"))).get("/").status == 200


def test_without_required_client_certificate_anyone_is_served_but_a_bad_one_is_not(lab):
    ca = lab.ca()
    proxy = tls_http(lab, ca.issue("server"), ca, require=False)
    assert lab.client(proxy.port, tls=pki.client_context(ca=ca)).get("/").status == 200
    assert refused(lab, proxy.port, pki.client_context(lab.ca("stranger").issue()))


DETAILS = {"subject": True, "uri": True, "dns": True}
SENT = "By=spiffe://x/y;Hash=00;URI=spiffe://fake"


@pytest.mark.parametrize("mode, incoming, want", [
    ("SANITIZE", SENT, None), ("FORWARD_ONLY", SENT, SENT), ("APPEND_FORWARD", None, "{own}"),
    ("APPEND_FORWARD", SENT, SENT + ",{own}"), ("SANITIZE_SET", SENT, "{own}"), ("ALWAYS_FORWARD_ONLY", SENT, SENT)])
def test_the_origin_learns_the_client_by_xfcc(lab, mode, incoming, want):
    ca, origin = lab.ca(), lab.origin()
    cert = ca.issue("client", dns="c.example.com")
    proxy = tls_http(lab, ca.issue("server"), ca, origin, forward_client_cert_details=mode, set_current_client_cert_details=DETAILS)
    headers = [("x-forwarded-client-cert", incoming)] if incoming else []
    assert lab.client(proxy.port, tls=pki.client_context(cert)).get("/", headers=headers).status == 200
    own = (f'By={pki.DOMAIN}server;Hash={cert.fingerprint()};Subject="CN=client,O=test";URI={pki.DOMAIN}client;DNS=c.example.com')
    assert origin.requests[0].get("x-forwarded-client-cert") == (want and want.format(own=own))


def test_the_origin_is_told_the_whole_chain_where_that_is_asked_for(lab):
    ca, origin = lab.ca(), lab.origin()
    cert = ca.issue("client")
    proxy = tls_http(lab, ca.issue("server"), ca, origin, forward_client_cert_details="SANITIZE_SET",
                     set_current_client_cert_details={"chain": True, "cert": True})
    both = lab.directory / "chain.pem"
    both.write_text(cert.chain + ca.pem)
    context = pki.client_context()
    context.load_cert_chain(both, cert.key_path)
    assert lab.client(proxy.port, tls=context).get("/").status == 200
    fields = dict(part.split("=", 1) for part in origin.requests[0].get("x-forwarded-client-cert").split(";"))
    pems = [urllib.parse.unquote(fields[name].strip('"')) for name in ("Cert", "Chain")]
    bare = [ssl.PEM_cert_to_DER_cert(x[x.index("-----BEGIN"):]) for x in (cert.chain, ca.pem)]
    assert ssl.PEM_cert_to_DER_cert(pems[0]) == bare[0]
    assert [ssl.PEM_cert_to_DER_cert(x + "-----END CERTIFICATE-----\n") for x in pems[1].split("-----END CERTIFICATE-----\n")[:-1]] == bare


@pytest.mark.parametrize("mode", ["SANITIZE", "FORWARD_ONLY", "APPEND_FORWARD", "SANITIZE_SET"])
def test_a_plaintext_client_cannot_pretend_an_identity(lab, mode):
    origin = lab.origin()
    proxy = lab.http(origin, forward_client_cert_details=mode, set_current_client_cert_details=DETAILS)
    lab.client(proxy.port).get("/", headers=[("X-Forwarded-Client-Cert", SENT)])
    assert origin.requests[0].get("x-forwarded-client-cert") is None


def test_a_client_that_resumes_its_session_is_still_known(lab):
    ca, origin = lab.ca(), lab.origin()
    proxy = tls_http(lab, ca.issue("server"), ca, origin, prefix=pki.DOMAIN, forward_client_cert_details="SANITIZE_SET",
                     set_current_client_cert_details=DETAILS)
    context = pki.client_context(ca.issue("client"), ca)
    first = lab.client(proxy.port, tls=context)
    assert first.get("/").status == 200
    second = lab.client(proxy.port, tls=context, session=first.socket.session)
    assert second.get("/").status == 200
    assert second.socket.session_reused
    seen = [x.get("x-forwarded-client-cert") for x in origin.requests]
    assert seen[0] == seen[1] and pki.DOMAIN + "client" in seen[0]


def test_a_session_is_not_resumed_across_another_configuration(lab):
    """CVE-2022-21654: a ticket of the chain for a.x must not open the one for b.x, which trusts somebody else."""
    ca, other, origin, port = lab.ca(), lab.ca("other"), lab.origin(), free_port()
    server = ca.issue("server")
    chains = [c.chain(c.hcm([c.route("/", "o")]), tls=c.downstream_tls(cert=server, ca=trusted.pem), match={"server_names": [name]})
              for name, trusted in (("a.x", ca), ("b.x", other))]
    lab.proxy(c.bootstrap([c.listener("two", port, *chains, inspect=["tls"])], [c.cluster("o", origin.port)]))
    context = pki.client_context(ca.issue("client"))
    first = lab.client(port, tls=context, sni="a.x")
    assert first.get("/").status == 200
    session = first.socket.session
    with pytest.raises(OSError):
        second = lab.client(port, tls=context, sni="b.x", session=session)
        assert second.get("/").status == 0


def test_upstream_mtls_shows_our_certificate_and_checks_theirs(lab):
    ca = lab.ca()
    origin = lab.origin(tls=pki.server_context(ca.issue("server"), ca, require=True, alpn=["istio"]))
    tls = c.upstream_tls(cert=ca.issue("me"), ca=ca.pem, exact=pki.DOMAIN + "server", alpn=["istio"], sni="outbound_.80_._.a.b",
                         params={"tls_maximum_protocol_version": "TLSv1_3"})
    proxy = lab.http(c.cluster("up", origin.port, transport_socket=tls))
    assert lab.client(proxy.port).get("/").text == "origin"
    assert ("URI", pki.DOMAIN + "me") in origin.peer_certs[0]["subjectAltName"]


def test_upstream_sessions_are_resumed(lab):
    ca = lab.ca()

    def once(x):
        x.reply(200, b"x", [("connection", "close")])
        x.close()
    origin = lab.origin(tls=pki.server_context(ca.issue("server"), ca, require=True))
    origin.default = once
    tls = c.upstream_tls(cert=ca.issue("me"), ca=ca.pem, params={"tls_maximum_protocol_version": "TLSv1_3"})
    proxy = lab.http(c.cluster("up", origin.port, transport_socket=tls))
    client = lab.client(proxy.port)
    for _ in range(4):
        assert client.get("/").status == 200
    assert origin.resumed[0] is False and any(origin.resumed[1:])


def test_transport_socket_matches_choose_per_endpoint(lab):
    ca = lab.ca()
    secure = lab.origin("secure", tls=pki.server_context(ca.issue("server"), ca, require=True))
    plain = lab.origin("plain")
    tls = c.upstream_tls(cert=ca.issue("me"), ca=ca.pem)
    matches = [{"name": "tls", "match": {"tlsMode": "istio"}, "transport_socket": tls},
               {"name": "plain", "match": {}, "transport_socket": {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {
                   "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}]
    proxy = lab.http(c.cluster("mixed", c.endpoint(secure.port, metadata={"tlsMode": "istio"}), c.endpoint(plain.port),
                               transport_socket_matches=matches))
    client = lab.client(proxy.port)
    assert sorted({client.get("/").text for _ in range(10)}) == ["plain", "secure"]
    assert secure.tls_errors == []


def sds(lab, delta=True, cert=True, ca_secret=True, **options):
    """A TLS listener with identity and trust by ADS; returns (ads, ca, port)."""
    ads, ca, port, origin = lab.ads(), lab.ca(), free_port(), lab.origin()
    tls = c.downstream_tls(sds="default", sds_ca="ROOTCA", prefix=pki.DOMAIN)
    ads.set("cluster", c.cluster("o", origin.port))
    ads.set("listener", c.listener("tls", port, c.chain(c.hcm([c.route("/", "o")], log=False), tls=tls)))
    if cert:
        ads.set("secret", secret_cert("default", ca.issue("server")))
    if ca_secret:
        ads.set("secret", secret_ca("ROOTCA", ca.pem))
    proxy = lab.proxy(c.ads_bootstrap(ads.address, delta), wait_ready=False, concurrency=2, **options)
    return ads, ca, port, proxy


@pytest.mark.parametrize("delta", [True, False])
def test_a_listener_serves_with_secrets_from_ads(lab, delta):
    ads, ca, port, proxy = sds(lab, delta)
    proxy.wait_ready()
    assert lab.client(port, tls=pki.client_context(ca.issue("client"), ca)).get("/").text == "origin"
    assert refused(lab, port, pki.client_context(lab.ca("stranger").issue()))
    assert refused(lab, port, pki.client_context(ca.issue(uri="spiffe://other/x")))


@pytest.mark.parametrize("missing", ["cert", "ca_secret"])
def test_no_handshake_before_every_secret_is_there(lab, missing):
    """CVE-2020-8664: fail closed while the validation context (or the identity) has not come."""
    ads, ca, port, proxy = sds(lab, **{missing: False})
    eventually(lambda: {"default", "ROOTCA"} <= ads.subscribed("secret"))
    for who in (ca.issue("client"), lab.ca("stranger").issue(), None):
        assert refused(lab, port, pki.client_context(who))
    secret = secret_cert("default", ca.issue("server")) if missing == "cert" else secret_ca("ROOTCA", ca.pem)
    ads.set("secret", secret)
    proxy.wait_ready()
    assert refused(lab, port, pki.client_context(lab.ca("stranger2").issue()))
    assert lab.client(port, tls=pki.client_context(ca.issue("client"), ca)).get("/").text == "origin"


def test_a_rotated_certificate_serves_new_handshakes_and_drops_no_connection(lab):
    ads, ca, port, proxy = sds(lab)
    proxy.wait_ready()
    mine = ca.issue("client")
    context = pki.client_context(mine, ca)
    kept = lab.client(port, tls=context)
    assert kept.get("/").status == 200
    load = lab.keep(Load(port, threads=2, tls=context))

    def serial():
        client = lab.client(port, tls=pki.client_context(mine, ca))
        got = ssl.DER_cert_to_PEM_cert(client.socket.getpeercert(True))
        client.close()
        return got
    for i in range(5):
        fresh = ca.issue("server")
        ads.set("secret", secret_cert("default", fresh))
        want = ssl.DER_cert_to_PEM_cert(ssl.PEM_cert_to_DER_cert(fresh.chain))
        eventually(lambda: serial() == want)
    assert kept.get("/").status == 200
    load.must_be_flawless(50)
    assert load.reconnects == 0
    serials = [x["cert_chain"][0]["serial_number"] for x in proxy.admin_json("/certs")["certificates"] if x["cert_chain"]]
    assert fresh.serial().lstrip("0") in [s.lstrip("0") for s in serials]


def test_a_rotated_root_changes_who_is_let_in(lab):
    ads, ca, port, proxy = sds(lab)
    proxy.wait_ready()
    other = lab.ca("next")
    newcomer = other.issue("client")
    assert refused(lab, port, pki.client_context(newcomer))
    ads.set("secret", secret_ca("ROOTCA", ca.pem + other.pem))
    def in_now():
        return lab.client(port, tls=pki.client_context(newcomer)).get("/").status == 200
    eventually(in_now)
    assert lab.client(port, tls=pki.client_context(ca.issue("client"))).get("/").status == 200
    ads.set("secret", secret_ca("ROOTCA", other.pem))
    def out_now():
        try:
            return lab.client(port, tls=pki.client_context(ca.issue("client"))).get("/").status != 200
        except OSError:
            return True
    eventually(out_now)


def test_a_broken_secret_is_nacked_and_the_old_one_serves(lab):
    ads, ca, port, proxy = sds(lab)
    proxy.wait_ready()
    good, other = ca.issue("server"), ca.issue("other")
    mixed = secret_cert("default", good)
    mixed["tls_certificate"]["private_key"]["inline_string"] = other.key
    ads.set("secret", mixed)
    message = ads.wait("secret")
    assert message and "default" in message and "PRIVATE" not in message
    assert lab.client(port, tls=pki.client_context(ca.issue("client"), ca)).get("/").status == 200


def test_private_keys_never_leave_by_the_admin(lab):
    ads, ca, port, proxy = sds(lab)
    proxy.wait_ready()
    text = proxy.admin("/config_dump?include_eds").text
    assert "PRIVATE KEY" not in text and "[redacted]" in text
    assert "PRIVATE KEY" not in proxy.log()
