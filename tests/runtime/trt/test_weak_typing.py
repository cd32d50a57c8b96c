"""Layers of a weakly typed network are held at the types of the graph, on networks that are written down here."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from emulated_network import DataType, Network, Record, Tensor, names_of_the_module

from robot_wm.runtime.trt.weak_typing import hold_types

MODULE = SimpleNamespace(**names_of_the_module())
FLOAT, HALF, INT8, INT32, BOOL, _ = DataType
WEIGHTS = {FLOAT: np.float32, HALF: np.float16, INT32: np.int32}


def Layer(kind: str, inputs: list[str], outputs: list[str], *dtypes: DataType, set_: bool = False) -> Record:  # noqa: N802
    """One layer whose outputs are of ``dtypes``, float unless they are given; 8.6 calls half ones float, too."""
    dtypes = dtypes or (FLOAT,) * len(outputs)
    said = [FLOAT if dtype is HALF else dtype for dtype in dtypes]
    record = Record(
        kind,
        [Tensor(name) if name else None for name in inputs],
        [Tensor(name, dtype=dtype) for name, dtype in zip(outputs, said, strict=True)],
    )
    if kind == "CONSTANT":
        record.facts["weights"] = np.zeros(3, WEIGHTS[dtypes[0]])
    if kind == "CAST":
        record.facts["to_type"] = dtypes[0]
    if set_:
        record.types |= dict(enumerate(dtypes))
    return record


def held(*layers: Record, inputs=(("x", FLOAT),)) -> list[tuple[DataType | None, dict[int, DataType]]]:
    network = Network([Tensor(name, dtype=dtype) for name, dtype in inputs])
    network.records.extend(layers)
    hold_types(MODULE, network)
    return [(layer.precision, layer.types) for layer in layers]


FREE = (None, {})


def test_half_begins_at_a_cast_and_ends_at_one():
    assert held(
        Layer("CAST", ["x"], ["x16"], HALF),
        Layer("CONSTANT", [], ["w"], HALF),
        Layer("MATRIX_MULTIPLY", ["x16", "w"], ["y16"]),
        Layer("CONSTANT", [], ["b"], HALF),
        Layer("ELEMENTWISE", ["y16", "b"], ["z16"]),
        Layer("CAST", ["z16"], ["z"], FLOAT),
        Layer("REDUCE", ["z"], ["mean"]),
        Layer("SOFTMAX", ["z"], ["p"]),
    ) == [FREE, FREE, (HALF, {0: HALF}), FREE, (HALF, {0: HALF}), FREE, (FLOAT, {0: FLOAT}), (FLOAT, {0: FLOAT})]


@pytest.mark.parametrize("begins", [Layer("CONSTANT", [], ["w"], HALF), Layer("CAST", ["x"], ["w"], HALF)], ids=str)
def test_half_is_believed_to_the_layer_where_it_begins_whatever_its_tensor_says(begins):
    network = Network()
    network.records.append(begins)
    layer = network.get_layer(0)
    assert not hasattr(layer, "weights")  # before it is made what it is
    assert not hasattr(layer, "to_type")
    assert layer.get_output(0).dtype is layer.precision is layer.get_output_type(0) is FLOAT
    assert not layer.output_type_is_set(0)
    assert held(begins, Layer("UNARY", ["w"], ["y"])) == [FREE, (HALF, {0: HALF})]


def test_layers_that_were_added_last_are_followed_to_where_they_are_used():
    assert held(
        Layer("UNARY", ["y"], ["z"]),
        Layer("UNARY", ["x16"], ["y"]),
        Layer("CAST", ["x"], ["x16"], HALF),
    ) == [(HALF, {0: HALF}), (HALF, {0: HALF}), FREE]


def test_a_product_that_the_graph_keeps_in_float32_is_held_too():
    assert held(Layer("CONSTANT", [], ["w"], FLOAT), Layer("MATRIX_MULTIPLY", ["x", "w"], ["y"]))[1] == (
        FLOAT,
        {0: FLOAT},
    )


def test_a_state_that_is_only_moved_about_is_not_rounded():
    assert held(Layer("SHUFFLE", ["x"], ["a"]), Layer("CONCATENATION", ["a", "x"], ["b"])) == [
        (FLOAT, {0: FLOAT}),
        (FLOAT, {0: FLOAT}),
    ]


def test_what_int8_is_for_stays_free_to_be_fused_and_what_comes_after_is_held():
    layers = held(
        Layer("QUANTIZE", ["x", "s"], ["xq"], INT8),
        Layer("DEQUANTIZE", ["xq", "s"], ["xd"], FLOAT),
        Layer("CONSTANT", [], ["w"], FLOAT),
        Layer("QUANTIZE", ["w", "ws"], ["wq"], INT8),
        Layer("DEQUANTIZE", ["wq", "ws"], ["wd"], FLOAT),
        Layer("SHUFFLE", ["wd"], ["wt"]),  # a transposed weight
        Layer("MATRIX_MULTIPLY", ["xd", "wt"], ["y"]),
        Layer("ELEMENTWISE", ["y", "b"], ["z"]),
    )
    assert layers[:7] == [FREE] * 7
    assert layers[7] == (FLOAT, {0: FLOAT})
    only_weights = (Layer("DEQUANTIZE", ["wq"], ["w"], FLOAT), Layer("SHUFFLE", ["w"], ["wt"]))
    assert held(*only_weights, Layer("MATRIX_MULTIPLY", ["x", "wt"], ["y"])) == [FREE] * 3
    # Not a product: rounding it to 8 bits once more would be TensorRT's own idea.
    assert held(Layer("DEQUANTIZE", ["xq"], ["xd"], FLOAT), Layer("REDUCE", ["xd"], ["m"]))[1] == (FLOAT, {0: FLOAT})


def test_whole_numbers_and_truth_values_have_no_precision():
    assert held(
        Layer("SHAPE", ["x"], ["n"], INT32),
        Layer("ELEMENTWISE", ["x", "y"], ["less"], BOOL),
        Layer("TOPK", ["x"], ["best", "which"], FLOAT, INT32),
        Layer("SELECT", ["less", "x", "y"], ["chosen"]),
        Layer("GATHER", ["n", "which"], ["m"], INT32),
    ) == [FREE, FREE, (FLOAT, {0: FLOAT}), (FLOAT, {0: FLOAT}), FREE]


def test_a_shape_stays_whole_even_where_tensorrt_calls_it_float_before_it_is_built():
    assert held(
        Layer("SHAPE", ["x"], ["n"], INT32),
        Layer("CONSTANT", [], ["i"], INT32),
        Layer("GATHER", ["n", "i"], ["batch"]),
        Layer("CONCATENATION", ["batch", "i"], ["shape"]),
        Layer("SHUFFLE", ["x", "shape"], ["y"]),
    ) == [FREE, FREE, FREE, FREE, (FLOAT, {0: FLOAT})]


def test_an_identity_that_casts_as_the_parser_of_8_5_wrote_it():
    assert held(Layer("IDENTITY", ["x"], ["x16"], HALF, set_=True), Layer("UNARY", ["x16"], ["y"]))[1] == (
        HALF,
        {0: HALF},
    )


def test_missing_inputs_and_half_graph_inputs():
    assert held(Layer("RESIZE", ["x", ""], ["y"]), inputs=(("x", HALF),)) == [(HALF, {0: HALF})]
