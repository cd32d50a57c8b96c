"""TensorRT 8.6's restrictions, each by a graph that breaks it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from robot_wm.errors import UserError
from robot_wm_export.tensorrt86 import require_parsable

FLOAT, UINT8, INT64, BOOL = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT64, TensorProto.BOOL


class Graph:
    """x [1, 4] and image [1, 2, 2, 3] in, y out: a product with weights [4, 3] between two Q/DQ pairs, to be spoilt."""

    def __init__(self) -> None:
        self.weights: dict[str, np.ndarray] = {
            "w": np.ones((4, 3), np.float32),
            "w_scale": np.float32([0.1, 0.2, 0.3]),
            "w_zero": np.zeros(3, np.int8),
            "x_scale": np.float32(0.1),
            "x_zero": np.int8(0),
        }
        pair = ("QuantizeLinear", "DequantizeLinear")
        self.nodes = {
            "xq": helper.make_node(pair[0], ["x", "x_scale", "x_zero"], ["xq"]),
            "xd": helper.make_node(pair[1], ["xq", "x_scale", "x_zero"], ["xd"]),
            "wq": helper.make_node(pair[0], ["w", "w_scale", "w_zero"], ["wq"], axis=1),
            "wd": helper.make_node(pair[1], ["wq", "w_scale", "w_zero"], ["wd"], axis=1),
            "y": helper.make_node("MatMul", ["xd", "wd"], ["y"]),
        }
        self.outputs = {"y": (FLOAT, [1, 3])}
        self.domains = {"": 17}

    def add(self, op: str, inputs: list[str], outputs: list[str], **attributes) -> None:
        self.nodes[outputs[0]] = helper.make_node(op, inputs, outputs, **attributes)

    def check(self) -> None:
        inputs = [
            helper.make_tensor_value_info("x", FLOAT, [1, 4]),
            helper.make_tensor_value_info("image", UINT8, [1, 2, 2, 3]),
            helper.make_tensor_value_info("batch", FLOAT, [2, 1, 4]),
        ]
        outputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in self.outputs.items()]
        tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in self.weights.items()]
        for node in self.nodes.values():
            node.name = node.output[0]
        graph = helper.make_graph(list(self.nodes.values()), "g", inputs, outputs, tensors)
        opsets = [helper.make_opsetid(domain, version) for domain, version in self.domains.items()]
        require_parsable(helper.make_model(graph, opset_imports=opsets, ir_version=8))


def test_explicit_quantisation_in_its_right_form_passes():
    Graph().check()


def test_graphs_of_every_precision_pass(op17):
    require_parsable(op17)  # the low ones pass in `finished`, see test_fp16.py and test_int8.py


def weight(name, value):
    def spoil(graph: Graph) -> None:
        graph.weights[name] = value

    return spoil


def node(name, op, inputs, kind=FLOAT, shape=(1, 4), **attributes):
    """One more node, whose first output is an output of the graph."""

    def spoil(graph: Graph) -> None:
        graph.add(op, inputs, [name], **attributes)
        graph.outputs[name] = (kind, list(shape))

    return spoil


def both(*changes):
    def spoil(graph: Graph) -> None:
        for change in changes:
            change(graph)

    return spoil


def without_zero_point(graph: Graph) -> None:
    graph.nodes["xd"].input.pop()


def int8_weights(graph: Graph) -> None:
    graph.weights["w"] = np.ones((4, 3), np.int8)
    del graph.nodes["wq"]
    graph.nodes["wd"].input[0] = "w"


def scaled_by_a_tensor(graph: Graph) -> None:
    graph.nodes = {"s": helper.make_node("ReduceMax", ["x"], ["s"], keepdims=0)} | graph.nodes
    graph.nodes["xq"].input[1] = graph.nodes["xd"].input[1] = "s"


def activation_by_channel(graph: Graph) -> None:
    graph.weights |= {"x_scale": np.ones(4, np.float32), "x_zero": np.zeros(4, np.int8)}


def batched_by_channel(graph: Graph) -> None:
    graph.weights["w"] = np.ones((2, 4, 3), np.float32)
    for name in ("wq", "wd"):
        del graph.nodes[name].attribute[:]
        graph.nodes[name].attribute.append(helper.make_attribute("axis", 2))
    graph.nodes["y"].input[0] = "batch"
    graph.outputs["y"] = (FLOAT, [2, 1, 3])


def wrong_axis(graph: Graph) -> None:
    for name in ("wq", "wd"):
        del graph.nodes[name].attribute[:]
        graph.nodes[name].attribute.append(helper.make_attribute("axis", 0))


def foreign(graph: Graph) -> None:
    graph.domains["com.example"] = 1
    graph.add("Tanh", ["x"], ["t"], domain="com.example")


INTEGERS = node("whole", "Cast", ["x"], INT64, to=INT64)
BOOLEANS = node("flags", "Cast", ["x"], BOOL, to=BOOL)


@pytest.mark.parametrize(
    ("spoil", "naming"),
    [
        (weight("x_zero", np.int8(1)), "zero points must be int8 zeros"),
        (weight("w_zero", np.int8([0, 0, 1])), "zero points must be int8 zeros"),
        (weight("x_scale", np.float32(0)), "scales must be positive"),
        (weight("w_scale", np.float32([0.1, -0.2, 0.3])), "scales must be positive"),
        (weight("x_scale", np.float32(np.inf)), "scales must be positive"),
        (without_zero_point, "needs a zero point"),
        (int8_weights, "int8 constants are not supported"),
        (scaled_by_a_tensor, "input 1 (s) must be a constant"),
        (activation_by_channel, "one scale a channel is for weights only"),
        (batched_by_channel, "not for products in batches"),
        (wrong_axis, "3 scales do not fit axis 0 of (4, 3)"),
        (node("r", "RandomNormalLike", ["x"]), "RandomNormalLike of node r: is not allowed"),
        (foreign, "Tanh of node t: is not allowed"),
        (node("c", "Concat", ["image", "image"], UINT8, (1, 2, 2, 6), axis=3), "takes no UINT8"),
        (node("i", "Identity", ["image"], UINT8, (1, 2, 2, 3)), "takes no UINT8"),
        (node("d", "Cast", ["x"], TensorProto.DOUBLE, to=TensorProto.DOUBLE), "float64"),
        (
            both(INTEGERS, node("s", "ReduceSum", ["whole"], INT64, keepdims=1, shape=(1, 1))),
            "ReduceSum of node s: takes",
        ),
        (both(INTEGERS, node("p", "Pow", ["whole", "whole"], INT64)), "Pow of node p: takes no INT32"),
        (both(BOOLEANS, node("e", "Equal", ["flags", "flags"], BOOL)), "Equal of node e: takes no BOOL"),
        (
            both(
                weight("begin", np.int64([0])),
                weight("end", np.int64([1])),
                node("axis", "Cast", ["begin"], INT64, (1,), to=INT64),
                node("cut", "Slice", ["x", "begin", "end", "axis"], FLOAT, (1, 4)),
            ),
            "Slice of node cut: input 3 (axis) must be a constant",
        ),
        (
            both(
                node("planes", "Cast", ["image"], FLOAT, (1, 2, 2, 3), to=FLOAT),
                lambda graph: graph.add("MaxPool", ["planes"], ["pooled", "indices"], kernel_shape=[1, 1]),
            ),
            "has an Indices output",
        ),
    ],
)
def test_each_restriction_is_told_by_node(spoil, naming):
    graph = Graph()
    spoil(graph)
    with pytest.raises(UserError, match=re.escape(naming)) as caught:
        graph.check()
    assert str(caught.value).startswith("exported graph: operator ")
    assert str(caught.value).endswith("(TensorRT 8.6)")
