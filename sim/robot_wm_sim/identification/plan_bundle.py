"""A plan as a bundle: what drives a robot safely then plays it, and its recorder logs it, as with any agent.

The graph counts ticks since ``is_first`` and looks the command of that tick up. It hears no sensor, so that nothing but
the node's own safety (limits, soft start, stale sensors, the e-stop) comes between the plan and the robot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from robot_wm.model_card import model_card
from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.graph_tensors import StateTensor, TensorSpec
from robot_wm.runtime.manifest import POLICY_OP17, json_lineage
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import replay
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import Parity
from robot_wm.runtime.transform import to_policy
from robot_wm.spec import AgentSpec
from robot_wm_sim.identification.plan import Plan

_FLOAT, _BYTE = onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8
_OPSET, _IR = 17, 8  # of what TensorRT 8.6 parses
_CLOCK = StateTensor(name="clock", input="state/clock", output="next/clock", shape=(1, 1))
_LEAST_TICKS = 256  # of a bundle's recording


def write_plan_bundle(out: Path, plan: Plan, spec: AgentSpec) -> None:
    """Write the folder ``out`` (``*.rwm``), which holds home once the plan is over; UserError where it cannot be."""
    graph = _graph(plan, spec).SerializeToString(deterministic=True)
    outputs = tuple(TensorSpec(name=name, shape=shape) for name, shape in _outputs(spec).items())
    inputs = {
        f"obs/{name}": np.zeros((_LEAST_TICKS, 1, *entry.shape), np.dtype(entry.dtype))
        for name, entry in spec.model_inputs().items()
    }
    inputs["is_first"] = np.zeros((_LEAST_TICKS, 1), np.float32)
    inputs["is_first"][0] = 1.0
    since = np.minimum(np.arange(_LEAST_TICKS, dtype=np.float32), len(plan.command))
    inputs[_CLOCK.input] = since.reshape(-1, 1, 1)
    engine = OnnxEngine(graph, (_CLOCK,))
    engine.activate()
    try:
        recorded = replay(engine, inputs, (_CLOCK,), outputs)
    finally:
        engine.deactivate()
    write_bundle(
        out,
        kind="plan",
        spec=spec,
        state=(_CLOCK,),
        noise=(),
        outputs=outputs,
        draws=(),
        surprise_unit=None,
        graphs={POLICY_OP17: graph},
        recording=Recording(inputs=inputs, outputs=recorded),
        parity=Parity(ticks=_LEAST_TICKS, results={}),
        lineage=json_lineage({}),
        card=model_card,
    )


def _outputs(spec: AgentSpec) -> dict[str, tuple[int, ...]]:
    return {"action": (1, spec.action_dim), "value": (1,), "surprise": (1,)}


def _graph(plan: Plan, spec: AgentSpec) -> onnx.ModelProto:
    """Tick t since ``is_first``: action = table[min(t, K - 1)], next clock = min(t, K - 1) + 1."""
    inputs = [
        helper.make_tensor_value_info(f"obs/{name}", _FLOAT if entry.dtype == "float32" else _BYTE, [1, *entry.shape])
        for name, entry in spec.model_inputs().items()
    ]
    inputs.append(helper.make_tensor_value_info("is_first", _FLOAT, [1]))
    inputs.append(helper.make_tensor_value_info(_CLOCK.input, _FLOAT, list(_CLOCK.shape)))
    told = {**_outputs(spec), _CLOCK.output: _CLOCK.shape}
    outputs = [helper.make_tensor_value_info(name, _FLOAT, list(shape)) for name, shape in told.items()]
    constants: dict[str, NDArray[Any]] = {
        "table": to_policy(spec.action, plan.command),  # [K, A] model units
        "one": np.ones(1, np.float32),
        "last": np.full(1, len(plan.command) - 1, np.float32),
        "nothing": np.zeros(1, np.float32),
        "flat": np.array([1], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Sub", ["one", "is_first"], ["goes_on"]),
        node("Mul", [_CLOCK.input, "goes_on"], ["since"]),
        node("Min", ["since", "last"], ["tick"]),
        node("Add", ["tick", "one"], [_CLOCK.output]),
        node("Reshape", ["tick", "flat"], ["place"]),
        node("Cast", ["place"], ["row"], to=onnx.TensorProto.INT64),
        node("Gather", ["table", "row"], ["action"], axis=0),
        node("Mul", ["place", "nothing"], ["value"]),
        node("Mul", ["place", "nothing"], ["surprise"]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tick", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
