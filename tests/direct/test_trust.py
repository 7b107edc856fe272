"""Whom a TLS context trusts beyond its root: revocation lists, names, pinned parameters, and what is refused because it
would check nothing."""
import base64
import ssl
import subprocess

import pytest
from support import config as c
from support import pki
from support.wait import eventually, free_port
from support.xds_server import secret_ca, secret_cert

FROM_ADS = {"ads": {}, "resource_api_version": "V3"}


def admitted(lab, port, cert):
    """Whether a client with that certificate is served."""
    try:
        return lab.client(port, tls=pki.client_context(cert)).get("/").status == 200
    except (ssl.SSLError, OSError):
        return False


def by_ads(lab, tls, secrets, cluster=None):
    """A listener with that TLS context, or in front of that cluster, and the secrets, by ADS."""
    ads, port = lab.ads(), free_port()
    ads.set("cluster", cluster or c.cluster("o", lab.origin().port))
    ads.set("listener", c.listener("tls", port, c.chain(c.hcm([c.route("/", "o")]), tls=tls)))
    ads.set("secret", *secrets)
    return ads, port, lab.proxy(c.ads_bootstrap(ads.address), wait_ready=False)


def from_sds(default):
    """A server's context as istiod sends it: identity and root by SDS, the rest in the default context."""
    tls = c.downstream_tls(sds="default", sds_ca="ROOTCA", prefix=pki.DOMAIN)
    tls["common_tls_context"]["combined_validation_context"]["default_validation_context"].update(default)
    return tls


def test_a_revocation_list_beside_a_root_by_sds_counts(lab):
    """istiod: caCrl is a file in the default context, the root comes by SDS."""
    ca = lab.ca()
    good, revoked = ca.issue("good"), ca.issue("revoked")
    path = lab.directory / "crl.pem"
    path.write_text(ca.crl(revoked))
    _, port, proxy = by_ads(lab, from_sds({"crl": {"filename": str(path)}}),
                            [secret_cert("default", ca.issue("server")), secret_ca("ROOTCA", ca.pem)])
    proxy.wait_ready()
    assert admitted(lab, port, good)
    assert not admitted(lab, port, revoked)


def test_a_revocation_list_that_comes_with_the_root_takes_the_place_of_the_default_one(lab):
    ca = lab.ca()
    first, second = ca.issue("first"), ca.issue("second")
    root = secret_ca("ROOTCA", ca.pem)
    root["validation_context"]["crl"] = c.pem(ca.crl(second))
    ads, port, proxy = by_ads(lab, from_sds({"crl": c.pem(ca.crl(first))}), [secret_cert("default", ca.issue("server")), root])
    proxy.wait_ready()
    assert admitted(lab, port, first)
    assert not admitted(lab, port, second)
    ads.set("secret", secret_ca("ROOTCA", ca.pem))  # without one: the default again
    eventually(lambda: admitted(lab, port, second))
    assert not admitted(lab, port, first)


def test_a_server_whose_certificate_is_revoked_is_not_spoken_to(lab):
    ca = lab.ca()
    server = ca.issue("server")
    origin = lab.origin(tls=pki.server_context(server))
    tls = c.upstream_tls(ca=ca.pem)
    tls["typed_config"]["common_tls_context"]["validation_context"]["crl"] = c.pem(ca.crl(server))
    proxy = lab.http(c.cluster("up", origin.port, transport_socket=tls))
    assert lab.client(proxy.port).get("/").status == 503
    eventually(lambda: "revoked" in proxy.access_log.read_text())
    assert origin.requests == []


@pytest.mark.parametrize("default, words", [
    ({"match_typed_subject_alt_names": [{"san_type": "DNS", "matcher": {"exact": "a.b"}}]}, "without trusted_ca"),
    ({"crl": {"inline_string": "x"}}, "crl without trusted_ca")])
