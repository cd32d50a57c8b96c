"""A bundle's tick graph as one LEAPP node: raw SI observations in, SI commands out, everything else fed back.

LEAPP has no notion of an episode's first tick, of scaling, history or noise, so the graph gets them: `is_first` is a
state that is 1 before the first tick, scaling and history are nodes before the policy's, and each noise input is a
state that stays zero (greedy) unless a runtime writes it. The policy's own nodes are not touched: without what is added
(all under the name ADDED) they are the bundle's graph again, byte for byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm.runtime.manifest import Manifest
from robot_wm.runtime.transform import to_command
from robot_wm.spec import AgentSpec, ObservationField, Source
from robot_wm_export.leapp.graph_parts import GraphParts, value_info
from robot_wm_export.leapp.kinds import INPUT_KINDS, KD, KP, TARGET_KINDS, canonical, kind_of_field

ADDED = "leapp/"
NODE = "policy"
COMMAND = "joint_command"
_FIRST, _STILL_FIRST = "episode_start", "next_episode_start"
_SHOWN = ("value", "surprise")
_TAKEN = frozenset({COMMAND, _FIRST, _STILL_FIRST, *_SHOWN, KP, KD, "action", "is_first"})


@dataclass(frozen=True)
class Told:
    """A tensor of the node, with what the description says of it."""

    tensor: TensorSpec
    about: dict[str, Any]


@dataclass(frozen=True)
class LeappGraph:
    """The node's graph and what its description needs."""

    model: onnx.ModelProto
    inputs: tuple[Told, ...]
    outputs: tuple[Told, ...]
    fed: tuple[str, ...]  # names of inputs that come from outside
    shown: tuple[str, ...]  # names of outputs that go outside
    feedback: dict[str, str]  # output -> input of the next tick
    initial: dict[str, NDArray[Any]]  # input that is fed back -> before the first tick


def leapp_graph(policy: bytes, manifest: Manifest, *, origin: str) -> LeappGraph:
    """Wrap a bundle's opset-17 graph. Raises UserError naming ``origin`` where it has names that are ours to add."""
    model = onnx.load_from_string(policy)
    taken = [node.name for node in model.graph.node] + [tensor.name for tensor in model.graph.initializer]
    if any(name.startswith(ADDED) for name in taken):
        raise UserError(f"{origin}: names within the graph begin with {ADDED!r}: it comes from LEAPP; export that")
    return _Wrapper(model, manifest).wrapped()


def input_name(field: str) -> str:
    """What the node calls the observation ``field``."""
    is_taken = field in _TAKEN or field.startswith(("state_", "history_", "next_", "noise_", "obs_"))
    return f"obs_{field}" if is_taken else field


