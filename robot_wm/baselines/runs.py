"""Runs of the comparison: one process each, several side by side, a finished one never done again."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from robot_wm.atomic import atomic_file
from robot_wm.baselines.curve import Curve
from robot_wm.baselines.settings import DREAMER, Algorithm
from robot_wm.baselines.trial import WalkingTrials, can_walk
from robot_wm.errors import UserError
from robot_wm.figures import figure_names
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.config import OptionValue, TrainConfig

RESULT, LOG = "result.json", "log.txt"
# How fast a run is, not what it learns: may differ when a finished run is found.
_SPEED = frozenset({"processes", "device", "threads", "time_limit_s"})


class RunPlan(BaseModel):
    """All that one run depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # of the algorithm
    seed: NonNegativeInt
    task: str
    task_options: dict[str, OptionValue]
    steps: PositiveInt  # control steps, summed over the environments
    trial_every_steps: PositiveInt  # between two walking trials, where the task knows walking
    history: PositiveInt  # frames that a baseline sees; Dreamer sees the spec's
    algorithm: Algorithm | None  # None for Dreamer
    train_settings: dict[str, Any]  # Dreamer's TrainConfig; what this plan names wins over it
    processes: NonNegativeInt
    device: Literal["auto", "cpu", "cuda"]
    threads: NonNegativeInt
    time_limit_s: PositiveFloat | None

    @property
    def label(self) -> str:
        """Name of the run's folder."""
        return f"{self.name}_seed{self.seed}"

    def train_config(self, folder: Path) -> TrainConfig:
        """Dreamer's configuration; it is evaluated by trials only, as the others are."""
        ours = {
            "task": self.task,
            "task_options": self.task_options,
            "run_dir": folder / "run",
            "steps": self.steps,
            "seed": self.seed,
            "device": self.device,
            "threads": self.threads,
            "time_limit_s": self.time_limit_s,
            "eval_every_steps": None,
            "predict_every_steps": None,
            "stop_at_return": None,
        }
        return TrainConfig.model_validate(self.train_settings | ours | {"processes": self.processes})

    @property
    def envs(self) -> int:
        """Environments that collect at the same time."""
        return self.algorithm.envs if self.algorithm is not None else self.train_config(Path()).envs


def finished(plan: RunPlan, folder: Path) -> dict[str, Any] | None:
    """The result of ``plan`` in ``folder`` if it is there and final; UserError where another plan's is.

    A run that its time limit ended is final only while the limit is no longer than it was.
    """
    path = folder / RESULT
    try:
        result: dict[str, Any] = json.loads(path.read_text())
        saved = RunPlan.model_validate(result["plan"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError) as error:
        raise UserError(f"{path}: no result of a run: {' '.join(str(error).split())}") from None
    changed = [
        f"{key}: {getattr(saved, key)!r} != {getattr(plan, key)!r}"
        for key in RunPlan.model_fields
        if key not in _SPEED and getattr(saved, key) != getattr(plan, key)
    ]
    if changed:
        raise UserError(f"{path}: a run with other settings; name another --out ({'; '.join(changed)})")
    had_less = saved.time_limit_s is not None and (plan.time_limit_s is None or plan.time_limit_s > saved.time_limit_s)
    return None if result["stopped_by"] == "time limit" and had_less else result


def run_all(
    plans: list[RunPlan], out: Path, *, jobs: int, on_result: Callable[[RunPlan, dict[str, Any]], None]
) -> list[dict[str, Any]]:
    """Do what is not finished yet, ``jobs`` runs at a time; returns every result in the plans' order.

    Raises UserError, after all others have been done, where a run has failed; its output is in its ``log.txt``.
    """
    results = {plan.label: finished(plan, out / plan.label) for plan in plans}
    waiting = [plan for plan in plans if results[plan.label] is None]
    running: dict[int, tuple[RunPlan, BaseProcess]] = {}
    failed = []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                plan = waiting.pop(0)
                process = _start(plan, out / plan.label)
                running[process.sentinel] = (plan, process)
            for sentinel in wait(list(running)):
                assert isinstance(sentinel, int)
                plan, process = running.pop(sentinel)
                process.join()
                result = finished(plan, out / plan.label) if process.exitcode == 0 else None
                if result is None:
                    failed.append(plan.label)
                    continue
                results[plan.label] = result
                on_result(plan, result)
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.join()
    if failed:
        raise UserError(f"runs failed: {', '.join(failed)}; see {out / failed[0] / LOG}")
    return [result for plan in plans if (result := results[plan.label]) is not None]


def _start(plan: RunPlan, folder: Path) -> BaseProcess:
    shutil.rmtree(folder, ignore_errors=True)  # of a run that was cut off
    folder.mkdir(parents=True)
    # Not a daemon: it starts simulator processes of its own.
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(plan.model_dump_json(), str(folder)))
    process.start()
    return process


