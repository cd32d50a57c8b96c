"""How many learner updates go with how many policy steps."""

from __future__ import annotations

import math
from dataclasses import dataclass


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

    def due(self, steps: int) -> int:
        """Updates that should have been made by this many policy steps."""
        since = steps - self.prefill_steps
        if since < 0:
            return 0
        early = since * self.early_per_step
        if early > self.early_updates:
            early = self.early_updates + (since - self.early_updates / self.early_per_step) * self.per_step
        return self.pretrain_updates + int(early)

    def steps(self, updates: int) -> int:
        """Policy steps that this many updates allow."""
        after = max(0, updates - self.pretrain_updates)
        early = min(after, self.early_updates)
        return self.prefill_steps + math.floor(early / self.early_per_step + (after - early) / self.per_step)
