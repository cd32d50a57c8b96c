"""A controller in the plant: what it used, and for how long servers' air was outside the recommended range."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_wm_bench.cooling.controller import Observation, PlantController
from robot_wm_worlds.cooling.reward import outside_k

Env = gymnasium.Env[dict[str, NDArray[np.float32]], NDArray[np.float32]]
OnStep = Callable[[Observation, NDArray[np.float32], Observation], None]


@dataclass(frozen=True)
class Run:
    """Sums over the steps of one or more episodes."""

    steps: int
    hours: float
    hvac_kwh: float
    it_kwh: float
    outside_h: float  # hours in which some hall's inlet air was outside
    warmest_c: float  # inlet air
    reward: float

    @property
    def pue(self) -> float:
        """Power usage effectiveness: of servers and what cools them."""
        return 1.0 + self.hvac_kwh / self.it_kwh

    def __add__(self, other: Run) -> Run:
        return Run(
            self.steps + other.steps,
            self.hours + other.hours,
            self.hvac_kwh + other.hvac_kwh,
            self.it_kwh + other.it_kwh,
            self.outside_h + other.outside_h,
            max(self.warmest_c, other.warmest_c),
            self.reward + other.reward,
        )


def run_episode(
    env: Env, controller: PlantController, *, seed: int, settling_h: float = 0.0, on_step: OnStep | None = None
) -> Run:
    """One episode of the task under a controller, whose first ``settling_h`` hours are not counted.

    ``on_step`` hears observation, action and next observation of every step.
    """
    observation, _ = env.reset(seed=seed)
    controller.reset()
    step_h = env.unwrapped.agent_spec.control_period_s / 3600.0  # type: ignore[attr-defined]
    hours = hvac = it = outside = total = 0.0
    steps, settling, warmest, is_over = 0, round(settling_h / step_h), -np.inf, False
    while not is_over:
        action = controller.act(observation).astype(np.float32)
        after, reward, _, is_over, _ = env.step(action)
        if on_step is not None:
            on_step(observation, action, after)
        observation = after
        if settling > 0:
            settling -= 1
            continue
        inlet = observation["inlet_temperature"]
        steps += 1
        hours += step_h
        hvac += float(observation["power"].sum()) * step_h / 1e3
        it += float(observation["it_power"].sum()) * step_h / 1e3
        outside += step_h * bool(outside_k(inlet.astype(np.float64)).any())
        warmest = max(warmest, float(inlet.max()))
        total += float(reward)
    return Run(steps, hours, hvac, it, outside, warmest, total)
