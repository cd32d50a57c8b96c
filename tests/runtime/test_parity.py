"""Parity tells a right engine from a wrong one, and a near tie from an error."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.bundle_writer import write_bundle
from robot_wm.runtime.graph_tensors import Draw, StateTensor, TensorSpec
from robot_wm.runtime.manifest import POLICY_OF, POLICY_OP17, Lineage
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import (
    check_parity,
    compare,
    free_run,
    free_run_over,
    near_ties,
    objection,
    replay,
)
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import ParityResult, ParityThresholds, PrecisionParity
from robot_wm.runtime.start import start_controller

THRESHOLDS = ParityThresholds()
DRAW = Draw(logits="post_logits", noise="noise/latent", drawn="next/stoch", before=("post_logits", "surprise"))


@pytest.fixture
def bundle(signed_bundle) -> Bundle:
    return Bundle.open(signed_bundle.folder, signed_bundle.public_key)


def active(graph: bytes, bundle: Bundle) -> OnnxEngine:
    engine = OnnxEngine(graph, bundle.manifest.state)
    engine.activate()
    return engine


def test_the_right_engine_passes_and_is_left_fresh(bundle):
    engine = active(bundle.read(), bundle)
    found = check_parity(engine, bundle)
    assert found.ticks == 256
    assert max(found.largest_error.values()) == 0.0
    assert all(not buffer.any() for buffer in engine.inputs.values())
    for state in bundle.manifest.state:
        assert np.array_equal(engine.read_state(state.name), state.initial_array())


class Stuck:
    """An engine whose state is right and whose action is not."""

    def __init__(self):
        self.inputs = {"obs/joints": np.zeros((1, 3), np.float32)}
        self.outputs = {"action": np.full((1, 2), 7.0, np.float32)}

    def write_state(self, name, values):
        self.state = values

    def infer(self):
        pass

    def read_state(self, name):
        return self.state


def test_of_a_state_that_is_shown_the_output_counts_which_a_controller_reads():
    state = (StateTensor(name="action", input="state/action", output="action", shape=(1, 2), shown=True),)
    inputs = {"obs/joints": np.zeros((3, 1, 3), np.float32), "state/action": np.ones((3, 1, 2), np.float32)}
    made = replay(Stuck(), inputs, state, (TensorSpec(name="action", shape=(1, 2)),))
    np.testing.assert_array_equal(made["action"], np.full((3, 1, 2), 7.0))


def test_a_wrong_engine_is_named_with_tensor_tick_and_values(bundle):
    with pytest.raises(UserError, match=r"at tick 0: expected .*, got ") as caught:
        check_parity(active(growing_by(bundle.read(), 1.001), bundle), bundle)
    assert "value" in str(caught.value) or "next/deter" in str(caught.value)


def growing_by(graph: bytes, step: float) -> bytes:
    """The stand-in's graph with ``state/deter`` and ``value`` growing by ``step`` a tick instead of 1."""
    model = onnx.load_from_string(graph)
    for weight in model.graph.initializer:
        if weight.name == "one":
            weight.CopyFrom(numpy_helper.from_array(np.float32([step]), "one"))
    return model.SerializeToString()


@pytest.fixture(scope="module")
def coarse_bundle(signed_original, tmp_path_factory) -> Bundle:
    """A bundle whose "fp16" graph grows by 1.001, which fp16 may and float32 may not."""
    with Bundle.open(signed_original.folder) as original:
        manifest, graph, recording = original.manifest, original.read(), original.recording()
        result = ParityResult(
            ticks=256,
            near_tie_ticks=0,
            largest_error={"value": 1e-3},
            free_running_flips=0,
            free_running_draws=512,
            free_running_action_divergence=0.0,
        )
        allowed = PrecisionParity(thresholds=ParityThresholds(tolerance=5e-3, max_differing_draws=0.1), result=result)
        folder = tmp_path_factory.mktemp("coarse") / "agent.rwm"
        write_bundle(
            folder,
            kind="dreamer",
            spec=manifest.spec,
            state=manifest.state,
            noise=manifest.noise,
            outputs=manifest.outputs,
            draws=manifest.draws,
            surprise_unit=manifest.surprise_unit,
            graphs={POLICY_OP17: graph, POLICY_OF["fp16"]: growing_by(graph, 1.001)},
            recording=recording,
            parity=manifest.parity.model_copy(update={"precisions": {"fp16": allowed}}),
            lineage=Lineage(),
        )
    return Bundle.open(folder)


