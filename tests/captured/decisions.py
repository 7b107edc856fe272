"""What a proxy that is fed with a captured push decides about each request of the decision table (generated.py).

pinnace and a real Envoy have a pod each, where packet rules like istio-init's lead into the proxy and all that leaves it leads to one
origin (ends.py). A decision is what the client got, what the origin saw, and the lines of the access logs that this module adds to every
listener, connection manager and tcp_proxy of a push.
"""
import hashlib
import json
import re
import ssl
import sys
import types
from pathlib import Path

from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.access_loggers.file.v3.file_pb2 import FileAccessLog
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import any_pb2

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from demo.pods import Mesh  # noqa: E402
from demo.pods.iptables import RESTORE_COMMANDS  # noqa: E402
from ends import DNS_PORT, INBOUND, ORIGIN_PORT, OUTBOUND  # noqa: E402
from generated import OWN_ADDRESS, UUID  # noqa: E402
from support.pki import Ca  # noqa: E402
from support.proxy import ENVOY, PINNACE  # noqa: E402
from support.wait import eventually  # noqa: E402

PROXY_UID, ADMIN_PORT = 1337, 15000
FORMAT = {
    "source": "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%", "protocol": "%PROTOCOL%", "method": "%REQ(:METHOD)%",
    "authority": "%REQ(:AUTHORITY)%", "path": "%REQ(:PATH)%", "original_path": "%REQ(X-ENVOY-ORIGINAL-PATH)%", "code": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%", "details": "%RESPONSE_CODE_DETAILS%", "termination": "%CONNECTION_TERMINATION_DETAILS%",
    "cluster": "%UPSTREAM_CLUSTER_RAW%", "route": "%ROUTE_NAME%", "upstream": "%UPSTREAM_HOST%",
    "upstream_from": "%UPSTREAM_LOCAL_ADDRESS%", "local": "%DOWNSTREAM_LOCAL_ADDRESS%",
    "remote": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "sni": "%REQUESTED_SERVER_NAME%", "peer": "%DOWNSTREAM_PEER_URI_SAN%"}


def replay_module(istiod):
    """../shared/istiod/replay.py without its last line, which would run it."""
    text = (istiod / "replay.py").read_text().rstrip()
    assert text.endswith("\nmain()")
    module = types.ModuleType("replay")
    exec(compile(text.removesuffix("main()"), "replay.py", "exec"), module.__dict__)  # noqa: S102
    return module


def add_logs(listeners, path):
    """Every listener, and every connection manager and tcp_proxy of every chain, logs to one file; each line says where it comes from."""
    def log(to, where):
        del to[:]
        file = FileAccessLog(path=str(path))
        file.log_format.text_format_source.inline_string = "\t".join([where, *FORMAT.values()]) + "\n"
        to.add(name="envoy.access_loggers.file").typed_config.Pack(file)
    for packed in listeners.values():
        one = listener_pb2.Listener()
        packed.Unpack(one)
        log(one.access_log, f"listener {one.name}")
        one.access_log[0].filter.response_flag_filter.flags.append("NR")  # as Istio has it: connections that no chain takes
        for i, chain in enumerate([*one.filter_chains] + [one.default_filter_chain] * one.HasField("default_filter_chain")):
            for network_filter in chain.filters:
                for kind, what in ((HttpConnectionManager, "HTTP"), (TcpProxy, "TCP")):
                    if network_filter.typed_config.Is(kind.DESCRIPTOR):
                        config = kind()
                        network_filter.typed_config.Unpack(config)
                        log(config.access_log, f"{what} of {one.name}, chain {i} {chain.name}")
                        network_filter.typed_config.Pack(config)
        packed.Pack(one)


