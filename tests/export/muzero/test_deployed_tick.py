"""MuZero's deployed tick: the agent's numbers at any depth, from fewer products and not one more weight."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.config import MuZeroConfig
from robot_wm_bench.graph_cost import graph_cost
from robot_wm_export.exporters import exporter_of
from robot_wm_export.muzero.deployed_tick import DeployedTick
from robot_wm_export.onnx_export import export_op17
from robot_wm_export.tick_graph import TickGraph


@pytest.mark.parametrize(
    "widths",
    [{"layers": 1}, {"layers": 4}, {"units": 24, "latent": 40, "simplex": 2}, {"min_std": 0.3, "max_std": 0.5}],
)
@pytest.mark.parametrize("kind", ["muzero", "muzero_both"])
def test_any_depth_and_width(make_case, largest_difference, kind, widths):
    case = make_case(kind)
    config = MuZeroConfig(**{"size": "nano", "latent": 16, "simplex": 4, "units": 8, "depth": 2, **widths})
    agent = MuZeroAgent(config, case.spec.model_inputs(), 3, False, generator=torch.Generator().manual_seed(1)).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in agent.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    found = largest_difference(TickGraph(agent, case.spec), case.rollout)
    assert max(found.values()) < 1e-5, found


def test_weights_are_copies_as_they_were(make_case):
    case = make_case("muzero")
    tick = DeployedTick(case.agent)
    before = {name: value.clone() for name, value in tick.state_dict().items()}
    with torch.no_grad():
        for parameter in case.agent.parameters():
            parameter.zero_()
    for name, value in tick.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


@pytest.fixture(scope="module")
def model(make_case) -> onnx.ModelProto:
    return export_op17(make_case("muzero").graph)


def test_nothing_is_copied_together_expanded_transposed_or_clipped_on_the_way(model):
    operators = Counter(node.op_type for node in model.graph.node)
    assert not operators.keys() & {"Expand", "Tile", "Transpose", "Gather", "Where", "Clip", "ConstantOfShape"}
    assert operators["Concat"] == 1  # the fields of the observation


def test_products_and_norms_are_counted(model):
    # Three of the encoder and its latent; latent and action into g, two more and their latent; policy and value share
    # three levels and have an end each.
    assert graph_cost(model).products == (3 + 1) + (2 + 2 + 1) + (3 + 2)
    assert sum(node.op_type == "ReduceMean" for node in model.graph.node) == 3 + 3 + 3


def test_no_weight_is_added_and_none_that_only_searches_need(make_case, model):
    agent = make_case("muzero").agent
    unused = ("dynamics.reward", "dynamics.cont")
    weights = sum(p.numel() for name, p in agent.model.named_parameters() if not name.startswith(unused))
    stored = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    small = agent.config.bins + 20 * agent.config.units  # bins, ones of norms, shapes
    assert weights <= stored <= weights + small


def run(model: onnx.ModelProto, graph: TickGraph, **given: np.ndarray) -> dict[str, np.ndarray]:
    feed = {entry.name: np.zeros(entry.shape, entry.dtype) for entry in graph.inputs} | given
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip(graph.output_names, session.run(None, feed), strict=True))


def test_what_is_no_number_is_never_made_one(make_case, model):
    """On ONNX Runtime, optimised: the controller's watch for such actions depends on it."""
    graph, odd = make_case("muzero").graph, np.float32([[0.0, np.nan, 0.0]])
    made = run(model, graph, **{"noise/action": odd})
    assert np.isnan(made["action"]).tolist() == [[False, True, False]]
    blind = run(model, graph, **{"obs/position": np.full(graph.inputs[0].shape, np.nan, np.float32)})
    assert all(np.isnan(blind[name]).all() for name in ("action", "value", "surprise", "next/latent"))


@pytest.mark.parametrize("kind", ["muzero", "muzero_discrete"])
def test_zero_noise_is_greedy_and_noise_moves_the_action(make_case, kind):
    case = make_case(kind)
    exported = export_op17(case.graph)
    made = run(exported, case.graph)
    with torch.no_grad():
        mode = case.agent.model.policy(torch.from_numpy(made["next/latent"])).first.numpy()
    if case.agent.discrete:
        np.testing.assert_allclose(exporter_of("muzero").choice_scores(case.agent, made), mode, atol=1e-6)
        mode = np.eye(3, dtype=np.float32)[mode.argmax(-1)]
    np.testing.assert_allclose(made["action"], mode, atol=1e-5)
    moved = run(exported, case.graph, **{"noise/action": np.float32([[0.0, 50.0, 0.0]])})
    assert moved["action"][0, 1] == 1.0  # chosen, or cut there


def test_a_values_magnitude_is_how_far_an_error_of_its_sum_reaches(make_case):
    """Half of all probability on each end: the sum is 0, and what an error of it does is told by the magnitude."""
    case = make_case("muzero")
    out = case.agent.model.critic.out
    with torch.no_grad():
        out.weight.zero_()
        out.bias.fill_(-100.0)
        out.bias[[0, -1]] = 50.0
    made = case.graph.run({entry.name: np.zeros(entry.shape, entry.dtype) for entry in case.graph.inputs})
    assert made["value"].item() == 0.0
    end = np.sqrt(1001.0) - 1 + 1.0
    magnitude = exporter_of("muzero").value_magnitude(case.agent, made)
    assert magnitude == pytest.approx(end / 0.501, rel=1e-5)
    with torch.no_grad():
        out.bias[-1] += 1e-4  # a half-ulp's worth and more: of each of two terms of half the end
    moved = case.graph.run({entry.name: np.zeros(entry.shape, entry.dtype) for entry in case.graph.inputs})
    assert moved["value"].item() == pytest.approx(0.5e-4 * magnitude, rel=1e-2)
