"""For each push that a real istiod sent: pinnace and a real Envoy fed with it decide the same about hundreds of generated requests.

Compared are listener and chain, route, cluster and endpoint, the request as the origin gets it, and what the client gets. What is known
to differ, and why, is in quirks.py.
"""
import copy
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
from decisions import Pods  # noqa: E402
from generated import Requests  # noqa: E402
from quirks import QUIRKS, explained  # noqa: E402
from test_captured import CAPTURES  # noqa: E402

FEW = 40  # So many differences count only when they show a second time, with more patience: the machine may have been busy.
OWN = ("x-envoy-peer-metadata", "x-envoy-peer-metadata-id")  # what Istio's own filters add to a request


class Tables:
    """Plays each capture once, to both proxies at the same time."""

    def __init__(self, istiod, pods):
        self.istiod, self.pods, self.played, self.quirks = istiod, pods, {}, {}

    def decisions(self, capture):
        if capture not in self.played:
            table = Requests(self.istiod / capture)
            with ThreadPoolExecutor(2) as both:
                futures = {name: both.submit(self.pods.play, capture, name, table.cases, table.endpoints) for name in ("envoy", "pinnace")}
                self.played[capture] = table, {name: future.result() for name, future in futures.items()}
        return self.played[capture]

    def disagreements(self, capture):
        """Texts: the request and what differs of both decisions."""
        table, both = self.decisions(capture)
        assert not any(nacks for _, nacks in both.values()), {name: nacks for name, (_, nacks) in both.items()}
        found = self._unexplained(capture, table.cases, both["envoy"][0], both["pinnace"][0])
        if 0 < len(found) <= FEW:
            again = [case for case, _, _ in found]
            envoy, ours = (self.pods.play(capture, name, again, table.endpoints, patience=2.0)[0] for name in ("envoy", "pinnace"))
            found = self._unexplained(capture, again, envoy, ours)
        return [told(*one) for one in found]

    def _unexplained(self, capture, cases, envoys, ours):
        found = []
        for case, one, other in zip(cases, copy.deepcopy(envoys), copy.deepcopy(ours)):
            for name in explained(case, one, other):
                self.quirks.setdefault(name, []).append(f"{capture}: {case['what']}")
            if one != other:
                found.append((case, one, other))
        return found


def parts(value, path=""):
    """A decision as flat pairs, so that two can be set against each other."""
    if isinstance(value, dict):
        return [pair for key, inner in value.items() for pair in parts(inner, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        return [pair for i, inner in enumerate(value) for pair in parts(inner, path if path.endswith("headers") else f"{path}[{i}]")]
    return [(path, value)]


def told(case, envoy, ours, names=("envoy  ", "pinnace")):
    one, other = ([f"{path} = {value!r}" for path, value in parts(flat_headers(decision))] for decision in (envoy, ours))
    request = {key: case[key] for key in ("source", "to", "port", "tls", "send") if key in case}
    return "\n".join([f"#{case['number']} {case['what']}", f"    request  {json.dumps(request)[:400]}",
                      *(f"    {names[0]}  {x[:300]}" for x in one if x not in other),
                      *(f"    {names[1]}  {x[:300]}" for x in other if x not in one)])


def flat_headers(decision):
    decision = copy.deepcopy(decision)
    for message in [decision.get("client", {}), *decision.get("origin", [])]:
        if "headers" in message:
            message["headers"] = [": ".join(pair) for pair in message["headers"]]
    return decision


@pytest.fixture(scope="module")
def tables(istiod, tmp_path_factory):
    with Pods(istiod, tmp_path_factory.mktemp("decisions")) as pods:
        yield Tables(istiod, pods)


@pytest.mark.parametrize("capture", CAPTURES)
def test_pinnace_and_envoy_decide_the_same(tables, capture):
    found = tables.disagreements(capture)
    assert not found, f"{len(found)} of {len(tables.decisions(capture)[0].cases)} requests:\n" + "\n".join(found)


@pytest.mark.parametrize("capture", CAPTURES)
def test_istios_own_filters_change_no_decision(tables, capture):
    """The push as istiod sent it, against the stripped one, both to pinnace: only metadata headers and the ALPN offered upstream differ."""
    table, both = tables.decisions(capture)
    def play(cases, **more):
        return tables.pods.play(capture, "pinnace", cases, table.endpoints, **more)
    whole, nacks = play(table.cases, strip=False)
    assert not nacks, nacks
    found = differing(table.cases, both["pinnace"][0], whole)
    if 0 < len(found) <= FEW:
        again = [case for case, _, _ in found]
        found = differing(again, *(play(again, strip=strip, patience=2.0)[0] for strip in (True, False)))
    texts = [told(*one, names=("without", "with   ")) for one in found]
    assert not found, f"{len(found)} of {len(table.cases)} requests:\n" + "\n".join(texts)


def differing(cases, ones, others):
    pairs = zip(cases, map(without_metadata, ones), map(without_metadata, others))
    return [(case, one, other) for case, one, other in pairs if one != other]


def without_metadata(decision):
    decision = copy.deepcopy(decision)
    decision["client"].pop("preamble", None)
    for seen in decision["origin"]:
        if "headers" in seen:
            seen["headers"] = [pair for pair in seen["headers"] if pair[0] not in OWN]
        if seen["tls"]:
            seen["tls"].pop("alpn")
    return decision


@pytest.mark.parametrize("capture", CAPTURES)
def test_the_table_is_as_large_as_promised(istiod, capture):
    table = Requests(istiod / capture)
    requests = {json.dumps({k: v for k, v in case.items() if k not in ("number", "what", "source")}) for case in table.cases}
    assert len(requests) >= 200
    assert table.cases == Requests(istiod / capture).cases, "the same table each time"


@pytest.mark.parametrize("capture", CAPTURES)
def test_every_chain_of_the_capture_takes_a_request(tables, capture):
    """As Envoy's log has it: agreement about a chain that no request reaches would mean nothing."""
    table, both = tables.decisions(capture)
    seen = {line["where"].partition(" of ")[2] for decision in both["envoy"][0] for line in decision["log"]}
    assert not set(table.chain_names()) - seen


def test_every_known_quirk_still_shows(tables):
    for capture in ("egress/echo-v1-0", "ingress/istio-ingressgateway"):
        tables.disagreements(capture)
    assert set(tables.quirks) == set(QUIRKS), f"strike {set(QUIRKS) - set(tables.quirks)}"