class Pods:
    """A pod for each proxy. Use as a context manager; play() may run for both at the same time."""

    def __init__(self, istiod, directory):
        self.istiod, self.directory, self.replay, self.mesh = istiod, directory, replay_module(istiod), Mesh()

    def __enter__(self):
        self.mesh.__enter__()
        try:
            for name in ("envoy", "pinnace"):
                self._make(name)
            self._certificates()
        except BaseException:
            self.mesh.close()
            raise
        return self

    def __exit__(self, *_):
        self.mesh.close()

    def _make(self, name):
        """Every address is the pod's own; packet rules stand in for the rest of the mesh."""
        pod = self.mesh.add_pod(name, redirect=False)
        pod.ip("addr flush dev eth0", f"addr add {OWN_ADDRESS}/32 dev lo", f"route add local default dev lo src {OWN_ADDRESS}")
        rules = ["*nat", f"-A OUTPUT -p udp --dport 53 -j REDIRECT --to-ports {DNS_PORT}",
                 f"-A OUTPUT -p tcp -m owner --uid-owner {PROXY_UID} -j REDIRECT --to-ports {ORIGIN_PORT}",
                 f"-A OUTPUT -p tcp -m mark --mark {OUTBOUND} -j REDIRECT --to-ports 15001",
                 f"-A OUTPUT -p tcp -m mark --mark {INBOUND} -j REDIRECT --to-ports 15006", "COMMIT", ""]
        lock = {"XTABLES_LOCKFILE": str(pod.folder / "xtables.lock")}
        for command in RESTORE_COMMANDS:  # which kind works depends on the kernel
            done = pod.run([command, "--noflush"], input="\n".join(rules), env=lock)
            if done.returncode == 0:
                return
        raise AssertionError(f"no iptables works here: {done.stderr}")

    def _certificates(self):
        """The proxy's identity, the origin's with every name that a cluster may ask for, and the clients'."""
        asked = {san for path in self.istiod.glob("*/*/cds.json") for san in re.findall(r'"exact": "(spiffe://[^"]+)"', path.read_text())}
        ca, foreign = Ca(self.directory), Ca(self.directory, "foreign")
        self.cas = [str(ca.cert_path), str(foreign.cert_path)]
        names = ",".join([f"URI:{uri}" for uri in sorted(asked)] + ["DNS:edition.cnn.com"])
        self.certs = {"good": ca.issue("client"), "origin": ca.issue("origin", san=names), "proxy": ca.issue("proxy"),
                      "stranger": ca.issue("stranger", uri="spiffe://elsewhere/ns/x/sa/y"), "foreign": foreign.issue("client")}
        self.pki = self.directory / "sds"
        self.pki.mkdir()
        for name, text in (("ca.pem", ca.pem), ("server.crt", self.certs["proxy"].chain), ("server.key", self.certs["proxy"].key)):
            (self.pki / name).write_text(text)
        self.known = {hashlib.sha256(ssl.PEM_cert_to_DER_cert(c.chain)).hexdigest(): name for name, c in self.certs.items()}

    def play(self, capture, name, cases, endpoints, strip=True, patience=0.7):
        """The decision of the proxy `name` on each of the cases, and the NACKs of what it was fed."""
        pod, folder = self.mesh.pods[name], self.istiod / capture
        server = self.replay.Server(str(folder), str(self.pki))
        if strip:
            self.replay.strip(server.res)
        server.res[self.replay.SECRET] = {n: self._credential(server, n) for n in credentials_of(folder)}
        for old in ("access.log", "results.json", "XDS", "SDS"):
            (pod.folder / old).unlink(missing_ok=True)
        add_logs(server.res[self.replay.T["lds"]], pod.folder / "access.log")
        control_plane = self.replay.serve(server, [f"unix:{pod.folder}/XDS", f"unix:{pod.folder}/SDS"])
        for path in ("XDS", "SDS"):
            (pod.folder / path).chmod(0o777)
        certs = {n: [str(c.chain_path), str(c.key_path)] for n, c in self.certs.items()}
        job = {"cases": cases, "admin": ADMIN_PORT, "cas": self.cas, "patience": patience, "certs": certs, "known": self.known}
        (pod.folder / "job.json").write_text(json.dumps(job))
        bootstrap = self.replay.bootstrap(self.istiod / "bootstrap.json", f"{pod.folder}/XDS", f"{pod.folder}/SDS", ADMIN_PORT, False)
        (pod.folder / "bootstrap.json").write_text(json.dumps(bootstrap))
        program = ROOT / "tests/captured/ends.py"
        ends = pod.popen([sys.executable, program, pod.folder / "job.json", pod.folder / "results.json"], name="ends")
        proxy = None
        try:
            pod.wait_port(ORIGIN_PORT, process=ends)
            program = self.mesh.install(ENVOY if name == "envoy" else PINNACE)
            proxy = pod.popen([program, "-c", pod.folder / "bootstrap.json", "--concurrency", "1", "--disable-hot-restart", "-l", "warning",
                               "--local-address-ip-version", "v4", "--file-flush-interval-msec", "10", "--drain-time-s", "1"],
                              uid=PROXY_UID, name=f"{name}-{capture.replace('/', '-')}")
            assert ends.wait(120) == 0 and proxy.alive, f"{ends.output()[-2000:]}\n{proxy.output()[-4000:]}"
            lines = self._settled(pod.folder / "access.log")
        finally:
            for process in filter(None, (ends, proxy)):
                process.stop()
            control_plane.stop(0)
        results = json.loads((pod.folder / "results.json").read_text())
        nacks = [text for kind in server.log.values() for text in kind["nack"]]
        return [decision(result, lines.get(case["source"], []), endpoints) for case, result in zip(cases, results)], nacks

    def _credential(self, server, name):
        secret = secret_pb2.Secret()
        secret.CopyFrom(server.sec["ROOTCA" if name.endswith("-cacert") else "default"])
        secret.name = name
        packed = any_pb2.Any()
        packed.Pack(secret)
        return packed

    def _settled(self, path):
        """The log's lines by client, once no more come."""
        seen = []

        def quiet():
            seen.append(path.stat().st_size)
            return len(seen) > 15 and len(set(seen[-15:])) == 1
        eventually(quiet, 10, "an access log that stands still")
        lines = {}
        for line in path.read_text(errors="replace").splitlines():
            where, source, *values = line.split("\t")
            one = {"where": where, **dict(zip(list(FORMAT)[1:], values))}
            lines.setdefault(source.rpartition(":")[0], []).append({k: v for k, v in one.items() if v not in ("-", "")})
        return lines


