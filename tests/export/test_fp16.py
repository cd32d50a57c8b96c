"""What is half in a graph of half precision, what is not, and what is left of the numbers."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm_export.fp16 import to_fp16, with_roundings
from robot_wm_export.onnx_export import export_op17, finished
from robot_wm_export.products import products
from robot_wm_export.tick_graph import TickGraph

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
HALF_ULP = 2.0**-11


@pytest.fixture(scope="module")
def half(case, op17) -> onnx.ModelProto:
    return finished(to_fp16(op17), case.graph, opset=17)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info, *graph.output)}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def run(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return dict(zip([o.name for o in session.get_outputs()], session.run(None, feed), strict=True))


def test_products_are_half_and_all_else_is_float32(half, op17):
    types = types_of(half)
    dense = {entry.node.output[0] for entry in products(op17)}
    seen = 0
    for node in half.graph.node:
        if any(name.removesuffix(".product.half").removesuffix(".half") in dense for name in node.output):
            if node.op_type in ("Gemm", "MatMul", "Conv"):
                seen += 1
                assert {types[name] for name in (*node.input, *node.output)} == {HALF}, node.name
        elif node.op_type not in ("Cast", "Reshape", "Transpose", "MaxPool", "Squeeze", "Unsqueeze", "Flatten"):
            assert HALF not in {types[name] for name in (*node.input, *node.output)}, node.name
    assert seen == len(dense)


def test_inputs_and_outputs_are_those_of_float32(half, op17):
    for kind in ("input", "output"):
        assert list(getattr(half.graph, kind)) == list(getattr(op17.graph, kind))


def test_no_two_casts_cancel_and_none_is_left_over(half):
    makers = {name: node for node in half.graph.node for name in node.output}
    used = Counter(name for node in half.graph.node for name in node.input)
    for node in half.graph.node:
        if node.op_type == "Cast":
            assert used[node.output[0]] or node.output[0] in {output.name for output in half.graph.output}
            before = makers.get(node.input[0])
            assert before is None or before.op_type != "Cast", node.name
    assert all(used[tensor.name] for tensor in half.graph.initializer)


def test_the_numbers_are_those_of_half_precision(half, op17, case):
    rng = np.random.default_rng(0)
    rounded = with_roundings(half)
    onnx.checker.check_model(rounded, full_check=True)
    apart = {}
    for _ in range(20):
        feed = {
            tensor.name: rng.integers(0, 256, tensor.shape, dtype=np.uint8)
            if tensor.dtype == "uint8"
            else rng.normal(size=tensor.shape).astype(np.float32)
            for tensor in case.graph.inputs
        }
        expected, found = run(op17, feed), run(rounded, feed)
        for name in {case.agent.state[0].output, case.agent.belief}:
            apart[name] = max(apart.get(name, 0.0), float(np.abs(found[name] - expected[name]).max()))
    for name, error in apart.items():
        assert 0 < error < 16 * HALF_ULP, name


def test_the_recurrent_state_keeps_what_half_could_not_hold(make_case):
    case = make_case("proprio")
    gru = case.agent.rssm.gru
    with torch.no_grad():  # update gates shut: the next state is the last one, bit by bit
        gru.gates.bias.view(gru.blocks, 3, -1)[:, 2] = -1e4
    half = to_fp16(export_op17(case.graph))
    feed = {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in case.graph.inputs}
    feed["state/deter"] = np.float32(1) / np.arange(3, 35, dtype=np.float32)[None]
    assert (feed["state/deter"].astype(np.float16).astype(np.float32) != feed["state/deter"]).sum() > 20
    np.testing.assert_array_equal(run(half, feed)["next/deter"], feed["state/deter"])


def test_the_file_is_half_as_large(proprio):
    config = DreamerConfig.model_validate({"size": "nano"})  # the smallest: names and shapes weigh most there
    spec = proprio.spec
    agent = DreamerAgent(
        config, spec.model_inputs(), spec.action_dim, False, generator=torch.Generator().manual_seed(0)
    )
    float32 = export_op17(TickGraph(agent.eval(), spec))
    assert len(to_fp16(float32).SerializeToString()) <= 0.55 * len(float32.SerializeToString())


def two_products(between: list[onnx.NodeProto]) -> onnx.ModelProto:
    """x -> Gemm -> ``between`` (from "a" to "b") -> MatMul -> y."""
    nodes = [
        helper.make_node("Gemm", ["x", "w", "bias"], ["a"], name="one"),
        *between,
        helper.make_node("MatMul", ["b", "w"], ["y"], name="two"),
    ]
    rng = np.random.default_rng(0)
    weights = {"w": rng.normal(size=(2, 2)), "bias": rng.normal(size=2)}
    tensors = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
    tensors.append(numpy_helper.from_array(np.int64([1, 2]), "shape"))
    values = [helper.make_tensor_value_info(name, FLOAT, [1, 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("between", "casts"),
    [
        ([helper.make_node("Reshape", ["a", "shape"], ["b"])], ["x.half", "y"]),  # moves values: half goes through
        ([helper.make_node("Tanh", ["a"], ["b"])], ["x.half", "a", "b.half", "y"]),  # makes values: float32
    ],
)
def test_casts_are_where_float32_computes_and_nowhere_else(between, casts):
    model = two_products(between)
    before = model.SerializeToString()
    half = to_fp16(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(half, full_check=True)
    assert [node.output[0] for node in half.graph.node if node.op_type == "Cast"] == casts
    assert {tensor.name for tensor in half.graph.initializer} >= {"w.half", "bias.half"}
    assert not {tensor.name for tensor in half.graph.initializer} & {"w", "bias"}


def test_the_graph_to_measure_by_makes_every_rounding():
    model = two_products([helper.make_node("Tanh", ["a"], ["b"])])
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}

    def half(values):
        return values.astype(np.float16).astype(np.float32)

    feed = {"x": np.float32([[1 / 3, 2 / 7]])}
    w, bias = half(weights["w"]), half(weights["bias"])
    first = half(half(feed["x"]) @ w + bias)
    expected = half(half(np.tanh(first)) @ w)
    before = to_fp16(model)
    text = before.SerializeToString()
    found = run(with_roundings(before), feed)["y"]
    assert before.SerializeToString() == text
    np.testing.assert_allclose(found, expected, rtol=0, atol=HALF_ULP / 4)  # tanh may fall on another half
    np.testing.assert_array_equal(found, half(found))


def test_what_is_added_to_a_product_may_be_beyond_half():
    model = two_products([helper.make_node("Identity", ["a"], ["b"])])
    model.graph.node.insert(0, helper.make_node("Mul", ["x", "large"], ["addend"]))
    model.graph.node[1].input[2] = "addend"
    model.graph.node[3].CopyFrom(helper.make_node("Neg", ["b"], ["y"]))
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((2, 2), np.float32), "w"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(3e5), "large"))
    feed = {"x": np.float32([[1.0, 1 / 3]])}
    np.testing.assert_array_equal(run(with_roundings(to_fp16(model)), feed)["y"], feed["x"] * np.float32(-3e5))
