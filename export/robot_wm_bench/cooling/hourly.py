"""The best set-points for each hour of the day, found by trying: constants, each for whole days, sorted by the hour.

A hall follows its set-points within an hour, so what a constant costs at three o'clock does not depend on what was told
at noon: the best of each hour can be put together from runs of constants.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from robot_wm_bench.cooling.controller import Constant, Hourly, Observation, hour_of
from robot_wm_bench.cooling.rollout import Env, run_episode

HOURS = 24
INLET_LIMIT_C = 26.8  # at most, in any hall at any time of the search: unseen days are allowed to be a little hotter
# Supply air °C, air as a share of what servers draw (both halls alike), and how far chilled water is below the air, K.
SEARCHED = ((22.0, 26.0), (0.85, 1.10), (3.0, 7.0))


def candidates(count: int, seed: int) -> NDArray[np.float64]:
    """Set-points [count, A] that cover SEARCHED evenly (a Sobol sequence)."""
    from scipy.stats import qmc

    low, high = np.array(SEARCHED).T
    points = qmc.Sobol(len(SEARCHED), rng=seed).random(count)
    supply, share, below = (low + points * (high - low)).T
    return np.stack([supply, share, share, supply - below], 1)


def table(
    env: Env, points: NDArray[np.float64], seeds: Iterable[int], done: Callable[[], None]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean cooling power, kW, and warmest inlet air, °C, of each candidate in each hour: two of [count, 24].

    The first three hours of an episode, on the way from where it starts, are left out.
    """
    power, warmest = np.zeros((len(points), HOURS)), np.full((len(points), HOURS), -np.inf)
    for number, point in enumerate(points):
        sums, counts, steps = np.zeros(HOURS), np.zeros(HOURS), 0

        def count(before: Observation, action: NDArray[np.float32], after: Observation) -> None:
            nonlocal steps
            steps += 1
            if steps > 36:
                hour = hour_of(before)
                sums[hour] += float(after["power"].sum()) / 1e3  # noqa: B023  called within this turn alone
                counts[hour] += 1  # noqa: B023
                warmest[number, hour] = max(warmest[number, hour], float(after["inlet_temperature"].max()))  # noqa: B023

        for seed in seeds:
            steps = 0
            run_episode(env, Constant(point), seed=seed, on_step=count)
        power[number] = sums / np.maximum(counts, 1)
        done()
    return power, warmest


def best_hours(
    points: NDArray[np.float64], power_kw: NDArray[np.float64], warmest_c: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The cheapest candidate of each hour that stayed below INLET_LIMIT_C, [24, A]; the coolest where none did."""
    allowed = warmest_c <= INLET_LIMIT_C
    cheapest = np.where(allowed, power_kw, np.inf).argmin(0)  # [24]
    return points[np.where(allowed.any(0), cheapest, warmest_c.argmin(0))]


def search_hourly(env: Env, *, count: int, seeds: Iterable[int], seed: int, done: Callable[[], None]) -> Hourly:
    """Try ``count`` constants on the days that ``seeds`` draw."""
    points = candidates(count, seed)
    return Hourly(best_hours(points, *table(env, points, list(seeds), done)))
