"""Somebody else's package as one tick graph of a bundle: the spec's observations in, model actions out.

Scaling is undone (LEAPP's inputs are raw), a first tick gives every state its initial value, and the SI targets become
actions. They are not cut to [-1, 1]: an operator that did would hide what is not a number from the controller.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper
from onnx_ir.passes import common as passes
from onnxscript import ir

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import StateTensor, TensorSpec, graph_inputs
from robot_wm.spec import AgentSpec
from robot_wm_export.leapp.graph_parts import GraphParts, value_info
from robot_wm_export.leapp.kinds import GRAVITY
from robot_wm_export.leapp.mapping import Elements, InputSource, Orientation, Picture, Plan
from robot_wm_export.leapp.package import LeappPackage
from robot_wm_export.onnx_export import OPSET_17

IR_VERSION = 8  # of opset 17's time
_PREFIX = "leapp/"
_LEAST_NORM = 1e-6  # of a quaternion that is to be normalised: the robot lies exactly on its back
OUTPUTS = ("action", "value", "surprise")


@dataclass(frozen=True)
class IncomingGraph:
    """The tick graph and what a manifest tells of it."""

    model: onnx.ModelProto
    state: tuple[StateTensor, ...]
    outputs: tuple[TensorSpec, ...]
    state_ports: Mapping[str, str]  # state -> port of the input that it is


def tick_graph(
    package: LeappPackage, graphs: Mapping[str, onnx.GraphProto], plan: Plan, spec: AgentSpec
) -> IncomingGraph:
    """Put the nodes' opset-17 ``graphs`` together; UserError for a pipeline that is not computed in its order."""
    return _Builder(package, graphs, plan, spec).built()


