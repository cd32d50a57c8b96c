"""A tick graph with 8-bit dense products: ``policy.int8.onnx``.

Explicit quantisation as TensorRT 8.6 takes it: a Q/DQ pair on each side of a product, zero points 0, activations one
scale a tensor, weights one scale an output channel. Weights stay float32 in the file: that version quantises them
itself and refuses int8 constants, so it is the engine that gets small, not the graph. Everything else stays float32.

Some products stay float32 (measured on a trained agent, ``tests/benchmarks/RESULTS.md``):

* those that see an observation or an action: few weights, but in 8 bits they doubled the number of draws that differ;
* those that give the posterior's logits and the policy: few weights, and a tenth fewer draws differ.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from robot_wm.runtime.graph_tensors import Draw
from robot_wm_export.products import Product, nearest, products, sees, with_own_sums

_OPERATORS = ["Conv", "Gemm", "MatMul"]
_OWN = ".own_input"  # appended to a tensor's name


def to_int8(model: onnx.ModelProto, inputs: Mapping[str, NDArray[Any]], draws: Sequence[Draw]) -> onnx.ModelProto:
    """``model`` (float32, not changed) with its inner dense products in 8 bits.

    ``inputs`` are ticks to calibrate by, state and noise included: graph input -> [N, *tensor shape]. An activation's
    scale covers the largest magnitude that occurs in them. ``draws`` are the graph's: what decides stays float32.
    """
    prepared = with_own_sums(model)
    quantised = quantised_products(prepared, draws)
    if not quantised:
        return prepared
    # A batched product has one scale for all its weights: TensorRT takes one a channel for plain matrices only.
    batched = {entry.node.input[1]: [{"symmetric": True}] for entry in quantised if _is_batched(entry)}
    _name_nodes(prepared)
    _split_inputs(prepared, quantised)
    prepared.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")  # all is folded already
    with tempfile.TemporaryDirectory(prefix="robot_wm_int8_") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            prepared,
            path,
            _Ticks(inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=_OPERATORS,
            nodes_to_quantize=[entry.node.name for entry in quantised],
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,  # entropy and percentiles were measured no better
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "AddQDQPairToWeight": True,
                "QuantizeBias": False,
                "QDQDisableWeightAdjustForInt32Bias": True,
                "OpTypesToExcludeOutputQuantization": _OPERATORS,
                "TensorQuantOverrides": batched,
            },
        )
        made = onnx.load(path)
    _join_inputs(made)
    return made


def quantised_products(model: onnx.ModelProto, draws: Sequence[Draw]) -> list[Product]:
    """The products of ``model`` that get 8 bits."""
    raw = [value.name for value in model.graph.input if value.name.startswith("obs/") or value.name == "state/action"]
    deciding = nearest(model, ("action", *(draw.logits for draw in draws)))
    return [
        product
        for product in products(model)
        if product.node.output[0] not in deciding and not sees(model, product, raw)
    ]


def _is_batched(product: Product) -> bool:
    return product.node.op_type == "MatMul" and product.weight.ndim > 2


def _name_nodes(model: onnx.ModelProto) -> None:
    # Nodes are chosen by name, so each needs one of its own.
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"


def _split_inputs(model: onnx.ModelProto, quantised: list[Product]) -> None:
    """Give each of these products an input of its own, behind an Identity.

    ONNX Runtime quantises a tensor for all that read it. Others read some of these, too: the recurrent state goes on
    into the next one, and is an output of the graph.
    """
    own = {entry.node.output[0] for entry in quantised}
    nodes = []
    for node in model.graph.node:
        if node.output[0] in own:
            name = node.output[0] + _OWN
            nodes.append(helper.make_node("Identity", [node.input[0]], [name], name=name))
            node.input[0] = name
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _join_inputs(model: onnx.ModelProto) -> None:
    """Take the Identity nodes out again."""
    sources = {node.output[0]: node.input[0] for node in model.graph.node if node.name.endswith(_OWN)}
    kept = [node for node in model.graph.node if node.output[0] not in sources]
    for node in kept:
        node.input[:] = [sources.get(name, name) for name in node.input]
    del model.graph.node[:]
    model.graph.node.extend(kept)


class _Ticks(CalibrationDataReader):
    """Feeds recorded ticks one by one."""

    def __init__(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        self._ticks = iter(range(len(next(iter(inputs.values())))))
        self._inputs = inputs

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next tick's graph inputs, None at the end."""
        tick = next(self._ticks, None)
        return None if tick is None else {name: values[tick] for name, values in self._inputs.items()}
