"""What a sweep may change: settings of a run by their dotted names, each with a range or a choice.

Everything is held against the run's own settings before anything starts: a name that there is none of is refused with
the nearest ones, a range whose ends or middle no run would take by the words of the setting itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from robot_wm.errors import UserError
from robot_wm.learning.config import AgentConfig
from robot_wm.training.command import TrainFlags, run_config
from robot_wm.training.config import TrainConfig

# What the sweep itself sets, and how its file says it instead.
OWN = {
    "run_dir": "every trial has a folder of its own",
    "steps": "budget.steps",
    "seed": "every trial has its own: the base's and the trial's number",
}
_OPTIONS = "task_options."  # the task's own, which only the task knows
_WITHIN = 0.382  # of a range: no whole number of a range of whole numbers' ends


class _Dimension(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FloatRange(_Dimension):
    """Any number from ``low`` to ``high``."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = Field(default=False, description="drawn evenly by its logarithm")

    @model_validator(mode="after")
    def _ordered(self) -> FloatRange:
        _require_ordered(self.low, self.high, self.log)
        return self

    def probes(self) -> list[float]:
        """Values that a run has to take if it takes all: the ends and one within."""
        return [self.low, self.high, self.low + _WITHIN * (self.high - self.low)]

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values that can be drawn."""
        return isinstance(value, int | float) and self.low <= value <= self.high


class IntRange(_Dimension):
    """Any whole number from ``low`` to ``high``, in steps of ``step``."""

    type: Literal["int"]
    low: int
    high: int
    step: int = Field(default=1, ge=1)
    log: bool = Field(default=False, description="drawn evenly by its logarithm; takes no step")

    @model_validator(mode="after")
    def _ordered(self) -> IntRange:
        _require_ordered(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise ValueError("log takes no step")
        if (self.high - self.low) % self.step:
            raise ValueError(f"high {self.high} is not low {self.low} and a multiple of step {self.step}")
        return self

    def probes(self) -> list[int]:
        """The ends and one between."""
        return [self.low, self.high, self.low + (self.high - self.low) // self.step // 2 * self.step]

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values that can be drawn."""
        return isinstance(value, int) and self.low <= value <= self.high and (value - self.low) % self.step == 0


class Choice(_Dimension):
    """One of several values, which need have no order."""

    type: Literal["choice"]
    values: tuple[bool | int | float | str, ...] = Field(min_length=2)

    @model_validator(mode="after")
    def _different(self) -> Choice:
        if len(set(self.values)) < len(self.values):
            raise ValueError(f"a value stands twice among {list(self.values)}")
        return self

    def probes(self) -> list[bool | int | float | str]:
        """All of them."""
        return list(self.values)

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values that can be drawn."""
        return value in self.values


Dimension = Annotated[FloatRange | IntRange | Choice, Field(discriminator="type")]


def _require_ordered(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"low {low:g} is not below high {high:g}")
    if log and low <= 0:
        raise ValueError(f"low {low:g}: with log it must be above 0")


def known_names() -> list[str]:
    """Dotted names of the settings that a run has, but for a task's own options."""
    names = []
    for name, field in TrainFlags.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, AgentConfig):
            names += [f"{name}.{inner}" for inner in kind.model_fields]
        elif f"{name}." != _OPTIONS:
            names.append(name)
    return names


def require_known(names: Iterator[str] | list[str], *, origin: str) -> None:
    """Raise UserError for a name that no run has, naming the nearest, and for one that is the sweep's own to set."""
    known = known_names()
    for name in names:
        if name in OWN:
            raise UserError(f"{origin}: {name}: not to be set here: {OWN[name]}")
        if name in known or name.startswith(_OPTIONS):
            continue
        near = difflib.get_close_matches(name, known, n=3)
        # Or the setting is right and what stands before it is not: learning_rate is the agent's.
        near += [one for one in known if one.rpartition(".")[2] == name.rpartition(".")[2] and one not in near]
        told = f"; did you mean {' or '.join(near[:3])}?" if near else "; `robot-wm train --help` lists them"
        raise UserError(f"{origin}: {name}: no setting of a run{told}")


def flat(settings: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Dotted names of a nested mapping's values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}"


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both, ``above`` winning; what is None there falls back to the setting's default."""
    result = dict(below)
    for name, value in above.items():
        if isinstance(value, Mapping):
            inner = result.get(name)
            result[name] = merged(inner if isinstance(inner, Mapping) else {}, value)
        elif value is None:
            result.pop(name, None)
        else:
            result[name] = value
    return result


def with_values(settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with ``values``, by dotted names."""
    result = dict(settings)
    for name, value in values.items():
        head, _, rest = name.partition(".")
        inner = result.get(head)
        result[head] = with_values(inner if isinstance(inner, Mapping) else {}, {rest: value}) if rest else value
    return result


def value_at(config: TrainConfig, name: str) -> Any:
    """What a run's settings say under a dotted name; None where a task's option is not given."""
    if name.startswith(_OPTIONS):
        return config.task_options.get(name.removeprefix(_OPTIONS))
    head, _, rest = name.partition(".")
    return getattr(config.settings, rest) if rest else getattr(config, head)


def run_of(settings: Mapping[str, Any], *, origin: str) -> TrainConfig:
    """The run that these settings describe, as `robot-wm train` reads them; UserError where there is none."""
    try:
        return run_config(TrainFlags.model_validate(dict(settings)))
    except ValidationError as error:
        raise UserError.from_validation(error, origin=origin) from None
    except UserError as error:
        raise UserError(f"{origin}: {str(error).removeprefix('train: ')}") from None


def require_takes(settings: Mapping[str, Any], space: Mapping[str, Dimension], *, origin: str) -> None:
    """Raise UserError unless a run takes each dimension's values, the others being those of ``settings``."""
    require_known(list(space), origin=f"{origin}: space")
    for name, dimension in space.items():
        for value in dimension.probes():
            run_of(with_values(settings, {name: value}), origin=f"{origin}: space: {name}")
