"""How soon a proxy is live under a captured push, and what it keeps resident, beside a real Envoy (which gets it without
Istio's own filters): medians of runs in turn, printed."""
import statistics

import pytest
from support.proxy import ENVOY, PINNACE
from test_captured import replay

RUNS = 10


@pytest.mark.release_only
@pytest.mark.timeout(180, func_only=True)
@pytest.mark.parametrize("capture", ["plain/productpage-v1-0"])
def test_pinnace_is_live_in_half_the_time_and_takes_a_quarter_of_the_memory(istiod, capture, capsys):
    seen = {PINNACE: [], ENVOY: []}
    for _ in range(RUNS):
        for binary, more in ((PINNACE, ()), (ENVOY, ("--strip",))):
            result = replay(istiod, capture, *more, binary=binary)
            assert result["ok"], result
            seen[binary].append((result["live_s"], result["rss_mb"]))
    medians = {binary: [statistics.median(figures) for figures in zip(*runs)] for binary, runs in seen.items()}
    (live, resident), (envoy_live, envoy_resident) = medians[PINNACE], medians[ENVOY]
    with capsys.disabled():
        print(f"\n{capture}, medians of {RUNS}: live {live * 1000:.0f} ms, Envoy {envoy_live * 1000:.0f} ms ({live / envoy_live:.2f}); "
              f"resident {resident:.1f} MB, Envoy {envoy_resident:.1f} MB ({resident / envoy_resident:.3f})")
    assert resident <= envoy_resident / 4
    assert live <= envoy_live / 2
