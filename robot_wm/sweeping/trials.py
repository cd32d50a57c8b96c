"""The trials of a sweep on disk, by Optuna: which settings come next, which runs are given up, what each was worth.

SQLite, since a sweep that is killed in the middle of a write must leave nothing half written; one process writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.engine import URL

from robot_wm.errors import UserError
from robot_wm.sweeping.plan import Plan, Sweep
from robot_wm.sweeping.space import Choice, IntRange, value_at

_NAME, _FILE, _TOLD, BASE, REASON = "sweep", "trials.db", "told", "base", "reason"
_GIVES_UP_AFTER = 5  # trials that a median is of
_IMPORTANCE_FROM = 10  # trials, since the best tenth is held against all


class Trials:
    """All trials of the sweep in ``folder``, in the order in which they were drawn."""

    def __init__(self, folder: Path, sweep: Sweep, *, resume: bool) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        there = (folder / _FILE).exists()
        if there and not resume:
            raise UserError(f"{folder}: holds a sweep already; go on with it by --resume, or name another --folder")
        if resume and not there:
            raise UserError(f"{folder}: no sweep to resume")
        self._plan = sweep.plan
        url = URL.create("sqlite", database=str(folder / _FILE))
        self.study = optuna.create_study(
            storage=url.render_as_string(hide_password=False),
            study_name=_NAME,
            direction=sweep.plan.objective.direction,
            pruner=_pruner(sweep.plan),
            load_if_exists=True,
        )
        self._settle(sweep)

    def _settle(self, sweep: Sweep) -> None:
        """Note what the trials have in common, or hold it against what is noted; the base's own settings come first."""
        told, known = sweep.told(), self.study.user_attrs.get(_TOLD)
        if known is None:
            own = {name: value_at(sweep.base, name) for name in sweep.plan.space}
            if all(sweep.plan.space[name].holds(value) for name, value in own.items()) and not self.study.trials:
                self.study.enqueue_trial(own, user_attrs={BASE: True})
            self.study.set_user_attr(_TOLD, told)
        elif known != told:
            names = [name for name in told if told[name] != known.get(name)]
            raise UserError(
                f"{sweep.origin}: {', '.join(names)}: not what this sweep began with, and its trials could not be"
                " compared; name another --folder"
            )

    def all(self) -> list[FrozenTrial]:
        """Every trial that was begun."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state != TrialState.WAITING]

    def interrupted(self) -> list[Trial]:
        """Those that were neither ended nor given up when the sweep was."""
        # Optuna has no other way to a trial that somebody else asked for.
        return [Trial(self.study, trial._trial_id) for trial in self.all() if trial.state == TrialState.RUNNING]

    def draw(self) -> Trial:
        """The next one."""
        # Seeded by its number: a resumed sweep would otherwise draw again what it has drawn.
        self.study.sampler = _sampler(self._plan, len(self.all()))
        return self.study.ask()

    def values(self, trial: Trial) -> dict[str, Any]:
        """Its settings by their dotted names; those that are drawn already stay."""
        drawn: dict[str, Any] = {}
        for name, dimension in self._plan.space.items():
            if isinstance(dimension, Choice):
                drawn[name] = trial.suggest_categorical(name, list(dimension.values))
            elif isinstance(dimension, IntRange):
                drawn[name] = trial.suggest_int(
                    name, dimension.low, dimension.high, step=dimension.step, log=dimension.log
                )
            else:
                drawn[name] = trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)
        return drawn

    def follow(self, trial: Trial, curve: list[tuple[int, float]]) -> bool:
        """Note the part of its curve that is new; whether it is to be given up by what that says."""
        known = self.study._storage.get_trial(trial._trial_id).intermediate_values
        give_up = False
        for step, value in curve:
            if step not in known:
                trial.report(value, step)
                # Asked at every row, since it also notes how far the trial has come; at the last nothing is saved.
                give_up |= trial.should_prune() and step < self._plan.budget.steps
        return give_up

    def complete(self, trial: Trial, value: float) -> None:
        """It came to its end and is worth that."""
        self.study.tell(trial, value)

    def prune(self, trial: Trial) -> None:
        """It was given up."""
        self.study.tell(trial, state=TrialState.PRUNED)

    def fail(self, trial: Trial, reason: str) -> None:
        """Its run failed."""
        trial.set_user_attr(REASON, reason)
        self.study.tell(trial, state=TrialState.FAIL)

    def best(self) -> FrozenTrial | None:
        """The best of those that came to their end; None where none has."""
        done = [trial for trial in self.all() if trial.state == TrialState.COMPLETE]
        sign = 1 if self._plan.objective.direction == "maximize" else -1
        return max(done, key=lambda trial: sign * _worth(trial), default=None)

    def importances(self) -> dict[str, float]:
        """Share of each setting in what tells good trials from others (PED-ANOVA, of those that came to their end)."""
        from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

        if sum(trial.state == TrialState.COMPLETE for trial in self.all()) < _IMPORTANCE_FROM:
            return {}
        try:
            return get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator())
        except (ValueError, RuntimeError):  # all worth the same
            return {}


def _worth(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return trial.value


def _sampler(plan: Plan, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([plan.seed, number]).generate_state(1)[0])
    if plan.sampler.kind == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=plan.sampler.startup, constant_liar=plan.workers > 1)


def _pruner(plan: Plan) -> optuna.pruners.BasePruner:
    first, reduction = plan.first_rung, plan.pruner.reduction
    if plan.pruner.kind == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=reduction)
    if plan.pruner.kind == "hyperband":
        return optuna.pruners.HyperbandPruner(
            min_resource=first, max_resource=plan.budget.steps, reduction_factor=reduction
        )
    if plan.pruner.kind == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_GIVES_UP_AFTER, n_warmup_steps=first)
    return optuna.pruners.NopPruner()
