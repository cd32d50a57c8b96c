"""`robot-wm train`: flags over a YAML file over a preset over the defaults."""

from __future__ import annotations

import shlex
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import cyclopts
from cyclopts import Parameter
from pydantic import Field, ValidationError, create_model, model_validator

from robot_wm.agents import DEFAULT, agent_kinds
from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.training.config import RunSettings, TrainConfig, flag, preset_path
from robot_wm.yaml_file import read_mapping

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from robot_wm.training.loop import Trainer

_RATE_OVER_S = 30.0


def _layers(app: cyclopts.App, commands: tuple[str, ...], arguments: cyclopts.ArgumentCollection) -> None:
    """Fill what no flag gave from `--config`, then from `--preset`, then, on `--resume`, from the run itself."""
    given = {argument.name: argument.tokens[-1].value for argument in arguments if argument.tokens}
    files = [Path(given["--config"])] if "--config" in given else []
    files += [preset_path(given["--preset"])] if "--preset" in given else []
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file (--config)")
        settings = read_mapping(file)
        _fill(settings, str(file), app, commands, arguments)
    if "--resume" in given:
        # By a flag, by a file, or by its task: however the run is named, it goes on with its own settings.
        told = {argument.name: argument.tokens[-1].value for argument in arguments if argument.tokens}
        named = {name: told[flag(name)] for name in ("task", "run_dir") if flag(name) in told}
        run = RunSettings.model_validate(named).folder
        _fill(saved_settings(run), str(run), app, commands, arguments)


def _fill(
    settings: dict[str, Any],
    source: str,
    app: cyclopts.App,
    commands: tuple[str, ...],
    arguments: cyclopts.ArgumentCollection,
) -> None:
    """Fill what is not given yet; under the command's name, as cyclopts would leave out a setting called as another."""
    for name in reversed(commands):
        settings = {name: settings}
    cyclopts.config.Dict(settings, source=source)(app, commands, arguments)


def saved_settings(run: Path) -> dict[str, Any]:
    """The settings that a run was saved with, without those that were left unset; UserError if there is none.

    Of the newest checkpoint that can tell; whether it can be gone on from is asked later.
    """
    from robot_wm.training import checkpoint

    damage: UserError | None = None
    for path in reversed(checkpoint.paths(run)):
        try:
            config = checkpoint.read_state(path).config
        except checkpoint.DamagedError as error:
            damage = damage or error
            continue
        return config.model_dump(mode="json", exclude_none=True, exclude={"run_dir"})
    raise damage or UserError(f"{run}: no checkpoint to resume from")


