"""Pods with the addresses of ../shared/istiod's captures, and in each what a real one has: the application, an agent, and a proxy
that pilot-agent's command line starts as uid 1337 from pilot-agent's bootstrap.

istiod's part is played to each pod by its own capture, with the identity of its service account; the agent's unix sockets are where
the bootstrap says. Of the bootstrap only the node is another in other pods, and it has the labels of cluster.yaml, which pilot-agent
reads from a file. Endpoints without a pod here are left out of what is sent, as istiod does.
"""
import ast
import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from captured_apps import GRPC_CLIENT, H2_SERVER, RAW_GET, SERVER, TALK
from demo.pods import Mesh
from demo.scene import PYTHON, tail
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2
from google.protobuf import any_pb2
from support.pki import Ca, Cert
from support.proxy import ENVOY, PINNACE
from support.wait import eventually
from support.xds_server import URLS, AdsServer

APP, PROXY = 1000, 1337
SPIFFE = "spiffe://cluster.local/ns/{}/sa/{}"
PEER_EXCHANGE = "istio-peer-exchange"
AGENT_CHECKS = (r"/stats?usedonly&filter=^(cluster_manager\.cds|listener_manager\.lds)\.(update_success|update_rejected)$",
                r"/stats?usedonly&filter=^(server\.state|listener_manager\.workers_started)")
SERVICES = {"productpage": "10.96.0.10", "details": "10.96.0.11", "reviews": "10.96.0.12", "ratings": "10.96.0.15", "echo": "10.96.0.16",
            "mysql": "10.96.0.18", "vm.internal": "10.97.0.1"}


@dataclass(frozen=True)
class Workload:
    """A pod of cluster.yaml. ports: what its application serves; capture: whose pushes it gets when it has none of its own."""

    name: str
    address: str
    app: str
    version: str = "v1"
    ports: dict = field(default_factory=dict)
    capture: str = ""
    namespace: str = "default"
    redirect: bool = True

    @property
    def identity(self):
        return SPIFFE.format(self.namespace, self.app)


ECHO_PORTS = {9000: "echo", 9001: "grpc", 9002: "h2", 9003: "auto", 9443: "https"}
GATEWAY = {"version": "latest", "namespace": "istio-system", "redirect": False}
PRODUCTPAGE, REVIEWS_V1, REVIEWS, ECHO, ECHO_1, MYSQL, INGRESS, EGRESS = (
    "productpage-v1-0", "reviews-v1-0", "reviews-v2-0", "echo-v1-0", "echo-v1-1", "mysql-0", "istio-ingressgateway-0",
    "istio-egressgateway-0")
CACHE = "cache-0"
WORKLOADS = {one.name: one for one in (
    Workload(PRODUCTPAGE, "10.44.0.10", "productpage", ports={9080: "http", 8081: "http"}),
    Workload(REVIEWS_V1, "10.44.0.12", "reviews", ports={9080: "http"}, capture=REVIEWS),
    Workload(REVIEWS, "10.44.0.13", "reviews", "v2", {9080: "http"}),
    Workload(ECHO, "10.44.0.16", "echo", ports=ECHO_PORTS),
    Workload(ECHO_1, "10.44.0.17", "echo", ports=ECHO_PORTS, capture=ECHO),
    # Their ports are none of echo's, so the catch-all chains take them.
    Workload(MYSQL, "10.44.0.18", "mysql", ports={3306: "greet"}, capture=ECHO),
    Workload(CACHE, "10.44.0.19", "cache", ports={6379: "echo"}, capture=ECHO),
    Workload(INGRESS, "10.44.0.100", "istio-ingressgateway", capture="istio-ingressgateway", **GATEWAY),
    Workload(EGRESS, "10.44.0.101", "istio-egressgateway", capture="istio-egressgateway", **GATEWAY))}


def captures():
    folder = Path(os.environ.get("PINNACE_SHARED", Path(__file__).resolve().parents[3] / "shared")) / "istiod"
    if not folder.is_dir():
        assert not os.environ.get("CI"), f"{folder} is missing, and CI skips nothing"
        pytest.skip(f"no captured pushes: {folder} is missing (PINNACE_SHARED names another place)")
    return folder


def replay(istiod):
    """replay.py as a module: without the last statement, which runs it."""
    tree = ast.parse((istiod / "replay.py").read_text())
    assert ast.unparse(tree.body.pop()) == "main()"
    module = types.ModuleType("replay")
    module.__file__ = str(istiod / "replay.py")
    exec(compile(tree, module.__file__, "exec"), module.__dict__)  # noqa: S102
    return module


