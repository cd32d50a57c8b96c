"""How a model-free agent is taught to walk at the source; the learner that does it is `robot_wm_bench.rescue.pupil`."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, PositiveFloat, PositiveInt


class Lessons(BaseModel):
    """How a pupil is taught."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    history: PositiveInt = 6  # frames that it sees at once
    robots: PositiveInt = 16
    rounds: PositiveInt = 5  # the first is driven by the teacher
    round_steps: PositiveInt = 1000  # of each robot
    noise: NonNegativeFloat = 0.2  # standard deviation, of what is added to actions in [-1, 1]
    clone_updates: PositiveInt = 4000  # after each round, on all that there is by then
    clone_batch: PositiveInt = 512
    clone_rate: PositiveFloat = 5e-4
    policy_noise: PositiveFloat = 0.1  # the Gaussian's before the tanh, that it is to explore by
    critic_updates: PositiveInt = 10000
    replay_steps: PositiveInt = 200_000  # of the target world
