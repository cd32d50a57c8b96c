"""Running a sweep: as many trials at a time as there are workers, until the budget is spent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from optuna.trial import Trial, TrialState

from robot_wm.errors import UserError
from robot_wm.options import MOST_SEED
from robot_wm.sweeping.job import FailedError, Job
from robot_wm.sweeping.plan import Sweep
from robot_wm.sweeping.space import run_of, with_values
from robot_wm.sweeping.trials import BASE, REASON, Trials
from robot_wm.training.stopping import StopRequest

_POLL_S = 0.3
_ALL_FAIL = 3  # trials in a row from the first on: what fails is no setting of theirs
_NEW_SEEDS = 10_000  # those of the confirmation come after the base's and all trials'

StoppedBy = Literal["trials", "time limit", "signal"]


@dataclass
class Confirmed:
    """The best trial's settings and the base's, each run with the same new seeds."""

    seeds: list[int] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    base: list[float] = field(default_factory=list)


class Sweeping:
    """One start of a sweep in ``folder``, whose only writer this process is."""

    def __init__(self, sweep: Sweep, trials: Trials, folder: Path, *, program: Sequence[str] = ()) -> None:
        self._sweep, self._trials, self._folder, self._program = sweep, trials, folder, program
        self._running: dict[int, tuple[Trial, Job]] = {}
        self._given_up: set[int] = set()
        self._left = trials.interrupted()

    def run(self, report: Callable[[], None] = lambda: None) -> tuple[StoppedBy, Confirmed]:
        """To the budget's end, or until told to stop; trials that run then are stopped, to be gone on with."""
        limit = self._sweep.plan.budget.time_limit_s
        deadline = math.inf if limit is None else time.monotonic() + limit
        with StopRequest() as stop:
            try:
                while self._fill() or self._running:
                    for number in list(self._running):
                        self._look(number)
                    report()
                    if ended := _told_to(stop, deadline):
                        return ended, Confirmed()
                    time.sleep(_POLL_S)
                return self._confirm(stop, deadline)
            finally:
                _stop_all([job for _, job in self._running.values()])

    def settings_of(self, number: int, values: Mapping[str, Any]) -> dict[str, Any]:
        """What a trial's run is told."""
        return self._seeded(values, number)

    def _seeded(self, values: Mapping[str, Any], offset: int) -> dict[str, Any]:
        seed = (self._sweep.base.seed + offset) % (MOST_SEED + 1)
        return with_values(self._sweep.settings, values) | {"seed": seed}

    def _fill(self) -> bool:
        """Begin trials while workers are free; whether any may be begun yet."""
        plan = self._sweep.plan
        while len(self._running) < plan.workers:
            if not self._left and len(self._trials.all()) >= plan.budget.trials:
                return False
            trial = self._left.pop(0) if self._left else self._trials.draw()
            settings = self.settings_of(trial.number, self._trials.values(trial))
            try:
                run_of(settings, origin="these settings together")
            except UserError as error:
                self._fail(trial, str(error))
                continue
            job = Job(self.folder_of(trial.number), settings, plan.objective, program=self._program)
            job.begin()
            self._running[trial.number] = trial, job
        return True

    def folder_of(self, number: int) -> Path:
        """Where a trial's run is."""
        return self._folder / "trials" / f"{number:04d}"

    def _look(self, number: int) -> None:
        """Follow a run; note its end."""
        trial, job = self._running[number]
        try:
            if not job.ended():
                if number not in self._given_up and self._trials.follow(trial, job.curve()):
                    self._given_up.add(number)
                    job.stop()
                return
            del self._running[number]
            if number in self._given_up:
                self._trials.prune(trial)
                return
            self._trials.follow(trial, job.curve())  # it may have come to its end since the last look
            self._trials.complete(trial, _finite(job.value()))
        except FailedError as error:
            self._running.pop(number, None)
            self._fail(trial, str(error))

    def _fail(self, trial: Trial, reason: str) -> None:
        self._trials.fail(trial, reason)
        ended = [one for one in self._trials.all() if one.state.is_finished()]
        if len(ended) >= _ALL_FAIL and all(one.state == TrialState.FAIL for one in ended):
            reasons = " / ".join(dict.fromkeys(str(one.user_attrs.get(REASON)) for one in ended))
            raise UserError(f"{self._sweep.origin}: all of the first {len(ended)} trials failed: {reasons}")

    def _confirm(self, stop: StopRequest, deadline: float) -> tuple[StoppedBy, Confirmed]:
        """Run the best trial and the base again, with seeds that had no part in the choice."""
        count, best = self._sweep.plan.budget.confirm, self._trials.best()
        confirmed = Confirmed()
        if not count or best is None or best.user_attrs.get(BASE):  # of the base itself nothing is to be confirmed
            return "trials", confirmed
        confirmed.seeds = [self._sweep.base.seed + _NEW_SEEDS + k for k in range(count)]
        for k in range(count):
            for name, values, into in (
                (f"trial_{best.number:04d}", best.params, confirmed.best),
                ("base", {}, confirmed.base),
            ):
                job = Job(
                    self._folder / "confirm" / f"{name}_{k}",
                    self._seeded(values, _NEW_SEEDS + k),
                    self._sweep.plan.objective,
                    program=self._program,
                )
                job.begin()
                try:
                    while not job.ended():
                        if ended := _told_to(stop, deadline):
                            return ended, Confirmed()
                        time.sleep(_POLL_S)
                    into.append(_finite(job.value()))
                except FailedError as error:
                    raise UserError(f"{job.folder}: {error}") from None
                finally:
                    _stop_all([job])
        return "trials", confirmed


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise FailedError(f"its objective is {value}")
    return value


def _told_to(stop: StopRequest, deadline: float) -> StoppedBy | None:
    if stop.heard():
        return "signal"
    return "time limit" if time.monotonic() >= deadline else None


def _stop_all(jobs: Sequence[Job]) -> None:
    """Tell all runs to save and go, and wait until they have."""
    for job in jobs:
        job.stop()
    for job in jobs:
        while not _gone(job):
            time.sleep(_POLL_S)


def _gone(job: Job) -> bool:
    try:
        return job.ended()
    except FailedError:
        return True
