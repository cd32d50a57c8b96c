"""Graphs of low precision: made from the float32 one, measured against it, and what an engine of them must keep to.

An engine adds up and rounds in another order than ONNX Runtime does here, so it is given ``MARGIN`` times what was
measured, and at least the error of ``HALF_ULPS`` roundings. The manifest's upper bounds end that: beyond them nothing
is exported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.manifest import POLICY_OF
from robot_wm.runtime.parity import best_gaps, compare, objection, perturbed
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import (
    LOW_PRECISIONS,
    MAX_DIFFERING_DRAWS,
    MAX_LOGIT_GAP,
    MAX_TOLERANCE,
    LowPrecision,
    ParityThresholds,
    PrecisionParity,
)
from robot_wm_export.calibration import Calibration, calibration_inputs
from robot_wm_export.fp16 import to_fp16, with_roundings
from robot_wm_export.int8 import to_int8
from robot_wm_export.onnx_export import OPSET_17, finished
from robot_wm_export.tick_graph import TickGraph
from robot_wm_export.torch_parity import HALF_ULPS, parity_result, run_onnx, with_resolution

MARGIN = 2.0
_HALF_ULP: Mapping[LowPrecision, float] = {"fp16": 2.0**-11, "int8": 2.0**-8}  # relative


def parse_precisions(text: str) -> tuple[LowPrecision, ...]:
    """``"fp16,int8"`` to its parts; raises UserError for anything else."""
    chosen = [part.strip() for part in text.split(",")]
    if odd := [part for part in chosen if part not in LOW_PRECISIONS]:
        raise UserError(f"--precision: {odd[0]!r}; besides fp32, which is always there, {', '.join(LOW_PRECISIONS)}")
    return tuple(precision for precision in LOW_PRECISIONS if precision in chosen)


def low_precision(
    float32: onnx.ModelProto,
    graph: TickGraph,
    recording: Recording,
    precision: LowPrecision,
    calibration: Calibration | None = None,
) -> tuple[bytes, PrecisionParity]:
    """The graph of ``precision`` made from the ``float32`` one (opset 17), and how it compares with it.

    ``recording`` is what the bundle will hold, float32. It also calibrates int8, unless ``calibration`` does. Raises
    UserError where the result is further off than any manifest may allow.
    """
    source = None
    if precision == "fp16":
        made = finished(to_fp16(float32), graph, opset=OPSET_17)
        measured = with_roundings(made)
    else:
        inputs = recording.inputs if calibration is None else calibration_inputs(float32, graph, calibration)
        source = "the parity recording" if calibration is None else calibration.source
        made = measured = finished(to_int8(float32, inputs, graph.draws), graph, opset=OPSET_17)
    outputs, free = run_onnx(measured.SerializeToString(), graph, recording)
    thresholds = chosen_thresholds(graph, recording, outputs, precision)
    found = compare(recording.inputs, recording.outputs, outputs, graph.draws, thresholds)
    if reason := objection(found, thresholds):
        raise UserError(f"{POLICY_OF[precision]}: not the float32 graph in {precision}: {reason}")
    model = made.SerializeToString(deterministic=True)
    return model, PrecisionParity(thresholds=thresholds, result=parity_result(found, free), calibration=source)


def chosen_thresholds(
    graph: TickGraph, recording: Recording, outputs: Mapping[str, NDArray[Any]], precision: LowPrecision
) -> ParityThresholds:
    """Thresholds by what was measured: ``outputs`` are those of the low precision, the recording's of float32.

    A tie is near where the two best classes are closer than ``MARGIN`` times the largest error of such a gap. Raises
    UserError naming the tensor and its error where a threshold would exceed the manifest's bounds.
    """
    origin = POLICY_OF[precision]
    least = HALF_ULPS * _HALF_ULP[precision]
    gap_error = max(
        (
            _gap_error(*(perturbed(draw, recording.inputs, made) for made in (recording.outputs, outputs)))
            for draw in graph.draws
        ),
        default=0.0,
    )
    largest = MAX_LOGIT_GAP[precision] / MARGIN
    if not gap_error <= largest:
        raise UserError(
            f"{origin}: the lead of a class is off by {gap_error:.3g}, and at most {largest:g} is allowed: this agent"
            f" cannot be exported in {precision}"
        )
    thresholds = ParityThresholds(tolerance=least, min_logit_gap=max(MARGIN * gap_error, 2 * least))
    resolution = with_resolution(thresholds, graph, recording, half_ulp=_HALF_ULP[precision]).resolution
    found = compare(recording.inputs, recording.outputs, outputs, graph.draws, thresholds)
    tolerances, coarse = {}, {}
    for tensor, error in found.largest_error.items():
        if MARGIN * error <= MAX_TOLERANCE[precision]:
            tolerances[tensor] = max(MARGIN * error, least)
        elif tensor in resolution:
            coarse[tensor] = resolution[tensor]
        else:
            raise UserError(
                f"{origin}: {tensor} is off by {error:.3g} x max(1, |float32|), and at most"
                f" {MAX_TOLERANCE[precision] / MARGIN:g} is allowed: this agent cannot be exported in {precision}"
            )
    differing = found.differing_draws / max(found.draws, 1)
    if MARGIN * differing > MAX_DIFFERING_DRAWS:
        raise UserError(
            f"{origin}: {differing:.1%} of its draws differ from float32, and at most"
            f" {MAX_DIFFERING_DRAWS / MARGIN:.1%} may: this agent cannot be exported in {precision}"
        )
    return thresholds.model_copy(
        update={
            "tensor_tolerance": tolerances,
            "max_differing_draws": max(MARGIN * differing, least),
            "resolution": coarse,
        }
    )


def _gap_error(expected: NDArray[Any], actual: NDArray[Any]) -> float:
    """Largest error of the lead of the expected best class over the expected second best; both [N, 1, S, C]."""
    best = np.argsort(-expected, axis=-1)[..., :2]
    leads = np.take_along_axis(actual, best, -1)
    return float(np.abs(leads[..., 0] - leads[..., 1] - best_gaps(expected)).max())
