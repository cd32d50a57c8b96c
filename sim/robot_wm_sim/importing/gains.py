"""First gains of a joint's drive, from what its description tells of it.

With effort limit E, range R, inertia I that the motor feels at home and speed limit V:

* position drive: kp = min(E / (share * R), I * W**2): all of the effort at an error of a share of the range, yet no
  stiffer than a spring that swings the inertia at W = 60 rad/s; kd = 2 * sqrt(kp * I), critically damped.
* speed drive (wheels, which have no R): kp = 0, kd = min(E / (V / 10), 2 * I * W): all of the effort at an error of a
  tenth of the speed limit.
* hinge of a leg, which bears the robot and is light by itself: kp = min(E / 0.5 rad, 3 * weight * leg / feet, I * W**2)
  with W = 200 rad/s, kd = min(25 ms * kp, 2 * sqrt(kp * I)).

W is below what 500 steps/s of simulation, and a drive's own loop, can follow.
"""

from __future__ import annotations

import math

from robot_wm_sim.importing.joints import MovingJoint
from robot_wm_sim.importing.settings import Kind

STIFFEST_RAD_S = 60.0
STIFFEST_LEG_RAD_S = 200.0
# Measured on a mini cheetah: at 1.6 it rolls over when it is put down moving at 0.5 m/s, at 3 it stands.
LEG_ERROR_RAD, LEG_STIFFNESS, LEG_DAMPING_S = 0.5, 3.0, 0.025
# A sliding leg yields, at 10 times the softness of an arm.
SHARES: dict[Kind, float] = {"arm": 0.05, "wheeled": 0.05, "legged": 0.5, "empty": 0.05}
_TURN_RAD = 2 * math.pi  # stands for the range of a joint without stops that holds a position
_WHEEL_SHARE = 0.1  # of the speed limit


def gains(joint: MovingJoint, inertia: float, kind: Kind, *, is_wheel: bool) -> tuple[float, float]:
    """kp in N·m/rad (N/m) and kd in N·m·s/rad (N·s/m), to three digits; ``inertia`` in kg·m² (kg)."""
    effort, velocity = joint.effort or 0.0, joint.velocity or 1.0
    if is_wheel:
        return 0.0, rounded(min(effort / (_WHEEL_SHARE * velocity), 2.0 * inertia * STIFFEST_RAD_S))
    softest = effort / (SHARES[kind] * (joint.range or _TURN_RAD))
    kp = rounded(min(softest, inertia * STIFFEST_RAD_S**2))
    return kp, rounded(2.0 * math.sqrt(kp * inertia))


def leg_gains(joint: MovingJoint, inertia: float, load: float) -> tuple[float, float]:
    """kp in N·m/rad and kd in N·m·s/rad, to three digits, of a hinge of a leg.

    ``inertia`` in kg·m²; ``load`` is the robot's weight times the length of a leg over the number of feet, N·m.
    """
    bearing = min((joint.effort or 0.0) / LEG_ERROR_RAD, LEG_STIFFNESS * load)
    kp = rounded(min(bearing, inertia * STIFFEST_LEG_RAD_S**2))
    return kp, rounded(min(LEG_DAMPING_S * kp, 2.0 * math.sqrt(kp * inertia)))


def rounded(value: float) -> float:
    """To three digits, as one would write it down."""
    return float(f"{value:.3g}")
