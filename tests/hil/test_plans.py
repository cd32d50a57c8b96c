"""What the planner did in all segments of a measurement."""

from __future__ import annotations

from robot_wm_ros.hil.plans import planner_figures


def report(**values: str) -> dict[str, str]:
    return {"mode": "active", "planner": "halving of 16 x 5"} | {
        f"planner_{name}": text for name, text in values.items()
    }


def test_counts_add_up_and_the_worst_segment_gives_the_durations():
    found = planner_figures(
        [
            report(searches="10", late="1", on="True", off_because="", p50_us="700.5", p99_us="900", max_us="nan"),
            report(searches="12", late="0", on="True", off_because="", p50_us="600", p99_us="950", max_us="1000"),
        ]
    )
    assert found == {
        "planner": "halving of 16 x 5", "searches": 22, "late": 1, "p50_us": 700.5, "p99_us": 950.0, "max_us": 1000.0,
    }  # fmt: skip


def test_without_a_planner_there_is_nothing():
    assert planner_figures([]) is None
    assert planner_figures([{}, {"mode": "active", "planner": "none"}]) is None
    assert planner_figures([report(p50_us="nan")]) == {"planner": "halving of 16 x 5", "p50_us": None}