def edited(packed, cls, change):
    """The resource in `packed` after change(message)."""
    message, out = cls(), any_pb2.Any()
    packed.Unpack(message)
    change(message)
    out.Pack(message, deterministic=True)
    return out


def for_plain_envoy(module, pool):
    """What a plain Envoy can do with a push: without Istio's filters, and without the protocol they would speak once it is negotiated."""
    def forget(context, kind):
        tls = kind()
        if context.typed_config.Unpack(tls):
            names = [name for name in tls.common_tls_context.alpn_protocols if name != PEER_EXCHANGE]
            del tls.common_tls_context.alpn_protocols[:]
            tls.common_tls_context.alpn_protocols.extend(names)
            context.typed_config.Pack(tls)

    def cluster(message):
        for context in [message.transport_socket, *(match.transport_socket for match in message.transport_socket_matches)]:
            forget(context, tls_pb2.UpstreamTlsContext)

    def listener(message):
        for chain in message.filter_chains:
            forget(chain.transport_socket, tls_pb2.DownstreamTlsContext)
    module.strip(pool)
    for kind, cls, change in (("cluster", cluster_pb2.Cluster, cluster), ("listener", listener_pb2.Listener, listener)):
        pool[URLS[kind]] = {name: edited(packed, cls, change) for name, packed in pool[URLS[kind]].items()}


def forwarded(seen):
    """The last entry of the x-forwarded-client-cert that an application got: what the proxy in front of it says."""
    last = "By=" + seen["headers"]["x-forwarded-client-cert"].rpartition("By=")[2]
    return dict(part.split("=", 1) for part in last.split(";"))


