"""What a training run is told: validated once, saved with every checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SerializeAsAny,
    SerializerFunctionWrapHandler,
    create_model,
    field_validator,
    model_serializer,
    model_validator,
)

from robot_wm.agents import DEFAULT, GROUP, agent_kind
from robot_wm.errors import UserError
from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.learning.config import AgentConfig
from robot_wm.options import MOST_SEED
from robot_wm.plugins import entries
from robot_wm.replay.location import Location, located
from robot_wm.tasks import parse_options
from robot_wm.training.replay_source import ReplaySource, require_sound
from robot_wm.training.schedule import UpdateSchedule

OptionValue = bool | int | float | str


class RunSettings(BaseModel):
    """What a run of any agent is told. Steps are policy steps summed over all environments, of all ranks if several."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    agent: str = Field(default=DEFAULT, description="kind of agent, whose own settings are --KIND.*")
    task: str = Field(default="cartpole_balance", description="task name, or gym:<module>:<Id>; see `robot-wm tasks`")
    task_options: dict[str, OptionValue] = Field(
        default_factory=dict, description="options of the task, such as observation=image or action_repeat=2"
    )
    run_dir: Path | None = Field(default=None, description="folder of the run [default: runs/<task>]")
    steps: PositiveInt = Field(default=500_000, description="policy steps to collect in all")
    init: str | None = Field(
        default=None,
        description="trained agent whose weights to begin with: a run's folder, a checkpoint or zoo:NAME [none]",
    )
    seed: int = Field(default=0, ge=0, le=MOST_SEED, description="seeds networks, environments, noise and sampling")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="where to learn; auto takes CUDA if any")
    threads: int = Field(default=0, ge=0, le=1024, description="CPU threads of the learner; 0 leaves it to torch")
    compile_on_cpu: Literal["auto", "always", "never"] = Field(
        default="auto",
        description="compile updates on a CPU, as they always are on a GPU: a quarter less time, for three minutes of"
        " a C++ compiler; auto: from some 4000 planned updates of 16x64 steps on",
    )

    collectives: Literal["captured", "between"] = Field(
        default="captured",
        description="how several GPUs exchange gradients: captured in the update's CUDA graph, or between two graphs",
    )

    envs: PositiveInt = Field(default=1, description="environments stepped together; of each rank under torchrun")
    processes: int = Field(
        default=0, ge=0, description="simulator processes, of each rank; 0 steps the environments in this one"
    )
    actor: Literal["inline", "process", "ray"] = Field(
        default="inline",
        description="process: the actor runs beside the learner and is never stalled by it; ray: as many of them as"
        " --collectors on the machines of a Ray cluster",
    )
    collectors: PositiveInt = Field(
        default=1, description="actors of actor=ray, each with --envs environments and --processes of its own"
    )
    ray_address: str | None = Field(
        default=None,
        description="HOST:PORT of a Ray cluster, auto for the one that this machine is part of, or local to start one"
        " here; robots send to the run over it, see `robot-wm collect`. Its network must be trusted, as whoever reaches"
        " it runs what he likes on it",
    )
    realtime: bool = Field(default=False, description="pace the actor process at the task's control rate")
    prefill_steps: int = Field(default=1024, ge=0, description="random policy steps before learning starts")
    prefill_correlation_s: NonNegativeFloat = Field(
        default=0.0,
        description="correlation time of the random actions, s; held actions reach postures; 0 is white",
    )
    prefill_span: float = Field(
        default=1.0, gt=0, le=1, description="share of the action's range that the random actions are spread over"
    )
    pretrain_updates: int = Field(
        default=0, ge=0, description="updates on the random steps before the first step of the policy"
    )
    train_ratio: PositiveFloat = Field(default=32.0, description="replayed steps per policy step, both of all ranks")
    early_train_ratio: PositiveFloat | None = Field(
        default=None, description="train_ratio of the first early_updates [as train_ratio]"
    )
    early_updates: int = Field(default=0, ge=0, description="updates at early_train_ratio, after those of pretraining")

    replay_capacity_steps: PositiveInt | None = Field(
        default=None,
        description="steps kept in memory, of each rank [1000000, or as many as fit a quarter of the free memory]",
    )
    replay_quota_mib: PositiveInt | None = Field(default=None, description="size limit of the store on disk, MiB")
    episodes_per_commit: PositiveInt = Field(
        default=16,
        description="finished episodes a store commit, for which the learner waits; a crash costs those not committed",
    )

    replay_store: str | None = Field(
        default=None,
        description="where the run's own episodes are kept: a folder or s3://bucket/prefix, where others may write at"
        " the same time [in the run's folder]",
    )
    replay: tuple[str, ...] = Field(
        default=(),
        description="stores to learn from beside the own steps, PATH[@VERSION|TAG][=SHARE]: that share of every batch;"
        " without one drawn uniformly with the own steps. A run's folder means its store",
    )
    offline: bool = Field(
        default=False,
        description="learn from stores alone, without a step of the environment: each update counts as a step",
    )

    log_every_steps: PositiveInt = Field(default=1000, description="policy steps between two rows of scalars")
    tracker: tuple[Literal["tensorboard", "wandb", "trackio"], ...] = Field(
        default=("tensorboard",),
        description="where scalars and pictures go; TensorBoard's files are written in any case. May be given again",
    )
    eval_every_steps: PositiveInt | None = Field(default=None, description="policy steps between evaluations [off]")
    eval_episodes: PositiveInt = Field(default=5, description="greedy episodes an evaluation")
    eval_episode_steps: PositiveInt = Field(
        default=LONGEST_EPISODE_STEPS,
        description="control steps after which an evaluated episode is cut off and counted as it stands",
    )
    predict_every_steps: PositiveInt | None = Field(
        default=None, description="policy steps between open-loop predictions written to the log [off]"
    )
    audit_every_steps: PositiveInt | None = Field(
        default=None,
        description="policy steps between audits of what is imagined against what comes, reality/*, each with a map of"
        " what the agent believes [off]",
    )
    audit_states: PositiveInt = Field(default=16, description="states that an audit restores in the simulator")
    checkpoint_every_steps: PositiveInt = Field(default=10_000, description="policy steps between checkpoints")
    checkpoints_kept: PositiveInt = Field(default=2, description="newest checkpoints kept beside the best one")
    stop_at_return: float | None = Field(default=None, description="stop once an evaluation's mean return reaches this")
    time_limit_s: PositiveFloat | None = Field(default=None, description="stop after this long, s")

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.run_dir or Path("runs") / self.task.replace(":", "_").replace("/", "_")

    @property
    def streams(self) -> int:
        """Environments of all collectors, each of which makes a stream of experience."""
        return self.envs * self.collectors

    @property
    def trackers(self) -> tuple[str, ...]:
        """Those of ``tracker`` beside TensorBoard, each once."""
        return tuple(dict.fromkeys(name for name in self.tracker if name != "tensorboard"))

    @property
    def sources(self) -> list[ReplaySource]:
        """What ``replay`` names."""
        return [ReplaySource.parse(text) for text in self.replay]

    @model_validator(mode="after")
    def _sound_sources(self) -> RunSettings:
        require_sound(self.sources, offline=self.offline)
        try:
            _ = run_store(self.folder, self)
        except UserError as error:
            raise ValueError(f"replay_store: {error}") from None
        return self

    @field_validator("task_options", mode="before")
    @classmethod
    def _typed(cls, options: Any) -> Any:
        return parse_options(options) if isinstance(options, Mapping) else options


