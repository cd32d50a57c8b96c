"""Which of several engines is kept, by a clock that only the emulated GPU moves."""

from __future__ import annotations

import gc

import pytest

from robot_wm.errors import UserError
from robot_wm.runtime.trt import timing
from robot_wm.runtime.trt.choice import WAYS, fastest_plan
from robot_wm.runtime.trt.options import ALL_MATRICES, BuildOptions


class Clock:
    """Nanoseconds that go by while a plan runs: of each build ``usual``, more when it is cold or disturbed."""

    def __init__(self, trt, usual: dict[int, int], cold: int | None = None, disturbed: int | None = None) -> None:
        self.now_ns, self.usual, self.cold, self.disturbed = 0, usual, cold, disturbed  # the latter are builds
        self.runs = dict.fromkeys(usual, 0)
        trt.ran = self.ran

    def ran(self, build: int) -> None:
        self.runs[build] += 1
        is_slow = (build == self.cold and self.runs[build] <= 90) or (
            build == self.disturbed and self.runs[build] % 40 == 0
        )
        self.now_ns += 10**9 if is_slow else self.usual[build]

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clocked(trt, monkeypatch):
    """Let the plan of the first build take so long, that of the second so long, and so on."""

    def set_to(*ns: int, **more) -> Clock:
        clock = Clock(trt, dict(enumerate(ns)), **more)
        monkeypatch.setattr(timing, "perf_counter_ns", clock)
        return clock

    return set_to


def chosen(agent, options: BuildOptions | None = None, **more):
    graph, state = agent
    return fastest_plan(graph, "fp32", options or BuildOptions(), state, origin="policy", **more)


def number(built) -> int:
    """Which build it was, as the emulated plan's end tells."""
    return int(built.plan[-1:])


@pytest.mark.parametrize("fastest", range(len(WAYS)))
def test_the_fastest_of_all_ways_is_kept(trt, wide_agent, cuda, clocked, fastest):
    clocked(*(1000 if build == fastest else 2000 + build for build in range(len(WAYS))))
    built = chosen(wide_agent)
    assert (number(built), built.matrices) == (fastest, WAYS[fastest])
    assert len(trt.configs) == len(WAYS)
    assert not any(cuda.alive.values())


@pytest.mark.parametrize("slow", ["cold", "disturbed"])
def test_neither_a_slow_start_nor_a_few_slow_ticks_count(wide_agent, clocked, slow):
    clock = clocked(2000, 1000, 3000, 3000, **{slow: 1})
    assert number(chosen(wide_agent)) == 1
    assert len(set(clock.runs.values())) == 1


def test_a_way_that_is_given_is_built_alone_and_not_timed(trt, wide_agent, clocked):
    clock = clocked(1000)
    built = chosen(wide_agent, BuildOptions(matrices=2))
    assert built.matrices == 2
    assert len(trt.configs) == 1
    assert clock.runs == {0: 0}


def test_options_reach_every_build_and_each_uses_the_timings_of_the_one_before(trt, wide_agent, clocked):
    clocked(1000, 2000, 3000, 4000)
    built = chosen(wide_agent, BuildOptions(workspace_mib=64), timing_cache=b"of last week")
    assert [config.limits["workspace"] for config in trt.configs] == [64 * 2**20] * 4
    after = [b"timings after " * count + b"of last week" for count in range(5)]
    assert [config.timings.content for config in trt.configs] == after[:4]
    assert number(built) == 0
    assert built.timing_cache == after[4]  # of the last build, whichever is kept
    assert built.seconds > 0


def test_what_is_told_of_the_builds_is_one_progress(trt, wide_agent, clocked):
    trt.grow()
    clocked(1000, 1000, 1000, 1000)
    told = []
    chosen(wide_agent, on_progress=lambda share, what: told.append(share))
    assert told == [(build + share) / 4 for build in range(4) for share in (0, 0.5, 1, 1)]


def no_plan(*builds: int):
    return lambda build, plan: b"rubbish" if build in builds else plan


@pytest.mark.parametrize("cannot", ["be built", "start", "run"])
def test_ways_that_cannot_be_used_are_left_out(trt, wide_agent, cuda, clocked, cannot):
    clock = clocked(1000, 1000, 3000, 2000)
    if cannot == "be built":
        trt.build_errors |= {0: "no kernel", 1: "no kernel"}
    elif cannot == "start":
        trt.finish = no_plan(0, 1)
    else:
        goes_by = trt.ran

        def ran(build):
            goes_by(build)
            if build in (0, 1) and clock.runs[build] == 20:
                cuda.fail["cudaGraphLaunch"] = 0

        trt.ran, trt.parsed = ran, lambda network: cuda.fail.clear()
    built = chosen(wide_agent)
    assert (number(built), built.matrices) == (3, ALL_MATRICES)
    assert len(trt.configs) == 4
    gc.collect()  # the host's memory goes with its last view, and the error's frames hold some
    assert not any(cuda.alive.values())


def test_if_none_can_be_used_the_first_reason_is_told(trt, wide_agent, clocked, cuda):
    clocked(1000, 1000, 1000, 1000)
    trt.build_errors |= {0: "the first reason", 1: "another"}
    trt.finish = no_plan(2, 3)
    with pytest.raises(UserError, match=r"^policy: TensorRT 8\.6\.0 cannot build it: the first reason$"):
        chosen(wide_agent)
    assert len(trt.configs) == 4
    assert not any(cuda.alive.values())


def test_an_interrupt_ends_it_at_once(trt, wide_agent):
    def interrupt(share, what):
        raise KeyboardInterrupt

    trt.grow()
    with pytest.raises(KeyboardInterrupt):
        chosen(wide_agent, on_progress=interrupt)
    assert len(trt.configs) == 1