def test_an_engine_is_held_to_the_thresholds_of_its_precision(coarse_bundle):
    engine = active(coarse_bundle.read(POLICY_OF["fp16"]), coarse_bundle)
    found = check_parity(engine, coarse_bundle, "fp16")
    assert 1e-4 < max(found.largest_error.values()) < 5e-3
    with pytest.raises(UserError, match=r"this fp32 engine does not compute .*tolerance 0\.0001"):
        check_parity(engine, coarse_bundle)
    worse = active(growing_by(coarse_bundle.read(), 1.01), coarse_bundle)
    with pytest.raises(UserError, match=r"this fp16 engine does not compute .*tolerance 0\.005"):
        check_parity(worse, coarse_bundle, "fp16")
    with pytest.raises(UserError, match="precision int8: the bundle has fp32, fp16"):
        check_parity(engine, coarse_bundle, "int8")


def test_free_running_tells_how_far_an_engine_strays(bundle):
    state, draws = bundle.manifest.state, bundle.manifest.draws
    right = active(bundle.read(), bundle)
    ticks = 20
    rng = np.random.default_rng(0)
    inputs = {
        tensor.name: rng.normal(size=(ticks, *tensor.shape)).astype(np.float32) for tensor in bundle.manifest.inputs()
    }
    inputs |= {entry.input: np.zeros((ticks, *entry.shape), np.float32) for entry in state}
    # Its own outputs from zero state: it keeps to them, whatever state it was left in.
    recording = Recording(inputs=inputs, outputs=replay(right, inputs, state, bundle.manifest.outputs))
    right.write_state("stoch", np.ones((1, 2, 3), np.float32))
    found = free_run_over(right, recording, state, draws)
    assert (found.flips, found.draws, found.first_flip_tick, found.action_divergence) == (0, 2 * ticks, None, 0.0)
    drawn, action = recording.outputs["next/stoch"].copy(), recording.outputs["action"].copy()
    drawn[7, 0, 1, 2] += 1  # one group at tick 7, both at tick 9
    drawn[9] += 1
    action[11, 0, 1] += 0.25
    other = Recording(inputs=inputs, outputs=recording.outputs | {"next/stoch": drawn, "action": action})
    found = free_run_over(right, other, state, draws)
    assert (found.flips, found.draws, found.first_flip_tick) == (3, 2 * ticks, 7)
    assert found.action_divergence == pytest.approx(0.25, abs=1e-6)
    action[3] = np.nan
    assert np.isnan(free_run_over(right, other, state, draws).action_divergence)


def test_free_run_leaves_the_engine_fresh(bundle):
    engine = active(bundle.read(), bundle)
    found = free_run(engine, bundle)
    assert found.draws == 2 * 256
    assert all(not buffer.any() for buffer in engine.inputs.values())
    for state in bundle.manifest.state:
        assert np.array_equal(engine.read_state(state.name), state.initial_array())


