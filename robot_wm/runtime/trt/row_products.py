"""Products of one row as sums: what TensorRT makes faster kernels of.

A robot's tick multiplies single rows by matrices of weights. TensorRT 8.6 takes them for matrix products: a kernel
that sets the result to zero, one that splits the sum, one that adds the bias, and each of them takes longer to start
than to compute. Written as what they are, a multiplication and a sum, they are fused with what is before and behind
them. It also keeps TensorRT 8.6 from taking a row of products for attention, at which its fusion gives up (NVIDIA/
TensorRT#3930). A large product with a costly input is better left a product: a sum computes its input anew for every
row of weights. So which way is faster is measured where the engine is built, see ``choice``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from robot_wm.runtime.trt.layers import constant_weights, downcast


def sum_row_products(module: Any, network: Any, *, matrices: int) -> list[Any]:
    """Replace the products of one row with constant weights, but for the ``matrices`` largest, by sums.

    Returns what must be kept until the network is built: the weights, laid out anew. The replaced layers stay in the
    network, where nothing uses them and nothing is built of them; what is in their place comes last, so the layers are
    no longer in topological order. Half products are summed in float32.
    """
    found = []
    constants = {}
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        if layer.type.name == "CONSTANT":
            constants[layer.get_output(0).name] = index
        elif layer.type.name == "MATRIX_MULTIPLY":
            product = downcast(module, layer, "IMatrixMultiplyLayer")
            row, other = product.get_input(0), product.get_input(1)
            plain = product.op0 == module.MatrixOperation.NONE and product.op1 != module.MatrixOperation.VECTOR
            is_row = len(row.shape) >= 2 and len(row.shape) == len(other.shape) and row.shape[-2] == 1
            if plain and is_row and other.name in constants:
                found.append((math.prod(other.shape), index, constants[other.name]))
    kept = []
    for _, index, constant in sorted(found, reverse=True)[matrices:]:
        product = downcast(module, network.get_layer(index), "IMatrixMultiplyLayer")
        shape = tuple(product.get_input(1).shape)
        weights = constant_weights(module, network.get_layer(constant)).reshape(shape)
        if product.op1 == module.MatrixOperation.NONE:
            weights = weights.swapaxes(-1, -2)
        kept.append(np.ascontiguousarray(weights))  # [..., N, K]
        _replace(network, product.get_output(0), _summed(module, network, product, kept[-1]))
    return kept


def _summed(module: Any, network: Any, product: Any, weights: Any) -> Any:
    """row [..., 1, K] times weights [..., N, K] -> [..., 1, N], the type of the weights."""

    def named(layer: Any, what: str) -> Any:
        # TensorRT refuses a name that is there twice. No exporter writes brackets into a node's name.
        layer.name = f"{product.name} [row {what}]"
        return layer.get_output(0)

    is_half = weights.dtype == np.float16
    matrix = named(network.add_constant(weights.shape, module.Weights(weights)), "weights")
    out = named(network.add_elementwise(product.get_input(0), matrix, module.ElementWiseOperation.PROD), "terms")
    if is_half:
        out = named(network.add_cast(out, module.DataType.FLOAT), "terms in float32")
    total = network.add_reduce(out, module.ReduceOperation.SUM, axes=1 << (weights.ndim - 1), keep_dims=True)
    moved = network.add_shuffle(named(total, "sum"))  # [..., N, 1] -> [..., 1, N]
    moved.reshape_dims = tuple(product.get_output(0).shape)  # more of them than of the weights, where one is for all
    out = named(moved, "result")
    return named(network.add_cast(out, module.DataType.HALF), "result in half") if is_half else out


def _replace(network: Any, old: Any, new: Any) -> None:
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        for place in range(layer.num_inputs):
            given = layer.get_input(place)
            if given is not None and given.name == old.name:
                layer.set_input(place, new)