def credentials_of(folder):
    return set(re.findall(r'kubernetes://[^"]+', (folder / "lds.json").read_text() + (folder / "cds.json").read_text()))


def decision(result, log, endpoints):
    """What is compared: without what differs from run to run, and without what the origin's answer repeats."""
    client = result["client"]
    if "headers" in client:
        if from_origin := ["x-from-origin", "yes"] in client["headers"]:
            client["body"] = "the origin's"
        client["headers"] = sorted((k, "N" if k == "x-envoy-upstream-service-time" else v) for k, v in client["headers"]
                                   if k != "date" and not (from_origin and k == "content-length"))
    if "raw" in client:
        try:
            client["raw"] = json.loads(client["raw"])
        except ValueError:
            pass
    for seen in result["origin"]:
        if "headers" in seen:
            seen["headers"] = sorted(map(tuple, seen["headers"]), key=lambda h: h[0])
    for line in log:
        line["upstream_from"] = line.get("upstream_from", "-").rpartition(":")[0]
    made = {"client": client, "origin": result["origin"], "log": sorted(log, key=lambda line: json.dumps(line, sort_keys=True))}
    text = json.dumps(made, sort_keys=True)
    for cluster in {line.get("cluster") for line in log}:
        for address in endpoints.get(cluster, []) if len(endpoints.get(cluster, [])) > 1 else []:
            text = text.replace(f'"{address}"', f'"an endpoint of {cluster}"')  # which one is for the load balancer's dice
    return json.loads(re.sub(r"(?!" + UUID[:14] + r")[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", text))
