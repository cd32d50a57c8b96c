"""The run itself, with collectors of a cluster of this machine: its rates, and the processor time that it took."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from robot_wm.training.config import TrainConfig
from robot_wm_bench.scale.spent import tree_cpu_s
from robot_wm_bench.train import Watch

if TYPE_CHECKING:
    from rich.progress import Progress

    from robot_wm.training.experience import Finished
    from robot_wm.training.loop import Trainer
    from robot_wm.training.transition import Transition


def run_with(config: TrainConfig, collectors: int, *, seconds: float, bar: Progress) -> dict[str, Any]:
    """Rates of the run that ``config`` asks for with so many collectors, for ``seconds`` from when all are there."""
    from robot_wm.training.loop import Trainer

    with TemporaryDirectory(prefix="robot-wm-bench-") as folder:
        told = {"actor": "ray", "ray_address": "local", "collectors": collectors, "run_dir": Path(folder) / "run"}
        load = os.getloadavg()[0]
        trainer = Trainer(config.model_copy(update=told))
        watch = _AllThere(Watch(bar, 1.0, seconds), collectors)
        trainer.experience.listeners.append(watch.hear)
        trainer.train(watch)
        if trainer.stopped_by == "signal":
            raise KeyboardInterrupt
    result = watch.watch.result
    wall_s = result["wall_s"]
    return {
        "collectors": collectors,
        "env_steps_per_s": result["env_steps_per_s"],
        "updates_per_s": result["updates_per_s"],
        "cores_got": round((watch.end_cpu_s - watch.begin_cpu_s) / wall_s, 3),
        "wall_s": wall_s,
        "env_steps": result["env_steps"],
        "updates": result["updates"],
        "load_before": round(load, 1),
    }


class _AllThere:
    """Looks at a run from the round on in which every collector has sent something."""

    def __init__(self, watch: Watch, collectors: int) -> None:
        self.watch, self._collectors = watch, collectors
        self._heard: set[int] = set()
        self.begin_cpu_s = self.end_cpu_s = 0.0

    def hear(self, transition: Transition, finished: Sequence[Finished]) -> None:
        """A step of one of them, by its first stream."""
        self._heard.add(transition.first_stream)

    def __call__(self, trainer: Trainer) -> None:
        """See `Watch`, which measures from one of its calls to another."""
        if len(self._heard) < self._collectors:
            return
        measured = self.watch.measures
        self.watch(trainer)
        if self.watch.measures and not measured:
            self.begin_cpu_s = tree_cpu_s()
        if self.watch.result:
            self.end_cpu_s = tree_cpu_s()
