"""Where 8 bits are, with which scales, and that TensorRT 8.6's rules are kept."""

from __future__ import annotations

import math

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm_export.int8 import quantised_products, to_int8
from robot_wm_export.onnx_export import export_op17, finished
from robot_wm_export.products import products, with_own_sums
from robot_wm_export.torch_parity import run_torch


@pytest.fixture(scope="module")
def ticks(case) -> dict[str, np.ndarray]:
    """32 ticks of the case, state included."""
    from robot_wm.runtime.parity_section import ParityThresholds

    recorded = run_torch(case.graph, case.rollout, ParityThresholds())
    return {name: values[:32] for name, values in recorded.inputs.items()}


@pytest.fixture(scope="module")
def int8(case, op17, ticks) -> onnx.ModelProto:
    return finished(to_int8(op17, ticks, case.graph.draws), case.graph, opset=17)


def weights_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def quantised_inputs(model: onnx.ModelProto) -> dict[str, list[onnx.NodeProto]]:
    """Output of each product whose operands are dequantised -> the Q of its input and of its weight."""
    makers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for node in model.graph.node:
        operands = [makers.get(name) for name in node.input[:2]]
        if node.op_type in ("Gemm", "MatMul", "Conv") and any(m and m.op_type == "DequantizeLinear" for m in operands):
            found[node.output[0]] = [makers[maker.input[0]] for maker in operands]
    return found


def test_inner_products_are_in_8_bits_and_the_outermost_are_not(int8, op17, case):
    chosen = [entry.node.output[0] for entry in quantised_products(with_own_sums(op17), case.graph.draws)]
    assert sorted(quantised_inputs(int8)) == sorted(chosen)
    pairs = sum(node.op_type == "QuantizeLinear" for node in int8.graph.node)
    # Each product has a pair of its own for what goes in; a weight that several share is quantised once.
    assert len(chosen) < pairs <= 2 * len(chosen)
    left = {entry.node.output[0]: entry for entry in products(with_own_sums(op17))}
    for name in chosen:
        del left[name]
    # Observation (vectors, images), action, logits of a draw and policy.
    agent = case.agent
    assert len(left) == bool(agent.inputs.vectors) + bool(agent.inputs.images) + 2 + len(agent.draws)
    sizes = {entry.weight.shape[-1] for entry in left.values()}
    for draw in agent.draws:
        assert math.prod(case.graph.output_shapes[draw.logits]) in sizes
    assert case.agent.action_dim * (1 if agent.discrete else 2) in sizes


def test_what_goes_into_a_product_is_rounded_for_it_alone(int8):
    # The recurrent state that a product reads also goes on into the next one, and there it stays float32.
    pairs = {name: node for node in int8.graph.node for name in node.output if node.op_type == "DequantizeLinear"}
    readers = [node for node in int8.graph.node for name in node.input if name in pairs]
    assert {node.op_type for node in readers} <= {"Gemm", "MatMul", "Conv"}
    assert not {output.name for output in int8.graph.output} & pairs.keys()
    assert not any(node.op_type == "Identity" and "own_input" in node.name for node in int8.graph.node)


def test_the_recurrent_state_keeps_what_8_bits_could_not_hold(make_case):
    shut = make_case("proprio")
    gru = shut.agent.rssm.gru
    with torch.no_grad():  # update gates shut: the next state is the last one, bit by bit
        gru.gates.bias.view(gru.blocks, 3, -1)[:, 2] = -1e4
    rng = np.random.default_rng(0)
    seen = {tensor.name: rng.normal(size=(4, *tensor.shape)).astype(np.float32) for tensor in shut.graph.inputs}
    made = to_int8(export_op17(shut.graph), seen, shut.graph.draws)
    feed = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in shut.graph.inputs}
    feed["state/deter"] = np.float32(1) / np.arange(3, 35, dtype=np.float32)[None]
    session = ort.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(["next/deter"], feed)[0], feed["state/deter"])