def test_a_start_tells_how_near_its_engine_came(coarse_bundle):
    engine = active(coarse_bundle.read(POLICY_OF["fp16"]), coarse_bundle)
    found, free = check_parity(engine, coarse_bundle, "fp16"), free_run(engine, coarse_bundle)
    told = []
    with start_controller(coarse_bundle, precision="fp16", tell=told.append):
        pass
    [line] = told
    assert line.startswith("fp16 engine: step by step over 256 recorded ticks off by at most")
    for part in (
        f"{max(found.largest_error.values()):.1e} (",
        f"{found.differing_draws} of 512 draws fell the other way",
        f"free running {free.flips} of 512 draws differ",
        f"the action differs by at most {free.action_divergence:.1e} policy units",
    ):
        assert part in line


def test_another_agents_engine_is_refused(bundle, make_agent, make_spec):
    other = make_agent(make_spec(observations=make_spec().observations[:2]))
    with pytest.raises(UserError, match=r"obs/last_action has shape None, not \(1, 6\)"):
        check_parity(active(other.graph, bundle), bundle)


def arrays(ticks=4):
    """Two groups of three classes, clear winners, an action and a surprise."""
    logits = np.tile(np.log(np.float32([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])), (ticks, 1, 1, 1))  # [N, 1, S, C]
    draws = np.tile(np.float32([[1, 0, 0], [0, 0, 1]]), (ticks, 1, 1, 1))
    inputs = {"noise/latent": np.zeros_like(logits)}
    outputs = {
        "action": np.full((ticks, 1, 2), 0.5, np.float32),
        "surprise": np.full((ticks, 1), 20.0, np.float32),
        "post_logits": logits,
        "next/stoch": draws,
    }
    return inputs, outputs


def changed(outputs, name, index, value):
    array = outputs[name].copy()
    array[index] = value
    return outputs | {name: array}


@pytest.mark.parametrize(
    ("name", "index", "within", "beyond"),
    [
        ("action", (2, 0, 1), 0.5 + 0.9e-4, 0.5 + 1.2e-4),  # absolute below 1
        ("surprise", (3, 0), 20 + 19e-4, 20 + 22e-4),  # relative above 1
        ("post_logits", (1, 0, 0, 2), np.log(0.1) + 2.2e-4, np.log(0.1) + 2.5e-4),
    ],
)
def test_the_tolerance_is_relative_with_a_floor_of_one(name, index, within, beyond):
    inputs, outputs = arrays()
    assert compare(inputs, outputs, changed(outputs, name, index, within), [DRAW], THRESHOLDS).mismatch is None
    found = compare(inputs, outputs, changed(outputs, name, index, beyond), [DRAW], THRESHOLDS).mismatch
    assert (found.tensor, found.tick, found.index) == (name, index[0], index[1:])
    assert found.actual == pytest.approx(beyond)


def test_the_resolution_is_an_absolute_floor_for_its_tensor_only():
    inputs, outputs = arrays()
    coarse = ParityThresholds(resolution={"surprise": 0.5})
    assert compare(inputs, outputs, changed(outputs, "surprise", (1, 0), 20.45), [DRAW], coarse).mismatch is None
    assert compare(inputs, outputs, changed(outputs, "surprise", (1, 0), 20.55), [DRAW], coarse).mismatch is not None
    assert compare(inputs, outputs, changed(outputs, "action", (1, 0, 0), 0.51), [DRAW], coarse).mismatch is not None


@given(value=st.sampled_from([np.nan, np.inf, -np.inf]), tick=st.integers(0, 3))
def test_what_is_not_finite_is_a_mismatch(value, tick):
    inputs, outputs = arrays()
    for name in outputs:
        found = compare(inputs, outputs, changed(outputs, name, tick, value), [DRAW], THRESHOLDS)
        assert found.mismatch.tensor == name
        assert found.mismatch.tick == tick


def test_the_earliest_mismatch_is_told():
    inputs, outputs = arrays()
    late_and_large = changed(outputs, "action", (3, 0, 0), 9.0)
    found = compare(inputs, outputs, changed(late_and_large, "surprise", (1, 0), 21.0), [DRAW], THRESHOLDS).mismatch
    assert (found.tensor, found.tick) == ("surprise", 1)


