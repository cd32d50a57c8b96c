"""A task of no engine whose robot leans before it falls."""

import gymnasium
import numpy as np


class Leaning(gymnasium.Env):
    """The spec's fields are noise; every third episode ends on the ground after 30 steps, the others after 60."""

    def __init__(self, spec):
        self.agent_spec, self._spec = spec, spec
        self.observation_space = self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self._steps, self._falls = 0, seed % 3 == 0
        return self._observe(), {}

    def _observe(self):
        lean = 5.0 * (self._falls and self._steps > 20)
        fields = self._spec.observations
        return {field.name: np.float32(self.np_random.normal(lean, size=field.shape)) for field in fields}

    def step(self, action):
        self._steps += 1
        down = self._falls and self._steps == 30
        return self._observe(), 0.0, down, self._steps == 60, {}
