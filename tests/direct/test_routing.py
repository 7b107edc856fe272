"""Which route, which cluster, which host: domains, matches, weights, rewrites, retries, balancing, limits, DNS."""
import threading
from collections import Counter

import pytest
from support import config as c
from support.wait import eventually

WHO = {"direct_response": {"status": 200}}


def direct(match, text):
    return c.route(match, {"direct_response": {"status": 200, "body": {"inline_string": text}}})


@pytest.mark.parametrize("host, want", [
    ("a.b.com", "exact"), ("A.B.COM", "exact"), ("x.b.com", "suffix"), ("x.y.b.com", "suffix"), ("deep.b.com", "suffix"),
    ("x.deep.b.com", "longer suffix"), ("foo.org", "prefix"), ("foo.bar.net", "longer prefix"), ("other", "any"), ("b.com", "any"),
    ("a.b.com:80", "any"), ("p.com:8080", "port")])
def test_domains_match_exact_then_suffix_then_prefix_then_any(lab, host, want):
    domains = {"any": "*", "suffix": "*.b.com", "longer suffix": "*.deep.b.com", "exact": "a.b.com", "prefix": "foo.*",
               "longer prefix": "foo.bar.*", "port": "p.com:8080"}
    if host == "a.b.com:80":
        want = "any"
    hosts = [{"name": k, "domains": [d], "routes": [direct("/", k)]} for k, d in domains.items()]
    assert lab.client(lab.http(c.cluster("x"), hosts=hosts).port).get("/", host=host).text == want


def header(name, **match):
    return {"headers": [{"name": name, **match}]}


ROUTES = [
    direct({"path": "/exact"}, "exact"), direct({"path": "/Case", "case_sensitive": False}, "insensitive"),
    direct({"safe_regex": {"regex": "/re/[0-9]+"}}, "regex"), direct({"path_separated_prefix": "/sep"}, "separated"),
    direct({"prefix": "/h", **header("x-a", string_match={"exact": "1"})}, "header exact"),
    direct({"prefix": "/h", **header("x-a", string_match={"prefix": "pre"})}, "header prefix"),
    direct({"prefix": "/h", **header("x-a", string_match={"suffix": "suf"})}, "header suffix"),
    direct({"prefix": "/h", **header("x-a", string_match={"contains": "mid"})}, "header contains"),
    direct({"prefix": "/h", **header("x-a", string_match={"safe_regex": {"regex": "[a-f]+"}})}, "header regex"),
    direct({"prefix": "/h", **header("x-b", present_match=True)}, "header present"),
    direct({"prefix": "/h", **header(":method", string_match={"exact": "DELETE"})}, "method"),
    direct({"prefix": "/h", **header("x-c", string_match={"exact": "no"}, invert_match=True)}, "not no"),
    direct({"prefix": "/q", "query_parameters": [{"name": "k", "string_match": {"exact": "v"}}]}, "query"),
    direct({"prefix": "/pre"}, "prefix"), direct({"prefix": "/"}, "rest")]


@pytest.mark.parametrize("path, headers, method, want", [
    ("/exact", [], "GET", "exact"), ("/exact?q=1", [], "GET", "exact"), ("/exact/", [], "GET", "rest"), ("/EXACT", [], "GET", "rest"),
    ("/cASE", [], "GET", "insensitive"), ("/re/12", [], "GET", "regex"), ("/re/12?x", [], "GET", "regex"), ("/re/12x", [], "GET", "rest"),
    ("/sep", [], "GET", "separated"), ("/sep/x", [], "GET", "separated"), ("/separate", [], "GET", "rest"),
    ("/h", [("x-a", "1")], "GET", "header exact"), ("/h", [("X-A", "prefix")], "GET", "header prefix"),
    ("/h", [("x-a", "a-suf")], "GET", "header suffix"), ("/h", [("x-a", "amidst")], "GET", "header contains"),
    ("/h", [("x-a", "abc")], "GET", "header regex"), ("/h", [("x-a", "abcx"), ("x-c", "x")], "GET", "not no"), ("/h", [("x-b", "")], "GET", "header present"),
    ("/h", [("x-c", "no")], "DELETE", "method"), ("/h", [("x-c", "no")], "GET", "rest"), ("/h", [], "GET", "rest"),
    ("/q?k=v", [], "GET", "query"), ("/q?k=w", [], "GET", "rest"),
    ("/prefix", [], "GET", "prefix")])
