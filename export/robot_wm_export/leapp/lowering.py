"""A graph of opset 18 to 23 in opset 17: onnx's own converter knows no way down for what Isaac Lab's exporter writes.

The operators that changed their form are rewritten (https://onnx.ai/onnx/operators), and the checker of opset 17 finds
any other that it does not have. What came of it is compared with the graph as it was, tick by tick (``reference``).
"""

from __future__ import annotations

import math

import onnx
from onnx import helper, numpy_helper

from robot_wm_export.onnx_export import OPSET_17

_ADDED = "lowered/"
# Their axes are an input since opset 18, as ReduceSum's have been since 13.
_REDUCE = frozenset(
    f"Reduce{what}" for what in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare")
)
# Attributes that older operators lack, and whose value is what the older ones did.
_LATER = {"Cast": ("saturate",), "CastLike": ("saturate",)}


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same computation in operators of opset 17, where those that are there have such a form. Changes ``model``."""
    values = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {
        value.name: [length.dim_value for length in value.type.tensor_type.shape.dim]
        for value in (*values.input, *values.value_info, *values.output)
    }
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    constants |= {
        node.output[0]: numpy_helper.to_array(entry.t)
        for node in model.graph.node
        for entry in node.attribute
        if node.op_type == "Constant" and entry.name == "value"
    }
    shapes |= {name: list(array.shape) for name, array in constants.items()}
    for node in model.graph.node:
        if node.op_type == "Split":
            _lower_split(node, shapes, model.graph)
        elif node.op_type in _REDUCE and len(node.input) > 1:
            axes = constants[node.input[1]].ravel().tolist() if node.input[1] else None
            del node.input[1:]
            _drop(node, "noop_with_empty_axes")
            if axes:
                node.attribute.append(helper.make_attribute("axes", axes))
        for name in _LATER.get(node.op_type, ()):
            _drop(node, name)
    del model.opset_import[:], model.graph.value_info[:]
    model.opset_import.append(helper.make_opsetid("", OPSET_17))
    return model


def _lower_split(node: onnx.NodeProto, shapes: dict[str, list[int]], graph: onnx.GraphProto) -> None:
    """Into as many equal parts as there are outputs, the last one smaller, is told by their sizes."""
    parts = next((entry.i for entry in node.attribute if entry.name == "num_outputs"), None)
    if parts is None:
        return
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 0)
    length = shapes[node.input[0]][axis]
    size = math.ceil(length / parts)
    sizes = [size] * (parts - 1) + [length - size * (parts - 1)]
    name = f"{_ADDED}{node.output[0]}"
    graph.initializer.append(helper.make_tensor(name, onnx.TensorProto.INT64, [parts], sizes))
    del node.input[1:]
    node.input.append(name)
    _drop(node, "num_outputs")


def _drop(node: onnx.NodeProto, name: str) -> None:
    kept = [entry for entry in node.attribute if entry.name != name]
    del node.attribute[:]
    node.attribute.extend(kept)
