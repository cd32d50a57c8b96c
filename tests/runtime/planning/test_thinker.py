"""What a tick makes of its planner: in time or not at all, told and counted, given up and taken up again."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.planning.config import ALWAYS, PlanningConfig
from robot_wm.runtime.planning.thinker import Timing

FAST_S, BUDGET_S, DEADLINE_S = 0.001, 0.010, 0.020  # at 50 Hz; the bench's planner was exported for 10 ms
OFTEN = {"share": 1.0, "burst": 100}


def test_the_actor_until_a_plan_and_the_plan_until_its_end(make_bench):
    """One search in five ticks is what a plan of five actions takes."""
    bench = make_bench(FAST_S)
    bench.engine.rows = rows = np.linspace(0.1, 0.5, 5, dtype=np.float32)[:, None] * np.float32([1, -1])  # [K, A]
    used = []
    for tick in range(10):
        used.append(bench.tick(is_first=tick == 0))
        np.testing.assert_allclose(bench.out, rows[tick % 5])
        assert bench.thinker.use.age == tick % 5
        assert bench.thinker.use.gain == 1.0
    assert used == (["planned"] + ["reused"] * 4) * 2
    counts = bench.thinker.counts.as_dict()
    assert {name: count for name, count in counts.items() if count} == {
        "ticks": 10, "searches": 2, "planned": 2, "reused": 8,
    }  # fmt: skip
    assert bench.worker.begun == 2
    assert bench.thinker.latency.count == 2
    assert bench.thinker.latency.summary().p50_us == pytest.approx(1000.0)


def test_a_plan_that_was_not_followed_is_over(make_bench):
    bench = make_bench(FAST_S, **OFTEN, reuse_tolerance=0.05)
    assert bench.tick(is_first=True) == "planned"
    bench.executed += 0.049  # what the safety filter made of it
    assert bench.tick() == "reused"
    bench.executed[1] -= 0.051
    assert bench.tick() == "planned"
    assert bench.tick() == "reused"
    bench.executed[0] = math.nan  # of a tick that executed nothing
    assert bench.tick() == "planned"


def test_an_episode_begins_without_the_plan_of_the_last_one(make_bench):
    bench = make_bench(FAST_S, **OFTEN)
    assert [bench.tick(), bench.tick(), bench.tick(is_first=True), bench.tick()] == [
        "planned", "reused", "planned", "reused",
    ]  # fmt: skip
    bench = make_bench(FAST_S, **OFTEN, blend_ticks=1)
    for is_first, action in ((True, 0.25), (False, 0.5), (True, 0.25)):
        bench.tick(is_first=is_first, root=0.5)
        np.testing.assert_allclose(bench.out, action)


def test_a_rest_forgets_plan_and_blend(make_bench):
    bench = make_bench(FAST_S, **OFTEN, blend_ticks=1)
    bench.tick()
    bench.thinker.rest()
    assert bench.thinker.use.source.value == "actor"
    assert bench.tick(root=0.5) == "planned"
    np.testing.assert_allclose(bench.out, 0.25)


def test_how_old_a_plan_may_be(make_bench):
    assert [make_bench(FAST_S, **OFTEN, max_age=0).tick() for _ in range(3)] == ["planned"] * 3
    bench = make_bench(FAST_S, **OFTEN, max_age=1)
    assert [bench.tick() for _ in range(4)] == ["planned", "reused", "planned", "reused"]
    bench = make_bench(FAST_S, **OFTEN, max_age=99)
    assert [bench.tick() for _ in range(6)] == ["planned"] + ["reused"] * 4 + ["planned"]


def test_a_surprise_ends_the_plan_and_a_large_one_the_planning(make_bench):
    bench = make_bench(FAST_S, **OFTEN, levels={"median": 0.5, "p99": 2.0, "largest": 5.0})
    used = [bench.tick(surprise=surprise, actor=0.3) for surprise in (0.0, 1.0, 2.1, 2.0, 5.1, 0.0, math.nan)]
    assert used == ["planned", "reused", "planned", "reused", "actor", "planned", "actor"]
    np.testing.assert_allclose(bench.out, 0.3)
    assert bench.thinker.counts.surprised == 2
    bench = make_bench(FAST_S, **OFTEN, levels={"median": 0.5, "p99": 2.0, "largest": 5.0}, surprise_limit=9.0)
    assert bench.tick(surprise=8.9) == "planned"
    bench = make_bench(FAST_S, **OFTEN)
    assert bench.tick(surprise=1e9) == "planned", "where nothing was recorded nothing is too much"


def test_a_blend_leads_up_to_a_plan_and_does_not_end_it(make_bench):
    bench = make_bench(FAST_S, blend_ticks=2, reuse_tolerance=0.05)
    told = []
    for _ in range(10):
        told.append((bench.tick(root=0.9), round(float(bench.out[0]), 3)))
    assert told == [("planned", 0.3), ("reused", 0.6), *[("reused", 0.9)] * 3, ("planned", 0.9), *[("reused", 0.9)] * 4]


def test_a_plan_that_a_tick_left_is_over(make_bench):
    """Also where what was done instead happens to be what it said."""
    bench = make_bench(FAST_S, share=0.0, burst=1, reuse_surprise=2.0)
    assert [bench.tick(), bench.tick()] == ["planned", "reused"]
    assert bench.tick(surprise=2.1) == "actor"
    bench.executed[:] = bench.engine.outputs["plan"][0, 2]
    assert bench.tick() == "actor"


def test_a_plan_that_promises_nothing_is_the_actors_and_the_next_comes_later(make_bench):
    bench = make_bench(FAST_S, **OFTEN, gain_limit=0.25, look_ticks=4)
    bench.engine.gain = 0.25
    assert [bench.tick(actor=0.3) for _ in range(9)] == ["actor"] * 9
    np.testing.assert_allclose(bench.out, 0.3)
    counts = bench.thinker.counts
    assert (counts.searches, counts.unpromising, counts.planned, counts.reused) == (3, 3, 0, 0)
    bench.engine.gain = 0.5
    assert [bench.tick() for _ in range(5)] == ["actor"] * 3 + ["planned", "reused"]


def test_the_share_of_ticks_that_search_is_kept(make_bench):
    """Also where reality never follows a plan."""
    bench = make_bench(FAST_S, share=0.1, burst=3)
    for _ in range(1000):
        bench.tick()
        bench.executed.fill(0.0)
    assert 100 <= bench.thinker.counts.searches <= 103


def test_always_is_a_search_at_every_tick(make_bench):
    knobs = {name: getattr(ALWAYS, name) for name in ("share", "gain_limit", "look_ticks", "max_age")}
    bench = make_bench(FAST_S, **knobs)
    bench.engine.gain = -5.0
    assert {bench.tick() for _ in range(50)} == {"planned"}
    assert bench.thinker.counts.searches == 50


def test_the_actor_in_time_where_the_plan_is_late(make_bench):
    bench = make_bench(BUDGET_S + 1e-6, **OFTEN)
    assert bench.tick(actor=0.3) == "late"
    np.testing.assert_allclose(bench.out, 0.3)
    assert bench.clock() == pytest.approx(bench.begin_s + BUDGET_S)
    assert bench.thinker.use.why == "it was not done within 10 ms"
    assert bench.thinker.use.plan_us == pytest.approx(BUDGET_S * 1e6)


@pytest.mark.parametrize(
    ("knobs", "spent_s", "left_s"),
    [
        ({}, 0.0, 0.010),  # the budget
        ({"budget_s": 0.004}, 0.0, 0.004),
        ({}, 0.009, 0.007),  # a tick that came late has less: 20 ms, a fifth of which is kept free
        ({"margin_s": 0.002}, 0.009, 0.009),
        ({"margin_s": 0.0, "budget_s": 1.0}, 0.005, 0.015),
        ({"deadline_s": 0.005, "budget_s": 1.0}, 0.0, 0.004),
    ],
)
def test_the_deadline_is_from_the_samples_receipt(make_bench, knobs, spent_s, left_s):
    bench = make_bench(1.0, **knobs)
    begin_s = bench.clock() + spent_s
    bench.clock.now_s = begin_s
    bench.thinker.propose(bench.actor, surprise=0.0, is_first=True, received_s=begin_s - spent_s, out=bench.out)
    assert bench.clock() == pytest.approx(begin_s + left_s)
    assert bench.thinker.counts.late == 1


def test_a_tick_that_is_late_itself_does_not_begin(make_bench):
    bench = make_bench(FAST_S)
    begin_s = bench.clock()
    bench.thinker.propose(bench.actor, surprise=0.0, is_first=True, received_s=begin_s - 0.0161, out=bench.out)
    assert bench.clock() == begin_s
    counts = bench.thinker.counts
    assert (counts.hurried, counts.searches, counts.late, bench.worker.begun) == (1, 0, 0, 0)
    assert "too late to begin" in bench.thinker.use.why


def test_patience_waits(make_bench):
    bench = make_bench(12.0, patient=True)
    assert bench.tick() == "planned"


def test_a_late_plan_is_refused_company_and_never_used(make_bench):
    bench = make_bench(iter([0.05, FAST_S]), **OFTEN)  # over the next two ticks, too
    assert bench.tick(root=0.9) == "late"
    assert bench.tick(actor=0.2) == "actor"
    assert bench.thinker.use.why == "the last plan is still being made"
    np.testing.assert_allclose(bench.out, 0.2)
    assert bench.tick() == "actor"
    assert bench.tick(root=0.5) == "planned"
    np.testing.assert_allclose(bench.out, 0.5)
    counts = bench.thinker.counts
    assert (counts.searches, counts.late, counts.refused, counts.planned) == (2, 1, 2, 1)


@pytest.mark.parametrize(
    ("break_it", "counter", "why"),
    [
        (lambda engine: setattr(engine, "fails", "out of memory"), "broken", "out of memory"),
        (lambda engine: setattr(engine, "gain", math.nan), "not_finite", "its plan is not finite"),
        (lambda engine: setattr(engine, "value", math.inf), "not_finite", "its plan is not finite"),
        (lambda engine: setattr(engine, "rows", np.float32([[np.nan, 0]] * 5)), "not_finite", "not finite"),
        (lambda engine: setattr(engine, "rows", np.float32([[0, 0]] * 4 + [[0, np.inf]])), "not_finite", "finite"),
    ],
)
def test_a_plan_that_is_none_is_the_actors_action(make_bench, break_it, counter, why):
    bench = make_bench(FAST_S, late_limit=3, **OFTEN)
    break_it(bench.engine)
    for _ in range(6):
        assert bench.tick(actor=0.3) == "actor"
        np.testing.assert_allclose(bench.out, 0.3)
    assert why in bench.thinker.switch.why
    assert (getattr(bench.thinker.counts, counter), bench.thinker.counts.switched_off) == (3, 1)
    assert bench.worker.begun == 3


def test_late_plans_switch_the_planner_off_until_somebody_enables_it(make_bench):
    bench = make_bench(0.012, late_limit=4, **OFTEN)
    assert [bench.tick() for _ in range(4)] == ["late"] * 4
    assert [bench.tick() for _ in range(20)] == ["actor"] * 20
    counts, thinker = bench.thinker.counts, bench.thinker
    assert (counts.late, counts.switched_off, bench.worker.begun) == (4, 1, 4)
    assert "4 times in a row" in thinker.use.why
    bench.worker.takes_s = iter([FAST_S])
    thinker.switch.turn(True)
    assert bench.tick() == "planned"
    thinker.switch.turn(False)
    assert bench.tick() == "actor"
    assert thinker.use.why == "turned off by an operator"


def test_an_engine_that_hangs_switches_off_too(make_bench):
    bench = make_bench(1e9, late_limit=5, **OFTEN)
    assert [bench.tick() for _ in range(10)] == ["late"] + ["actor"] * 9
    counts = bench.thinker.counts
    assert (counts.late, counts.refused, counts.switched_off, bench.worker.begun) == (1, 4, 1, 1)


@pytest.mark.parametrize(("extra_s", "overslept"), [(0.0019, 0), (0.0021, 3)])
@pytest.mark.parametrize(("takes_s", "source"), [(FAST_S, "planned"), (0.0101, "late")])
def test_a_kernel_that_wakes_the_tick_too_late_costs_the_planner(make_bench, takes_s, source, extra_s, overslept):
    """The margin is 4 ms, of which half may go. A plan that is there is used all the same: it costs no more time."""
    bench = make_bench(takes_s, late_limit=3, recover_plans=1, max_age=0, **OFTEN)
    wait = bench.worker.wait

    def sleepy(until_s):
        done = wait(until_s)
        bench.clock.now_s = until_s + extra_s
        return done

    bench.worker.wait = sleepy
    used = [bench.tick() for _ in range(3)]
    assert used == [source] * 3
    counts = bench.thinker.counts
    assert (counts.overslept, counts.late) == (overslept, 3 * (source == "late"))
    assert bench.thinker.switch.is_on is (source == "planned" and not overslept)
    if source == "planned" and overslept:
        assert "this machine woke the tick 2.1 ms too late" in bench.thinker.switch.why


def test_it_comes_and_goes_without_a_jump(make_bench):
    bench = make_bench(iter([FAST_S, 0.012]), blend_ticks=3, share=1.0)
    actions = []
    for _ in range(12):
        bench.tick(root=0.8)
        actions.append(float(bench.out[0]))
        if len(actions) == 6:
            bench.thinker.switch.turn(False)
    assert actions == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.6, 0.4, 0.2, 0, 0, 0, 0], abs=1e-6)


def test_a_choice_is_not_blended(make_bench):
    bench = make_bench(FAST_S, discrete=True, blend_ticks=3)
    bench.engine.rows = np.float32([[0, 1]] * 5)
    bench.tick()
    np.testing.assert_array_equal(bench.out, [0, 1])


def test_actions_are_in_range(make_bench):
    bench = make_bench(FAST_S)
    bench.engine.rows = np.float32([[7, -7]] * 5)
    assert [bench.tick(), bench.tick()] == ["planned", "reused"]
    np.testing.assert_array_equal(bench.out, [1, -1])


def durations(rng: np.random.Generator) -> Iterator[float]:
    """Of plans, s: mostly short, at times near the deadline or over it, in runs; some of many ticks."""
    while True:
        kind = rng.choice(["short", "near", "over", "long"], p=[0.8, 0.1, 0.08, 0.02])
        low, high = {"short": (0, 0.008), "near": (0.0095, 0.0105), "over": (0.01, 0.03), "long": (0.03, 0.3)}[kind]
        for _ in range(rng.integers(1, 6)):
            yield float(rng.uniform(low, high))


def test_a_hundred_thousand_ticks_and_none_is_late(make_bench):
    """Against a count that knows nothing of thinkers: what was submitted when, and how long the script made it take."""
    rng = np.random.default_rng(15)
    script, taken = durations(rng), []

    def told() -> Iterator[float]:
        for duration_s in script:
            taken.append(duration_s)
            yield duration_s

    bench = make_bench(told(), share=1.0, burst=50, late_limit=6, recover_plans=2, max_age=2, blend_ticks=2)
    thinker, clock, submit = bench.thinker, bench.clock, bench.planner.submit
    late = refused = planned = in_a_row = timely = switched_off = 0
    deadline_s = busy_until_s = -math.inf
    waits: list[tuple[bool, float]] = []  # of this tick: accepted, deadline

    def watched(root, until_s):
        accepted = submit(root, until_s)
        root["next/deter"].fill(math.nan)  # it is the planner's no more
        waits.append((accepted, until_s))
        return accepted

    bench.planner.submit = watched
    until_s = DEADLINE_S * 0.8
    for tick in range(100_000):
        if not thinker.switch.is_on and rng.random() < 0.01:
            thinker.switch.turn(True)
            in_a_row = timely = 0
        was_on = thinker.switch.is_on
        waits.clear()
        jitter_s = float(rng.uniform(0, 0.004))  # between the sample and the planner's turn
        received_s = max(clock() + 0.001, 100.0 + tick * DEADLINE_S)
        clock.now_s = began_s = received_s + jitter_s
        bench.root.deter.fill(root := float(rng.uniform(-1, 1)))
        thinker.propose(bench.actor, surprise=0.0, is_first=False, received_s=received_s, out=bench.out)
        assert clock() <= received_s + until_s + 1e-9, "a command is late"
        assert was_on or not waits
        source = thinker.use.source.value
        if waits and waits[0][0]:
            assert began_s >= busy_until_s, "asked while the last plan was being made"
            deadline_s = waits[0][1]
            assert deadline_s == min(began_s + BUDGET_S, received_s + until_s)
            busy_until_s = began_s + taken[-1]
            is_late = busy_until_s > deadline_s
            late += is_late
            planned += not is_late
            assert source == ("late" if is_late else "planned")
            if not is_late:
                np.testing.assert_allclose(thinker._actions, root, rtol=1e-6)
            timely = 0 if is_late else timely + 1
            in_a_row = in_a_row + 1 if is_late else 0 if timely >= 2 else in_a_row
        elif waits:
            refused += 1
            timely, in_a_row = 0, in_a_row + 1
            assert began_s < busy_until_s
        if was_on and in_a_row >= 6:
            switched_off += 1
            assert not thinker.switch.is_on
        # At times the filter lets something else through, and the plan is over.
        bench.executed[:] = bench.out if rng.random() < 0.5 else 5.0
    counts = thinker.counts
    assert (counts.late, counts.refused, counts.planned, counts.switched_off) == (late, refused, planned, switched_off)
    assert counts.searches == len(taken) == late + planned == bench.worker.begun
    assert bench.worker.overlaps == 0
    assert min(late, refused, planned, counts.reused, switched_off) > 50, "the script has come to everything"


@pytest.mark.parametrize(
    ("knobs", "naming"),
    [
        ({"budget_s": 0.0}, "budget_s must be positive"),
        ({"budget_s": -1.0}, "budget_s"),
        ({"margin_s": -0.1}, "margin_s"),
        ({"share": 1.1}, "share must be 0 to 1"),
        ({"share": math.nan}, "share"),
        ({"burst": 0}, "burst must be at least 1"),
        ({"gain_limit": math.nan}, "gain_limit"),
        ({"look_ticks": 0}, "look_ticks"),
        ({"max_age": -1}, "max_age"),
        ({"reuse_tolerance": math.nan}, "reuse_tolerance"),
        ({"reuse_surprise": -1.0}, "reuse_surprise"),
        ({"surprise_limit": math.nan}, "surprise_limit"),
        ({"late_limit": 0}, "late_limit"),
        ({"recover_plans": 0}, "recover_plans"),
        ({"blend_ticks": -1}, "blend_ticks"),
        ({"seed": -1}, "seed"),
        ({"waits": False, "max_age": 0}, "leaves nothing"),
    ],
)
def test_knobs_that_cannot_be_are_refused(knobs, naming):
    with pytest.raises(UserError, match=naming):
        PlanningConfig(**knobs)


def test_the_time_that_is_left():
    assert Timing.of(PlanningConfig(), 0.01, 0.02) == (0.01, 0.016, 0.002)
    assert Timing.of(PlanningConfig(budget_s=0.003, margin_s=0.001), 0.01, 0.005) == (0.003, 0.004, 0.0005)
    assert Timing.of(PlanningConfig(patient=True, budget_s=0.003), 0.01, 0.005) == (math.inf, math.inf, math.inf)
