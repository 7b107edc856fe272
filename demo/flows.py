"""The requests that the demo sends, and what must become of each."""

import json
import re
import secrets
from dataclasses import dataclass, field

from demo.dumps import Behind, Dump
from demo.hops import Hop, follow
from demo.scene import (APP, CLIENT, EGRESS, FRONTEND, INGRESS, LEDGER, OUTSIDE, PARTNER, PYTHON, REVIEWS_V1,
                        REVIEWS_V2, WEATHER, Scene)

SPIFFE = "spiffe://cluster.local/ns/{}/sa/{}"
FRONTEND_ID = SPIFFE.format("default", "frontend")
PEER = re.compile(r"By=([^;]*);.*?URI=([^;,]*)")

# Prints its own end of the connection, what the server says by itself, and what it says to a line.
TCP_CLIENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5) as connection:
    print("%s:%d" % connection.getsockname())
    lines = connection.makefile("rw")
    print(lines.readline().strip())
    print("a line", file=lines, flush=True)
    print(lines.readline().strip())
"""


@dataclass
class Told:
    """A request and all that is known of it. `seen` is (peer's identity, own), as x-forwarded-client-cert tells the
    application."""

    title: str
    sender: str
    command: str
    hops: list[Hop] = field(default_factory=list)
    behind: list[Behind] = field(default_factory=list)
    seen: tuple[str, str] | None = None
    answer: str = ""
    checks: list[tuple[str, bool]] = field(default_factory=list)

    def check(self, what: str, holds: bool) -> None:
        self.checks.append((what, bool(holds)))

    @property
    def good(self) -> bool:
        return all(holds for _, holds in self.checks)


class Flows:
    """Each method sends one request and returns what became of it."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self._dumps: dict[str, Dump] = {}

    def dump(self, pod: str) -> Dump:
        if pod not in self._dumps:
            self._dumps[pod] = Dump(self.scene, pod)
        return self._dumps[pod]

    def ingress(self) -> Told:
        path = f"/?{secrets.token_hex(4)}"
        told = Told("Ingress: from outside the mesh to a service", CLIENT, f"curl http://shop.example.com{path}")
        document = self._curl(told, CLIENT, "http://shop.example.com" + path)
        self._trace(told, path, [(INGRESS, "outbound|9080||frontend.default.svc.cluster.local"),
                                 (FRONTEND, "inbound|9080||")])
        self._answered(told, document, "frontend")
        self._mutual(told, 0, SPIFFE.format("istio-system", "ingressgateway"), FRONTEND_ID)
        self._from(told, 0, "VirtualService default/shop", "Gateway default/shop-gateway", "Service default/frontend")
        self._from(told, 1, "PeerAuthentication default/default")
        return told

    def service_to_service(self) -> Told:
        path = f"/?{secrets.token_hex(4)}"
        told = Told("Service to service, HTTP", FRONTEND,
                    f"curl http://reviews:9080{path}   (by frontend's application)")
        document = self._call(told, "http://reviews:9080" + path)
        version = document.get("version", "v1")
        target = {"v1": REVIEWS_V1, "v2": REVIEWS_V2}[version]
        self._trace(told, path, [(FRONTEND, f"outbound|9080|{version}|reviews.default.svc.cluster.local"),
                                 (target, "inbound|9080||")])
        self._answered(told, document, "reviews")
        self._mutual(told, 0, FRONTEND_ID, SPIFFE.format("default", "reviews-" + version))
        self._from(told, 0, *(f"{kind} default/reviews" for kind in ("VirtualService", "DestinationRule", "Service")))
        self._from(told, 1, "PeerAuthentication default/default")
        return told

    def tcp(self) -> Told:
        told = Told("Service to service, TCP (the server speaks first)", FRONTEND, "connect ledger:7000, send a line")
        done = self.scene.pods[FRONTEND].run([PYTHON, "-c", TCP_CLIENT, "ledger", "7000"], uid=APP, timeout=20)
        own, *lines = done.stdout.splitlines() or [""]
        told.answer = " / ".join(lines) or (done.stderr.strip().splitlines() or ["nothing"])[-1]
        told.check("the server's greeting comes, then its echo", lines == ["hello from ledger v1", "a line"])
        told.hops = follow(self.scene, lambda hop: hop.pod == FRONTEND and hop.downstream_remote == own, 2)
        self._compare(told, [(FRONTEND, "outbound|7000||ledger.default.svc.cluster.local"),
                             (LEDGER, "inbound|7000||")])
        self._mutual(told, 0, FRONTEND_ID, SPIFFE.format("default", "ledger"))
        self._from(told, 0, "Service default/ledger")
        self._from(told, 1, "PeerAuthentication default/default")
        return told

    def egress_registered(self) -> Told:
        path = f"/?{secrets.token_hex(4)}"
        told = Told("Egress to a registered host, through the egress gateway", FRONTEND,
                    f"curl http://partner.example.com{path}   (by frontend's application)")
        document = self._call(told, "http://partner.example.com" + path)
        self._trace(told, path, [
            (FRONTEND, "outbound|443|partner|egressgateway.istio-system.svc.cluster.local"),
            (EGRESS, "outbound|443||partner.example.com")], end=f"{OUTSIDE[PARTNER]}:443")
        self._answered(told, document, "partner")
        self._mutual(told, 0, FRONTEND_ID, SPIFFE.format("istio-system", "egressgateway"))
        self._from(told, 0, "VirtualService default/partner-x", "DestinationRule default/partner-x")
        self._from(told, 1, "VirtualService default/partner-y", "Gateway default/partner-gateway",
                   "DestinationRule default/partner-y", "ServiceEntry host partner.example.com")
        tls = document.get("tls", {})
        told.answer += f", over {tls.get('version', 'plain text')}"
        told.check("the gateway speaks TLS to the partner, by its name", tls.get("sni") == "partner.example.com")
        return told

    def egress_unregistered(self) -> Told:
        path = f"/?{secrets.token_hex(4)}"
        told = Told("Egress to a host that nobody registered", FRONTEND,
                    f"curl http://weather.example.org{path}   (by frontend's application)")
        document = self._call(told, "http://weather.example.org" + path)
        self._trace(told, path, [(FRONTEND, "PassthroughCluster")], end=f"{OUTSIDE[WEATHER]}:80")
        self._answered(told, document, "weather")
        told.check("it goes straight out, by the rule for unknown hosts",
                   [hop.route for hop in told.hops] == ["allow_any"])
        return told

    def plain_refused(self) -> Told:
        address = self.scene.pods[REVIEWS_V1].address
        told = Told("STRICT: plain text from outside the mesh", CLIENT, f"curl http://{address}:9080/")
        before = self.scene.apps[REVIEWS_V1].output()
        done = self.scene.pods[CLIENT].run(
            ["curl", "-sS", "-m", "5", "-w", "\n%{local_ip}:%{local_port}", f"http://{address}:9080/"], uid=APP)
        own = done.stdout.splitlines()[-1]
        told.hops = follow(self.scene, lambda hop: hop.downstream_remote == own, 1)
        told.answer = done.stderr.strip() or done.stdout.splitlines()[0]
        told.check("the connection ends without an answer",
                   done.returncode in (52, 56) and done.stdout.strip() == own)
        told.check("the proxy names the reason: NR filter_chain_not_found",
                   [(hop.pod, hop.flags, hop.details) for hop in told.hops]
                   == [(REVIEWS_V1, "NR", "filter_chain_not_found")])
        told.check("the application saw nothing of it", self.scene.apps[REVIEWS_V1].output() == before)
        return told

    def split(self, count: int) -> dict[str, int]:
        """`count` requests of frontend to reviews; how many each version answered."""
        done = self.scene.pods[FRONTEND].run(
            ["curl", "-sS", "-m", "30", "-o", "/dev/null", "-w", "%{http_code} %header{x-served-by}\n",
             f"http://reviews:9080/?[1-{count}]"], uid=APP, timeout=40)
        lines = done.stdout.splitlines()
        return {line: lines.count(line) for line in sorted(set(lines))}

    def _curl(self, told: Told, pod: str, url: str, *more: str) -> dict:
        argv = ["curl", "-sS", "-m", "15", "-w", "\n%{http_code}", *more, url]
        done = self.scene.pods[pod].run(argv, uid=APP, timeout=20)
        body, _, code = done.stdout.rpartition("\n")
        told.answer = code if code != "000" else done.stderr.strip()
        told.check("the answer is 200", code == "200")
        try:
            return json.loads(body)
        except ValueError:
            return {}

    def _call(self, told: Told, url: str) -> dict:
        """The application of frontend makes the call; it is asked to from within its own pod, past the proxy."""
        asked = self._curl(Told("", "", ""), FRONTEND, f"http://127.0.0.1:9080/call?url={url}", "--globoff")
        outer = asked.get("call", {})
        told.answer = str(outer.get("status", outer.get("error", "no answer")))
        told.check("the answer is 200", outer.get("status") == 200)
        return outer["body"] if isinstance(outer.get("body"), dict) else {}

    def _trace(self, told: Told, path: str, expected: list[tuple[str, str]], end: str | None = None) -> None:
        told.hops = follow(self.scene, lambda hop: hop.path == path, len(expected))
        self._compare(told, expected)
        if end:
            told.check(f"the last endpoint is {end}", told.hops and told.hops[-1].upstream_host == end)

    def _compare(self, told: Told, expected: list[tuple[str, str]]) -> None:
        told.behind = [self.dump(hop.pod).behind(hop) for hop in told.hops]
        for near, far, behind in zip(told.hops, told.hops[1:], told.behind):
            behind.client, behind.server = (" and ".join(self.dump(hop.pod).identities()) for hop in (near, far))
        told.check("every hop is there: " + ", ".join(pod for pod, _ in expected),
                   [(hop.pod, hop.cluster) for hop in told.hops] == expected)

    def _answered(self, told: Told, document: dict, service: str) -> None:
        headers = dict(document.get("headers", []))
        peer = PEER.search(headers.get("x-forwarded-client-cert", ""))
        told.seen = (peer[2], peer[1]) if peer else None
        told.answer += f" from {document.get('service', '?')} {document.get('version', '')}".rstrip()
        told.check(f"{service} answers", document.get("service") == service)
        if told.hops:
            told.check("the application sees the x-request-id of the last hop",
                       headers.get("x-request-id") == told.hops[-1].request_id)

    def _mutual(self, told: Told, index: int, client: str, server: str) -> None:
        """Hop `index` reached the next by mTLS: the client asked for the server's identity, each holds its own, and
        the server saw the client's."""
        if len(told.hops) < index + 2:
            return told.check(f"mTLS {client} -> {server}", False)
        hop = told.behind[index]
        told.check("mTLS: the server's identity is asked for", hop.transport == "mTLS" and server in hop.sans)
        told.check("mTLS: each side holds its own identity", (hop.client, hop.server) == (client, server))
        if told.seen:
            told.check("mTLS: the server saw the client's identity", told.seen == (client, server))
        elif told.hops[index].path != "-":
            told.check("x-forwarded-client-cert reached the application", False)

    def _from(self, told: Told, index: int, *resources: str) -> None:
        behind = told.behind[index].route + told.behind[index].cluster if index < len(told.behind) else []
        told.check(f"hop {index + 1} comes from {', '.join(resources)}", set(resources) <= set(behind))
