"""A run's whole curve: a row an episode and a row a walking trial, written as they happen."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from robot_wm.baselines.walking import Walk
from robot_wm.figures import FALL, robot_minutes

EPISODES, TRIALS = "episodes.csv", "walking.csv"
_EPISODE = ("step", "robot_minutes", "return", "length", "terminated", FALL, "falls", "wall_s")
_TRIAL = ("step", "robot_minutes", "falls", "episodes", "starts", "walked", *Walk._fields[1:])
_RECENT = 20  # episodes whose mean return is told at the end


class Curve:
    """Appends to ``episodes.csv`` and ``walking.csv`` in ``folder``; a context manager.

    Steps are control steps summed over all environments, robot-minutes the time that robots would have needed for them,
    and ``falls`` counts from the first step on, random ones included. Without a figure `FALL` (``figure_names`` are the
    task's) nothing is known of falls and the columns hold NaN. A trial's speeds are means over its starts.
    """

    def __init__(
        self, folder: Path, *, rate_hz: float, figure_names: Sequence[str], trial_every_steps: int | None
    ) -> None:
        """``trial_every_steps`` None means that no trials are held."""
        self._rate_hz, self._every, self._last_trial = rate_hz, trial_every_steps, 0
        self._figures = [name for name in figure_names if name != FALL]
        self._started = time.monotonic()
        self.episodes = self.trials = 0
        self.falls: float = 0.0 if FALL in figure_names else math.nan
        self._walked: dict[str, dict[str, Any]] = {}
        self._returns: list[float] = []
        self._files = [(folder / name).open("w", newline="", buffering=1) for name in (EPISODES, TRIALS)]
        self._episode_rows, self._trial_rows = (csv.writer(file) for file in self._files)
        self._episode_rows.writerow([*_EPISODE, *self._figures])
        self._trial_rows.writerow(_TRIAL)

    def episode(
        self, step: int, *, episode_return: float, length: int, terminated: bool, figures: Mapping[str, float]
    ) -> None:
        """An episode has ended at control step ``step`` of the run."""
        fall = figures.get(FALL, math.nan)
        self.falls += fall
        self.episodes += 1
        self._returns = [*self._returns[1 - _RECENT :], episode_return]
        minutes = robot_minutes(step, self._rate_hz)
        head = (step, minutes, episode_return, length, int(terminated), fall, self.falls, self.wall_s)
        self._episode_rows.writerow([*head, *(figures.get(name, math.nan) for name in self._figures)])

    def trial_due(self, step: int) -> bool:
        """Whether a multiple of the steps between two trials has been passed since the last one."""
        return self._every is not None and step // self._every > self._last_trial // self._every

    def trial(self, step: int, walks: Sequence[Walk]) -> None:
        """Walking trials were held at control step ``step``, one from each start."""
        walked = sum(walk.walks for walk in walks)
        self._last_trial = step
        self.trials += 1
        minutes = robot_minutes(step, self._rate_hz)
        means = mean_walk(walks).values()
        self._trial_rows.writerow([step, minutes, self.falls, self.episodes, len(walks), walked, *means])
        now = {
            "step": step,
            "robot_minutes": round(minutes, 3),
            "falls": known(self.falls),
            "episodes": self.episodes,
        }
        if walked:
            self._walked.setdefault("first_walk", now)
        if walked == len(walks):
            self._walked.setdefault("steady_walk", now)

    @property
    def wall_s(self) -> float:
        """Time since the curve was begun."""
        return time.monotonic() - self._started

    def summary(self, step: int) -> dict[str, Any]:
        """The run in figures, at its end after ``step`` control steps.

        ``first_walk`` is the first trial in which one start walked, ``steady_walk`` the first in which all did: each
        with ``step``, ``robot_minutes``, ``falls`` and ``episodes`` until then, or None. What is not known is None.
        """
        minutes = robot_minutes(step, self._rate_hz)
        return {
            "steps": step,
            "robot_minutes": round(minutes, 3),
            "episodes": self.episodes,
            "falls": known(self.falls),
            "falls_per_robot_minute": known(self.falls / minutes),
            "trials": self.trials,
            "first_walk": self._walked.get("first_walk"),
            "steady_walk": self._walked.get("steady_walk"),
            "return_last": known(_mean(self._returns)),
            "wall_s": round(self.wall_s, 1),
            "steps_per_s": round(step / self.wall_s, 1),
        }

    def __enter__(self) -> Curve:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()


def read_rows(path: Path) -> dict[str, np.ndarray]:
    """The columns of a curve's file, float64 [rows] each."""
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    return dict(zip(names, np.array(rows, dtype=float).reshape(-1, len(names)).T, strict=True))


def mean_walk(walks: Sequence[Walk]) -> dict[str, float]:
    """Means of the walks' figures over those that have them."""
    return {name: _mean([getattr(walk, name) for walk in walks]) for name in Walk._fields[1:]}


def _mean(values: Sequence[float]) -> float:
    """Mean of what is not NaN; NaN where nothing is."""
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def known(value: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value
