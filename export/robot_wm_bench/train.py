"""``robot-wm bench train``: how fast a whole run learns, and which of its parts the time goes to."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter

from robot_wm.agents import DEFAULT
from robot_wm.console import emit, progress
from robot_wm.options import NotNegative, Positive
from robot_wm.training.config import TrainConfig
from robot_wm_bench.settings import agent_settings

if TYPE_CHECKING:
    from rich.progress import Progress

    from robot_wm.training.loop import Trainer

_WARM_UP = 20  # updates before the warm-up's own time counts: everything is compiled
_FEWEST_UPDATES = 20  # a rate of fewer tells nothing, however long they took
_ENDLESS = 10**12  # policy steps: the clock ends the run


def bench_train(
    *,
    task: str = "cartpole_swingup",
    agent: str = DEFAULT,
    size: str | None = None,
    train_ratio: Annotated[float, Positive] = 512.0,
    envs: Annotated[int, Positive] = 16,
    processes: Annotated[int, NotNegative] = 16,
    actor: Literal["inline", "process"] = "inline",
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: Annotated[int, NotNegative] = 0,
    episodes_per_commit: Annotated[int, Positive] = 1,
    warm_up_seconds: Annotated[float, NotNegative] = 5.0,
    seconds: Annotated[float, Positive] = 60.0,
    batch_size: Annotated[int | None, Positive] = None,
    batch_length: Annotated[int | None, Parameter(validator=cyclopts.validators.Number(gte=2))] = None,
    num_simulations: Annotated[int | None, Positive] = None,
    reanalyse: Annotated[float | None, Parameter(validator=cyclopts.validators.Number(gte=0, lte=1))] = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Time `robot-wm train` as it runs: simulators, replay, transfer and updates together, nothing left out.

    The clock starts some seconds after the first 20 updates: everything is compiled then, and an actor process is as
    far ahead of the learner as it may be. Shares are of the wall clock. On a GPU the
    shares of transfer and update are the device's own time, and the host's sampling runs beside it, so that they may
    add up to more than 1; what the update share lacks to 1 is how long the device waited for everything else.
    collected_steps_per_s is by the time of collecting alone: how fast the agent plays where nothing is learned.

    Parameters
    ----------
    task
        Task to learn, see `robot-wm tasks`.
    agent
        Kind of agent: dreamer or muzero.
    size
        Model size [default: the agent's own, 12m for dreamer and 1m for muzero].
    train_ratio
        Replayed steps per policy step.
    envs
        Environments stepped together.
    processes
        Simulator processes; 0 steps the environments in the actor's process.
    actor
        inline: acts between two rounds of updates; process: acts beside the learner.
    device
        Where to learn; auto takes CUDA if there is any.
    threads
        CPU threads of the learner; 0 leaves it to torch.
    episodes_per_commit
        Finished episodes a commit of the replay store.
    warm_up_seconds
        How long to let it run before, s.
    seconds
        How long to measure, s; longer where it takes that for 20 updates and a policy step.
    batch_size
        Sequences an update [default: the agent's own, as the options that follow].
    batch_length
        Trained steps a sequence, control steps.
    num_simulations
        Simulations of a search of muzero.
    reanalyse
        Share of muzero's batch whose states are searched again.
    json
        Print one JSON object; rates are per second, steps are policy steps of all environments together.
    """
    from robot_wm.training.loop import Trainer

    settings = agent_settings(
        agent, size=size, batch_size=batch_size, batch_length=batch_length, num_simulations=num_simulations,
        reanalyse=reanalyse,
    )  # fmt: skip
    with TemporaryDirectory(prefix="robot-wm-bench-") as folder, progress() as bar:
        config = TrainConfig(
            task=task,
            agent=agent,
            run_dir=Path(folder) / "run",
            steps=_ENDLESS,
            train_ratio=train_ratio,
            envs=envs,
            processes=processes,
            actor=actor,
            device=device,
            compile_on_cpu="never",
            threads=threads,
            # A window needs this many steps of one environment, and nothing is learned before.
            prefill_steps=envs * (settings.batch_length + 2),
            episodes_per_commit=episodes_per_commit,
            checkpoint_every_steps=_ENDLESS,
            settings=settings,
        )
        watch = Watch(bar, warm_up_seconds, seconds)
        trainer = Trainer(config)
        trainer.train(watch)
        if trainer.stopped_by == "signal":
            raise KeyboardInterrupt
    emit(watch.result, as_json=json, title="One training run")


