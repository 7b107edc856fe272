"""The PROXY protocol (haproxy's specification): believed from a load balancer in front, told to what is behind."""
import socket
import ssl
import struct

import pytest
from support import config as c
from support import pki
from support.client import Reader
from support.wait import eventually, free_port

FILTER = "type.googleapis.com/envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol"
WRAPPER = "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
REQUEST = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
TOLD = "203.0.113.7"
LOG = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS%\n"


def v2(body=b"", command=0x21, family=0x11, length=None):
    return SIGNATURE + bytes([command, family]) + struct.pack(">H", len(body) if length is None else length) + body


def addresses(source=TOLD, destination="198.51.100.1", ports=(4242, 443)):
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    return socket.inet_pton(family, source) + socket.inet_pton(family, destination) + struct.pack(">HH", *ports)


def tlv(kind, value):
    return bytes([kind]) + struct.pack(">H", len(value)) + value


SIX = addresses("2001:db8::7", "2001:db8::1")
HEADERS = {  # → what remote and local address read
    "v1": (b"PROXY TCP4 203.0.113.7 198.51.100.1 4242 443\r\n", f"{TOLD}:4242", "198.51.100.1:443"),
    "v1, IPv6": (b"PROXY TCP6 2001:db8::7 2001:db8::1 4242 443\r\n", "[2001:db8::7]:4242", "[2001:db8::1]:443"),
    "v2": (v2(addresses()), f"{TOLD}:4242", "198.51.100.1:443"),
    "v2, IPv6": (v2(SIX, family=0x21), "[2001:db8::7]:4242", "[2001:db8::1]:443"),
    "v2 with TLVs": (v2(addresses() + tlv(1, b"h2") + tlv(4, b"") + tlv(2, b"a" * 300)), f"{TOLD}:4242", "198.51.100.1:443"),
}
SILENT = {  # headers that say nothing about the client
    "v1 UNKNOWN": b"PROXY UNKNOWN\r\n", "v1 UNKNOWN with addresses": b"PROXY UNKNOWN 203.0.113.7 198.51.100.1 4242 443\r\n",
    "v2 LOCAL": v2(command=0x20, family=0), "v2 LOCAL with addresses": v2(addresses(), command=0x20), "v2 LOCAL of another family": v2(b"abc", command=0x20, family=0x31),
    "v2 UNSPEC": v2(family=0), "v2 UNSPEC with bytes": v2(b"abcdef", family=0),
}
BROKEN = {
    "no header": REQUEST, "v1 without addresses": b"PROXY TCP4\r\n", "v1 of one address": b"PROXY TCP4 203.0.113.7\r\n",
    "v1 with a bad address": b"PROXY TCP4 203.0.113.777 198.51.100.1 4242 443\r\n", "v1 with a bad port": b"PROXY TCP4 203.0.113.7 198.51.100.1 99999 443\r\n",
    "v1 of the wrong family": b"PROXY TCP6 203.0.113.7 198.51.100.1 4242 443\r\n", "v1 of an unknown family": b"PROXY UDP4 203.0.113.7 198.51.100.1 4242 443\r\n",
    "v1 too long": b"PROXY TCP4 203.0.113.7 198.51.100.1 4242 443" + b" " * 100 + b"\r\n", "v1 in small letters": b"proxy TCP4 203.0.113.7 198.51.100.1 4242 443\r\n",
    "v2 too short for its addresses": v2(addresses()[:8]), "v2 of another version": v2(addresses(), command=0x11), "v2 of another command": v2(addresses(), command=0x22),
    "v2 with half a TLV": v2(addresses() + b"\1\0\5ab"), "v2 with a TLV beyond its end": v2(addresses() + tlv(1, b"h2")[:-1]),
    "v2 too long": v2(addresses() + b"\0" * 65000), "v2 of datagrams": v2(addresses(), family=0x12), "v2 of unix sockets": v2(b"a" * 216, family=0x31),
}


def listener_filter(**fields):
    return {"name": "envoy.filters.listener.proxy_protocol", "typed_config": {"@type": FILTER, **fields}}


def behind(lab, origin=None, log=LOG, also=(), timeout=None, tls=None, hcm=None, **fields):
    """A proxy whose HTTP listener wants a header; its log is of addresses."""
    origin = origin or lab.origin()
    port = free_port()
    made = c.listener("http", port, c.chain(c.hcm([c.route("/", "origin")], log=log, **(hcm or {"use_remote_address": True})), tls=tls),
                      listener_filters=[listener_filter(**fields), *also], **({"listener_filters_timeout": timeout} if timeout else {}))
    proxy = lab.proxy(c.bootstrap([made], [c.cluster("origin", origin.port)]))
    proxy.port, proxy.origin = port, origin
    return proxy