def test_the_first_route_that_matches_wins(lab, path, headers, method, want):
    assert lab.client(lab.http(c.cluster("x"), routes=ROUTES).port).get(path, headers=headers, method=method).text == want


def test_weighted_clusters_share_requests(lab):
    to = {"weighted_clusters": {"clusters": [{"name": "a", "weight": 80}, {"name": "b", "weight": 20}]}}
    client = lab.client(lab.http(lab.origin("a"), lab.origin("b"), routes=[c.route("/", to)]).port)
    got = Counter(client.get("/").text for _ in range(500))
    assert 350 <= got["a"] <= 450 and got["a"] + got["b"] == 500


@pytest.mark.parametrize("match, action, path, want", [
    ("/api/", {"prefix_rewrite": "/"}, "/api/v1?x=/api/", "/v1?x=/api/"), ("/api", {"prefix_rewrite": "/new"}, "/api/v1", "/new/v1"),
    ({"path": "/one"}, {"prefix_rewrite": "/two"}, "/one?q", "/two?q"),
    ("/", {"regex_rewrite": {"pattern": {"regex": "^/s/([^/]+)"}, "substitution": "/t/\\1"}}, "/s/abc/d", "/t/abc/d")])
def test_a_rewritten_path_reaches_the_origin_and_names_the_old_one(lab, match, action, path, want):
    origin = lab.origin()
    proxy = lab.http(origin, routes=[c.route(match, "origin", **action)])
    assert lab.client(proxy.port).get(path).status == 200
    assert origin.requests[0].target == want
    assert origin.requests[0].get("x-envoy-original-path") == path


def test_host_rewrite_and_header_changes(lab):
    origin = lab.origin()
    one = c.route("/", "origin", host_rewrite_literal="inside.x")
    one["request_headers_to_add"] = [{"header": {"key": "x-add", "value": "1"}}]
    one["request_headers_to_remove"] = ["x-drop"]
    one["response_headers_to_add"] = [{"header": {"key": "x-out", "value": "2"}}]
    answer = lab.client(lab.http(origin, routes=[one]).port).get("/", headers=[("x-drop", "y")])
    seen = origin.requests[0]
    assert (seen.get("host"), seen.get("x-add"), seen.get("x-drop"), answer.get("x-out")) == ("inside.x", "1", None, "2")


@pytest.mark.parametrize("action, location, status", [
    ({"https_redirect": True}, "https://a/x?q=1", 301), ({"host_redirect": "b.com"}, "http://b.com/x?q=1", 301),
    ({"path_redirect": "/y", "response_code": "FOUND"}, "http://a/y?q=1", 302),
    ({"prefix_rewrite": "/z", "response_code": "PERMANENT_REDIRECT"}, "http://a/z?q=1", 308),
    ({"https_redirect": True, "strip_query": True, "port_redirect": 8443}, "https://a:8443/x", 301)])
def test_redirects(lab, action, location, status):
    proxy = lab.http(c.cluster("x"), routes=[c.route("/x", {"redirect": action})])
    answer = lab.client(proxy.port).get("/x?q=1")
    assert (answer.status, answer.get("location"), answer.text) == (status, location, "")
    assert (proxy.next_log()["details"]) == "direct_response"


def test_a_direct_response_is_logged_as_such(lab):
    proxy = lab.http(c.cluster("x"), routes=[direct("/", "hello")])
    answer = lab.client(proxy.port).get("/")
    assert (answer.text, answer.get("content-type")) == ("hello", "text/plain")
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"], entry["cluster"], entry["attempts"]) == ("-", "direct_response", "-", "0")


