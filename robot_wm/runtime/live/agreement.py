"""Do the rates that a sensor tells agree with how its levels change: joints' speeds with their positions, a gyroscope
with the direction of gravity?

Noise of differences grows with the rate of ticks, that of sums does not: so rates are added up over a window and
compared with the levels there, both less their means. With L the levels and R what the rates add up to,

    wrong where  mean |L - R|² > 1/2 max(mean |L|², mean |R|²),

once either has moved by more than the noise can. For R = s L this is s < 0.3 or s > 3.4: a wrong sign, degrees for
radians, another joint's rates, or none. Gravity seen from a body that turns by w moves by -w x g.
Shape letters: W samples, G things compared, C components of each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

WRONG_SHARE = 0.5
RIGHT_SHARE = 0.25
MOVED = 0.03  # rad (m), rms in a window, that joints must have moved, with sensors without noise
TURNED = 0.012  # rad, rms in a window, that a body must have turned; a gyroscope is never as far off as joints' speeds
STANDARD_ERRORS = 4.0


@dataclass(frozen=True)
class Agreement:
    """Of G things over one window."""

    is_right: NDArray[np.bool_]  # [G] moved far enough, and rates agree
    is_wrong: NDArray[np.bool_]  # [G] moved far enough, and rates do not
    level_moved: Float64  # [G] rms about the mean
    rate_moved: Float64  # [G] rms about the mean of what the rates add up to


def agreement(
    steps: Float64, rates: Float64, times_s: Float64, *, level_noise: Float64, rate_noise: Float64, moved: float = MOVED
) -> Agreement:
    """Compare.

    ``steps`` [W - 1, G, C] are the changes of levels between samples, ``rates`` [W, G, C] what is told, ``times_s``
    [W]; the noises [G] are standard deviations of one component; ``moved`` is the least motion that proves anything.
    """
    lapse_s = np.diff(times_s)[:, None, None]
    level = _centred(np.cumsum(steps, axis=0))  # [W - 1, G, C]
    added = _centred(np.cumsum(0.5 * (rates[1:] + rates[:-1]) * lapse_s, axis=0))
    of_level, of_rates, apart = (
        np.square(each).sum(axis=2).mean(axis=0) for each in (level, added, level - added)
    )  # [G] each
    window_s = float(times_s[-1] - times_s[0])
    # A sum of independent errors wanders: by the noise of one, times the time of one, times the root of their number.
    wander = rate_noise * math.sqrt(window_s * float(np.mean(lapse_s)))
    components = math.sqrt(steps.shape[2])
    needed = moved + STANDARD_ERRORS * components * (level_noise + wander)
    most = np.maximum(of_level, of_rates)
    has_moved = most > np.square(needed)
    return Agreement(
        is_right=has_moved & (apart < RIGHT_SHARE * most),
        is_wrong=has_moved & (apart > WRONG_SHARE * most),
        level_moved=np.sqrt(of_level),
        rate_moved=np.sqrt(of_rates),
    )


def turned(gravity: Float64, turning: Float64) -> Float64:
    """How fast the direction of gravity [W, 3] moves in axes that turn at [W, 3] rad/s: -w x g, [W, 3]."""
    return -np.cross(turning, gravity)


def _centred(values: Float64) -> Float64:
    centred: Float64 = values - values.mean(axis=0)
    return centred
