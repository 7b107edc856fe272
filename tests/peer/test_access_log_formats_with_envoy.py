"""json_format, omit_empty_values and the operators istiod's formats use: pinnace writes the lines that a real Envoy writes."""
import re

import pytest
from support import config as c
from support.proxy import ENVOY, PINNACE
from support.wait import eventually

ISTIO_JSON = {name: operator for name, operator in [
    ("start_time", "%START_TIME%"), ("route_name", "%ROUTE_NAME%"), ("method", "%REQ(:METHOD)%"),
    ("path", "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"), ("protocol", "%PROTOCOL%"), ("response_code", "%RESPONSE_CODE%"),
    ("response_flags", "%RESPONSE_FLAGS%"), ("response_code_details", "%RESPONSE_CODE_DETAILS%"),
    ("connection_termination_details", "%CONNECTION_TERMINATION_DETAILS%"), ("bytes_received", "%BYTES_RECEIVED%"),
    ("bytes_sent", "%BYTES_SENT%"), ("duration", "%DURATION%"), ("upstream_service_time", "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"),
    ("x_forwarded_for", "%REQ(X-FORWARDED-FOR)%"), ("user_agent", "%REQ(USER-AGENT)%"), ("request_id", "%REQ(X-REQUEST-ID)%"),
    ("authority", "%REQ(:AUTHORITY)%"), ("upstream_host", "%UPSTREAM_HOST%"), ("upstream_cluster", "%UPSTREAM_CLUSTER_RAW%"),
    ("upstream_local_address", "%UPSTREAM_LOCAL_ADDRESS%"), ("downstream_local_address", "%DOWNSTREAM_LOCAL_ADDRESS%"),
    ("downstream_remote_address", "%DOWNSTREAM_REMOTE_ADDRESS%"), ("requested_server_name", "%REQUESTED_SERVER_NAME%"),
    ("upstream_transport_failure_reason", "%UPSTREAM_TRANSPORT_FAILURE_REASON%")]}
NESTED = {"z": "%REQ(X-Q)%", "mixed": "a %REQ(X-Q)% %RESPONSE_CODE% \"é\" %REQ(NONE)%", "none": "%REQ(NONE)%", "empty": "%REQ(X-EMPTY)%",
          "deep": {"b": "%PROTOCOL%", "a": 5, "c": True, "n": None, "l": ["%BYTES_SENT%", "x", 1.5, "%REQ(NONE)%", {"k": "%REQ(NONE)%"}]},
          "key \"é\"\t": "<%RESPONSE_CODE%>", "number": "%REQ(X-NUM)%", "percent": "100%%", "flags": "%RESPONSE_FLAGS%"}
ADDRESSES = {"up": "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "dl": "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%", "lp": "%DOWNSTREAM_LOCAL_PORT%",
             "dr": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "dd": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
             "host": "%HOSTNAME%", "env": "%ENVIRONMENT(HOME)%", "unset": "%ENVIRONMENT(NO_SUCH_NAME)%"}
WITHOUT_QUERY = {"formatters": [{"name": "q", "typed_config": {
    "@type": "type.googleapis.com/envoy.extensions.formatter.req_without_query.v3.ReqWithoutQuery"}}]}