class _SizedRun(RunSettings):
    """A run with ``--size``, which is that of its agent, whatever the kind."""

    size: str | None = Field(default=None, description="preset of the agent's widths")

    @model_validator(mode="before")
    @classmethod
    def _hand_on(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Before the kind's settings are made: widths that are not given follow from the size."""
        if values.get("size") is None:
            return values
        kind = values.get("agent", DEFAULT)
        rest = {name: value for name, value in values.items() if name != "size"}
        return rest | {kind: values.get(kind, {}) | {"size": values["size"]}}


def _with_kinds() -> type[_SizedRun]:
    """What a command line takes: the run's settings, its size, and the settings of every kind under its name."""
    fields: dict[str, Any] = {
        kind.name: (kind.config, Field(default_factory=kind.config, description=f"settings of the agent {kind.name}"))
        for kind in agent_kinds()
    }
    return create_model("TrainFlags", __base__=_SizedRun, **fields)


if TYPE_CHECKING:
    TrainFlags = _SizedRun
else:
    TrainFlags = _with_kinds()


def run_config(flags: RunSettings) -> TrainConfig:
    """The run that a command line asks for; UserError where it does not make sense."""
    try:
        return TrainConfig.model_validate(flags.model_dump(exclude_unset=True))
    except ValidationError as error:
        raise UserError.from_validation(error, origin="train") from None


app = cyclopts.App(name="train", help="Learn a task: collect, learn, evaluate, save.", config=_layers)


@app.default
def train(
    *,
    flags: Annotated[TrainFlags, Parameter(name="*")] = TrainFlags(),  # noqa: B008 - frozen
    config_file: Annotated[Path | None, Parameter(name="--config")] = None,
    preset: str | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    backend: str | None = None,
    publish_bundles: Path | None = None,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Learn a task: collect, learn, evaluate, save.

    On several GPUs: `torchrun --nproc-per-node N -m robot_wm train …`, each of whose ranks has --envs environments and
    a batch of its own.

    Ctrl-C finishes the update in hand, saves, and exits with code 130; `--resume --run-dir …` goes on from there, with
    the settings of the run where no flag says otherwise.

    Parameters
    ----------
    config_file
        YAML file with any of these settings; flags win over it.
    preset
        Shipped settings; a YAML file and flags win over it.
    resume
        Continue the run in --run-dir from its newest checkpoint and with its settings.
    backend
        Physics engine, short for --task-options.backend: pybullet, mujoco, or both in turn by environment:
        pybullet,mujoco.
    publish_bundles
        PEM private key: each checkpoint becomes a bundle signed by it, which `robot-wm collect` installs on robots.
    json
        Print the result as one JSON object.
    """
    from robot_wm.learning.process_group import process_group
    from robot_wm.training.cluster.ingest import taking_in
    from robot_wm.training.cluster.publisher import publishing
    from robot_wm.training.device import place
    from robot_wm.training.loop import Trainer
    from robot_wm.training.trackers import require_installed

    config = run_config(flags)
    require_installed(config.trackers)
    if backend is not None:
        config = config.model_copy(update={"task_options": config.task_options | {"backend": backend}})
    with process_group(place(config.device), captured=config.collectives == "captured") as ranks:
        trainer = Trainer(config, resume=resume, ranks=ranks)
        with taking_in(config, ranks), publishing(config, publish_bundles, ranks):
            run_to_end(trainer, "train", as_json=json)


def run_to_end(trainer: Trainer, label: str, *, as_json: bool) -> None:
    """Train under a progress bar called ``label`` and print the result; KeyboardInterrupt where a signal ended it.

    Of several ranks the first one does, and tells for all of them.
    """
    if trainer.ranks.rank:
        trainer.train()
    else:
        with progress() as bar:
            trainer.train(RoundReport(bar, label))
    told = result(trainer)
    if not trainer.ranks.rank:
        emit(told, as_json=as_json, title=str(trainer.run))
    if trainer.stopped_by == "signal":
        again = shlex.join(["robot-wm", "train", "--resume", "--run-dir", str(trainer.run)])
        if not trainer.ranks.rank:
            messages().print(f"stopped and saved; continue with: {again}")
        raise KeyboardInterrupt


def result(trainer: Trainer) -> dict[str, Any]:
    """What a finished run prints; of several ranks each asks for it."""
    state = trainer.state
    return {
        "task": trainer.config.task,
        "run_dir": str(trainer.run),
        "env_steps": state.env_steps,
        "updates": state.updates,
        "replay_steps": int(trainer.ranks.rows([len(trainer.sources.mixture)]).sum()),
        "episodes": state.episodes,
        "robot_minutes": round(trainer.robot_minutes, 2),
        "falls": trainer.falls,
        "wall_s": round(state.wall_s, 1),
        "stopped_by": trainer.stopped_by,
        "best_return": state.best_return,
        "episode_return": trainer.recent_return,
        "replay_version": state.replay_version,
    }


class RoundReport:
    """Moves a progress bar after every round of the training loop and notes beside it how the run does."""

    def __init__(self, bar: Progress, label: str) -> None:
        self._bar, self._label = bar, label
        self._task: TaskID | None = None
        self._marks: deque[tuple[float, int]] = deque()  # running seconds and updates, over the last half minute

    def __call__(self, trainer: Trainer) -> None:
        """Show steps, returns, falls, robot-minutes, updates and their rate."""
        state = trainer.state
        steps, limit_s = trainer.config.steps, trainer.config.time_limit_s
        # With a time limit the bar counts seconds: steps would promise an end that the limit forestalls.
        if self._task is None:
            label = self._label if limit_s is None else f"{self._label}, s"
            self._task = self._bar.add_task(label, total=limit_s or steps, note="")
        done = state.progress if limit_s is None else max(trainer.running_s, limit_s * state.progress / steps)
        parts = [
            None if trainer.recent_return is None else f"return {trainer.recent_return:.1f}",
            None if state.best_return is None else f"best {state.best_return:.1f}",
            None if trainer.falls is None else f"{trainer.falls} falls",
            None if limit_s is None else f"{state.env_steps} steps",
            f"{trainer.robot_minutes:.1f} robot-minutes",
            f"{state.updates} updates",
            f"{self._updates_per_s(trainer):.1f} updates/s",
        ]
        note = ", ".join(part for part in parts if part is not None)
        self._bar.update(self._task, completed=int(done), note=note)

    def _updates_per_s(self, trainer: Trainer) -> float:
        """Updates a second over the last half minute; before, since the first round."""
        now_s, updates = trainer.running_s, trainer.state.updates
        marks = self._marks
        if not marks or now_s >= marks[-1][0] + 1.0:
            marks.append((now_s, updates))
        while len(marks) > 1 and marks[1][0] <= now_s - _RATE_OVER_S:
            marks.popleft()
        since_s, before = marks[0]
        return (updates - before) / (now_s - since_s) if now_s > since_s else 0.0
