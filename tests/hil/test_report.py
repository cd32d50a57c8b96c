"""Figures in closed form, goals at their limits, and a picture that is one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robot_wm_ros.hil.measure import Measurement
from robot_wm_ros.hil.pairing import SampleAccount
from robot_wm_ros.hil.plot import plot_histograms
from robot_wm_ros.hil.report import distribution, figures, quantities, row

MS = 1_000_000


def ms(*values):
    return np.array([round(value * MS) for value in values], dtype=np.int64)


def agent(end_to_end, *, policy=(0.5,), **changes):
    durations = ms(*end_to_end)
    fields = {"samples": SampleAccount(published=durations.size, processed=durations.size)} | changes
    return Measurement(end_to_end=durations, policy=ms(*policy), stages={"inference": durations}, **fields)


def test_percentiles_of_evenly_spread_durations():
    """0, 1, ... 1000 µs: with linear interpolation the p-th percentile is p per cent of the range."""
    found = distribution(np.arange(1001, dtype=np.int64) * 1000)
    assert found == {
        "p50_ms": pytest.approx(0.5),
        "p99_ms": pytest.approx(0.99),
        "p999_ms": pytest.approx(0.999),
        "max_ms": pytest.approx(1.0),
        "jitter_ms": pytest.approx(np.sqrt((1001**2 - 1) / 12) / 1000),
        "count": 1001,
    }


def test_nothing_measured_is_null_and_not_nan():
    found = figures(Measurement(), Measurement(), deadline_ms=5.0)
    assert found["end_to_end"]["p99_ms"] is None
    assert found["deadline_miss_ratio"] is None
    assert [goal["met"] for goal in found["goals"].values()] == [None, None, True]
    json.loads(json.dumps(found, allow_nan=False))


def test_late_and_unanswered_ticks_are_misses():
    found = figures(agent([1, 5, 5.001, 9], unanswered=4), None, deadline_ms=5.0)
    assert (found["deadline_misses"], found["unanswered"]) == (2 + 4, 4)
    assert found["deadline_miss_ratio"] == pytest.approx(6 / 8)
    assert found["echo"] is None


@pytest.mark.parametrize(
    ("end_to_end", "misses", "unaccounted", "met"),
    [
        (2.5, 1, 0, [True, True, True]),  # 1.5 + 0.5 + 0.5 ms exactly; one of a thousand exactly
        (2.501, 1, 0, [False, True, True]),
        (2.5, 2, 0, [True, False, True]),
        (2.5, 0, 1, [True, True, False]),
    ],
)
def test_goals_are_met_up_to_their_limits(end_to_end, misses, unaccounted, met):
    samples = SampleAccount(published=1000 + unaccounted, processed=1000, unaccounted=unaccounted)
    durations = [end_to_end] * (1000 - misses)
    echo = Measurement(end_to_end=ms(1.5))
    found = figures(agent(durations, samples=samples, unanswered=misses), echo, deadline_ms=5.0)
    assert [goal["met"] for goal in found["goals"].values()] == met
    assert found["goals"]["end_to_end_p99_ms"]["limit"] == pytest.approx(2.5)
    assert row({"rate_hz": 200.0, **found})["goals_met"] is all(met)


def test_tables_show_every_distribution():
    found = figures(agent([1.0, 2.0]), Measurement(end_to_end=ms(0.5)), deadline_ms=5.0)
    assert [line[""] for line in quantities(found)] == ["end to end", "  inference", "policy", "bare echo"]
    assert quantities(found)[0]["max_ms"] == pytest.approx(2.0)
    line = row({"rate_hz": 200.0, **found})
    assert (line["rate_hz"], line["echo_p99_ms"], line["lost"]) == (200.0, pytest.approx(0.5), 0)


def test_the_picture_is_a_png_also_with_nothing_in_it(tmp_path):
    pytest.importorskip("matplotlib")
    for name, distributions in (("full", {"a": ms(1, 2, 3), "b": ms(1), "none": ms()}), ("empty", {})):
        path = tmp_path / "new" / f"{name}.png"
        plot_histograms(path, distributions, title="t")
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert path.stat().st_size > 5000