def test_a_tie_may_fall_either_way_but_only_a_tie():
    inputs, outputs = arrays()
    flipped = changed(changed(outputs, "next/stoch", (1, 0, 0), [0, 1, 0]), "action", (1, 0), -0.5)
    found = compare(inputs, outputs, flipped, [DRAW], THRESHOLDS)
    assert found.mismatch.tick == 1
    assert found.near_tie_ticks == 0
    # Noise brings the two best within 1e-3: now the draw decides, and what follows from it is left out.
    inputs["noise/latent"][1, 0, 0, 1] = np.log(0.7) - np.log(0.2) - 5e-4
    found = compare(inputs, outputs, flipped, [DRAW], THRESHOLDS)
    assert found.mismatch is None
    assert (found.near_tie_ticks, found.differing_draws, found.draws, found.partial_ticks) == (1, 1, 8, 1)
    # What does not follow from the draw is still compared, and so is everything where the draw is the same.
    for bad in (changed(flipped, "surprise", (1, 0), 25.0), changed(outputs, "action", (1, 0), -0.5)):
        assert compare(inputs, outputs, bad, [DRAW], THRESHOLDS).mismatch.tick == 1


def test_one_groups_tie_is_no_excuse_for_another():
    inputs, outputs = arrays()
    inputs["noise/latent"][1, 0, 0, 1] = np.log(0.7) - np.log(0.2) - 5e-4  # group 0 is a tie
    both = changed(changed(outputs, "next/stoch", (1, 0, 0), [0, 1, 0]), "next/stoch", (1, 0, 1), [1, 0, 0])
    found = compare(inputs, outputs, both, [DRAW], THRESHOLDS).mismatch
    assert (found.tensor, found.tick, found.index[:2]) == ("next/stoch", 1, (0, 1))


def test_how_near_a_tie_is_depends_on_the_thresholds():
    inputs, outputs = arrays()
    inputs["noise/latent"][1, 0, 0, 1] = np.log(0.7) - np.log(0.2) - 0.03
    flipped = changed(changed(outputs, "next/stoch", (1, 0, 0), [0, 1, 0]), "action", (1, 0), -0.5)
    assert compare(inputs, outputs, flipped, [DRAW], THRESHOLDS).mismatch is not None
    assert compare(inputs, outputs, flipped, [DRAW], ParityThresholds(min_logit_gap=0.04)).mismatch is None
    assert compare(inputs, outputs, flipped, [DRAW], ParityThresholds(min_logit_gap=0.02)).mismatch is not None


def test_a_tensor_may_have_a_tolerance_of_its_own():
    inputs, outputs = arrays()
    own = ParityThresholds(tensor_tolerance={"surprise": 0.01})
    off = changed(outputs, "surprise", (1, 0), 20.15)
    assert objection(compare(inputs, outputs, off, [DRAW], own), own) is None
    off = changed(outputs, "surprise", (1, 0), 20.25)
    assert "(tolerance 0.01 x" in objection(compare(inputs, outputs, off, [DRAW], own), own)
    off = changed(outputs, "action", (1, 0, 0), 0.505)
    assert "(tolerance 0.0001 x" in objection(compare(inputs, outputs, off, [DRAW], own), own)


def test_ties_that_all_fall_the_other_way_are_no_ties():
    inputs, outputs = arrays()
    inputs["noise/latent"][:, 0, 0, 1] = np.log(0.7) - np.log(0.2) - 5e-4
    one = changed(outputs, "next/stoch", (1, 0, 0), [0, 1, 0])
    for share, reason in ((0.125, None), (0.12, "1 of 8 near ties of classes were drawn the other way")):
        thresholds = ParityThresholds(max_differing_draws=share)
        told = objection(compare(inputs, outputs, one, [DRAW], thresholds), thresholds)
        assert told is None if reason is None else told.startswith(reason)
    every = changed(outputs, "next/stoch", (slice(None), 0, 0), [0, 1, 0])
    any_share = ParityThresholds(max_differing_draws=1.0)
    told = objection(compare(inputs, outputs, every, [DRAW], any_share), any_share)
    assert "nothing that follows from it could be compared" in told


