"""A graph that is not the agent is refused, by tensor and tick; ties and free running are counted."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from robot_wm.errors import UserError
from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.parity_section import ParityThresholds
from robot_wm_export.onnx_export import export_op17
from robot_wm_export.torch_parity import check_graph, run_torch, surprise_levels, with_resolution

THRESHOLDS = ParityThresholds()


@pytest.fixture(scope="module")
def model(exported) -> bytes:
    return (exported.path / POLICY_OP17).read_bytes()


@pytest.fixture(scope="module")
def torch_run(proprio):
    return run_torch(proprio.graph, proprio.rollout, THRESHOLDS)


def test_every_kind_of_agent_agrees_with_torch(case, op17):
    recorded = run_torch(case.graph, case.rollout, THRESHOLDS)
    result, outputs = check_graph(op17.SerializeToString(), case.graph, recorded, THRESHOLDS, origin="graph")
    assert result.ticks == 256
    assert max(result.largest_error.values()) < 1e-4
    groups = sum(math.prod(case.graph.output_shapes[draw.drawn][:-1]) for draw in case.agent.draws)
    assert result.free_running_draws == 256 * groups
    assert result.free_running_flips <= 5
    # The comparison is of something: outputs vary from tick to tick and value is not stuck at zero.
    for name, values in outputs.items():
        assert values.reshape(256, -1).std(0).max() > 1e-3, name


def test_the_torch_run_feeds_its_own_state_back(torch_run, proprio):
    for state in proprio.graph.state:
        np.testing.assert_array_equal(torch_run.inputs[state.input][1:], torch_run.outputs[state.output][:-1])
        np.testing.assert_array_equal(torch_run.inputs[state.input][0], state.initial_array())
    assert torch_run.inputs["is_first"].sum() > 3


@pytest.mark.parametrize(
    ("weight", "tensor"),
    [
        ("encoder.mlp.0.weight", "post_logits"),
        ("rssm.gru.gates.weight", "next/deter"),
        ("rssm.prior_logits.weight", "surprise"),
        ("actor.out.weight", "action"),
        ("critic.out.bias", "value"),
    ],
)
def test_one_perturbed_weight_fails_naming_the_tensor(model, torch_run, proprio, weight, tensor):
    altered = onnx.load_from_string(model)
    parameter = proprio.agent.get_parameter(weight).detach().numpy()
    found = 0
    for entry in altered.graph.initializer:
        values = numpy_helper.to_array(entry).copy()
        if values.size == parameter.size and np.array_equal(np.sort(values.ravel()), np.sort(parameter.ravel())):
            values.reshape(-1)[np.abs(values).argmax() if "critic" not in weight else values.size // 2] += 0.05
            entry.CopyFrom(numpy_helper.from_array(values, entry.name))
            found += 1
        elif weight == "actor.out.weight" and sorted(values.shape) == [2 * len(parameter), parameter.shape[1]]:
            values.reshape(-1)[0] += 0.05  # fused with the deviation's
            entry.CopyFrom(numpy_helper.from_array(values, entry.name))
            found += 1
    assert found == 1
    with pytest.raises(UserError) as caught:
        check_graph(altered.SerializeToString(), proprio.graph, torch_run, THRESHOLDS, origin="policy.op17.onnx")
    message = str(caught.value)
    assert message.startswith("policy.op17.onnx: ")
    assert f"{tensor}[" in message
    assert "at tick " in message
    assert "expected " in message


def test_a_difference_below_the_tolerance_passes_and_is_reported(model, torch_run, proprio):
    shifted = torch_run.outputs | {"value": torch_run.outputs["value"] + np.float32(5e-5)}
    recorded = dataclasses.replace(torch_run, outputs=shifted)
    result, _ = check_graph(model, proprio.graph, recorded, THRESHOLDS, origin="graph")
    assert result.largest_error["value"] == pytest.approx(5e-5, rel=0.2)
    recorded = dataclasses.replace(
        torch_run, outputs=torch_run.outputs | {"value": shifted["value"] + np.float32(1e-3)}
    )
    with pytest.raises(UserError, match="value"):
        check_graph(model, proprio.graph, recorded, THRESHOLDS, origin="graph")


def test_a_hardly_trained_critic_is_compared_as_finely_as_float32_can(make_case):
    case = make_case("proprio")
    with torch.no_grad():  # nearly uniform over bins of up to 4.85e8: rounding alone exceeds the tolerance
        case.agent.critic.out.weight.mul_(1e-3)
        case.agent.critic.out.bias.zero_()
    recorded = run_torch(case.graph, case.rollout, THRESHOLDS)
    thresholds = with_resolution(THRESHOLDS, case.graph, recorded)
    # Uniform probabilities: the mean magnitude of a bin, here 2.6e7.
    mean = case.agent.critic.twohot.bins.abs().double().mean().item()
    assert thresholds.resolution["value"] == pytest.approx(16 * 2**-24 * mean, rel=0.05)
    model = export_op17(case.graph).SerializeToString()
    check_graph(model, case.graph, recorded, thresholds, origin="graph")
    # Wrong by more than rounding is still wrong.
    wrong = recorded.outputs["value"] + np.float32(3 * thresholds.resolution["value"])
    recorded = dataclasses.replace(recorded, outputs=recorded.outputs | {"value": wrong})
    with pytest.raises(UserError, match="value"):
        check_graph(model, case.graph, recorded, thresholds, origin="graph")


def test_a_trained_critic_needs_no_allowance(proprio, torch_run):
    assert with_resolution(THRESHOLDS, proprio.graph, torch_run) == THRESHOLDS


def test_ties_are_counted_and_a_free_running_flip_is_reported_not_refused(make_case):
    case = make_case("proprio")
    with torch.no_grad():  # all classes of every group equally likely: each greedy tick is a tie
        case.agent.rssm.posterior_logits.weight.zero_()
        case.agent.rssm.posterior_logits.bias.zero_()
    recorded = run_torch(case.graph, case.rollout, THRESHOLDS)
    model = export_op17(case.graph).SerializeToString()
    result, _ = check_graph(model, case.graph, recorded, THRESHOLDS, origin="graph")
    greedy = int((np.abs(case.rollout.noise["noise/latent"]).reshape(256, -1).max(-1) == 0).sum())
    assert result.near_tie_ticks >= greedy
    # Torch drew the other way at one such tick: allowed, but free running shows it.
    drawn, action = recorded.outputs["next/stoch"].copy(), recorded.outputs["action"].copy()
    drawn[3, 0, 1] = np.roll(drawn[3, 0, 1], 1)
    action[3] += 0.5
    other = dataclasses.replace(recorded, outputs=recorded.outputs | {"next/stoch": drawn, "action": action})
    result, _ = check_graph(model, case.graph, other, THRESHOLDS, origin="graph")
    assert result.free_running_flips == 1
    assert result.first_flip_tick == 3
    assert result.free_running_action_divergence == pytest.approx(0.5, abs=1e-3)


def test_the_recording_of_a_discrete_agent_has_no_tied_choice(make_case):
    case = make_case("discrete")
    with torch.no_grad():  # all choices equally good
        case.agent.actor.out.weight.zero_()
        case.agent.actor.out.bias.zero_()
    before = case.rollout.noise["noise/action"].copy()
    recorded = run_torch(case.graph, case.rollout, THRESHOLDS)
    np.testing.assert_array_equal(case.rollout.noise["noise/action"], before)  # the caller's stays as it was
    noise = np.sort(recorded.inputs["noise/action"], -1)  # the logits are all zero
    assert (noise[..., -1] - noise[..., -2]).min() >= 1e-3
    # Choices are those of the noise as given; ties went to the first.
    np.testing.assert_array_equal(recorded.outputs["action"].argmax(-1), before.argmax(-1))
    np.testing.assert_array_equal(recorded.outputs["action"].argmax(-1), recorded.inputs["noise/action"].argmax(-1))


def test_surprise_levels_in_closed_form():
    levels = surprise_levels({"surprise": np.arange(101, dtype=np.float32)[:, None]})
    assert (levels.median, levels.p99, levels.largest) == (50.0, 99.0, 100.0)
