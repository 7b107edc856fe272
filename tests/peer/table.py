"""The requests that real Envoy and pinnace must treat alike, and the differences that are deliberate."""

SIMPLE = [("GET", "/"), ("GET", "/a"), ("GET", "/a/b/c?x=1&y=2"), ("POST", "/a"), ("PUT", "/a"), ("DELETE", "/a"), ("PATCH", "/a"),
          ("OPTIONS", "/a"), ("HEAD", "/a"), ("TRACE", "/a"), ("PROPFIND", "/a"), ("get", "/a"), ("FOO", "/a"), ("QUERY", "/a"),
          ("M-SEARCH", "/a"), ("REPORT", "/a")]
PATHS = ["/exact", "/exact/", "/exact?q", "/EXACT", "/case", "/CASE", "/re/12", "/re/x", "/re/12/", "/sep", "/sep/a", "/separate", "/rw/x?y",
         "/rw", "/nope/../a", "/../../a", "/a/./b", "/a//b", "/a/%2e%2e/b", "/a/%2E%2e%2Fb", "/%61", "/a%20b", "/a%zz", "/a%00b", "/a#b", "/a\\b",
         "/a;p/..;/b", "/a/..;/b", "//a", "///", "/.", "/..", "/a/..", "/a/.", "/a?b#c", "/a?%00", '/a"<>^`{|}', '/a?"<>^`{|}', "/~a!$&'()*+,;=:@",
         "*", "a", "?q", "/" + "x" * 3000, "http://b.com/p?x=1", "http://b.com", "https://b.com/p", "http://u:p@b.com/p", "ftp://b.com/p",
         "http://", "/redir", "/direct", "/dead", "/none", "/unknown", "/a b", "/\x01", "/\x7f", "/\xe9", "/weighted"]
HOSTS = ["a", "A.COM", "exact.com", "EXACT.com", "x.suffix.com", "suffix.com", "pre.anything", "a:80", "exact.com:80", "exact.com:x", "[::1]:80",
         "u@a", "a_b.c", "%41", "a,b", "a<b", "a/b", "a?b", "a#b", "a b", "a\tb", 'a"b', "a\\b", "a\xe9", "", "a.", "exact.com."]
HEADERS = [
    "x: y", "X-Upper: V", "x:y", "x:  y  ", "x:", "x:\ty\t", "x: a\tb", "x: \xe9", "x: a\r\n b", "x: a\rb", "x : y", "no colon", ": empty", "a(b: c",
    "x\xe9: y", "x!#$%&'*+-.^_`|~9: y", "a_b: c", "x: \0", "x: \x01", "x: \x7f", "x\0: y", ":path: /z", ":authority: z", "cookie: a=1\r\ncookie: b=2",
    "x: 1\r\nx: 2", "host: b", "connection: close", "connection: keep-alive", "Connection: CLOSE", "connection: x-foo\r\nx-foo: 1",
    "connection: close, x-foo\r\nx-foo: 1", "connection: host", "connection: x-forwarded-for\r\nx-forwarded-for: 1.1.1.1",
    "connection: x-forwarded-proto", "connection: :path", "keep-alive: timeout=5", "proxy-connection: close", "proxy-connection: keep-alive",
    "proxy-authorization: x", "te: trailers", "te: gzip", "te: trailers, gzip", "trailer: x", "upgrade: foo", "connection: upgrade\r\nupgrade: foo",
    "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA", "expect: foo", "expect: 100-continue", "content-length: 0",
    "content-length: 00", "content-length: +0", "content-length: -1", "content-length: 0x0", "content-length:", "content-length: 0\r\ncontent-length: 0",
    "content-length: 0, 0", "content-length: 18446744073709551616", "transfer-encoding: chunked\r\ncontent-length: 0", "transfer-encoding: gzip",
    "transfer-encoding: identity", "transfer-encoding: chunked, chunked", "transfer-encoding: xchunked", "transfer-encoding:", "transfer-encoding : chunked",
    "x-forwarded-for: 1.2.3.4", "x-forwarded-for: 1.2.3.4\r\nx-forwarded-for: 5.6.7.8", "x-forwarded-proto: https", "x-forwarded-proto: ftp",
    "x-forwarded-host: z", "x-forwarded-port: 9", "x-forwarded-client-cert: By=x", "x-request-id: mine", "x-envoy-internal: true",
    "x-envoy-external-address: 9.9.9.9", "x-envoy-upstream-rq-timeout-ms: 1", "x-envoy-max-retries: 3", "x-envoy-retry-on: 5xx",
    "x-envoy-expected-rq-timeout-ms: 5", "x-envoy-force-trace: 1", "x-envoy-decorator-operation: x", "x-envoy-original-path: /z",
    "x-envoy-original-host: z", "x-envoy-attempt-count: 7", "x-envoy-peer-metadata: m", "x-envoy-downstream-service-cluster: c",
    "x-envoy-ip-tags: t", "x-envoy-hedge-on-per-try-timeout: true", "x-envoy-upstream-rq-per-try-timeout-ms: 1", "x-envoy-upstream-alt-stat-name: n",
    "x-client-trace-id: 1", "user-agent: curl", "via: 1.1 x", "forwarded: for=1", "range: bytes=0-1", "accept-encoding: gzip", "x-route: header",
    "x-route: HEADER", "x-num: 123", "x-num: 12a", "grpc-timeout: 1S", "date: x", "server: x"]