def retry(on, n=2, **fields):
    return {"retry_policy": {"retry_on": on, "num_retries": n, "retry_back_off": {"base_interval": "0.002s"}, **fields}}


def flaky(bad, failures):
    left = [failures]

    def script(x):
        x.read_body()
        if left[0] > 0:
            left[0] -= 1
            return bad(x)
        return x.reply(200, b"at last:" + x.read_body())
    return script


@pytest.mark.parametrize("on, bad", [("5xx", lambda x: x.reply(500)), ("5xx", lambda x: x.close()), ("gateway-error", lambda x: x.reply(503)),
                                     ("reset", lambda x: x.close()), ("reset", lambda x: x.reset()),
                                     ("retriable-status-codes", lambda x: x.reply(418)), ("retriable-4xx", lambda x: x.reply(409))])
def test_a_failed_try_is_repeated_with_its_body(lab, on, bad):
    origin = lab.origin().on("/x", flaky(bad, 2))
    extra = {"retriable_status_codes": [418]} if on.startswith("retriable-s") else {}
    proxy = lab.http(origin, routes=[c.route("/", "origin", **retry(on, **extra))])
    body = b"b" * 20000
    assert lab.client(proxy.port).get("/x", method="POST", body=body).body == b"at last:" + body
    entry = proxy.next_log()
    assert (entry["code"], entry["flags"], entry["attempts"], entry["rx"]) == ("200", "-", "3", "20000")
    assert proxy.stat("cluster.origin.upstream_rq_retry") == 2 and proxy.stat("cluster.origin.upstream_rq_retry_success") == 1


@pytest.mark.parametrize("on, status", [("gateway-error", 500), ("connect-failure", 503), ("5xx", 404)])
def test_what_is_not_named_is_not_retried(lab, on, status):
    origin = lab.origin().on("/x", lambda x: x.reply(status))
    assert lab.client(lab.http(origin, routes=[c.route("/", "origin", **retry(on))]).port).get("/x").status == status
    assert len(origin.requests) == 1


def test_connect_failure_moves_to_another_host(lab):
    both = c.cluster("both", lab.refused_port(), lab.origin("good").port)
    policy = retry("connect-failure", 3, retry_host_predicate=[c.PREVIOUS_HOSTS], host_selection_retry_max_attempts=5)
    client = lab.client(lab.http(both, routes=[c.route("/", "both", **policy)]).port)
    assert {client.get("/").text for _ in range(20)} == {"good"}


def test_a_retry_avoids_the_hosts_tried_before(lab):
    origins = [lab.origin(f"o{i}").on("/x", lambda x: x.reply(503)) for i in range(4)]
    policy = retry("5xx", 3, retry_host_predicate=[c.PREVIOUS_HOSTS], host_selection_retry_max_attempts=50)
    proxy = lab.http(c.cluster("all", *[o.port for o in origins], lb_policy="RANDOM"), routes=[c.route("/", "all", **policy)])
    assert lab.client(proxy.port).get("/x").status == 503
    assert [len(o.requests) for o in origins] == [1, 1, 1, 1]


def test_a_body_beyond_the_buffer_gives_up_retrying(lab):
    origin = lab.origin().on("/x", flaky(lambda x: x.reply(503, b"no"), 1))
    proxy = lab.http(origin, routes=[c.route("/", "origin", **retry("5xx"))], listener={"per_connection_buffer_limit_bytes": 16384})
    answer = lab.client(proxy.port).get("/x", method="POST", body=b"b" * 200000)
    assert (answer.status, answer.text, len(origin.requests)) == (503, "no", 1)


@pytest.mark.parametrize("policy", ["ROUND_ROBIN", "RANDOM", "LEAST_REQUEST"])
def test_every_policy_spreads_and_minds_health(lab, policy):
    origins = [lab.origin(f"o{i}") for i in range(4)]
    hosts = [c.endpoint(o.port, health="UNHEALTHY" if i == 3 else None) for i, o in enumerate(origins)]
    client = lab.client(lab.http(c.cluster("all", *hosts, lb_policy=policy)).port)
    got = Counter(client.get("/").text for _ in range(90))
    assert set(got) == {"o0", "o1", "o2"} and min(got.values()) >= 12
    if policy == "ROUND_ROBIN":
        assert set(got.values()) == {30}


