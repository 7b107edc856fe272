"""What became of one request: the line that each proxy on its way logged, in order.

Sidecars keep the x-request-id of a request; a gateway gives it a new one. So lines are joined by the id, and across a
change of it by path and connection.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from demo.scene import WORKLOADS, Scene

FIELDS = ("time", "request", "code", "flags", "details", "termination", "failure", "received", "sent", "duration",
          "upstream_time", "forwarded_for", "agent", "request_id", "authority", "upstream_host", "cluster",
          "upstream_local", "downstream_local", "downstream_remote", "server_name", "route")
TOKEN = re.compile(r'\[[^\]]*\]|"(?:\\.|[^"\\])*"|\S+')
POD_OF_ADDRESS = {workload.address: workload.name for workload in WORKLOADS}


@dataclass(frozen=True)
class Hop:
    """One line of a proxy's access log in Istio's default format; absent values are '-'."""

    pod: str
    time: str
    request: str
    code: str
    flags: str
    details: str
    termination: str
    failure: str
    received: str
    sent: str
    duration: str
    upstream_time: str
    forwarded_for: str
    agent: str
    request_id: str
    authority: str
    upstream_host: str
    cluster: str
    upstream_local: str
    downstream_local: str
    downstream_remote: str
    server_name: str
    route: str

    @property
    def path(self) -> str:
        return self.request.split()[1] if len(self.request.split()) == 3 else "-"

    @property
    def direction(self) -> str:
        if self.cluster == "-":  # nothing was chosen: a connection to the pod's own address was coming in
            own = POD_OF_ADDRESS.get(self.downstream_local.rpartition(":")[0]) == self.pod
            return "inbound" if own else "outbound"
        return "inbound" if self.cluster.lower().startswith("inbound") else "outbound"

    @property
    def next_pod(self) -> str | None:
        """The pod of the endpoint that was chosen, when it has a proxy that comes next."""
        return None if self.direction == "inbound" else POD_OF_ADDRESS.get(self.upstream_host.rpartition(":")[0])


def parse(pod: str, line: str) -> Hop | None:
    tokens = [token.strip('"[]') if token[0] in '"[' else token for token in TOKEN.findall(line)]
    if not line.startswith("[") or len(tokens) != len(FIELDS):
        return None
    return Hop(pod, *tokens)


def logged(scene: Scene, pod: str) -> list[Hop]:
    hops = (parse(pod, line) for line in scene.proxies[pod].output().splitlines())
    return [hop for hop in hops if hop]


def follow(scene: Scene, first: Callable[[Hop], bool], count: int, deadline: float = 8.0) -> list[Hop]:
    """The hops of the request whose first line `first` recognises. Log lines come a little after the answer: waits
    until there are `count`, and returns what there is at the deadline."""
    until = time.monotonic() + deadline
    while True:
        hops = _chain(scene, first)
        if len(hops) >= count or time.monotonic() > until:
            return hops
        time.sleep(0.02)


def _chain(scene: Scene, first: Callable[[Hop], bool]) -> list[Hop]:
    found = [hop for pod in scene.proxies for hop in logged(scene, pod) if first(hop)]
    # A path may be logged by every proxy on the way: the first is the one that no other points at.
    pointed_at = {hop.next_pod for hop in found}
    found = [hop for hop in found if hop.pod not in pointed_at]
    hops = found[:1]
    while hops and hops[-1].next_pod:
        last = hops[-1]
        found = [hop for hop in logged(scene, last.next_pod) if _continues(last, hop)]
        if not found:
            break
        hops.append(found[0])
    return hops


def _continues(before: Hop, hop: Hop) -> bool:
    same_connection = hop.downstream_remote == before.upstream_local
    if before.path == "-":
        return same_connection
    return hop.path == before.path and (hop.request_id == before.request_id or same_connection)
