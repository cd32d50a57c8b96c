"""The deployed tick computes the agent's tick, from fewer products and not one more weight."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.nn.block_gru import BlockGRU
from robot_wm.nn.categorical import draw
from robot_wm.nn.encoder import Encoder, Inputs
from robot_wm.nn.layers import Dense, initialise
from robot_wm.runtime.manifest import POLICY, POLICY_OP17
from robot_wm.spec import InputShape
from robot_wm_bench.graph_cost import graph_cost
from robot_wm_export.deployed.encoder import DeployedEncoder
from robot_wm_export.deployed.heads import DeployedCritic
from robot_wm_export.deployed.layers import Bounded, Chains, Rows
from robot_wm_export.dreamer.deployed_gru import DeployedGRU
from robot_wm_export.dreamer.deployed_inputs import DeployedInputs
from robot_wm_export.dreamer.deployed_tick import DeployedTick
from robot_wm_export.onnx_export import export_op17
from robot_wm_export.tick_graph import TickGraph

TINY = {"size": "nano", "deter": 32, "hidden": 8, "stoch": 4, "classes": 3, "depth": 2, "units": 8, "blocks": 4}


def perturbed(module: torch.nn.Module, seed: int = 0) -> None:
    """Give biases and scales, which start as zeros and ones, values that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def agent_of(make_case, kind: str, **widths) -> tuple[DreamerAgent, TickGraph]:
    """An agent with the inputs and actions of a case, of other widths and depths."""
    case = make_case(kind)
    agent = DreamerAgent(
        DreamerConfig(**{**TINY, **widths}),
        case.spec.model_inputs(),
        case.spec.action_dim,
        case.spec.action.is_discrete,
        generator=torch.Generator().manual_seed(1),
    ).eval()
    perturbed(agent)
    with torch.no_grad():  # values of the order of one, as after training
        bins = agent.config.bins
        agent.critic.out.bias.copy_(-40.0 * (torch.arange(bins) - bins // 2).abs() / (bins // 2))
    return agent, TickGraph(agent, case.spec)


@pytest.mark.parametrize(
    "widths",
    [
        {},  # prior, actor and critic as rows of one product
        {"prior_layers": 1},
        {"prior_layers": 3},
        {"prior_layers": 4},  # deeper than the heads: on its own
        {"actor_layers": 1, "critic_layers": 4, "prior_layers": 1},
        {"actor_layers": 2, "critic_layers": 1},
        {"units": 16},  # heads and prior of different widths
        {"encoder_layers": 1, "unimix": 0.0, "blocks": 1},
    ],
)
def test_any_depth_and_width(make_case, widths, largest_difference):
    case = make_case("proprio")
    _, graph = agent_of(make_case, "proprio", **widths)
    found = largest_difference(graph, case.rollout)
    assert max(found.values()) < 1e-5, found


def test_weights_are_copies_as_they_were(make_case):
    agent, graph = agent_of(make_case, "proprio")
    tick = DeployedTick(agent)
    before = {name: value.clone() for name, value in tick.state_dict().items()}
    with torch.no_grad():
        for parameter in agent.parameters():
            parameter.zero_()
    for name, value in tick.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    assert float(next(graph.deployed().parameters(), torch.zeros(1)).sum()) == 0.0
    assert all(not value.any() for name, value in graph.deployed().named_buffers() if name.endswith("weight"))


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 7), st.integers(0, 1), st.integers(0, 1))
def test_the_gru_is_that_of_the_agent_and_forgets_no_observation(blocks, width, stoch, hidden, keep, wider):
    gru = BlockGRU(deter=blocks * width, stoch=stoch, action=3, hidden=hidden, blocks=blocks)
    fields = {name: InputShape(shape=(size,), dtype="float32") for name, size in (("one", 2), ("two", 3))}
    encoder = Encoder(Inputs(fields, layers=4), units=hidden + wider, layers=3, channels=(), kernel=5)
    for module in (gru, encoder):
        initialise(module, torch.Generator().manual_seed(0))
        perturbed(module)
    generator = torch.Generator().manual_seed(blocks)
    deter, latent = torch.randn(1, blocks * width, generator=generator), torch.randn(1, stoch, generator=generator)
    action = 2.0 * torch.randn(1, 3, generator=generator)  # also beyond what the environment takes
    obs = {name: 3.0 * torch.randn(1, *field.shape, generator=generator) for name, field in fields.items()}
    kept = torch.tensor([float(keep)])
    with torch.no_grad():
        inputs, seen = DeployedInputs(gru, encoder)(deter, latent, action, kept, obs)
        torch.testing.assert_close(
            DeployedGRU(gru)(deter, inputs, kept), gru(deter * keep, latent * keep, action * keep), rtol=0, atol=1e-6
        )
        torch.testing.assert_close(DeployedEncoder(encoder)(obs, seen), encoder(obs, torch.float32), rtol=0, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_chains_are_their_layers_one_after_the_other(depths):
    depths = sorted(depths, reverse=True)
    chains = [[Dense(5, 5) for _ in range(depth)] for depth in depths]
    for number, chain in enumerate(chains):
        for layer in chain:
            initialise(layer, torch.Generator().manual_seed(number))
            perturbed(layer, number)
    x = torch.randn(len(chains), 5, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        first = torch.stack(
            [row @ chain[0].weight.T + chain[0].bias for row, chain in zip(x, chains, strict=True)]
        ).reshape(1, -1)
        for row, chain, end in zip(x, chains, Chains(chains)(first), strict=True):
            torch.testing.assert_close(end, torch.nn.Sequential(*chain)(row[None]), rtol=0, atol=1e-5)


def test_rows_that_are_not_given_are_zero():
    first, second = torch.randn(1, 5), torch.randn(1, 5)
    torch.testing.assert_close(Rows(2)([first, second]), torch.cat([first, second]))
    torch.testing.assert_close(Rows(3)([first, second]), torch.cat([first, second, torch.zeros(1, 5)]))
    torch.testing.assert_close(Rows(3)([first], first=1), torch.cat([torch.zeros(1, 5), first, torch.zeros(1, 5)]))


def test_chains_begin_with_the_deepest():
    with pytest.raises(ValueError, match="deepest"):
        Chains([[Dense(2, 2)], [Dense(2, 2), Dense(2, 2)]])


def test_uniform_logits_are_worth_exactly_nothing(make_case):
    agent, _ = agent_of(make_case, "proprio")
    with torch.no_grad():
        agent.critic.out.weight.zero_()
        agent.critic.out.bias.zero_()
        assert DeployedCritic(agent.critic)(torch.randn(1, 8)).item() == 0.0
        agent.critic.out.bias[-1] = 50.0  # all on the largest bin
        assert DeployedCritic(agent.critic)(torch.randn(1, 8)).item() == pytest.approx(4.85e8, rel=1e-3)


def test_of_equal_scores_the_first_is_drawn():
    scores = torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0], [0.0, 1.0, 2.0]])
    assert draw(scores).tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]


