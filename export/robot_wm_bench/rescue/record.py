"""What one method needed: looks at its greedy return over the target robot's seconds, and its falls there."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from robot_wm.baselines.curve import known
from robot_wm.baselines.trial import Policy
from robot_wm_bench.rescue.evaluation import Evaluated

LOOKS = "looks.csv"
_OFTEN_S, _EVERY_S, _GROWTH = 60.0, 10.0, 1.25


class Look(NamedTuple):
    """A row of `LOOKS`."""

    target_s: float  # that the robot has been driven by then
    falls: float  # of it by then; those of the look are not among them
    episodes: int  # that have ended by then
    return_mean: float
    return_std: float
    share: float  # of the source's return
    look_falls: float
    wall_s: float

    def told(self) -> dict[str, float | None]:
        """For JSON, which has no NaN."""
        return {name: known(value) for name, value in self._asdict().items()}


class Record:
    """Keeps the looks of one run, and says when it is over; a context manager.

    A look is due at the start, every 10 s of robot time until 60 s, and then 25 % later each time. The agent is rescued
    at the first of two looks in a row, or at a last one, that reach ``goal`` of ``source_return``; the run is over
    then, or after ``limit_s`` of robot time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        rate_hz: float,
        source_return: float,
        evaluate: Callable[[Policy], Evaluated],
        robots: int,
        limit_s: float,
        goal: float = 0.9,
    ) -> None:
        self._rate_hz, self._source, self._evaluate, self._goal = rate_hz, source_return, evaluate, goal
        self.robots = robots  # that a look drives side by side
        self._limit = round(limit_s * rate_hz)
        self._started = time.monotonic()
        self._due = 0  # control step of the next look
        self.looks: list[Look] = []
        self.falls, self.episodes = 0.0, 0
        self._file = (folder / LOOKS).open("w", newline="", buffering=1)
        self._rows = csv.writer(self._file)
        self._rows.writerow(Look._fields)

    def episode(self, fall: float) -> None:
        """An episode of the target robot has ended, in a fall (1) or not (0)."""
        self.falls += fall
        self.episodes += 1

    def due(self, step: int) -> bool:
        """Whether a look is due after ``step`` control steps."""
        return step >= self._due

    def look(self, step: int, policy: Policy) -> None:
        """Evaluate the agent as it is after ``step`` control steps."""
        found = self._evaluate(policy)
        mean = float(found.returns.mean())
        seconds = step / self._rate_hz
        row = Look(
            target_s=seconds,
            falls=self.falls,
            episodes=self.episodes,
            return_mean=mean,
            return_std=float(found.returns.std()),
            share=mean / self._source,
            look_falls=found.falls,
            wall_s=time.monotonic() - self._started,
        )
        self.looks.append(row)
        self._rows.writerow(row)
        later_s = seconds + _EVERY_S if seconds < _OFTEN_S else seconds * _GROWTH
        self._due = min(round(later_s * self._rate_hz), max(self._limit, step + 1))

    @property
    def over(self) -> bool:
        """Whether nothing more is to be shown."""
        two = len(self.looks) > 1 and all(look.share >= self._goal for look in self.looks[-2:])
        return two or bool(self.looks and self.looks[-1].target_s * self._rate_hz >= self._limit)

    def summary(self) -> dict[str, Any]:
        """The run in figures; what did not come to pass is None."""
        passed = [look.share >= self._goal for look in self.looks]
        after = [*passed[1:], True]
        first = next((look for look, now, then in zip(self.looks, passed, after, strict=True) if now and then), None)
        minute = [look for look in self.looks if look.target_s <= _OFTEN_S]
        return {
            "source_return": self._source,
            "return_before": self.looks[0].return_mean,
            "share_before": self.looks[0].share,
            "share_at_60_s": minute[-1].share,
            "falls_at_60_s": known(minute[-1].falls),
            "rescued_s": None if first is None else first.target_s,
            "falls_until_rescued": None if first is None else known(first.falls),
            "best_share": max(look.share for look in self.looks),
            "target_s": self.looks[-1].target_s,
            "falls": known(self.falls),
            "episodes": self.episodes,
            "wall_s": round(time.monotonic() - self._started, 1),
        }

    def __enter__(self) -> Record:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