class Captured:
    """A mesh of the named workloads, up when `with` is entered. pods, proxies, planes: by name.

    envoys: which have a real Envoy; edits: pod → change(pool); outside: name → {"address", "ports", "extra"}; dns: names for all;
    transparent: pod → rules(pod), in place of those of REDIRECT; its proxy is as with TPROXY, root with two capabilities in group 1337.
    """

    def __init__(self, scenario, *names, envoys=(), edits=None, outside=None, dns=None, transparent=None):
        self.istiod, self.scenario, self.envoys, self.edits = captures(), scenario, envoys, edits or {}
        self.workloads = [WORKLOADS[name] for name in names]
        self.outside, self.dns, self.transparent = outside or {}, dns, transparent or {}
        hosts = {host: address for name, address in SERVICES.items() for host in (name, f"{name}.default.svc.cluster.local")}
        self.mesh, self.replay = Mesh(hosts=hosts), replay(self.istiod)
        self.proxies, self.planes, self.pools, self.stack = {}, {}, {}, contextlib.ExitStack()

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.mesh)
            self.stack = stack
            self._start()
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    @property
    def pods(self):
        return self.mesh.pods

    def _start(self):
        folder = self.mesh.temp / "pki"
        self.ca, self.outside_ca, self.visitors = (Ca(folder, name) for name in ("mesh", "outside", "visitors"))
        self.server_cert = self.outside_ca.issue("server", san="DNS:edition.cnn.com,DNS:*.example.com,DNS:*.wikipedia.org")
        if self.dns:
            self.mesh.start_dns(self.dns)
        for name, told in self.outside.items():
            self.mesh.add_pod(name, address=told["address"], extra_addresses=told.get("extra", ()), redirect=False)
            self.serve(name, told.get("ports", {}))
        for one in self.workloads:
            pod = self.mesh.add_pod(one.name, address=one.address, redirect=one.redirect and one.name not in self.transparent)
            if one.name in self.transparent:
                self.transparent[one.name](pod)
            self.serve(one.name, one.ports)
            self.serve(one.name, {15020: "http"}, uid=PROXY, address="127.0.0.1")  # the agent
            self._start_control_plane(one)
        self.addresses = {address for pod in self.pods.values() for address in [pod.address, *pod.extra_addresses]}
        for one in self.workloads:
            self.endpoints(one.name, self.addresses)
            self.start_proxy(one.name)
        for one in self.workloads:
            self.wait_live(one.name)

    def serve(self, name, ports, uid=APP, **more):
        """Starts an application; its certificate for https is the one of the world outside."""
        pod, ports, cert = self.pods[name], dict(ports), self.server_cert
        tls = [str(self.visible(name, path)) for path in (cert.chain_path, cert.key_path)] if "https" in ports.values() else []
        by_library = {port for port, kind in ports.items() if kind in ("grpc", "h2")}
        plain = {port: kind for port, kind in ports.items() if port not in by_library}
        spec = {"name": name, "ports": plain, "tls": tls, **more}
        process = pod.popen([PYTHON, "-c", SERVER, json.dumps(spec)], uid=uid, name=f"server-{min(ports, default=0)}")
        if by_library:
            library = pod.popen([sys.executable, "-c", H2_SERVER, name], name="h2-server")
            pod.wait_port(9002, process=library)
        for port in plain:
            pod.wait_port(port, process=process)

    def _start_control_plane(self, one):
        """istiod and the agent's SDS on one socket; links because the names that the bootstrap has are too long for a socket."""
        pod = self.pods[one.name]
        for path in ("etc/istio/proxy/XDS", "var/run/secrets/workload-spiffe-uds/socket"):
            (pod.folder / path).parent.mkdir(parents=True)
            (pod.folder / path).symlink_to(pod.folder / "agent")
        plane = self.planes[one.name] = AdsServer(path=pod.folder / "agent")
        self.stack.callback(plane.close)
        (pod.folder / "agent").chmod(0o777)
        pool = self.pools[one.name] = self.replay.load(self.istiod / self.scenario / (one.capture or one.name))
        if one.name in self.envoys:
            for_plain_envoy(self.replay, pool)
        if one.name in self.edits:
            self.edits[one.name](pool)
        for kind in ("cluster", "listener", "route"):
            self._set(plane, kind, pool[URLS[kind]])
        self._set(plane, "secret", self._secrets(one))

    @staticmethod
    def _set(plane, kind, resources):
        with plane.lock:
            plane.resources[kind].update({name: (hashlib.sha1(one.value).hexdigest()[:10], one) for name, one in resources.items()})

    def _secrets(self, one):
        """What the agent's SDS has: the workload's own identity, and the files and roots that the captures name."""
        def of(cert: Cert, ca: Ca):
            folder = self.mesh.temp / "pki" / f"{one.name}-{Path(cert.chain_path).stem}-{ca.name}"
            folder.mkdir(exist_ok=True)
            for source, name in ((cert.chain_path, "server.crt"), (cert.key_path, "server.key"), (ca.cert_path, "ca.pem")):
                shutil.copyfile(source, folder / name)
            return self.replay.secrets(str(folder))
        own = of(self.ca.issue(one.app, uri=one.identity), self.ca)
        gateway, system = of(self.server_cert, self.visitors), of(self.server_cert, self.outside_ca)
        named = {"default": own["default"], "ROOTCA": own["ROOTCA"],
                 "file-cert:/etc/certs/server.crt~/etc/certs/server.key": gateway["default"],
                 "file-root:/etc/certs/ca.crt": gateway["ROOTCA"], "file-root:system": system["ROOTCA"]}
        out = {}
        for name, secret in named.items():
            secret.name = name
            out[name] = any_pb2.Any()
            out[name].Pack(secret)
        return out

    def endpoints(self, name, addresses):
        """Sends the pod the endpoints of its capture that have one of these addresses."""
        def keep(message):
            for locality in message.endpoints:
                kept = [one for one in locality.lb_endpoints if one.endpoint.address.socket_address.address in addresses]
                del locality.lb_endpoints[:]
                locality.lb_endpoints.extend(kept)
        plane, cls = self.planes[name], endpoint_pb2.ClusterLoadAssignment
        self._set(plane, "endpoints", {key: edited(one, cls, keep) for key, one in self.pools[name][URLS["endpoints"]].items()})
        for stream in list(plane.streams):
            stream.queue.put("push")

    def bootstrap(self, one, suffixes=()):
        made = json.loads((self.istiod / "bootstrap.json").read_text())
        kind = "sidecar" if one.redirect else "router"
        workload, labels = one.name.rsplit("-", 1)[0], {"app": one.app, "version": one.version, "security.istio.io/tlsMode": "istio"}
        labels |= {"service.istio.io/canonical-name": one.app, "service.istio.io/canonical-revision": one.version}
        made["node"]["id"] = f"{kind}~{one.address}~{one.name}.{one.namespace}~{one.namespace}.svc.cluster.local"
        made["node"]["cluster"] = f"{workload}.{one.namespace}"
        made["node"]["metadata"] |= {"NAME": one.name, "NAMESPACE": one.namespace, "INSTANCE_IPS": one.address, "SERVICE_ACCOUNT": one.app,
                                     "WORKLOAD_NAME": workload, "LABELS": labels,
                                     "INTERCEPTION_MODE": "TPROXY" if one.name in self.transparent else "REDIRECT"}
        made["stats_config"]["stats_matcher"]["inclusion_list"]["patterns"] += [{"suffix": one} for one in suffixes]
        return made

    def start_proxy(self, name, suffixes=()):
        """suffixes: of further stats, as EXIT_ON_ZERO_ACTIVE_CONNECTIONS or an annotation adds them."""
        one, pod = next(w for w in self.workloads if w.name == name), self.pods[name]
        (pod.folder / "etc/istio/proxy/envoy-rev.json").write_text(json.dumps(self.bootstrap(one, suffixes)))
        words = shlex.split((self.istiod / "command-line.txt").read_text())
        words[0] = self.mesh.install(ENVOY if name in self.envoys else PINNACE)
        log = self.mesh.temp / "logs" / f"{name}-proxy.log"
        log.touch()
        log.chmod(0o666)  # /dev/stdout is opened by name
        uid = PROXY
        if name in self.transparent:
            uid, capabilities = 0, "-all,+net_admin,+net_raw"
            words[:0] = ["setpriv", "--reuid=0", f"--regid={PROXY}", "--clear-groups", "--no-new-privs", f"--inh-caps={capabilities}",
                         f"--bounding-set={capabilities}", "--"]
        self.proxies[name] = pod.popen(words, uid=uid, name="proxy", log=log, cwd=pod.folder)

    def raw(self, name, target, method="GET", port=15000):
        """(status line, body) as the agent gets them."""
        done = self.pods[name].run([PYTHON, "-c", RAW_GET, port, target, method], uid=PROXY)
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        return (head.splitlines() or [done.stderr])[0], body

    def wait_live(self, name):
        """As pilot-agent decides that a pod is ready."""
        def live():
            if not self.proxies[name].alive or self.planes[name].nacks:
                pytest.fail(f"{name}: {self.planes[name].nacks}\n{tail(self.proxies[name])}")
            updates, state = (self.raw(name, check)[1] for check in AGENT_CHECKS)
            counts = dict(re.findall(r"(\w+\.\w+): (\d+)", updates))
            return ("server.state: 0" in state and "workers_started: 1" in state
                    and all(int(counts.get(key, 0)) for key in ("cds.update_success", "lds.update_success")))
        eventually(live, 20, f"{name} is live", 0.05)

    # ---- what tests ask
    def curl(self, name, url, *options, uid=APP):
        """(status, headers, what came: a document, or text); the status is curl's complaint when nothing came."""
        done = self.pods[name].run(["curl", "-sS", "-m", "10", "-i", *options, url], uid=uid, timeout=15)
        if done.returncode:
            return done.stderr.strip(), {}, ""
        head, _, body = done.stdout.replace("\r\n", "\n").partition("\n\n")
        if head.startswith("HTTP/1.1 100"):
            head, _, body = body.partition("\n\n")
        first, *lines = head.splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        return first.split()[1], headers, json.loads(body) if body.startswith("{") else body

    def visible(self, name, path):
        """A copy of the file that every user of the pod can read."""
        target = self.pods[name].folder / Path(path).name
        shutil.copyfile(path, target)
        target.chmod(0o644)
        return target

    def talk(self, name, host, port, line="a line", greeted=False, uid=APP):
        done = self.pods[name].run([PYTHON, "-c", TALK, host, port, line, "greeted" if greeted else "-"], uid=uid)
        return json.loads(done.stdout)

    def grpc(self, name, target):
        """By grpcio, for the interpreter of the tests; as root, who can read it wherever it is."""
        done = self.pods[name].run([sys.executable, "-c", GRPC_CLIENT, target], timeout=40)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def entries(self, name, *words):
        """The lines of the proxy's access log with all of these."""
        lines = [line for line in self.proxies[name].output().splitlines() if line.startswith("[20")]
        return [line for line in lines if all(word in line for word in words)]

    def logged(self, name, *words):
        """The one such line, once it is there; the log is written every second."""
        found = eventually(lambda: self.entries(name, *words), 10, f"an entry of {name} with {words}")
        assert len(found) == 1, found
        return found[0]

    def metrics(self, name, family, **labels):
        """[(labels, value)] of what Prometheus gets from the proxy, where these labels are so."""
        out = []
        for line in self.raw(name, "/stats/prometheus", port=15090)[1].splitlines():
            if line.startswith(family + "{"):
                text, value = line[len(family) + 1:].rsplit("} ", 1)
                has = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', text))
                if all(has.get(key) == value for key, value in labels.items()):
                    out.append((has, float(value)))
        return out
