"""A bundle whose agent misbehaves on request: an A1 that stands still until the operator's command plants a fault.

========================  ==========================================================================
cmd_vel                   what the graph does
========================  ==========================================================================
linear.x = 1              raises: it looks up an element that is not there
linear.y = 1              is surprised: 1000 nats
anything smaller          the zero action: the default pose
========================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.graph_tensors import StateTensor, TensorSpec
from robot_wm.runtime.manifest import POLICY_OP17, Lineage
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import Parity
from robot_wm.spec import AgentSpec
from robot_wm.tasks import agent_spec, make_env

TASK = "a1_velocity"
TICKS = 256
SURPRISE_NATS = 1000.0


def noise(spec: AgentSpec) -> dict[str, np.ndarray]:
    """Numbers of no robot, one tick without regard to another."""
    rng = np.random.default_rng(0)
    recorded = {
        f"obs/{name}": rng.uniform(-0.5, 0.5, (TICKS, 1, *entry.shape)).astype(np.float32)
        for name, entry in spec.model_inputs().items()
    }
    return recorded | {"is_first": np.zeros((TICKS, 1), np.float32)}


def write_planted_bundle(
    out: Path,
    change: Callable[[AgentSpec], AgentSpec] = lambda spec: spec,
    observe: Callable[[AgentSpec], dict[str, np.ndarray]] = noise,
) -> Path:
    """Write the bundle to ``out`` and return it; ``change`` makes its spec of the task's.

    ``observe`` gives what was recorded: every input but the state, [256, 1, ...].
    """
    env = make_env(TASK)
    spec = change(agent_spec(env))
    env.close()
    fields, actions = spec.model_inputs(), spec.action_dim
    node, info, floats, ints = helper.make_node, helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.INT64
    inputs = [info(f"obs/{name}", floats, [1, *entry.shape]) for name, entry in fields.items()]
    inputs += [info("is_first", floats, [1]), info("state/ticks", floats, [1])]
    outputs = [info("action", floats, [1, actions])]
    outputs += [info(name, floats, [1]) for name in ("value", "surprise", "next/ticks")]
    newest = fields["command"].shape[0] - 3  # the history's last frame: x, y, yaw
    # Each planted fault is 1 where its command is 1, else 0.
    nodes = [
        node("Slice", ["obs/command", "from", "to", "axis"], ["wanted"]),
        node("Greater", ["wanted", "threshold"], ["over"]),
        node("Cast", ["over"], ["faults"], to=floats),
        node("Split", ["faults"], ["raises", "surprises"], axis=1),
        node("Reshape", ["raises", "one_long"], ["raises_1"]),
        node("Cast", ["raises_1"], ["which"], to=ints),
        node("Gather", ["nothing", "which"], ["looked_up"]),  # of one element: index 1 is out of bounds
        node("Reshape", ["surprises", "one_long"], ["surprises_1"]),
        node("Mul", ["surprises_1", "nats"], ["surprise"]),
        node("Identity", ["nothing"], ["value"]),
        node("Mul", ["looked_up", "no_action"], ["flat_action"]),
        node("Reshape", ["flat_action", "action_shape"], ["action"]),
        node("Add", ["state/ticks", "is_first"], ["next/ticks"]),
    ]
    constants = {
        "from": np.int64([newest]),
        "to": np.int64([newest + 2]),
        "axis": np.int64([1]),
        "threshold": np.float32([[0.9]]),
        "one_long": np.int64([1]),
        "nothing": np.float32([0]),
        "nats": np.float32([SURPRISE_NATS]),
        "no_action": np.zeros(actions, np.float32),
        "action_shape": np.int64([1, actions]),
    }
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "planted", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    return _write(out, spec, model, observe(spec))


def _write(out, spec, model, recorded):
    recorded = recorded | {"state/ticks": np.zeros((TICKS, 1), np.float32)}
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    rows = [session.run(names, {name: value[tick] for name, value in recorded.items()}) for tick in range(TICKS)]
    write_bundle(
        out,
        kind="dreamer",
        spec=spec,
        state=(StateTensor(name="ticks", input="state/ticks", output="next/ticks", shape=(1,)),),
        noise=(),
        outputs=(
            TensorSpec(name="action", shape=(1, spec.action_dim)),
            TensorSpec(name="value", shape=(1,)),
            TensorSpec(name="surprise", shape=(1,)),
        ),
        draws=(),
        surprise_unit="nats",
        graphs={POLICY_OP17: model},
        recording=Recording(
            inputs=recorded, outputs={name: np.stack([row[i] for row in rows]) for i, name in enumerate(names)}
        ),
        parity=Parity(ticks=TICKS, results={}),
        lineage=Lineage(config={"task": TASK}),
    )
    return out
