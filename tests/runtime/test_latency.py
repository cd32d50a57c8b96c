"""The ring of tick durations: percentiles against NumPy's, wrap-around, deadlines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.runtime.latency import LatencyRing


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40), st.integers(1, 20))
def test_summary_is_of_the_newest_durations_and_the_maximum_of_all(durations, capacity):
    ring = LatencyRing(capacity, deadline_us=1000.0)
    for duration in durations:
        ring.add(duration)
    kept = durations[-capacity:]
    np.testing.assert_array_equal(ring.durations_us(), kept)
    summary = ring.summary()
    assert summary.count == len(durations)
    assert summary.p50_us == np.percentile(kept, 50)
    assert summary.p999_us == np.percentile(kept, 99.9)
    assert summary.max_us == max(durations)
    assert summary.deadline_misses == sum(duration > 1000 for duration in durations)
    counts, edges = ring.histogram(bins=5)
    assert counts.sum() == len(kept)
    assert len(edges) == 6


def test_an_empty_ring_says_so():
    ring = LatencyRing(4, deadline_us=1.0)
    ring.add(2.0)
    ring.clear()
    assert ring.summary().as_dict()["count"] == 0
    assert ring.deadline_misses == 0
    assert math.isnan(ring.summary().p99_us)
    assert math.isnan(ring.summary().max_us)
    assert ring.histogram()[0].size == 0
    with pytest.raises(ValueError, match="capacity"):
        LatencyRing(0)
