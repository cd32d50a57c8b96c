"""How much the robot thinks, what it believes of a plan, and when it gives its planner up."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robot_wm.errors import UserError


@dataclass(frozen=True)
class PlanningConfig:
    """Knobs of planning; what counts in ticks counts control periods.

    ``ALWAYS`` is the one that searches at every tick, to compare others with.
    """

    budget_s: float | None = None  # of one search; None: what the bundle's planner was exported for
    margin_s: float | None = None  # kept free before the deadline for filter and publishing; None: a fifth of it
    share: float = 0.2  # of ticks that may search, over any long time
    burst: int = 5  # searches that may follow each other beyond that share, after as long a rest
    gain_limit: float = 0.0  # reward units over the actor's own sequence; a plan that promises no more is none
    look_ticks: int = 10  # from a search that promised no more until the next one
    max_age: int | None = None  # ticks; a plan's later actions are used up to here. None: all it has; 0: never
    reuse_tolerance: float = 0.1  # model units; further than this from what was proposed, a plan was not followed
    reuse_surprise: float | None = None  # above it a plan is over; None: the recorded p99, where the bundle has it
    surprise_limit: float | None = None  # above it the actor acts; None: the largest recorded, where the bundle has it
    late_limit: int = 5  # failures in a row (late, refused, overslept, broken) that switch the planner off
    recover_plans: int = 3  # timely plans in a row that make earlier failures forgotten
    blend_ticks: int = 2  # between the actor's action and the planner's, either way; 0: none
    seed: int = 0  # of the candidates that are drawn
    waits: bool = True  # a tick, for the plan it asked for; False: none ever waits, and a plan's later actions are used
    patient: bool = False  # for simulators that wait, too: a plan is there by when it is used, however long it takes

    def __post_init__(self) -> None:
        for name in ("budget_s", "margin_s", "reuse_surprise", "surprise_limit"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise UserError(f"planning: {name} must be at least 0, got {value}")
        if self.budget_s == 0:
            raise UserError("planning: budget_s must be positive, got 0")
        if not 0 <= self.share <= 1:
            raise UserError(f"planning: share must be 0 to 1 of the ticks, got {self.share}")
        if not self.reuse_tolerance >= 0:
            raise UserError(f"planning: reuse_tolerance must be at least 0, got {self.reuse_tolerance}")
        if not self.waits and self.max_age == 0:
            raise UserError("planning: max_age 0 leaves nothing of a plan that no tick waits for")
        if math.isnan(self.gain_limit):
            raise UserError("planning: gain_limit must be a number, got nan")
        for name, least in (
            ("burst", 1),
            ("look_ticks", 1),
            ("late_limit", 1),
            ("recover_plans", 1),
            ("blend_ticks", 0),
            ("seed", 0),
            ("max_age", 0),
        ):
            count = getattr(self, name)
            if count is not None and count < least:
                raise UserError(f"planning: {name} must be at least {least}, got {count}")


ALWAYS = PlanningConfig(share=1.0, gain_limit=-math.inf, look_ticks=1, max_age=0)
