"""A real xDS control plane on grpcio: ADS and SDS, delta and state-of-the-world, scripted by the test.

    ads = AdsServer(); ads.set("cluster", {...}, {...}); ads.wait("cluster") → None, or the text of the NACK
A named resource that is not there is not answered, so that warming can be watched. Thread-safe.
"""
import hashlib
import json
import queue
import threading
import time
from concurrent import futures

import grpc
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import extension_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.access_loggers.file.v3 import file_pb2  # noqa: F401
from envoy.extensions.compression.gzip.compressor.v3 import gzip_pb2  # noqa: F401
from envoy.extensions.filters.http.compressor.v3 import compressor_pb2  # noqa: F401
from envoy.extensions.filters.http.cors.v3 import cors_pb2  # noqa: F401
from envoy.extensions.filters.http.grpc_web.v3 import grpc_web_pb2  # noqa: F401
from envoy.extensions.filters.http.lua.v3 import lua_pb2  # noqa: F401
from envoy.extensions.filters.http.wasm.v3 import wasm_pb2  # noqa: F401
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2  # noqa: F401
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2  # noqa: F401
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2  # noqa: F401
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2  # noqa: F401
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from envoy.extensions.network.dns_resolver.cares.v3 import cares_dns_resolver_pb2  # noqa: F401
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2  # noqa: F401
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2  # noqa: F401
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2  # noqa: F401
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2  # noqa: F401
from envoy.service.discovery.v3 import discovery_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import any_pb2, json_format

from .wait import eventually, free_port

TYPES = {"cluster": cluster_pb2.Cluster, "endpoints": endpoint_pb2.ClusterLoadAssignment, "listener": listener_pb2.Listener,
         "route": route_pb2.RouteConfiguration, "secret": secret_pb2.Secret, "runtime": rtds_pb2.Runtime,
         "extension": extension_pb2.TypedExtensionConfig}
URLS = {kind: "type.googleapis.com/" + cls.DESCRIPTOR.full_name for kind, cls in TYPES.items()}
KINDS = {url: kind for kind, url in URLS.items()}
WILDCARD = ("cluster", "listener")


def secret_cert(name, cert):
    return {"name": name, "tls_certificate": {"certificate_chain": {"inline_string": cert.chain},
                                              "private_key": {"inline_string": cert.key}}}


def secret_ca(name, pem):
    return {"name": name, "validation_context": {"trusted_ca": {"inline_string": pem}}}


class Stream:
    def __init__(self, delta):
        self.delta, self.queue, self.types, self.node, self.requests = delta, queue.Queue(), {}, None, []


class Watch:
    """What one stream asked for of one type."""

    def __init__(self):
        self.names, self.wildcard, self.sent, self.nonce, self.acked, self.error = set(), False, {}, "", "", None


