"""Graphs of low precision in a bundle: measured, bounded, and held to what was measured."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.engines import make_engine
from robot_wm.runtime.manifest import POLICY_OF, POLICY_OP17
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import check_parity, compare, free_run, objection
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import MAX_DIFFERING_DRAWS, MAX_TOLERANCE, ParityThresholds
from robot_wm_export.export import ExportReport, export_agent, summary
from robot_wm_export.fp16 import with_roundings
from robot_wm_export.precision import MARGIN, chosen_thresholds, parse_precisions
from robot_wm_export.torch_parity import run_torch

LEAST = {"fp16": 16 * 2.0**-11, "int8": 16 * 2.0**-8}


@pytest.fixture(scope="module")
def coarse(proprio, tmp_path_factory) -> ExportReport:
    """The proprio case with every precision; not to be changed."""
    out = tmp_path_factory.mktemp("coarse") / "agent.rwm"
    return export_agent(
        proprio.agent, proprio.spec, proprio.rollout, {}, out, profiles=(POLICY_OP17,), precisions=("fp16", "int8")
    )


@pytest.fixture
def bundle(coarse) -> Bundle:
    return Bundle.open(coarse.path)


def test_the_bundle_holds_each_graph_and_what_it_showed(coarse, bundle):
    manifest = bundle.manifest
    assert set(manifest.files) == {POLICY_OP17, "policy.fp16.onnx", "policy.int8.onnx", "parity.npz", "README.md"}
    assert manifest.files["policy.fp16.onnx"].size_bytes < manifest.files[POLICY_OP17].size_bytes
    for precision, entry in manifest.parity.precisions.items():
        result = entry.result
        assert 0 < max(result.largest_error.values()) < MAX_TOLERANCE[precision]
        assert result.free_running_draws == 256 * 4
        assert entry.thresholds.max_differing_draws >= result.differing_draws / result.free_running_draws
        assert manifest.thresholds(precision).min_logit_gap > manifest.parity.thresholds.min_logit_gap
    fp16, int8 = (manifest.parity.precisions[p] for p in ("fp16", "int8"))
    assert fp16.result.largest_error["post_logits"] < int8.result.largest_error["post_logits"]
    assert (fp16.calibration, int8.calibration) == (None, "the parity recording")
    rows = summary(coarse)["rows"]
    assert [row["graph"] for row in rows] == [POLICY_OP17, "policy.fp16.onnx", "policy.int8.onnx"]
    assert rows[2]["largest_error"] == max(int8.result.largest_error.values())


def test_the_recording_is_float32s(bundle):
    assert max(check_parity(active(bundle, "fp32"), bundle).largest_error.values()) <= 1e-6


def active(bundle: Bundle, precision) -> OnnxEngine:
    engine = make_engine("onnx", bundle, precision=precision)
    engine.activate()
    return engine


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_what_the_manifest_says_was_measured_can_be_measured_again(bundle, precision):
    graph = bundle.read(POLICY_OF[precision])
    if precision == "fp16":
        graph = with_roundings(onnx.load_from_string(graph)).SerializeToString()
    engine = OnnxEngine(graph, bundle.manifest.state)
    engine.activate()
    found, free = check_parity(engine, bundle, precision), free_run(engine, bundle)
    measured = bundle.manifest.parity.precisions[precision].result
    assert found.largest_error == pytest.approx(measured.largest_error)
    assert found.differing_draws == measured.differing_draws
    assert (free.flips, free.draws, free.first_flip_tick) == (
        measured.free_running_flips,
        measured.free_running_draws,
        measured.first_flip_tick,
    )
    assert free.action_divergence == pytest.approx(measured.free_running_action_divergence)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_the_robots_engine_passes_as_its_precision_and_as_no_other(bundle, precision):
    engine = active(bundle, precision)
    check_parity(engine, bundle, precision)
    with pytest.raises(UserError, match="this fp32 engine does not compute what was exported"):
        check_parity(engine, bundle)


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_wrong_weight_is_told_from_coarse_ones(bundle, precision):
    model = onnx.load_from_string(bundle.read(POLICY_OF[precision]))
    spoilt = 0
    for tensor in model.graph.initializer:
        if "posterior_logits.weight" in tensor.name and "scale" not in tensor.name and "zero" not in tensor.name:
            values = numpy_helper.to_array(tensor).copy()
            values[np.abs(values).max(1).argmax()] *= -1
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
            spoilt += 1
    assert spoilt == 1
    engine = OnnxEngine(model.SerializeToString(), bundle.manifest.state)
    engine.activate()
    with pytest.raises(UserError, match=rf"this {precision} engine .*(post_logits|surprise|next/stoch)\["):
        check_parity(engine, bundle, precision)


@pytest.fixture(scope="module")
def recording(proprio) -> Recording:
    """The proprio case over its rollout, as torch computes it; not to be changed."""
    return run_torch(proprio.graph, proprio.rollout, ParityThresholds())


def off_by(recording: Recording, name: str, error: float) -> dict[str, np.ndarray]:
    """The recording's outputs with one value wrong, relative to max(1, |value|)."""
    values = recording.outputs[name].copy()
    wrong = (5,) + (0,) * (values.ndim - 1)
    values[wrong] += error * max(1.0, abs(values[wrong]))
    return dict(recording.outputs) | {name: values}


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_thresholds_are_what_was_measured_with_a_margin(proprio, recording, precision):
    least, most = LEAST[precision], MAX_TOLERANCE[precision]
    exact = chosen_thresholds(proprio.graph, recording, recording.outputs, precision)
    assert set(exact.tensor_tolerance.values()) == {least}
    assert (exact.tolerance, exact.min_logit_gap, exact.max_differing_draws) == (least, 2 * least, least)
    assert exact.resolution == {}
    error = 0.8 * most / MARGIN
    outputs = off_by(recording, "action", error)
    thresholds = chosen_thresholds(proprio.graph, recording, outputs, precision)
    assert thresholds.tensor_tolerance["action"] == pytest.approx(MARGIN * error, rel=1e-3)
    assert thresholds.tensor_tolerance["value"] == least
    outputs = off_by(recording, "action", 1.1 * most / MARGIN)
    with pytest.raises(
        UserError, match=rf"policy\.{precision}\.onnx: action is off by .* at most {most / MARGIN:g} is"
    ):
        chosen_thresholds(proprio.graph, recording, outputs, precision)
    outputs = off_by(recording, "surprise", np.nan)
    with pytest.raises(UserError, match="surprise is off by inf"):
        chosen_thresholds(proprio.graph, recording, outputs, precision)


