"""Does an engine plan what ONNX Runtime planned at export? Asked at every start, as of the tick.

A planner is full of decisions: which candidate is best, which ones go on, and within a model with classes which one
comes next, thousands in a plan. Engines that are both right may part where one is nearly even, and what follows is then
another plan. So a plan may differ, and is counted, where its two best scores are closer than the tolerance tells apart
(if it takes the best: the scores themselves may not), and where the export found it unsteady. A planner
that weighs its candidates has no best to take. Too many that differ are refused, for then somebody is wrong.
Shape letters: P plans, N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.engine import Engine, EngineError
from robot_wm.runtime.parity import Mismatch, best_gaps, first_mismatch, relative_error, replay
from robot_wm.runtime.planner_section import Planner
from robot_wm.runtime.planning.plan_recording import PlanRecording

Arrays = Mapping[str, NDArray[Any]]  # tensor name -> [P, *tensor shape]

_SCORES = "scores"  # what does not hang on which of two equals is taken
_GAIN, _VALUE = "gain", "value"
_ACTIONS = ("action", "plan")
# Of an average's action over the relative error of the scores that weigh it: half a percent of a return is a great
# difference to the weights, so that 1e-3 of the scores may be 0.05 of an action.
_AMPLIFIED = 50.0


@dataclass(frozen=True)
class PlanComparison:
    """Plans of two engines."""

    plans: int
    near_tie_plans: int  # steady ones whose two best scores are within the tolerance
    unsteady_plans: int
    differing_plans: int  # of both kinds, those that differ
    largest_error: dict[str, float]  # by tensor, of what was compared: |difference| / max(1, |expected|)
    mismatch: Mismatch | None

    def __str__(self) -> str:
        tensor, error = max(self.largest_error.items(), key=lambda entry: entry[1])
        return (
            f"{self.plans} recorded plans off by at most {error:.1e} ({tensor}),"
            f" {self.differing_plans} fell another way, at near ties"
        )


def compare_plans(expected: PlanRecording, actual: Arrays, *, decides: bool, tolerance: float) -> PlanComparison:
    """Compare every output with the recorded one, the scores in the order of their size.

    ``decides``: the planner takes the best candidate. A difference beyond ``tolerance * max(1, |expected|)`` is a
    mismatch unless the plan may differ; a value that is not finite is one always. A gain, which is what two scores
    differ by, is held to their size, and the action of an average to 50 times the tolerance.
    """
    scores = expected.outputs[_SCORES][:, 0]  # [P, N]
    near = np.zeros(expected.plans, dtype=np.bool_)  # [P]
    if decides:
        # Each of the two may be off by the tolerance.
        near = best_gaps(scores) < 2.0 * tolerance * np.maximum(1.0, np.abs(scores).max(-1))
        near &= ~expected.unsteady
    parted = np.zeros(expected.plans, dtype=np.bool_)  # [P]
    largest: dict[str, float] = {}
    worst: Mismatch | None = None
    for name in expected.outputs:
        wanted, found = _comparable(name, expected.outputs), _comparable(name, actual)
        error = _error(name, expected.outputs, actual, decides)  # [P, *shape]
        excused = expected.unsteady if name == _SCORES else expected.unsteady | near  # [P]
        excused = excused & np.isfinite(found).reshape(expected.plans, -1).all(-1)
        parted |= excused & (error > tolerance).reshape(expected.plans, -1).any(-1)
        error[excused] = 0.0
        largest[name] = float(error.max())
        first = first_mismatch(name, wanted, found, error, tolerance, row="plan")
        if first is not None and (worst is None or first.tick < worst.tick):
            worst = first
    return PlanComparison(
        plans=expected.plans,
        near_tie_plans=int(near.sum()),
        unsteady_plans=int(expected.unsteady.sum()),
        differing_plans=int(parted.sum()),
        largest_error=largest,
        mismatch=worst,
    )


def differing(expected: Arrays, actual: Arrays, *, decides: bool, tolerance: float) -> NDArray[np.bool_]:
    """Which plans differ beyond the tolerance in any output, as `compare_plans` has it: [P]."""
    errors = (_error(name, expected, actual, decides) for name in expected)
    far = [(error > tolerance).reshape(len(error), -1).any(-1) for error in errors]
    return np.asarray(np.any(far, axis=0), dtype=np.bool_)


def _error(name: str, expected: Arrays, actual: Arrays, decides: bool) -> NDArray[Any]:
    """Of an output [P, *shape], as it compares with the tolerance."""
    wanted, found = _comparable(name, expected), _comparable(name, actual)
    if name == _GAIN:
        error = np.abs(found - wanted) / np.maximum(1.0, np.abs(expected[_VALUE]))
        return np.where(np.isfinite(error), error, np.inf)
    error = relative_error(wanted, found)
    return error if decides or name not in _ACTIONS else error / _AMPLIFIED


def _comparable(name: str, outputs: Arrays) -> NDArray[Any]:
    # Two candidates may be one action, and either of them the one that goes on.
    return np.sort(outputs[name], axis=-1) if name == _SCORES else outputs[name]


def plan_objection(found: PlanComparison, *, tolerance: float, max_differing: float) -> str | None:
    """Why a comparison does not pass, in one line; None if it does."""
    if found.mismatch is not None:
        return f"{found.mismatch} (tolerance {tolerance:g} x max(1, |expected|))"
    if found.differing_plans > max_differing * found.plans:
        return (
            f"{found.differing_plans} of {found.plans} plans fell another way at near ties;"
            f" at most {max_differing:g} of all may"
        )
    return None


def replay_plans(engine: Engine, inputs: Arrays, planner: Planner) -> dict[str, NDArray[np.float32]]:
    """Run an active engine over recorded inputs; outputs by name [P, *shape].

    Raises UserError for an engine with other tensors, EngineError where it fails.
    """
    return replay(engine, inputs, (), planner.outputs)


def check_plan_parity(engine: Engine, planner: Planner, recording: PlanRecording, *, origin: str) -> PlanComparison:
    """Run an active engine over the recorded plans and refuse (UserError) one that is too far off."""
    try:
        outputs = replay_plans(engine, recording.inputs, planner)
    except EngineError as error:
        raise UserError(f"{origin}: the planner's engine fails on a recorded plan: {str(error)[:300]}") from None
    parity = planner.parity
    found = compare_plans(recording, outputs, decides=planner.decides, tolerance=parity.tolerance)
    if reason := plan_objection(found, tolerance=parity.tolerance, max_differing=parity.max_differing):
        raise UserError(
            f"{origin}: this engine does not compute the planner that was exported: {reason};"
            " build the engine anew or start with no planner"
        )
    for buffer in engine.inputs.values():
        buffer.fill(0)
    return found