class AdsServer:
    def __init__(self, path=None, record=True):
        """path: a unix socket instead of a port."""
        self.address = path or free_port()
        self.target = f"unix:{path}" if path else f"127.0.0.1:{self.address}"
        self.lock = threading.RLock()
        self.resources = {kind: {} for kind in TYPES}  # kind → name → (version, Any)
        self.version, self.streams, self.nacks, self.opened, self.server = 0, [], [], 0, None
        self.start()

    # ---- the test's side
    def set(self, kind, *resources):
        self.change({kind: resources})

    def change(self, sets=None, removes=None):
        """One push: {kind: [dicts]} set, {kind: [names]} removed."""
        with self.lock:
            for kind, resources in (sets or {}).items():
                for resource in resources:
                    # Only a bootstrap knows where its proxy's log is.
                    text = json.dumps(resource).replace("@ACCESS_LOG@", "/dev/null")
                    message = json_format.Parse(text, TYPES[kind]())
                    packed = any_pb2.Any()
                    packed.Pack(message, deterministic=True)
                    name = resource.get("cluster_name") or resource["name"]
                    self.resources[kind][name] = (hashlib.sha1(packed.value).hexdigest()[:10], packed)
            for kind, names in (removes or {}).items():
                for name in names:
                    self.resources[kind].pop(name, None)
            self.version += 1
            for stream in self.streams:
                stream.queue.put("push")

    def remove(self, kind, *names):
        self.change(removes={kind: names})

    def wait(self, kind, timeout=10):
        """Waits until every stream has answered the last push of the kind; returns its NACK's text or None."""
        def answered():
            with self.lock:
                watches = [s.types[kind] for s in self.streams if kind in s.types]
                idle = all(s.queue.empty() for s in self.streams)
                # Only what was asked for can be waited for; a push that changes nothing sends nothing.
                if idle and watches and all(w.nonce and w.acked == w.nonce and not self._pending(s, kind)
                                            for s in self.streams for k, w in s.types.items() if k == kind):
                    return [next((w.error for w in watches if w.error), None)]
        return eventually(answered, timeout, f"{kind}: answer to the last push; NACKs so far {self.nacks}")[0]

    def wait_stream(self, timeout=15):
        return eventually(lambda: list(self.streams), timeout, "a proxy at the control plane")

    def subscribed(self, kind):
        with self.lock:
            return set().union(*[s.types[kind].names for s in self.streams if kind in s.types] or [set()])

    def _pending(self, stream, kind):
        watch = stream.types[kind]
        current = {n: v for n, (v, _) in self.resources[kind].items() if watch.wildcard or n in watch.names}
        return stream.delta and any(watch.sent.get(n) != v for n, v in current.items())

    def start(self):
        self.server = grpc.server(futures.ThreadPoolExecutor(max_workers=40))
        delta, sotw = discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DiscoveryRequest

        def handler(serve, request):
            return grpc.stream_stream_rpc_method_handler(serve, request.FromString, lambda m: m.SerializeToString())
        self.server.add_generic_rpc_handlers((
            grpc.method_handlers_generic_handler("envoy.service.discovery.v3.AggregatedDiscoveryService", {
                "DeltaAggregatedResources": handler(lambda i, x: self._serve(i, x, True), delta),
                "StreamAggregatedResources": handler(lambda i, x: self._serve(i, x, False), sotw)}),
            grpc.method_handlers_generic_handler("envoy.service.secret.v3.SecretDiscoveryService", {
                "DeltaSecrets": handler(lambda i, x: self._serve(i, x, True), delta),
                "StreamSecrets": handler(lambda i, x: self._serve(i, x, False), sotw)})))
        eventually(lambda: self.server.add_insecure_port(self.target) or True, 5)
        self.server.start()

    def stop(self):
        """Dead at once, streams and all, like a killed process."""
        with self.lock:
            for stream in self.streams:
                stream.queue.put(None)
        self.server.stop(0).wait(5)
        eventually(lambda: not self.streams, 5, "streams gone")

    def restart(self):
        self.stop()
        self.start()

    def close(self):
        self.server.stop(0)
        with self.lock:
            for stream in self.streams:
                stream.queue.put(None)

    # ---- the proxy's side
    def _serve(self, requests, context, delta):
        stream = Stream(delta)
        with self.lock:
            self.streams.append(stream)
            self.opened += 1

        def read():
            try:
                for request in requests:
                    stream.queue.put(request)
            except grpc.RpcError:
                pass
            except Exception:  # noqa: BLE001 — grpc raises a bare Exception when the call was cancelled
                pass
            stream.queue.put(None)
        threading.Thread(target=read, daemon=True).start()
        try:
            while (item := stream.queue.get()) is not None:
                with self.lock:
                    out = self._push(stream) if item == "push" else self._receive(stream, item)
                yield from out
        finally:
            with self.lock:
                self.streams.remove(stream)

    def _receive(self, stream, request):
        stream.requests.append((time.monotonic(), request))
        stream.node = stream.node or request.node
        kind = KINDS.get(request.type_url)
        if kind is None:
            return []
        first = kind not in stream.types
        watch = stream.types.setdefault(kind, Watch())
        if request.response_nonce:
            if request.response_nonce == watch.nonce:
                watch.acked = watch.nonce
                watch.error = request.error_detail.message if request.HasField("error_detail") else None
            if request.HasField("error_detail"):
                self.nacks.append((kind, request.error_detail.message))
        if stream.delta:
            return self._receive_delta(stream, kind, watch, request, first)
        names = set(request.resource_names)
        changed = names != watch.names
        watch.names, watch.wildcard = names, kind in WILDCARD and not names
        if request.response_nonce and request.response_nonce != watch.nonce:
            return []
        return self._sotw(stream, kind) if first or changed else []

    def _receive_delta(self, stream, kind, watch, request, first):
        new = set(request.resource_names_subscribe)
        watch.names |= new - {"*"}
        watch.names -= set(request.resource_names_unsubscribe)
        for name in request.resource_names_unsubscribe:
            watch.sent.pop(name, None)
        if "*" in new or (first and not new and kind in WILDCARD):
            watch.wildcard = True
        if first:
            watch.sent.update(request.initial_resource_versions)
        for name in new:
            if name not in request.initial_resource_versions:
                watch.sent.pop(name, None)
        return self._delta(stream, kind, force=first and watch.wildcard)

    def _push(self, stream):
        out = []
        for kind in TYPES:
            if kind in stream.types:
                out += self._delta(stream, kind) if stream.delta else self._sotw(stream, kind, only_changed=True)
        return out

    def _delta(self, stream, kind, force=False):
        watch = stream.types[kind]
        current = {n: r for n, r in self.resources[kind].items() if watch.wildcard or n in watch.names}
        response = discovery_pb2.DeltaDiscoveryResponse(type_url=URLS[kind], system_version_info=str(self.version))
        for name, (version, packed) in current.items():
            if watch.sent.get(name) != version:
                response.resources.add(name=name, version=version).resource.CopyFrom(packed)
                watch.sent[name] = version
        gone = [n for n in watch.sent if n not in current]
        for name in gone:
            del watch.sent[name]
        response.removed_resources.extend(gone)
        if not force and not response.resources and not gone:
            return []
        watch.nonce = response.nonce = self._nonce()
        return [response]

    def _sotw(self, stream, kind, only_changed=False):
        watch = stream.types[kind]
        current = {n: r for n, r in self.resources[kind].items() if watch.wildcard or n in watch.names}
        versions = {n: v for n, (v, _) in current.items()}
        if (only_changed and versions == watch.sent) or (not current and not watch.wildcard):
            return []
        watch.sent = versions
        response = discovery_pb2.DiscoveryResponse(type_url=URLS[kind], version_info=str(self.version), nonce=self._nonce())
        response.resources.extend(packed for _, packed in current.values())
        watch.nonce = response.nonce
        return [response]

    def _nonce(self):
        self.nonces = getattr(self, "nonces", 0) + 1
        return f"n{self.nonces}"


