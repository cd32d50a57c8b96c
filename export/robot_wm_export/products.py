"""The dense products of a tick graph: matrix products and convolutions with weights that are known at export.

They hold nearly all of a graph's weights and arithmetic, so it is they that a lower precision is about. What else is
written as a product stays as it is: the two-hot sum has the bins for its weights, of up to 4.85e8, which half
precision could not even hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

_PRODUCTS = ("Gemm", "MatMul", "Conv")
# The largest finite half: a matrix with more in it is a table of constants, not learned weights.
_LARGEST_HALF = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Product:
    """One dense product: ``input[0]`` times the weight ``input[1]``."""

    node: onnx.NodeProto
    weight: NDArray[np.float32]  # as stored


def products(model: onnx.ModelProto) -> list[Product]:
    """Every dense product of the graph, in its order."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        if node.op_type not in _PRODUCTS or node.input[1] not in weights:
            continue
        weight = numpy_helper.to_array(weights[node.input[1]])
        if weight.dtype == np.float32 and weight.ndim >= 2 and np.abs(weight).max() <= _LARGEST_HALF:
            found.append(Product(node, weight))
    return found


def nearest(model: onnx.ModelProto, outputs: Iterable[str]) -> set[str]:
    """Outputs of the dense products from which one of ``outputs`` (tensors) is reached through no other product."""
    found = {product.node.output[0] for product in products(model)}
    return {name for name in _upstream(model, outputs, stop=found) if name in found}


def sees(model: onnx.ModelProto, product: Product, inputs: Iterable[str]) -> bool:
    """Whether one of ``inputs`` (the graph's) reaches ``product`` through no other dense product."""
    others = {entry.node.output[0] for entry in products(model)}
    return not set(inputs).isdisjoint(_upstream(model, [product.node.input[0]], stop=others))


def with_own_sums(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which a Gemm that adds a computed tensor leaves that to an Add: a sum that has no lower precision."""
    split = onnx.ModelProto()
    split.CopyFrom(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    nodes = []
    for node in split.graph.node:
        nodes.append(node)
        if node.op_type == "Gemm" and len(node.input) == 3 and node.input[2] not in weights:
            if any(entry.name in ("alpha", "beta") and entry.f != 1.0 for entry in node.attribute):
                continue
            total, addend = node.output[0], node.input.pop()
            node.output[0] = total + ".product"
            nodes.append(helper.make_node("Add", [node.output[0], addend], [total], name=f"{node.name}.sum"))
    del split.graph.node[:]
    split.graph.node.extend(nodes)
    return split


def _upstream(model: onnx.ModelProto, names: Iterable[str], *, stop: set[str]) -> Iterator[str]:
    """``names`` and all tensors that they are computed from, down to those in ``stop`` and the graph's inputs."""
    producers = {name: node for node in model.graph.node for name in node.output}
    pending, seen = list(names), set()
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name
        if name not in stop and name in producers:
            pending += producers[name].input
