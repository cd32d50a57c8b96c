"""The plans that a bundle records, and which of them rounding alone can turn into others.

Shape letters: N ticks, P plans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import replay
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.planner_section import MIN_PLANS, PLANNER, PLANNER_PARITY, PlannerParity
from robot_wm.runtime.planning.plan_parity import compare_plans, differing, plan_objection
from robot_wm.runtime.planning.plan_recording import PlanRecording, recorded_roots
from robot_wm_export.planner.graph import PlannerGraph

MAX_BYTES = 2**26  # of the recording
# Every product is changed by this share, each number for itself. Trained Dreamers of size 1m on ONNX Runtime differ
# from torch in as many plans as with a fifth of it, and in no plan that it does not find.
JITTER = 5e-7
JITTERS = 8  # a decision that stands on an edge falls to the same side in all of them once in 256 plans
MAX_UNSTEADY = 0.5  # of the plans: the others are what an engine is held to

_PRODUCTS = ("Gemm", "MatMul")
Arrays = Mapping[str, NDArray[Any]]


def record_plans(
    model: onnx.ModelProto, graph: PlannerGraph, recording: Recording, *, seed: int
) -> tuple[PlanRecording, PlannerParity]:
    """Plan from ``MIN_PLANS`` of the tick's recorded outputs on ONNX Runtime, and compare that with torch.

    ``model`` is the exported graph. Raises UserError for one that plans something else than torch, for a plan that is
    not finite, for one that rounding changes more often than an engine may differ, and for a recording that is too
    large.
    """
    size = 4 * MIN_PLANS * sum(int(np.prod(entry.shape)) for entry in graph.noise)
    if size > MAX_BYTES:
        raise UserError(
            f"planner: noise of {MIN_PLANS} recorded plans takes {size >> 20} MiB, at most {MAX_BYTES >> 20} may be:"
            " fewer candidates, or less depth"
        )
    rng = np.random.default_rng(seed)
    inputs = recorded_roots(graph.root, recording, MIN_PLANS)
    for entry in graph.noise:
        draw = rng.gumbel if entry.distribution == "gumbel" else rng.normal
        inputs[entry.name] = draw(size=(MIN_PLANS, *entry.shape)).astype(np.float32)
    outputs = tuple(TensorSpec(name=name, shape=shape) for name, shape in graph.output_shapes.items())
    tolerance = PlannerParity.model_fields["tolerance"].default
    max_differing = PlannerParity.model_fields["max_differing"].default
    made = _run(model, inputs, outputs)
    _require_finite(made)
    shapes = _product_shapes(model)
    leaps = np.stack(  # [J, P] which plans are others
        [
            differing(
                made,
                _run(_jittered(model, shapes, rng), inputs, outputs),
                decides=graph.decides,
                tolerance=tolerance,
            )
            for _ in range(JITTERS)
        ]
    )
    unsteady = np.asarray(leaps.any(0), dtype=np.bool_)
    share = float(leaps.mean())
    if share > max_differing or unsteady.mean() > MAX_UNSTEADY:
        raise UserError(
            f"planner: rounding alone turns {share:.0%} of its plans into others, at most {max_differing:.0%} may be:"
            " what it plans is chance; a hardly trained critic does that"
        )
    plans = PlanRecording(inputs=inputs, outputs=made, unsteady=unsteady)
    found = compare_plans(plans, graph.run(inputs), decides=graph.decides, tolerance=tolerance)
    if reason := plan_objection(found, tolerance=tolerance, max_differing=max_differing):
        raise UserError(f"{PLANNER}: ONNX Runtime does not plan what torch does: {reason}")
    return plans, PlannerParity(
        file=PLANNER_PARITY,
        plans=MIN_PLANS,
        near_tie_plans=found.near_tie_plans,
        unsteady_plans=found.unsteady_plans,
        differing_plans=found.differing_plans,
        largest_error=found.largest_error,
    )


def _require_finite(outputs: Arrays) -> None:
    for name, values in outputs.items():
        bad = np.argwhere(~np.isfinite(values))
        if bad.size:
            plan, *where = bad[0].tolist()
            index = ",".join(map(str, where))
            raise UserError(f"planner: {name}[{index}] of plan {plan} is {values[tuple(bad[0])]:g}; nothing is written")


def _run(model: onnx.ModelProto, inputs: Arrays, outputs: Sequence[TensorSpec]) -> dict[str, NDArray[np.float32]]:
    engine = OnnxEngine(model.SerializeToString(), ())
    engine.activate()
    try:
        return replay(engine, inputs, (), outputs)
    finally:
        engine.deactivate()


def _product_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Of every product's result, by its name: what comes of a plan, since not every shape can be inferred."""
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    products = [node.output[0] for node in model.graph.node if node.op_type in _PRODUCTS]
    own = {value.name for value in model.graph.output}
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in products if name not in own)
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    zeros = {node.name: np.zeros(node.shape, dtype=np.float32) for node in session.get_inputs()}
    return {name: made.shape for name, made in zip(products, session.run(products, zeros), strict=True)}


def _jittered(
    model: onnx.ModelProto, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> onnx.ModelProto:
    """The graph as an engine computes it that rounds every product otherwise."""
    jittered = onnx.ModelProto()
    jittered.CopyFrom(model)
    graph = jittered.graph
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if node.op_type in _PRODUCTS:
            name, exact, factor = node.output[0], f"{node.output[0]}.exact", f"{node.output[0]}.factor"
            factors = (1.0 + JITTER * rng.normal(size=shapes[name])).astype(np.float32)
            node.output[0] = exact
            graph.initializer.append(numpy_helper.from_array(factors, factor))
            nodes.append(helper.make_node("Mul", [exact, factor], [name]))
    del graph.node[:]
    graph.node.extend(nodes)
    return jittered
