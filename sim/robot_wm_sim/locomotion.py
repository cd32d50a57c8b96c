"""Terms of the velocity-tracking reward of legged robots, each a pure function.

The penalties are legged_gym's (Rudin et al. 2021, "Learning to Walk in Minutes Using Massively Parallel Deep
Reinforcement Learning"). What is added up there is multiplied here, as by Margolis & Agrawal 2022 ("Walk These Ways"):
``tracking x exp(sum of penalties)`` is never negative, so that living always pays and falling ends what pays. A sum
of both teaches a beginner to fall: its wide actions cost more than it can earn.

All of it is computed at every step of every robot, between physics that leaves no cache warm: plain loops and
comparisons, at half the price of min, max and sum over as few numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

LIMB_CONTACT_N = 0.1
FOOT_CONTACT_N = 1.0
BODY_CONTACT_N = 1.0
AVERAGED_OVER_S = 0.2  # a gait's sway is no error: speeds are judged as averages of about one step
YAW_WEIGHT = 0.4  # of tracking the turning speed, beside 1 of the speed
PENALTY_WEIGHT = 0.5
# Tracking earns nothing from an error of so many times the command on: a robot that stands still earns a little and one
# that walks slowly earns more, whatever the command. legged_gym's exp(-e²/0.25) is flat for a beginner at 1 m/s.
FORGIVEN = 1.3
LEAST_SPEED_M_S = 0.3  # slower commands are judged like this one
LEAST_TURN_RAD_S = 0.5
LIFT_WEIGHT = 0.3  # of feet that move above the ground, beside 1 of the speed that they bring
CLEARANCE_SHARE = 0.15  # of a leg, sole over ground that a moving foot should reach
# Weight times leg of the robot that WEIGHTS are for, an A1. legged_gym itself weighs torque of an ANYmal, heavier and
# on longer legs, a twentieth as much: squares of torques are to be taken relative to this.
REFERENCE_TORQUE_N_M = 12.458 * 9.81 * 0.4
SLOW_FOOT_M_S = 0.2  # feet that together move slower than this are at rest

# Per second; the values that they weigh are those of `penalties`' callers.
WEIGHTS: Mapping[str, float] = {
    "vertical_velocity": -2.0,  # (m/s)²
    "tilting_rate": -0.05,  # (rad/s)²
    "torque": -2e-4,  # (N·m)² of the reference robot
    "joint_acceleration": -2.5e-7,  # (rad/s²)²
    "action_rate": -0.01,  # policy units²
    "collision": -1.0,  # links
    "restlessness": -0.02,  # (rad/s)²
}


def reward(linear: float, turning: float, lift: float, penalties: Mapping[str, float]) -> float:
    """Reward of a control step: 0 to 1.7. ``linear`` and ``turning`` are `tracking`'s; of ``penalties``, which are
    unweighted, those count that have a weight.

    ``lift`` (0 to 1) counts as much as the speed that is reached: as a penalty on low feet it made standing the best
    that a beginner could do, and no agent of five walked.
    """
    weighed = 0.0
    for name, weight in WEIGHTS.items():
        weighed += weight * penalties[name]
    return (linear * (1.0 + LIFT_WEIGHT * lift) + YAW_WEIGHT * turning) * math.exp(PENALTY_WEIGHT * weighed)


def tracking(error: float, wanted: float, *, least: float) -> float:
    """1 without an error, falling linearly to 0 at `FORGIVEN` times the wanted speed, or ``least`` if that is more.

    All three in m/s or in rad/s.
    """
    wanted = abs(wanted)
    earned = 1.0 - abs(error) / (FORGIVEN * (wanted if wanted > least else least))
    return earned if earned > 0.0 else 0.0


def kept(period_s: float) -> float:
    """Share of a running average over about `AVERAGED_OVER_S` that is left after a control period."""
    return math.exp(-period_s / AVERAGED_OVER_S)


def averaged(before: float, now: float, *, kept: float) -> float:
    """The running average that keeps that share, one control period later."""
    return now + (before - now) * kept


def squares(values: Sequence[float]) -> float:
    """Sum of squares."""
    return math.hypot(*values) ** 2


def squared_change(now: Sequence[float], before: Sequence[float]) -> float:
    """Sum of squared differences, element by element."""
    return math.dist(now, before) ** 2


def collisions(forces: Sequence[float]) -> float:
    """How many links, of which none should touch anything, do; forces in N."""
    count = 0.0
    for force in forces:
        if force > LIMB_CONTACT_N:
            count += 1.0
    return count


def lift(heights_m: Sequence[float], speeds_m_s: Sequence[float], *, clearance_m: float) -> float:
    """How much of the way of feet [K] over ground is made in the air: 0 where they slide or rest, 1 at ``clearance_m``.

    ``heights_m`` are those of the soles, ``speeds_m_s`` the feet's horizontal speeds. Every foot counts by its speed.
    """
    way = 0.0
    for height, speed in zip(heights_m, speeds_m_s):  # noqa: B905  strict costs time
        if height > 0.0:
            way += speed if height >= clearance_m else speed * (height / clearance_m)
    return way / (sum(speeds_m_s) + SLOW_FOOT_M_S)
