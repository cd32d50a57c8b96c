"""What a tick makes of a plan that no tick waits for: its later actions, if what it begins with was done meanwhile."""

from __future__ import annotations

import math

import numpy as np
import pytest

FAST_S = 0.001  # at 50 Hz; the bench's planner was exported for 10 ms
NO_WAIT = {"share": 1.0, "burst": 100, "waits": False, "reuse_tolerance": 0.05}


def plan_from(first: float) -> np.ndarray:
    """Five rows that begin there and rise by 0.1, [K, A]."""
    return np.float32([[first + 0.1 * row] * 2 for row in range(5)])


@pytest.mark.parametrize("tick_s", [0.0, 0.0199])
def test_who_does_not_wait_acts_by_the_plan_from_the_next_tick_on(make_bench, tick_s):
    """If the actor has done meanwhile what the plan begins with; however late its own tick is."""
    bench = make_bench(FAST_S, **NO_WAIT)
    bench.engine.rows = plan_from(0.3)
    told = []
    for tick in range(7):
        bench.clock.now_s += tick_s
        before_s = bench.clock()
        told.append((bench.tick(actor=0.34, is_first=tick == 0), bench.thinker.use.age, round(float(bench.out[0]), 2)))
        assert bench.clock() in (before_s, bench.begin_s), "nobody waited"
    row = [("planned", 1, 0.4), ("reused", 2, 0.5), ("reused", 3, 0.6), ("reused", 4, 0.7)]
    assert told == [("actor", -1, 0.34), *row, ("actor", -1, 0.34), row[0]]
    counts = bench.thinker.counts
    assert (counts.searches, counts.planned, counts.reused, counts.late, counts.hurried) == (2, 2, 3, 0, 0)
    assert bench.thinker.latency.summary().p50_us == pytest.approx(FAST_S * 1e6)


def test_a_plan_that_takes_two_ticks_is_used_from_its_third_action_on(make_bench):
    bench = make_bench(0.025, **NO_WAIT, budget_s=0.03)
    bench.engine.rows = plan_from(0.3)
    told = [(bench.tick(actor=actor), round(float(bench.out[0]), 2)) for actor in (0.3, 0.42, 0.0)]
    assert told == [("actor", 0.3), ("actor", 0.42), ("planned", 0.5)]


def test_a_simulator_that_waits_has_the_plan_at_the_tick_after(make_bench):
    bench = make_bench(12.0, **NO_WAIT, patient=True)
    assert [bench.tick(actor=0.5) for _ in range(3)] == ["actor", "planned", "reused"]


@pytest.mark.parametrize("done", [0.36, math.nan])
def test_a_plan_after_something_else_was_done_is_overtaken(make_bench, done):
    bench = make_bench(FAST_S, **NO_WAIT)
    bench.engine.rows = plan_from(0.3)
    bench.tick(actor=0.3)
    bench.executed[1] = done
    assert bench.tick(actor=0.2) == "actor"
    np.testing.assert_allclose(bench.out, 0.2)
    counts = bench.thinker.counts
    assert (counts.overtaken, counts.planned, counts.late) == (1, 0, 0)
    assert bench.tick(actor=0.3) == "actor", "which asks again"
    assert bench.tick(actor=0.3) == "planned"


def test_a_plan_that_takes_longer_than_it_has_actions_for_is_overtaken(make_bench):
    bench = make_bench(0.05, **NO_WAIT, budget_s=0.2, max_age=2)
    bench.engine.rows = np.full((5, 2), 0.3, np.float32)
    assert {bench.tick(actor=0.3) for _ in range(4)} == {"actor"}
    assert bench.thinker.counts.overtaken == 1


def test_a_plan_that_nobody_waits_for_is_late_after_its_budget(make_bench):
    bench = make_bench(iter([0.05, FAST_S]), **NO_WAIT)
    told = [bench.tick(actor=0.5) for _ in range(5)]
    assert told == ["actor", "late", "actor", "actor", "planned"]  # refused company at the third, asked at the fourth
    counts = bench.thinker.counts
    assert (counts.searches, counts.late, counts.refused) == (2, 1, 1)


@pytest.mark.parametrize("cause", ["episode", "surprise", "no number", "rest", "switched off"])
def test_a_plan_that_is_awaited_does_not_outlive_what_it_was_made_for(make_bench, cause):
    bench = make_bench(FAST_S, **NO_WAIT, reuse_surprise=2.0)
    assert bench.tick(actor=0.5) == "actor"
    if cause == "rest":
        bench.thinker.rest()
    bench.thinker.switch.turn(cause != "switched off")
    surprise = {"surprise": 2.1, "no number": math.nan}.get(cause, 0.0)
    assert bench.tick(actor=0.5, is_first=cause == "episode", surprise=surprise) == "actor"
    bench.thinker.switch.turn(True)
    assert not bench.planner.ready()
    asked_again = cause in ("episode", "rest")
    assert bench.tick(actor=0.5) == ("planned" if asked_again else "actor")
    assert bench.thinker.use.age == (1 if asked_again else -1)
