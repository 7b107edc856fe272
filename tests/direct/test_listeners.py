"""Which filter chain takes a connection, what the inspectors see, and h2 on both sides."""
import os
import subprocess

import pytest
from support import config as c
from support import h2, pki
from support.wait import eventually, free_port


def named(name, tls=None, **match):
    route = c.route("/", {"direct_response": {"status": 200, "body": {"inline_string": name}}})
    return c.chain(c.hcm([route]), tls=tls, match=match, name=name)


def start(lab, *chains, default=None, **listener):
    port = free_port()
    if default:
        listener["default_filter_chain"] = default
    proxy = lab.proxy(c.bootstrap([c.listener("l", port, *chains, **listener)], [c.cluster("x")]))
    proxy.port = port
    return proxy


@pytest.fixture
def sni_proxy(lab):
    ca = lab.ca()
    tls = c.downstream_tls(require=False, cert=ca.issue("server"), alpn=["h2", "http/1.1"])
    return start(lab, named("exact", tls, server_names=["a.b.com"]), named("suffix", tls, server_names=["*.b.com"]),
                 named("deeper", tls, server_names=["*.deep.b.com"]), named("istio", tls, server_names=["a.b.com"],
                                                                          application_protocols=["istio"]),
                 named("any tls", tls, transport_protocol="tls"), named("plain", transport_protocol="raw_buffer"), inspect=["tls", "http"])


@pytest.mark.parametrize("sni, alpn, want", [
    ("a.b.com", None, "exact"), ("x.b.com", None, "suffix"), ("x.deep.b.com", None, "deeper"), ("x.y.b.com", None, "suffix"),
    ("b.com", None, "any tls"), (None, None, "any tls"), ("a.b.com", ["istio"], "istio"), ("a.b.com", ["http/1.1"], "exact"),
    ("A.B.COM", None, "exact")])
def test_sni_and_alpn_choose_the_chain(lab, sni_proxy, sni, alpn, want):
    client = lab.client(sni_proxy.port, tls=pki.client_context(alpn=alpn), sni=sni)
    assert client.get("/", host="h").text == want
    assert sni_proxy.next_log()["sni"] == (sni.lower() if sni else "-")


def test_plaintext_goes_to_the_plain_chain_of_the_same_port(lab, sni_proxy):
    assert lab.client(sni_proxy.port).get("/").text == "plain"


def test_a_client_hello_in_single_bytes_is_understood(lab, sni_proxy):
    import ssl
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = pki.client_context().wrap_bio(incoming, outgoing, server_hostname="a.b.com")
    client = lab.client(sni_proxy.port)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    for byte in outgoing.read():
        client.send(bytes([byte]))
    assert client.reader.exactly(1) == b"\x16"


