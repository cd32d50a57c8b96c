"""What a bundle says about itself: ``manifest.json``, the one file that the signature covers.

Every other file is named here with its SHA-256 and size, so that the signature reaches them all. The tick
graph is agent-neutral: the manifest lists its tensors, and the Controller needs to know no more.
Shape letters: B = 1 always, D deter, S stoch groups, C classes, A action dimensions, N parity ticks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from robot_wm.errors import UserError
from robot_wm.spec import MAX_TENSOR_ELEMENTS, AgentSpec, Finite, Positive

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
PARITY = "parity.npz"
POLICY_OP17 = "policy.op17.onnx"  # opset 17: what TensorRT 8.6 can parse
POLICY = "policy.onnx"  # the newest opset

# The precision is in the graph, all of opset 17 with the same float32 and uint8 inputs and outputs.
Precision = Literal["fp32", "fp16", "int8"]
LowPrecision = Literal["fp16", "int8"]
POLICY_OF: Mapping[Precision, str] = {"fp32": POLICY_OP17, "fp16": "policy.fp16.onnx", "int8": "policy.int8.onnx"}
LOW_PRECISIONS: tuple[LowPrecision, ...] = ("fp16", "int8")
# Beyond these a graph is another agent rather than a coarser one: no export writes it, no manifest may ask for it.
MAX_TOLERANCE: Mapping[Precision, float] = {"fp32": 0.01, "fp16": 0.1, "int8": 0.5}
MAX_FP32_LOGIT_GAP = 0.1
MAX_DIFFERING_DRAWS = 0.1
SHOWN_ONLY = ("value", "surprise")  # outputs that move nothing: they alone may be coarser than the tolerance

# A manifest is read before anything vouches for it, so everything that it can make us allocate is bounded.
MAX_FILES = 64
MAX_FILE_BYTES = 2**31  # a protobuf, hence an ONNX file, cannot be larger
MAX_TOTAL_BYTES = 2**33
MAX_PARITY_TICKS = 2**16
MAX_MANIFEST_BYTES = 2**22
# Every wrong value costs the parser's error report about 2 kB and 30 us, and it reports them all.
MAX_MANIFEST_VALUES = 12_000

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
TensorName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,99}(/[A-Za-z][A-Za-z0-9_]{0,99})?$")]
Shape = Annotated[tuple[Annotated[int, Field(gt=0)], ...], Field(min_length=1, max_length=5)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class FileEntry(_Frozen):
    """One file of the bundle."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]


class TensorSpec(_Frozen):
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


class StateTensor(_Frozen):
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


class NoiseTensor(_Frozen):
    """A noise input of the graph; zeros make it act greedily."""

    name: TensorName
    shape: Shape
    distribution: Literal["gumbel", "normal"] = Field(description="standard Gumbel or standard normal")


class ParityThresholds(_Frozen):
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
        default=1.0, description="largest share of draws that may fall the other way in such groups"
    )
    resolution: dict[TensorName, Positive] = Field(
        default_factory=dict,
        description="error that the precision itself makes, in the tensor's unit, where it exceeds the tolerance: the"
        " value of a hardly trained critic is a small difference of huge sums",
    )

    def tolerance_of(self, tensor: str) -> float:
        """Largest |difference| / max(1, |stored value|) of this tensor."""
        return self.tensor_tolerance.get(tensor, self.tolerance)


class ParityResult(_Frozen):
    """One graph on ONNX Runtime (CPU) over the recorded ticks, against torch; of a low precision, against float32."""

    ticks: Annotated[int, Field(ge=1)]
    near_tie_ticks: Annotated[int, Field(ge=0)] = Field(description="left out where a sampled class decides the value")
    differing_draws: Annotated[int, Field(ge=0)] = Field(default=0, description="step by step, all of them near ties")
    largest_error: dict[TensorName, Finite] = Field(description="|difference| / max(1, |expected|), step by step")
    free_running_flips: Annotated[int, Field(ge=0)] = Field(description="categorical draws that differ, free running")
    free_running_draws: Annotated[int, Field(ge=0)] = Field(description="categorical draws made, free running")
    first_flip_tick: int | None = None
    free_running_action_divergence: Finite = Field(description="largest |action difference|, policy units")