def test_a_tie_is_as_near_as_the_logits_are_off(proprio, recording):
    logits, noise = recording.outputs["post_logits"].copy(), recording.inputs["noise/latent"]
    tick, group = 5, 2
    best, second = np.argsort(-(logits + noise)[tick, 0, group])[:2]
    logits[tick, 0, group, best] += 0.02
    logits[tick, 0, group, second] -= 0.01
    outputs = dict(recording.outputs) | {"post_logits": logits}
    thresholds = chosen_thresholds(proprio.graph, recording, outputs, "fp16")
    assert thresholds.min_logit_gap == pytest.approx(MARGIN * 0.03, rel=1e-3)


def test_too_many_other_draws_are_no_rounding(proprio, recording):
    draws = recording.outputs["next/stoch"].copy()
    ticks = int(1.1 * MAX_DIFFERING_DRAWS / MARGIN * draws[:, 0, :, 0].size / 4)
    draws[:ticks] = np.roll(draws[:ticks], 1, axis=-1)
    # All those draws are near ties: the two best classes are hardly apart.
    noise = np.zeros_like(recording.inputs["noise/latent"])
    logits = np.zeros_like(recording.outputs["post_logits"])
    close = Recording(
        inputs=dict(recording.inputs) | {"noise/latent": noise},
        outputs=dict(recording.outputs) | {"post_logits": logits},
    )
    outputs = dict(close.outputs) | {"next/stoch": draws}
    with pytest.raises(UserError, match=r"5\.\d% of its draws differ from float32, and at most 5\.0% may"):
        chosen_thresholds(proprio.graph, close, outputs, "int8")


def test_the_value_of_a_hardly_trained_critic_is_held_to_what_its_sums_resolve(make_case, recording):
    case = make_case("proprio")
    with torch.no_grad():  # nearly uniform over bins of up to 4.85e8
        case.agent.critic.out.weight.mul_(1e-3)
        case.agent.critic.out.bias.zero_()
    resolution = 16 * 2.0**-11 * case.agent.critic.twohot.bins.abs().double().mean().item()
    for share, passes in ((0.9, True), (1.2, False)):
        outputs = off_by(recording, "value", 0.0)
        outputs["value"][5] += share * resolution
        thresholds = chosen_thresholds(case.graph, recording, outputs, "fp16")
        assert thresholds.resolution["value"] == pytest.approx(resolution, rel=0.05)
        found = compare(recording.inputs, recording.outputs, outputs, case.graph.draws, thresholds)
        assert (objection(found, thresholds) is None) == passes


def test_discrete_choices_are_far_enough_apart_for_every_precision(make_case, out):
    case = make_case("discrete")
    with torch.no_grad():  # all choices equally good
        case.agent.actor.out.weight.zero_()
        case.agent.actor.out.bias.zero_()
    export_agent(case.agent, case.spec, case.rollout, {}, out, profiles=(POLICY_OP17,), precisions=("int8",))
    noise = np.sort(Bundle.open(out).recording().inputs["noise/action"], -1)  # the logits are all zero
    assert (noise[..., -1] - noise[..., -2]).min() >= MAX_TOLERANCE["int8"]


def test_an_agent_that_8_bits_do_not_fit_is_not_exported(make_case, out):
    case = make_case("proprio")
    with torch.no_grad():
        # One output of the encoder a thousand times the others: they all become zero in 8 bits.
        scale = case.agent.encoder.mlp[0].norm_scale
        scale[0] = 1000 * scale.abs().max()
        case.agent.encoder.mlp[1].weight[:, 0] = 0.0
    with pytest.raises(UserError, match=r"policy\.int8\.onnx: .* this agent cannot be exported in int8"):
        export_agent(case.agent, case.spec, case.rollout, {}, out, profiles=(POLICY_OP17,), precisions=("int8",))
    assert not out.exists()


def test_names_of_precisions():
    assert parse_precisions("fp16") == ("fp16",)
    assert parse_precisions("int8, fp16") == ("fp16", "int8")
    for text in ("", "fp32", "fp16,,int8", "int4"):
        with pytest.raises(UserError, match="--precision: "):
            parse_precisions(text)
