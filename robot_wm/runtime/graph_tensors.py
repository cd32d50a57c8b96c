"""The tensors of a tick graph as a manifest tells them: inputs, outputs, state, noise and the draws between them.

Shape letters: D deter, S stoch groups, C classes, A action dimensions; the batch axis is 1 in every tensor.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from robot_wm.spec import MAX_TENSOR_ELEMENTS, AgentSpec, Finite

TensorName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}(/[A-Za-z][A-Za-z0-9_]{0,99})?$")]
Shape = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1, max_length=5)]


class Frozen(BaseModel):
    """A part of the manifest: nothing is added, nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class TensorSpec(Frozen):
    """A graph input or output; ``shape`` includes the batch axis of 1."""

    name: TensorName
    shape: Shape
    dtype: Literal["float32", "uint8"] = "float32"

    @model_validator(mode="after")
    def _bounded(self) -> TensorSpec:
        if self.shape[0] != 1 or math.prod(self.shape) > MAX_TENSOR_ELEMENTS:
            raise ValueError(
                f"tensor {self.name}: shape {self.shape}; the batch axis is 1, and at most {MAX_TENSOR_ELEMENTS} in all"
            )
        return self


class StateTensor(Frozen):
    """A recurrent state: graph output ``output`` of one tick is graph input ``input`` of the next."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}$")]
    input: TensorName
    output: TensorName
    shape: Shape
    initial: tuple[Finite, ...] = Field(
        default=(0.0,), description="before the first tick: one value, or one an element"
    )
    shown: bool = Field(default=False, description="whether ``output`` is one of the manifest's outputs, too")

    @model_validator(mode="after")
    def _consistent(self) -> StateTensor:
        TensorSpec(name=self.input, shape=self.shape)
        if len(self.initial) not in (1, math.prod(self.shape)):
            raise ValueError(f"state {self.name}: {len(self.initial)} initial values for shape {self.shape}")
        return self

    def initial_array(self) -> NDArray[np.float32]:
        """A fresh float32 array of ``shape`` that holds the initial values."""
        values = np.asarray(self.initial, dtype=np.float32)
        return np.full(self.shape, values[0]) if values.size == 1 else values.reshape(self.shape).copy()


class NoiseTensor(Frozen):
    """A noise input of the graph; zeros make it act greedily."""

    name: TensorName
    shape: Shape
    distribution: Literal["gumbel", "normal"] = Field(description="standard Gumbel or standard normal")


def graph_inputs(spec: AgentSpec, state: Iterable[StateTensor], noise: Iterable[NoiseTensor]) -> tuple[TensorSpec, ...]:
    """Every input of a tick graph in order: observations, is_first, state, noise."""
    return (
        *(
            TensorSpec(name=f"obs/{name}", shape=(1, *field.shape), dtype=field.dtype)
            for name, field in spec.model_inputs().items()
        ),
        TensorSpec(name="is_first", shape=(1,)),
        *(TensorSpec(name=entry.input, shape=entry.shape) for entry in state),
        *(TensorSpec(name=entry.name, shape=entry.shape) for entry in noise),
    )


class Draw(Frozen):
    """A categorical draw within the tick: of each group the best of ``logits`` plus ``noise`` (Gumbel-max).

    It says what parity has to know: an engine may draw the other one of two classes that are nearly equally good, and
    what was computed before the draw does not hang on it. All three tensors have one shape, [1, ..., C].
    """

    logits: TensorName = Field(description="the output that is drawn from, log-probabilities or scores")
    noise: TensorName | None = Field(default=None, description="the noise input that is added to it; none: its best")
    drawn: TensorName = Field(description="the output that holds the class drawn, one-hot")
    before: tuple[TensorName, ...] = Field(
        min_length=1, description="outputs that no class of this draw can change, in the order of their computation"
    )

    def require_fit(self, shapes: Mapping[str, tuple[int, ...]], noise: set[str], outputs: set[str]) -> None:
        """Raise ValueError unless it is a draw between these tensors; ``shapes`` by name, batch axis included."""
        if self.noise is not None and self.noise not in noise:
            raise ValueError(f"draw {self.drawn}: {self.noise} is none of the graph's noise inputs")
        for name in (self.logits, self.drawn, *self.before):
            if name not in outputs:
                raise ValueError(f"draw {self.drawn}: {name} is none of the graph's outputs")
        if self.drawn in self.before or self.logits not in self.before:
            raise ValueError(f"draw {self.drawn}: {self.logits} is computed before it, and itself is not")
        found = [shapes[name] for name in (self.logits, self.noise, self.drawn) if name is not None]
        if len(set(found)) > 1 or found[0][-1] < 2:
            raise ValueError(
                f"draw {self.drawn}: its logits, noise and classes must have one shape, of 2 classes or more: {found}"
            )
