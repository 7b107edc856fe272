"""The requests of the decision table, generated from a capture's own listeners, routes, chains and endpoints; the same each time."""
import json
import random
import re

from ends import INBOUND, OUTBOUND, SERVER_FIRST

OWN_ADDRESS = "10.44.200.1"  # of the pod that the proxy is in
SPIFFE = "spiffe://cluster.local/ns/default/sa/"
PATHS = ["/", "/a/b?x=1&y=2", "//a/../b", "/a/./b/../c", "/a%2fb", "/a%2Fb/%2e%2e/c", "/%61%41%7e", "/a#frag", "/a?b#frag", "/..%2f",
         "/a\\b", "/" + "x" * 3000, "/a//b", "/.", "/..", "/../../a", "/a;p=1/b", '/a"<>', "/a%zz", "/a%00b", "*", "a",
         "http://other.example/abs?q=1",
         "/productpage", "/productpage/", "/PRODUCTPAGE", "/productpage?u=test", "/static/x.css", "/staticx", "/login?next=/", "/login/",
         "/api/v1/products/0", "/api/v1/product", "/reviews/1", "/reviews", "/reviewsx?y", "/rev%69ews", "/static/../reviews/2",
         "/a?" + "q" * 2000]
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO", "get", "PROPFIND", "CONNECT"]
UUID = "6f1c3a52-8b1d-4c57-9a0e-3f2b7d9c1e4a"
KEY = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ=="
HEADERS = [
    "x-forwarded-for: 1.2.3.4", "x-forwarded-for: 1.2.3.4, 10.0.0.9", "x-forwarded-for: junk", "x-forwarded-proto: https",
    "x-forwarded-proto: http", "x-forwarded-proto: ftp", "x-forwarded-host: z.example", "x-forwarded-port: 9",
    f"x-forwarded-client-cert: By={SPIFFE}a;Hash=00;Subject=\"\";URI={SPIFFE}b", f"x-request-id: {UUID}", "x-request-id: mine",
    "x-envoy-internal: true", "x-envoy-external-address: 9.9.9.9", "x-envoy-upstream-rq-timeout-ms: 15000", "x-envoy-max-retries: 3",
    "x-envoy-retry-on: 5xx", "x-envoy-expected-rq-timeout-ms: 5", "x-envoy-decorator-operation: x", "x-envoy-original-path: /z",
    "x-envoy-original-host: z", "x-envoy-attempt-count: 7", "x-envoy-downstream-service-cluster: c", "x-envoy-downstream-service-node: n",
    "x-envoy-ip-tags: t", "x-envoy-hedge-on-per-try-timeout: true", "x-envoy-upstream-rq-per-try-timeout-ms: 15000",
    "x-envoy-upstream-alt-stat-name: n", "x-envoy-upstream-service-time: 5", "x-envoy-retriable-status-codes: 503",
    f"x-request-id: {UUID}\r\nx-envoy-force-trace: 1", f"x-request-id: {UUID}\r\nx-client-trace-id: 1", "x-envoy-fault-abort-request: 503",
    "te: trailers", "te: gzip", "trailer: x", "connection: close", "connection: keep-alive", "connection: x-foo\r\nx-foo: 1",
    "connection: close, x-foo\r\nx-foo: 1", "connection: te\r\nte: trailers", "connection: x-forwarded-proto", "keep-alive: timeout=5",
    "proxy-connection: keep-alive", "proxy-authorization: x", f"connection: upgrade\r\nupgrade: websocket\r\n{KEY}", "upgrade: websocket",
    "connection: upgrade\r\nupgrade: foo", "connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AAA", "expect: foo",
    "expect: 100-continue", "content-length: 0", "content-length: 0\r\ncontent-length: 0", "content-length: -1",
    "transfer-encoding: gzip", "content-type: application/grpc\r\ngrpc-timeout: 1S", "content-type: application/grpc-web",
    "origin: http://o.example", "cookie: a=1\r\ncookie: b=2", "x: 1\r\nx: 2", "X-Upper: V", "a_b: c", "x: \t y \t", "x:", "x : y",
    "no colon",
    "host: second.example", "via: 1.1 x", "forwarded: for=1", "user-agent: curl", "server: x", "date: x", "authorization: Bearer x",
    "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "b3: 0", "accept-encoding: gzip", "range: bytes=0-1"]
# Malformed in HTTP/2; those that are left are enough.
NO_HTTP2 = re.compile("(connection: (?!close)|upgrade|keep-alive|proxy-connection|transfer-encoding|host|x :|no colon)")
UNKNOWN_HOSTS = ["unknown.example", "", None, "203.0.113.9", "[2001:db8::1]", "*", "a b", "u@unknown.example", "svc.cluster.local"]
OFFERS = [["istio"], ["istio-peer-exchange", "istio"], ["istio-http/1.0"], ["istio-http/1.1", "istio", "http/1.1"], ["istio-http/1.1"],
          ["istio-h2", "istio", "h2"], ["istio-h2"], ["istio-peer-exchange"], ["h2"], ["http/1.1"], ["h2", "http/1.1"], [], ["foo"]]
OTHER = "203.0.113.9"


def http1(host, path="/", method="GET", *headers, version="1.1", body=None):
    lines = [f"{method} {path} HTTP/{version}"] + ([] if host is None else [f"host: {host}"]) + list(headers)
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    return {"kind": "http1", "send": "\r\n".join(lines) + "\r\n\r\n" + (body or "")}


def http2(host, path="/", method="GET", *headers, scheme="http", body=""):
    fields = [(":method", method), (":scheme", scheme), (":path", path)] + ([] if host is None else [(":authority", host)])
    if method == "CONNECT":
        fields = [(":method", method), (":authority", host or "")]
    for line in "\r\n".join(headers).split("\r\n") if headers else []:
        name, _, value = line.partition(":")
        fields.append((name.strip().lower(), value.strip()))
    return {"kind": "http2", "send": fields, "body": body}


def raw(data):
    return {"kind": "raw", "send": data}


def tls(payload, sni=None, alpn=(), cert=None):
    return payload | {"tls": {"sni": sni, "alpn": list(alpn), "cert": cert}}


def shapes():
    """(what, function (host, HTTP version, scheme) → payload): odd paths, methods, headers."""
    def made(*args, **more):
        def build(host, version, scheme="http"):
            no_http2 = any(NO_HTTP2.match(line) for line in args[2:])
            return http2(host, *args, scheme=scheme, **more) if version == 2 and not no_http2 else http1(host, *args, **more)
        return build
    out = [(f"path {p[:40]}", made(p)) for p in PATHS]
    for method in METHODS:
        path, body = "other.example:443" if method == "CONNECT" else "/reviews/m", "body" if method in ("POST", "PUT", "PATCH") else ""
        out.append((f"method {method}", made(path, method, body=body) if body else made(path, method)))
    out += [(f"header {h!r:.90}", made("/reviews/h", "GET", h)) for h in HEADERS]
    chunks = "POST /reviews/c HTTP/1.1\r\nhost: {}\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n{}\r\n"
    out += [("chunked body", lambda host, v, s="": {"kind": "http1", "send": chunks.format(host, "")}),
            ("trailers", lambda host, v, s="": {"kind": "http1", "send": chunks.format(host, "x-t: 1\r\n")}),
            ("HEAD of what is not there", made("/nowhere", "HEAD")),
            ("preflight", made("/reviews/m", "OPTIONS", "origin: http://o.example", "access-control-request-method: GET"))]
    return out


def hosts_of(domain, port):
    """The forms in which a client may write a domain of a route table."""
    name = domain.replace("*", "sub.deep", 1) if domain.startswith("*") else domain
    return [name, f"{name}:{port}", f"{name}:{port + 1}", name + ".", f"{name}.:{port}", name.upper(), "x" + name, name + ".x"]


class Requests:
    """The table of one capture, made from its LDS, RDS, CDS and EDS; the same each time."""

    def __init__(self, folder):
        kinds = {k: json.loads((folder / f"{k}.json").read_text())["resources"] for k in ("lds", "rds", "cds", "eds")}
        self.listeners, self.tables = kinds["lds"], {r["name"]: r for r in kinds["rds"]}
        self.endpoints = {a["cluster_name"]: sorted(":".join(map(str, e["endpoint"]["address"]["socket_address"].values()))
                          for x in a.get("endpoints", []) for e in x.get("lb_endpoints", [])) for a in kinds["eds"]}
        self.pods = sorted({e.partition(":")[0] for some in self.endpoints.values() for e in some})
        self.random = random.Random(f"{folder.parent.name}/{folder.name}")
        self.cases = []
        named = {one["name"]: one for one in self.listeners}
        if "virtualOutbound" in named:
            for one in self.listeners:
                if not one["name"].startswith("virtual"):
                    self.outbound(one)
            self.outbound_odd_shapes(110)
            self.passthrough()
            self.inbound(named["virtualInbound"])
        else:
            for one in self.listeners:
                self.gateway(one)
        self.guards(named)

    def chain_names(self):
        """As the log lines of a chain end."""
        return [f"{one['name']}, chain {i} {c.get('name', '')}" for one in self.listeners for i, c in enumerate(chains(one))]

    def add(self, what, mark, to, port, payload):
        number = len(self.cases)
        network = "198.18" if number % 5 == 4 else "10.201"  # every fifth client is from outside
        self.cases.append({"number": number, "what": what, "mark": mark, "to": to, "port": port,
                           "source": f"{network}.{number // 250}.{number % 250 + 1}", **payload})

    def sample(self, things, count):
        return self.random.sample(things, min(count, len(things)))

    def outbound(self, listener):
        address, port = (listener["address"]["socket_address"][k] for k in ("address", "port_value"))
        where = f"outbound {listener['name']}"
        table = next((t for t in map(table_of, chains(listener)) if t), None)
        names = [n for c in chains(listener) for n in c.get("filter_chain_match", {}).get("server_names", [])]
        hosts = self.tables.get(table, {}).get("virtual_hosts", [])
        vips = [d for h in hosts for d in h["domains"] if re.fullmatch(r"[\d.]+", d)] or [OTHER]
        to = address if address != "0.0.0.0" else vips[0]
        for host in hosts:
            vip = next((d for d in host["domains"] if d in vips), to)
            for i, domain in enumerate(d for d in host["domains"] if d != "*"):
                forms = hosts_of(domain, port)
                for form in [forms[0], *self.sample(forms[1:], 2)]:
                    self.add(f"{where}, host {form}", OUTBOUND, vip, port, (http2 if i % 4 == 3 else http1)(form))
        if table:
            for form in UNKNOWN_HOSTS:
                self.add(f"{where}, unknown host {form!r}", OUTBOUND, self.random.choice([to, OTHER]), port, http1(form))
            self.add(f"{where}, HTTP/1.0", OUTBOUND, to, port, http1("a", version="1.0"))
            self.add(f"{where}, HTTP/1.0 without host", OUTBOUND, to, port, http1(None, version="1.0"))
            self.add(f"{where}, a pod's address", OUTBOUND, self.random.choice(self.pods), port, http1("a"))
        for what, payload in [("HTTP/1.1", http1("a", "/x")), ("h2c", http2("a", "/x")), ("bytes", raw("hello there\n")),
                              ("binary", raw("\0\1\2\3\4\xff")), ("half a request line", raw("GET / HTT\n")),
                              ("no HTTP", raw("GET / FOO/1.1\r\n\r\n")), ("TLS", tls(raw("in tls\n"), "a.example")),
                              ("TLS without SNI", tls(raw("in tls\n"))),
                              ("TLS h2", tls(http2("a", scheme="https"), "a.example", ["h2"])), ("TLS HTTP", tls(http1("a"), "b.example"))]:
            if port not in SERVER_FIRST or payload["kind"] == "raw":
                self.add(f"{where}, {what}", OUTBOUND, to, port, payload)
        for name in names:
            for sni in hosts_of(name, port)[:1] + [name.lstrip("*."), name.upper(), "x." + name.lstrip("*.")]:
                self.add(f"{where}, SNI {sni}", OUTBOUND, to, port, tls(http1(sni), sni, self.random.choice([[], ["h2", "http/1.1"]])))
        if port in SERVER_FIRST:
            self.add(f"{where}, the server speaks first", OUTBOUND, to, port, raw(""))

    def outbound_odd_shapes(self, count):
        places = [(one, host) for one in self.listeners if one["name"].startswith("0.0.0.0_") for c in chains(one) if table_of(c)
                  for host in self.tables[table_of(c)]["virtual_hosts"]]
        for what, build in self.sample(shapes(), count):
            listener, host = self.random.choice(places)
            port, name = listener["address"]["socket_address"]["port_value"], host["domains"][0].replace("*", "unknown.example")
            version = self.random.choice([1, 1, 2])
            self.add(f"outbound {listener['name']}, {name}, HTTP/{version}, {what}", OUTBOUND, OTHER, port, build(name, version))

    def passthrough(self):
        for to in (OTHER, self.pods[0], "10.96.0.10"):
            for port in (443, 8443, 12345, 9000):
                for what, payload in [("HTTP", http1("a")), ("bytes", raw("bytes\n")), ("TLS", tls(raw("bytes\n"), "p.example", ["h2"]))]:
                    self.add(f"outbound to {to}:{port}, {what}", OUTBOUND, to, port, payload)
        self.add("outbound, an unknown server speaks first", OUTBOUND, OTHER, 3306, raw(""))

    def inbound(self, listener):
        ports = sorted({c["filter_chain_match"]["destination_port"] for c in chains(listener)
                        if "destination_port" in c.get("filter_chain_match", {})} - {15006})
        to = self.pods[0]
        for port in [*ports, 7777]:
            where = f"inbound {port}"
            sni = f"outbound_.{port}_._.me.default.svc.cluster.local"
            for what, payload in [("HTTP/1.1", http1("me")), ("HTTP/1.0", http1("me", version="1.0")), ("h2c", http2("me")),
                                  ("no host", http1(None)), ("bytes", raw("hello\n")), ("binary", raw("\0\1\2\3\4\xff")),
                                  ("half a line", raw("GET / HTT\n"))]:
                self.add(f"{where}, {what}", INBOUND, to, port, payload)
            for offer in OFFERS:
                for cert in ("good", self.random.choice([None, "foreign", "stranger"])):
                    self.add(f"{where}, TLS {offer}, certificate {cert}", INBOUND, to, port, tls(self.fitting(offer), sni, offer, cert))
            for what, payload in [("HTTP/1.1", http1("me")), ("h2", http2("me", scheme="https")), ("bytes", raw("bytes\n"))]:
                self.add(f"{where}, mTLS istio and {what}", INBOUND, to, port, tls(payload, sni, ["istio"], "good"))
            self.add(f"{where}, TLS without SNI", INBOUND, to, port, tls(http1("me"), None, ["istio"], "good"))
        self.add("inbound, fewer bytes than a TLS record's head", INBOUND, to, 7777, raw("x\n"))
        self.add("inbound, the server speaks first", INBOUND, to, 3306, raw(""))
        for what, build in self.sample(shapes(), 45):
            port, version, secure = self.random.choice(ports), self.random.choice([1, 1, 2]), self.random.random() < 0.5
            payload = build("me", version, "https" if secure else "http")
            offer = ["istio-h2", "istio", "h2"] if payload["kind"] == "http2" else ["istio-http/1.1", "istio", "http/1.1"]
            self.add(f"inbound {port}, {'mTLS' if secure else 'plain'}, HTTP/{version}, {what}", INBOUND, to, port,
                     tls(payload, "me", offer, "good") if secure else payload)

    def fitting(self, offer):
        if any("h2" in x for x in offer):
            return http2("me", scheme="https")
        return raw("bytes\n") if offer and offer[0] in ("istio-peer-exchange", "foo") else http1("me")

    def gateway(self, listener):
        port = listener["address"]["socket_address"]["port_value"]
        where = f"gateway {port}"

        def add(what, payload):
            self.add(f"{where}, {what}", 0, OWN_ADDRESS, port, payload)
        for chain in chains(listener):
            names = chain.get("filter_chain_match", {}).get("server_names", [])
            domains = [d for h in self.tables.get(table_of(chain), {}).get("virtual_hosts", []) for d in h["domains"]]
            secure, names = "transport_socket" in chain or bool(names), names or ["a.example"]

            def wrap(payload, sni=names[0], alpn=None, cert="good", secure=secure):
                alpn = ["h2"] if payload["kind"] == "http2" and alpn is None else alpn or []
                return tls(payload, sni, alpn, cert) if secure else payload
            scheme = "https" if secure else "http"
            for i, domain in enumerate(domains):
                for j, form in enumerate(hosts_of(domain, port)[:1] + hosts_of(domain, 80) + hosts_of(domain, 443)[1:2]):
                    for path in self.sample(["/", "/productpage", "/reviews/7", "/static/a", "/login", "/none"], 2):
                        add(f"host {form}, {path}", wrap(http2(form, path, scheme=scheme) if (i + j) % 4 == 3 else http1(form, path)))
            for form in UNKNOWN_HOSTS if domains else []:
                add(f"unknown host {form!r}", wrap(http1(form, "/productpage")))
            for what, build in shapes() if domains else []:
                version, domain = self.random.choice([1, 1, 2]), self.random.choice(domains)
                add(f"{domain}, HTTP/{version}, {what}", wrap(build(hosts_of(domain, port)[0], version, scheme)))
            for what, payload in [("HTTP/1.0", http1(names[0], version="1.0")), ("bytes", raw("hello\n")),
                                  ("binary", raw("\0\1\2\3\4\xff")), ("half a line", raw("GET / HTT\n")), ("h2c", http2("a.example"))]:
                for cover in (True, False):
                    add(f"{names[0]}, {what}, {'TLS' if cover else 'plain'}",
                        tls(payload, names[0], [], "good") if cover else {**payload})
            for name in names:
                for sni in [*hosts_of(name, port)[:1], name.upper(), "x." + name, "unknown.example", None]:
                    for cert in ("good", "foreign", "stranger", None):
                        offer = self.random.choice([[], ["h2"], ["http/1.1"], ["h2", "http/1.1"], ["foo"], ["istio"]])
                        payload = http2(name, "/productpage", scheme="https") if "h2" in offer else http1(name, "/productpage")
                        add(f"SNI {sni}, {offer}, certificate {cert}", tls(payload, sni, offer, cert))

    def guards(self, named):
        for port, mark in [(15001, OUTBOUND), (15001, 0), (15006, INBOUND), (15006, 0), (15001, INBOUND), (15006, OUTBOUND)]:
            if named.get("virtualOutbound"):
                for what, payload in [("HTTP", http1("a")), ("bytes", raw("bytes\n")),
                                      ("TLS", tls(raw("bytes\n"), "a", ["istio"], "good"))]:
                    self.add(f"guard {port}, mark {mark}, {what}", mark, self.pods[0], port, payload)


def chains(listener):
    return listener.get("filter_chains", []) + ([listener["default_filter_chain"]] if "default_filter_chain" in listener else [])


def table_of(chain):
    return next((f["typed_config"]["rds"]["route_config_name"] for f in chain["filters"] if "rds" in f["typed_config"]), None)
