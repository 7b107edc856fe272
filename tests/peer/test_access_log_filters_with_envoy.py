"""Access-log filters, CEL expressions among them: pinnace and a real Envoy log the same requests.

Each expression has a log of its own, so the table shows which of the requests it holds for.
"""
import pytest
from support import config as c
from support.lab import Lab
from support.proxy import ENVOY, PINNACE
from support.wait import eventually, free_port

FILE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
CEL = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
EXPRESSIONS = [
    "request.path == '/a?q=1'", "request.url_path == '/a'", "request.url_path.startsWith('/a')", "request.url_path.endsWith('b')",
    "request.path.contains('=')", "request.query == 'q=1'", "request.query == ''", "request.host == 'h'", "request.method != \"GET\"",
    "request.scheme == 'http'", "request.headers['x-a'] == 'one'", "request.headers['X-A'] == 'one'", "has(request.headers.referer)",
    "'x-a' in request.headers", "!('x-a' in request.headers)", "request.headers['x-a'].matches('^o.e$')", "request.path.matches('a|zz')",
    "request.useragent == 'test'", "request.referer == 'r'", "request.protocol == 'HTTP/1.1'", "request.id != ''",
    "response.code == 200", "response.code >= 400 && response.code < 500", "response.code == 404 || request.method == 'POST'",
    "response.code_details == 'via_upstream'", "response.code_details == 'route_not_found'", 
    "response.code / 100 == 2", "response.code % 100 == 4", "-response.code < 0", "response.code + 1 == 201", "response.code * 2 == 400",
    "int(request.headers['x-n']) > 5", "double(request.headers['x-n']) > 5.5", "uint(request.headers['x-n']) == 7u", "size(request.method) == 4",
    "request.method in ['PUT', 'POST']", "response.code in [404, 500]", "request.method == 'POST' ? true : false",
    "(request.method == 'POST' ? 'x' : 'y') == 'y'", "true", "false", "!false", "1 < 2", "'b' > 'a'",
    "1 == 1.0", "'a' == 'a' && (1 != 2)", "null == null", "request.headers['none'] == 'x' || true", "true || request.headers['none'] == 'x'",
    "request.headers['none'] == 'x' && false", "request.headers['none'] == 'x'", "request.headers['none'] != 'x'", "has(request.headers.none)",
    "1 / 0 == 1", "9223372036854775807 + 1 > 0", "request.size == 3", "response.size > 0", "source.port > 0", "destination.port > 0",
    "source.address.startsWith('127.0.0.1:')", "connection.mtls", "!connection.mtls", "connection.requested_server_name == ''",
    "upstream.port > 0", "upstream.address.startsWith('127')", "xds.cluster_name == 'origin'", "xds.route_name == 'named'",
    "upstream.request_attempt_count == 1u", "xds.node.id.startsWith('sidecar')", "xds.node.cluster == 'test.default'", "'\\'' == \"'\"", "'a\\nb' == 'a\\nb'",
    "  1   ==1  ", "request.path", "5",
]
FILTERS = {
    "status": {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 400, "runtime_key": "no.key"}}}},
    "status =": {"status_code_filter": {"comparison": {"op": "EQ", "value": {"default_value": 200, "runtime_key": "no.key"}}}},
    "status <=": {"status_code_filter": {"comparison": {"op": "LE", "value": {"default_value": 200, "runtime_key": "no.key"}}}},
    "runtime": {"status_code_filter": {"comparison": {"op": "GE", "value": {"default_value": 600, "runtime_key": "logs.from"}}}},
    "duration": {"duration_filter": {"comparison": {"op": "GE", "value": {"default_value": 0, "runtime_key": "no.key"}}}},
    "flags": {"response_flag_filter": {}}, "NR": {"response_flag_filter": {"flags": ["NR"]}}, "UH": {"response_flag_filter": {"flags": ["UH"]}},
}
FILTERS["and"] = {"and_filter": {"filters": [FILTERS["status"], FILTERS["NR"]]}}
FILTERS["or"] = {"or_filter": {"filters": [FILTERS["UH"], FILTERS["status ="]]}}
REQUESTS = [
    "GET /a?q=1 HTTP/1.1\r\nhost: h\r\nx-a: one\r\nuser-agent: test\r\nx-n: 7\r\n", "GET /b HTTP/1.1\r\nhost: h\r\nreferer: r\r\nx-n: 3\r\n",
    "POST /a/b HTTP/1.1\r\nhost: H2\r\ncontent-length: 3\r\nx-a: two\r\nx-n: x\r\n", "GET /zz HTTP/1.1\r\nhost: nowhere\r\n",
]


def logged(lab, binary):
    """{filter: the numbers of the requests it took}"""
    origin = lab.origin()
    wanted = {**{e: {"extension_filter": {"name": "cel", "typed_config": {"@type": CEL, "expression": e}}} for e in EXPRESSIONS}, **FILTERS}
    files = {name: lab.directory / f"{binary == ENVOY}{i}.log" for i, name in enumerate(wanted)}
    logs = [{"name": str(i), "filter": wanted[name], "typed_config": {
        "@type": FILE, "path": str(files[name]), "log_format": {"text_format_source": {"inline_string": "%REQ(X-NUMBER)%\n"}}}}
        for i, name in enumerate(wanted)]
    all_of_them = lab.directory / f"{binary == ENVOY}all.log"
    logs.append({"name": "all", "typed_config": {"@type": FILE, "path": str(all_of_them), "log_format": {
        "text_format_source": {"inline_string": "%REQ(X-NUMBER)%\n"}}}})
    hosts = c.virtual_hosts([c.route("/", origin.name, name="named")], domains=["h", "h2"])
    runtime = {"layers": [{"name": "static", "static_layer": {"logs": {"from": 300}}}]}
    port = free_port()
    proxy = lab.proxy(c.bootstrap([c.listener("http", port, c.hcm(hosts=hosts, log=False, access_log=logs))],
                                  [c.cluster(origin.name, origin.port)], layered_runtime=runtime), binary=binary)
    for number, head in enumerate(REQUESTS):
        client = lab.client(port)
        client.send(head + f"x-number: {number}\r\n\r\n" + ("abc" if head.startswith("POST") else ""))
        client.response()
    # The last log is written after the others.
    eventually(lambda: all_of_them.exists() and len(all_of_them.read_text().split()) == len(REQUESTS), 5, "the logs")
    lab.proxies.remove(proxy)
    proxy.stop()  # which writes what is left
    return {name: file.read_text().split() if file.exists() else [] for name, file in files.items()}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("filters"))
    try:
        yield logged(lab, ENVOY), logged(lab, PINNACE)
    finally:
        lab.close()


@pytest.mark.parametrize("name", EXPRESSIONS + list(FILTERS))
def test_both_log_the_same_requests(both, name):
    envoy, pinnace = both
    assert pinnace[name] == envoy[name]


def test_the_table_tells_requests_apart(both):
    taken = [tuple(numbers) for numbers in both[0].values()]
    assert len(set(taken)) >= 8, set(taken)
