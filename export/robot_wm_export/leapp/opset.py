"""A stranger's ONNX file as a graph of opset 17: tried in a process of its own first, then checked and brought there.

Opset 17 is what every engine of a robot reads (TensorRT 8.6 no later one).
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
import onnx.version_converter

from robot_wm.errors import UserError
from robot_wm.runtime.graph_trial import require_affordable
from robot_wm_export.leapp.description import LeappTensor
from robot_wm_export.leapp.graph_parts import shapes_of
from robot_wm_export.leapp.lowering import lowered
from robot_wm_export.leapp.package import LeappNode
from robot_wm_export.onnx_export import NEWEST_OPSET, OPSET_17

_REMEDY = "export it with leapp's export_with='onnx-torchscript' and backend_params={'opset_version': 17}"


def op17_graph(node: LeappNode, *, ticks: int, origin: str) -> onnx.GraphProto:
    """The node's graph; UserError naming ``origin`` for one that a robot cannot be given.

    ``ticks`` is how many the bundle's recording will have. The tensors are those of the description, in float32 or
    uint8, all of fixed shapes.
    """
    for entry in (*node.inputs, *node.outputs):
        if entry.dtype not in ("float32", "uint8"):
            raise UserError(f"{origin}: tensor {entry.name} is {entry.dtype}; float32 or uint8 is needed")
    require_affordable(node.graph, ticks=ticks, origin=origin)
    model = onnx.load_from_string(node.graph)
    weights = {tensor.name for tensor in model.graph.initializer}
    for kind, told, found in (
        ("input", node.inputs, [value for value in model.graph.input if value.name not in weights]),
        ("output", node.outputs, model.graph.output),
    ):
        _require_same_tensors(kind, told, found, origin=origin)
    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), None)
    if version is None or version > NEWEST_OPSET:
        raise UserError(f"{origin}: opset {version}; up to {NEWEST_OPSET} is read here")
    if version != OPSET_17:
        try:
            model = lowered(model) if version > OPSET_17 else onnx.version_converter.convert_version(model, OPSET_17)
            onnx.checker.check_model(model, full_check=True)
        except Exception as error:  # the converter raises RuntimeError, the checker its own
            reason = (str(error).strip().splitlines() or ["?"])[0][:200]
            raise UserError(
                f"{origin}: opset {version} cannot be brought to {OPSET_17} ({reason}); {_REMEDY}"
            ) from None
    return model.graph


def _require_same_tensors(
    kind: str, told: Sequence[LeappTensor], found: Sequence[onnx.ValueInfoProto], *, origin: str
) -> None:
    there = shapes_of(found)
    wanted = {entry.name: (entry.dtype, entry.shape) for entry in told}
    for name in wanted | there:
        if wanted.get(name) != there.get(name):
            raise UserError(
                f"{origin}: {kind} {name[:80]} is {there.get(name)} in the graph,"
                f" {wanted.get(name)} in the description (None: there is none)"
            )
