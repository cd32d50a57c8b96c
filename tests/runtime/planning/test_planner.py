"""One plan at a time: its root is a copy, what is late is nobody's, and nothing of it reaches the tick."""

from __future__ import annotations

import threading
import time
from itertools import repeat

import numpy as np
import pytest

from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.planning.worker import WorkerThread


@pytest.fixture
def bench(make_bench):
    return make_bench(0.003)


def root(value: float) -> dict[str, np.ndarray]:
    return {"next/deter": np.full((1, 4), value, np.float32)}


def test_a_plan_is_taken_once_and_in_time(bench):
    planner, clock = bench.planner, bench.clock
    begin_s = clock()
    assert not planner.ready()
    assert planner.submit(root(0.25), begin_s + 0.01)
    assert planner.is_busy
    assert not planner.ready()
    assert planner.wait()
    assert clock() == pytest.approx(begin_s + 0.003)
    plan = planner.take()
    np.testing.assert_array_equal(plan.actions, np.full((5, 2), 0.25, np.float32))
    assert (plan.gain, plan.value, plan.error, plan.is_finite) == (1.0, 2.0, "", True)
    assert not planner.ready()
    with pytest.raises(RuntimeError, match="no plan is ready"):
        planner.take()


@pytest.mark.parametrize(("deadline_s", "is_ready"), [(0.0031, True), (0.0029, False), (0.0, False), (-1.0, False)])
def test_a_plan_is_ready_by_its_deadline_or_never(bench, deadline_s, is_ready):
    planner, clock = bench.planner, bench.clock
    begin_s = clock()
    planner.submit(root(0.25), begin_s + deadline_s)
    assert planner.wait() is is_ready
    assert clock() <= begin_s + max(deadline_s, 0.0) + 1e-9, "nobody waits beyond the deadline"
    clock.now_s += 1.0
    assert planner.ready() is is_ready, "what was finished too late does not come to count"
    assert not planner.is_busy


def test_while_one_is_made_no_other_is_begun(bench):
    planner, clock = bench.planner, bench.clock
    assert planner.submit(root(0.25), clock() + 0.001)
    assert not planner.wait()
    planner.abandon()
    for _ in range(3):
        assert not planner.submit(root(0.75), clock() + 1.0)
    assert not planner.wait(), "and a refused one is not waited for"
    assert (bench.worker.begun, bench.worker.overlaps) == (1, 0)
    clock.now_s += 0.01
    assert not planner.ready(), "an abandoned plan is nobody's"
    assert planner.submit(root(0.5), clock() + 1.0)
    assert planner.wait()
    assert float(planner.take().actions[0, 0]) == 0.5


def test_the_root_is_a_copy(bench):
    """Also in a plan that is still being made while the tick goes on."""
    planner = bench.planner
    given = root(0.25)
    planner.submit(given, bench.clock() + 0.01)
    given["next/deter"].fill(0.75)
    assert not planner.submit(given, bench.clock() + 0.01)
    assert planner.wait()
    assert float(planner.take().actions[0, 0]) == 0.25


def test_an_engine_that_fails_says_why_and_may_be_asked_again(bench):
    planner = bench.planner
    bench.engine.fails = "the GPU is gone"
    planner.submit(root(0.25), bench.clock() + 0.01)
    assert planner.wait()
    plan = planner.take()
    assert plan.error == "the GPU is gone"
    assert not plan.is_finite
    bench.engine.fails = ""
    planner.submit(root(0.25), bench.clock() + 0.01)
    assert planner.wait()
    assert planner.take().is_finite


def test_candidates_are_drawn_and_the_choice_is_greedy(make_bench):
    bench = make_bench()
    for _ in range(2):
        bench.planner.submit(root(0.0), bench.clock() + 1.0)
        bench.planner.wait()
    first, second = bench.engine.noise[-2:]
    assert not np.array_equal(first, second)
    assert abs(first).min() > 0.0
    again = make_bench()
    again.planner.submit(root(0.0), again.clock() + 1.0)
    again.planner.wait()
    np.testing.assert_array_equal(again.engine.noise[-1], first, "the seed says which")


def test_closing_frees_the_engine_once(bench):
    assert bench.engine.is_active
    bench.planner.close()
    assert not bench.engine.is_active
    bench.planner.close()
    assert not bench.planner.submit(root(0.0), bench.clock() + 1.0)


def test_an_engine_that_hangs_is_left_alone(bench, monkeypatch):
    """What it computes with must not be freed under it."""
    monkeypatch.setattr(bench.worker, "close", lambda: False)
    bench.planner.close()
    assert bench.engine.is_active
    assert not bench.planner.submit(root(0.0), bench.clock() + 1.0)


def test_to_be_activated_twice_does_no_harm(bench):
    worker, asked = bench.planner._worker, bench.engine.asked
    bench.planner.activate()
    assert (bench.planner._worker, bench.engine.asked) == (worker, asked)


class Gated:
    """Work that goes on only when the test lets it."""

    def __init__(self) -> None:
        self.go, self.began, self.done = threading.Event(), threading.Event(), 0

    def __call__(self) -> None:
        self.began.set()
        assert self.go.wait(30)
        self.done += 1


def test_the_thread_works_beside_whoever_asked():
    work = Gated()
    worker = WorkerThread(work, "planner")
    assert worker.is_done
    worker.begin()
    assert work.began.wait(30)
    assert not worker.is_done
    for past_s in (0.0, time.monotonic()):
        assert not worker.wait(past_s), "a time that is past is not waited for"
    assert worker.thread_id != threading.get_native_id()
    work.go.set()
    assert worker.wait(float("inf"))
    assert (work.done, worker.is_done) == (1, True)
    for _ in range(200):  # what earlier runs left to be heard must not pass for a later one's end
        worker.begin()
        while not worker.is_done:
            time.sleep(1e-5)
    work.go.clear()
    worker.begin()
    assert not worker.wait(0.0)
    assert work.done == 201
    work.go.set()
    assert worker.wait(float("inf"))
    assert worker.close()
    assert worker.close(), "twice does no harm"


def test_the_planner_of_a_thread(bench):
    """The real thing, as fast as it is: a deadline that nothing misses."""
    planner = Planner(bench.engine, bench.planner.section)
    planner.activate()
    try:
        for number in range(50):
            assert planner.submit(root(number), float("inf"))
            assert planner.wait()
            assert float(planner.take().actions[0, 0]) == number
    finally:
        planner.close()
    assert not bench.engine.is_active


def test_the_script_is_kept(make_bench):
    """Of the tests' own clock: later tests stand on it."""
    bench = make_bench(repeat(0.003))
    begin_s = bench.clock()
    bench.planner.submit(root(0.0), begin_s + 0.002)
    assert not bench.planner.wait()
    assert bench.clock() == pytest.approx(begin_s + 0.002)
    asked = bench.engine.asked
    bench.clock.now_s = begin_s + 0.0029
    assert bench.planner.is_busy
    bench.clock.now_s = begin_s + 0.0031
    assert not bench.planner.is_busy
    assert bench.engine.asked == asked + 1