def recovered(model: onnx.ModelProto, manifest: Manifest) -> bytes:
    """The bundle's graph from a wrapped one: what was added is taken off. Whether it is the same its hash tells."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    graph = bare.graph
    # What were the graph's own inputs and outputs are told among the values within.
    told = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    own = [[told[entry.name] for entry in part if entry.name in told] for part in _own_tensors(manifest)]
    for part in (graph.node, graph.initializer):
        kept = [entry for entry in part if not entry.name.startswith(ADDED)]
        del part[:]
        part.extend(kept)
    names = {value.name for part in own for value in part}
    within = [value for value in graph.value_info if value.name not in names]
    for part, values in ((graph.input, own[0]), (graph.output, own[1]), (graph.value_info, within)):
        del part[:]
        part.extend(values)
    return bytes(bare.SerializeToString(deterministic=True))


def _own_tensors(manifest: Manifest) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    return manifest.inputs(), manifest.all_outputs()


class _Wrapper:
    def __init__(self, model: onnx.ModelProto, manifest: Manifest) -> None:
        self._model, self._manifest, self._spec = model, manifest, manifest.spec
        self._before, self._after = GraphParts(f"{ADDED}in/"), GraphParts(f"{ADDED}out/")
        self._inputs: list[Told] = []
        self._outputs: list[Told] = []
        self._fed: list[str] = []
        self._shown: list[str] = []
        self._feedback: dict[str, str] = {}
        self._initial: dict[str, NDArray[Any]] = {}

    def wrapped(self) -> LeappGraph:
        self._first_tick()
        self._command()
        for field in self._spec.observations:
            self._observation(field)
        self._states()
        self._noise()
        self._gains()
        for name in _SHOWN:
            self._out(TensorSpec(name=name, shape=(1,)), {}, shown=True)
        model = onnx.ModelProto()
        model.CopyFrom(self._model)
        graph = model.graph
        policy, own = [*graph.node], {value.name: value for value in (*graph.input, *graph.output)}
        del graph.node[:], graph.input[:], graph.output[:]
        graph.node.extend([*self._before.nodes, *policy, *self._after.nodes])
        graph.initializer.extend([*self._before.constants, *self._after.constants])
        graph.input.extend(value_info(told.tensor) for told in self._inputs)
        graph.output.extend(own.pop(t.tensor.name, None) or value_info(t.tensor) for t in self._outputs)
        graph.value_info.extend(own.values())
        onnx.checker.check_model(model, full_check=True)
        return LeappGraph(
            model=model,
            inputs=tuple(self._inputs),
            outputs=tuple(self._outputs),
            fed=tuple(self._fed),
            shown=tuple(self._shown),
            feedback=self._feedback,
            initial=self._initial,
        )

    def _in(self, tensor: TensorSpec, about: dict[str, Any]) -> None:
        self._inputs.append(Told(tensor, about))
        self._fed.append(tensor.name)

    def _out(self, tensor: TensorSpec, about: dict[str, Any], *, shown: bool) -> None:
        self._outputs.append(Told(tensor, about))
        if shown:
            self._shown.append(tensor.name)

    def _state(self, name: str, source: str, initial: NDArray[Any]) -> None:
        """An input ``name`` that has at the next tick what the output ``source`` has now."""
        self._inputs.append(Told(TensorSpec(name=name, shape=initial.shape), {}))
        self._initial[name] = np.ascontiguousarray(initial, dtype=np.float32)
        self._feedback[source] = name

    def _first_tick(self) -> None:
        self._state(_FIRST, _STILL_FIRST, np.ones(1, dtype=np.float32))
        self._before.node("Identity", _FIRST, out="is_first")
        self._after.node("Identity", self._after.constant([0.0]), out=_STILL_FIRST)
        self._out(TensorSpec(name=_STILL_FIRST, shape=(1,)), {}, shown=False)
        self._is_first = self._before.node("Cast", _FIRST, to=onnx.TensorProto.BOOL)

    def _command(self) -> None:
        """The SI command, as ``CommandMap`` makes it: one-hot if discrete."""
        spec, parts = self._spec, self._after
        n, action = spec.action_dim, spec.action
        if action.is_discrete:
            parts.node("Identity", "action", out=COMMAND)
        else:
            gain = np.asarray(action.scale, dtype=np.float32) * np.float32(action.clip)
            offset = np.asarray(action.offset, dtype=np.float32)
            bounded = parts.node("Min", "action", parts.constant(np.ones((1, n))))
            bounded = parts.node("Max", bounded, parts.constant(-np.ones((1, n))))
            scaled = parts.node("Mul", bounded, parts.constant(np.broadcast_to(gain, (1, n))))
            parts.node("Add", scaled, parts.constant(np.broadcast_to(offset, (1, n))), out=COMMAND)
        about = {"kind": TARGET_KINDS.get(action.mode), "element_names": [list(action.joints)], "units": action.unit}
        self._out(TensorSpec(name=COMMAND, shape=(1, n)), about, shown=True)

    def _observation(self, field: ObservationField) -> None:
        name, seen = input_name(field.name), f"obs/{field.name}"
        parts, frames = self._before, self._spec.history_length
        if field.is_image:
            self._in(TensorSpec(name=name, shape=(1, *field.shape), dtype="uint8"), _about(field, self._spec))
            parts.node("Identity", name, out=seen)
            return
        size = field.shape[0]
        if field.source is Source.LAST_ACTION:
            # Before an episode's first command it is the command of a zero action, as a controller has it.
            rest = to_command(self._spec.action, np.zeros((1, size), dtype=np.float32))
            self._state(name, COMMAND, rest)
            raw = parts.node("Where", self._is_first, parts.constant(rest), name)
        else:
            self._in(TensorSpec(name=name, shape=(1, size)), _about(field, self._spec))
            raw = name
        scaled = self._scaled(field, raw)
        if frames == 1:
            parts.node("Identity", scaled, out=seen)
            return
        history, following = f"history_{field.name}", f"next_history_{field.name}"
        self._state(history, following, np.zeros((1, frames * size), dtype=np.float32))
        later = parts.gather(history, range(size, frames * size))
        filled = parts.concat([scaled] * frames)
        stacked = parts.node("Where", self._is_first, filled, parts.concat([later, scaled]))
        parts.node("Identity", stacked, out=seen)
        self._after.node("Identity", seen, out=following)
        self._out(TensorSpec(name=following, shape=(1, frames * size)), {}, shown=False)

    def _scaled(self, field: ObservationField, raw: str) -> str:
        """``clip((raw - offset) * scale)``; a row as wide as the field, which no engine folds into a product."""
        parts, shape = self._before, (1, field.shape[0])

        def row(values: Any) -> str:
            return parts.constant(np.broadcast_to(np.asarray(values, dtype=np.float32), shape))

        shifted = parts.node("Sub", raw, row(field.offset))
        scaled = parts.node("Mul", shifted, row(field.scale))
        if field.clip is None:
            return scaled
        return parts.node("Max", parts.node("Min", scaled, row(field.clip)), row(-field.clip))

    def _states(self) -> None:
        for state in self._manifest.state:
            name, following = f"state_{state.name}", f"next_{state.name}"
            self._state(name, following, state.initial_array())
            self._before.node("Identity", name, out=state.input)
            self._after.node("Identity", state.output, out=following)
            self._out(TensorSpec(name=following, shape=state.shape), {}, shown=False)

    def _noise(self) -> None:
        for noise in self._manifest.noise:
            name = noise.name.replace("/", "_")
            following = f"next_{name}"
            self._state(name, following, np.zeros(noise.shape, dtype=np.float32))
            self._before.node("Identity", name, out=noise.name)
            self._after.node("Identity", self._after.constant(np.zeros(noise.shape)), out=following)
            self._out(TensorSpec(name=following, shape=noise.shape), {}, shown=False)

    def _gains(self) -> None:
        spec, n = self._spec, self._spec.action_dim
        for kind, gains in ((KP, spec.firmware.kp), (KD, spec.firmware.kd)):
            if gains:
                self._after.node("Identity", self._after.constant(np.reshape(gains, (1, n))), out=kind)
                about = {"kind": kind, "element_names": [list(spec.action.joints)]}
                self._out(TensorSpec(name=kind, shape=(1, n)), about, shown=True)


def _about(field: ObservationField, spec: AgentSpec) -> dict[str, Any]:
    kind = kind_of_field(field, spec)
    about: dict[str, Any] = {} if kind is None else {"kind": kind}
    names = field.labels
    if kind in INPUT_KINDS and INPUT_KINDS[kind].elements is not None:
        names = canonical(kind, names)
    if names:
        about["element_names"] = [list(names)]
    about |= {"units": field.unit, "max_age_s": field.max_age_s}
    if field.frame:
        about["frame"] = field.frame
    return about
