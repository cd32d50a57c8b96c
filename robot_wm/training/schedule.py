"""How many learner updates go with how many policy steps, as credit that each step earns.

Credit is counted where it is earned and never from the whole history, so that a rate that is changed on a resume holds
for the steps that come and neither owes nor saves updates for those that were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_ROUNDING = 1e-6  # of an update: ten times a tenth must make one


def whole(credit: float) -> int:
    """Updates that ``credit`` pays for."""
    return max(0, math.floor(credit + _ROUNDING))


@dataclass(frozen=True)
class UpdateSchedule:
    """Random steps, updates on them, then steps and updates side by side: first at one rate, later at another.

    Falls come with steps and skill comes with updates, so a robot that cannot walk yet should learn more of each step.
    """

    prefill_steps: int  # random policy steps before the first update
    pretrain_updates: int  # on those, before the policy's first step
    early_updates: int  # after those, at the early rate
    early_per_step: float  # updates per policy step
    per_step: float  # updates per policy step after the early ones

    @property
    def steps_an_update(self) -> int:
        """Policy steps that earn an update, at the lower of both rates."""
        return math.ceil(1.0 / min(self.per_step, self.early_per_step))

    def earned(self, before: int, after: int, total: float) -> float:
        """Updates earned while the policy steps went from ``before`` to ``after``; ``total`` were earned until then."""
        gained = 0.0
        if before <= self.prefill_steps <= after:
            gained = max(0.0, self.pretrain_updates - total)
        steps = max(0, after - max(before, self.prefill_steps))
        early_left = max(0.0, self.pretrain_updates + self.early_updates - total - gained)
        early_steps = min(float(steps), early_left / self.early_per_step)
        return gained + early_steps * self.early_per_step + (steps - early_steps) * self.per_step

    def steps_behind(self, updates: int, credit: float) -> float:
        """Policy steps that earned the ``credit`` that is left after ``updates``; those of pretraining took none."""
        late_from = self.pretrain_updates + self.early_updates
        total = updates + max(0.0, credit)
        late = max(0.0, total - max(updates, late_from))
        early = max(0.0, min(total, late_from) - max(updates, self.pretrain_updates))
        return early / self.early_per_step + late / self.per_step

    def left_of_pretraining(self, steps: int, updates: int) -> float:
        """Credit of a checkpoint that names none: updates on the random steps that were interrupted."""
        return float(max(0, self.pretrain_updates - updates)) if steps >= self.prefill_steps else 0.0
