"""A real istiod's pushes are accepted whole, over delta and state-of-the-world ADS, Istio's own filters and all."""

import json
import subprocess
import sys

import pytest
from support.proxy import PINNACE

CAPTURES = [
    "plain/productpage-v1-0", "plain/reviews-v2-0", "plain/echo-v1-0",
    "ingress/productpage-v1-0", "ingress/reviews-v2-0", "ingress/echo-v1-0", "ingress/istio-ingressgateway",
    "egress/productpage-v1-0", "egress/reviews-v2-0", "egress/echo-v1-0", "egress/istio-egressgateway",
]


def replay(istiod, capture, *more, binary=PINNACE):
    run = subprocess.run(
        [sys.executable, istiod / "replay.py", binary, istiod / capture, *more],
        capture_output=True, text=True, timeout=60)
    return json.loads(run.stdout)


@pytest.mark.parametrize("mode", ["delta", "sotw"])
@pytest.mark.parametrize("capture", CAPTURES)
def test_a_captured_push_is_accepted_whole(istiod, capture, mode):
    result = replay(istiod, capture, *(["--sotw"] if mode == "sotw" else []))
    assert result["ok"], json.dumps(result, indent=1)
    assert result["rss_mb"] <= 30, "resident memory in a mesh of this size"


def test_what_is_not_supported_is_refused_by_name_and_the_rest_serves(istiod):
    result = replay(istiod, "canary/productpage-v1-0")
    assert result["live_s"] is not None
    refused = "\n".join(n for kind in result["xds"].values() for n in kind["nack"])
    for name in ("outlier_detection", "ring_hash_lb_config", "maglev_lb_config", "hash_policy", "typed_per_filter_config"):
        assert name in refused
    for line in filter(None, refused.splitlines()):
        assert "not supported" in line, line
