"""When does a robot walk? One pure criterion for every learner."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

COMMAND_M_S = 0.5  # ahead; neither sideways nor turning
RUN_UP_S = 1.0  # from a start in motion to a gait, not judged
WALK_S = 5.0
LEAST_SPEED_M_S = 0.45
MOST_SIDEWAYS_M_S = 0.15
MOST_TURN_RAD_S = 0.2


class Walk(NamedTuple):
    """How one trial went; speeds are means of the judged 5 s in the trunk's own axes, NaN where it ended before."""

    walks: bool
    forward_m_s: float
    sideways_m_s: float  # to the left
    turn_rad_s: float  # to the left
    lasted_s: float


def trial_steps(rate_hz: float) -> int:
    """Control steps of a whole trial."""
    return round((RUN_UP_S + WALK_S) * rate_hz)


def judge(position_m: ArrayLike, heading_rad: ArrayLike, *, rate_hz: float, fell: bool) -> Walk:
    """Whether the robot walked: after the run-up 5 s at 0.45 m/s or more, straight on, on its feet to the end.

    ``position_m`` [T+1, 2] and ``heading_rad`` [T+1] are the trunk's, in the world, at each control step from the start
    on; a heading may jump by full turns. ``fell`` tells that the last of them ended in a fall. Sideways the robot may
    drift by 0.15 m/s and turn by 0.2 rad/s at most, either way.
    """
    position = np.asarray(position_m, dtype=float)
    heading = np.unwrap(np.asarray(heading_rad, dtype=float))
    steps, run_up = trial_steps(rate_hz), round(RUN_UP_S * rate_hz)
    lasted_s = (len(position) - 1) / rate_hz
    if fell or len(position) <= steps:
        return Walk(False, np.nan, np.nan, np.nan, lasted_s)
    moved = np.diff(position[run_up : steps + 1], axis=0)  # [T, 2] m
    along = (heading[run_up:steps] + heading[run_up + 1 : steps + 1]) / 2  # [T] rad
    forward = float(np.sum(moved[:, 0] * np.cos(along) + moved[:, 1] * np.sin(along)) / WALK_S)
    sideways = float(np.sum(moved[:, 1] * np.cos(along) - moved[:, 0] * np.sin(along)) / WALK_S)
    turn = float((heading[steps] - heading[run_up]) / WALK_S)
    straight = abs(sideways) <= MOST_SIDEWAYS_M_S and abs(turn) <= MOST_TURN_RAD_S
    return Walk(forward >= LEAST_SPEED_M_S and straight, forward, sideways, turn, lasted_s)


def heading_rad(quaternion: ArrayLike) -> float:
    """Yaw of the trunk in the world from its quaternion (x, y, z, w)."""
    x, y, z, w = np.asarray(quaternion, dtype=float)
    return float(np.arctan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)))
