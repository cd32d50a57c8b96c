"""Terms of legged_gym's velocity-tracking reward, each a pure function, and its state of the feet.

Rudin et al. 2021, "Learning to Walk in Minutes Using Massively Parallel Deep Reinforcement Learning". A step's reward
is the sum of weight x term, times the control period. legged_gym then clips it at zero; here an agent that begins with
wide random actions would see nothing but zeros (99.7 % of its steps), so the sum stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

TRACKING_SIGMA = 0.25  # (m/s)² and (rad/s)²
AIR_TIME_TARGET_S = 0.5
FOOT_CONTACT_N = 1.0
LIMB_CONTACT_N = 0.1
BASE_CONTACT_N = 1.0
MOVING_COMMAND_M_S = 0.1  # a slower command does not ask for steps

WEIGHTS: Mapping[str, float] = {
    "linear_velocity": 1.0,
    "yaw_rate": 0.5,
    "air_time": 1.0,
    "vertical_velocity": -2.0,
    "tilting_rate": -0.05,
    "torque": -2e-4,
    "joint_acceleration": -2.5e-7,
    "action_rate": -0.01,
    "collision": -1.0,
}


def total(terms: Mapping[str, float], *, period_s: float) -> float:
    """Reward of one control step of ``period_s`` seconds."""
    return period_s * sum([WEIGHTS[name] * value for name, value in terms.items()])


def tracking(*errors: float) -> float:
    """1 without an error, falling with the sum of squared errors (m/s or rad/s)."""
    return math.exp(-(math.hypot(*errors) ** 2) / TRACKING_SIGMA)


def squares(values: Sequence[float]) -> float:
    """Sum of squares."""
    return math.hypot(*values) ** 2


def squared_change(now: Sequence[float], before: Sequence[float]) -> float:
    """Sum of squared differences, element by element."""
    return math.dist(now, before) ** 2


def collisions(forces: Sequence[float]) -> float:
    """How many links, of which none should touch anything, do; forces in N."""
    return float(sum([force > LIMB_CONTACT_N for force in forces]))


class FeetInTheAir:
    """How long each foot has been off the ground.

    A foot counts as touching also one control step after it did: contacts flicker.
    """

    def __init__(self, feet: int) -> None:
        self._time_s = [0.0] * feet
        self._touched = [False] * feet

    def step(self, forces: Sequence[float], *, period_s: float, moving: bool) -> float:
        """Reward of this control step: for each foot that has just landed, its time in the air less the target, s.

        ``forces`` are the feet's contact forces in N. Nothing is earned unless the command asks to move.
        """
        reward = 0.0
        for foot, force in enumerate(forces):
            touches = force > FOOT_CONTACT_N
            grounded = touches or self._touched[foot]
            self._touched[foot] = touches
            flown_s = self._time_s[foot]
            if grounded and flown_s > 0.0:
                reward += flown_s + period_s - AIR_TIME_TARGET_S
            self._time_s[foot] = 0.0 if grounded else flown_s + period_s
        return reward if moving else 0.0
