"""The YAML of a LEAPP package as it is read: config version 1.x, everything that a robot depends on checked.

What LEAPP's own reader leaves open is closed here: names are plain, shapes are fixed, and a model is a file beside the
description. Keys that nobody here knows are kept: LEAPP spreads `extra` over the tensors.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

CONFIG_VERSION = "1.3"
_READS_MAJOR = "1"
TEMPORAL = "__temporal_axis__"  # LEAPP's mark of an axis that is time

PlainName = Annotated[str, Field(pattern=r"^[^/\s]{1,100}$")]  # no slash: a connection is "node/tensor"
Port = Annotated[str, Field(pattern=r"^[^/\s]{1,100}/[^/\s]{1,100}$")]


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, JsonValue]


class LeappTensor(_Read):
    """One input or output of a node."""

    name: PlainName
    dtype: str
    shape: tuple[Annotated[int, Field(gt=0, strict=True)], ...] = Field(max_length=8)
    kind: str | None = None
    element_names: tuple[Any, ...] | None = None

    def told(self, *keys: str) -> str | None:
        """The first of these further keys that is there, as text."""
        return next((str(self.__pydantic_extra__[key]) for key in keys if key in self.__pydantic_extra__), None)

    def elements(self) -> tuple[str, ...] | None:
        """The name of each element, outer axes first (``FL_foot/x``); None where they are not all named.

        LEAPP names axis by axis; of an axis of length 1, such as the batch, no name is needed, and none is used.
        """
        axes = [axis for axis in self.element_names or () if axis is not None]
        if not axes or any(isinstance(axis, str) for axis in axes):
            return None
        long = [axis for axis in axes if len(axis) > 1] or axes[-1:]
        found = [""]
        for axis in long:
            found = [f"{outer}/{inner}" if outer else str(inner) for outer in found for inner in axis]
        return tuple(found) if len(found) == math.prod(self.shape) else None

    @property
    def is_chunk(self) -> bool:
        """Whether an axis is time: several moments in one tensor."""
        return self.element_names is not None and TEMPORAL in self.element_names


class LeappParameters(_Read):
    """Where a node's model is."""

    model_path: str
    sha256sum: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    backend: str


class LeappNodeDescription(_Read):
    """One node of the pipeline."""

    inputs: tuple[LeappTensor, ...]
    outputs: tuple[LeappTensor, ...]
    parameters: LeappParameters


class LeappPipeline(_Read):
    """How nodes, the outside and the next tick are wired. A tensor is written ``node/tensor``."""

    inputs: dict[PlainName, tuple[PlainName, ...]]
    outputs: dict[PlainName, tuple[PlainName, ...]]
    data_flow: dict[Port, tuple[Port, ...]] = Field(default_factory=dict)
    feedback_flow: dict[Port, tuple[Port, ...]] = Field(default_factory=dict)
    initial_values: str | None = None
    configs: dict[str, JsonValue] = Field(default_factory=dict)

    @field_validator("configs", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return {} if value is None else value


class LeappDescription(_Read):
    """The whole file."""

    models: dict[PlainName, LeappNodeDescription] = Field(min_length=1, max_length=32)
    pipeline: LeappPipeline
    system_information: dict[str, JsonValue] = Field(alias="system information")

    @model_validator(mode="after")
    def _consistent(self) -> LeappDescription:
        version = str(self.system_information.get("leapp config version"))
        if version.split(".")[0] != _READS_MAJOR:
            raise ValueError(f"system information: leapp config version is {version}; {_READS_MAJOR}.x is read here")
        given = {f"{node}/{entry.name}" for node, body in self.models.items() for entry in body.inputs}
        made = {f"{node}/{entry.name}" for node, body in self.models.items() for entry in body.outputs}
        pipeline = self.pipeline
        fed = [*(f"{node}/{name}" for node, names in pipeline.inputs.items() for name in names)]
        for flow in (pipeline.data_flow, pipeline.feedback_flow):
            for source, targets in flow.items():
                if source not in made:
                    raise ValueError(f"pipeline: {source} is no output of a model")
                fed += targets
        shown = {f"{node}/{name}" for node, names in pipeline.outputs.items() for name in names}
        if odd := sorted(shown - made):
            raise ValueError(f"pipeline.outputs: {odd[0]} is no output of a model")
        if len(set(fed)) != len(fed) or set(fed) != given:
            odd = sorted(set(fed) ^ given) or sorted(name for name in fed if fed.count(name) > 1)
            raise ValueError(f"pipeline: {odd[0]} is fed twice, by nobody, or is no input of a model")
        return self
