"""What a manifest says of parity: how far an engine may be from the recording, and what each graph showed at export."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from robot_wm.runtime.graph_tensors import Frozen, TensorName
from robot_wm.spec import Finite, Positive

# The precision is in the graph, all of opset 17 with the same float32 and uint8 inputs and outputs.
Precision = Literal["fp32", "fp16", "int8"]
LowPrecision = Literal["fp16", "int8"]
LOW_PRECISIONS: tuple[LowPrecision, ...] = ("fp16", "int8")
# Beyond these a graph is another agent rather than a coarser one: no export writes it, no manifest may ask for it.
MAX_TOLERANCE: Mapping[Precision, float] = {"fp32": 0.01, "fp16": 0.1, "int8": 0.5}
# Two logits of up to 6 nats, each off by the tolerance, and an export's margin of 2.
MAX_LOGIT_GAP: Mapping[Precision, float] = {"fp32": 0.1, "fp16": 3.0, "int8": 12.0}
MAX_DIFFERING_DRAWS = 0.1
SHOWN_ONLY = ("value", "surprise")  # outputs that move nothing: they alone may be coarser than the tolerance
# What 16 half-ulps of a critic's largest bin, 4.85e8, come to: its value before it has learned anything.
MAX_RESOLUTION: Mapping[Precision, float] = {"fp32": 500.0, "fp16": 4e6, "int8": 3.2e7}
MAX_PARITY_TICKS = 2**16

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class ParityThresholds(Frozen):
    """How far an engine may be from the stored outputs."""

    tolerance: Positive = Field(default=1e-4, description="largest |difference| / max(1, |stored value|)")
    tensor_tolerance: dict[TensorName, Positive] = Field(
        default_factory=dict, description="the tolerance of tensors that have one of their own"
    )
    min_logit_gap: Positive = Field(
        default=1e-3,
        description="a group whose two best perturbed logits are closer than this may sample either class",
    )
    max_differing_draws: Annotated[float, Field(gt=0, le=1)] = Field(
        default=MAX_DIFFERING_DRAWS, description="largest share of draws that may fall the other way in such groups"
    )
    resolution: dict[TensorName, Positive] = Field(
        default_factory=dict,
        description="error that the precision itself makes, in the tensor's unit, where it exceeds the tolerance: the"
        " value of a hardly trained critic is a small difference of huge sums",
    )

    def require_bounded(self, precision: Precision) -> None:
        """Raise ValueError where an engine of ``precision`` could be another agent and pass."""
        tolerance = max(self.tolerance, *self.tensor_tolerance.values(), 0.0)
        if tolerance > MAX_TOLERANCE[precision]:
            raise ValueError(f"{precision} may be off by {tolerance:g}; at most {MAX_TOLERANCE[precision]:g}")
        if coarse := sorted(self.resolution.keys() - SHOWN_ONLY):
            raise ValueError(f"{precision} has a resolution for {coarse[0]}; only {', '.join(SHOWN_ONLY)} may")
        resolution = max(0.0, *self.resolution.values(), 0.0)
        if resolution > MAX_RESOLUTION[precision]:
            raise ValueError(f"{precision} has a resolution of {resolution:g}; at most {MAX_RESOLUTION[precision]:g}")
        if self.min_logit_gap > MAX_LOGIT_GAP[precision]:
            raise ValueError(
                f"{precision} has min_logit_gap {self.min_logit_gap:g}; at most {MAX_LOGIT_GAP[precision]:g}"
            )
        if self.max_differing_draws > MAX_DIFFERING_DRAWS:
            raise ValueError(
                f"{precision} may draw {self.max_differing_draws:g} otherwise; at most {MAX_DIFFERING_DRAWS:g}"
            )

    def tolerance_of(self, tensor: str) -> float:
        """Largest |difference| / max(1, |stored value|) of this tensor."""
        return self.tensor_tolerance.get(tensor, self.tolerance)


class ParityResult(Frozen):
    """One graph on ONNX Runtime (CPU) over the recorded ticks, against torch; of a low precision, against float32."""

    ticks: Annotated[int, Field(ge=1)]
    near_tie_ticks: Annotated[int, Field(ge=0)] = Field(description="left out where a sampled class decides the value")
    differing_draws: Annotated[int, Field(ge=0)] = Field(default=0, description="step by step, all of them near ties")
    largest_error: dict[TensorName, Finite] = Field(description="|difference| / max(1, |expected|), step by step")
    free_running_flips: Annotated[int, Field(ge=0)] = Field(description="categorical draws that differ, free running")
    free_running_draws: Annotated[int, Field(ge=0)] = Field(description="categorical draws made, free running")
    first_flip_tick: int | None = None
    free_running_action_divergence: Finite = Field(description="largest |action difference|, policy units")


class PrecisionParity(Frozen):
    """A graph of low precision: what it showed at export, and what an engine of it must keep to."""

    thresholds: ParityThresholds
    result: ParityResult
    calibration: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="the ticks that activations were scaled by, where the precision needs any"
    )


class SurpriseLevels(Frozen):
    """Surprise over the recorded ticks, of this agent at its task, in the manifest's ``surprise_unit``.

    No limit follows from it that was shown to work.
    """

    median: Finite
    p99: Finite
    largest: Finite


class Parity(Frozen):
    """The recording in ``parity.npz`` and what it showed at export."""

    ticks: Annotated[int, Field(ge=256, le=MAX_PARITY_TICKS)]
    thresholds: ParityThresholds = ParityThresholds()
    results: dict[FileName, ParityResult]
    precisions: dict[LowPrecision, PrecisionParity] = Field(default_factory=dict)
    surprise: SurpriseLevels | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Parity:
        given_of: dict[Precision, ParityThresholds] = {"fp32": self.thresholds}
        given_of |= {precision: entry.thresholds for precision, entry in self.precisions.items()}
        for precision, given in given_of.items():
            given.require_bounded(precision)
        return self
