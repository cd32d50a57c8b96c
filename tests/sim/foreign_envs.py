"""What the tests of other people's environments share: one that is plain, and ways for it to be odd."""

import gymnasium
import numpy as np
from gymnasium import spaces

TASK = "gym:gymnasium:foreign/Plain-v0"
IMAGE = spaces.Box(0, 255, (8, 8, 3), np.uint8)


class Plain(gymnasium.Env):
    """Observes three numbers and rewards 1."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def observe(self):
        return np.arange(3, dtype=np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observe(), {}

    def step(self, action):
        return self.observe(), 1.0, False, False, {}


def begin(env):
    """The first two observations of an episode."""
    env.reset()
    env.step([0.0, 0.0])


def gives(*result):
    """A ``step`` that gives ``result`` behind its observation."""
    return lambda self, action: (self.observe(), *result)


def observing(value, space=None):
    """Attributes of an environment that observes ``value``."""
    return {"observe": lambda self: value} | ({} if space is None else {"observation_space": space})


class Unreadable:
    """A number of somebody else's whose reading fails, as a tensor's does that carries a gradient."""

    def __array__(self, *_, **__):
        raise RuntimeError("detach it first")

    __float__ = __len__ = __getitem__ = __array__

    def __str__(self):
        raise RuntimeError("no text either")

    __repr__ = __str__


def boom(*_, **__):
    raise ValueError("joint\nexploded")
