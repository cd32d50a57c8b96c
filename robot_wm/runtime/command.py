"""What one tick of a controller decided."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.monitor import Scores
from robot_wm.runtime.planning.use import PlanUse

Float32 = NDArray[np.float32]
NO_SCORES = Scores()


@dataclass(slots=True)
class Command:
    """What one tick decided. The controller owns it and fills it anew each tick: copy what must last longer."""

    command: Float32  # [A] SI, what the joints are to do: always finite and within the limits
    action: Float32  # [A] the same in model units, as the model is told that it was executed
    raw_action: Float32  # [A] model units, what the policy's graph asked for; NaN if it was not asked or failed
    tick: int = 0  # since activation, from 1
    mode: Mode = Mode.INACTIVE
    damp: bool = True  # firmware should brake with kd only, rather than follow the command
    value: float = math.nan  # the critic's estimate of the return
    surprise: float = math.nan  # in the manifest's surprise_unit
    scores: Scores = NO_SCORES  # of the agent's monitor, where it has one
    changed: bool = False  # surprise says that the world is another one; moves nothing
    falling: bool = False  # the robot is about to fall; moves nothing unless `SafetyConfig.reacts_to_fall`
    plan: PlanUse | None = None  # what the planner had to do with it; None: the controller has none
    fault_bits: int = 0
    detail: str = ""  # the faults in words
    observe_us: float = 0.0  # checking, scaling and history
    infer_us: float = 0.0  # the policy's engine; 0 if it was not asked
    plan_us: float = 0.0  # deciding whether to think, and thinking; 0 without a planner
    total_us: float = 0.0  # observation in, command out

    def forget_policy(self, no_action: Float32) -> None:
        """The policy has said nothing at this tick; ``no_action`` [A] is NaN."""
        self.raw_action = no_action
        self.value = self.surprise = math.nan
        self.forget_scores()

    def forget_scores(self) -> None:
        """The agent's monitor has judged nothing at this tick."""
        self.scores, self.changed, self.falling = NO_SCORES, False, False

    @property
    def faults(self) -> Fault:
        """The faults as flags."""
        return Fault(self.fault_bits)
