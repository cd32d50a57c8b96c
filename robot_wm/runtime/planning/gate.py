"""When to think: whether a tick searches, goes on with the plan that it has, or leaves the action to the actor.

Pure functions of what the robot has just seen. A search pays where the planner lately found something better than the
actor's own sequence (its gain), and where the world has surprised the model. As long as reality follows a plan its
next action is as good as a new search's, and costs nothing.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple


class Choice(Enum):
    """What a tick does about its plan."""

    SKIP = "skip"  # the actor's action
    REUSE = "reuse"  # the plan's action for this tick
    SEARCH = "search"  # ask the planner


class Situation(NamedTuple):
    """What is known at a tick before it thinks."""

    surprise: float  # of this tick, in the manifest's surprise_unit
    gain: float  # that the last search promised, reward units; NaN: none has yet
    searched_ticks: int  # since the last search, which is one tick old at 1
    is_valid: bool  # whether the last plan has an action for this tick, and what was done since is what was proposed
    searches: float  # that the budget allows now


class Limits(NamedTuple):
    """What the gate compares a situation with; see ``PlanningConfig``."""

    gain: float
    look_ticks: int
    reuse_surprise: float
    surprise: float


def choose(situation: Situation, limits: Limits) -> Choice:
    """The choice for one tick; a surprise that is no number is one above every limit."""
    if not situation.surprise <= limits.surprise:
        return Choice.SKIP  # a model that does not understand has nothing to plan with
    is_calm = situation.surprise <= limits.reuse_surprise
    promising = math.isnan(situation.gain) or situation.gain > limits.gain
    if is_calm and situation.is_valid and promising:
        return Choice.REUSE
    if situation.searches < 1.0:
        return Choice.SKIP
    if promising or not is_calm or situation.searched_ticks >= limits.look_ticks:
        return Choice.SEARCH
    return Choice.SKIP


class Allowance:
    """A token bucket: over n ticks at most ``share`` * n + ``burst`` searches."""

    def __init__(self, share: float, burst: int) -> None:
        self._share, self._burst = share, float(burst)
        self.searches = 1.0  # that may be made now; the first tick may search

    def tick(self) -> None:
        """A control period has passed."""
        self.searches = min(self._burst, self.searches + self._share)

    def spend(self) -> None:
        """One search was made."""
        self.searches -= 1.0
