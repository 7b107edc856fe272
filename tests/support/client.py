"""A client that sends exactly the bytes it is given and reads HTTP/1.1 answers without leniency."""
import select
import socket
import ssl
import struct
import threading


class Response:
    def __init__(self, status, reason, headers, raw_head):
        self.status, self.reason, self.headers, self.raw_head = status, reason, headers, raw_head
        self.body, self.trailers, self.complete, self.chunks = b"", [], True, 0

    def get(self, name, default=None):
        for key, value in self.headers:
            if key == name:
                return value
        return default

    def all(self, name):
        return [value for key, value in self.headers if key == name]

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Closed(OSError):
    """The peer closed before what was awaited came; .data holds what did come."""

    def __init__(self, data):
        super().__init__(f"closed after {len(data)} bytes: {data[:300]!r}")
        self.data = data


def parse_head(head):
    lines = head.decode("latin-1").split("\r\n")
    headers = []
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers.append((name.lower(), value.strip()))
    return lines[0], headers


class Reader:
    """Buffered reading from a socket, shared by client and origin."""

    def __init__(self, sock):
        self.sock, self.buffer = sock, b""

    def fill(self):
        got = self.sock.recv(65536)
        if not got:
            raise Closed(self.buffer)
        self.buffer += got

    def until(self, mark, limit=1 << 20):
        while mark not in self.buffer:
            if len(self.buffer) > limit:
                raise ValueError("no end in sight")
            self.fill()
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def exactly(self, count):
        parts, left = [], count
        while left > len(self.buffer):
            parts.append(self.buffer)
            left -= len(self.buffer)
            self.buffer = b""
            try:
                self.fill()
            except Closed:
                raise Closed(b"".join(parts)) from None
        parts.append(self.buffer[:left])
        self.buffer = self.buffer[left:]
        return b"".join(parts)

    def to_end(self):
        parts, self.buffer = [self.buffer], b""
        while got := self.sock.recv(1 << 18):
            parts.append(got)
        return b"".join(parts)

    def chunked(self, into):
        """Reads a chunked body into into.body and into.trailers, and counts the chunks."""
        while True:
            size = int(self.until(b"\r\n").split(b";")[0], 16)
            if size == 0:
                break
            into.body += self.exactly(size)
            into.chunks += 1
            assert self.exactly(2) == b"\r\n"
        while True:
            line = self.until(b"\r\n")
            if not line:
                return
            name, _, value = line.decode("latin-1").partition(":")
            into.trailers.append((name.lower(), value.strip()))


class SharedTls:
    """A TLS socket that one thread may read while another writes: OpenSSL's own objects take no two threads."""

    def __init__(self, sock, timeout):
        self.sock, self.lock = sock, threading.Lock()
        self.settimeout(timeout)

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def settimeout(self, timeout):
        self.timeout = timeout
        self.sock.settimeout(0)

    def _when_ready(self, operation, *args):
        while True:
            try:
                with self.lock:
                    return operation(*args)
            except ssl.SSLWantReadError:
                ready = select.select([self.sock], [], [], self.timeout)
            except ssl.SSLWantWriteError:
                ready = select.select([], [self.sock], [], self.timeout)
            if not any(ready):
                raise TimeoutError("timed out")

    def recv(self, size, *flags):
        return self._when_ready(self.sock.recv, size, *flags)

    def sendall(self, data):
        view = memoryview(data)
        while view:
            view = view[self._when_ready(self.sock.send, view[:65536]):]


class RawClient:
    def __init__(self, port, host="127.0.0.1", tls=None, sni=None, session=None, timeout=10, receive_buffer=None):
        family = socket.AF_UNIX if isinstance(port, str) else socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(timeout)
        try:
            sock.connect(port if isinstance(port, str) else (host, port))
            if family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.plain = sock
            if tls:
                sock = SharedTls(tls.wrap_socket(sock, server_hostname=sni, session=session), timeout)
        except BaseException:
            sock.close()
            raise
        self.socket = sock
        self.reader = Reader(sock)

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)
        return self

    def send_slowly_from_thread(self, data):
        """Sends in the background, errors ignored: for bodies larger than what fits in the buffers of the path."""
        def run():
            try:
                self.socket.sendall(data)
            except OSError:
                pass
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def response(self, method="GET"):
        """The next final answer; 1xx before it are collected in .informational."""
        informational = []
        while True:
            head = self.reader.until(b"\r\n\r\n")
            line, headers = parse_head(head)
            version, status, reason = (line + " ").split(" ", 2)
            assert version in ("HTTP/1.1", "HTTP/1.0"), line
            response = Response(int(status), reason.strip(), headers, head)
            if 100 <= response.status < 200 and response.status != 101:
                informational.append(response)
                continue
            break
        response.informational = informational
        try:
            if method == "HEAD" or response.status in (204, 304, 101):
                pass
            elif response.get("transfer-encoding", "").lower() == "chunked":
                self.reader.chunked(response)
            elif response.get("content-length") is not None:
                response.body = self.reader.exactly(int(response.get("content-length")))
            else:
                response.body = self.reader.to_end()
        except Closed as closed:
            response.complete = False
            response.body += closed.data if response.get("content-length") else b""
        return response

    def get(self, path="/", host="a", headers=(), method="GET", body=None):
        lines = [f"{method} {path} HTTP/1.1", f"host: {host}"] + [f"{k}: {v}" for k, v in headers]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        self.send("\r\n".join(lines) + "\r\n\r\n")
        if body:
            self.send(body)
        return self.response(method)

    def expect_close(self):
        """Reads to FIN; returns what came before it. A reset counts as an error."""
        return self.reader.to_end()

    def closed_or_reset(self):
        try:
            self.reader.to_end()
        except ConnectionResetError:
            pass
        return True

    def is_open(self, wait=0.05):
        self.socket.settimeout(wait)
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK))
        except (TimeoutError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(10)

    def half_close(self):
        self.plain.shutdown(socket.SHUT_WR)

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        try:
            self.socket.close()
        except OSError:
            pass
