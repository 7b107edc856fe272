"""Tunnels: WebSocket (RFC 6455, RFC 8441) and CONNECT (RFC 9110 9.3.6), forwarded and ended here, HTTP/1.1 and HTTP/2 on either side."""
import queue
import socket

import pytest
from support import config as c
from support import h2
from support.attack import Attacker
from support.tunnel import Served, ask, echo
from support.wait import eventually, free_port

DOWN = UP = ["h1", "h2"]
MIXES = [pytest.param(d, u, id=f"{d}-to-{u}") for d in DOWN for u in UP]
KINDS = ["websocket", "connect"]
UPGRADES = [{"upgrade_type": "websocket"}, {"upgrade_type": "CONNECT"}]


def connect_route(to="origin", config=None):
    options = {"upgrade_type": "CONNECT", **({} if config is None else {"connect_config": config})}
    return c.route({"connect_matcher": {}}, to, upgrade_configs=[options])


def tunnels(lab, up="h1", script=echo, routes=None, upgrades=UPGRADES, cluster=None, **hcm):
    """(origin, proxy): the origin answers every request by the script, or one set with .on()."""
    origin = lab.origin(raw=h2.speak if up == "h2" else None)
    origin.default = script
    options = {"typed_extension_protocol_options": c.http2({"allow_connect": True})} if up == "h2" else {}
    port = free_port()
    routes = routes or [connect_route(), c.route("/", "origin", name="the-route")]
    manager = c.hcm(routes, upgrade_configs=upgrades, http2_protocol_options={"allow_connect": True}, **hcm)
    proxy = lab.proxy(c.bootstrap([c.listener("http", port, manager)], [c.cluster("origin", origin.port, **options, **(cluster or {}))]))
    proxy.port = port
    return origin, proxy


def ends_of(lab, up, after, **options):
    """tunnels() whose origin opens the tunnel and then does after(served); what that returns comes out of the queue."""
    results = queue.Queue()

    def script(x):
        try:
            results.put(after(Served(x).accept()))
        finally:
            x.closed = True
    origin, proxy = tunnels(lab, up, script, **options)
    return origin, proxy, results


def forwarded(lab, proxy, down, path="/after"):
    """The status of an ordinary request."""
    return lab.client(proxy.port).get(path).status if down == "h1" else h2.Client(lab.client(proxy.port)).get(path).status


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("down, up", MIXES)
def test_a_tunnel_carries_bytes_both_ways(lab, down, up, kind):
    origin, proxy = tunnels(lab, up)
    tunnel = ask(lab, proxy, down, kind).opened()
    for piece in (b"hello", b"\0\r\n\r\n", bytes(range(256)) * 64):
        tunnel.send(piece)
        assert tunnel.exactly(len(piece)) == piece
    seen, = origin.requests
    if up == "h1":
        assert seen.method == ("CONNECT" if kind == "connect" else "GET")
        assert seen.get("upgrade") == (None if kind == "connect" else "websocket")
        assert seen.get("transfer-encoding") is seen.get("content-length") is None
        assert kind == "connect" or seen.get("connection").lower() == "upgrade" and seen.get("sec-websocket-key")
    else:
        assert (seen.method, seen.get(":protocol")) == ("CONNECT", None if kind == "connect" else "websocket")
        assert seen.get("upgrade") is seen.get("connection") is None


@pytest.mark.parametrize("down, up", MIXES)
def test_an_open_websocket_reads_as_one_in_the_clients_own_protocol(lab, down, up):
    def script(x):
        served = Served(x).accept([("sec-websocket-accept", "abc=")])
        served.over()
        served.finish()
    _, proxy = tunnels(lab, up, script)
    tunnel = ask(lab, proxy, down, "websocket").opened()
    assert tunnel.answer.get("sec-websocket-accept") == "abc="
    if down == "h1":
        assert tunnel.answer.get("connection").lower() == "upgrade" and tunnel.answer.get("upgrade") == "websocket"
    else:
        assert tunnel.answer.get("connection") is tunnel.answer.get("upgrade") is None


@pytest.mark.parametrize("down, up", MIXES)
def test_the_log_tells_of_a_tunnel_when_it_is_over(lab, down, up):
    origin, proxy = tunnels(lab, up)
    tunnel = ask(lab, proxy, down, "websocket").opened()
    tunnel.send(b"hello")
    assert tunnel.exactly(5) == b"hello"
    assert not proxy.access_log.exists() or not proxy.access_log.read_bytes()
    tunnel.finish()
    tunnel.rest()
    entry = proxy.next_log()
    assert (entry["code"], entry["rx"], entry["tx"]) == ("101", "5", "5")
    assert (entry["method"], entry["path"], entry["route"]) == ("GET", "/ws", "the-route")
    assert (entry["cluster"], entry["host"], entry["attempts"]) == ("origin", f"127.0.0.1:{origin.port}", "1")
    assert entry["protocol"] == ("HTTP/1.1" if down == "h1" else "HTTP/2")
    assert entry["flags"] == "-" and entry["details"] == "via_upstream"


