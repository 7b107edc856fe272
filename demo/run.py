"""The demo: a small mesh on this machine, requests in all three directions, and what became of each.

Usage: python3 -m demo.run [--keep] [--build build/release]
Exit status 0 only if every flow behaved as it must.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from demo.dumps import Dump
from demo.flows import Flows, Told
from demo.pods import PodsUnavailable, Terminated
from demo.scene import CLIENT, FRONTEND, WORKLOADS, Programs, Scene, tail
from demo.show import Show

REVIEWS = "reviews.default.svc.cluster.local"
REQUESTS = 200
TOLERANCE = 20  # of 200 requests: three and a half standard deviations and more
GOAL_KB = 30_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m demo.run", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", default=os.environ.get("KEEP", "") not in ("", "0"),
                        help="leave the mesh running until Ctrl-C (KEEP=1 does the same)")
    parser.add_argument("--build", type=Path, default=Path("build/release"), metavar="DIR",
                        help="where bin/pinnace is (build/release)")
    wanted = parser.parse_args()
    show = Show()
    try:
        with Scene(Programs.of_build(wanted.build), show.progress) as scene:
            good = demonstrate(scene, show)
            if wanted.keep:
                keep(scene, show)
        show.progress("all of it is gone again")
        return 0 if good else 1
    except Terminated as ended:
        return 128 + ended.number
    except KeyboardInterrupt:
        return 130
    except (PodsUnavailable, FileNotFoundError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, TimeoutError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def demonstrate(scene: Scene, show: Show) -> bool:
    flows = Flows(scene)
    stories = [flows.ingress, flows.service_to_service, flows.tcp, flows.egress_registered, flows.egress_unregistered,
               flows.plain_refused]
    good = True
    for number, story in enumerate(stories, 1):
        told = story()
        show.told(number, told)
        if not told.good:
            show_logs(scene, show, told)
        good &= told.good
    good &= move_weight(scene, flows, show, len(stories) + 1)
    good &= memory(scene, show, len(stories) + 2)
    show.line()
    show.verdict("every flow behaved" if good else "not every flow behaved", good)
    return good


def show_logs(scene: Scene, show: Show, told: Told) -> None:
    """What went wrong is likely to stand in the logs of the proxies on the way, which are gone at the end."""
    for pod in dict.fromkeys([told.sender, *(hop.pod for hop in told.hops)]):
        if pod in scene.proxies:
            show.line(f"  log of {pod}, its end:")
            for line in tail(scene.proxies[pod], 6).splitlines():
                show.line("    " + line)


def move_weight(scene: Scene, flows: Flows, show: Show, number: int) -> bool:
    show.heading(f"{number}. A weight moves: reviews-split.yaml, {REQUESTS} requests of frontend before and after")
    before = flows.split(REQUESTS)
    scene.edit("reviews-split.yaml", ("weight: 90", "weight: 20"), ("weight: 10", "weight: 80"))
    took = wait_for_weights(scene, [20, 80])
    after = flows.split(REQUESTS)
    rows = [("weights v1/v2", "v1", "v2", "failed")]
    good = True
    for name, counts, share in (("90/10", before, 0.1), ("20/80", after, 0.8)):
        v1, v2 = counts.get("200 reviews-v1", 0), counts.get("200 reviews-v2", 0)
        rows.append((name, v1, v2, sum(counts.values()) - v1 - v2))
        good &= v1 + v2 == REQUESTS and abs(v2 - share * REQUESTS) <= TOLERANCE
    show.table(rows)
    show.verdict(f"in force {took * 1000:.0f} ms after the edit" if took else "the new weights never came", took > 0)
    show.verdict(f"both splits as asked for, within {TOLERANCE} of {REQUESTS}, nothing failed", good)
    return good and took > 0


def wait_for_weights(scene: Scene, weights: list[int], deadline: float = 15.0) -> float:
    """Seconds until frontend's proxy routes so; 0 if it never does."""
    start = time.monotonic()
    while time.monotonic() < start + deadline:
        if list(Dump(scene, FRONTEND).weights(REVIEWS).values()) == weights:
            return time.monotonic() - start
        time.sleep(0.02)
    return 0.0


def memory(scene: Scene, show: Show, number: int) -> bool:
    show.heading(f"{number}. Resident memory of each proxy, goal {GOAL_KB / 1000:.0f} MB")
    used = {workload.name: scene.resident_kib(workload.name) * 1.024 for workload in WORKLOADS}
    show.table([("proxy", "MB"), *((name, round(kb / 1000, 1)) for name, kb in used.items())])
    good = max(used.values()) <= GOAL_KB
    show.verdict("none above the goal", good)
    return good


def keep(scene: Scene, show: Show) -> None:
    enter = "python3 -m demo.pods exec"
    show.heading("The mesh stays up until Ctrl-C. In another terminal, from the same folder:")
    for text in (
        f"{enter} {CLIENT} -- curl -s http://shop.example.com/",
        f"{enter} {FRONTEND} -- curl -s http://reviews:9080/",
        f"{enter} {FRONTEND} -- curl -s http://partner.example.com/",
        f"{enter} {FRONTEND} -- curl -s http://weather.example.org/",
        f"{enter} {FRONTEND} -- curl -sN telnet://ledger:7000",
        f"{enter} --uid 1337 {FRONTEND} -- curl -sg 'localhost:15000/config_dump?resource={{dynamic_route_configs}}'",
        f"tail -f {scene.mesh.temp}/logs/{FRONTEND}-proxy.log",
        f"$EDITOR {scene.config}/reviews-split.yaml      (the translator watches the folder)",
        "python3 -m demo.pods list",
    ):
        show.line(f"  {text}")
    try:
        while True:
            signal.pause()
    except KeyboardInterrupt as ended:
        if isinstance(ended, Terminated):
            raise
        show.line()


if __name__ == "__main__":
    sys.exit(main())
