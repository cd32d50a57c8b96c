"""A Gymnasium environment that tells figures, and whose episodes are as long as their seeds say."""

import gymnasium
import numpy as np
from gymnasium import spaces

NAN = float("nan")


class Stumbler(gymnasium.Env):
    """Observes the steps so far. Episodes of less than 6 steps end in a fall, others by time after at most 8."""

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012
    figure_names = ("fall", "height_m", "late")

    def __init__(self):
        self.observation_space = spaces.Dict({"steps": spaces.Box(-np.inf, np.inf, (1,), np.float32)})
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.length = 0, int(self.np_random.integers(3, 9))
        return self._observation(), {}

    def step(self, action):
        self.count += 1
        ended = self.count == self.length
        fallen = ended and self.length < 6
        # ``late`` is defined in episodes of more than 4 steps only.
        figures = {"fall": float(fallen), "height_m": self.count / 8, "late": 3.0 if self.count > 4 else NAN}
        return self._observation(), 1.0, fallen, ended and not fallen, {"figures": figures}

    def _observation(self):
        return {"steps": np.array([self.count], np.float32)}


gymnasium.register("told/Stumbler-v0", Stumbler)
