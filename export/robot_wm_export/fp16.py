"""A tick graph in half precision: ``policy.fp16.onnx``.

Weights, matrix products and convolutions are half; norms, softmax, logarithms, KL, two-hot sums and the recurrent
state stay float32, and so do the graph's inputs and outputs. TensorRT 11 has no flag for half precision, and under
that of TensorRT 8.6 the weights of small products stayed float32: hence the casts are in the graph.

``onnxruntime.transformers.float16`` is not used: between any two operators that it leaves in float32 it casts down
and up again, which would take the recurrent state and every input through half.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from robot_wm_export.products import products, with_own_sums

# Operators that move or select values and make none: behind a product they lose nothing in half, at half the bytes.
_EXACT = frozenset({"Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
_HALF = ".half"  # appended to a tensor's name


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` (float32, not changed) with its dense products in half precision."""
    half_model = with_own_sums(model)
    graph = half_model.graph
    dense = {product.node.output[0] for product in products(half_model)}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    halves: dict[str, str] = {}  # float32 tensor -> half tensor with its values
    widened: set[str] = set()  # float32 tensors that are casts of a half one
    nodes: list[onnx.NodeProto] = []

    def half(name: str) -> str:
        if name in halves:  # behind a product it is half already: no cast up and down again
            return halves[name]
        halves[name] = name + _HALF
        if name in weights:
            values = numpy_helper.to_array(weights[name]).astype(np.float16)
            graph.initializer.append(numpy_helper.from_array(values, halves[name]))
        else:
            nodes.append(helper.make_node("Cast", [name], [halves[name]], name=halves[name], to=TensorProto.FLOAT16))
        return halves[name]

    for node in graph.node:
        if node.output[0] in dense:
            node.input[:] = [half(name) for name in node.input]
        elif node.op_type in _EXACT and node.input[0] in widened:
            node.input[0] = halves[node.input[0]]
        else:
            nodes.append(node)
            continue
        wide = node.output[0]
        node.output[0] = halves[wide] = wide + _HALF
        widened.add(wide)
        nodes += [node, helper.make_node("Cast", [halves[wide]], [wide], name=wide, to=TensorProto.FLOAT)]
    _replace_nodes(graph, nodes)
    return half_model


def with_roundings(half_model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``to_fp16``'s graph to measure by, of which ONNX Runtime makes every rounding also on a CPU.

    Without half kernels it computes products in float32 between casts of its own, and drops two casts that meet: of
    the graph as it is only the weights would be half. A Concat of one tensor keeps the casts apart.
    """
    apart = onnx.ModelProto()
    apart.CopyFrom(half_model)
    nodes = []
    for node in apart.graph.node:
        nodes.append(node)
        rounded = node.output[0]
        if rounded.endswith(_HALF) and node.op_type not in _EXACT:
            node.output[0] = rounded + ".rounded"
            nodes.append(helper.make_node("Concat", [node.output[0]], [rounded], name=node.output[0], axis=0))
    del apart.graph.node[:]
    apart.graph.node.extend(nodes)
    return apart


def _replace_nodes(graph: onnx.GraphProto, nodes: list[onnx.NodeProto]) -> None:
    """Give ``graph`` these nodes, without casts and weights that nothing uses any more."""
    outputs = {output.name for output in graph.output}
    used = {name for node in nodes for name in node.input} | outputs
    kept = [node for node in nodes if node.op_type != "Cast" or node.output[0] in used]
    used = {name for node in kept for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
