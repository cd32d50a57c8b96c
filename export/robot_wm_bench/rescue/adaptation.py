"""How a world model is adapted in turns with its robot; the learner that does it is `robot_wm_bench.rescue.dreamer`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt


class Adaptation(BaseModel):
    """Rounds of acting and of learning while the robot stands."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str  # who recommends these settings
    rewards: Literal["told", "unknown"] = "told"  # by a laboratory, rewards and falls; or by nobody: the model guesses
    rounds: PositiveInt = 6
    round_s: PositiveFloat = 10.0  # of the robot's time, s
    updates: PositiveInt = 1000  # after each
    rehearse: NonNegativeInt = 20_000  # control steps at the source to learn beside
    rehearse_share: float = Field(default=0.5, gt=0, lt=1)  # of every batch
    settings: dict[str, Any] = {}  # of the agent, where they differ from those that `robot-wm adapt` takes
