"""Both ends of every request of the decision table: the client, and the origin that all endpoints of a capture lead to.

A program, run in the pod of one proxy: ends.py JOB RESULTS. It listens, says so, waits until the proxy is live, plays the cases of the
job one after the other and writes for each what the client got and what the origin saw. The packet rules of the pod decide where a
connection goes: mark 1 to the outbound listener, mark 2 to the inbound one, none straight on; the proxy's own ones to the origin.
"""
import hashlib
import json
import select
import socket
import ssl
import struct
import sys
import threading
import time
import urllib.request
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.client import Closed, RawClient, Reader, parse_head  # noqa: E402

ORIGIN_PORT, DNS_PORT, OUTBOUND, INBOUND = 19999, 19053, 1, 2
SERVER_FIRST = {3306}
NAMES = {"edition.cnn.com": "151.101.1.67"}
SO_ORIGINAL_DST = 80
METADATA_EXCHANGE = bytes.fromhex("3d230467")
H2 = {"validate_outbound_headers": False, "normalize_outbound_headers": False, "validate_inbound_headers": False,
      "normalize_inbound_headers": False, "header_encoding": "latin-1"}


def hello_of(data):
    """{sni, alpn} that a TLS ClientHello offers; None when the bytes are none."""
    if len(data) < 6 or data[0] != 22 or data[5] != 1:
        return None
    try:
        at = 43 + 1 + data[43]
        at += 2 + int.from_bytes(data[at:at + 2], "big")
        at += 1 + data[at]
        end, found = at + 2 + int.from_bytes(data[at:at + 2], "big"), {"sni": "", "alpn": []}
        at += 2
        while at + 4 <= min(end, len(data)):
            kind, size = struct.unpack(">HH", data[at:at + 4])
            body = data[at + 4:at + 4 + size]
            if kind == 0:
                found["sni"] = body[5:].decode("latin-1")
            elif kind == 16:
                rest = body[2:]
                while rest:
                    found["alpn"].append(rest[1:1 + rest[0]].decode("latin-1"))
                    rest = rest[1 + rest[0]:]
            at += 4 + size
        return found
    except IndexError:
        return None


class Message:
    def __init__(self):
        self.body, self.chunks, self.trailers = b"", 0, []