@pytest.mark.parametrize("kind", HEADERS)
def test_the_told_address_is_the_clients(lab, kind):
    header, remote, local = HEADERS[kind]
    proxy = behind(lab)
    client = lab.client(proxy.port).send(header + REQUEST)
    assert client.response().status == 200
    assert client.get("/again").status == 200  # for the whole connection
    ip = remote.rsplit(":", 1)[0].strip("[]")
    assert [x.get("x-forwarded-for") for x in proxy.origin.requests] == [ip, ip]
    own = "{}:{}".format(*client.plain.getsockname())
    assert [proxy.next_log(), proxy.next_log()] == [f"{remote} {own} {local}"] * 2


@pytest.mark.parametrize("kind", SILENT)
def test_a_header_that_says_nothing_leaves_the_sockets_own_addresses(lab, kind):
    proxy = behind(lab)
    client = lab.client(proxy.port).send(SILENT[kind] + REQUEST)
    assert client.response().status == 200
    assert proxy.origin.requests[0].get("x-forwarded-for") not in (None, TOLD)
    own = "{}:{}".format(*client.plain.getsockname())
    assert proxy.next_log() == f"{own} {own} 127.0.0.1:{proxy.port}"


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_header_ends_the_connection_unanswered(lab, kind):
    proxy = behind(lab, timeout="3s")
    client = lab.client(proxy.port)
    try:
        client.send(BROKEN[kind] + REQUEST)
        assert client.reader.to_end() == b""
    except ConnectionError:
        pass
    assert not proxy.origin.requests
    assert lab.client(proxy.port).send(HEADERS["v2"][0] + REQUEST).response().status == 200


@pytest.mark.parametrize("kind", ["v1", "v2 with TLVs", "v2, IPv6"])
def test_a_header_in_single_bytes_is_understood(lab, kind):
    header, remote, _ = HEADERS[kind]
    proxy = behind(lab)
    client = lab.client(proxy.port)
    for byte in header:
        client.send(bytes([byte]))
    assert client.send(REQUEST).response().status == 200
    assert proxy.next_log().split(" ")[0] == remote


def test_a_header_that_never_ends_is_cut_by_the_listeners_timeout(lab):
    proxy = behind(lab, timeout="0.3s")
    assert lab.client(proxy.port).send(HEADERS["v2"][0][:20]).closed_or_reset()
    assert lab.client(proxy.port).closed_or_reset()
    eventually(lambda: proxy.stat(f"listener.127.0.0.1_{proxy.port}.downstream_pre_cx_timeout") == 2)


def test_a_client_that_leaves_in_its_header_leaves_nothing_behind(lab):
    proxy = behind(lab)
    before = proxy.sockets()
    for _ in range(20):
        client = lab.client(proxy.port).send(HEADERS["v1"][0][:20])
        client.close()
    eventually(lambda: proxy.stat(f"listener.127.0.0.1_{proxy.port}.downstream_pre_cx_active") == 0 and proxy.sockets() <= before)


@pytest.mark.parametrize("first", [REQUEST, b"P", b"PO"], ids=["at once", "P", "PO"])
def test_a_request_without_a_header_passes_where_that_is_allowed(lab, first):
    """A request that begins like a header is waited for."""
    proxy = behind(lab, allow_requests_without_proxy_protocol=True)
    client = lab.client(proxy.port).send(first)
    if first != REQUEST:
        client.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"[len(first):])
    assert client.response().status == 200
    own = "{}:{}".format(*client.plain.getsockname())
    assert proxy.next_log() == f"{own} {own} 127.0.0.1:{proxy.port}"
    assert lab.client(proxy.port).send(HEADERS["v1"][0] + REQUEST).response().status == 200
    assert proxy.next_log().startswith(HEADERS["v1"][1])


def test_a_broken_header_is_refused_even_where_none_is_needed(lab):
    proxy = behind(lab, allow_requests_without_proxy_protocol=True)
    assert lab.client(proxy.port).send(BROKEN["v1 with a bad port"] + REQUEST).closed_or_reset()
    assert not proxy.origin.requests


def test_x_forwarded_for_goes_on_from_the_told_address(lab):
    proxy = behind(lab, log=c.LOG_FORMAT)
    client = lab.client(proxy.port).send(HEADERS["v2"][0])
    assert client.get("/", headers=[("x-forwarded-for", "192.0.2.1")]).status == 200
    assert proxy.origin.requests[0].get("x-forwarded-for") == f"192.0.2.1,{TOLD}"
    assert proxy.next_log()["xff"] == f"192.0.2.1,{TOLD}"


@pytest.mark.parametrize("kind", ["v1", "v2"])
def test_tls_follows_the_header(lab, kind):
    cert = lab.ca().issue("server")
    inspector = {"name": "envoy.filters.listener.tls_inspector", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}
    proxy = behind(lab, also=[inspector], tls=c.downstream_tls(require=False, cert=cert))
    sock = socket.create_connection(("127.0.0.1", proxy.port), 8)
    with sock:
        sock.sendall(HEADERS[kind][0])
        tls = pki.client_context().wrap_socket(sock, server_hostname="a.example")
        tls.sendall(REQUEST)
        assert Reader(tls).until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        assert proxy.next_log().startswith(HEADERS[kind][1])
        tls.close()


