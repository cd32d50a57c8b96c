"""Figures in closed form, goals at their limits, and a picture that is one."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robot_wm_ros.hil.load import LoadMeter
from robot_wm_ros.hil.measure import Measurement
from robot_wm_ros.hil.pairing import SampleAccount
from robot_wm_ros.hil.plot import plot_histograms
from robot_wm_ros.hil.report import conditions, distribution, figures, missed, quantities, row

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


def drawn(monkeypatch, path, distributions, **changes):
    """The picture's figure, after it was written."""
    figure = pytest.importorskip("matplotlib.figure").Figure
    figures = []
    save = figure.savefig
    monkeypatch.setattr(figure, "savefig", lambda self, *a, **k: figures.append(self) or save(self, *a, **k))
    told = {"title": "t", "deadline_ms": 20.0, "missed": "missed 3 times (0.3 %)", "conditions": "2 CPUs 91 % busy"}
    plot_histograms(path, distributions, **told | changes)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return figures[-1]


@pytest.mark.parametrize(
    ("durations", "deadline_ms"), [([1, 2, 3], 20.0), ([1, 2, 300], 20.0), ([30, 40], 20.0), ([], 5.0)]
)
def test_the_picture_shows_the_deadline_the_load_and_the_percentiles(tmp_path, monkeypatch, durations, deadline_ms):
    distributions = {"end to end": ms(*durations), "none": ms()}
    figure = drawn(monkeypatch, tmp_path / "new" / "hil.png", distributions, deadline_ms=deadline_ms)
    (axes,) = figure.axes
    assert any(np.allclose(line.get_xdata(), deadline_ms) for line in axes.lines)
    low, high = axes.get_xlim()
    assert low < deadline_ms < high
    assert axes.get_title() == "2 CPUs 91 % busy"
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[-1] == f"deadline: {deadline_ms:.3g} ms, missed 3 times (0.3 %)"
    assert len(labels) == 1 + bool(durations)
    if durations == [1, 2, 3]:
        assert labels[0] == "end to end: p50 2, p99 2.98, p99.9 3, max 3 ms"


def test_what_the_picture_tells_of_misses_and_of_the_machine():
    found = figures(agent([1, 5, 5.001, 9], unanswered=4), None, deadline_ms=5.0)
    assert missed(found) == "missed 6 times (75 %)"
    assert missed(figures(Measurement(), None, deadline_ms=5.0)) == "nothing measured"
    about = {"engine": "onnx", "precision": "fp32", "robot_host": None, "host": {"cores": 4, "usable_cores": 2}}
    result = {"load": {"cpu_busy": 0.914, "load_average": 3.456}, "sched_fifo": False}
    expected = "onnx fp32; 2 of 4 CPUs 91 % busy, load average 3.46; SCHED_FIFO refused"
    assert conditions(result, about) == expected
    result = {"load": {"cpu_busy": None, "load_average": 3.456}, "sched_fifo": True}
    expected = "onnx fp32; 2 of 4 CPUs load average 3.46; SCHED_FIFO granted, agent on jetson"
    assert conditions(result, about | {"robot_host": "jetson"}) == expected


def test_the_load_is_of_the_time_since_the_meter_was_made(tmp_path):
    stat = tmp_path / "stat"

    def write(user, idle, iowait, guest):
        stat.write_text(f"cpu  {user} 0 0 {idle} {iowait} 0 0 0 {guest} 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")

    write(1000, 500, 0, 1000)  # a guest's time is in the user's already
    meter = LoadMeter(stat)
    write(1060, 530, 10, 1060)
    assert meter.read()["cpu_busy"] == pytest.approx(0.6)
    stat.unlink()
    assert LoadMeter(stat).read()["cpu_busy"] is None
    assert 0.0 <= LoadMeter().read()["load_average"] < 1e4