SERVICES = {"cluster": "cluster.v3.ClusterDiscoveryService/Clusters", "endpoints": "endpoint.v3.EndpointDiscoveryService/Endpoints",
            "listener": "listener.v3.ListenerDiscoveryService/Listeners", "route": "route.v3.RouteDiscoveryService/Routes",
            "runtime": "runtime.v3.RuntimeDiscoveryService/Runtime"}


class ScriptedServer(AdsServer):
    """An AdsServer that serves every type over a service of its own too, says whatever a test puts into its mouth, may say no,
    and keeps all requests of all streams.

    versionless: resources have no version, as istiod's. silent: kinds that are never answered.
    """

    def __init__(self, versionless=False, silent=(), **options):
        self.versionless, self.silent, self.requests, self.calls, self.refusal = versionless, silent, [], [], None
        super().__init__(**options)

    def start(self):
        super().start()
        for kind, name in SERVICES.items():
            service, _, plural = ("envoy.service." + name).partition("/")
            self.server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {
                "Stream" + plural: self._handler(kind, False), "Delta" + plural: self._handler(kind, True)}),))

    def _handler(self, kind, delta):
        request = discovery_pb2.DeltaDiscoveryRequest if delta else discovery_pb2.DiscoveryRequest

        def serve(requests, context):
            self.calls.append((kind, delta))
            yield from self._serve((r for r in requests if r.type_url == URLS[kind]), context, delta)
        return grpc.stream_stream_rpc_method_handler(serve, request.FromString, lambda m: m.SerializeToString())

    def _serve(self, requests, context, delta):
        if self.refusal:
            self.refused = getattr(self, "refused", 0) + 1
            context.abort(grpc.StatusCode.UNAVAILABLE, self.refusal)
        yield from super()._serve(requests, context, delta)

    def _receive(self, stream, item):
        if callable(item):
            return item(stream)
        with self.lock:
            self.requests.append((stream, item))
        return [] if KINDS.get(item.type_url) in self.silent else super()._receive(stream, item)

    def _pending(self, stream, kind):
        watch = stream.types[kind]
        current = {n: v for n, (v, _) in self.resources[kind].items() if watch.wildcard or n in watch.names}
        return watch.sent != current and bool(stream.delta or current or watch.wildcard)

    def _delta(self, stream, kind, force=False):
        out = super()._delta(stream, kind, force)
        for resource in (r for response in out for r in response.resources if self.versionless):
            resource.version = ""
        return out

    def say(self, kind, *resources, removed=(), timeout=10):
        """One response as given, beside what is set: dicts, or (name, Any). Returns the text of the NACK, or None."""
        with self.lock:
            nonce, url = self._nonce(), URLS.get(kind, kind)
        items = [r if isinstance(r, tuple) else (r.get("cluster_name") or r["name"], self.packed(kind, r)) for r in resources]

        def speak(stream):
            watch = stream.types.setdefault(kind, Watch())
            watch.nonce = nonce
            if not stream.delta:
                return [discovery_pb2.DiscoveryResponse(type_url=url, version_info=nonce, nonce=nonce, resources=[r for _, r in items])]
            response = discovery_pb2.DeltaDiscoveryResponse(type_url=url, system_version_info=nonce, nonce=nonce, removed_resources=removed)
            for name, resource in items:
                response.resources.add(name=name, version=nonce).resource.CopyFrom(resource)
            return [response]
        with self.lock:
            for stream in self.streams:
                if kind in stream.types or kind not in URLS:
                    stream.queue.put(speak)
        if kind in URLS:
            answer = eventually(lambda: self.answers(nonce), timeout, f"{kind}: an answer to what was said")[0]
            return answer.error_detail.message if answer.HasField("error_detail") else None

    @staticmethod
    def packed(kind, resource):
        out = any_pb2.Any()
        out.Pack(json_format.Parse(json.dumps(resource).replace("@ACCESS_LOG@", "/dev/null"), TYPES[kind]()), deterministic=True)
        return out

    def answers(self, nonce):
        with self.lock:
            return [r for _, r in self.requests if r.response_nonce == nonce]

    def requests_of(self, kind, stream=None):
        with self.lock:
            return [r for s, r in self.requests if r.type_url == URLS[kind] and stream in (None, s)]

    def check_requests(self):
        """What istiod relies on: no answer and change of subscription in one message, the node in the first message of a
        stream only, a NACK with the version that is in force."""
        with self.lock:
            requests = list(self.requests)
        started, last, accepted = set(), {}, {}
        for stream, request in requests:
            assert request.HasField("node") == (stream not in started), f"node: {request}"
            started.add(stream)
            if stream.delta:
                changes = [*request.resource_names_subscribe, *request.resource_names_unsubscribe, *request.initial_resource_versions]
                assert not (request.response_nonce and changes), f"an answer and a change of subscription in one message: {request}"
                continue
            nonce, names = last.get((stream, request.type_url), ("", None))
            if request.response_nonce != nonce and names is not None:
                assert names == set(request.resource_names), f"an answer and a change of subscription in one message: {request}"
            last[stream, request.type_url] = (request.response_nonce, set(request.resource_names))
            if request.HasField("error_detail"):
                in_force = accepted.get((stream, request.type_url), request.version_info)
                assert request.version_info == in_force, f"a NACK must tell the version in force, {in_force}: {request}"
            else:
                accepted[stream, request.type_url] = request.version_info