def test_the_log_of_a_tcp_connection_shows_both_addresses(lab):
    origin = lab.origin(raw=lambda sock, _: sock.sendall(b"hello"))
    port = free_port()
    made = c.listener("tcp", port, c.tcp_proxy("origin", log=False, access_log=[c.access_log(LOG)]), listener_filters=[listener_filter()])
    proxy = lab.proxy(c.bootstrap([made], [c.cluster("origin", origin.port)]))
    client = lab.client(port).send(HEADERS["v1"][0])
    own = "{}:{}".format(*client.plain.getsockname())
    assert client.expect_close() == b"hello"
    client.close()
    assert proxy.next_log() == f"{HEADERS['v1'][1]} {own} {HEADERS['v1'][2]}"


# Told to what is behind

def telling(lab, version, origin, tls=None, front=()):
    """A tcp_proxy that tells `origin` about its client."""
    inner = tls or {"name": "envoy.transport_sockets.raw_buffer", "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}
    wrapped = {"name": "envoy.transport_sockets.upstream_proxy_protocol", "typed_config": {
        "@type": WRAPPER, "config": {"version": version}, "transport_socket": inner}}
    port = free_port()
    made = c.listener("tcp", port, c.tcp_proxy("origin"), listener_filters=list(front))
    proxy = lab.proxy(c.bootstrap([made], [c.cluster("origin", origin.port, transport_socket=wrapped)]))
    proxy.port = port
    return proxy


def expected(version, source, destination):
    """source, destination: (address, port), of IPv4."""
    if version == "V1":
        return f"PROXY TCP4 {source[0]} {destination[0]} {source[1]} {destination[1]}\r\n".encode()
    return v2(addresses(source[0], destination[0], (source[1], destination[1])))


def everything(sock, origin):
    """A raw origin: says that it is there, and keeps what comes until the end."""
    sock.sendall(b"hello")
    origin.requests.append(Reader(sock).to_end())


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_the_header_goes_first_and_tells_the_client(lab, version):
    origin = lab.origin(raw=everything)
    proxy = telling(lab, version, origin)
    client = lab.client(proxy.port).send(b"data")
    own = client.plain.getsockname()
    client.half_close()
    assert client.expect_close() == b"hello"
    sent, = origin.wait_requests(1)
    assert sent == expected(version, own, ("127.0.0.1", proxy.port)) + b"data"
    assert proxy.next_log()["rx"] == "4"  # the header is not the client's


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_a_server_that_speaks_first_hears_the_header_without_a_byte_of_the_client(lab, version):
    def server(sock, origin):
        origin.requests.append(Reader(sock).exactly(16))
        sock.sendall(b"hello")
    proxy = telling(lab, version, lab.origin(raw=server))
    assert lab.client(proxy.port).reader.exactly(5) == b"hello"


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_the_header_goes_before_the_handshake(lab, version):
    cert = lab.ca().issue("server")

    def server(sock, origin):
        reader = Reader(sock)
        if version == "V1":
            header = reader.until(b"\r\n") + b"\r\n"
        else:
            header = reader.exactly(16)
            header += reader.exactly(int.from_bytes(header[14:], "big"))
        origin.requests.append(header)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = pki.server_context(cert).wrap_bio(incoming, outgoing, server_side=True)
        incoming.write(reader.buffer)

        def run(work):
            while True:
                try:
                    result = work()
                    sock.sendall(outgoing.read())
                    return result
                except ssl.SSLWantReadError:
                    sock.sendall(outgoing.read())
                    incoming.write(sock.recv(65536))
        run(tls.do_handshake)
        got = run(lambda: tls.read(100))
        run(lambda: tls.write(b"got " + got))
    origin = lab.origin(raw=server)
    proxy = telling(lab, version, origin, c.upstream_tls(sni="a.example"))
    client = lab.client(proxy.port).send(b"data")
    assert client.reader.exactly(8) == b"got data"
    assert origin.requests == [expected(version, client.plain.getsockname(), ("127.0.0.1", proxy.port))]


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_what_was_told_in_front_is_told_behind(lab, version):
    origin = lab.origin(raw=everything)
    client = lab.client(telling(lab, version, origin, front=[listener_filter()]).port).send(HEADERS["v2"][0] + b"data")
    assert client.reader.exactly(5) == b"hello"
    client.half_close()
    assert client.expect_close() == b""
    assert origin.wait_requests(1) == [expected(version, (TOLD, 4242), ("198.51.100.1", 443)) + b"data"]


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_one_of_ours_believes_what_another_tells(lab, version):
    last = behind(lab)
    first = telling(lab, version, last)
    client = lab.client(first.port)
    assert client.get("/").status == 200
    assert last.next_log().split(" ")[0] == "{}:{}".format(*client.plain.getsockname())