CEL = {"formatters": [{"name": "cel", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.formatter.cel.v3.Cel"}}]}
EXPRESSIONS = {"method": "%CEL(request.method)%", "code": "%CEL(response.code)%", "none": "%CEL(request.headers['none'])%",
               "choice": "%CEL(response.code == 200 ? '100% (yes)' : 'no')%", "long": "%CEL(size(request.path) > 1)%",
               "header": "<%CEL(request.headers['x-q'])%>", "grpc": "%CEL(response.grpc_status)%"}
TIMES = {"zone": "%START_TIME(T%Y-%m-%dT%H:%M:%S%z)%", "ms": "%START_TIME(T%F %T.%3f)%", "ns": "%START_TIME(.%f)%", "us": "%START_TIME(.%6f)%",
         "s": "%START_TIME(%s)%", "epoch ms": "at %START_TIME(%3s)%", "name": "%START_TIME(%a %b %e %y %%)%"}
GRPC = {"name": "%GRPC_STATUS%", "camel": "%GRPC_STATUS(CAMEL_STRING)%", "snake": "%GRPC_STATUS(SNAKE_STRING)%", "number": "%GRPC_STATUS(NUMBER)%",
        "as number": "%GRPC_STATUS_NUMBER%", "trailer": "%TRAILER(GRPC-STATUS)%", "none": "%TRAILER(X-NONE?GRPC-STATUS):1%"}
MORE = {"request": "%REQUEST_DURATION%", "response": "%RESPONSE_DURATION%", "tx": "%RESPONSE_TX_DURATION%", "type": "%ACCESS_LOG_TYPE%",
        "flags": "%RESPONSE_FLAGS_LONG%", "up": "%UPSTREAM_PROTOCOL%", "cluster": "%UPSTREAM_CLUSTER%", "raw": "%UPSTREAM_CLUSTER_RAW%",
        "dns": "%DOWNSTREAM_PEER_DNS_SAN%", "print": "%DOWNSTREAM_PEER_FINGERPRINT_256%", "trace": "%TRACE_ID%",
        "dynamic": "%DYNAMIC_METADATA(istio.mixer:status)%", "text": "<%TRACE_ID%|%DYNAMIC_METADATA(a:b:c)%>"}
FORMATS = {
    "more": {"json_format": MORE}, "more, omitting": {"json_format": MORE, "omit_empty_values": True},
    "istio's": {"json_format": ISTIO_JSON}, "istio's, omitting": {"json_format": ISTIO_JSON, "omit_empty_values": True},
    "nested": {"json_format": NESTED}, "nested, omitting": {"json_format": NESTED, "omit_empty_values": True},
    "addresses": {"json_format": ADDRESSES},
    "text, omitting": {"omit_empty_values": True, "text_format_source": {"inline_string": "[%REQ(NONE)%|%ROUTE_NAME%|%RESPONSE_FLAGS%|%RESPONSE_CODE%]\n"}},
    "times": {"json_format": TIMES}, "grpc": {"json_format": GRPC}, "grpc, omitting": {"json_format": GRPC, "omit_empty_values": True},
    "expressions": {**CEL, "json_format": EXPRESSIONS},
    "expressions as text": {**CEL, "text_format_source": {"inline_string": "%CEL(request.path)%|%CEL(request.headers['none'])%\n"}},
    "without query": {**WITHOUT_QUERY, "json_format": {
        "p": "%REQ_WITHOUT_QUERY(:PATH)%", "o": "%REQ_WITHOUT_QUERY(X-ENVOY-ORIGINAL-PATH?:PATH):3%", "n": "%REQ_WITHOUT_QUERY(NONE)%"}},
}
REQUESTS = {
    "plain": b"GET /a%22b?x=1 HTTP/1.1\r\nhost: h\r\nuser-agent: t\r\nx-num: 12\r\n\r\n",
    "quotes": b"GET / HTTP/1.1\r\nhost: h\r\nx-q: a\"b\\c\td/e\r\nx-empty:\r\n\r\n",
    "UTF-8": "GET / HTTP/1.1\r\nhost: h\r\nx-q: é€\U0001f600 x\"\r\n\r\n".encode(),
    "no UTF-8": b"GET / HTTP/1.1\r\nhost: h\r\nx-q: \xc3\xa9\xff\"\\\t\xe2\x82\r\n\r\n",
    "overlong": b"GET / HTTP/1.1\r\nhost: h\r\nx-q: \xc0\xaf\xed\xa0\x80\r\n\r\n",
    "gRPC": b"POST / HTTP/1.1\r\nhost: h\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
    "gRPC without route": b"POST / HTTP/1.1\r\nhost: nowhere\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
    "no route": b"GET /none HTTP/1.1\r\nhost: nowhere\r\n\r\n",
}
CHANGING = [(r"T\d{4}-\d\d-\d\d(T| )\d\d:\d\d:\d\d", r"TIME\1"), (r"\.(\d{3})(\d{3})?(\d{3})?\b", lambda m: f".{len(m[0])}"),
            (r"\b\d{10}(\d{3})?\b", lambda m: f"EPOCH {len(m[0])}"),
            (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"), (r"\b127\.0\.0\.1:\d+", "ADDRESS"), (r'("(?:duration|lp|request|response|tx)"):\d+', r"\1:N"),
            (r'"upstream_service_time":"\d+"', "SERVICE"), (r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID")]


def lines(lab, binary):
    origin = lab.origin()
    files = {name: lab.directory / f"{binary == ENVOY}-{i}.log" for i, name in enumerate(FORMATS)}
    logs = [{"name": name, "typed_config": {"@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                                            "path": str(files[name]), "log_format": log_format}} for name, log_format in FORMATS.items()]
    cluster = c.cluster(origin.name, origin.port, alt_stat_name="stats;name")
    proxy = lab.http(cluster, hosts=c.virtual_hosts([c.route("/", origin.name)], domains=["h"]), binary=binary, log=False, access_log=logs)
    out = {}
    for count, (request, text) in enumerate(REQUESTS.items(), 1):
        client = lab.client(proxy.port)
        client.send(text)
        client.response()
        for name, file in files.items():
            written = eventually(lambda f=file, n=count: f.exists() and f.read_bytes().count(b"\n") == n and f.read_bytes(), 5, name)
            line = written.split(b"\n")[count - 1].decode("latin1")
            for pattern, word in CHANGING:
                line = re.sub(pattern, word, line)
            out[request, name] = line
    return out


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    from support.lab import Lab
    lab = Lab(tmp_path_factory.mktemp("formats"))
    try:
        yield lines(lab, ENVOY), lines(lab, PINNACE)
    finally:
        lab.close()


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("request_name", REQUESTS)
def test_the_line_is_the_same(both, request_name, log_format):
    envoy, pinnace = both
    assert pinnace[request_name, log_format] == envoy[request_name, log_format]