def test_zero_points_are_zero_and_scales_one_a_channel(int8, op17):
    weights = weights_of(int8)
    matrices = weights_of(op17)
    several = 0
    for of_input, of_weight in quantised_inputs(int8).values():
        for node in (of_input, of_weight):
            zero = weights[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
        assert weights[of_input.input[1]].size == 1
        weight, scale = matrices[of_weight.input[0]], weights[of_weight.input[1]]
        assert weights[of_weight.input[0]].dtype == np.float32  # TensorRT 8.6 quantises it itself
        if weight.ndim == 3:
            expected = np.abs(weight).max()
        else:
            axis = next(entry.i for entry in of_weight.attribute if entry.name == "axis")
            expected = np.abs(weight).max(tuple(k for k in range(weight.ndim) if k != axis))
            several += scale.size > 1
        np.testing.assert_allclose(scale, expected / 127, rtol=1e-6)
    assert several > 3


def test_an_activations_scale_covers_what_was_seen(int8, op17, ticks):
    weights = weights_of(int8)
    names = {of_input.input[0]: weights[of_input.input[1]] for of_input, _ in quantised_inputs(int8).values()}
    probed = with_own_sums(op17)
    inferred = onnx.shape_inference.infer_shapes(probed).graph
    values = {value.name: value for value in (*inferred.value_info, *inferred.output, *inferred.input)}
    extra = [name for name in names if name not in {v.name for v in (*probed.graph.output, *probed.graph.input)}]
    probed.graph.output.extend(values[name] for name in extra)
    session = ort.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    largest = dict.fromkeys(extra, 0.0)
    for tick in range(32):
        made = session.run(extra, {name: array[tick] for name, array in ticks.items()})
        for name, array in zip(extra, made, strict=True):
            largest[name] = max(largest[name], float(np.abs(array).max()))
    assert len(extra) > 5
    for name in extra:
        assert float(names[name]) == pytest.approx(largest[name] / 127.5, rel=5e-3), name


def test_the_same_ticks_give_the_same_file(case, op17, ticks, int8):
    again = finished(to_int8(op17, ticks, case.graph.draws), case.graph, opset=17)
    assert again.SerializeToString(deterministic=True) == int8.SerializeToString(deterministic=True)


def test_weights_that_are_all_zero_still_have_a_scale():
    node = helper.make_node("MatMul", ["state/x", "w"], ["y"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("state/x", "y")]
    first = helper.make_tensor_value_info("is_first", TensorProto.FLOAT, [1])
    weight = numpy_helper.from_array(np.float32([[0, 1], [0, -3]]), "w")
    graph = helper.make_graph([node], "g", [values[0], first], values[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    before = model.SerializeToString()
    inputs = {"state/x": np.float32([[[0, 1]], [[-2, 1]]]), "is_first": np.zeros((2, 1), np.float32)}
    made = to_int8(model, inputs, ())
    assert model.SerializeToString() == before
    ((of_input, of_weight),) = quantised_inputs(made).values()
    weights = weights_of(made)
    assert (weights[of_weight.input[1]] > 0).all()
    assert weights[of_weight.input[1]][1] == pytest.approx(3 / 127)
    assert float(weights[of_input.input[1]]) == pytest.approx(2 / 127.5, rel=5e-3)


def test_the_robots_engine_computes_it_as_it_is_written():
    node = helper.make_node("MatMul", ["state/x", "w"], ["y"])
    rng = np.random.default_rng(0)
    # As large and as many as saturate 16 bits in the integer kernels of processors without VNNI.
    weight, ticks = np.full((64, 2), 1.0, np.float32), rng.uniform(0.9, 1, (8, 1, 64)).astype(np.float32)
    values = {"state/x": [1, 64], "y": [1, 2]}
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = to_int8(model, {"state/x": ticks}, ())
    ((of_input, of_weight),) = quantised_inputs(made).values()
    scales = weights_of(made)

    def rounded(array, scale):
        return np.clip(np.rint(array / scale), -128, 127) * scale

    engine = OnnxEngine(made.SerializeToString(), ())
    engine.activate()
    for tick in ticks:
        engine.inputs["state/x"][...] = tick
        engine.infer()
        expected = rounded(tick, scales[of_input.input[1]]) @ rounded(weight, scales[of_weight.input[1]])
        np.testing.assert_allclose(engine.outputs["y"], expected, rtol=1e-5)


def test_a_graph_with_nothing_to_quantise_stays_float32():
    node = helper.make_node("MatMul", ["obs/x", "w"], ["action"])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2]) for n in ("obs/x", "action")]
    graph = helper.make_graph([node], "g", values[:1], values[1:], [numpy_helper.from_array(np.eye(2, dtype="f"), "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    made = to_int8(model, {"obs/x": np.zeros((1, 1, 2), np.float32)}, ())
    assert [node.op_type for node in made.graph.node] == ["MatMul"]
