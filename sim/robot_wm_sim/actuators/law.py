"""The law of actuators as pure functions: from what a drive was told, and what its joint does, to an effort.

This is what is normative: a backend whose engine follows the ideal law by itself is held to it by conformance tests.
Shape letter: M motors. SI throughout: rad or m, N·m or N, s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.drive import Drive

Float64 = NDArray[np.float64]


def position_error(drive: Drive, elapsed_s: NDArray[np.floating[Any]] | float, position: Float64) -> Float64:
    """How far each set-point is ahead of its joint, [M]; arguments as of `wanted_effort`."""
    error: Float64 = drive.position + drive.velocity * elapsed_s - position
    return error


def wanted_effort(
    drive: Drive, elapsed_s: NDArray[np.floating[Any]] | float, position: Float64, velocity: Float64
) -> Float64:
    """What the drives' equation asks for, [M], not yet cut to what the motors have.

    ``elapsed_s`` is how long the drives have had these set-points, [M] or one for all; position and velocity [M] are
    the joints' now.
    """
    ahead = position_error(drive, elapsed_s, position)
    wanted: Float64 = drive.effort + drive.kp * ahead + drive.kd * (drive.velocity - velocity)
    return wanted


def effort_range(limit: Float64, velocity: Float64, *, stall_ratio: Float64, fall: Float64) -> tuple[Float64, Float64]:
    """Least and largest effort that each motor can give at this speed, [M] each.

    With a stall effort s = stall_ratio * limit and fall = stall_ratio / no-load speed (s/rad or s/m)::

        largest = clip(s * ( 1 - velocity / no-load speed), -limit, limit)
        least   = clip(s * (-1 - velocity / no-load speed), -limit, limit)

    the straight line of a DC motor at its supply's voltage (torque = Kt / R * (V - Ke * speed)) in all four quadrants,
    under the current limit of its drive: of Isaac Lab's ``DCMotor`` (isaaclab.actuators.actuator_pd, with
    ``saturation_effort`` s, ``effort_limit`` limit and ``velocity_limit`` the no-load speed), which cuts the speed at
    (1 + limit / s) no-load speeds where this cuts the effort: the same. Against its motion a motor has its whole limit;
    faster than its no-load speed it can only brake. Where there is no curve, stall_ratio is 1 and fall is 0.
    """
    stall, lost, other_way = limit * stall_ratio, limit * fall * velocity, -limit
    # np.clip costs three times as much as these.
    least: Float64 = np.minimum(np.maximum(-stall - lost, other_way), limit)
    largest: Float64 = np.minimum(np.maximum(stall - lost, other_way), limit)
    return least, largest
