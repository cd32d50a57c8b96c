"""The package computed as it stands, node by node on ONNX Runtime: what the bundle's one graph is held to.

ONNX Runtime fuses here what leapp's own runtime lets it fuse. Shape letters: N ticks, O a field's size, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.parity_recording import Recording
from robot_wm.spec import AgentSpec
from robot_wm_export.leapp.incoming import IncomingGraph
from robot_wm_export.leapp.kinds import GRAVITY, KP
from robot_wm_export.leapp.mapping import Elements, Orientation, Picture, Plan
from robot_wm_export.leapp.package import LeappPackage

Arrays = dict[str, NDArray[Any]]

_TURN_RAD = 1.0  # by which the heading is turned to see whether the policy hangs on it
_TOLERANCE = 1e-4  # of what does not hang on the heading, and of gains that are the same; relative above 1
_YAW = np.array([0.0, 0.0, np.sin(_TURN_RAD / 2), np.cos(_TURN_RAD / 2)])


class Reference:
    """The package's nodes, to be computed over recorded ticks."""

    def __init__(self, package: LeappPackage, plan: Plan, spec: AgentSpec) -> None:
        self._package, self._plan, self._spec = package, plan, spec
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        self._sessions = {
            node.name: ort.InferenceSession(node.graph, options, providers=["CPUExecutionProvider"])
            for node in package.nodes
        }
        self._feedback, self._forward = package.feedback(), package.forward()

    def outputs(self, recording: Recording, graph: IncomingGraph) -> Arrays:
        """What the package makes of recorded ticks, in the bundle's terms: ``action`` and every next state [N, 1, …].

        Step by step: every tick starts from the recorded state. Raises UserError for what a robot cannot be given:
        values that are not finite, gains that are not the robot's, and a policy that goes by the robot's heading.
        """
        spec, ticks = self._spec, recording.ticks
        raw = self._raw(recording)
        made: Arrays = {"action": np.empty((ticks, 1, spec.action_dim), dtype=np.float32)}
        made |= {state.output: np.empty((ticks, *state.shape), dtype=np.float32) for state in graph.state}
        for tick in range(ticks):
            frame = {name: values[tick] for name, values in raw.items()}
            state = self._state(recording, graph, tick)
            found = self._tick(frame, state)
            made["action"][tick, 0] = self._action(found)
            self._require_gains(found)
            if any(isinstance(source, Orientation) for source in self._plan.sources.values()):
                self._require_no_heading(frame, state, made["action"][tick, 0])
            for entry in graph.state:
                made[entry.output][tick] = found[self._feedback[graph.state_ports[entry.name]]].reshape(entry.shape)
        return made

    def _raw(self, recording: Recording) -> Arrays:
        """The newest frame of every field, raw [N, O]; an image as it is."""
        raw: Arrays = {}
        for field in self._spec.observations:
            seen = recording.inputs[f"obs/{field.name}"]
            if field.is_image:
                raw[field.name] = seen
                continue
            newest = seen[:, 0, -field.shape[0] :]
            raw[field.name] = newest / np.asarray(field.scale, dtype=np.float32) + np.asarray(
                field.offset, dtype=np.float32
            )
        return raw

    def _state(self, recording: Recording, graph: IncomingGraph, tick: int) -> Arrays:
        is_first = bool(recording.inputs["is_first"][tick, 0])
        state: Arrays = {}
        for entry in graph.state:
            port = graph.state_ports[entry.name]
            value = self._package.initial[port] if is_first else recording.inputs[entry.input][tick]
            state[port] = value.reshape(self._package.tensor(port).shape)
        return state

    def _tick(self, frame: Mapping[str, NDArray[Any]], state: Arrays, turned: bool = False) -> Arrays:
        values = dict(state)
        for port, source in self._plan.sources.items():
            match source:
                case Elements():
                    value = np.array([frame[field][index] for field, index in source.places], dtype=np.float32)
                case Orientation():
                    value = _quaternion(frame[GRAVITY], turned)[list(source.order)].astype(np.float32)
                case Picture():
                    value = frame[source.field]
            values[port] = value.reshape(self._package.tensor(port).shape)
        for node in self._package.nodes:
            ports = {entry.name: f"{node.name}/{entry.name}" for entry in node.inputs}
            feed = {name: values[self._forward.get(port, port)] for name, port in ports.items()}
            names = [entry.name for entry in node.outputs]
            try:
                made = self._sessions[node.name].run(names, feed)
            except Exception as error:  # ONNX Runtime's share no base class
                raise UserError(f"{self._package.description}: model {node.name}: {str(error)[:300]}") from None
            values |= {f"{node.name}/{name}": value for name, value in zip(names, made, strict=True)}
        return values

    def _action(self, found: Arrays) -> NDArray[np.float32]:
        action = self._spec.action
        target = np.empty(len(action.joints))
        for port, joints in self._plan.targets.items():
            for joint, value in zip(joints, found[port].ravel(), strict=True):
                target[action.joints.index(joint)] = value
        gain = np.broadcast_to(np.asarray(action.scale) * action.clip, target.shape)
        made = ((target - np.asarray(action.offset)) / gain).astype(np.float32)
        if not np.isfinite(made).all():
            joint = action.joints[int(np.flatnonzero(~np.isfinite(made))[0])]
            raise UserError(f"{self._package.description}: the command of joint {joint} is not finite")
        return made

    def _require_gains(self, found: Arrays) -> None:
        """The drives are set up before the policy runs: its gains must be theirs, at every tick."""
        spec = self._spec
        for port, (kind, names) in self._plan.gains.items():
            unit = "N·m/rad" if kind == KP else "N·m·s/rad"
            own = spec.firmware.kp if kind == KP else spec.firmware.kd
            told = found[port].ravel()
            joints = names or spec.action.joints
            if len(joints) != told.size:
                raise UserError(f"{self._package.description}: output {port}: {told.size} gains without element_names")
            for joint, gain in zip(joints, told.tolist(), strict=True):
                drive = own[spec.action.joints.index(joint)] if own and joint in spec.action.joints else None
                if drive is None or abs(gain - drive) > _TOLERANCE * max(1.0, abs(drive)):
                    raise UserError(
                        f"{self._package.description}: output {port}: the policy was trained with {kind} {gain:g}"
                        f" {unit} of {joint}, {spec.firmware.name} has {drive}"
                    )

    def _require_no_heading(
        self, frame: Mapping[str, NDArray[Any]], state: Arrays, action: NDArray[np.float32]
    ) -> None:
        turned = self._action(self._tick(frame, state, turned=True))
        if (np.abs(turned - action) > _TOLERANCE * np.maximum(1.0, np.abs(action))).any():
            raise UserError(
                f"{self._package.description}: the policy goes by the robot's heading, and robot {self._spec.robot}"
                f" observes {GRAVITY} only, which does not tell it"
            )


def _quaternion(gravity: NDArray[Any], turned: bool) -> NDArray[np.float64]:
    """(qx, qy, qz, qw) of the roll and pitch at which ``gravity`` [3] is felt, heading 0 or ``_TURN_RAD``."""
    gx, gy, gz = (float(value) for value in gravity)
    found = np.array([-gy, gx, 0.0, 1.0 - gz])
    found /= max(float(np.linalg.norm(found)), 1e-6)
    return _product(_YAW, found) if turned else found


def _product(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hamilton's product of two quaternions (x, y, z, w)."""
    vector = left[3] * right[:3] + right[3] * left[:3] + np.cross(left[:3], right[:3])
    return np.array([*vector, left[3] * right[3] - left[:3] @ right[:3]])