class Origin:
    """Takes whatever the proxy connects to, speaks what it is spoken to, and answers with what it received."""

    def __init__(self, job):
        self.seen, self.fresh, self.lock = [], set(), threading.Lock()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(*job["certs"]["origin"])
        for ca in job["cas"]:
            self.tls.load_verify_locations(ca)
        self.tls.verify_mode = ssl.CERT_OPTIONAL
        self.listener = socket.create_server(("0.0.0.0", ORIGIN_PORT), backlog=256)
        threading.Thread(target=self._accept, daemon=True).start()

    def note(self, **what):
        with self.lock:
            self.seen.append(what)
            self.fresh.discard(threading.get_ident())

    def take(self):
        """What came since the last call, once every connection has said something or ended."""
        end = time.monotonic() + 0.3
        while self.fresh and time.monotonic() < end:
            time.sleep(0.002)
        with self.lock:
            seen, self.seen = self.seen, []
        return seen

    def _accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self._serve_and_forget, args=(connection,), daemon=True).start()

    def _serve_and_forget(self, sock):
        self.fresh.add(threading.get_ident())
        try:
            self._serve(sock)
        finally:
            self.fresh.discard(threading.get_ident())

    def _serve(self, sock):
        raw = sock.getsockopt(socket.SOL_IP, SO_ORIGINAL_DST, 16)
        port = struct.unpack("!H", raw[2:4])[0]
        about = {"at": f"{socket.inet_ntoa(raw[4:8])}:{port}", "tls": None}
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with sock:
                if port not in SERVER_FIRST or select.select([sock], [], [], 0.05)[0]:
                    start = sock.recv(4096, socket.MSG_PEEK)
                    if hello := hello_of(start):
                        about["tls"] = hello
                        sock = self.tls.wrap_socket(sock, server_side=True)
                        peer = sock.getpeercert() or {}
                        hello["client"] = [v for k, v in peer.get("subjectAltName", ()) if k == "URI"] + [str(peer.get("issuer"))]
                self._speak(sock, port, about)
        except ssl.SSLError as error:
            self.note(**about, failed=error.reason)
        except (OSError, Closed, ValueError, h2.exceptions.ProtocolError):
            pass

    def _speak(self, sock, port, about):
        reader = Reader(sock)
        if port in SERVER_FIRST:
            self.note(**about, speaks="first")
            sock.sendall(json.dumps(about | {"greeting": "hello"}).encode() + b"\n")
            return reader.to_end()
        reader.fill()
        if reader.buffer.startswith(b"PRI * HTTP/2.0"):
            return self._http2(sock, reader, about)
        if b" HTTP/1." in reader.buffer.partition(b"\n")[0]:
            return self._http1(sock, reader, about)
        hello = hello_of(reader.buffer)
        what = about | {"raw": {"nested": hello} if hello else reader.buffer.decode("latin-1")}
        self.note(**what)
        sock.sendall(json.dumps(what).encode() + b"\n")
        reader.to_end()

    def _http1(self, sock, reader, about):
        while True:
            line, headers = parse_head(reader.until(b"\r\n\r\n"))
            method, path, version = line.split(" ")
            fields, message = dict(headers), Message()
            if fields.get("expect", "").lower() == "100-continue":
                sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if "chunked" in fields.get("transfer-encoding", ""):
                reader.chunked(message)
            elif fields.get("content-length"):
                message.body = reader.exactly(int(fields["content-length"]))
            what = about | {"version": version, "method": method, "path": path, "headers": headers, "body": message.body.decode("latin-1"),
                            "trailers": message.trailers}
            self.note(**what)
            if fields.get("upgrade", "").lower() == "websocket":
                sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n"
                             b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n")
                sock.sendall(b"echo " + reader.until(b"\n") + b"\n")
                return reader.to_end()
            body = json.dumps(what).encode()
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nx-from-origin: yes\r\ncontent-length: %d\r\n\r\n" % len(body)
            sock.sendall(head if method == "HEAD" else head + body)

    def _http2(self, sock, reader, about):
        connection = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=False, **H2))
        connection.initiate_connection()
        sock.sendall(connection.data_to_send())
        requests, data = {}, reader.buffer
        while data:
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    requests[event.stream_id] = [event.headers, b""]
                elif isinstance(event, h2.events.DataReceived):
                    requests[event.stream_id][1] += event.data
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    headers, body = requests.pop(event.stream_id)
                    pseudo = {k: v for k, v in headers if k.startswith(":")}
                    what = about | {"version": "HTTP/2", "method": pseudo.get(":method"), "path": pseudo.get(":path"),
                                    "scheme": pseudo.get(":scheme"), "body": body.decode("latin-1"),
                                    "headers": [("host", pseudo.get(":authority", ""))] + [(k, v) for k, v in headers if k[0] != ":"]}
                    self.note(**what)
                    body = json.dumps(what).encode()
                    head = what["method"] == "HEAD"
                    connection.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/json"),
                                                              ("x-from-origin", "yes"), ("content-length", str(len(body)))], head)
                    if not head:
                        for at in range(0, len(body), 16000):
                            connection.send_data(event.stream_id, body[at:at + 16000], at + 16000 >= len(body))
            sock.sendall(connection.data_to_send())
            data = sock.recv(65536)


def serve_names():
    """A DNS server: A records of NAMES, nothing for other types, NXDOMAIN for other names."""
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("0.0.0.0", DNS_PORT))

    def answer():
        while True:
            query, peer = server.recvfrom(4096)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1:at + 1 + query[at]].decode())
                at += 1 + query[at]
            question, address = query[12:at + 5], NAMES.get(".".join(labels).lower())
            records = [socket.inet_aton(address)] if address and question[-4:-2] == b"\0\1" else []
            reply = query[:2] + (b"\x81\x80" if address else b"\x81\x83") + struct.pack(">HHHH", 1, len(records), 0, 0) + question
            server.sendto(reply + b"".join(b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + r for r in records), peer)
    threading.Thread(target=answer, daemon=True).start()