@pytest.fixture(scope="module")
def proprio_op17(make_case) -> tuple[DreamerAgent, onnx.ModelProto]:
    agent, graph = agent_of(make_case, "proprio")
    return agent, export_op17(graph)


def test_nothing_is_copied_together_expanded_transposed_or_selected_on_the_way(proprio_op17):
    _, model = proprio_op17
    operators = Counter(node.op_type for node in model.graph.node)
    assert not operators.keys() & {"Expand", "Tile", "Transpose", "Gather", "Where", "ConstantOfShape", "Unsqueeze"}
    assert operators["Concat"] == 1  # the fields of the observation


def test_no_clip_is_in_the_way(op17, exported):
    models = [op17, *(onnx.load(exported.path / name) for name in (POLICY_OP17, POLICY))]
    assert not any(node.op_type == "Clip" for model in models for node in model.graph.node)


def test_an_action_is_cut_to_what_the_environment_takes():
    action = torch.tensor([[-3.0, -1.0, -0.3, 0.0, 1.0, 1.0000001, 1e30, 0.1]])
    assert torch.equal(Bounded()(action), action.clamp(-1.0, 1.0))


@pytest.mark.parametrize("maximum", [torch.maximum, torch.fmax], ids=["of a CPU", "of a GPU, which drops NaN"])
def test_no_bound_comes_of_what_is_no_number(monkeypatch, maximum):
    monkeypatch.setattr(torch, "maximum", maximum)
    assert Bounded()(torch.tensor([[float("nan"), 0.5]])).isnan().tolist() == [[True, False]]


def test_an_action_that_is_no_number_stays_none(make_case):
    """On ONNX Runtime, optimised: the controller's watch for such actions depends on it."""
    _, graph = agent_of(make_case, "proprio")
    feed = {entry.name: np.zeros(entry.shape, entry.dtype) for entry in graph.inputs}
    for name in ("noise/action", "state/action"):
        odd = np.zeros((1, 3), np.float32)
        odd[0, 1] = np.nan
        session = ort.InferenceSession(export_op17(graph).SerializeToString(), providers=["CPUExecutionProvider"])
        outputs = dict(zip(graph.output_names, session.run(None, feed | {name: odd}), strict=True))
        assert np.isnan(outputs["action"][0, 1]), name
        assert np.isnan(outputs["next/deter"]).any() == (name == "state/action")


def norms_of(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "Sqrt" for node in model.graph.node)


def test_products_of_one_input_are_one(proprio_op17):
    _, model = proprio_op17
    cost = graph_cost(model)
    # deter, stoch and action in, own part, shared part, gates; three of the encoder; of embedding, deter and stoch;
    # two logits; two levels of the heads with the prior; two ends.
    assert cost.products == 6 + 3 + 3 + 2 + 2 + 2
    # First layers of all inputs, hidden of the GRU, two more of the encoder, posterior, three levels of the heads.
    assert norms_of(model) == 1 + 1 + 2 + 1 + 3


def test_an_encoder_of_another_width_has_its_norms_to_itself(make_case):
    _, graph = agent_of(make_case, "proprio", units=16)
    # Inputs and hidden of the GRU, three of the encoder, posterior, three levels of the heads, two of the prior.
    assert norms_of(export_op17(graph)) == 2 + 3 + 1 + 3 + 2


def test_no_weight_is_added(proprio_op17):
    agent, model = proprio_op17
    unused = ("decoder", "reward", "cont", "slow_critic")
    weights = sum(p.numel() for name, p in agent.named_parameters() if not name.startswith(unused))
    stored = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    small = agent.config.bins + 20 * agent.config.units  # bins, ones of norms, shapes
    assert weights <= stored <= weights + small
