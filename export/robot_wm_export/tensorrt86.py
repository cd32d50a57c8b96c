"""What TensorRT 8.6's ONNX parser takes, as far as tick graphs go: operators, their types and their restrictions.

From onnx-tensorrt at its 8.6 tag, docs/operators.md and builtin_op_importers.cpp, and for quantisation from the
developer guide of 8.6. JetPack 6.0 has this version; later ones take all of it. Here it is known at export, on the
workstation, what else would show on the robot.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from robot_wm.errors import UserError

_FLOATS = frozenset({"FP32", "FP16"})
_NUMBERS = _FLOATS | {"INT32"}
_MOVED = _NUMBERS | {"BOOL"}

# Operator -> types of its first input. Neither random operators nor control flow: a tick needs none.
OPERATORS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("Abs", "Add", "ArgMax", "Div", "Equal", "Max", "Min", "Mul", "Neg", "Sub"), _NUMBERS),
    **dict.fromkeys(("Exp", "Log", "MatMul", "Pow", "Reciprocal", "Softmax", "Sqrt"), _FLOATS),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceSum"), _FLOATS),
    **dict.fromkeys(("Clip", "Conv", "Gemm", "MaxPool", "Sigmoid", "Tanh"), _FLOATS | {"INT8"}),
    **dict.fromkeys(("Expand", "Flatten", "Split"), _MOVED),
    **dict.fromkeys(("Concat", "Constant", "Gather", "Identity", "Reshape", "Shape"), _MOVED | {"INT8"}),
    **dict.fromkeys(("Slice", "Squeeze", "Transpose", "Unsqueeze"), _MOVED | {"INT8"}),
    "Cast": _MOVED | {"INT8", "UINT8"},
    "ConstantOfShape": frozenset({"INT32"}),  # a shape
    "DequantizeLinear": frozenset({"INT8"}),
    "QuantizeLinear": frozenset({"FP32"}),  # what opset 17 has; the parser reads scales as float32, too
    "Sign": _NUMBERS | {"INT8"},
    "Where": frozenset({"BOOL"}),  # the condition
}

# 64-bit integers are read as 32-bit ones. What is missing here TensorRT does not have.
_TYPES: Mapping[int, str] = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT32",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.BOOL: "BOOL",
}
# Operator -> inputs that must be known when the graph is parsed.
_KNOWN_INPUTS = {
    "Slice": (3,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
}


def require_parsable(model: onnx.ModelProto) -> None:
    """Refuse (UserError naming node and reason) a graph of opset 17 that TensorRT 8.6 would not parse."""
    graph = model.graph
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    values = (*inferred.input, *inferred.value_info, *inferred.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    known = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    constants = ((node.output[0], entry.t) for node in graph.node for entry in node.attribute if entry.name == "value")
    known |= {name: numpy_helper.to_array(tensor) for name, tensor in constants}
    types |= {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in known.items()}
    producers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if reason := _objection(node, types, known, producers, {value.name for value in graph.output}):
            raise UserError(f"exported graph: operator {node.op_type} of node {node.name}: {reason} (TensorRT 8.6)")


def _objection(
    node: onnx.NodeProto,
    types: Mapping[str, int],
    known: Mapping[str, NDArray[Any]],
    producers: Mapping[str, onnx.NodeProto],
    outputs: set[str],
) -> str | None:
    if node.op_type not in OPERATORS or node.domain:
        return "is not allowed"
    for name in (*node.input, *node.output):
        if name and types[name] not in _TYPES:
            return f"tensor {name} is {helper.tensor_dtype_to_np_dtype(types[name])}"
    for name in node.output:
        if _TYPES[types[name]] == "UINT8" and name not in outputs:
            return f"tensor {name} is UINT8, which only inputs and outputs of the graph may be"
    if node.input and _TYPES[types[node.input[0]]] not in OPERATORS[node.op_type]:
        return f"takes no {_TYPES[types[node.input[0]]]}"
    for index in _KNOWN_INPUTS.get(node.op_type, ()):
        if index < len(node.input) and node.input[index] not in known:
            return f"input {index} ({node.input[index]}) must be a constant"
    if node.op_type == "MaxPool" and len(node.output) > 1:
        return "has an Indices output"
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _quantisation_objection(node, known, producers)
    return None


def _quantisation_objection(
    node: onnx.NodeProto, known: Mapping[str, NDArray[Any]], producers: Mapping[str, onnx.NodeProto]
) -> str | None:
    """Of a Q or a DQ with constant scales and zero points; its types are right."""
    if len(node.input) != 3:
        return "needs a zero point"
    data, scale, zero = node.input[0], known[node.input[1]], known[node.input[2]]
    if scale.dtype != np.float32 or not (np.isfinite(scale).all() and (scale > 0).all()):
        return "scales must be positive float32 numbers"
    if zero.dtype != np.int8 or zero.any() or zero.size != scale.size:
        return "zero points must be int8 zeros, one a scale"
    source = data
    if node.op_type == "DequantizeLinear":
        maker = producers.get(data)
        if maker is None or maker.op_type != "QuantizeLinear":
            return "must follow a QuantizeLinear: int8 constants are not supported"
        source = maker.input[0]
    if scale.size == 1:
        return None
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
    if source not in known:
        return "one scale a channel is for weights only"
    weight = known[source]
    if not -weight.ndim <= axis < weight.ndim or weight.shape[axis] != scale.size:
        return f"{scale.size} scales do not fit axis {axis} of {weight.shape}"
    if weight.ndim == 3:
        return "one scale a channel is for matrices and convolutions, not for products in batches"
    return None