def test_open_tunnels_are_counted(lab):
    _, proxy = tunnels(lab)
    tunnel = ask(lab, proxy, "h1", "websocket").opened()
    assert proxy.stat("http.test.downstream_cx_upgrades_total") == proxy.stat("http.test.downstream_cx_upgrades_active") == 1
    tunnel.cut()
    eventually(lambda: proxy.stat("http.test.downstream_cx_upgrades_active") == 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("down, up", MIXES)
def test_the_clients_half_close_passes_and_the_rest_still_comes(lab, down, up, kind):
    """RFC 8441 5: END_STREAM is FIN. UNLIKE ENVOY, which gives the tunnel up."""
    def after(served):
        got = b""
        while piece := served.read():
            got += piece
        served.send(b"got " + got)
        served.finish()
        return got
    _, proxy, results = ends_of(lab, up, after)
    tunnel = ask(lab, proxy, down, kind).opened()
    tunnel.send(b"all of it")
    tunnel.finish()
    assert tunnel.rest() == (b"got all of it", "end")
    assert results.get(timeout=8) == b"all of it"
    assert proxy.next_log()["flags"] == "-"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("down, up", MIXES)
def test_what_the_origin_said_last_arrives_before_the_end(lab, down, up, kind):
    def after(served):
        served.send(b"goodbye")
        served.finish()
        return served.over()
    _, proxy, results = ends_of(lab, up, after)
    tunnel = ask(lab, proxy, down, kind).opened()
    assert tunnel.rest() == (b"goodbye", "end")
    tunnel.client.close()
    results.get(timeout=8)  # the origin's end comes to an end too
    assert proxy.next_log()["tx"] == "7"
    eventually(lambda: proxy.stat("cluster.origin.upstream_rq_active") == 0)


@pytest.mark.parametrize("who", ["client", "origin"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("down, up", MIXES)
def test_a_tunnel_that_one_end_cuts_is_cut_for_the_other(lab, down, up, kind, who):
    def after(served):
        first = served.read()
        if who == "client":
            return served.over()
        served.cut()
        return first
    _, proxy, results = ends_of(lab, up, after)
    tunnel = ask(lab, proxy, down, kind).opened()
    tunnel.send(b"x")
    if who == "client":
        tunnel.cut()
        results.get(timeout=8)
    else:
        got, how = tunnel.rest()
        assert got == b"" and (how == "cut" or down == "h1")
    assert proxy.next_log()["rx"] == "1"
    eventually(lambda: proxy.stat("cluster.origin.upstream_rq_active") == 0)


@pytest.mark.parametrize("down", DOWN)
def test_a_200_to_an_upgrade_is_an_ordinary_answer(lab, down):
    """RFC 9110 7.8: a server may ignore Upgrade. UNLIKE ENVOY, which answers 502 to HTTP/2."""
    _, proxy = tunnels(lab, script=lambda x: x.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain"))
    tunnel = ask(lab, proxy, down, "websocket")
    assert (tunnel.refused(), tunnel.answer.body) == (200, b"plain")
    if down == "h1":
        assert tunnel.answer.get("connection") == "close" and tunnel.client.expect_close() == b""
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"]) == ("200", "-")


@pytest.mark.parametrize("down", DOWN)
def test_bytes_after_a_200_to_an_upgrade_reach_nobody(lab, down):
    """CVE-2024-23326: an upgrade that was not accepted is no way to send a second request."""
    origin, proxy = tunnels(lab, script=lambda x: (x.send(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain"), x.hang()))
    tunnel = ask(lab, proxy, down, "websocket")
    assert tunnel.refused() == 200
    try:
        tunnel.send(b"GET /evil HTTP/1.1\r\nhost: a\r\n\r\n")
        tunnel.client.closed_or_reset()
    except OSError:
        pass
    origin.wait_connections(lambda n: n == 0)
    assert [x.path for x in origin.requests] == ["/ws"] and not origin.requests[0].reader.buffer


@pytest.mark.parametrize("down", DOWN)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_101_that_nobody_asked_for_is_a_protocol_error(lab, down, method):
    origin, proxy = tunnels(lab, script=lambda x: (x.send(b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"), x.hang()))
    if down == "h1":
        assert lab.client(proxy.port).get("/x", method=method).status == 502
    else:
        peer = h2.Client(lab.client(proxy.port))
        assert peer.answer(peer.open(method, "/x")).status == 502
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("502", "UPE", "upstream_reset_before_response_started{protocol_error}")
    origin.wait_connections(lambda n: n == 0)


def test_a_101_to_connect_is_a_protocol_error(lab):
    _, proxy = tunnels(lab, script=lambda x: (x.send(b"HTTP/1.1 101 S\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"), x.hang()))
    assert ask(lab, proxy, "h1", "connect").refused() == 502


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("down", DOWN)
def test_bytes_before_the_answer_are_refused(lab, down, kind):
    """CVE-2025-64763. UNLIKE ENVOY, which passes them on."""
    origin, proxy = tunnels(lab, script=lambda x: x.hang())
    tunnel = ask(lab, proxy, down, kind)
    origin.wait_requests(1)
    tunnel.send(b"GET /evil HTTP/1.1\r\nhost: a\r\n\r\n")
    if down == "h1":
        tunnel.client.closed_or_reset()
    else:
        assert tunnel.peer.until_reset(tunnel.stream).reset == h2.PROTOCOL_ERROR
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"]) == ("DPE", "http1.data_before_tunnel" if down == "h1" else "http2.data_before_tunnel")
    origin.wait_connections(lambda n: n == 0)
    assert not origin.requests[0].reader.buffer


@pytest.mark.parametrize("kind", KINDS)
def test_bytes_in_one_piece_with_the_request_are_refused_unforwarded(lab, kind):
    origin, proxy = tunnels(lab)
    assert ask(lab, proxy, "h1", kind, with_head=b"GET /evil HTTP/1.1\r\nhost: a\r\n\r\n").refused() == 400
    assert proxy.next_log()["details"] == "http1.data_before_tunnel" and not origin.requests


@pytest.mark.parametrize("field", [("content-length", "3"), ("transfer-encoding", "chunked")])
@pytest.mark.parametrize("kind", KINDS)
def test_a_tunnel_request_with_a_body_is_refused(lab, kind, field):
    origin, proxy = tunnels(lab)
    assert ask(lab, proxy, "h1", kind, fields=[field]).refused() == 400
    assert proxy.next_log()["details"] == "http1.body_disallowed" and not origin.requests


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("down, up", MIXES)
def test_a_refusal_reaches_the_client_and_its_h1_connection_is_not_used_again(lab, down, up, kind):
    def refuse(x):
        if up == "h1":
            x.send(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")
        else:
            x.head(403)
            x.send(b"no", end=True)
    origin, proxy = tunnels(lab, up, refuse)
    origin.on("/after", lambda x: x.reply(200, b"fine"))
    tunnel = ask(lab, proxy, down, kind)
    assert (tunnel.refused(), tunnel.answer.body) == (403, b"no")
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["tx"]) == ("403", "-", "2")
    if up == "h1":
        origin.wait_connections(lambda n: n == 0)
    assert forwarded(lab, proxy, down) == 200
    assert origin.connections == (2 if up == "h1" else 1)


def test_other_streams_of_a_connection_go_on_beside_a_tunnel(lab):
    origin, proxy = tunnels(lab, "h2")
    origin.on("/after", lambda x: x.reply(200, b"fine"))
    tunnel = ask(lab, proxy, "h2", "websocket").opened()
    assert tunnel.peer.get("/after").body == b"fine"
    tunnel.cut()
    assert tunnel.peer.get("/after").body == b"fine" and origin.connections == 1


NOT_ALLOWED = {"named nowhere": ([], None), "another type": ([{"upgrade_type": "spdy/3.1"}], None), "disabled": ([{"upgrade_type": "websocket", "enabled": False}], None),
               "disabled by the route": (UPGRADES, {"upgrade_type": "websocket", "enabled": False})}


@pytest.mark.parametrize("kind", NOT_ALLOWED)
@pytest.mark.parametrize("down", DOWN)
def test_an_upgrade_that_is_not_allowed_is_403(lab, down, kind):
    upgrades, of_route = NOT_ALLOWED[kind]
    routes = [c.route("/", "origin", **({"upgrade_configs": [of_route]} if of_route else {}))]
    origin, proxy = tunnels(lab, routes=routes, upgrades=upgrades)
    assert ask(lab, proxy, down, "websocket").refused() == 403
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["details"]) == ("403", "-", "upgrade_failed")
    assert not origin.requests and proxy.stat("http.test.downstream_rq_ws_on_non_ws_route") == 1


@pytest.mark.parametrize("down", DOWN)
def test_a_route_may_allow_what_the_listener_does_not(lab, down):
    routes = [c.route("/ws", "origin", upgrade_configs=[{"upgrade_type": "websocket"}]), c.route("/", "origin")]
    _, proxy = tunnels(lab, routes=routes, upgrades=[])
    tunnel = ask(lab, proxy, down, "websocket").opened()
    tunnel.send(b"x")
    assert tunnel.exactly(1) == b"x"
    assert ask(lab, proxy, down, "websocket", path="/other").refused() == 403


def test_the_type_of_an_upgrade_is_compared_without_case(lab):
    _, proxy = tunnels(lab)
    assert ask(lab, proxy, "h1", "WebSocket").opened()


def test_upgrade_to_h2c_is_an_ordinary_request(lab):
    origin, proxy = tunnels(lab, script=lambda x: x.reply(200, b"plain"))
    client = lab.client(proxy.port)
    answer = client.get("/", headers=[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABkAAQAAP__")])
    assert (answer.status, answer.text) == (200, "plain")
    assert origin.requests[0].get("upgrade") is origin.requests[0].get("http2-settings") is None
    assert client.get("/").status == 200


@pytest.mark.parametrize("version, connection", [("1.0", "connection: upgrade\r\n"), ("1.1", ""), ("1.1", "connection: close\r\n")])
def test_an_upgrade_field_that_asks_for_none_is_dropped(lab, version, connection):
    """RFC 9110 7.8: HTTP/1.0 knows none, and the Connection field must name it."""
    origin, proxy = tunnels(lab, script=lambda x: x.reply(200, b"plain"), http_protocol_options={"accept_http_10": True})
    client = lab.client(proxy.port).send(f"GET / HTTP/{version}\r\nhost: a\r\nupgrade: websocket\r\n{connection}\r\n")
    assert client.response().text == "plain"
    assert origin.requests[0].get("upgrade") is None


def test_extended_connect_without_allow_connect_is_refused(lab):
    origin = lab.origin()
    proxy = lab.http(origin, upgrade_configs=UPGRADES)
    peer = Attacker(lab.client(proxy.port))
    fields = [(":protocol", "websocket")]
    peer.open(1, end=False, method="CONNECT", path="/ws", fields=fields)
    eventually(lambda: peer.how or peer.resets(1), what="a refusal")
    assert not origin.requests and not peer.heads(1)
    settings = [p for k, f, _, p in peer.frames if k == h2.SETTINGS and not f & 1][0]
    assert b"\0\x08\0\0\0\x01" not in [settings[i:i + 6] for i in range(0, len(settings), 6)]


def test_settings_announce_extended_connect_where_it_is_allowed(lab):
    _, proxy = tunnels(lab)
    peer = Attacker(lab.client(proxy.port))
    assert peer.borne()
    settings = [p for k, f, _, p in peer.frames if k == h2.SETTINGS and not f & 1][0]
    assert b"\0\x08\0\0\0\x01" in [settings[i:i + 6] for i in range(0, len(settings), 6)]


@pytest.mark.parametrize("down", DOWN)
def test_connect_goes_by_connect_routes_only(lab, down):
    origin, proxy = tunnels(lab, routes=[c.route("/", "origin")])
    assert ask(lab, proxy, down, "connect").refused() == 404
    assert proxy.next_log()["flags"] == "NR" and not origin.requests


def raw_echo(sock, origin):
    with origin.lock:
        origin.requests.append("connected")
    while data := sock.recv(65536):
        origin.requests.append(data)
        sock.sendall(data)
    sock.sendall(b"bye")
    sock.shutdown(socket.SHUT_WR)


def ending(lab, port):
    """A proxy that ends CONNECT and dials this port."""
    listens = free_port()
    manager = c.hcm([connect_route("end", {})], upgrade_configs=UPGRADES, http2_protocol_options={"allow_connect": True})
    proxy = lab.proxy(c.bootstrap([c.listener("http", listens, manager)], [c.cluster("end", port)]))
    proxy.port = listens
    return proxy


@pytest.mark.parametrize("down", DOWN)
def test_a_connect_that_ends_here_becomes_a_tcp_connection(lab, down):
    origin = lab.origin(raw=raw_echo)
    proxy = ending(lab, origin.port)
    tunnel = ask(lab, proxy, down, "connect").opened()
    tunnel.send(b"hello")
    assert tunnel.exactly(5) == b"hello" and origin.requests == ["connected", b"hello"]
    tunnel.finish()
    assert tunnel.rest() == (b"bye", "end")
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["method"], entry["rx"], entry["tx"]) == ("200", "-", "CONNECT", "5", "8")
    assert (entry["host"], entry["cluster"]) == (f"127.0.0.1:{origin.port}", "end")
    origin.wait_connections(lambda n: n == 0)


@pytest.mark.parametrize("down", DOWN)
def test_a_connect_that_ends_here_and_cannot_connect_is_503(lab, down):
    proxy = ending(lab, lab.refused_port())
    assert ask(lab, proxy, down, "connect").refused() == 503
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"]) == ("503", "UF")