def test_round_robin_respects_weights(lab):
    a, b = lab.origin("a"), lab.origin("b")
    client = lab.client(lab.http(c.cluster("ab", c.endpoint(a.port, weight=3), c.endpoint(b.port, weight=1))).port)
    assert Counter(client.get("/").text for _ in range(80)) == {"a": 60, "b": 20}


def test_least_request_prefers_the_idle_host(lab):
    done = threading.Event()
    busy = lab.origin("busy").on("/hold", lambda x: (done.wait(20), x.reply()))
    idle = lab.origin("idle").on("/hold", lambda x: (done.wait(20), x.reply()))
    proxy = lab.http(c.cluster("two", busy.port, idle.port, lb_policy="LEAST_REQUEST", least_request_lb_config={"choice_count": 5}))
    holders = [lab.client(proxy.port).send("GET /hold HTTP/1.1\r\nhost: a\r\n\r\n") for _ in range(8)]
    eventually(lambda: len(busy.requests) + len(idle.requests) == 8)
    assert min(len(busy.requests), len(idle.requests)) >= 2
    done.set()
    assert all(h.response().status == 200 for h in holders)


@pytest.mark.parametrize("limits, host", [({"max_connections": 1, "max_pending_requests": 1}, "-"), ({"max_requests": 2}, "set")])
def test_a_full_circuit_breaker_is_uo(lab, limits, host):
    done = threading.Event()
    origin = lab.origin()
    origin.default = lambda x: (done.wait(20), x.reply())
    proxy = lab.http(c.cluster("up", origin.port, circuit_breakers={"thresholds": [limits]}))
    first = [lab.client(proxy.port).send("GET / HTTP/1.1\r\nhost: a\r\n\r\n")]
    origin.wait_requests(1)
    first.append(lab.client(proxy.port).send("GET / HTTP/1.1\r\nhost: a\r\n\r\n"))
    eventually(lambda: proxy.stat("http.test.downstream_rq_active") == 2)
    answer = lab.client(proxy.port).get("/")
    assert (answer.status, answer.get("x-envoy-overloaded")) == (503, "true")
    assert answer.text == "upstream connect error or disconnect/reset before headers. reset reason: overflow"
    entry = proxy.next_log()
    assert (entry["flags"], entry["details"]) == ("UO", "upstream_reset_before_response_started{overflow}")
    assert (entry["host"] == "-") == (host == "-")
    assert proxy.stat("cluster.up.upstream_rq_pending_overflow") == (1 if host == "-" else 0)
    done.set()
    assert all(x.response().status == 200 for x in first)
    assert lab.client(proxy.port).get("/").status == 200


def test_strict_dns_resolves_names_and_sends_to_all(lab):
    origin = lab.origin()
    named = c.cluster("named", c.endpoint(origin.port, "localhost"), kind="STRICT_DNS", dns_lookup_family="V4_ONLY")
    proxy = lab.http(named)
    assert lab.client(proxy.port).get("/").text == "origin"
    assert proxy.next_log()["host"] == f"127.0.0.1:{origin.port}"
    assert f"named::127.0.0.1:{origin.port}::hostname::localhost" in proxy.admin("/clusters").text


def test_a_name_that_does_not_resolve_is_uh_and_hurts_nobody_else(lab):
    bad = c.cluster("bad", c.endpoint(80, "no-such-name.invalid"), kind="STRICT_DNS", dns_lookup_family="V4_ONLY")
    proxy = lab.http(lab.origin(), bad, routes=[c.route("/bad", "bad"), c.route("/", "origin")])
    client = lab.client(proxy.port)
    assert client.get("/").status == 200 and client.get("/bad").text == "no healthy upstream"
