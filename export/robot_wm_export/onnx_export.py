"""A tick graph as ONNX, in two profiles.

``policy.op17.onnx`` comes from torch's TorchScript exporter: TensorRT 8.6 parses opset 17 and no later, and what
the dynamo exporter emits cannot be converted down. ``policy.onnx`` comes from the dynamo exporter at the newest
opset that it knows. Both hold their weights and nothing of the machine that made them.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import onnx
import onnxscript.optimizer
import torch
from onnx import TensorProto
from onnx_ir.passes import common as passes
from onnxscript import ir
from onnxscript.rewriter import rewrite
from onnxscript.rewriter.pattern import RewriteRule
from torch import Tensor, nn

from robot_wm.errors import UserError
from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm_export.tensorrt86 import OPERATORS, require_parsable

OPSET_17 = 17
NEWEST_OPSET = 23  # the newest that torch's dynamo exporter emits (2.13)

_NEWEST_OPERATORS = OPERATORS.keys() | {"RMSNormalization"}


Simplify = Callable[[onnx.ModelProto], onnx.ModelProto]


class ExportedGraph(Protocol):
    """What is exported: a torch module with the bundle's tensor names."""

    name: str  # of the ONNX graph

    @property
    def inputs(self) -> Sequence[TensorSpec]:
        """Every input in order."""

    @property
    def output_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of every output in order."""

    @property
    def output_names(self) -> tuple[str, ...]:
        """Every output in order."""

    def deployed(self) -> nn.Module:
        """The module that is traced."""

    def example(self) -> tuple[Tensor, ...]:
        """Inputs to trace it with."""


def folded(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without constants that can be computed and without what is computed twice.

    The optimizer's rules take one to two minutes for the thousands of nodes of an unrolled planner, and gain little
    that ONNX Runtime does not itself: a halving plan of 16 x 5 takes 7.8 ms with them, 8.0 without (nano, busy cores).
    """
    graph = ir.from_proto(model)
    onnxscript.optimizer.fold_constants(graph)
    onnxscript.optimizer.remove_unused_nodes(graph)
    tidy = ir.passes.Sequential(
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.DeduplicateInitializersPass(),
        passes.CommonSubexpressionEliminationPass(),
        passes.IdentityEliminationPass(),
        passes.RemoveUnusedNodesPass(),
    )
    return ir.to_proto(tidy(graph).model)


def export_op17(graph: ExportedGraph, *, simplify: Simplify = onnxscript.optimizer.optimize) -> onnx.ModelProto:
    """The opset-17 profile, checked; raises UserError for a graph that a bundle cannot hold.

    ``simplify`` gets what torch writes.
    """
    return finished(traced_op17(graph, simplify=simplify), graph, opset=OPSET_17)


def traced_op17(graph: ExportedGraph, *, simplify: Simplify) -> onnx.ModelProto:
    """The opset-17 profile as it is traced and simplified, whatever a bundle or an engine thinks of it."""
    buffer = io.BytesIO()
    with _quiet(), torch.no_grad():
        torch.onnx.export(
            graph.deployed(),
            graph.example(),
            buffer,  # type: ignore[arg-type]  # declared for paths only, but it takes a buffer
            dynamo=False,
            opset_version=OPSET_17,
            do_constant_folding=True,
            input_names=[entry.name for entry in graph.inputs],
            output_names=list(graph.output_names),
        )
    model = simplify(onnx.load_from_string(buffer.getvalue()))
    return rewrite(model, pattern_rewrite_rules=[_NORM_RULE])


def export_newest(graph: ExportedGraph) -> onnx.ModelProto:
    """The dynamo profile, checked; raises UserError for a graph that a bundle cannot hold."""
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            graph.deployed(),
            graph.example(),
            dynamo=True,
            opset_version=NEWEST_OPSET,
            input_names=[entry.name for entry in graph.inputs],
            output_names=list(graph.output_names),
            verbose=False,
        )
    assert program is not None  # only None when a file is named
    return finished(program.model_proto, graph, opset=NEWEST_OPSET)


def finished(model: onnx.ModelProto, graph: ExportedGraph, *, opset: int) -> onnx.ModelProto:
    """Strip ``model`` of what tells where it was made, then refuse (UserError) what a bundle cannot hold."""
    _strip(model, graph.name)
    onnx.checker.check_model(model, full_check=True)
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    if opsets != {"": opset}:
        raise UserError(f"exported graph: operator sets {opsets}, only the standard one of version {opset} is allowed")
    if model.functions:
        raise UserError(f"exported graph: function {model.functions[0].name} was not inlined")
    if opset == OPSET_17:
        require_parsable(model)
    elif odd := [node for node in model.graph.node if node.op_type not in _NEWEST_OPERATORS or node.domain]:
        raise UserError(f"exported graph: operator {odd[0].op_type} of node {odd[0].name} is not allowed")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    for value in (*inferred.input, *inferred.value_info, *inferred.output):
        if value.type.tensor_type.elem_type == TensorProto.DOUBLE:
            raise UserError(f"exported graph: tensor {value.name} is float64")
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.DOUBLE or tensor.external_data:
            raise UserError(f"exported graph: weight {tensor.name} is float64 or outside the file")
    expected = {entry.name: list(entry.shape) for entry in graph.inputs}
    expected |= {name: list(shape) for name, shape in graph.output_shapes.items()}
    found = {
        value.name: [length.dim_value for length in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    for name in expected | found:
        if expected.get(name) != found.get(name):
            raise UserError(f"exported graph: {name} has shape {found.get(name)}, expected {expected.get(name)}")
    return model


def _strip(model: onnx.ModelProto, name: str) -> None:
    # Both exporters leave stack traces, hence file names of this machine, beside every node.
    model.doc_string = ""
    model.graph.doc_string = ""
    model.graph.name = name
    model.producer_name, model.producer_version = "robot_wm", ""
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.graph.value_info[:]
    graph = model.graph
    for part in (*graph.node, *graph.input, *graph.output, *graph.initializer):
        part.doc_string = ""
        if hasattr(part, "metadata_props"):
            del part.metadata_props[:]


def _norm_pattern(op, x, one, epsilon):
    mean = op.ReduceMean(op.Mul(x, x), _outputs=["mean"])
    return op.Mul(x, op.Div(one, op.Sqrt(op.Add(mean, epsilon))))


def _norm_replacement(op, x, one, epsilon, mean, **_):
    # The form that ONNX Runtime fuses into one kernel; x * x and 1 / sqrt, which torch writes, it does not know.
    axes = list(mean.producer().attributes["axes"].as_ints())
    two = op.initializer(ir.tensor(2.0, dtype=ir.DataType.FLOAT, name=f"{mean.name}.two"))
    mean = op.ReduceMean(op.Pow(x, two), axes=axes, keepdims=1)
    return op.Div(x, op.Sqrt(op.Add(mean, epsilon)))


_NORM_RULE = RewriteRule(_norm_pattern, _norm_replacement)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' remarks on how they trace: none of them is for the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
