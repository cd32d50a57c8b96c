"""Both ONNX profiles: what they may hold, and that they compute the tick."""

from __future__ import annotations

import copy
import os
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from robot_wm.errors import UserError
from robot_wm.runtime.manifest import POLICY, POLICY_OP17
from robot_wm_export.onnx_export import export_op17, finished
from robot_wm_export.tensorrt86 import OPERATORS
from robot_wm_export.tick_graph import TickGraph

DREAMERS = pytest.mark.parametrize("case", ["proprio", "image", "both", "discrete"], indirect=True, scope="session")


@pytest.fixture(scope="module")
def both_profiles(exported) -> list[onnx.ModelProto]:
    return [onnx.load(exported.path / name) for name in (POLICY_OP17, POLICY)]


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def feed_of(graph: TickGraph, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    feed = {
        t.name: rng.integers(0, 256, t.shape, dtype=np.uint8)
        if t.dtype == "uint8"
        else rng.normal(size=t.shape).astype(np.float32)
        for t in graph.inputs
    }
    return feed | {"is_first": np.zeros(1, np.float32)}


def test_opset_17_and_nothing_that_tensorrt_8_6_cannot_parse(op17):
    onnx.checker.check_model(op17, full_check=True)
    assert [(entry.domain, entry.version) for entry in op17.opset_import] == [("", 17)]
    assert {node.op_type for node in op17.graph.node} <= OPERATORS.keys()
    assert not any(op.startswith("Random") for op in OPERATORS)
    assert not OPERATORS.keys() & {"Loop", "If", "Scan", "Multinomial", "Bernoulli", "RMSNormalization"}


def test_names_and_fixed_shapes(op17, case):
    def shapes(values):
        return {v.name: tuple(length.dim_value for length in v.type.tensor_type.shape.dim) for v in values}

    own_inputs, own_outputs = {
        "dreamer": (
            {"state/deter": (1, 32), "state/stoch": (1, 4, 3), "noise/latent": (1, 4, 3)},
            {"post_logits": (1, 4, 3), "next/deter": (1, 32), "next/stoch": (1, 4, 3)},
        ),
        "muzero": ({"state/latent": (1, 32)}, {"next/latent": (1, 32)}),
    }[case.agent.kind]
    assert shapes(op17.graph.input) == {
        **{f"obs/{name}": (1, *field.shape) for name, field in case.spec.model_inputs().items()},
        "is_first": (1,),
        "state/action": (1, 3),
        "noise/action": (1, 3),
        **own_inputs,
    }
    assert shapes(op17.graph.output) == {"action": (1, 3), "value": (1,), "surprise": (1,), **own_outputs}


def test_nothing_of_the_machine_is_left_and_weights_are_inside(both_profiles, proprio):
    inside = sum(p.numel() for name, p in proprio.agent.named_parameters() if used(name))
    for model in both_profiles:
        raw = model.SerializeToString()
        for trace in (b".py", os.getcwd().encode(), str(Path(torch.__file__).parent).encode(), b"site-packages"):
            assert trace not in raw
        assert sum(np.prod(tensor.dims) for tensor in model.graph.initializer) >= inside
        assert all(t.data_type != TensorProto.DOUBLE and not t.external_data for t in model.graph.initializer)


def used(name: str) -> bool:
    return not name.startswith(("decoder", "reward", "cont", "slow_critic"))


def test_both_profiles_compute_the_tick(both_profiles, proprio):
    feed = feed_of(proprio.graph)
    expected = proprio.graph.run(feed)
    for model in both_profiles:
        for name, value in run(model, feed).items():
            np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-5, err_msg=name)


def test_export_is_the_same_each_time(both_profiles, proprio):
    again = export_op17(proprio.graph).SerializeToString(deterministic=True)
    assert again == both_profiles[0].SerializeToString(deterministic=True)


