"""A scriptable HTTP/1.1 (and plain TCP) origin on threads. By default it answers 200 with its own name as the body.

    origin = Origin("v1"); origin.on("/slow", lambda x: x.hang())
"""
import socket
import struct
import threading

from .client import Closed, Reader, parse_head
from .wait import eventually


class Exchange:
    """One request on one connection, and everything that a script may do with it."""

    def __init__(self, origin, connection, reader, head):
        self.origin, self.socket, self.reader, self.head = origin, connection, reader, head
        line, self.headers = parse_head(head)
        self.method, self.target = (line.split(" ") + ["", ""])[:2]
        self.path = self.target.split("?")[0]
        self.body, self.trailers, self.chunks, self.closed = b"", [], 0, False
        self.body_read = False

    def get(self, name, default=None):
        return next((v for k, v in self.headers if k == name), default)

    def read_body(self):
        if self.body_read:
            return self.body
        self.body_read = True
        if self.get("transfer-encoding") == "chunked":
            self.reader.chunked(self)
        elif self.get("content-length"):
            self.body = self.reader.exactly(int(self.get("content-length")))
        return self.body

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def reply(self, status=200, body=b"", headers=()):
        self.read_body()
        lines = [f"HTTP/1.1 {status} X"] + [f"{k}: {v}" for k, v in headers]
        if status not in (204, 304):
            lines.append(f"content-length: {len(body)}")
        data = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        self.send(data if self.method == "HEAD" else data + body)

    def chunked(self, parts, headers=(), trailers=()):
        self.read_body()
        self.send("HTTP/1.1 200 OK\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers) + "transfer-encoding: chunked\r\n\r\n")
        for part in parts:
            self.send(b"%x\r\n%s\r\n" % (len(part), part))
        self.send("0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in trailers) + "\r\n")

    def hang(self):
        """No answer; returns when the proxy gives the connection up."""
        try:
            self.reader.to_end()
        except OSError:
            pass
        self.closed = True

    def close(self):
        self.closed = True

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed = True


class Origin:
    def __init__(self, name="origin", tls=None, host="127.0.0.1", port=0, raw=None, path=None, receive_buffer=None):
        """raw: a function (socket, origin) that speaks for itself; path: listen on a unix socket."""
        self.name, self.tls, self.raw = name, tls, raw
        self.scripts, self.requests, self.connections, self.open = {}, [], 0, set()
        self.default = lambda x: x.reply(200, self.name.encode(), [("x-origin", self.name)])
        self.tls_errors, self.peer_certs, self.resumed = [], [], []
        self.lock = threading.Lock()
        if path:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(path)
            self.port = path
        else:
            self.listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            if receive_buffer:
                self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self.listener.bind((host, port))
            self.port = self.listener.getsockname()[1]
        self.listener.listen(512)
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def on(self, path, script):
        self.scripts[path] = script
        return self

    def wait_requests(self, count, timeout=8):
        return eventually(lambda: len(self.requests) >= count and self.requests, timeout, f"{count} requests at {self.name}")

    def wait_connections(self, check, timeout=8):
        return eventually(lambda: check(len(self.open)), timeout, f"open connections at {self.name}")

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        original = connection
        try:
            connection.settimeout(60)
            if not isinstance(self.port, str):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self.peer_certs.append(connection.getpeercert())
                self.resumed.append(connection.session_reused)
            if self.raw:
                return self.raw(connection, self)
            self._serve_http(connection)
        except (OSError, ValueError, AssertionError) as error:
            self.tls_errors.append(error)
        finally:
            try:
                connection.close()
            except OSError:
                pass
            with self.lock:
                self.open.discard(original)

    def _serve_http(self, connection):
        reader = Reader(connection)
        while True:
            try:
                head = reader.until(b"\r\n\r\n")
            except (Closed, ConnectionResetError):
                return
            exchange = Exchange(self, connection, reader, head)
            with self.lock:
                self.requests.append(exchange)
            self.scripts.get(exchange.path, self.default)(exchange)
            if exchange.closed:
                return
            exchange.read_body()

    def close(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for connection in list(self.open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