@pytest.mark.parametrize("side", ["server", "client"])
def test_what_would_check_nothing_is_refused(lab, side, default, words):
    """ENVOY: names and revocation lists lean on a verified chain."""
    cert = lab.ca().issue("server")
    common = {"tls_certificates": [{"certificate_chain": c.pem(cert.chain), "private_key": c.pem(cert.key)}],
              "validation_context": default}
    ads, port = lab.ads(), free_port()
    proxy = lab.proxy(c.ads_bootstrap(ads.address))
    if side == "server":
        ads.set("listener", c.listener("l", port, c.chain(c.hcm([c.route("/", "o")]), tls={"@type": c.DOWN_TLS, "common_tls_context": common})))
    else:
        ads.set("cluster", c.cluster("c", 1, transport_socket={"name": "tls", "typed_config": {"@type": c.UP_TLS, "common_tls_context": common}}))
    nack = ads.wait("listener" if side == "server" else "cluster")
    assert nack and words in nack
    proxy.check_alive()


def test_parameters_that_cannot_be_used_are_the_listeners_fault_not_the_secrets(lab):
    """The secret that all listeners share goes on rotating."""
    ca = lab.ca()
    tls = c.downstream_tls(sds="default", sds_ca="ROOTCA")
    ads, port, proxy = by_ads(lab, tls, [secret_cert("default", ca.issue("server")), secret_ca("ROOTCA", ca.pem)])
    proxy.wait_ready()
    bad = c.downstream_tls(sds="default", sds_ca="ROOTCA", params={"ecdh_curves": ["P-no-such"]})
    ads.set("listener", c.listener("bad", free_port(), c.chain(c.hcm([c.route("/", "o")]), tls=bad)))
    nack = ads.wait("listener")
    assert nack and "bad" in nack and "P-no-such" in nack
    ads.set("secret", secret_cert("default", ca.issue("rotated")))
    assert ads.wait("secret") is None
    assert admitted(lab, port, ca.issue("client"))


def test_curves_this_library_lacks_are_left_out_where_others_remain(lab):
    """istiod's tlsDefaults may name X25519MLKEM768 first."""
    ca = lab.ca()
    tls = c.downstream_tls(cert=ca.issue("server"), ca=ca.pem, params={"ecdh_curves": ["X25519MLKEM768", "P-256"]})
    proxy = lab.http(lab.origin(), chain={"tls": tls})
    assert admitted(lab, proxy.port, ca.issue("client"))