class PrecisionParity(_Frozen):
    """A graph of low precision: what it showed at export, and what an engine of it must keep to."""

    thresholds: ParityThresholds
    result: ParityResult
    calibration: Annotated[str, Field(max_length=200)] | None = Field(
        default=None, description="the ticks that activations were scaled by, where the precision needs any"
    )


class SurpriseLevels(_Frozen):
    """Surprise over the recorded ticks, of this agent at its task; no limit follows from it that was shown to work."""

    median: Finite = Field(description="nats")
    p99: Finite = Field(description="nats")
    largest: Finite = Field(description="nats")


class Parity(_Frozen):
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
            tolerance = max(given.tolerance, *given.tensor_tolerance.values(), 0.0)
            if tolerance > MAX_TOLERANCE[precision]:
                raise ValueError(f"{precision} may be off by {tolerance:g}; at most {MAX_TOLERANCE[precision]:g}")
            if coarse := sorted(given.resolution.keys() - SHOWN_ONLY):
                raise ValueError(f"{precision} has a resolution for {coarse[0]}; only {', '.join(SHOWN_ONLY)} may")
            if precision == "fp32" and given.min_logit_gap > MAX_FP32_LOGIT_GAP:
                raise ValueError(f"fp32 has min_logit_gap {given.min_logit_gap:g}; at most {MAX_FP32_LOGIT_GAP:g}")
            if precision != "fp32" and given.max_differing_draws > MAX_DIFFERING_DRAWS:
                raise ValueError(
                    f"{precision} may draw {given.max_differing_draws:g} otherwise; at most {MAX_DIFFERING_DRAWS:g}"
                )
        return self


class Lineage(BaseModel):
    """Where the agent comes from. Later kinds of training add fields of their own."""

    model_config = ConfigDict(frozen=True, extra="allow")
    __pydantic_extra__: dict[str, JsonValue]

    git_commit: str | None = None
    config: dict[str, JsonValue] = Field(default_factory=dict, description="the agent's configuration")
    replay_version: int | None = Field(default=None, description="version of the replay dataset trained on")
    steps: int | None = Field(default=None, description="environment steps trained on")
    bundle_version: Annotated[int, Field(ge=0, lt=2**31)] = Field(
        default=0, description="counted by who signs; a robot can refuse what is older than its minimum"
    )
    evaluation: dict[str, JsonValue] | None = Field(
        default=None, description="returns of the evaluation, if there was one"
    )


