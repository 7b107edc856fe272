"""Who the client is, and what it may say: the headers an origin sees behind every way to configure it, from real Envoy and
from pinnace. One listener a way, the same requests to each."""
import pytest
from support import config as c
from support.client import RawClient
from support.lab import Lab
from support.origin import Origin
from support.proxy import ENVOY, PINNACE
from support.wait import eventually, free_port

INTERNAL = {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}, {"address_prefix": "127.0.0.0", "prefix_len": 8},
                            {"address_prefix": "fd00::", "prefix_len": 8}]}
UUID = "type.googleapis.com/envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"


def uuid(**fields):
    return {"request_id_extension": {"typed_config": {"@type": UUID, **fields}}}


def tracing(client=100, random=100, overall=100):
    return {"tracing": {"client_sampling": {"value": client}, "random_sampling": {"value": random}, "overall_sampling": {"value": overall}}}


WAYS = {
    "plain": {}, "hops1": {"xff_num_trusted_hops": 1}, "hops2": {"xff_num_trusted_hops": 2},
    "edge": {"use_remote_address": True}, "edge skip": {"use_remote_address": True, "skip_xff_append": True},
    "edge hops1": {"use_remote_address": True, "xff_num_trusted_hops": 1},
    "edge hops2": {"use_remote_address": True, "xff_num_trusted_hops": 2},
    "port": {"append_x_forwarded_port": True}, "edge port": {"use_remote_address": True, "append_x_forwarded_port": True},
    "edge hops1 port": {"use_remote_address": True, "append_x_forwarded_port": True, "xff_num_trusted_hops": 1},
    "internal": {"internal_address_config": INTERNAL},
    "internal hops1": {"internal_address_config": INTERNAL, "xff_num_trusted_hops": 1},
    "edge internal": {"internal_address_config": INTERNAL, "use_remote_address": True},
    "edge internal hops1": {"internal_address_config": INTERNAL, "use_remote_address": True, "xff_num_trusted_hops": 1},
    "edge external": {"internal_address_config": {"cidr_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}, "use_remote_address": True},
    "no id": {"generate_request_id": False}, "edge keeps id": {"use_remote_address": True, "preserve_external_request_id": True},
    "tells id": {"always_set_request_id_in_response": True},
    "rejects _": {"common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"}},
    "drops _": {"common_http_protocol_options": {"headers_with_underscores_action": "DROP_HEADER"}},
    "passes server": {"server_header_transformation": "PASS_THROUGH"},
    "adds server": {"server_header_transformation": "APPEND_IF_ABSENT", "server_name": "mine"},
    "absolute": {"http_protocol_options": {"allow_absolute_url": True}},
    "traced": tracing(), "traced by none": tracing(0, 0, 100), "traced by client": tracing(100, 0, 100),
    "traced at random": tracing(0, 100, 100), "traced overall 0": tracing(100, 100, 0),
    "id untouched": {**tracing(), **uuid(use_request_id_for_trace_sampling=False)},
    "id not packed": {**tracing(), **uuid(pack_trace_reason=False)},
    "id not packed, kept": {"use_remote_address": True, "preserve_external_request_id": True, **uuid(pack_trace_reason=False)},
    "id packed": {**tracing(), **uuid(pack_trace_reason=True)},
    "escaped rejects": {"path_with_escaped_slashes_action": "REJECT_REQUEST"},
    "escaped redirects": {"path_with_escaped_slashes_action": "UNESCAPE_AND_REDIRECT"},
    "escaped forwards": {"path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD", "normalize_path": True},
    "merges": {"merge_slashes": True, "normalize_path": True},
}
ID = "00000001-aaaa-{}aaa-8aaa-aaaaaaaaaaaa"
REQUESTS = {
    "nothing": [], "xff internal": [("x-forwarded-for", "10.0.0.1")], "xff external": [("x-forwarded-for", "8.8.8.8")],
    "xff two": [("x-forwarded-for", "8.8.8.8, 10.0.0.1")], "xff three": [("x-forwarded-for", "9.9.9.9,8.8.8.8,10.0.0.1")],
    "xff lines": [("x-forwarded-for", "8.8.8.8"), ("x-forwarded-for", "10.0.0.1")],
    "xff v6": [("x-forwarded-for", "fd00::1")], "xff garbage": [("x-forwarded-for", "nobody")],
    "xff port": [("x-forwarded-for", "10.0.0.1:80")],
    "proto": [("x-forwarded-proto", "https")], "proto odd": [("x-forwarded-proto", "ftp")],
    "port": [("x-forwarded-port", "99")], "port empty": [("x-forwarded-port", "")],
    "internal": [("x-envoy-internal", "true"), ("x-envoy-external-address", "1.1.1.1")],
    "edge only": [("x-envoy-original-path", "/o"), ("x-envoy-original-host", "h"), ("x-envoy-decorator-operation", "d"),
                  ("x-envoy-downstream-service-cluster", "c"), ("x-envoy-downstream-service-node", "n")],
    "internal and edge only": [("x-forwarded-for", "10.0.0.1"), ("x-envoy-original-path", "/o"), ("x-envoy-force-trace", "1")],
    "internal only": [("x-envoy-max-retries", "1"), ("x-envoy-retriable-status-codes", "503"), ("x-envoy-ip-tags", "t"),
                      ("x-envoy-upstream-alt-stat-name", "s"), ("x-envoy-hedge-on-per-try-timeout", "true")],
    "id": [("x-request-id", ID.format("4"))], "id sampled": [("x-request-id", ID.format("9"))],
    "id service": [("x-request-id", ID.format("a"))], "id client": [("x-request-id", ID.format("b"))],
    "id odd": [("x-request-id", "mine")],
    "client trace": [("x-request-id", ID.format("4")), ("x-client-trace-id", "t")],
    "force trace": [("x-request-id", ID.format("4")), ("x-envoy-force-trace", "t")],
    "internal force trace": [("x-forwarded-for", "10.0.0.1"), ("x-request-id", ID.format("4")), ("x-envoy-force-trace", "t")],
    "underscores": [("a_b", "1"), ("c_d", "2"), ("e-f", "3")],
}
PATHS = {"nothing": ["/", "/a%2Fb", "/a%5cb/..", "//a///b", "http://a/p"]}


class Side:
    def __init__(self, lab, binary):
        self.origin = lab.keep(Origin("o"))
        self.origin.on("/server", lambda x: x.reply(200, b"", [("server", "theirs")]))
        self.ports = {way: free_port() for way in WAYS}
        routes = [c.route("/", "o")]
        made = [c.listener(way, port, c.hcm(routes, log=False, **WAYS[way])) for way, port in self.ports.items()]
        lab.proxy(c.bootstrap(made, [c.cluster("o", self.origin.port)]), binary=binary)

    def ask(self, way, path, headers):
        """(status, what is told of the answer, what the origin saw or None)"""
        before = len(self.origin.requests)
        client = RawClient(self.ports[way], timeout=5)
        try:
            answer = client.get(path, headers=headers)
        finally:
            client.close()
        told = [(k, v) for k, v in answer.headers if k in ("server", "x-request-id", "location", "connection")]
        seen = self.origin.requests[before:]
        given = dict(headers).get("x-request-id", "")
        fields = sorted((k, self._plain(k, v, given)) for k, v in seen[0].headers) if seen else None
        return answer.status, [(k, self._plain(k, v, given)) for k, v in told], seen[0].target if seen else None, fields

    def _plain(self, name, value, given):
        """What differs from process to process is told by its kind."""
        if name == "x-request-id" and given[:8] != value[:8]:
            return f"fresh, digit {value[14]}"
        if name in ("x-forwarded-port", "location"):
            return value.replace(str(self.ports_of(value)), "PORT")
        return value

    def ports_of(self, value):
        return next((p for p in self.ports.values() if str(p) in value), "none")


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("forwarding"))
    yield [Side(lab, binary) for binary in (ENVOY, PINNACE)]
    lab.close()


