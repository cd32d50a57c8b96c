"""What the servers of both halls take: a day's shape, a week's, slow noise and batch jobs; a seed fixes all of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robot_wm_worlds.cooling.plant import TIMESTEP_MIN

DESIGN_W = 150e3  # of a hall, all servers busy
IDLE_SHARE = 0.35  # of that, with none busy
_PER_DAY = 24 * 60 // TIMESTEP_MIN
_MEAN, _SWING, _WEEKEND = 0.45, 0.18, 0.10  # utilisation; the swing's peak is at 15 h in one hall, at 21 h in the other
_PEAK_H = (15.0, 21.0)
_NOISE, _NOISE_H = 0.06, 2.0  # standard deviation of the slow noise, and its correlation time
_JOBS_PER_DAY, _JOB, _JOB_H = 3.0, (0.08, 0.25), 1.5  # batch jobs of a hall: how many, how large, how long on average
_FILL = np.array([0.25, 0.25, 0.25, 0.25])  # servers take a job up, and lay it down, a quarter in each five minutes
_LEAST, _MOST = 0.05, 0.98


def draw_load(rng: np.random.Generator, *, first_day: int, days: int) -> NDArray[np.float64]:
    """Power of both halls' servers, [T, 2] W, a row for each timestep of EnergyPlus.

    ``first_day`` counts from 1 January; days 6 and 7 of every seven are a weekend.
    """
    steps = days * _PER_DAY
    time_h = np.arange(steps) * TIMESTEP_MIN / 60.0 + 24.0 * first_day  # [T]
    weekend = (time_h // 24 % 7 >= 5)[:, None]  # [T, 1]
    shape = np.cos(2 * np.pi * (time_h[:, None] - np.array(_PEAK_H)) / 24.0)  # [T, 2]
    use = _MEAN - _WEEKEND * weekend + _SWING * shape + _slow_noise(rng, steps) + _jobs(rng, steps)
    return DESIGN_W * (IDLE_SHARE + (1.0 - IDLE_SHARE) * np.clip(use, _LEAST, _MOST))


def _slow_noise(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """An Ornstein-Uhlenbeck process, stationary from its first step on, [T, 2]."""
    keep = np.exp(-TIMESTEP_MIN / 60.0 / _NOISE_H)
    kicks = rng.normal(0.0, _NOISE, (steps, 2))
    kicks[1:] *= np.sqrt(1.0 - keep**2)
    noise = kicks.copy()
    for step in range(1, steps):
        noise[step] += keep * noise[step - 1]
    return noise


def _jobs(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    """Utilisation that batch jobs add, [T, 2]."""
    added = np.zeros((steps, 2))
    for hall in range(2):
        for _ in range(rng.poisson(_JOBS_PER_DAY * steps / _PER_DAY)):
            begin = int(rng.integers(steps))
            length = 1 + int(rng.exponential(_JOB_H) * 60 / TIMESTEP_MIN)
            added[begin : begin + length, hall] += rng.uniform(*_JOB)
        added[:, hall] = np.convolve(added[:, hall], _FILL)[:steps]
    return added
