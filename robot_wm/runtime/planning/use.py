"""What a tick made of its planner, and what came of all ticks together."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from enum import Enum

from robot_wm.runtime.latency import LatencySummary


class Source(Enum):
    """Whose action a tick's target is, but for the blend from one to the other."""

    ACTOR = "actor"
    PLANNED = "planned"  # a plan that this tick got: made for it, or for an earlier one that did not wait
    REUSED = "reused"  # a later action of an earlier plan
    LATE = "late"  # the actor's, for the plan was not ready by the deadline


@dataclass(slots=True)
class PlanUse:
    """Of one tick. The thinker owns it and fills it anew each tick."""

    source: Source = Source.ACTOR
    why: str = ""  # the planner's own trouble, in words
    age: int = -1  # ticks since the plan's search; -1: no plan was used
    gain: float = math.nan  # of the last search: its return over that of the actor's own sequence, reward units
    value: float = math.nan  # of the last search: the return that it expects, reward units
    plan_us: float = 0.0  # from asking the planner until its plan was taken or given up; 0: it was not asked


@dataclass(slots=True)
class PlanningCounts:
    """Ticks and searches since the controller was activated."""

    ticks: int = 0  # at which the planner could have been asked
    searches: int = 0  # that were begun
    planned: int = 0  # ticks that got a plan, and its action
    reused: int = 0  # ticks with a later action of an earlier plan
    overtaken: int = 0  # timely plans that nobody waited for, after something else was done than they said
    unpromising: int = 0  # timely plans that promised no more than the actor, whose action it was then
    late: int = 0  # PLANNER_LATE: searches that were not done by the deadline
    overslept: int = 0  # searches after which the kernel woke the tick too late, whether the plan was there or not
    refused: int = 0  # ticks that wanted a search while a late one was still running
    hurried: int = 0  # ticks that wanted a search, and were themselves too late to begin one
    surprised: int = 0  # ticks with a surprise above its limit
    broken: int = 0  # searches that the planner's engine failed at
    not_finite: int = 0  # searches that came to what is no number
    switched_off: int = 0  # times that failures in a row made the planner rest

    def as_dict(self) -> dict[str, int]:
        """The fields by name, for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class PlanningReport:
    """What there is to tell of a planner now."""

    planner: str  # what it is, in words
    is_on: bool
    why_off: str  # in words; "" where it is on
    by_failures: bool  # whether failures have switched it off, rather than a person
    counts: dict[str, int]  # of ``PlanningCounts``
    latency: LatencySummary  # of searches, from asking for a plan until it was there or given up
