"""Small Gymnasium environments with known answers, imported by the pool's worker processes."""

import multiprocessing
import os
import signal
import time

import gymnasium
import numpy as np
from gymnasium import spaces


class Counter(gymnasium.Env):
    """Observes (steps, episode, draw of the seed, last action); ends after ``length`` steps."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012

    def __init__(self, length=3, ending="terminated", discrete=False):
        self.observation_space = spaces.Dict(
            {"state": spaces.Box(-np.inf, np.inf, (4,), np.float64), "camera": spaces.Box(0, 255, (8, 8, 3), np.uint8)}
        )
        self.action_space = spaces.Discrete(3, start=5) if discrete else spaces.Box(-2.0, 4.0, (2,), np.float32)
        self.length, self.ending = length, ending
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        self.count, self.last = 0, 0.0
        self.draw = self.np_random.random()
        return self._observation(), {}

    def step(self, action):
        self.count += 1
        self.last = float(np.sum(action))
        ended = self.count >= self.length
        info = {"success": self.episode % 2 == 0} if ended else {}
        return (
            self._observation(),
            float(self.count),
            ended and self.ending == "terminated",
            ended and self.ending == "truncated",
            info,
        )

    def _observation(self):
        return {
            "state": np.array([self.count, self.episode, self.draw, self.last]),
            "camera": np.full((8, 8, 3), 10 * self.count % 256, np.uint8),
        }


class Faulty(Counter):
    """Raises, gives NaN, kills its own process, or stalls, at the second step."""

    def __init__(self, fault="raise"):
        super().__init__(length=100)
        self.fault = fault

    def step(self, action):
        if self.count == 1:
            if self.fault == "raise":
                raise ZeroDivisionError("planted fault")
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "nan":
                return self._observation() | {"state": np.full(4, np.nan)}, 1.0, False, False, {}
            time.sleep(60)
        return super().step(action)


class Walker(Counter):
    """Tells figures; every second episode is half as long and ends in a fall, others may differ by ``spread`` steps."""

    figure_names = ("fall", "height_m", "late")

    def __init__(self, length=4, ending="terminated", spread=0, forget=""):
        super().__init__(length, ending)
        self.whole, self.spread, self.forget = length, spread, forget

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        self.falls = self.episode % 2 == 0
        self.length = self.whole // 2 if self.falls else self.whole + int(self.draw * self.spread)
        return observation, info

    def step(self, action):
        observation, reward, terminated, truncated, info = super().step(action)
        fallen = self.falls and (terminated or truncated)
        late = float(self.episode) if self.count > 2 else float("nan")  # defined in long episodes only
        figures = {"fall": float(fallen), "height_m": self.episode + self.count / 8, "late": late}
        info |= {"figures": figures}
        info.pop(self.forget, None)
        figures.pop(self.forget, None)
        return observation, reward, terminated, truncated, info


class Drift(gymnasium.Env):
    """A point moves by ``gain`` times the action, and its observation says where it is; nearer to 0 is better."""

    metadata = {"render_modes": [], "render_fps": 10}  # noqa: RUF012

    def __init__(self, gain=0.5, length=20):
        self.observation_space = spaces.Dict({"at": spaces.Box(-np.inf, np.inf, (1,), np.float32)})
        self.action_space = spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.gain, self.length = gain, length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count, self.at = 0, self.np_random.uniform(-1, 1, 1)
        return {"at": self.at.astype(np.float32)}, {}

    def step(self, action):
        self.count += 1
        self.at = self.at + self.gain * np.asarray(action)
        return {"at": self.at.astype(np.float32)}, -float(abs(self.at[0])), False, self.count >= self.length, {}


class Quarrel(Counter):
    """Tells another figure in every process."""

    figure_names = (multiprocessing.current_process().name,)


class Drawn(Counter):
    """Tells what it drew for an episode: a payload, and in every second one a friction."""

    randomisation_names = ("payload_kg", "friction")

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed)
        told = {"payload_kg": self.draw} | ({"friction": self.episode / 8} if self.episode % 2 == 0 else {})
        return observation, info | {"randomisation": told}


class Unlike(Counter):
    """Draws another quantity in every process."""

    randomisation_names = (multiprocessing.current_process().name,)


gymnasium.register("toys/Counter-v0", Counter)
gymnasium.register("toys/Drawn-v0", Drawn)
gymnasium.register("toys/Drift-v0", Drift)
gymnasium.register("toys/Unlike-v0", Unlike)
gymnasium.register("toys/Walker-v0", Walker)
gymnasium.register("toys/Quarrel-v0", Quarrel)
gymnasium.register("toys/Faulty-v0", Faulty)
