"""One run of the comparison in a process of its own, its files, and the rows of all of them."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

from robot_wm.atomic import atomic_file
from robot_wm.baselines.curve import known
from robot_wm.baselines.settings import Algorithm
from robot_wm.errors import UserError
from robot_wm_bench.rescue.adaptation import Adaptation
from robot_wm_bench.rescue.lessons import Lessons
from robot_wm_bench.rescue.method import Method, World

RESULT = "result.json"


class Plan(BaseModel):
    """All that a run depends on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # of the method
    seed: NonNegativeInt
    how: Adaptation | Algorithm  # of a world model, or of a method without one
    agent: Path  # the source's: a checkpoint, or the folder of a run
    task: str
    source: dict[str, Any]  # task options
    target: dict[str, Any]
    drive: dict[str, Any]  # the target's while the robot is driven there; looks know nothing of them
    lessons: Lessons | None  # None for a world model, which needs none
    episodes: PositiveInt  # of a look
    goal: PositiveFloat
    limit_s: PositiveFloat
    processes: NonNegativeInt
    device: Literal["auto", "cpu"]

    @property
    def label(self) -> str:
        """Name of the run's folder."""
        return f"{self.name}_seed{self.seed}"

    def method(self) -> Method:
        """What is to be run; imports its libraries."""
        if isinstance(self.how, Adaptation):
            from robot_wm_bench.rescue.dreamer import Dreamer

            return Dreamer(self.how, self.agent, seed=self.seed, device=self.device)
        from robot_wm_bench.rescue.model_free import ModelFree

        assert self.lessons is not None
        return ModelFree(self.how, self.agent, lessons=self.lessons, seed=self.seed, processes=self.processes)


def finished(folder: Path) -> dict[str, Any] | None:
    """The result in ``folder``, if it is there."""
    try:
        result: dict[str, Any] = json.loads((folder / RESULT).read_text())
    except FileNotFoundError:
        return None
    return result


def begin(device: str) -> None:
    """First thing in a process: XLA takes of the GPU what it needs instead of 75 %, or none of it."""
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"


def execute(plan: Plan, folder: Path, *, source_only: bool) -> dict[str, Any]:
    """Make the source's agent, then rescue it; the result is written last."""
    import torch

    from robot_wm.training.one_writer import only_writer

    torch.set_num_threads(1)
    with only_writer(folder):
        return _execute(plan, folder, source_only=source_only)


def _execute(plan: Plan, folder: Path, *, source_only: bool) -> dict[str, Any]:
    from robot_wm_bench.rescue.evaluation import Evaluation
    from robot_wm_bench.rescue.record import Record

    source, target = World(plan.task, plan.source), World(plan.task, plan.target | plan.drive)
    method = plan.method()
    told = method.prepare(source, folder)
    with Evaluation(plan.task, plan.source, episodes=plan.episodes, processes=plan.processes) as evaluation:
        at_home = evaluation.run(method.greedy(evaluation.spec, plan.episodes))
    home = {"source_return": float(at_home.returns.mean()), "source_look_falls": known(at_home.falls), **told}
    named = {"name": plan.name, "seed": plan.seed}
    if source_only:
        return {**named, **home}
    if home["source_return"] <= 0.0:
        raise UserError(f"{plan.label}: a return of {home['source_return']:g} at the source has no share to be reached")
    with Evaluation(plan.task, plan.target, episodes=plan.episodes, processes=plan.processes) as evaluation:
        with Record(
            folder,
            rate_hz=evaluation.spec.control_rate_hz,
            source_return=home["source_return"],
            evaluate=evaluation.run,
            robots=plan.episodes,
            limit_s=plan.limit_s,
            goal=plan.goal,
        ) as record:
            method.rescue(target, record)
        result = {**named, **home, **record.summary(), "looks": [look.told() for look in record.looks]}
    result["plan"] = plan.model_dump(mode="json")
    with atomic_file(folder / RESULT) as temporary:
        temporary.write_text(json.dumps(result, indent=2))
    return result


def summarise(results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a method: medians over seeds, None where half of them or more were never rescued."""
    rows = []
    for name in dict.fromkeys(result["name"] for result in results):
        runs = [result for result in results if result["name"] == name]
        row: dict[str, Any] = {"method": name, "seeds": len(runs)}
        row["rescued"] = sum(run["rescued_s"] is not None for run in runs)
        row["in_60_s"] = sum(run["rescued_s"] is not None and run["rescued_s"] <= 60.0 for run in runs)
        for key in ("source_return", "share_before", "share_at_60_s", "best_share"):
            row[key] = round(statistics.median(run[key] for run in runs), 3)
        for key in ("rescued_s", "falls_until_rescued", "falls_at_60_s", "falls", "target_s"):
            row[key] = _median([run[key] for run in runs])
        rows.append(row)
    return rows


def _median(values: Sequence[float | None]) -> float | None:
    middle = statistics.median(float("inf") if value is None else value for value in values)
    return None if middle == float("inf") else round(middle, 3)
