"""What a tick asks once the actor's action is in hand: is there a better one, in time?

Shape letters: K steps of a plan, A actions; actions are in model units.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.engine import Array, Engine
from robot_wm.runtime.latency import LatencyRing
from robot_wm.runtime.manifest import Manifest
from robot_wm.runtime.planning.blend import Blend
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.gate import Allowance, Choice, Limits, Situation, choose
from robot_wm.runtime.planning.planner import Plan, Planner
from robot_wm.runtime.planning.switch import Switch
from robot_wm.runtime.planning.use import PlanningCounts, PlanningReport, PlanUse, Source

Float32 = NDArray[np.float32]
MARGIN = 0.2  # of the deadline
SLACK = 0.5  # of the margin
_NOTHING = -1  # is awaited
_RING = 2048  # plans, so few that percentiles cost the control thread nothing that a tick would notice


class Timing(NamedTuple):
    """What a search may take, s: ``budget_s`` once it begins, and in any case no more than up to ``until_s``."""

    budget_s: float
    until_s: float  # after the sample's receipt
    slack_s: float  # by which the wait for a plan may end too late

    @classmethod
    def of(cls, config: PlanningConfig, exported_s: float, deadline_s: float) -> Timing:
        """``exported_s`` is the manifest's budget, ``deadline_s`` a command's, from its sample's receipt."""
        if config.patient:
            return cls(math.inf, math.inf, math.inf)
        margin_s = MARGIN * deadline_s if config.margin_s is None else config.margin_s
        budget_s = exported_s if config.budget_s is None else config.budget_s
        return cls(budget_s, deadline_s - margin_s, SLACK * margin_s)