@pytest.mark.parametrize("data, want", [(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", "h1"), (b"\0\1binary", "other")])
def test_the_http_inspector_tells_http_from_the_rest(lab, data, want):
    other = lab.origin("other", raw=lambda sock, _: (sock.recv(100), sock.sendall(b"other")))
    port = free_port()
    lab.proxy(c.bootstrap([c.listener("l", port, named("h1", application_protocols=["http/1.1", "h2c"]), c.chain(
        c.tcp_proxy("other")), inspect=["http"])], [c.cluster("other", other.port)]))
    client = lab.client(port).send(data)
    assert (client.response().text if want == "h1" else client.expect_close().decode()) == want


def test_no_chain_closes_the_connection_and_is_logged(lab):
    proxy = start(lab, named("only", server_names=["a.b"]), inspect=["tls"],
                  access_log=[{**c.access_log(), "filter": {"response_flag_filter": {"flags": ["NR"]}}}])
    client = lab.client(proxy.port).send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert client.closed_or_reset()
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("0", "NR", "filter_chain_not_found")
    assert proxy.stat(f"listener.127.0.0.1_{proxy.port}.no_filter_chain_match") == 1


def test_the_default_chain_takes_the_rest(lab):
    proxy = start(lab, named("only", server_names=["a.b"]), default=named("default"), inspect=["tls"])
    assert lab.client(proxy.port).get("/").text == "default"


@pytest.mark.parametrize("proceed", [True, False])
def test_the_listener_filter_timeout_closes_or_goes_on(lab, proceed):
    origin = lab.origin(raw=lambda sock, _: sock.sendall(b"banner"))
    port = free_port()
    lab.proxy(c.bootstrap([c.listener("l", port, c.tcp_proxy("origin"), inspect=["tls"], listener_filters_timeout="0.2s",
                                      continue_on_listener_filters_timeout=proceed)], [c.cluster("origin", origin.port)]))
    assert lab.client(port).expect_close() == (b"banner" if proceed else b"")


def test_source_and_destination_ranges_choose_the_chain(lab):
    port = free_port()
    near = {"source_prefix_ranges": [{"address_prefix": "127.0.0.2", "prefix_len": 32}]}
    there = {"prefix_ranges": [{"address_prefix": "127.0.0.3", "prefix_len": 32}]}
    wide = {"prefix_ranges": [{"address_prefix": "127.0.0.0", "prefix_len": 8}]}
    lab.proxy(c.bootstrap([c.listener("l", port, named("there", **there), named("near", **wide, **near), named("wide", **wide),
                                      host="0.0.0.0")], [c.cluster("x")]))
    import socket
    assert lab.client(port, host="127.0.0.3").get("/").text == "there"
    assert lab.client(port, host="127.0.0.1").get("/").text == "wide"
    with socket.create_connection(("127.0.0.1", port), 5, ("127.0.0.2", 0)) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        assert b"near" in b"".join(iter(lambda: sock.recv(4096), b""))


def test_a_handshake_that_never_comes_times_out(lab):
    ca = lab.ca()
    one = named("tls", c.downstream_tls(cert=ca.issue(), ca=ca.pem))
    one["transport_socket_connect_timeout"] = "0.3s"
    proxy = start(lab, one)
    assert lab.client(proxy.port).closed_or_reset()


# ---- HTTP/2
def test_h2_with_prior_knowledge_carries_a_body_both_ways(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, b"got:" + x.read_body(), [("x-seen", x.get("host"))])
    proxy = lab.http(origin)
    body = "z" * 100000
    done = subprocess.run(["curl", "-s", "-i", "--http2-prior-knowledge", "--data-binary", "@-", f"http://127.0.0.1:{proxy.port}/p"],
                          input=body, capture_output=True, text=True, timeout=20)
    assert done.stdout.startswith("HTTP/2 200") and done.stdout.endswith("got:" + body)
    assert f"x-seen: 127.0.0.1:{proxy.port}" in done.stdout
    assert proxy.next_log()["protocol"] == "HTTP/2"


def test_h2_by_alpn(lab, sni_proxy):
    done = subprocess.run(["curl", "-s", "-k", "--http2", "-w", "%{http_version}", f"https://localhost:{sni_proxy.port}/"],
                          capture_output=True, text=True, timeout=20)
    assert done.stdout == "any tls2"


@pytest.mark.parametrize("tls", [False, True])
def test_an_h2_cluster_speaks_h2_to_its_origin(lab, tls):
    ca = lab.ca()
    origin = lab.origin(raw=h2.serve(h2.ok), tls=pki.server_context(ca.issue("s"), alpn=["h2"]) if tls else None)
    fields = {"transport_socket": c.upstream_tls(ca=ca.pem, alpn=["h2"])} if tls else {}
    proxy = lab.http(c.cluster("up", origin.port, typed_extension_protocol_options=c.http2(), **fields))
    client = lab.client(proxy.port)
    for _ in range(20):
        assert client.get("/").text == "h2"
    assert origin.connections == 1


def test_h2_to_h2_multiplexes_over_one_connection(lab):
    origin = lab.origin()
    back = lab.http(origin)
    front = lab.http(c.cluster("back", back.port, typed_extension_protocol_options=c.http2()))
    done = subprocess.run(["h2load", "-n", "2000", "-c", "2", "-m", "20", f"http://127.0.0.1:{front.port}/"], capture_output=True, text=True,
                          timeout=60)
    assert "2000 succeeded, 0 failed" in done.stdout, done.stdout
    assert back.stat("http.test.downstream_cx_http2_total") <= 4


def test_a_ten_mebibyte_body_crosses_h2_both_ways(lab):
    origin = lab.origin()
    origin.default = lambda x: x.reply(200, x.read_body())
    back = lab.http(origin)
    front = lab.http(c.cluster("back", back.port, typed_extension_protocol_options=c.http2()))
    body = bytes(range(256)) * (40960)
    before = front.rss_kib()
    done = subprocess.run(["curl", "-s", "--http2-prior-knowledge", "--data-binary", "@-", f"http://127.0.0.1:{front.port}/"],
                          input=body, capture_output=True, timeout=30)
    assert done.stdout == body
    assert front.rss_kib() - before < front.rss_allowance_kib()


def test_a_stream_reset_by_the_client_is_dr_and_leaves_the_others(lab):
    origin = lab.origin().on("/hang", lambda x: x.hang())
    proxy = lab.http(origin)
    client = h2.H2Client(lab.client(proxy.port))
    stream = client.request(path="/hang")
    origin.wait_requests(1)
    client.client.send(h2.frame(h2.RST, 0, stream, h2.CANCEL.to_bytes(4, "big")))
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("0", "DR", "http2.remote_reset")
    origin.wait_connections(lambda n: n == 0)
    client.request(path="/fine")
    assert client.answer()[1] == b"origin"


def test_an_h2_answer_broken_off_upstream_resets_only_its_stream(lab):
    def script(x):
        x.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
        x.close()
    client = h2.H2Client(lab.client(lab.http(lab.origin().on("/cut", script)).port))
    client.request(path="/cut")
    with pytest.raises(ConnectionError, match=r"frame 3 on 1: b'\\x00\\x00\\x00\\x02'"):
        client.answer()
    client.request(path="/fine")
    assert client.answer()[1] == b"origin"


@pytest.mark.parametrize("fields", [[("connection", "close")], [("transfer-encoding", "chunked")], [("Upper", "x")], [("x", "a\r\nb: c")],
                                    [("x", "a\0b")], [(":path", "/again")], [("content-length", "5")]])
def test_a_malformed_h2_request_never_reaches_the_origin(lab, fields):
    origin = lab.origin()
    proxy = lab.http(origin)
    client = h2.H2Client(lab.client(proxy.port, timeout=5))
    client.request(fields=fields)
    with pytest.raises((OSError, ConnectionError)):
        block, _ = client.answer()
        assert not block, "answered"
    assert lab.client(proxy.port).get("/ok").status == 200
    assert [x.path for x in origin.requests] == ["/ok"]
    eventually(proxy.rss_kib)


LONG = {"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 1000, "runtime_key": "k"}}}}


@pytest.mark.parametrize("log_filter, good", [
    ({"response_flag_filter": {"flags": ["NR"]}}, True), (None, False), ({"response_flag_filter": {}}, False),
    ({"response_flag_filter": {"flags": ["NR", "UF"]}}, False), (LONG, False),
    ({"and_filter": {"filters": [{"response_flag_filter": {"flags": ["NR"]}}, LONG]}}, True),
    ({"or_filter": {"filters": [{"response_flag_filter": {"flags": ["NR"]}}, LONG]}}, False)])
def test_a_listener_logs_only_what_no_chain_takes_and_is_not_asked_for_more(lab, log_filter, good):
    """istiod's, of virtualInbound, logs NR; connections are logged by their chains."""
    log = {**c.access_log(path="/dev/null"), **({"filter": log_filter} if log_filter else {})}
    ads = lab.ads()
    lab.proxy(c.ads_bootstrap(ads.address))
    ads.set("listener", c.listener("l", free_port(), c.hcm([c.route("/", "o")]), access_log=[log]))
    nack = ads.wait("listener")
    assert nack is None if good else nack and "access_log[file]" in nack


def per_worker(proxy, count):
    """How many descriptors each worker's epoll watches beyond its own few."""
    pid, out = proxy.process.pid, []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}") == "anon_inode:[eventpoll]":
                with open(f"/proc/{pid}/fdinfo/{fd}") as info:
                    out.append(sum(line.startswith("tfd:") for line in info))
        except FileNotFoundError:
            continue
    return sorted(out)[-count:]


@pytest.mark.parametrize("fields, connections, apart", [({}, 40, 4), ({"connection_balance_config": {"exact_balance": {}}}, 300, 4)])
def test_workers_share_the_connections(lab, fields, connections, apart):
    """A few are shared evenly by themselves; many by exact_balance, else by the kernel's hash."""
    proxy = lab.http(lab.origin(), listener=fields, options={"concurrency": 2})
    clients = []
    for _ in range(connections):
        clients.append(lab.client(proxy.port))
        assert clients[-1].get("/").status == 200
    first, second = per_worker(proxy, 2)
    assert first + second >= connections and abs(first - second) <= apart, (first, second)
    for client in clients[:connections // 2]:  # those that end are no load any more
        client.close()
    eventually(lambda: sum(per_worker(proxy, 2)) < connections)
    for _ in range(connections // 2):
        clients.append(lab.client(proxy.port))
        assert clients[-1].get("/").status == 200
    first, second = per_worker(proxy, 2)
    assert abs(first - second) <= apart, (first, second)
