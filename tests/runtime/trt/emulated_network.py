"""A network of TensorRT's as its parser leaves it and as it can be changed, with NumPy to compute it.

It is as treacherous as that of 8.6: it hands out every layer as an ``ILayer``, calls all floats FLOAT until it is
built, and only points at weights that are added to it.
"""

from __future__ import annotations

import weakref
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np


class DataType(Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5


MatrixOperation = IntEnum("MatrixOperation", ["NONE", "TRANSPOSE", "VECTOR"])
ElementWiseOperation = IntEnum("ElementWiseOperation", ["SUM", "PROD"])
ReduceOperation = IntEnum("ReduceOperation", ["SUM", "MAX"])
NUMPY = {DataType.FLOAT: np.float32, DataType.HALF: np.float16, DataType.INT32: np.int32}


@dataclass
class Tensor:
    name: str
    shape: tuple[int, ...] = ()
    dtype: DataType = DataType.FLOAT  # what TensorRT says


@dataclass
class Record:
    """A layer as it is in the network; ``facts`` is what only its own class knows."""

    kind: str
    inputs: list[Tensor | None]
    outputs: list[Tensor]
    facts: dict[str, Any] = field(default_factory=dict)
    name: str = ""
    precision: DataType | None = None
    types: dict[int, DataType] = field(default_factory=dict)


class Weights:
    """Points at an array without keeping it."""

    def __init__(self, values: np.ndarray) -> None:
        assert values.flags.c_contiguous
        self._values = weakref.ref(values)

    def numpy(self) -> np.ndarray:
        values = self._values()
        assert values is not None, "weights were freed before the build"
        return values


def _fact(name: str) -> property:
    return property(lambda self: self._record.facts[name])


class ILayer:
    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def type(self):
        return SimpleNamespace(name=self._record.kind)

    @property
    def name(self):
        return self._record.name

    @name.setter
    def name(self, name):
        self._record.name = name

    @property
    def num_inputs(self):
        return len(self._record.inputs)

    @property
    def num_outputs(self):
        return len(self._record.outputs)

    def get_input(self, index):
        return self._record.inputs[index]

    def get_output(self, index):
        return self._record.outputs[index]

    def set_input(self, index, tensor):
        self._record.inputs[index] = tensor


class WeakLayer(ILayer):
    """What a layer can be told before TensorRT 11."""

    @property
    def precision(self):
        return self._record.precision or DataType.FLOAT

    @precision.setter
    def precision(self, dtype):
        self._record.precision = dtype

    def output_type_is_set(self, index):
        return index in self._record.types

    def get_output_type(self, index):
        return self._record.types.get(index, DataType.FLOAT)

    def set_output_type(self, index, dtype):
        self._record.types[index] = dtype


class IConstantLayer(WeakLayer):
    @property
    def weights(self):
        held = self._record.facts["weights"]
        return held.numpy() if isinstance(held, Weights) else held


class ICastLayer(WeakLayer):
    to_type = _fact("to_type")


class IMatrixMultiplyLayer(WeakLayer):
    op0, op1 = _fact("op0"), _fact("op1")


class IShuffleLayer(WeakLayer):
    @property
    def reshape_dims(self):
        return self._record.outputs[0].shape

    @reshape_dims.setter
    def reshape_dims(self, shape):
        assert np.prod(shape) == np.prod(self._record.inputs[0].shape)
        self._record.outputs[0].shape = shape


class Network:
    """``add`` is for tests; the other functions are TensorRT's."""

    def __init__(self, inputs: list[Tensor] | None = None) -> None:
        self.given, self.records = inputs or [], []

    num_inputs = property(lambda self: len(self.given))
    num_layers = property(lambda self: len(self.records))

    def get_input(self, index):
        return self.given[index]

    def get_layer(self, index):
        return WeakLayer(self.records[index])

    def add(self, kind, inputs, *shape, made: str = "", cls=WeakLayer, **facts):
        number = len(self.records)
        made = made or f"({number}) made"
        assert made not in {tensor.name for record in self.records for tensor in record.outputs}
        self.records.append(Record(kind, list(inputs), [Tensor(made, shape)], facts, made.removesuffix(":0")))
        return cls(self.records[-1])

    def add_constant(self, shape, weights):
        assert tuple(shape) == weights.numpy().shape
        return self.add("CONSTANT", [], *shape, weights=weights)

    def add_cast(self, input, to_type):
        return self.add("CAST", [input], *input.shape, to_type=to_type)

    def add_elementwise(self, input1, input2, op):
        return self.add("ELEMENTWISE", [input1, input2], *np.broadcast_shapes(input1.shape, input2.shape), op=op)

    def add_reduce(self, input, op, axes, keep_dims):
        assert keep_dims
        shape = (1 if axes >> axis & 1 else length for axis, length in enumerate(input.shape))
        return self.add("REDUCE", [input], *shape, op=op, axes=axes)

    def add_shuffle(self, input):
        return self.add("SHUFFLE", [input], *input.shape, cls=IShuffleLayer)

    # -- for tests ----------------------------------------------------------------------------------------------------

    def complaint(self) -> str:
        """Why TensorRT does not build it."""
        for record in self.records:
            if record.kind == "CONSTANT":
                IConstantLayer(record).weights  # noqa: B018  # reads them
        name, count = Counter(record.name for record in self.records).most_common(1)[0] if self.records else ("", 1)
        return f"Repeated layer name: {name} (layers must have distinct names)" if count > 1 else ""

    def compute(self, name: str, **given: np.ndarray) -> np.ndarray:
        """The values of tensor ``name``."""
        if name in given:
            return given[name]
        (record,) = (record for record in self.records if record.outputs[0].name == name)
        values = [self.compute(tensor.name, **given) for tensor in record.inputs]
        made = getattr(self, f"_{record.kind.lower()}")(record, *values)
        assert made.dtype in {value.dtype for value in values} or record.kind in ("CONSTANT", "CAST")
        return made

    def _constant(self, record):
        return IConstantLayer(record).weights.reshape(record.outputs[0].shape)

    def _cast(self, record, values):
        return values.astype(NUMPY[record.facts["to_type"]])

    def _matrix_multiply(self, record, left, right):
        turned = [
            values.swapaxes(-1, -2) if record.facts[op] == MatrixOperation.TRANSPOSE else values
            for op, values in (("op0", left), ("op1", right))
        ]
        return np.matmul(*(values.astype(np.float32) for values in turned)).astype(left.dtype)

    def _elementwise(self, record, left, right):
        assert left.dtype == right.dtype
        return left * right if record.facts["op"] == ElementWiseOperation.PROD else left + right

    def _reduce(self, record, values):
        assert record.facts["op"] == ReduceOperation.SUM
        (axis,) = (axis for axis in range(values.ndim) if record.facts["axes"] >> axis & 1)
        return np.add.accumulate(values, axis=axis).take([-1], axis=axis)  # rounds after each addition

    def _shuffle(self, record, values):
        return values.reshape(record.outputs[0].shape)


def names_of_the_module() -> dict[str, Any]:
    """What the module ``tensorrt`` has for networks."""
    own = (Weights, ILayer, IConstantLayer, ICastLayer, IMatrixMultiplyLayer, IShuffleLayer, DataType)
    operations = (MatrixOperation, ElementWiseOperation, ReduceOperation)
    return {thing.__name__: thing for thing in (*own, *operations)}
