"""What changed its form since opset 17 computes the same in the old one."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from robot_wm_export.leapp.lowering import lowered


def model(nodes, outputs, constants=(), opset=20) -> onnx.ModelProto:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 7])
    made = [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs]
    graph = helper.make_graph(nodes, "g", [given], made, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


SPLIT = model(
    [helper.make_node("Split", ["x"], ["a", "b", "c"], axis=-1, num_outputs=3)],
    [("a", TensorProto.FLOAT, [2, 3]), ("b", TensorProto.FLOAT, [2, 3]), ("c", TensorProto.FLOAT, [2, 1])],
)
MEAN = model(
    [helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)],
    [("y", TensorProto.FLOAT, [2])],
    [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
)
LARGEST = model(
    [
        helper.make_node("Constant", [], ["axes"], value=helper.make_tensor("v", TensorProto.INT64, [1], [0])),
        helper.make_node("ReduceMax", ["x", "axes"], ["y"], keepdims=1),
    ],
    [("y", TensorProto.FLOAT, [1, 7])],
)
CAST = model(
    [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT32, saturate=1)], [("y", TensorProto.INT32, [2, 7])]
)


@pytest.mark.parametrize("newer", [SPLIT, MEAN, LARGEST, CAST], ids=["split", "mean", "largest", "cast"])
def test_it_computes_the_same(newer):
    x = np.random.default_rng(0).normal(size=(2, 7), scale=3).astype(np.float32)
    expected = ort.InferenceSession(newer.SerializeToString()).run(None, {"x": x})
    copy = onnx.ModelProto()
    copy.CopyFrom(newer)
    older = lowered(copy)
    onnx.checker.check_model(older, full_check=True)
    assert [entry.version for entry in older.opset_import] == [17]
    for one, two in zip(ort.InferenceSession(older.SerializeToString()).run(None, {"x": x}), expected, strict=True):
        assert np.array_equal(one, two)


def test_an_operator_that_opset_17_lacks_is_found():
    newer = model([helper.make_node("Gelu", ["x"], ["y"])], [("y", TensorProto.FLOAT, [2, 7])])
    with pytest.raises(onnx.checker.ValidationError, match="Gelu"):
        onnx.checker.check_model(lowered(newer), full_check=True)
