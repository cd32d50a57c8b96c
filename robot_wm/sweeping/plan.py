"""A sweep's file: what its runs have in common, what differs, what is wanted, and what it may cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from robot_wm.errors import UserError
from robot_wm.options import MOST_SEED
from robot_wm.sweeping.space import Dimension, flat, merged, require_known, require_takes, run_of
from robot_wm.training.config import preset_path
from robot_wm.yaml_file import read_mapping


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Objective(_Part):
    """What is to be large or small."""

    scalar: str = Field(default="eval/return", description="of the run's log; trials are pruned by it")
    over: Literal["last", "best", "mean"] = Field(
        default="last", description="of the rows so far; the mean is the area under the curve"
    )
    direction: Literal["maximize", "minimize"] = "maximize"
    eval: str | None = Field(
        default=None, description="key of what `robot-wm eval --json` tells, to be what a trial that ends is worth"
    )
    eval_episodes: PositiveInt = 20


class Budget(_Part):
    """What it may cost."""

    trials: PositiveInt
    steps: PositiveInt = Field(description="policy steps of each trial")
    time_limit_s: PositiveFloat | None = Field(
        default=None, description="after which trials are stopped, s of this start; --resume goes on with them"
    )
    confirm: NonNegativeInt = Field(
        default=0, description="new seeds that the best trial and the base are run with at the end"
    )


class PrunerChoice(_Part):
    """When a trial is given up: by successive halving (ASHA), by several such brackets, below the median, or never."""

    kind: Literal["halving", "hyperband", "median", "none"] = "halving"
    min_steps: PositiveInt | None = Field(default=None, description="before which no trial is [steps / reduction²]")
    reduction: int = Field(default=3, ge=2, description="one in this many goes on at each rung")


class SamplerChoice(_Part):
    """How settings are drawn: by a tree-structured Parzen estimator, or by chance alone."""

    kind: Literal["tpe", "random"] = "tpe"
    startup: PositiveInt = Field(default=8, description="trials drawn by chance before the estimator begins")


class Plan(_Part):
    """The file's content."""

    preset: str | None = Field(default=None, description="shipped settings to begin with")
    config: Path | None = Field(default=None, description="file of settings, over the preset; beside this file")
    settings: dict[str, Any] = Field(default_factory=dict, description="over both; null goes back to the default")
    space: dict[str, Dimension] = Field(min_length=1)
    objective: Objective = Objective()
    budget: Budget
    pruner: PrunerChoice = PrunerChoice()
    sampler: SamplerChoice = SamplerChoice()
    seed: int = Field(default=0, ge=0, le=MOST_SEED, description="of what is drawn; a trial's own is the base's")
    workers: PositiveInt = Field(default=1, description="trials at a time")

    @model_validator(mode="after")
    def _consistent(self) -> Plan:
        first = self.first_rung
        if self.pruner.kind != "none" and first > self.budget.steps:
            raise ValueError(f"pruner.min_steps {first} is more than budget.steps {self.budget.steps}")
        return self

    @property
    def first_rung(self) -> int:
        """Policy steps before which no trial is pruned."""
        return self.pruner.min_steps or max(1, self.budget.steps // self.pruner.reduction**2)


class Sweep:
    """A plan that can be begun: its file was read, and a run takes all that it may draw."""

    def __init__(self, path: Path) -> None:
        origin = str(path)
        try:
            self.plan = Plan.model_validate(read_mapping(path))
        except ValidationError as error:
            raise UserError.from_validation(error, origin=origin) from None
        plan = self.plan
        if plan.preset is None and plan.config is None and "task" not in plan.settings:
            raise UserError(f"{origin}: names neither preset nor config nor settings.task")
        require_known(flat(plan.settings), origin=f"{origin}: settings")
        base: dict[str, Any] = read_mapping(preset_path(plan.preset)) if plan.preset is not None else {}
        if plan.config is not None:
            file = path.parent / plan.config
            if not file.is_file():
                raise UserError(f"{origin}: config: {file}: no such file")
            base = merged(base, read_mapping(file))
        base.pop("run_dir", None)
        self.origin, self._base_steps = origin, base.get("steps")
        self.settings = merged(base, plan.settings) | {"steps": plan.budget.steps}
        self.base = run_of(self.settings, origin=origin)
        require_takes(self.settings, plan.space, origin=origin)
        self._require_evaluations()

    def _require_evaluations(self) -> None:
        every, steps = self.base.eval_every_steps, self.plan.budget.steps
        if self.plan.objective.scalar.startswith("eval/") and (every is None or every > steps):
            told = "never" if every is None else f"every {every} steps"
            raise UserError(
                f"{self.origin}: objective.scalar {self.plan.objective.scalar}: these runs are evaluated {told},"
                f" and have {steps} steps (settings.eval_every_steps)"
            )

    def told(self) -> dict[str, Any]:
        """All that makes trials comparable, as JSON: what a resumed sweep must have in common with its beginning."""
        plan = self.plan.model_dump(mode="json", exclude={"budget", "workers", "config", "preset", "settings"})
        return {**plan, "runs": self.settings}

    def whole_run(self, settings: dict[str, Any]) -> dict[str, Any]:
        """A trial's settings for a run as long as the base says, with no seed or folder."""
        rest = {name: value for name, value in settings.items() if name not in ("seed", "run_dir", "steps")}
        return rest | ({} if self._base_steps is None else {"steps": self._base_steps})
