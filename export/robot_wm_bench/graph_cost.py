"""What one run of an ONNX graph costs on any machine: bytes, operations, and how many steps wait for each other.

All of it is counted in the graph itself, shapes by ONNX's shape inference.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

# Operators that need all of their input before they give anything: an engine cannot fuse them into what feeds them.
_PRODUCTS = frozenset({"Conv", "Gemm", "MatMul"})
_REDUCTIONS = frozenset({"ArgMax", "MaxPool", "ReduceMax", "ReduceMean", "ReduceSum", "RMSNormalization", "Softmax"})


@dataclass(frozen=True)
class GraphCost:
    """Cost of one run. Bytes are those at the precision that each tensor has in the graph."""

    weight_bytes: int  # read once each; those behind a QuantizeLinear as the 8 bits that an engine keeps
    input_bytes: int  # state, observation and noise
    output_bytes: int
    activation_bytes: int  # results of products, written once and read once
    product_flops: int  # 2 per multiply-add
    nodes: Mapping[str, int]  # by operator
    products: int
    chain: int  # products and reductions on the longest path: what no engine can run side by side

    @property
    def bytes(self) -> int:
        """All that crosses the memory bus if nothing stays in a cache and nothing is moved twice."""
        return self.weight_bytes + self.input_bytes + self.output_bytes + self.activation_bytes


def graph_cost(model: onnx.ModelProto) -> GraphCost:
    """Count ``model``, whose shapes are all fixed."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    types = {value.name: value.type.tensor_type for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes = {name: tuple(length.dim_value for length in kind.shape.dim) for name, kind in types.items()}
    shapes |= {name: tuple(tensor.dims) for name, tensor in weights.items()}
    widths = {name: _width(kind.elem_type) for name, kind in types.items()}

    def size(name: str) -> int:
        return math.prod(shapes[name]) * widths[name]

    flops = activations = count = 0
    depth: dict[str, int] = {}
    for node in graph.node:
        if node.op_type in _PRODUCTS:
            flops += 2 * math.prod(shapes[node.output[0]]) * _summed(node, shapes)
            activations += 2 * size(node.output[0])
            count += 1
        waited = max((depth.get(name, 0) for name in node.input), default=0)
        waited += node.op_type in _PRODUCTS or node.op_type in _REDUCTIONS
        depth |= dict.fromkeys(node.output, waited)
    return GraphCost(
        weight_bytes=sum(_stored(model)),
        input_bytes=sum(size(value.name) for value in graph.input if value.name not in weights),
        output_bytes=sum(size(value.name) for value in graph.output),
        activation_bytes=activations,
        product_flops=flops,
        nodes=dict(Counter(node.op_type for node in graph.node).most_common()),
        products=count,
        chain=max(depth.values(), default=0),
    )


def _summed(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many products each element of the node's output is the sum of."""
    weight = shapes[node.input[1]]
    if node.op_type == "Conv":
        return math.prod(weight[1:])
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return weight[-1] if transposed else weight[max(0, len(weight) - 2)]


def _stored(model: onnx.ModelProto) -> Iterator[int]:
    """Bytes of every weight, integers that only say shapes left out."""
    quantised = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.INT64:
            continue
        yield math.prod(tensor.dims) * (1 if tensor.name in quantised else _width(tensor.data_type))


def _width(kind: int) -> int:
    return int(helper.tensor_dtype_to_np_dtype(kind).itemsize)
