"""Bytes, operations and dependent steps of graphs small enough to count by hand."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from hostile import copied, listed
from onnx import TensorProto, helper, numpy_helper

from robot_wm.errors import UserError
from robot_wm.firmware.loading import load_board
from robot_wm.runtime.manifest import POLICY_OF
from robot_wm_bench.graph_cost import GraphCost, graph_cost
from robot_wm_bench.roofline import PLANNER, Graph, bench_roofline, floors, measured_us
from robot_wm_export.fp16 import to_fp16


def model(nodes, inputs, outputs, **weights) -> onnx.ModelProto:
    """A graph of opset 17; a weight is given as an array."""
    graph = helper.make_graph(
        [helper.make_node(op, given, made, **attributes) for op, given, made, attributes in nodes],
        "counted",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype=dtype)


def dense() -> onnx.ModelProto:
    """y = tanh(x @ a) @ b + bias, [1, 3] -> [1, 5] -> [1, 2]."""
    return model(
        [
            ("MatMul", ["x", "a"], ["u"], {}),
            ("Tanh", ["u"], ["v"], {}),
            ("Gemm", ["v", "b", "bias"], ["y"], {"transB": 1}),
        ],
        {"x": (TensorProto.FLOAT, [1, 3])},
        {"y": [1, 2]},
        a=zeros(3, 5),
        b=zeros(2, 5),
        bias=zeros(2),
    )


def test_two_products_counted_by_hand():
    cost = graph_cost(dense())
    assert cost.weight_bytes == 4 * (15 + 10 + 2)
    assert (cost.input_bytes, cost.output_bytes) == (12, 8)
    assert cost.activation_bytes == 2 * 4 * (5 + 2)
    assert cost.product_flops == 2 * (3 * 5 + 5 * 2)
    assert cost.nodes == {"MatMul": 1, "Tanh": 1, "Gemm": 1}
    assert (cost.products, cost.chain) == (2, 2)
    assert cost.bytes == 108 + 12 + 8 + 56


def test_a_batched_product_and_a_convolution():
    batched = model(
        [("MatMul", ["x", "w"], ["y"], {})], {"x": (TensorProto.FLOAT, [4, 1, 3])}, {"y": [4, 1, 5]}, w=zeros(4, 3, 5)
    )
    assert graph_cost(batched).product_flops == 2 * 4 * 3 * 5
    conv = model(
        [("Cast", ["x"], ["f"], {"to": TensorProto.FLOAT}), ("Conv", ["f", "w"], ["y"], {"pads": [1, 1, 1, 1]})],
        {"x": (TensorProto.UINT8, [1, 2, 6, 6])},
        {"y": [1, 4, 6, 6]},
        w=zeros(4, 2, 3, 3),
    )
    cost = graph_cost(conv)
    assert cost.product_flops == 2 * (4 * 6 * 6) * (2 * 3 * 3)
    assert cost.input_bytes == 72  # one byte a pixel


def test_branches_run_side_by_side_and_pointwise_steps_cost_none():
    branches = model(
        [
            ("MatMul", ["x", "a"], ["u"], {}),
            ("ReduceMean", ["u"], ["mean"], {"axes": [1]}),
            ("MatMul", ["x", "b"], ["v"], {}),
            ("Tanh", ["v"], ["w"], {}),
            ("Mul", ["w", "mean"], ["z"], {}),
            ("Softmax", ["z"], ["y"], {"axis": 1}),
        ],
        {"x": (TensorProto.FLOAT, [1, 3])},
        {"y": [1, 3]},
        a=zeros(3, 3),
        b=zeros(3, 3),
    )
    assert graph_cost(branches).chain == 3  # product, mean, softmax; the other product waits for nothing


def test_low_precision_is_counted_as_an_engine_keeps_it():
    cost, half = graph_cost(dense()), graph_cost(to_fp16(dense()))
    assert half.weight_bytes == cost.weight_bytes / 2
    assert half.product_flops == cost.product_flops
    assert half.activation_bytes == cost.activation_bytes / 2
    eight_bits = model(
        [
            ("QuantizeLinear", ["w", "scale", "zero"], ["q"], {}),
            ("DequantizeLinear", ["q", "scale", "zero"], ["d"], {}),
            ("MatMul", ["x", "d"], ["y"], {}),
        ],
        {"x": (TensorProto.FLOAT, [1, 3])},
        {"y": [1, 5]},
        w=zeros(3, 5),
        scale=np.float32(0.1),
        zero=np.int8(0),
    )
    assert graph_cost(eight_bits).weight_bytes == 15 + 4 + 1
    assert graph_cost(eight_bits).product_flops == 2 * 3 * 5


def cost_of(*, weight_bytes: int, flops: int) -> GraphCost:
    return GraphCost(weight_bytes, 0, 0, 0, flops, {}, 1, 1)


def test_a_floor_is_the_larger_of_bandwidth_and_arithmetic():
    board = load_board("orin-nano")
    board = board.model_copy(update={"memory_bandwidth_gb_s": 100.0})
    rates = board.rates.model_copy(update={"fp32_tflops": 2.0, "fp16_tflops": 8.0})
    board = board.model_copy(update={"rates": rates})
    few = floors(cost_of(weight_bytes=10**6, flops=10**6), board, "fp32")
    assert few == {"floor_us": pytest.approx(10.0), "memory_us": pytest.approx(10.0), "compute_us": pytest.approx(0.5)}
    many = cost_of(weight_bytes=10**6, flops=10**9)
    assert floors(many, board, "fp32")["floor_us"] == pytest.approx(500.0)
    assert floors(many, board, "fp16")["floor_us"] == pytest.approx(125.0)


@pytest.mark.parametrize("name", ["orin-nano", "orin-nx", "agx-orin", "agx-thor"])
def test_every_jetson_has_published_figures_in_the_order_of_their_precisions(name):
    board = load_board(name)
    assert board.memory_bandwidth_gb_s > 60.0
    assert board.rates.fp32_tflops < board.rates.fp16_tflops < board.rates.int8_tops
    assert "NVIDIA" in board.rates.source


def test_a_graph_is_measured_here():
    assert 0.0 < measured_us(Graph("tick", "fp32", dense().SerializeToString(), ()), 5) < 1e5


def test_the_roofline_of_a_bundle(exported, capsys):
    bench_roofline(bundle=exported.path, board="orin-nano,agx-orin", ticks=5, json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(row["board"], row["graph"], row["precision"]) for row in found["rows"]] == [
        ("orin-nano", "tick", "fp32"),
        ("agx-orin", "tick", "fp32"),
    ]
    assert "no measurement" in found["estimate"]
    cost = graph_cost(onnx.load(exported.path / POLICY_OF["fp32"]))
    assert found["graphs"][0]["bytes"] == cost.bytes
    nano, agx = found["rows"]
    assert nano["memory_us"] / agx["memory_us"] == pytest.approx(204.8 / 102)
    assert nano["onnxruntime_here_us"] > nano["floor_us"] > 0


def test_a_planners_call_has_a_row_of_its_own(exported, tmp_path, capsys):
    planning = copied(exported.path, tmp_path)
    (planning / PLANNER).write_bytes(dense().SerializeToString())
    bench_roofline(bundle=listed(planning, PLANNER), ticks=2, json=True)
    found = json.loads(capsys.readouterr().out)
    assert [(row["graph"], row["precision"]) for row in found["rows"]] == [("tick", "fp32"), ("planner", "fp32")]
    planner, board = found["graphs"][1], found["boards"]["orin-nano"]
    assert planner["product_flops"] == 2 * (3 * 5 + 5 * 2)
    assert planner["weight_bytes"] == 4 * (3 * 5 + 2 * 5 + 2)
    by_bandwidth = planner["bytes"] / (board["memory_bandwidth_gb_s"] * 1e3)
    assert found["rows"][1]["memory_us"] == pytest.approx(by_bandwidth)
    assert found["rows"][1]["onnxruntime_here_us"] > 0


def test_the_roofline_of_a_size_has_every_precision(capsys):
    bench_roofline(size="nano", ticks=2, json=True)
    found = json.loads(capsys.readouterr().out)
    floor = {row["precision"]: row["floor_us"] for row in found["rows"]}
    assert floor["fp32"] > floor["fp16"] > floor["int8"] > 0


def test_what_cannot_be_judged_is_refused(exported):
    with pytest.raises(UserError, match="x86: has no memory_bandwidth_gb_s"):
        bench_roofline(size="nano", board="x86")
    with pytest.raises(UserError, match="give one of them"):
        bench_roofline(size="nano", bundle=exported.path)
    with pytest.raises(UserError, match="unknown size 'giant'"):
        bench_roofline(size="giant")
