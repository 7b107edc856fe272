"""tcp_proxy: bytes both ways, both halves of a close, limits and failures (flags.md section 6)."""
import json
import socket
import subprocess
import threading

import pytest
from support import config as c
from support import pki
from support.proxy import PINNACE
from support.wait import eventually, free_port

MIB = 1 << 20


def echo(sock, _):
    while data := sock.recv(65536):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def name_server(name):
    return lambda sock, _: sock.sendall(name.encode())


def test_bytes_pass_both_ways_and_are_counted(lab):
    origin = lab.origin(raw=echo)
    proxy = lab.tcp(origin)
    client = lab.client(proxy.port).send("hello")
    assert client.reader.exactly(5) == b"hello"
    client.half_close()
    assert client.expect_close() == b""
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["rx"], entry["tx"], entry["attempts"]) == ("0", "-", "5", "5", "1")
    assert (entry["host"], entry["cluster"], entry["protocol"]) == (f"127.0.0.1:{origin.port}", "origin", "-")
    assert entry["local"].startswith("127.0.0.1:")


def test_a_server_that_speaks_first_is_heard(lab):
    assert lab.client(lab.tcp(lab.origin(raw=name_server("banner"))).port).expect_close() == b"banner"


def test_the_clients_half_close_passes_and_the_answer_still_comes(lab):
    def count(sock, _):
        total = 0
        while data := sock.recv(65536):
            total += len(data)
        sock.sendall(str(total).encode())
    client = lab.client(lab.tcp(lab.origin(raw=count)).port)
    client.send(b"x" * 100000)
    client.half_close()
    assert client.expect_close() == b"100000"


def test_the_servers_half_close_passes_and_more_may_be_sent(lab):
    got = []

    def first_close(sock, _):
        sock.sendall(b"done")
        sock.shutdown(socket.SHUT_WR)
        while data := sock.recv(65536):
            got.append(data)
    client = lab.client(lab.tcp(lab.origin(raw=first_close)).port)
    assert client.expect_close() == b"done"
    client.send("more")
    eventually(lambda: b"".join(got) == b"more")


