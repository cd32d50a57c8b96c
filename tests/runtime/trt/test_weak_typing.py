"""Layers of a weakly typed network are held at the types of the graph, on networks that are written down here."""

from __future__ import annotations

from enum import Enum
from types import SimpleNamespace

from robot_wm.runtime.trt.weak_typing import hold_types

DataType = Enum("DataType", ["FLOAT", "HALF", "INT8", "INT32", "BOOL"])
MODULE = SimpleNamespace(DataType=DataType)
FLOAT, HALF, INT8, INT32, BOOL = DataType


class Layer:
    """One layer; ``dtypes`` are those that TensorRT says its outputs have, float unless they are fixed."""

    def __init__(self, kind: str, inputs: list[str], outputs: list[str], *dtypes: DataType, set_: bool = False) -> None:
        self.type, self.set_ = SimpleNamespace(name=kind), set_
        self._inputs = [SimpleNamespace(name=name) if name else None for name in inputs]
        dtypes = dtypes or (FLOAT,) * len(outputs)
        self._outputs = [SimpleNamespace(name=name, dtype=dtype) for name, dtype in zip(outputs, dtypes, strict=True)]
        self.num_inputs, self.num_outputs = len(inputs), len(outputs)
        self.precision: DataType | None = None
        self.types: dict[int, DataType] = {}

    def get_input(self, index):
        return self._inputs[index]

    def get_output(self, index):
        return self._outputs[index]

    def output_type_is_set(self, index):
        return self.set_

    def get_output_type(self, index):
        return self._outputs[index].dtype

    def set_output_type(self, index, dtype):
        self.types[index] = dtype


def held(*layers: Layer, inputs=(("x", FLOAT),)) -> list[tuple[DataType | None, dict[int, DataType]]]:
    given = [SimpleNamespace(name=name, dtype=dtype) for name, dtype in inputs]
    network = SimpleNamespace(
        num_inputs=len(given), get_input=given.__getitem__, num_layers=len(layers), get_layer=layers.__getitem__
    )
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
