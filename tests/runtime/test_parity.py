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
from robot_wm.runtime.manifest import ParityThresholds
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import check_parity, compare, near_ties

THRESHOLDS = ParityThresholds()


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


def test_a_wrong_engine_is_named_with_tensor_tick_and_values(bundle):
    model = onnx.load_from_string(bundle.read())
    for weight in model.graph.initializer:
        if weight.name == "one":  # deter grows by 1.001 a tick instead of 1
            weight.CopyFrom(numpy_helper.from_array(np.float32([1.001]), "one"))
    with pytest.raises(UserError, match=r"at tick 0: expected .*, got ") as caught:
        check_parity(active(model.SerializeToString(), bundle), bundle)
    assert "value" in str(caught.value) or "next/deter" in str(caught.value)


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
    assert compare(inputs, outputs, changed(outputs, name, index, within), THRESHOLDS).mismatch is None
    found = compare(inputs, outputs, changed(outputs, name, index, beyond), THRESHOLDS).mismatch
    assert (found.tensor, found.tick, found.index) == (name, index[0], index[1:])
    assert found.actual == pytest.approx(beyond)


def test_the_resolution_is_an_absolute_floor_for_its_tensor_only():
    inputs, outputs = arrays()
    coarse = ParityThresholds(resolution={"surprise": 0.5})
    assert compare(inputs, outputs, changed(outputs, "surprise", (1, 0), 20.45), coarse).mismatch is None
    assert compare(inputs, outputs, changed(outputs, "surprise", (1, 0), 20.55), coarse).mismatch is not None
    assert compare(inputs, outputs, changed(outputs, "action", (1, 0, 0), 0.51), coarse).mismatch is not None


@given(value=st.sampled_from([np.nan, np.inf, -np.inf]), tick=st.integers(0, 3))
def test_what_is_not_finite_is_a_mismatch(value, tick):
    inputs, outputs = arrays()
    for name in outputs:
        found = compare(inputs, outputs, changed(outputs, name, tick, value), THRESHOLDS)
        assert found.mismatch.tensor == name
        assert found.mismatch.tick == tick


def test_the_earliest_mismatch_is_told():
    inputs, outputs = arrays()
    late_and_large = changed(outputs, "action", (3, 0, 0), 9.0)
    found = compare(inputs, outputs, changed(late_and_large, "surprise", (1, 0), 21.0), THRESHOLDS).mismatch
    assert (found.tensor, found.tick) == ("surprise", 1)


def test_a_tie_may_fall_either_way_but_only_a_tie():
    inputs, outputs = arrays()
    flipped = changed(changed(outputs, "next/stoch", (1, 0, 0), [0, 1, 0]), "action", (1, 0), -0.5)
    found = compare(inputs, outputs, flipped, THRESHOLDS)
    assert found.mismatch.tick == 1
    assert found.near_tie_ticks == 0
    # Noise brings the two best within 1e-3: now the draw decides, and what follows from it is left out.
    inputs["noise/latent"][1, 0, 0, 1] = np.log(0.7) - np.log(0.2) - 5e-4
    found = compare(inputs, outputs, flipped, THRESHOLDS)
    assert found.mismatch is None
    assert (found.near_tie_ticks, found.differing_draws) == (1, 1)
    # What does not follow from the draw is still compared, and so is everything where the draw is the same.
    for bad in (changed(flipped, "surprise", (1, 0), 25.0), changed(outputs, "action", (1, 0), -0.5)):
        assert compare(inputs, outputs, bad, THRESHOLDS).mismatch.tick == 1


@given(gap=st.floats(0, 1e-2), seed=st.integers(0, 100))
def test_near_ties_looks_at_the_two_best_of_each_group(gap, seed):
    rng = np.random.default_rng(seed)
    logits = -10 * np.arange(1.0, 6.0) * np.ones((1, 1, 3, 5))
    group = rng.integers(3)
    logits[0, 0, group, 1] = logits[0, 0, group, 0] - gap
    order = rng.permutation(5)
    assert (
        near_ties(logits[..., order], np.zeros(logits.shape), 1e-3).tolist() == [gap < 1e-3 - 1e-12]
        or abs(gap - 1e-3) < 1e-12
    )
    worst = logits.copy()
    worst[0, 0, group] = [0, -5, -9, -9, -9]  # a tie among the losers does not matter
    assert not near_ties(worst, np.zeros(logits.shape), 1e-3).any()