def test_ten_mebibytes_cross_unharmed_both_ways_at_once(lab):
    proxy = lab.tcp(lab.origin(raw=echo))
    body = bytes(range(256)) * (10 * MIB // 256)
    client = lab.client(proxy.port)
    before = proxy.rss_kib()
    client.send_slowly_from_thread(body)
    assert client.reader.exactly(len(body)) == body
    assert proxy.rss_kib() - before < proxy.rss_allowance_kib()


@pytest.mark.parametrize("slow", ["client", "server"])
def test_a_slow_reader_holds_the_sender_back_in_bounded_memory(lab, slow):
    go = threading.Event()
    total = 32 * MIB

    def flood(sock, _):
        sock.sendall(b"x" * total)

    def reluctant(sock, _):
        go.wait(20)
        got = 0
        while data := sock.recv(1 << 20):
            got += len(data)
        sock.sendall(str(got).encode())
    origin = lab.origin(raw=flood if slow == "client" else reluctant, receive_buffer=65536)
    proxy = lab.tcp(origin)
    before = proxy.rss_kib()
    client = lab.client(proxy.port, timeout=20, receive_buffer=65536)
    if slow == "client":
        client.reader.exactly(1)
        first = max(proxy.rss_kib() for _ in range(50))
        got = 1 + len(client.expect_close())
    else:
        thread = client.send_slowly_from_thread(b"x" * total)
        thread.join(0.5)
        held, first = thread.is_alive(), proxy.rss_kib()
        go.set()
        thread.join(20)
        client.half_close()
        got = int(client.expect_close())
        assert held
    assert got == total
    assert first - before < proxy.rss_allowance_kib()


def test_weighted_clusters_share_connections(lab):
    to = {"weighted_clusters": {"clusters": [{"name": "a", "weight": 3}, {"name": "b", "weight": 1}]}}
    proxy = lab.tcp(lab.origin("a", raw=name_server("a")), lab.origin("b", raw=name_server("b")), to=to)
    got = [lab.client(proxy.port).expect_close() for _ in range(120)]
    assert got.count(b"a") + got.count(b"b") == 120
    assert 65 <= got.count(b"a") <= 110


def test_the_idle_timeout_ends_it(lab):
    origin = lab.origin(raw=echo)
    proxy = lab.tcp(origin, idle_timeout="0.3s")
    client = lab.client(proxy.port).send("x")
    assert client.reader.exactly(1) == b"x"
    assert client.expect_close() == b""
    assert proxy.next_log()["flags"] == "-"
    origin.wait_connections(lambda n: n == 0)
    assert proxy.stat("tcp.test.idle_timeout") == 1


def test_traffic_keeps_the_idle_timeout_away(lab):
    proxy = lab.tcp(lab.origin(raw=echo), idle_timeout="0.4s")
    client = lab.client(proxy.port, timeout=0.1)
    for _ in range(10):
        client.send("x")
        assert client.reader.exactly(1) == b"x"
        with pytest.raises(TimeoutError):
            client.socket.recv(1)


def test_an_upstream_reset_reaches_the_client(lab):
    def reset(sock, _):
        sock.recv(1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    proxy = lab.tcp(lab.origin(raw=reset))
    client = lab.client(proxy.port).send("x")
    with pytest.raises(ConnectionResetError):
        client.expect_close()
    assert proxy.next_log()["flags"] == "UR"


def test_a_client_reset_reaches_the_server(lab):
    origin = lab.origin(raw=echo)
    proxy = lab.tcp(origin)
    client = lab.client(proxy.port).send("x")
    client.reader.exactly(1)
    client.reset()
    origin.wait_connections(lambda n: n == 0)
    assert proxy.next_log()["flags"] == "-"


@pytest.mark.parametrize("sent", [b"", b"hello"])
@pytest.mark.parametrize("case, flags, attempts, cluster", [
    ("refused", "UF,URX", "1", "up"), ("timeout", "UF,URX", "1", "up"), ("none", "UH", "0", "up"), ("unknown", "NC", "0", "-"),
    ("tls", "UF,URX", "1", "up")])
def test_a_failed_upstream_closes_the_client(lab, case, flags, attempts, cluster, sent):
    if case == "tls":
        other = lab.ca("other")
        origin = lab.origin(tls=pki.server_context(other.issue()))
        up = c.cluster("up", origin.port, transport_socket=c.upstream_tls(ca=lab.ca().pem))
    else:
        ports = {"refused": [lab.refused_port], "timeout": [lab.silent_port]}.get(case, [])
        up = c.cluster("up", *[make() for make in ports], connect_timeout="0.3s")
    proxy = lab.tcp(up, to="nowhere" if case == "unknown" else "up")
    client = lab.client(proxy.port)
    try:
        client.send(sent)
    except OSError:
        pass
    assert client.closed_or_reset()
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["attempts"], entry["cluster"], entry["details"]) == ("0", flags, attempts, cluster, "-")
    if case == "refused":
        assert entry["utfr"] == "delayed_connect_error:_Connection_refused" and entry["host"].startswith("127.0.0.1:")
    if case == "tls":
        assert entry["utfr"].startswith("TLS_error:")


def test_max_connect_attempts_tries_again(lab):
    proxy = lab.tcp(c.cluster("up", lab.refused_port()), max_connect_attempts=2)
    assert lab.client(proxy.port).closed_or_reset()
    entry = proxy.next_log()
    assert (entry["flags"], entry["attempts"]) == ("UF,URX", "2")


def test_max_connections_zero_is_an_overflow(lab):
    up = c.cluster("up", lab.origin(raw=echo).port, circuit_breakers={"thresholds": [{"max_connections": 0}]})
    proxy = lab.tcp(up)
    assert lab.client(proxy.port).closed_or_reset()
    assert proxy.next_log()["flags"] == "UO"


def test_max_downstream_connection_duration_ends_it(lab):
    proxy = lab.tcp(lab.origin(raw=echo), max_downstream_connection_duration="0.3s")
    assert lab.client(proxy.port).closed_or_reset()
    assert proxy.next_log()["flags"] == "DT"


def test_tls_is_passed_through_and_can_be_terminated_or_originated(lab):
    ca = lab.ca()
    from support.wait import free_port
    secure = lab.origin("secure", tls=pki.server_context(ca.issue("server"), ca, require=True), raw=echo)
    ports = [free_port() for _ in range(3)]
    mine = ca.issue("client")
    down = c.downstream_tls(cert=ca.issue("edge"), ca=ca.pem)
    clusters = [c.cluster("raw", secure.port), c.cluster("tls", secure.port, transport_socket=c.upstream_tls(
        cert=mine, ca=ca.pem, exact=pki.DOMAIN + "server"))]
    lab.proxy(c.bootstrap([c.listener("through", ports[0], c.tcp_proxy("raw")), c.listener("origin", ports[1], c.tcp_proxy("tls")),
                           c.listener("both", ports[2], c.chain(c.tcp_proxy("tls"), tls=down))], clusters))
    context = pki.client_context(mine, ca)
    for port, tls in ((ports[0], context), (ports[1], None), (ports[2], context)):
        print("listener", ports.index(port))
        client = lab.client(port, tls=tls)
        body = b"y" * (2 * MIB)
        client.send_slowly_from_thread(body)
        assert client.reader.exactly(len(body)) == body
        client.close()
    secure.wait_connections(lambda n: n == 0)


def test_many_connections_leave_nothing_behind(lab):
    origin = lab.origin(raw=echo)
    proxy = lab.tcp(origin)
    before = proxy.sockets()
    for i in range(100):
        client = lab.client(proxy.port).send("x")
        client.reader.exactly(1)
        (client.reset if i % 2 else client.close)()
    origin.wait_connections(lambda n: n == 0)
    eventually(lambda: proxy.sockets() <= before + 1)


MONGO = "type.googleapis.com/envoy.extensions.filters.network.mongo_proxy.v3.MongoProxy"


def behind(config):
    return c.chain({"name": "envoy.filters.network.mongo_proxy", "typed_config": {"@type": MONGO, **config}}, c.tcp_proxy("o"))


def test_a_mongo_filter_lets_all_bytes_pass(lab):
    """istiod puts it before the TCP proxy of ports named mongo, unless told otherwise."""
    origin, port = lab.origin(raw=echo), free_port()
    lab.proxy(c.bootstrap([c.listener("l", port, behind({"stat_prefix": "outbound|27017||m.a.svc"}))], [c.cluster("o", origin.port)]))
    client = lab.client(port).send(b"\x00\xffnot mongo at all")
    assert client.reader.exactly(18) == b"\x00\xffnot mongo at all"


@pytest.mark.parametrize("config, words", [({"delay": {"fixed_delay": "1s", "percentage": {"numerator": 100}}}, "delay"),
                                           ({"access_log": "/tmp/x"}, "access_log"), ({"emit_dynamic_metadata": True}, "emit_dynamic_metadata")])
def test_a_mongo_filter_that_would_do_more_is_refused(lab, config, words):
    path = lab.directory / "b.json"
    path.write_text(json.dumps(c.bootstrap([c.listener("l", 1, behind({"stat_prefix": "m", **config}))], [c.cluster("o", 1)])).replace("@ACCESS_LOG@", "/dev/null"))
    done = subprocess.run([PINNACE, "-c", str(path), "--mode", "validate"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and words in done.stderr, done.stderr
