"""Plans are recorded as torch plans them, and those that stand on an edge are found."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from robot_wm.dreamer.latent_model import DreamerLatentModel
from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import NoiseTensor
from robot_wm.runtime.parity_recording import Recording
from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm_export.onnx_export import export_op17, folded
from robot_wm_export.planner import recorded
from robot_wm_export.planner.graph import PlannerGraph
from robot_wm_export.planner.recorded import record_plans

TICKS = 256


@pytest.mark.parametrize(
    ("kind", "planner", "decides"),
    [("proprio", "flat", False), ("discrete", "halving", True), ("muzero", "flat", False)],
)
def test_an_exported_planner_plans_as_torch_does(make_planned, kind, planner, decides):
    agent, recording = make_planned(kind)
    graph = PlannerGraph(agent, planner, candidates=4, depth=2)
    assert graph.decides is decides
    model = export_op17(graph, simplify=folded)
    assert model.opset_import[0].version == 17
    assert not {node.op_type for node in model.graph.node} & {"Loop", "If", "Scan", "RandomNormal"}
    plans, parity = record_plans(model, graph, recording, seed=0)
    assert plans.plans == parity.plans == TICKS
    assert max(parity.largest_error.values()) < 1e-4
    assert parity.unsteady_plans < 0.1 * TICKS
    np.testing.assert_array_equal(plans.outputs["plan"][:, :, 0], plans.outputs["action"])
    assert (plans.outputs["gain"] >= 0).all()
    assert plans.outputs["action"].std(0).max() > 0.1  # it depends on where it starts


def test_the_latent_is_the_roots_side_by_side(make_planned):
    agent, recording = make_planned("proprio")
    graph = PlannerGraph(agent, "flat", candidates=4, depth=2)
    noise = torch.randn(graph.noise[0].shape, generator=torch.Generator().manual_seed(0))
    deter, stoch = (torch.from_numpy(recording.outputs[name][9]) for name in ("next/deter", "next/stoch"))
    planner = FlatPlanner(DreamerLatentModel(agent), FlatConfig(candidates=4, depth=2))
    with torch.no_grad():
        wanted = planner(torch.cat([deter, stoch.flatten(1)], -1), noise)
        found = dict(zip(graph.output_names, graph(deter, stoch, noise), strict=True))
    for name, value in wanted._asdict().items():
        torch.testing.assert_close(found[name], value)


def test_a_graph_that_is_not_torchs_is_refused(make_planned):
    agent, recording = make_planned("proprio")
    graph = PlannerGraph(agent, "flat", candidates=2, depth=1)
    model = export_op17(graph, simplify=folded)
    with torch.no_grad():
        agent.actor.out.bias += 0.3  # the graph holds what was there before
    with pytest.raises(UserError, match=r"planner\.onnx: ONNX Runtime does not plan what torch does: \w+\[.*at plan 0"):
        record_plans(model, graph, recording, seed=0)


@dataclass
class Edge:
    """A planner whose action is the sign of a sum of two products, over roots of which it is nearly 0 at some."""

    near: int  # plans, the first ones
    weight: float = 1.0
    root = ("next/latent",)
    noise = (NoiseTensor(name="noise/plan", shape=(1, 1, 1), distribution="normal"),)
    output_shapes = MappingProxyType(
        {"action": (1, 1), "value": (1,), "scores": (1, 2), "plan": (1, 1, 1), "gain": (1,)}
    )
    decides = False

    def recording(self) -> Recording:
        roots = np.random.default_rng(0).normal(size=(TICKS, 1, 8)).astype(np.float32)
        roots -= roots.mean(-1, keepdims=True)  # a sum of 0 but for rounding
        roots[self.near :, :, 0] += 1.0
        return Recording(inputs={"is_first": roots}, outputs={"next/latent": roots})

    def model(self) -> onnx.ModelProto:
        node, value_info = helper.make_node, helper.make_tensor_value_info
        nodes = [
            node("Split", ["next/latent"], ["left", "right"], axis=1),
            node("MatMul", ["left", "weights"], ["left_product"]),
            node("MatMul", ["right", "weights"], ["right_product"]),
            node("Add", ["left_product", "right_product"], ["sum"]),
            node("Sign", ["sum"], ["action"]),
            node("Mul", ["noise/plan", "zero"], ["nothing"]),
            node("Add", ["nothing", "action"], ["plan"]),
            node("Reshape", ["sum", "one"], ["value"]),
            node("Concat", ["sum", "sum"], ["scores"], axis=1),
            node("Abs", ["value"], ["gain"]),
        ]
        constants = {
            "weights": np.full((4, 1), self.weight, np.float32),
            "zero": np.float32([0]),
            "one": np.int64([1]),
        }
        inputs = {"next/latent": [1, 8], "noise/plan": [1, 1, 1]}
        graph = helper.make_graph(
            nodes,
            "planner",
            [value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [value_info(name, TensorProto.FLOAT, shape) for name, shape in self.output_shapes.items()],
            [numpy_helper.from_array(value, name) for name, value in constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def run(self, inputs):
        """As torch, which rounds otherwise."""
        total = inputs["next/latent"].astype(np.float64).sum(-1)  # [P, 1]
        return {
            "action": np.sign(total)[:, None],
            "value": total,
            "scores": np.repeat(total[:, None], 2, -1),
            "plan": np.sign(total)[:, None, None],
            "gain": np.abs(total),
        }


def test_plans_that_rounding_decides_are_found_and_no_others():
    graph = Edge(near=12)
    plans, parity = record_plans(graph.model(), graph, graph.recording(), seed=0)
    assert plans.unsteady.nonzero()[0].tolist() == list(range(12))
    assert parity.unsteady_plans == 12


def test_a_planner_that_rounding_decides_too_often_is_refused():
    graph = Edge(near=100)
    naming = r"planner: rounding alone turns 2\d% of its plans into others, at most 10% may be"
    with pytest.raises(UserError, match=naming):
        record_plans(graph.model(), graph, graph.recording(), seed=0)


def test_a_plan_that_is_no_number_is_refused():
    graph = Edge(near=0, weight=float("nan"))
    with pytest.raises(UserError, match=r"planner: action\[0,0\] of plan 0 is nan; nothing is written"):
        record_plans(graph.model(), graph, graph.recording(), seed=0)


def test_a_recording_that_would_be_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(recorded, "MAX_BYTES", 1000)
    graph = Edge(near=0)
    with pytest.raises(UserError, match="planner: noise of 256 recorded plans takes 0 MiB, at most"):
        record_plans(graph.model(), graph, graph.recording(), seed=0)