CHOICE = Draw(logits="scores", drawn="choice", before=("post_logits", "surprise", "next/stoch", "scores"))


def with_choice():
    """`arrays`, and after the latent's draw a greedy choice of one of three candidates, clear but at tick 2."""
    inputs, outputs = arrays()
    scores = np.tile(np.float32([3.0, 1.0, 0.0]), (4, 1, 1))  # [N, 1, C]
    scores[2] = [3.0, 2.9995, 0.0]
    choice = np.tile(np.float32([1.0, 0.0, 0.0]), (4, 1, 1))
    return inputs, outputs | {"scores": scores, "choice": choice}


def test_every_draw_excuses_what_follows_from_it_and_no_more():
    inputs, outputs = with_choice()
    inputs["noise/latent"][1, 0, 0, 1] = np.log(0.7) - np.log(0.2) - 5e-4
    other_latent = changed(outputs, "next/stoch", (1, 0, 0), [0, 1, 0])
    other_choice = changed(outputs, "choice", (2, 0), [0, 1, 0])
    both = [DRAW, CHOICE]
    for made in (changed(other_latent, "action", (1, 0), -0.5), changed(other_choice, "action", (2, 0), -0.5)):
        found = compare(inputs, outputs, made, both, THRESHOLDS)
        assert (found.mismatch, found.near_tie_ticks, found.differing_draws, found.draws) == (None, 2, 1, 12)
    # A choice among candidates comes after the latent: it cannot excuse that, nor a choice that was clear.
    for made, tensor in (
        (changed(other_choice, "next/stoch", (2, 0, 1), [1, 0, 0]), "next/stoch"),
        (changed(other_choice, "surprise", (2, 0), 25.0), "surprise"),
        (changed(outputs, "choice", (3, 0), [0, 1, 0]), "choice"),
    ):
        assert compare(inputs, outputs, made, both, THRESHOLDS).mismatch.tensor == tensor
    # But another latent may lead to any choice.
    assert (
        compare(inputs, outputs, changed(other_latent, "choice", (1, 0), [0, 0, 1]), both, THRESHOLDS).mismatch is None
    )


def test_without_draws_everything_is_compared():
    inputs, outputs = arrays()
    found = compare(inputs, outputs, outputs, [], THRESHOLDS)
    assert (found.draws, found.near_tie_ticks, found.partial_ticks) == (0, 0, 0)
    assert objection(found, THRESHOLDS) is None
    made = changed(outputs, "next/stoch", (1, 0, 0), [0, 1, 0])
    assert compare(inputs, outputs, made, [], THRESHOLDS).mismatch.tensor == "next/stoch"


@given(gap=st.floats(0, 1e-2), seed=st.integers(0, 100))
def test_near_ties_looks_at_the_two_best_of_each_group(gap, seed):
    rng = np.random.default_rng(seed)
    logits = -10 * np.arange(1.0, 6.0) * np.ones((1, 1, 3, 5))
    group = rng.integers(3)
    logits[0, 0, group, 1] = logits[0, 0, group, 0] - gap
    order = rng.permutation(5)
    no_noise = {"noise/latent": np.zeros(logits.shape)}
    is_near = [[number == group and gap < 1e-3 for number in range(3)]]
    if abs(gap - 1e-3) > 1e-12:
        assert near_ties(DRAW, no_noise, {"post_logits": logits[..., order]}, 1e-3).tolist() == is_near
    worst = logits.copy()
    worst[0, 0, group] = [0, -5, -9, -9, -9]  # a tie among the losers does not matter
    assert not near_ties(DRAW, no_noise, {"post_logits": worst}, 1e-3).any()