def test_is_first_forgets_the_state_inside(op17, case):
    feed = feed_of(case.graph) | {"is_first": np.ones(1, np.float32)}
    fresh = feed | {state.input: state.initial_array() for state in case.graph.state}
    other = feed | {state.input: feed[state.input] + 1 for state in case.graph.state}
    for one, two in zip(run(op17, fresh).values(), run(op17, other).values(), strict=True):
        np.testing.assert_array_equal(one, two)
    going_on = run(op17, other | {"is_first": np.zeros(1, np.float32)})
    assert np.abs(going_on["surprise"] - run(op17, fresh)["surprise"]).max() > 1e-3


@DREAMERS
def test_draws_are_what_they_say(op17, case):
    """The class drawn is the best of logits and noise; what is declared to come before it does not hang on it."""
    [draw] = case.graph.draws
    feed = feed_of(case.graph)
    made = run(op17, feed)
    np.testing.assert_array_equal(made[draw.drawn].argmax(-1), (made[draw.logits] + feed[draw.noise]).argmax(-1))
    other = run(op17, feed | {draw.noise: np.roll(feed[draw.noise], 1, -1)})
    same = {name for name in made if np.array_equal(made[name], other[name])}
    assert same - {"action"} == set(draw.before)  # a discrete action may stay what it was


@DREAMERS
def test_zero_noise_is_greedy(op17, case):
    feed = feed_of(case.graph)
    feed |= {name: np.zeros_like(feed[name]) for name in ("noise/latent", "noise/action")}
    made = run(op17, feed)
    np.testing.assert_array_equal(made["next/stoch"].argmax(-1), made["post_logits"].argmax(-1))
    feature = torch.from_numpy(np.concatenate([made["next/deter"], made["next/stoch"].reshape(1, -1)], -1))
    with torch.no_grad():
        policy = case.agent.actor(feature)
    mode = np.eye(3, dtype=np.float32)[policy.first.argmax(-1).numpy()] if case.agent.discrete else policy.first.numpy()
    np.testing.assert_allclose(made["action"], mode, atol=1e-5)


@DREAMERS
def test_noise_moves_the_draw_and_the_action(op17, case):
    feed = feed_of(case.graph)
    latent = np.zeros_like(feed["noise/latent"])
    latent[..., 2] = 50.0  # whatever the logits: class 2
    action = np.zeros_like(feed["noise/action"])
    action[..., 1] = 50.0
    made = run(op17, feed | {"noise/latent": latent, "noise/action": action})
    assert (made["next/stoch"].argmax(-1) == 2).all()
    assert made["action"][0, 1] == 1.0  # chosen, or clipped there


def planted(model: onnx.ModelProto, change) -> onnx.ModelProto:
    model = copy.deepcopy(model)
    change(model.graph)
    return model


def _insert(graph, op, **attributes):
    """``op`` between the last node that makes ``value`` and the output."""
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == "value":
                node.output[index] = "planted_in"
    graph.node.append(helper.make_node(op, ["planted_in"], ["value"], name="planted", **attributes))


def _double(graph):
    _insert(graph, "Cast", to=TensorProto.FLOAT)
    last = graph.node.pop()
    graph.node.append(helper.make_node("Cast", ["planted_in"], ["planted_wide"], to=TensorProto.DOUBLE))
    last.input[0] = "planted_wide"
    graph.node.append(last)


def _batch(graph):
    graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"


@pytest.mark.parametrize(
    ("change", "naming"),
    [
        (lambda graph: _insert(graph, "RandomNormalLike"), "RandomNormalLike"),
        (lambda graph: _insert(graph, "Bernoulli"), "Bernoulli"),
        (_double, "float64"),
        (_batch, "obs/position"),
    ],
)
def test_what_a_bundle_cannot_hold_is_refused(both_profiles, proprio, change, naming):
    with pytest.raises(UserError, match=naming):
        finished(planted(both_profiles[0], change), proprio.graph, opset=17)


def test_another_opset_is_refused(both_profiles, proprio):
    with pytest.raises(UserError, match="operator sets"):
        finished(copy.deepcopy(both_profiles[1]), proprio.graph, opset=17)