class Watch:
    """Starts a clock after the warm-up, ends the run when it has run out, and keeps what happened in between.

    A rate needs something to be a rate of: 20 updates and a policy step at least. An actor process that is ahead of
    the learner waits for it, and may take no step in a short time.
    """

    def __init__(self, bar: Progress, warm_up_s: float, seconds: float) -> None:
        self._bar, self._warm_up_s, self._seconds = bar, warm_up_s, seconds
        self._task = bar.add_task("bench train, s", total=round(seconds), note="starting")
        self._created_s = time.monotonic()
        self._first_update_s: float | None = None
        self._warm_s: float | None = None  # when the warm-up's own time began
        self._start: dict[str, float] | None = None
        self.result: dict[str, Any] = {}

    @property
    def measures(self) -> bool:
        """Whether the clock has started."""
        return self._start is not None

    def __call__(self, trainer: Trainer) -> None:
        """Look at the run after one of its rounds."""
        now = _counters(trainer)
        if self._first_update_s is None and trainer.state.updates:
            self._first_update_s = time.monotonic() - self._created_s
        if self._warm_s is None and trainer.state.updates >= _WARM_UP:
            self._warm_s = trainer.running_s
        if self._start is None:
            if self._warm_s is not None and trainer.running_s >= self._warm_s + self._warm_up_s:
                self._start = now
            return
        since = {name: value - self._start[name] for name, value in now.items()}
        self._bar.update(self._task, completed=int(since["wall_s"]), note=f"{int(since['updates'])} updates")
        if since["wall_s"] >= self._seconds and since["updates"] >= _FEWEST_UPDATES and since["env_steps"] > 0:
            self.result = self._figures(trainer, since)
            trainer.stop("bench")

    def _figures(self, trainer: Trainer, since: dict[str, float]) -> dict[str, Any]:
        import torch

        from robot_wm.training.device import device_name

        config, wall_s, updates = trainer.config, since["wall_s"], since["updates"]
        return {
            "env_steps_per_s": round(since["env_steps"] / wall_s, 2),
            "updates_per_s": round(since["updates"] / wall_s, 3),
            "collected_steps_per_s": round(since["env_steps"] / max(since["collect"], 1e-9), 2),
            **{f"{part}_share": round(since[part] / wall_s, 4) for part in vars(trainer.spent)},
            **{f"{part}_ms_per_update": round(1e3 * since[part] / updates, 3) for part in vars(trainer.spent)},
            "replayed_per_step": round(
                updates * config.settings.batch_size * config.settings.batch_length / since["env_steps"], 1
            ),
            "first_update_s": round(self._first_update_s or 0.0, 1),
            "wall_s": round(wall_s, 1),
            "env_steps": int(since["env_steps"]),
            "updates": int(since["updates"]),
            "episodes": int(since["episodes"]),
            "task": config.task,
            "agent": config.agent,
            "size": config.settings.size,
            "train_ratio": config.train_ratio,
            "envs": config.envs,
            "processes": config.processes,
            "actor": config.actor,
            "batch_size": config.settings.batch_size,
            "batch_length": config.settings.batch_length,
            "device": device_name(trainer.device),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }


def _counters(trainer: Trainer) -> dict[str, float]:
    state = trainer.state
    counts = {"env_steps": state.env_steps, "updates": state.updates, "episodes": state.episodes}
    return {**counts, "wall_s": trainer.running_s, **vars(trainer.spent)}