@pytest.mark.parametrize("least, most, offered, good", [
    ("TLSv1_0", "TLSv1_3", ssl.TLSVersion.TLSv1_1, True), ("TLSv1_1", "TLSv1_1", ssl.TLSVersion.TLSv1_1, True),
    ("TLS_AUTO", "TLS_AUTO", ssl.TLSVersion.TLSv1_1, False), ("TLSv1_2", "TLSv1_2", ssl.TLSVersion.TLSv1_2, True),
    ("TLSv1_3", "TLSv1_3", ssl.TLSVersion.TLSv1_2, False)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_versions_that_are_asked_for_can_be_spoken(lab, least, most, offered, good):
    ca = lab.ca()
    params = {"tls_minimum_protocol_version": least, "tls_maximum_protocol_version": most,
              "cipher_suites": ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"]}
    proxy = lab.http(lab.origin(), chain={"tls": c.downstream_tls(require=False, cert=ca.issue("server"), params=params)})
    context = pki.client_context(maximum=offered)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = offered
    try:
        assert lab.client(proxy.port, tls=context).get("/").status == 200
        assert good
    except (ssl.SSLError, OSError):
        assert not good


def auto_names(origin, ca, **tls):
    options = c.http_options(upstream_http_protocol_options={"auto_sni": True, "auto_san_validation": True})
    return c.cluster("up", origin.port, transport_socket=c.upstream_tls(ca=ca.pem, **tls),
                     typed_extension_protocol_options=options)


def named_origin(lab, cert):
    """An origin that keeps the server names it was asked for."""
    context, names = pki.server_context(cert), []
    context.sni_callback = lambda socket, name, ctx: names.append(name)
    return lab.origin(tls=context), names


@pytest.mark.parametrize("authority, sni", [
    ("good.test", "good.test"), ("good.test:8443", "good.test"), ("10.1.2.3", None), ("10.1.2.3:8443", None), ("[fd00::1]", None),
    ("[fd00::1]:8443", None)])
def test_the_authority_names_the_server_and_is_looked_for_in_its_certificate(lab, authority, sni):
    ca = lab.ca()
    origin, names = named_origin(lab, ca.issue(san="DNS:good.test,IP:10.1.2.3,IP:fd00::1"))
    proxy = lab.http(auto_names(origin, ca))
    assert lab.client(proxy.port).get("/", host=authority).status == 200
    assert names == [sni]
    assert lab.client(proxy.port).get("/", host="bad.test").status == 503
    assert lab.client(proxy.port).get("/", host="10.1.2.4").status == 503
    assert len(origin.requests) == 1


def test_a_session_with_one_name_does_not_vouch_for_another(lab):
    """A resumed session is not verified again: under a fixed server name it must not open the way for other names."""
    ca = lab.ca()
    origin, _ = named_origin(lab, ca.issue(san="DNS:good.test"))

    def once(x):
        x.reply(200, b"x", [("connection", "close")])
        x.close()
    origin.default = once
    options = c.http_options(upstream_http_protocol_options={"auto_san_validation": True})
    cluster = c.cluster("up", origin.port, transport_socket=c.upstream_tls(ca=ca.pem, sni="fixed.test"),
                        typed_extension_protocol_options=options)
    proxy = lab.http(cluster)
    for _ in range(3):
        assert lab.client(proxy.port).get("/", host="good.test").status == 200
    assert True in origin.resumed
    for _ in range(3):
        assert lab.client(proxy.port).get("/", host="bad.test").status == 503
    assert len(origin.requests) == 3


def stapled(port, name="x"):
    """What openssl says of the OCSP response that came with the handshake."""
    done = subprocess.run(["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-status", "-servername", name], input="",
                          capture_output=True, text=True, timeout=10)
    return done.stdout


@pytest.mark.parametrize("from_ads", [True, False])
def test_a_staple_goes_with_the_handshake_of_its_certificate(lab, from_ads):
    """istiod: tls.ocsp-staple of a gateway's credential."""
    ca = lab.ca()
    cert = ca.issue("server")
    staple = {"inline_bytes": base64.b64encode(ca.ocsp(cert)).decode()}
    if from_ads:
        secret = secret_cert("kubernetes://c", cert)
        secret["tls_certificate"]["ocsp_staple"] = staple
        ads, port, proxy = by_ads(lab, c.downstream_tls(sds="kubernetes://c", require=False), [secret])
        proxy.wait_ready()
    else:
        tls = c.downstream_tls(require=False, cert=cert)
        tls["common_tls_context"]["tls_certificates"][0]["ocsp_staple"] = staple
        port = lab.http(lab.origin(), chain={"tls": tls}).port
    assert "Cert Status: good" in stapled(port)
    assert lab.client(port, tls=pki.client_context()).get("/").status == 200  # who does not ask is not told
    if from_ads:
        ads.set("secret", secret_cert("kubernetes://c", cert))
        eventually(lambda: "no response sent" in stapled(port))


def test_a_staple_that_is_none_is_refused(lab):
    ca = lab.ca()
    cert = ca.issue("server")
    secret = secret_cert("kubernetes://c", cert)
    ads, port, proxy = by_ads(lab, c.downstream_tls(sds="kubernetes://c", require=False), [secret])
    proxy.wait_ready()
    secret["tls_certificate"]["ocsp_staple"] = {"inline_string": "nonsense"}
    ads.set("secret", secret)
    nack = ads.wait("secret")
    assert nack and "ocsp_staple" in nack
    assert "no response sent" in stapled(port)


@pytest.mark.parametrize("secret, words", [
    ({"tls_certificate": {"private_key_provider": {"provider_name": "cryptomb"}}}, "private_key_provider"),
    ({"validation_context": {"verify_certificate_hash": ["00" * 32]}}, "verify_certificate_hash"), ({"generic_secret": {}}, "generic_secret")])
def test_a_secret_with_more_than_is_done_is_refused_by_name(lab, secret, words):
    ads, port, proxy = by_ads(lab, c.downstream_tls(sds="kubernetes://c", require=False), [{"name": "kubernetes://c", **secret}])
    nack = ads.wait("secret")
    assert nack and words in nack and "kubernetes://c" in nack
    proxy.check_alive()