class Manifest(_Frozen):
    """``manifest.json``."""

    schema_version: Literal[1] = 1
    kind: Literal["dreamer", "muzero"]
    spec: AgentSpec
    spec_sha256: Sha256
    files: dict[FileName, FileEntry] = Field(min_length=1, max_length=MAX_FILES)
    state: tuple[StateTensor, ...]
    noise: tuple[NoiseTensor, ...] = ()
    outputs: tuple[TensorSpec, ...] = Field(description="graph outputs that are not state, or shown")
    parity: Parity
    lineage: Lineage

    @model_validator(mode="after")
    def _consistent(self) -> Manifest:
        expected = self.spec.content_hash()
        if self.spec_sha256 != expected:
            raise ValueError(f"spec_sha256 is {self.spec_sha256}, but the spec in the manifest hashes to {expected}")
        for required in (POLICY_OP17, PARITY):
            if required not in self.files:
                raise ValueError(f"files: {required} is not listed")
        for precision in LOW_PRECISIONS:
            if (POLICY_OF[precision] in self.files) != (precision in self.parity.precisions):
                raise ValueError(f"files: {POLICY_OF[precision]} and parity.precisions.{precision} belong together")
        if {MANIFEST, SIGNATURE} & {name.lower() for name in self.files}:
            raise ValueError(f"files: {MANIFEST} and {SIGNATURE} cannot list themselves")
        # Two names that a case-blind file system takes for one would overwrite each other when unpacked.
        if len({name.lower() for name in self.files}) != len(self.files):
            raise ValueError("files: two names differ only in case")
        if sum(entry.size_bytes for entry in self.files.values()) > MAX_TOTAL_BYTES:
            raise ValueError(f"files: together larger than {MAX_TOTAL_BYTES} bytes")
        names = [*(s.name for s in self.inputs()), *(s.name for s in self.all_outputs())]
        if len(set(names)) != len(names) or len({s.name for s in self.state}) != len(self.state):
            raise ValueError(f"tensor names are not unique: {sorted(names)}")
        shapes = {output.name: output.shape for output in self.outputs}
        if len({state.output for state in self.state}) != len(self.state):
            raise ValueError("two states come from one output")
        for state in self.state:
            if state.shown and shapes.get(state.output) != state.shape:
                raise ValueError(f"state {state.name} is shown: outputs must have {state.output} {state.shape}")
        for name, shape in (("action", (1, self.spec.action_dim)), ("value", (1,)), ("surprise", (1,))):
            if shapes.get(name) != shape:
                raise ValueError(f"outputs: {name} must have shape {shape}, not {shapes.get(name)}")
        for state in self.state:
            if state.name == "action" and state.shape != (1, self.spec.action_dim):
                raise ValueError(f"state action must have shape {(1, self.spec.action_dim)}, not {state.shape}")
        # The draw of a latent: noise is added to logits, and the two best of at least two classes are compared.
        shapes |= {tensor.name: tensor.shape for tensor in (*self.inputs(), *self.all_outputs())}
        draw = [shapes[name] for name in ("post_logits", "noise/latent", "next/stoch") if name in shapes]
        if "post_logits" in shapes and (len(set(draw)) > 1 or draw[0][-1] < 2):
            raise ValueError(
                f"post_logits, noise/latent and next/stoch must have one shape, of 2 classes or more: {draw}"
            )
        return self

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Every input of the tick graph in order: observations, is_first, state, noise."""
        return (
            *(
                TensorSpec(name=f"obs/{name}", shape=(1, *field.shape), dtype=field.dtype)
                for name, field in self.spec.model_inputs().items()
            ),
            TensorSpec(name="is_first", shape=(1,)),
            *(TensorSpec(name=state.input, shape=state.shape) for state in self.state),
            *(TensorSpec(name=noise.name, shape=noise.shape) for noise in self.noise),
        )

    def all_outputs(self) -> tuple[TensorSpec, ...]:
        """Every output of the tick graph in order: ``outputs``, then the next state but for what of it they show."""
        hidden = (state for state in self.state if not state.shown)
        return (*self.outputs, *(TensorSpec(name=state.output, shape=state.shape) for state in hidden))

    def thresholds(self, precision: Precision) -> ParityThresholds:
        """What an engine of ``precision`` must keep to; raises UserError where the bundle has no such graph."""
        if precision == "fp32":
            return self.parity.thresholds
        if precision not in self.parity.precisions:
            there = ", ".join(("fp32", *self.parity.precisions))
            raise UserError(f"precision {precision}: the bundle has {there}; export it with --precision {precision}")
        return self.parity.precisions[precision].thresholds

    def require_version(self, minimum: int, *, origin: str) -> None:
        """Refuse (UserError) a bundle that is older than a robot's minimum: a good signature does not grow old."""
        found = self.lineage.bundle_version
        if found < minimum:
            raise UserError(f"{origin}: bundle_version {found} is older than this robot's min_bundle_version {minimum}")

    def to_json(self) -> bytes:
        """The bytes of ``manifest.json``, which are the bytes that are signed."""
        return (self.model_dump_json(indent=1) + "\n").encode()

    @classmethod
    def from_json(cls, raw: bytes, *, origin: str = MANIFEST) -> Manifest:
        """Parse and check a manifest; raises UserError naming ``origin``, the field and its value."""
        if len(raw) > MAX_MANIFEST_BYTES:
            raise UserError(f"{origin}: larger than {MAX_MANIFEST_BYTES} bytes")
        if raw.count(b",") > MAX_MANIFEST_VALUES:
            raise UserError(f"{origin}: more than {MAX_MANIFEST_VALUES} values")
        try:
            manifest = cls.model_validate_json(raw)
            json.loads(raw, object_pairs_hook=lambda pairs: _unique(pairs, origin))
            return manifest
        except ValidationError as error:
            raise UserError.from_validation(error, origin=origin) from None


def _unique(pairs: list[tuple[str, Any]], origin: str) -> None:
    # Of two equal keys every parser may believe another one.
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise UserError(f"{origin}: key {key[:80]} is there twice")
        seen.add(key)


def json_lineage(values: dict[str, Any]) -> Lineage:
    """Build a Lineage from a checkpoint's dictionary; raises UserError naming what JSON cannot hold."""
    try:
        return Lineage.model_validate(values)
    except ValidationError as error:
        raise UserError.from_validation(error, origin="lineage") from None
