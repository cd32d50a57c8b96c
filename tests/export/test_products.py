"""Which products of a graph are its dense ones, and what they see and decide."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from robot_wm_export.products import nearest, products, sees, with_own_sums


def graph_of(nodes, inputs, outputs, weights) -> onnx.ModelProto:
    """A model of opset 17; inputs and outputs are float32 shapes by name."""

    def values(shapes):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]

    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", values(inputs), values(outputs), tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def chain() -> onnx.ModelProto:
    """obs/x -> first -> second -> action; state/deter joins before second; a table of bins gives value."""
    return graph_of(
        [
            helper.make_node("MatMul", ["obs/x", "w1"], ["first"]),
            helper.make_node("Add", ["first", "state/deter"], ["joined"]),
            helper.make_node("Gemm", ["joined", "w2"], ["second"], transB=1),
            helper.make_node("Tanh", ["second"], ["action"]),
            helper.make_node("Softmax", ["joined"], ["probs"]),
            helper.make_node("MatMul", ["probs", "bins"], ["value"]),
            helper.make_node("MatMul", ["joined", "state/matrix"], ["free"]),
        ],
        {"obs/x": [1, 3], "state/deter": [1, 4], "state/matrix": [4, 4]},
        {"action": [1, 2], "value": [1, 1], "free": [1, 4]},
        {
            "w1": np.ones((3, 4), np.float32),
            "w2": np.ones((2, 4), np.float32),
            "bins": np.float32([[-4e8], [0], [1], [4e8]]),
        },
    )


def test_learned_matrices_are_dense_products_and_tables_and_states_are_not():
    assert [(entry.node.output[0], entry.weight.shape) for entry in products(chain())] == [
        ("first", (3, 4)),
        ("second", (2, 4)),
    ]


def test_what_a_product_sees_ends_at_the_product_before_it():
    model = chain()
    first, second = products(model)
    assert sees(model, first, ["obs/x"])
    assert not sees(model, first, ["state/deter"])
    assert sees(model, second, ["state/deter"])
    assert not sees(model, second, ["obs/x"])


def test_the_product_nearest_to_an_output():
    model = chain()
    assert nearest(model, ["action"]) == {"second"}
    assert nearest(model, ["value"]) == {"first"}
    assert nearest(model, ["action", "value"]) == {"first", "second"}


def test_a_computed_addend_becomes_a_sum_of_its_own():
    weights = {"w": np.float32([[1, 2], [3, 4]]), "b": np.float32([5, 6])}
    model = graph_of(
        [
            helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="constant"),
            helper.make_node("Gemm", ["y", "w", "x"], ["z"], name="computed", transB=1),
        ],
        {"x": [1, 2]},
        {"z": [1, 2]},
        weights,
    )
    before = model.SerializeToString()
    split = with_own_sums(model)
    assert model.SerializeToString() == before
    assert [node.op_type for node in split.graph.node] == ["Gemm", "Gemm", "Add"]
    assert list(split.graph.node[0].input) == ["x", "w", "b"]
    feed = {"x": np.float32([[0.5, -1]])}
    results = [
        ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)[0]
        for m in (model, split)
    ]
    np.testing.assert_array_equal(*results)
