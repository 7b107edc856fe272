"""Which Kubernetes or Istio resource stands behind a hop's decisions, as the proxy's own config_dump tells it."""

import json
import re
from dataclasses import dataclass, field

from demo.hops import Hop
from demo.scene import Scene

CONFIG = re.compile(r".*/namespaces/([^/]+)/([^/]+)/([^/]+)")
KINDS = {"virtual-service": "VirtualService", "destination-rule": "DestinationRule"}


@dataclass
class Behind:
    """route, cluster   the resources, as "Kind namespace/name"
    sans                the SPIFFE ids of which the peer must show one; empty when the peer is not asked
    transport           "mTLS", "TLS" or "plain": towards the endpoint (outbound), or all that is taken (inbound)
    client, server      the identities in the certificates that the two proxies of an mTLS hop hold
    """

    route: list[str] = field(default_factory=list)
    cluster: list[str] = field(default_factory=list)
    sans: list[str] = field(default_factory=list)
    transport: str = "plain"
    client: str = ""
    server: str = ""


class Dump:
    """One proxy's configuration at one moment."""

    def __init__(self, scene: Scene, pod: str):
        self.pod = pod
        self.by_type = {part["@type"].rpartition(".")[2]: part
                        for part in json.loads(scene.admin(pod, "/config_dump?include_eds"))["configs"]}
        self.yaml = "\n---\n".join(path.read_text() for path in sorted(scene.config.glob("*.yaml")))
        self.certificates = json.loads(scene.admin(pod, "/certs"))["certificates"]

    def behind(self, hop: Hop) -> Behind:
        found = Behind()
        cluster = self.cluster(hop.cluster)
        istio = istio_metadata(cluster)
        if "config" in istio:
            found.cluster.append(resource(istio["config"]))
        for service in istio.get("services", []):
            kind = "ServiceEntry host" if istio.get("external") else "Service"
            name = service["host"] if istio.get("external") else f"{service['namespace']}/{service['name']}"
            found.cluster.append(f"{kind} {name}")
        if hop.direction == "inbound":
            found.transport = "plain" if self.takes_plain_text() else "mTLS"
            if found.transport == "mTLS":
                found.route = ["PeerAuthentication " + name for name in self._named("PeerAuthentication")]
        else:
            found.route = self._route(hop)
            found.transport, found.sans = transport_of(cluster)
        return found

    def cluster(self, name: str) -> dict:
        part = self.by_type["ClustersConfigDump"]
        for entry in part.get("dynamic_active_clusters", []) + part.get("static_clusters", []):
            if entry["cluster"]["name"] == name:
                return entry["cluster"]
        return {}

    def routes(self) -> list[tuple[str, dict]]:
        """Every route with the name of its table."""
        tables = [entry["route_config"] for entry in self.by_type["RoutesConfigDump"].get("dynamic_route_configs", [])]
        return [(table["name"], route) for table in tables
                for host in table.get("virtual_hosts", []) for route in host.get("routes", [])]

    def weights(self, cluster: str) -> dict[str, int]:
        """Of the route that splits between subsets of `cluster` (a host), by cluster name."""
        for _, route in self.routes():
            clusters = route.get("route", {}).get("weighted_clusters", {}).get("clusters", [])
            if clusters and clusters[0]["name"].endswith("|" + cluster):
                split = {one["name"]: one["weight"] for one in clusters}
                if all(self.cluster(name) for name in split):
                    return split
        return {}

    def takes_plain_text(self) -> bool:
        for entry in self.by_type["ListenersConfigDump"].get("dynamic_listeners", []):
            listener = entry["active_state"]["listener"]
            if listener["name"] == "virtualInbound":
                chains = [c for c in listener["filter_chains"] if c.get("name") != "virtualInbound-blackhole"]
                return any("transport_socket" not in chain for chain in chains)
        return True

    def identities(self) -> list[str]:
        """The SPIFFE ids in the certificates that the proxy holds."""
        return sorted({name["uri"] for one in self.certificates for chain in one.get("cert_chain", [])
                       for name in chain.get("subject_alt_names", []) if "uri" in name})

    def _route(self, hop: Hop) -> list[str]:
        for table, route in self.routes():
            action = route.get("route", {})
            names = [one["name"] for one in action.get("weighted_clusters", {}).get("clusters", [])]
            if hop.cluster not in [action.get("cluster"), *names]:
                continue
            if "config" not in (istio := istio_metadata(route)):
                return ["no rule: " + hop.route] if hop.route not in ("-", "default") else []
            rule = resource(istio["config"])
            return [rule, *(f"Gateway default/{name}" for name in self._gateways_of(rule))]
        return []

    def _gateways_of(self, rule: str) -> list[str]:
        name = rule.rpartition("/")[2]
        for document in self.yaml.split("\n---\n"):
            if "kind: VirtualService" in document and f"{{name: {name}, " in document:
                names = re.search(r"gateways: \[([^\]]*)\]", document)
                return [one for one in re.split(", *", names[1]) if one != "mesh"] if names else []
        return []

    def _named(self, kind: str) -> list[str]:
        return [f"{ns}/{name}" for name, ns in
                re.findall(rf"kind: {kind}\nmetadata: {{name: ([\w-]+), namespace: ([\w-]+)", self.yaml)]


def istio_metadata(thing: dict) -> dict:
    return thing.get("metadata", {}).get("filter_metadata", {}).get("istio", {})


def resource(path: str) -> str:
    found = CONFIG.fullmatch(path)
    return f"{KINDS.get(found[2], found[2])} {found[1]}/{found[3]}" if found else path


def transport_of(cluster: dict) -> tuple[str, list[str]]:
    sockets = [match["transport_socket"] for match in cluster.get("transport_socket_matches", [])[:1]]
    sockets += [cluster["transport_socket"]] if "transport_socket" in cluster else []
    for socket in sockets:
        context = socket.get("typed_config", {}).get("common_tls_context", {})
        validation = context.get("combined_validation_context", {}).get("default_validation_context", {})
        sans = [match["exact"] for match in validation.get("match_subject_alt_names", []) if "exact" in match]
        return ("mTLS" if context.get("tls_certificate_sds_secret_configs") else "TLS"), sans
    return "plain", []