LINES = ["GET /a HTTP/1.0", "GET /a HTTP/0.9", "GET /a", "GET", "GET /a HTTP/1.2", "GET /a HTTP/2.0", "GET /a HTTP/1.10", "GET /a http/1.1", "GET /a HTTPS/1.1",
         "GET  /a HTTP/1.1", "GET /a  HTTP/1.1", "GET /a HTTP/1.1 ", "GET\t/a\tHTTP/1.1", " GET /a HTTP/1.1", "\r\nGET /a HTTP/1.1",
         "\r\n\r\n\r\nGET /a HTTP/1.1", "\nGET /a HTTP/1.1", "GET  HTTP/1.1", "CONNECT b.com:443 HTTP/1.1", "CONNECT b.com HTTP/1.1",
         "OPTIONS * HTTP/1.1", "GET * HTTP/1.1", "\x16\x03\x01\x02\x00\x01"]
CHUNKS = ["3\r\nabc\r\n0\r\n\r\n", "3 \r\nabc\r\n0\r\n\r\n", "3;e=1\r\nabc\r\n0;x\r\n\r\n", "003\r\nabc\r\n0\r\n\r\n", "A\r\n0123456789\r\n0\r\n\r\n",
          "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", "3\r\nabc\r\n0\r\nx: y\r\n\r\n", " 3\r\nabc\r\n0\r\n\r\n", "0x3\r\nabc\r\n0\r\n\r\n", "+3\r\nabc\r\n0\r\n\r\n",
          "-1\r\n\r\n", "ZZ\r\n\r\n", "\r\nabc\r\n", "3\nabc\r\n0\r\n\r\n", "3\r\nabc0\r\n\r\n", "11111111111111111\r\n", "3\r\nabc\r\n0\r\nnocolon\r\n\r\n",
          "3\r\nabc\r\n0\r\nb(d: x\r\n\r\n", "3\r\nabcd\r\n0\r\n\r\n"]


def head(line, host="a", *more):
    return "\r\n".join([line, f"host: {host}", *more]) + "\r\n\r\n"


def requests():
    """(name, exact bytes) of every request."""
    out = [(f"{m} {p}", head(f"{m} {p} HTTP/1.1")) for m, p in SIMPLE]
    out += [(f"path {p[:40]}", head(f"GET {p} HTTP/1.1")) for p in PATHS]
    out += [(f"host {h}", head("GET /a HTTP/1.1", h)) for h in HOSTS]
    out += [(f"header {h}", head("GET /a HTTP/1.1", "a", h)) for h in HEADERS]
    out += [(f"line {x}", head(x)) for x in LINES]
    out += [(f"chunks {x}", head("POST /a HTTP/1.1", "a", "transfer-encoding: chunked") + x) for x in CHUNKS]
    out += [("no host", "GET /a HTTP/1.1\r\n\r\n"), ("bare LF", "GET /a HTTP/1.1\nhost: a\n\n"), ("one bare LF", "GET /a HTTP/1.1\r\nhost: a\nx: y\r\n\r\n"),
            ("fold first", "GET /a HTTP/1.1\r\n host: a\r\n\r\n"), ("two hosts", "GET /a HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n"),
            ("body", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"), ("GET body", "GET /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"),
            ("CL 03", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 03\r\n\r\nabc"),
            ("nominated CL", "POST /a HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 3\r\n\r\nabc"),
            ("100 headers", head("GET /a HTTP/1.1", "a", *[f"h{i}: x" for i in range(99)])),
            ("101 headers", head("GET /a HTTP/1.1", "a", *[f"h{i}: x" for i in range(100)])),
            ("59 KB head", head("GET /a HTTP/1.1", "a", "x: " + "y" * 59000)), ("61 KB head", head("GET /a HTTP/1.1", "a", "x: " + "y" * 62000)),
            ("TE upper", head("POST /a HTTP/1.1", "a", "transfer-encoding: CHUNKED") + "1\r\na\r\n0\r\n\r\n"),
            ("TE VT", head("POST /a HTTP/1.1", "a", "transfer-encoding: \x0bchunked") + "0\r\n\r\n")]
    return out


# Name of the request → why pinnace answers otherwise on purpose. A difference that is not here is a bug.
STRICT = "strict parsing (RFC 9112): a peer before us may read it otherwise, which is how requests are smuggled: "
DELIBERATE = {
    "bare LF": STRICT + "a line ends with CRLF", "one bare LF": STRICT + "a line ends with CRLF", "line \nGET /a HTTP/1.1": STRICT + "a line ends with CRLF",
    "header x: a\r\n b": STRICT + "section 5.2 lets a server refuse a folded field", "header x: a\rb": STRICT + "a bare CR",
    "line GET  /a HTTP/1.1": STRICT + "one space between the parts", "line GET /a  HTTP/1.1": STRICT + "one space between the parts",
    "line GET /a HTTP/1.1 ": STRICT + "nothing after the version", "line GET\t/a\tHTTP/1.1": STRICT + "a space, not a TAB",
    "two hosts": STRICT + "section 3.2 demands 400 for more than one Host", "header host: b": STRICT + "section 3.2 demands 400 for more than one Host",
    "chunks 3\r\nabcd\r\n0\r\n\r\n": STRICT + "chunk data longer than its size",
    "QUERY /a": "Envoy 1.40 knows QUERY in part (it asks for a content-type, 400); pinnace does not know the method (400 too)",
}