def _environment(plan: RunPlan) -> dict[str, str]:
    """Environment variables of a run: threads as asked for, and XLA takes of the GPU what it needs instead of 75 %."""
    variables = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if plan.threads:
        variables |= {name: str(plan.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    if plan.threads == 1:
        variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
    if plan.device == "cpu":
        variables["JAX_PLATFORMS"] = "cpu"
    return variables


def _work(plan_json: str, folder_name: str) -> None:
    """Body of a run's process: what it prints goes to `LOG`, its result is written last."""
    folder = Path(folder_name)
    log = (folder / LOG).open("w", buffering=1)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(log.fileno(), stream.fileno())
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    plan = RunPlan.model_validate_json(plan_json)
    os.environ.update(_environment(plan))  # torch and XLA, which are not loaded yet, read them then
    try:
        result = execute(plan, folder)
    except BaseException:
        traceback.print_exc()
        raise
    if result["stopped_by"] == "signal":
        sys.exit(1)
    with atomic_file(folder / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2))


def _end_with_parent() -> None:
    """Nobody would wait for this run's result, or stop it, when the command that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _leave(number: int, frame: object) -> None:
    """Ends by an exception, so that simulators and files are closed."""
    sys.exit(128 + number)


def execute(plan: RunPlan, folder: Path) -> dict[str, Any]:
    """One run, from its first step to its figures; episodes and trials are written to ``folder`` as they happen."""
    env = make_env(plan.task, seed=plan.seed, render=False, **plan.task_options)
    spec, names = agent_spec(env), figure_names(env)
    env.close()
    trials = WalkingTrials(plan.task, plan.task_options) if can_walk(spec) else None
    every = plan.trial_every_steps if trials is not None else None
    rate_hz = spec.control_rate_hz
    with Curve(folder, rate_hz=rate_hz, figure_names=names, trial_every_steps=every) as curve:
        try:
            if plan.name == DREAMER:
                from robot_wm.baselines import dreamer

                steps, why = dreamer.train(plan.train_config(folder), curve=curve, trials=trials)
            else:
                import torch

                from robot_wm.baselines import model_free

                if plan.threads:
                    torch.set_num_threads(plan.threads)
                assert plan.algorithm is not None
                steps, why = model_free.train(
                    plan.algorithm,
                    plan.task,
                    plan.task_options,
                    spec,
                    history=plan.history,
                    steps=plan.steps,
                    seed=plan.seed,
                    processes=plan.processes,
                    device=plan.device,
                    time_limit_s=plan.time_limit_s,
                    curve=curve,
                    trials=trials,
                )
        finally:
            if trials is not None:
                trials.close()
        summary = curve.summary(steps)
    return {
        "name": plan.name,
        "seed": plan.seed,
        "envs": plan.envs,
        **summary,
        "stopped_by": why,
        "plan": plan.model_dump(mode="json"),
        "versions": {name: version(name) for name in _libraries(plan)},
    }


def _libraries(plan: RunPlan) -> tuple[str, ...]:
    if plan.algorithm is None:
        return ("torch",)
    return ("stable-baselines3", "torch") if plan.algorithm.library == "stable_baselines3" else ("sbx-rl", "jax")