class _Builder:
    def __init__(
        self, package: LeappPackage, graphs: Mapping[str, onnx.GraphProto], plan: Plan, spec: AgentSpec
    ) -> None:
        self._package, self._graphs, self._plan, self._spec = package, graphs, plan, spec
        self._parts = GraphParts(_PREFIX)
        self._raw: dict[str, str] = {}  # field -> its newest frame, raw [1, O]
        self._made: dict[str, str] = {}  # port of an output -> tensor

    def built(self) -> IncomingGraph:
        states = self._states()
        ports = {state.name: port for port, state in states.items()}
        given = {port: self._input(port, source) for port, source in self._plan.sources.items()}
        given |= {port: self._remembered(port, state) for port, state in states.items()}
        forward = self._package.forward()
        for node in self._package.nodes:
            feed = {}
            for entry in node.inputs:
                port = f"{node.name}/{entry.name}"
                if port in forward and forward[port] not in self._made:
                    raise UserError(
                        f"{self._package.description}: pipeline.data_flow: {port} needs {forward[port]},"
                        " which is computed later"
                    )
                feed[entry.name] = self._made[forward[port]] if port in forward else given[port]
            made = self._parts.inline(self._graphs[node.name], feed, node.name)
            self._made |= {f"{node.name}/{name}": tensor for name, tensor in made.items()}
        self._action()
        for name in OUTPUTS[1:]:
            # Nothing is predicted, so nothing surprises and nothing is valued.
            self._parts.node("Identity", self._parts.constant([0.0]), out=name)
        feedback = self._package.feedback()
        for port, state in states.items():
            self._parts.reshape(self._made[feedback[port]], state.shape, out=state.output)
        shapes = ((1, self._spec.action_dim), (1,), (1,))
        outputs = tuple(TensorSpec(name=name, shape=shape) for name, shape in zip(OUTPUTS, shapes, strict=True))
        return IncomingGraph(self._model(tuple(states.values()), outputs), tuple(states.values()), outputs, ports)

    def _states(self) -> dict[str, StateTensor]:
        """The state of each input that is fed back. A bundle's have a batch axis of 1 in front."""
        found: dict[str, StateTensor] = {}
        taken: set[str] = set()
        for port in self._package.feedback():
            tensor = self._package.tensor(port)
            name = re.sub(r"\W", "_", tensor.name)[:80]
            # A controller writes what was really executed into a state called action; this one is the policy's own.
            name = f"state_{name}" if name == "action" or not name[0].isalpha() else name
            while name in taken:
                name += "_"
            taken.add(name)
            shape = (
                tensor.shape if 0 < len(tensor.shape) <= 5 and tensor.shape[0] == 1 else (1, math.prod(tensor.shape))
            )
            initial = self._package.initial[port].astype(np.float32).ravel()
            values = (0.0,) if not initial.any() else tuple(float(value) for value in initial)
            found[port] = StateTensor(
                name=name, input=f"state/{name}", output=f"next/{name}", shape=shape, initial=values
            )
        return found

    def _remembered(self, port: str, state: StateTensor) -> str:
        parts = self._parts
        is_first = parts.node("Cast", "is_first", to=onnx.TensorProto.BOOL)
        value = parts.node("Where", is_first, parts.constant(state.initial_array()), state.input)
        return parts.reshape(value, self._package.tensor(port).shape)

    def _input(self, port: str, source: InputSource) -> str:
        tensor = self._package.tensor(port)
        if isinstance(source, Picture):
            return f"obs/{source.field}"
        if isinstance(source, Orientation):
            row = self._parts.gather(self._quaternion(), source.order)
        else:
            row = self._elements(source)
        return self._parts.reshape(row, tensor.shape)

    def _elements(self, source: Elements) -> str:
        fields = list(dict.fromkeys(field for field, _ in source.places))
        sizes = [self._size(field) for field in fields]
        starts = dict(zip(fields, np.cumsum([0, *sizes]).tolist(), strict=False))
        row = self._parts.concat([self._raw_frame(field) for field in fields])
        return self._parts.gather(row, [starts[field] + index for field, index in source.places])

    def _size(self, field: str) -> int:
        return next(one.shape[0] for one in self._spec.observations if one.name == field)

    def _raw_frame(self, name: str) -> str:
        """The newest frame of a field, raw: ``seen / scale + offset`` [1, O]."""
        if name in self._raw:
            return self._raw[name]
        parts, frames = self._parts, self._spec.history_length
        field = next(one for one in self._spec.observations if one.name == name)
        if not all(field.scale):
            raise UserError(f"{self._package.description}: field {name}: its scale is 0, so that nothing is seen of it")
        size, row = field.shape[0], f"obs/{name}"
        if frames > 1:
            row = parts.gather(row, range((frames - 1) * size, frames * size))
        for operator, values in (("Div", field.scale), ("Add", field.offset)):
            row = parts.node(operator, row, parts.constant(np.broadcast_to(values, (1, size))))
        self._raw[name] = row
        return row

    def _quaternion(self) -> str:
        """(qx, qy, qz, qw) [1, 4] of the shortest turn that brings gravity where it is felt.

        Gravity in the body's frame is R^T (0, 0, -1), and the shortest R of it is (-g_y, g_x, 0, 1 - g_z), normalised.
        """
        parts = self._parts
        gravity = self._raw_frame(GRAVITY)
        x, y, z = (parts.gather(gravity, [index]) for index in range(3))
        up = parts.node("Sub", parts.constant([[1.0]]), z)
        row = parts.concat([parts.node("Neg", y), x, parts.constant([[0.0]]), up])
        squares = parts.node("ReduceSum", parts.node("Mul", row, row), parts.constant([1], np.int64), keepdims=1)
        norm = parts.node("Max", parts.node("Sqrt", squares), parts.constant([[_LEAST_NORM]]))
        return parts.node("Div", row, norm)

    def _action(self) -> None:
        spec, parts, n = self._spec, self._parts, self._spec.action_dim
        joints = [joint for names in self._plan.targets.values() for joint in names]
        rows = [parts.reshape(self._made[port], (1, len(names))) for port, names in self._plan.targets.items()]
        target = parts.gather(parts.concat(rows), [joints.index(joint) for joint in spec.action.joints])
        gain = np.asarray(spec.action.scale, dtype=np.float32) * np.float32(spec.action.clip)
        shifted = parts.node("Sub", target, parts.constant(np.broadcast_to(spec.action.offset, (1, n))))
        parts.node("Div", shifted, parts.constant(np.broadcast_to(gain, (1, n))), out=OUTPUTS[0])

    def _model(self, state: tuple[StateTensor, ...], outputs: tuple[TensorSpec, ...]) -> onnx.ModelProto:
        hidden = (TensorSpec(name=entry.output, shape=entry.shape) for entry in state)
        graph = helper.make_graph(
            self._parts.nodes,
            "tick",
            list(map(value_info, graph_inputs(self._spec, state, ()))),
            list(map(value_info, (*outputs, *hidden))),
            self._parts.constants,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET_17)],
            ir_version=IR_VERSION,
            producer_name="robot_wm",
        )
        # Outputs that are not wanted, such as gains, leave nodes and constants behind.
        model = ir.to_proto(passes.RemoveUnusedNodesPass()(ir.from_proto(model)).model)
        onnx.checker.check_model(model, full_check=True)
        return model