@pytest.mark.parametrize("way", WAYS)
def test_the_origin_sees_the_same(sides, way):
    differ = {}
    for name, headers in REQUESTS.items():
        for path in ["/server", *PATHS.get(name, [])]:
            envoy, ours = [side.ask(way, path, headers) for side in sides]
            if envoy != ours:
                differ[f"{name} {path}"] = (envoy, ours)
    assert differ == {}, "\n".join(f"{k}\n  envoy   {a}\n  pinnace {b}" for k, (a, b) in differ.items())


@pytest.mark.parametrize("fields, tries", [
    ([("x-envoy-retry-on", "5xx")], 2), ([("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "3")], 4),
    ([("x-envoy-retry-on", "gateway-error, reset")], 2), ([("x-envoy-retry-on", "reset")], 1), ([("x-envoy-max-retries", "3")], 1),
    ([("x-envoy-retry-on", "retriable-status-codes"), ("x-envoy-retriable-status-codes", "404,503")], 2),
    ([("x-envoy-retry-on", "5xx"), ("x-envoy-max-retries", "0")], 1)])
@pytest.mark.parametrize("way", ["edge internal", "edge"])
def test_an_internal_client_may_ask_for_retries(sides, way, fields, tries):
    seen = []
    for side in sides:
        side.origin.on("/busy", lambda x: x.reply(503))
        before = len(side.origin.requests)
        assert side.ask(way, "/busy", fields)[0] == 503
        seen.append(len(side.origin.requests) - before)
    assert seen == [tries if way == "edge internal" else 1] * 2
