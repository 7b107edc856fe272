"""What runs in the pods of captured_mesh.py: applications and clients, each a script for `python -c`, since a pod's users may not be able
to read the checkout."""
# Serves each port of argv[1] as it says: http, https and auto (HTTP or not, by the first bytes) tell what arrived; greet speaks first;
# hangup takes what comes and goes.
SERVER = r"""
import http.server, json, socket, ssl, sys, threading, time
spec = json.loads(sys.argv[1])

class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        time.sleep(1 if self.path == "/slow" else 0)
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        names = {name.lower() for name in self.headers}
        document = {"served_by": spec["name"], "method": self.command, "path": self.path, "body": body, "peer": self.client_address[0],
                    "local": self.request.getsockname()[0], "headers": {name: ",".join(self.headers.get_all(name)) for name in names},
                    "tls": getattr(self.request, "server_hostname_seen", None)}
        data = b"ready" if self.path == "/healthz/ready" else json.dumps(document).encode()
        upgrade = self.headers.get("upgrade") == "websocket"
        self.send_response(101 if upgrade else 200)
        for name, value in [("connection", "upgrade"), ("upgrade", "websocket")] if upgrade else [("content-length", str(len(data)))]:
            self.send_header(name, value)
        self.end_headers()
        if upgrade:
            self.close_connection = True
            echo(self.request, b"upgraded\n")
        else:
            self.wfile.write(data)
    do_POST = do_GET
    def log_message(self, *_):
        pass

def echo(connection, greeting=b""):
    connection.sendall(greeting)
    while data := connection.recv(65536):
        connection.sendall(data)

def serve(kind, connection, peer):
    with connection:
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if kind == "https":
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*spec["tls"])
                seen = []
                context.sni_callback = lambda sock, name, ctx: seen.append(name)
                connection = context.wrap_socket(connection, server_side=True)
                connection.server_hostname_seen = seen[0] if seen else ""
            if kind == "hangup":
                connection.recv(65536)
            elif kind == "greet":
                echo(connection, f"{spec['name']} greets {peer[0]} at {connection.getsockname()[0]}\n".encode())
            elif kind == "echo" or kind == "auto" and connection.recv(4, socket.MSG_PEEK)[:4] not in (b"GET ", b"POST"):
                echo(connection)
            else:
                Answer(connection, peer, None)
        except OSError:
            pass

def accept(kind, server):
    while True:
        threading.Thread(target=serve, args=(kind, *server.accept()), daemon=True).start()

for port, kind in spec["ports"].items():
    server = socket.create_server((spec.get("address", "0.0.0.0"), int(port)), backlog=128)
    threading.Thread(target=accept, args=(kind, server)).start()
"""

# gRPC on 9001 by grpcio, and HTTP/2 with prior knowledge on 9002; for the interpreter of the tests, which has both libraries.
H2_SERVER = r"""
import json, socket, sys, threading
from concurrent import futures
import grpc, h2.config, h2.connection, h2.events

def metadata_of(context):
    return dict(context.invocation_metadata())

def unary(request, context):
    context.set_trailing_metadata((("served-by", sys.argv[1]),))
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    return json.dumps({"said": request.decode(), "metadata": {k: str(v) for k, v in metadata_of(context).items()}}).encode()

def stream(requests, context):
    for request in requests:
        yield request.upper()

server = grpc.server(futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", {
    "Unary": grpc.unary_unary_rpc_method_handler(unary), "Stream": grpc.stream_stream_rpc_method_handler(stream)}),))
server.add_insecure_port("0.0.0.0:9001")
server.start()

def serve(sock):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
    connection.initiate_connection()
    heads = {}
    try:
        while True:
            sock.sendall(connection.data_to_send())
            if not (data := sock.recv(65536)):
                return
            for event in connection.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    heads[event.stream_id] = dict(event.headers)
                elif isinstance(event, h2.events.StreamEnded):
                    head = heads.pop(event.stream_id)
                    connection.send_headers(event.stream_id, [(":status", "200")])
                    document = {"served_by": sys.argv[1], "path": head[":path"], "headers": head, "protocol": "h2"}
                    connection.send_data(event.stream_id, json.dumps(document).encode(), end_stream=True)
    except OSError:
        pass

listener = socket.create_server(("0.0.0.0", 9002))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""

# Says a line and prints, as JSON, what came before it, what came back, and how it ended once this side had. It ends only then, since
# Envoy drops a connection that is half closed before its http_inspector is done.
TALK = r"""
import json, socket, sys
host, port, line, expect_greeting = sys.argv[1], int(sys.argv[2]), sys.argv[3].encode(), sys.argv[4] == "greeted"
out = {"greeting": "", "answer": "", "end": ""}
try:
    with socket.create_connection((host, port), 5) as connection:
        connection.settimeout(5)
        reader = connection.makefile("rb")
        if expect_greeting:
            out["greeting"] = reader.readline().decode()
        connection.sendall(line + b"\n")
        out["answer"] = reader.readline().decode()
        connection.shutdown(socket.SHUT_WR)
        out["answer"] += reader.read().decode()
        out["end"] = "closed"
except OSError as error:
    out["end"] = type(error).__name__
print(json.dumps(out))
"""

# One request with exactly this target, not escaped, as Go's client sends it.
RAW_GET = r"""
import socket, sys
with socket.create_connection(("localhost", int(sys.argv[1])), 5) as connection:
    head = f"{sys.argv[3]} {sys.argv[2]} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    connection.sendall(head.encode())
    reader = connection.makefile("rb")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += reader.readline()
    body = b""
    if b"chunked" in head.lower():
        while size := int(reader.readline(), 16):
            body += reader.read(size)
            reader.readline()
    else:
        body = reader.read()
    sys.stdout.buffer.write(head + body)
"""

# A call that answers, a call that fails, and a stream both ways; prints what came as JSON.
GRPC_CLIENT = r"""
import grpc, json, sys
with grpc.insecure_channel(sys.argv[1]) as channel:
    unary = channel.unary_unary("/test.Echo/Unary")
    answer, call = unary.with_call(b"hello", timeout=10, metadata=(("x-word", "mesh"),))
    try:
        unary(b"fail", timeout=10)
        failure = None
    except grpc.RpcError as error:
        failure = [error.code().name, error.details()]
    stream = channel.stream_stream("/test.Echo/Stream")(iter([b"one", b"two", b"three"]), timeout=10)
    print(json.dumps({"answer": json.loads(answer), "trailers": {k: str(v) for k, v in call.trailing_metadata()}, "failure": failure,
                      "stream": [piece.decode() for piece in stream]}))
"""
