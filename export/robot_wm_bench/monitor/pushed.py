"""An environment whose robot is pushed once an episode, and which goes on for a while after it hits the ground."""

from __future__ import annotations

import math
from typing import Any

import gymnasium
import numpy as np

from robot_wm_bench.monitor.impact import ImpactMeter

PUSH_S = (1.2, 3.0)  # after the start


class PushedOnce(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Each episode's push is drawn from its seed. It ends when the meter has seen enough of the ground."""

    def __init__(self, env: gymnasium.Env[Any, Any], meter: ImpactMeter, speed_m_s: tuple[float, float]) -> None:
        """``meter`` is put in the place of the environment's engine."""
        super().__init__(env)
        self._meter, self._speed_m_s = meter, speed_m_s
        self._rate_hz = env.unwrapped.agent_spec.control_rate_hz  # type: ignore[attr-defined]
        env.unwrapped.sim = meter  # type: ignore[attr-defined]

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Draw a push, too."""
        rng = np.random.default_rng(None if seed is None else [seed, 1])  # of its own: the task draws as ever
        self.push_tick = round(rng.uniform(*PUSH_S) * self._rate_hz)
        self.push_m_s = rng.uniform(*self._speed_m_s)
        self._angle = rng.uniform(0.0, 2.0 * math.pi)
        self.actions: list[np.ndarray] = []  # of the episode, [A] each
        found = super().reset(seed=seed, options=options)
        self._meter.begin()
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One control period; the ground ends nothing, the meter does."""
        if len(self.actions) == self.push_tick:
            self._push()
        self.actions.append(action)
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, self._meter.is_over, truncated, info

    def _push(self) -> None:
        state = self._meter.state
        along = np.array([math.cos(self._angle), math.sin(self._angle), 0.0])
        self._meter.place(
            joint_position=state.joint_position.copy(),
            joint_velocity=state.joint_velocity.copy(),
            base_position=state.base_position.copy(),
            base_quaternion=state.base_quaternion.copy(),
            base_linear_velocity=state.base_linear_velocity + self.push_m_s * along,
            base_angular_velocity=state.base_angular_velocity.copy(),
        )
