"""What a bundle says about itself: ``manifest.json``, the one file that the signature covers.

Every other file is named here with its SHA-256 and size, so that the signature reaches them all. The tick
graph is agent-neutral: the manifest lists its tensors, and the Controller needs to know no more.
Shape letters: B = 1 always, D deter, S stoch groups, C classes, A action dimensions, N parity ticks.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import Draw, Frozen, NoiseTensor, StateTensor, TensorSpec, graph_inputs
from robot_wm.runtime.monitor import MonitorSection
from robot_wm.runtime.parity_section import (
    LOW_PRECISIONS,
    FileName,
    Parity,
    ParityThresholds,
    Precision,
)
from robot_wm.runtime.planner_section import Planner
from robot_wm.spec import AgentSpec

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
PARITY = "parity.npz"
MODEL_CARD = "README.md"  # for people; listed like any other file, so that it is signed
POLICY_OP17 = "policy.op17.onnx"  # opset 17: what TensorRT 8.6 can parse
POLICY = "policy.onnx"  # the newest opset

POLICY_OF: Mapping[Precision, str] = {"fp32": POLICY_OP17, "fp16": "policy.fp16.onnx", "int8": "policy.int8.onnx"}

# 2: draws, the unit of surprise and a planner are told. A reader takes its own version only: an agent whose checkpoint
# is there is exported again in a minute, and what draws an older bundle has nobody can tell.
SCHEMA_VERSION = 2  # as `Manifest.schema_version` has it

# A manifest is read before anything vouches for it, so everything that it can make us allocate is bounded.
MAX_FILES = 64
MAX_FILE_BYTES = 2**31  # a protobuf, hence an ONNX file, cannot be larger
MAX_TOTAL_BYTES = 2**33
MAX_MANIFEST_BYTES = 2**22
# Every wrong value costs the parser's error report about 2 kB and 30 us, and it reports them all.
MAX_MANIFEST_VALUES = 12_000

Kind = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$", description="the kind of agent, such as dreamer")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class FileEntry(Frozen):
    """One file of the bundle."""

    sha256: Sha256
    size_bytes: Annotated[int, Field(ge=0, le=MAX_FILE_BYTES)]


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


class Manifest(Frozen):
    """``manifest.json``."""

    schema_version: Literal[2] = 2
    kind: Kind
    spec: AgentSpec
    spec_sha256: Sha256
    files: dict[FileName, FileEntry] = Field(min_length=1, max_length=MAX_FILES)
    state: tuple[StateTensor, ...]
    noise: tuple[NoiseTensor, ...] = ()
    outputs: tuple[TensorSpec, ...] = Field(description="graph outputs that are not state, or shown")
    draws: tuple[Draw, ...] = Field(default=(), description="categorical draws within the tick, in their order")
    surprise_unit: Literal["nats"] | None = Field(description="of the output surprise; none: only its order counts")
    planner: Planner | None = None
    monitor: MonitorSection | None = Field(default=None, description="limits calibrated at export; none: not watched")
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
        noise = {tensor.name for tensor in self.noise}
        made = {tensor.name: tensor.shape for tensor in self.all_outputs()}
        for draw in self.draws:
            draw.require_fit({tensor.name: tensor.shape for tensor in self.inputs()} | made, noise, set(made))
        if self.planner is not None:
            for part, name in (("graph", self.planner.graph), ("recording", self.planner.parity.file)):
                if name not in self.files:
                    raise ValueError(f"planner: its {part} {name} is not listed in files")
            if self.planner.parity.plans > self.parity.ticks:
                raise ValueError(f"planner: {self.planner.parity.plans} plans of {self.parity.ticks} recorded ticks")
            self.planner.require_fit(self.spec, made)
        if self.monitor is not None:
            self.monitor.require_fit(self.spec, shapes)
        return self

    def inputs(self) -> tuple[TensorSpec, ...]:
        """Every input of the tick graph in order: observations, is_first, state, noise."""
        return graph_inputs(self.spec, self.state, self.noise)

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

    def surprise_text(self, surprise: float, limit: float) -> str:
        """A surprise beside its limit, with the unit if it has one, for a message."""
        unit = "" if self.surprise_unit is None else f" {self.surprise_unit}"
        return f"surprise {surprise:.4g}{unit}, limit {limit:g}"

    def require_version(self, minimum: int, *, origin: str) -> None:
        """Refuse (UserError) a bundle that is older than a robot's minimum: a good signature does not grow old."""
        found = self.lineage.bundle_version
        if found < minimum:
            raise UserError(f"{origin}: bundle_version {found} is older than this robot's min_bundle_version {minimum}")

    def to_json(self) -> bytes:
        """The bytes of ``manifest.json``, which are the bytes that are signed.

        Without a monitor there is no key for it: who reads version 2 and knows of none takes such a bundle as ever.
        """
        without = {"monitor"} if self.monitor is None else None
        return (self.model_dump_json(indent=1, exclude=without) + "\n").encode()

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
            for problem in error.errors(include_url=False, include_context=False):
                if problem["loc"] == ("schema_version",) and isinstance(problem["input"], int):
                    raise UserError(f"{origin}: {_other_version(problem['input'])}") from None
            raise UserError.from_validation(error, origin=origin) from None


def _other_version(found: int) -> str:
    cure = (
        "an older robot_wm wrote it; export the agent again"
        if found < SCHEMA_VERSION
        else "a newer robot_wm wrote it; update this one"
    )
    return f"schema_version is {found}, this robot_wm reads {SCHEMA_VERSION}: {cure}"


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