class TrainConfig(RunSettings):
    """One training run: its own settings, and those of its kind of agent, given and saved under the kind's name."""

    settings: SerializeAsAny[AgentConfig]

    @model_validator(mode="before")
    @classmethod
    def _take_settings(cls, values: Any) -> Any:
        """``settings`` from what is given under the kind's name, where not given themselves."""
        if not isinstance(values, Mapping) or "settings" in values:
            return values
        try:
            kind = agent_kind(str(values.get("agent", DEFAULT)))
        except UserError as error:
            raise ValueError(str(error)) from None
        # By a model with that one field, so that what is refused in it has the field's name before its own.
        fields: dict[str, Any] = {kind.name: (kind.config, Field(default_factory=kind.config))}
        named: Any = create_model("_Named", **fields)
        rest = {name: value for name, value in values.items() if name != kind.name}
        if others := [name for name in entries(GROUP) if name in rest]:
            raise ValueError(f"{others[0]}: settings of another agent than this run's, which is {kind.name} (agent)")
        given = {kind.name: values[kind.name]} if kind.name in values else {}
        return rest | {"settings": getattr(named.model_validate(given), kind.name)}

    @model_serializer(mode="wrap")
    def _name_settings(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        return {self.agent if name == "settings" else name: value for name, value in values.items()}

    @model_validator(mode="after")
    def _consistent(self) -> TrainConfig:
        window = self.settings.batch_length + 1
        if self.replay_capacity_steps is not None and self.replay_capacity_steps < window * self.streams:
            raise ValueError(
                f"replay_capacity_steps {self.replay_capacity_steps} holds no window of {window} steps "
                f"for each of {self.streams} environments"
            )
        if self.realtime and self.actor != "process":
            raise ValueError("realtime needs actor=process: any other actor waits for the learner")
        if self.actor == "ray" and self.ray_address is None:
            raise ValueError("actor=ray needs a ray_address: HOST:PORT, auto or local")
        if self.collectors > 1 and self.actor != "ray":
            raise ValueError(f"collectors {self.collectors} need actor=ray")
        if self.stop_at_return is not None and self.eval_every_steps is None:
            raise ValueError("stop_at_return needs eval_every_steps")
        return self

    def schedule(self, ranks: int = 1) -> UpdateSchedule:
        """Learner updates by policy steps: a train ratio over the trained steps of one update is its share.

        An update of several ``ranks`` has as many batches.
        """
        trained = self.settings.batch_size * self.settings.batch_length * ranks
        return UpdateSchedule(
            prefill_steps=self.prefill_steps,
            pretrain_updates=self.pretrain_updates,
            early_updates=self.early_updates,
            early_per_step=(self.early_train_ratio or self.train_ratio) / trained,
            per_step=self.train_ratio / trained,
        )


def own_folder(run: Path) -> Path:
    """Where a run, or a rank's share of it, keeps its own episodes if it was not told another place."""
    return run / "replay"


def run_store(run: Path, config: RunSettings) -> Location:
    """Where the run whose folder is ``run`` now keeps its own episodes."""
    return located(own_folder(run) if config.replay_store is None else config.replay_store)


def flag(name: str) -> str:
    """How the command line calls a setting, such as ``dreamer.learning_rate``."""
    return f"--{name.replace('_', '-')}"


def preset_path(name: str) -> Path:
    """The YAML file of a shipped preset; raises UserError naming the presets there are."""
    folder = Path(str(files("robot_wm.training"))) / "presets"
    known = sorted(path.stem for path in folder.glob("*.yaml"))
    if name not in known:
        raise UserError(f"unknown preset {name!r}; known presets: {', '.join(known)}")
    return folder / f"{name}.yaml"
