"""The process itself: what it says to a bad bootstrap, how it ends, and its admin endpoints."""
import json
import pathlib
import re
import resource
import signal
import subprocess
import threading
import time

import pytest
from support import config as c
from support.proxy import ENVOY, PINNACE
from support.wait import eventually, free_port


@pytest.mark.parametrize("text, words", [
    ("{", ["bootstrap.json", ":1"]), ("a: [1\nb: 2\n", ["bootstrap.json:"]), ("[1]", ["bootstrap.json"]),
    ('{"static_resources": {"listeners": [{"name": "l", "filter_chains": [{}]}]}}', ["bootstrap.json", "listeners", "l"]),
    ('{"static_resources": {"clusters": [{"name": "c1", "type": "STATIC", "lb_policy": "MAGLEV"}]}}', ["c1", "lb_policy"]),
    ('{"static_resources": {"clusters": "x"}}', ["bootstrap.json"]),
    ('{"admin": {"address": {"socket_address": {"address": "nonsense", "port_value": 1}}}}', ["admin"])])
def test_a_bad_bootstrap_is_one_line_and_exit_1(tmp_path, text, words):
    path = tmp_path / "bootstrap.json"
    path.write_text(text)
    done = subprocess.run([PINNACE, "-c", str(path)], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1
    lines = (done.stderr + done.stdout).strip().splitlines()
    assert len(lines) == 1 and all(word in lines[0] for word in words), lines


def test_a_missing_bootstrap_and_a_port_in_use_are_one_line_and_exit_1(lab, tmp_path):
    done = subprocess.run([PINNACE, "-c", "/nonexistent.yaml"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "/nonexistent.yaml" in done.stderr and len(done.stderr.splitlines()) == 1
    taken = lab.origin().port
    path = tmp_path / "b.json"
    path.write_text(json.dumps(c.bootstrap([c.listener("busy", taken, c.hcm([c.route("/", "x")], log=False))], [c.cluster("x")])))
    done = subprocess.run([PINNACE, "-c", str(path)], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "busy" in done.stderr and "in use" in done.stderr


def test_yaml_and_config_yaml_are_read(lab):
    port = free_port()
    path = lab.directory / "b.yaml"
    path.write_text(f"static_resources:\n  clusters:\n  - {{name: x, type: STATIC}}  # a comment\nadmin:\n  address:\n    socket_address: "
                    f"{{address: 127.0.0.1, port_value: {port}}}\n")
    done = subprocess.run([PINNACE, "-c", str(path), "--config-yaml", "{node: {id: n1}}", "--mode", "validate"], capture_output=True, text=True,
                          timeout=10)
    assert done.returncode == 0 and "OK" in done.stdout


def test_sigterm_lets_requests_in_flight_finish_and_refuses_new_ones(lab):
    go = threading.Event()
    origin = lab.origin().on("/slow", lambda x: (go.wait(20), x.reply(200, b"finished")))
    proxy = lab.http(origin)
    idle, busy = lab.client(proxy.port), lab.client(proxy.port)
    idle.get("/")
    busy.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
    origin.wait_requests(2)
    proxy.terminate()
    assert idle.expect_close() == b""

    def refused():
        try:
            lab.client(proxy.port).close()
        except ConnectionRefusedError:
            return True
    eventually(refused)
    assert proxy.process.poll() is None
    go.set()
    answer = busy.response()
    assert (answer.text, answer.get("connection")) == ("finished", "close")
    assert proxy.wait_exit() == 0
    assert proxy.access_log.read_text().count("\t200\t") == 0 and len(proxy.access_log.read_text().splitlines()) == 2


def test_sigterm_ends_at_the_deadline_whatever_is_left(lab):
    origin = lab.origin().on("/hang", lambda x: x.hang())
    proxy = lab.http(origin, options={"drain_s": 1})
    lab.client(proxy.port).send("GET /hang HTTP/1.1\r\nhost: a\r\n\r\n")
    origin.wait_requests(1)
    proxy.terminate()
    assert proxy.wait_exit(4) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_at_once_when_idle(lab, number):
    for _ in range(5):
        proxy = lab.http(lab.origin(), options={"concurrency": 2})
        proxy.process.send_signal(number)
        assert proxy.wait_exit(2) == 0


def test_starting_with_ads_and_ending_at_once_is_clean(lab):
    ads = lab.ads(path=str(lab.directory / "ads.sock"))
    ads.set("cluster", c.cluster("x"))
    for _ in range(15):
        proxy = lab.proxy(c.ads_bootstrap(ads.address), wait_ready=False, concurrency=2)
        ads.wait_stream()
        proxy.stop()
        eventually(lambda: not ads.streams)


def test_ready_means_that_listeners_accept(lab):
    for _ in range(30):
        proxy = lab.http(lab.origin(), options={"concurrency": 2})
        lab.client(proxy.port).close()
        proxy.stop()


def test_sigusr1_opens_the_access_log_again(lab):
    proxy = lab.http(lab.origin())
    client = lab.client(proxy.port)
    client.get("/one")
    proxy.next_log()
    moved = proxy.access_log.with_suffix(".old")
    proxy.access_log.rename(moved)
    proxy.process.send_signal(signal.SIGUSR1)
    eventually(lambda: client.get("/two") and proxy.access_log.exists())
    eventually(lambda: "/two" in proxy.access_log.read_text())


def test_the_istio_access_log_line_is_complete(lab):
    proxy = lab.http(lab.origin(), routes=[c.route("/", "origin", name="default")], log=c.ISTIO_FORMAT)
    lab.client(proxy.port).get("/p?q=1", headers=[("user-agent", "u\"a"), ("x-request-id", "id1"), ("x-forwarded-for", "1.2.3.4")])
    line = proxy.next_log()
    assert re.fullmatch(r'\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\] "GET /p\?q=1 HTTP/1\.1" 200 - via_upstream - "-" 0 6 \d+ \d+ "1\.2\.3\.4" '
                        r'"u\\"a" "id1" "a" "127\.0\.0\.1:\d+" origin 127\.0\.0\.1:\d+ 127\.0\.0\.1:\d+ 1\.2\.3\.4:0 - default', line), line


# ---- admin
@pytest.fixture
def proxy(lab):
    proxy = lab.http(lab.origin("up"), routes=[c.route("/", "up")])
    lab.client(proxy.port).get("/")
    return proxy


def test_admin_ready_server_info_and_listeners(proxy):
    ready = proxy.admin("/ready")
    assert (ready.status, ready.text, ready.get("content-type")) == (200, "LIVE\n", "text/plain; charset=UTF-8")
    assert ready.get("x-content-type-options") == "nosniff" and "no-cache" in ready.get("cache-control")
    info = proxy.admin_json("/server_info")
    assert info["state"] == "LIVE" and info["node"]["id"] and info["command_line_options"]["concurrency"] == 1
    assert proxy.admin("/listeners").text == f"http::127.0.0.1:{proxy.port}\n"
    status = proxy.admin_json("/listeners?format=json")["listener_statuses"]
    assert status == [{"name": "http", "local_address": {"socket_address": {"address": "127.0.0.1", "port_value": proxy.port}}}]


def test_admin_clusters(proxy):
    lines = proxy.admin("/clusters").text.splitlines()
    assert "up::default_priority::max_connections::1024" in lines and "up::added_via_api::false" in lines
    host = next(line for line in lines if line.endswith("::rq_total::1")).rsplit("::", 2)[0]
    assert f"{host}::health_flags::healthy" in lines and f"{host}::cx_active::1" in lines and f"{host}::rq_success::1" in lines
    one = proxy.admin_json("/clusters?format=json")["cluster_statuses"][0]
    assert one["name"] == "up" and one["host_statuses"][0]["health_status"] == {"eds_health_status": "HEALTHY"}
    assert {"type": "GAUGE", "value": "1", "name": "cx_active"} in one["host_statuses"][0]["stats"]


def test_admin_stats(proxy):
    lines = proxy.admin("/stats").text.splitlines()
    assert "cluster.up.upstream_rq_total: 1" in lines and "http.test.downstream_rq_2xx: 1" in lines and "server.state: 0" in lines
    assert "cluster.up.upstream_rq_200: 1" in lines and "cluster.up.external.upstream_rq_2xx: 1" in lines
    assert proxy.admin("/stats?filter=^cluster\\.up\\.upstream_rq_total$").text == "cluster.up.upstream_rq_total: 1\n"
    assert proxy.admin("/stats?filter=^server.live$&format=json").text == '{"stats":[{"name":"server.live","value":1}]}'
    bad = proxy.admin("/stats?filter=(")
    assert bad.status == 400 and bad.text.startswith("Invalid re2 regex")
    assert all(not line.endswith(": 0") for line in proxy.admin("/stats?usedonly&type=Counters&filter=cluster.up").text.splitlines())


def test_admin_prometheus(proxy):
    eventually(lambda: 'time_count{envoy_cluster_name="up"} 1' in proxy.admin("/stats/prometheus").text, 8)  # Envoy flushes every 5 s
    for path in ("/stats/prometheus", "/stats?format=prometheus"):
        lines = proxy.admin(path).text.splitlines()
        at = lines.index("# TYPE envoy_cluster_upstream_rq_total counter")
        assert lines[at + 1] == 'envoy_cluster_upstream_rq_total{envoy_cluster_name="up"} 1'
        assert 'envoy_http_downstream_rq_xx{envoy_response_code_class="2",envoy_http_conn_manager_prefix="test"} 1' in lines
        assert 'envoy_cluster_upstream_rq{envoy_response_code="200",envoy_cluster_name="up"} 1' in lines
        assert 'envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name="up",le="+Inf"} 1' in lines
        assert "envoy_server_live{} 1" in lines and "" not in lines


def test_admin_config_dump(proxy):
    dump = proxy.admin_json("/config_dump")["configs"]
    kinds = [x["@type"].rsplit(".", 1)[1] for x in dump]
    assert kinds == ["BootstrapConfigDump", "ClustersConfigDump", "ListenersConfigDump", "ScopedRoutesConfigDump", "RoutesConfigDump",
                     "SecretsConfigDump"]
    assert "EndpointsConfigDump" in [x["@type"].rsplit(".", 1)[1] for x in proxy.admin_json("/config_dump?include_eds")["configs"]]
    one = proxy.admin_json("/config_dump?resource=static_clusters")["configs"]
    assert one[0]["cluster"]["name"] == "up" and one[0]["@type"].endswith("ClustersConfigDump.StaticCluster")
    assert PINNACE == ENVOY or one == proxy.admin_json("/config_dump?resource={static_clusters}")["configs"]  # UNLIKE ENVOY: braces are tolerated
    assert proxy.admin_json("/config_dump?resource=static_clusters&mask=cluster.name")["configs"][0]["cluster"] == {
        "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "up"}
    assert proxy.admin("/config_dump?resource=dynamic_listeners").text == "{}\n"
    eds = proxy.admin_json("/config_dump?include_eds&resource=static_endpoint_configs")["configs"]
    assert eds[0]["endpoint_config"]["cluster_name"] == "up"


@pytest.mark.parametrize("path, status, body", [
    ("/config_dump?resource=bogus", 404, "bogus not found in config dump"),
    ("/config_dump?resource=bootstrap", 400, "bootstrap is not a repeated field. Use ?mask=bootstrap to get only this field"),
    ("/config_dump?mask=bogus", 400, "FieldMask bogus could not be successfully applied to any configs."),
    ("/quitquitquit", 405, "Method GET not allowed, POST required."), ("/logging", 405, "Method GET not allowed, POST required."),
    ("/nope", 404, None)])
def test_admin_refuses(proxy, path, status, body):
    answer = proxy.admin(path)
    assert answer.status == status and (body is None or answer.text == body)


def test_admin_logging_changes_levels(proxy):
    answer = proxy.admin("/logging?level=debug", "POST")
    assert answer.status == 200 and answer.text.startswith("active loggers:\n") and "  http: debug\n" in answer.text
    assert proxy.admin("/logging?level=bogus", "POST").status == 400


def test_admin_logging_changes_single_components(proxy):
    assert "  http: debug\n" in proxy.admin("/logging?http=debug", "POST").text
    text = proxy.admin("/logging?paths=dns:trace,router:error", "POST").text
    assert "  dns: trace\n" in text and "  router: error\n" in text and "  main: info\n" in text
    for bad in ("paths=dns", "paths=dns:loud", "nobody=debug", "http=loud"):
        assert proxy.admin("/logging?" + bad, "POST").status == 400, bad


def test_component_log_levels_are_taken_from_the_command_line(lab):
    proxy = lab.http(lab.origin(), options={"arguments": ["--component-log-level", "misc:error,main:warning"]})
    text = proxy.admin("/logging", "POST").text
    assert "  misc: error\n" in text and "  main: warning\n" in text and "  http: info\n" in text
    assert "serving:" not in proxy.log()
    info = proxy.admin_json("/server_info")
    assert info["command_line_options"]["component_log_level"] == "misc:error,main:warning" and info["state"] == "LIVE"
    assert info["command_line_options"]["config_path"] == str(proxy.config_path) and info["version"].startswith("pinnace/")


@pytest.mark.release_only
def test_admin_shows_memory_and_runtime(lab):
    layers = [{"name": "static", "static_layer": {"a": {"b": 5, "c": True}, "d": "x"}}, {"name": "admin", "admin_layer": {}},
              {"name": "top", "static_layer": {"d": "y"}}]
    origin = lab.origin()
    port = free_port()
    proxy = lab.proxy(c.bootstrap([c.listener("http", port, c.hcm([c.route("/", origin.name)]))], [c.cluster(origin.name, origin.port)],
                                  layered_runtime={"layers": layers}))
    shown = proxy.admin_json("/runtime")
    assert shown["layers"] == ["static", "admin", "top"]
    assert shown["entries"] == {"a.b": {"final_value": "5", "layer_values": ["5", "", ""]}, "a.c": {"final_value": "true", "layer_values": ["true", "", ""]},
                                "d": {"final_value": "y", "layer_values": ["x", "", "y"]}}
    memory = proxy.admin_json("/memory")
    assert 1 << 20 < int(memory["allocated"]) <= int(memory["heap_size"]) and int(memory["total_physical_bytes"]) > 4 << 20


def test_admin_resets_counters_only(lab, proxy):
    client = lab.client(proxy.port)
    client.get("/")
    name = "http.test.downstream_rq_2xx"
    eventually(lambda: proxy.stat(name) == 2)
    assert proxy.admin("/reset_counters").status == 405
    assert proxy.admin("/reset_counters", "POST").text == "OK\n"
    assert proxy.stat(name) == 0 and proxy.stat("http.test.downstream_cx_active") >= 1
    client.get("/")
    eventually(lambda: proxy.stat(name) == 1)


def test_admin_clusters_tell_the_locality(lab):
    where = {"region": "r", "zone": "z", "sub_zone": "s"}
    origin = lab.origin()
    cluster = c.cluster("up", origin.port)
    cluster["load_assignment"]["endpoints"][0]["locality"] = where
    proxy = lab.http(cluster)
    assert proxy.admin_json("/clusters?format=json")["cluster_statuses"][0]["host_statuses"][0]["locality"] == where
    assert f"up::127.0.0.1:{origin.port}::zone::z\n" in proxy.admin("/clusters").text


def test_the_version_is_told():
    told = subprocess.run([PINNACE, "--version"], capture_output=True, text=True)
    assert told.returncode == 0 and told.stdout.startswith("pinnace 0.")


def test_admin_healthcheck_fail_shows_in_ready(proxy):
    assert proxy.admin("/healthcheck/fail", "POST").text == "OK\n"
    assert (proxy.admin("/ready").status, proxy.admin("/ready").text) == (503, "DRAINING\n")
    proxy.admin("/healthcheck/ok", "POST")
    assert proxy.admin("/ready").text == "LIVE\n"


def test_a_failed_health_check_sends_connections_away_until_it_is_ok_again(lab, proxy):
    old = lab.client(proxy.port)
    assert old.get("/").get("connection") is None
    proxy.admin("/healthcheck/fail", "POST")
    eventually(lambda: lab.client(proxy.port).get("/").get("connection") == "close")
    assert old.get("/").get("connection") == "close"
    proxy.admin("/healthcheck/ok", "POST")
    eventually(lambda: lab.client(proxy.port).get("/").get("connection") is None)
    new = lab.client(proxy.port)
    assert [new.get("/").get("connection") for _ in range(3)] == [None] * 3


def test_admin_drain_listeners_refuses_new_and_closes_old_politely(lab, proxy):
    client = lab.client(proxy.port)
    client.get("/")
    assert proxy.admin("/drain_listeners", "POST").text == "OK\n"

    def refused():
        try:
            lab.client(proxy.port).close()
        except ConnectionRefusedError:
            return True
    eventually(refused)
    answer = client.get("/")
    assert (answer.status, answer.get("connection")) == (200, "close")
    assert proxy.admin("/ready").text == "LIVE\n"


def test_admin_quitquitquit_ends_it(proxy):
    assert proxy.admin("/quitquitquit", "POST").text == "OK\n"
    assert proxy.wait_exit() == 0


def test_the_log_is_json_where_the_bootstrap_says_so(lab):
    """Istio's logAsJson."""
    fields = {"level": "%l", "time": "%Y-%m-%dT%T.%fZ", "scope": "envoy %n", "msg": "%j", "caller": "%g:%#", "thread": "%t"}
    config = c.bootstrap([c.listener("l", free_port(), c.hcm([c.route("/", "o")], log=False))], [c.cluster("o", lab.origin().port)],
                         application_log_config={"log_format": {"json_format": fields}}, stats_sinks=[{"name": "a \"sink\""}])
    proxy = lab.proxy(config)
    lines = [json.loads(line) for line in proxy.log().splitlines()]
    assert lines and all(set(line) == set(fields) for line in lines)
    told = [line for line in lines if "stats_sinks" in line["msg"]]
    assert [(x["level"], x["scope"]) for x in told] == [("warning", "envoy config")]


@pytest.mark.parametrize("fields, told", [
    ({"stats_sinks": [{"name": "s"}]}, ["stats_sinks"]), ({"tracing": {"http": {"name": "t"}}}, ["tracing"]),
    ({"stats_config": {"histogram_bucket_settings": [{"match": {"prefix": "x"}, "buckets": [1]}]}}, ["stats_config.histogram_bucket_settings"]),
    ({"stats_config": {"stats_tags": [{"tag_name": "t", "fixed_value": "v"}]}}, ["stats_config.stats_tags[t].fixed_value"]),
    ({"overload_manager": {"actions": [{"name": "a"}]}}, ["overload_manager.actions"]),
    ({"cluster_manager": {"local_cluster_name": "x"}, "flags_path": "/f"}, ["cluster_manager", "flags_path"]),
    ({"stats_flush_interval": "5s", "deferred_stat_options": {"enable_deferred_creation_stats": True}}, [])])
def test_what_the_bootstrap_asks_in_vain_is_told_by_name(lab, fields, told):
    proxy = lab.proxy(c.bootstrap([], [c.cluster("o", lab.origin().port)], **fields))
    lines = [line for line in proxy.log().splitlines() if "left out" in line]
    assert len(lines) == len(told), lines
    assert all(any(f"bootstrap: {name}: not supported" in line for line in lines) for name in told), lines


def test_a_stats_matcher_that_cannot_be_understood_is_refused(tmp_path):
    path = tmp_path / "b.yaml"
    path.write_text("stats_config: {stats_matcher: {inclusion_list: {patterns: [{safe_regex: {regex: '('}}]}}}")
    done = subprocess.run([PINNACE, "-c", str(path), "--mode", "validate"], capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "stats_config.stats_matcher" in done.stderr


def test_the_command_line_names_the_node(lab):
    arguments = ["--service-node", "sidecar~1.2.3.4~a.b~b.svc", "--service-cluster", "a.b", "--service-zone", "z1"]
    proxy = lab.proxy(c.bootstrap([], [c.cluster("o", lab.origin().port)], node={"id": "other", "cluster": "other"}), arguments=arguments)
    node = proxy.admin_json("/server_info")["node"]
    assert (node["id"], node["cluster"], node["locality"]["zone"]) == ("sidecar~1.2.3.4~a.b~b.svc", "a.b", "z1")


def test_an_admin_without_descriptors_waits_and_serves_again(lab, proxy):
    pid = proxy.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = len(list(pathlib.Path(f"/proc/{pid}/fd").iterdir()))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used, hard))
    waiting = [lab.client(proxy.admin_port) for _ in range(3)]
    eventually(lambda: "cannot accept" in proxy.log())
    before = sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13]))
    time.sleep(1)
    spent = sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[11:13])) - before
    assert spent < 30, "hundredths of a second of CPU in one second"
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
    assert waiting[0].get("/ready").text == "LIVE\n"