class Client(RawClient):
    def __init__(self, case, job):
        sock = socket.socket()
        sock.settimeout(job["patience"])
        if case["mark"]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, case["mark"])
        self.plain = self.socket = sock
        sock.bind((case["source"], 0))
        sock.connect((case["to"], case["port"]))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls := case.get("tls"):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            if tls.get("alpn"):
                context.set_alpn_protocols(tls["alpn"])
            if tls.get("cert"):
                context.load_cert_chain(*job["certs"][tls["cert"]])
            self.socket = context.wrap_socket(sock, server_hostname=tls.get("sni") or None)
        self.reader = Reader(self.socket)

    def close(self):
        self.socket.close()
        self.plain.close()


def play(case, job, got):
    """Fills `got` as the answer comes, so that an end in the middle shows how far it went."""
    try:
        client = Client(case, job)
    except (ssl.SSLError, ConnectionError, TimeoutError) as error:
        # Whether a refusal is read as an alert, an end or a reset is a matter of moments.
        got["ended"] = {"WRONG_VERSION_NUMBER": "plain bytes instead of TLS"}.get(getattr(error, "reason", ""), "no TLS")
        if isinstance(error, TimeoutError):
            got["ended"] = "no TLS, silence"
        return
    try:
        if case.get("tls"):
            shown = hashlib.sha256(client.socket.getpeercert(True)).hexdigest()
            got["tls"] = {"version": client.socket.version(), "alpn": client.socket.selected_alpn_protocol(),
                          "cert": job["known"].get(shown)}
        {"http1": play_http1, "http2": play_http2, "raw": play_raw}[case["kind"]](client, case, got)
    finally:
        client.close()


def play_http1(client, case, got):
    client.send(case["send"])
    method = case["send"].split(" ")[0]
    if read_answer(client, got, method) == 101:
        client.send("ping\n")
        got["upgraded"] = client.reader.until(b"\n").decode("latin-1")


def read_answer(client, got, method=""):
    answer = client.response(method)
    got |= {"status": answer.status, "headers": answer.headers, "body": answer.body.decode("latin-1"), "complete": answer.complete,
            "informational": [x.status for x in answer.informational]}
    return answer.status


def play_http2(client, case, got):
    connection = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=True, **H2))
    connection.initiate_connection()
    body = case.get("body", "").encode("latin-1")
    connection.send_headers(1, [tuple(x) for x in case["send"]], not body)
    if body:
        connection.send_data(1, body, True)
    client.send(connection.data_to_send())
    collected = b""
    while True:
        data = client.socket.recv(65536)
        if not data:
            raise Closed(b"")
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                got |= {"status": int(dict(event.headers)[":status"]), "headers": [x for x in event.headers if x[0] != ":status"]}
            elif isinstance(event, h2.events.DataReceived):
                collected += event.data
                got["body"] = collected.decode("latin-1")
                connection.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.TrailersReceived):
                got["trailers"] = event.headers
            elif isinstance(event, h2.events.StreamEnded):
                return
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                got["ended"] = f"{type(event).__name__} {int(event.error_code)}"
                return
        client.send(connection.data_to_send())


def play_raw(client, case, got):
    if case["send"]:
        client.send(case["send"])
    reader = client.reader
    reader.fill()
    if reader.buffer.startswith(METADATA_EXCHANGE):  # what istio.metadata_exchange says first: magic, length, a message
        got["preamble"] = True
        reader.exactly(int.from_bytes(reader.exactly(8)[4:], "big"))
    while b"\n" not in reader.buffer:
        reader.fill()
    if reader.buffer.startswith(b"HTTP/1."):
        return read_answer(client, got)
    got["raw"] = reader.buffer.decode("latin-1")


def wait_until_live(admin, timeout=15):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{admin}/ready", timeout=2).status == 200:
                return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("the proxy never became live")


def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    origin = Origin(job)
    serve_names()
    wait_until_live(job["admin"])
    results = []
    for case in job["cases"]:
        got = {}
        try:
            play(case, job, got)
        except (Closed, ssl.SSLError, ConnectionResetError, BrokenPipeError):
            got["ended"] = "closed"
        except TimeoutError:
            got["ended"] = "silence"
        except (OSError, ValueError, AssertionError, h2.exceptions.ProtocolError) as error:
            got["ended"] = f"{type(error).__name__} {error}"
        results.append({"client": got, "origin": origin.take()})
    Path(sys.argv[2]).write_text(json.dumps(results))


if __name__ == "__main__":
    main()