class Thinker:
    """Owns the planner, and decides for each tick whether to ask it, to go on with its plan, or to leave it.

    ``tick`` is the engine of the policy, whose outputs are the planner's root; ``executed`` [A] a view of what was done
    at the tick before; ``deadline_s`` what a command may take from its sample's receipt. One thread calls everything.
    ``latency`` has the time of every plan, from asking for it until it was there or given up.
    """

    def __init__(
        self,
        planner: Planner,
        config: PlanningConfig,
        manifest: Manifest,
        tick: Engine,
        *,
        executed: Float32,
        deadline_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self._planner, self._clock, self._tick, self._executed = planner, clock, tick, executed
        section, levels = planner.section, manifest.parity.surprise
        self._states = {state.output: state.name for state in manifest.state if not state.shown}
        self._root = section.root
        self._limits = Limits(
            gain=config.gain_limit,
            look_ticks=config.look_ticks,
            reuse_surprise=_limit(config.reuse_surprise, None if levels is None else levels.p99),
            surprise=_limit(config.surprise_limit, None if levels is None else levels.largest),
        )
        self._timing = Timing.of(config, section.budget_s, deadline_s)
        self._awaited = _NOTHING  # ticks since the search whose plan is awaited
        self._begun_s = self._deadline_s = math.nan  # of the last search
        depth, action_dim = section.depth, executed.size
        self._actions: Float32 = np.zeros((depth, action_dim), dtype=np.float32)  # [K, A] of the last plan
        self._proposed: Float32 = np.zeros(action_dim, dtype=np.float32)  # [A] at the tick before
        self._done: Float32 = np.zeros((depth, action_dim), dtype=np.float32)  # [K, A] since the plan that is awaited
        self._rows = depth if config.max_age is None else min(depth, config.max_age + 1)
        self._blend = Blend(action_dim, 0 if manifest.spec.action.is_discrete else config.blend_ticks)
        self.use = PlanUse()
        self.latency = LatencyRing(_RING, deadline_us=self._timing.budget_s * 1e6)
        self.clear()

    def clear(self) -> None:
        """Begin anew: nothing is planned, counted or learned of the planner yet, and it is on."""
        config = self.config
        self._gain = math.nan
        self._searched_ticks = 0
        self._allowance = Allowance(config.share, config.burst)
        self.switch = Switch(config.late_limit, config.recover_plans)
        self.counts = PlanningCounts()
        self.latency.clear()
        self.rest()

    def rest(self) -> None:
        """A tick without a plan: the policy does not drive, or something is wrong."""
        self._begin_anew()
        self._tell(Source.ACTOR)

    def propose(self, actor: Float32, *, surprise: float, is_first: bool, received_s: float, out: Float32) -> None:
        """Write to ``out`` [A] what to do: ``actor`` [A], or something better if it is there in time.

        ``surprise`` is this tick's; ``received_s`` when its sample came, on this clock. ``out`` may be ``actor``.
        """
        counts = self.counts
        counts.ticks += 1
        self._searched_ticks += 1
        self._allowance.tick()
        if is_first:
            self._begin_anew()
        else:
            self._follow()
        planned = None
        self._tell(Source.ACTOR)
        if self.switch.is_on:
            counts.surprised += not surprise <= self._limits.surprise
            if self._awaited == _NOTHING:
                planned = self._think(surprise, received_s)
            elif surprise <= min(self._limits.surprise, self._limits.reuse_surprise):
                planned = self._collect()
            else:
                self._leave()  # it does not know what came as a surprise
        else:
            self._leave()
            self.use.why = self.switch.why
        self._blend.into(actor, planned, out)
        np.copyto(self._proposed, out)

    def _think(self, surprise: float, received_s: float) -> Float32 | None:
        """This tick's action [A] as the gate chooses: a later one of the last plan, that of a new one, or none."""
        choice = choose(
            Situation(
                surprise=surprise,
                gain=self._gain,
                searched_ticks=self._searched_ticks,
                is_valid=self._age < self._rows,
                searches=self._allowance.searches,
            ),
            self._limits,
        )
        if choice is Choice.REUSE:
            self.counts.reused += 1
            self._tell(Source.REUSED, age=self._age)
            return self._row(self._age)
        self._forget_plan()  # what follows is not what it said
        return self._search(received_s) if choice is Choice.SEARCH else None

    def report(self) -> PlanningReport:
        """What there is to tell now (sorts the latest durations: not for the tick itself)."""
        section, switch = self._planner.section, self.switch
        simulations = "" if section.simulations is None else f", {section.simulations} simulations"
        return PlanningReport(
            planner=f"{section.kind} of {section.candidates} x {section.depth}{simulations}",
            is_on=switch.is_on,
            why_off=switch.why,
            by_failures=switch.by_failures,
            counts=self.counts.as_dict(),
            latency=self.latency.summary(),
        )

    def _begin_anew(self) -> None:
        """What comes has nothing to do with what was planned, or is being planned."""
        self._forget_plan()
        self._blend.forget()
        self._leave()

    def _leave(self) -> None:
        """Want the plan that is awaited no longer."""
        if self._awaited != _NOTHING:
            self._planner.abandon()
            self._awaited = _NOTHING

    def _follow(self) -> None:
        """The plan is a tick older; it is over if something else was done than what was proposed.

        Proposed rather than planned: a blend leads up to the plan's actions, and must not end it. Of a plan that is
        awaited nobody knows yet what it will say.
        """
        if self._awaited != _NOTHING:
            if self._awaited < len(self._done):
                np.copyto(self._done[self._awaited], self._executed)
            self._awaited += 1
        if self._age < self._rows:
            apart = np.abs(self._executed - self._proposed).max()
            self._age += 1
            if not apart <= self.config.reuse_tolerance:
                self._forget_plan()

    def _row(self, age: int) -> Float32:
        row: Float32 = self._actions[age]
        return row

    def _forget_plan(self) -> None:
        self._age = self._rows  # of which there is no action

    def _search(self, received_s: float) -> Float32 | None:
        """This tick's planned action [A], if there is one in time."""
        planner, counts, timing = self._planner, self.counts, self._timing
        begin_s = self._clock()
        deadline_s = begin_s + timing.budget_s
        if self.config.waits:
            deadline_s = min(deadline_s, received_s + timing.until_s)
        if begin_s >= deadline_s:
            counts.hurried += 1
            self.use.why = "the tick came too late to begin a plan"
            return None
        if not planner.submit(self._read_root(), deadline_s):
            counts.refused += 1
            self._fail("the last plan is still being made")
            return None
        counts.searches += 1
        self._searched_ticks = 0
        self._allowance.spend()
        self._begun_s, self._deadline_s = begin_s, deadline_s
        if not self.config.waits:
            self._awaited = 0
            return None
        is_ready = planner.wait()
        end_s = self._clock()
        self.use.plan_us = (end_s - begin_s) * 1e6
        self.latency.add(self.use.plan_us)
        # A kernel with no real time to give wakes a thread when it likes: waiting itself then costs the tick its time.
        overslept = end_s > deadline_s + timing.slack_s
        counts.overslept += overslept
        if not is_ready:
            self._give_up()
            return None
        planned = self._accept(planner.take(), timely=not overslept)
        if overslept:
            self._fail(f"this machine woke the tick {(end_s - deadline_s) * 1e3:.3g} ms too late")
        return planned

    def _collect(self) -> Float32 | None:
        """This tick's action [A] of the plan that an earlier tick asked for, if it is there and was followed so far.

        The search did not know what would be done meanwhile: the actor's actions, and most plans begin near them.
        """
        planner = self._planner
        if self.config.patient:
            planner.wait()
        if not planner.ready():
            if planner.is_busy and self._clock() < self._deadline_s:
                return None
            self._awaited = _NOTHING
            self._give_up()
            return None
        age, self._awaited = self._awaited, _NOTHING
        self.use.plan_us = (planner.finished_s - self._begun_s) * 1e6
        self.latency.add(self.use.plan_us)
        return self._accept(planner.take(), timely=True, age=age)

    def _give_up(self) -> None:
        """PLANNER_LATE: what is made after its deadline is nobody's."""
        self._planner.abandon()
        self.counts.late += 1
        self._tell(Source.LATE, plan_us=self.use.plan_us)
        self._fail(f"it was not done within {(self._deadline_s - self._begun_s) * 1e3:.3g} ms")

    def _accept(self, plan: Plan, *, timely: bool, age: int = 0) -> Float32 | None:
        """The action [A] of a plan that was asked for ``age`` ticks ago, if it is worth it."""
        counts = self.counts
        if plan.error:
            counts.broken += 1
            self._fail(plan.error)
            return None
        if not plan.is_finite:
            counts.not_finite += 1
            self._fail("its plan is not finite")
            return None
        if timely:
            self.switch.succeeded()
        self._gain, self.use.gain, self.use.value = plan.gain, plan.gain, plan.value
        if not plan.gain > self._limits.gain:
            counts.unpromising += 1
            return None
        np.clip(plan.actions, -1.0, 1.0, out=self._actions)
        apart = np.abs(self._done[:age] - self._actions[:age])  # [age, A]; what is no number was not followed
        if age >= self._rows or not (apart <= self.config.reuse_tolerance).all():
            counts.overtaken += 1
            return None
        counts.planned += 1
        self._age = age
        self._tell(Source.PLANNED, age=age, plan_us=self.use.plan_us)
        self.use.value = plan.value
        return self._row(age)

    def _fail(self, why: str) -> None:
        self.use.why = why
        self.switch.failed(why)
        self.counts.switched_off = self.switch.switched_off

    def _tell(self, source: Source, *, age: int = -1, plan_us: float = 0.0) -> None:
        use = self.use
        use.source, use.age, use.plan_us, use.gain = source, age, plan_us, self._gain
        use.why, use.value = "", math.nan

    def _read_root(self) -> Mapping[str, Array]:
        """Where the tick is, by the planner's input names; the planner copies it."""
        tick = self._tick
        return {
            name: tick.read_state(self._states[name]) if name in self._states else tick.outputs[name]
            for name in self._root
        }

    @property
    def thread_id(self) -> int:
        """The kernel's number of the thread that plans, for its scheduler."""
        return self._planner.thread_id


def _limit(wanted: float | None, recorded: float | None) -> float:
    for value in (wanted, recorded):
        if value is not None:
            return value
    return math.inf
