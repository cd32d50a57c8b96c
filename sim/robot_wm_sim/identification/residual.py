"""How far a replay is from a log: positions and velocities of joints, each in units of its own sensor's noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm_sim.identification.joint_log import Stretch

Float64 = NDArray[np.float64]
LEAST_SHARE = 0.01  # of a joint's motion that counts as one unit where its sensor has less noise than that
_MAD_TO_STD = 1.4826
_THIRD = np.sqrt(20.0)  # std of the third difference of white noise with std 1: 1, 3, 3, 1


@dataclass(frozen=True)
class Units:
    """What one unit of misfit is, [N] each."""

    position: Float64  # rad or m
    velocity: Float64  # rad/s or m/s

    @classmethod
    def of(cls, stretches: Sequence[Stretch]) -> Units:
        """Of what was recorded: the noise of each sensor, but no less than a hundredth of what it saw."""
        position = [one.position for one in stretches]
        velocity = [_speed(one) for one in stretches]
        return cls(*(np.maximum(_noise(told), LEAST_SHARE * _spread(told)) for told in (position, velocity)))

    @staticmethod
    def noise_of(stretches: Sequence[Stretch]) -> Float64:
        """Of positions alone, [N] rad or m: no more than this, as a motion that is not smooth looks like noise."""
        return _noise([one.position for one in stretches])


def misfit(stretch: Stretch, units: Units, position: Float64, velocity: Float64) -> Float64:
    """Of a replay's positions and velocities [T, N] where samples count, [R, N] in units."""
    counts = stretch.counted
    rows = (position - stretch.position)[counts] / units.position
    if stretch.velocity is None:
        return rows
    return np.concatenate([rows, (velocity - stretch.velocity)[counts] / units.velocity])


def _speed(stretch: Stretch) -> Float64:
    """As sensors tell it, or from positions, [T, N]."""
    if stretch.velocity is not None:
        return stretch.velocity
    speed: Float64 = np.gradient(stretch.position, stretch.time_s, axis=0)
    return speed


def _noise(arrays: Sequence[Float64]) -> Float64:
    """Standard deviation of what is not smooth in samples [T, N], from their third differences; robust."""
    thirds = np.concatenate([np.diff(one, n=3, axis=0) for one in arrays])
    noise: Float64 = _MAD_TO_STD * np.median(np.abs(thirds), axis=0) / _THIRD
    return noise


def _spread(arrays: Sequence[Float64]) -> Float64:
    spread: Float64 = np.concatenate([one - one.mean(axis=0) for one in arrays]).std(axis=0)
    return np.maximum(spread, 1e-9)
