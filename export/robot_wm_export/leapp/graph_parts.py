"""Pieces of ONNX graphs of opset 17, put together: constants, nodes, and others' graphs under a prefix.

Every operator that is written here is one that TensorRT 8.6 parses (``tensorrt86``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from robot_wm.runtime.graph_tensors import TensorSpec

_ELEMENT = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


class GraphParts:
    """Nodes and constants in the order of their making, all names under one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._count = 0

    def constant(self, value: ArrayLike, dtype: Any = np.float32) -> str:
        """A constant tensor; returns its name."""
        name = self._fresh("constant")
        self.constants.append(numpy_helper.from_array(np.array(value, dtype=dtype), name))
        return name

    def node(self, operator: str, *inputs: str, out: str | None = None, **attributes: Any) -> str:
        """A node with one output, by default a fresh one; returns that output's name."""
        name = self._fresh(operator.lower())
        output = out or name
        self.nodes.append(helper.make_node(operator, list(inputs), [output], name=name, **attributes))
        return output

    def reshape(self, tensor: str, shape: Sequence[int], *, out: str | None = None) -> str:
        """The tensor in another shape of as many elements."""
        return self.node("Reshape", tensor, self.constant(shape, np.int64), out=out)

    def gather(self, row: str, indices: Sequence[int]) -> str:
        """Elements of a row [1, n], in this order: [1, len(indices)]."""
        return self.node("Gather", row, self.constant(indices, np.int64), axis=1)

    def concat(self, rows: Sequence[str]) -> str:
        """Rows [1, n_i] end to end: [1, sum of n_i]."""
        return rows[0] if len(rows) == 1 else self.node("Concat", *rows, axis=1)

    def inline(self, graph: onnx.GraphProto, given: Mapping[str, str], name: str) -> dict[str, str]:
        """Take another graph in, its tensors under ``name``; ``given`` feeds its inputs. Returns its outputs' names.

        A graph without control flow: no name is hidden in a subgraph.
        """
        within = f"{self.prefix}{name}/"

        def renamed(tensor: str) -> str:
            return given.get(tensor, within + tensor) if tensor else ""

        for tensor in graph.initializer:
            copy = onnx.TensorProto()
            copy.CopyFrom(tensor)
            copy.name = renamed(tensor.name)
            self.constants.append(copy)
        for node in graph.node:
            added = onnx.NodeProto()
            added.CopyFrom(node)
            added.name = self._fresh(f"{name}/{node.name or node.op_type}")  # a stranger's may be empty, or there twice
            added.doc_string = ""  # exporters leave file names of their machine here
            del added.input[:], added.output[:], added.metadata_props[:]
            added.input.extend(map(renamed, node.input))
            added.output.extend(map(renamed, node.output))
            self.nodes.append(added)
        return {entry.name: renamed(entry.name) for entry in graph.output}

    def _fresh(self, what: str) -> str:
        self._count += 1
        return f"{self.prefix}{what}_{self._count}"


def value_info(tensor: TensorSpec) -> onnx.ValueInfoProto:
    """A graph's input or output."""
    return helper.make_tensor_value_info(tensor.name, _ELEMENT[tensor.dtype], list(tensor.shape))


def shapes_of(values: Sequence[onnx.ValueInfoProto]) -> dict[str, tuple[str, tuple[int | str, ...]]]:
    """NumPy's name of the type, and the shape, of each tensor by name; an axis that is not fixed by its name."""
    found: dict[str, tuple[str, tuple[int | str, ...]]] = {}
    for value in values:
        kind = value.type.tensor_type
        dims = tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in kind.shape.dim)
        found[value.name] = (_dtype_name(kind.elem_type), dims)
    return found


def _dtype_name(element: int) -> str:
    try:
        return str(helper.tensor_dtype_to_np_dtype(element))
    except KeyError:
        return f"type {element}"
