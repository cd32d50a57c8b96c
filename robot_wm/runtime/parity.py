"""Does an engine compute what ONNX Runtime computed at export? Asked at every start, because a stale or
wrongly built engine moves a robot as confidently as a right one.

Tick by tick the recorded inputs and the recorded state are fed in, so that errors cannot build up. Where two
classes of a group are nearly equally good an engine may draw the other one without being wrong: how near depends on
its precision. Such a group is counted apart, and only what does not hang on its draw is compared then. Free running
is the other question, what a coarser engine makes of the same observations: nothing there is right or wrong.
Shape letters: N ticks, S stoch groups, C classes, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.engine import Engine, EngineError
from robot_wm.runtime.graph_tensors import Draw, StateTensor, TensorSpec
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.parity_section import ParityThresholds, Precision

if TYPE_CHECKING:
    from robot_wm.runtime.bundle import Bundle

Shape = tuple[int, ...]
Arrays = Mapping[str, NDArray[Any]]  # tensor name -> [N, *tensor shape]

_ACTION = "action"


@dataclass(frozen=True)
class Mismatch:
    """The worst value of the first tick that is too far off."""

    tensor: str
    tick: int
    index: tuple[int, ...]  # in the tensor, batch axis first
    expected: float
    actual: float
    row: str = "tick"  # or plan

    def __str__(self) -> str:
        where = ",".join(map(str, self.index))
        return f"{self.tensor}[{where}] at {self.row} {self.tick}: expected {self.expected:.9g}, got {self.actual:.9g}"


@dataclass(frozen=True)
class Comparison:
    """Outputs of two engines over the same N ticks."""

    ticks: int
    near_tie_ticks: int  # the two best perturbed logits of some group are closer than the gap
    differing_draws: int  # groups that are such a near tie and drew another class
    draws: int  # groups in all
    partial_ticks: int  # ticks with such a group: what hangs on the draw was not compared there
    largest_error: dict[str, float]  # by tensor: |difference| / max(1, |expected|)
    mismatch: Mismatch | None

    def __str__(self) -> str:
        tensor, error = max(self.largest_error.items(), key=lambda entry: entry[1])
        drawn = f", {self.differing_draws} of {self.draws} draws fell the other way, at near ties" if self.draws else ""
        return f"step by step over {self.ticks} recorded ticks off by at most {error:.1e} ({tensor}){drawn}"


@dataclass(frozen=True)
class FreeRun:
    """An engine that kept its own state over recorded observations, against what was recorded of another one."""

    flips: int  # categorical draws that differ
    draws: int  # categorical draws made
    first_flip_tick: int | None
    action_divergence: float  # largest |action difference|, policy units

    def __str__(self) -> str:
        since = "" if self.first_flip_tick is None else f", the first at tick {self.first_flip_tick}"
        drawn = f"{self.flips} of {self.draws} draws differ{since}, " if self.draws else ""
        return f"free running {drawn}the action differs by at most {self.action_divergence:.1e} policy units"


def compare(
    inputs: Arrays, expected: Arrays, actual: Arrays, draws: Sequence[Draw], thresholds: ParityThresholds
) -> Comparison:
    """Compare every tensor of ``expected`` with that of ``actual``, step by step.

    ``draws`` are the manifest's; ``inputs`` gives the noise by which ties are known. A difference, or a value that is
    not finite, beyond the tensor's tolerance times ``max(1, |expected|)`` (and the thresholds' ``resolution``) is a
    mismatch; the earliest tick's is reported, and there the tensor computed first.
    """
    ticks = len(next(iter(expected.values())))
    near = {draw: near_ties(draw, inputs, expected, thresholds.min_logit_gap) for draw in draws}  # [N, groups] each
    differs = {draw: near[draw] & _drawn_otherwise(draw, expected, actual) for draw in draws}
    largest: dict[str, float] = {}
    worst: Mismatch | None = None
    # An error shows in the first tensor that it reaches.
    for name in dict.fromkeys([*(name for draw in draws for name in draw.before), *expected]):
        wanted, found = expected[name], actual[name]
        tolerance = thresholds.tolerance_of(name)
        # Where the precision cannot tell values apart any finer, no engine can be asked to.
        floor = max(1.0, thresholds.resolution.get(name, 0.0) / tolerance)
        error = relative_error(wanted, found, floor)  # [N, *shape]
        for draw in draws:
            if name == draw.drawn:
                error.reshape(*differs[draw].shape, -1)[differs[draw]] = 0.0
            elif name not in draw.before:
                error[differs[draw].any(-1)] = 0.0
        largest[name] = float(error.max())
        first = first_mismatch(name, wanted, found, error, tolerance)
        if first is not None and (worst is None or first.tick < worst.tick):
            worst = first
    nothing = np.zeros((ticks, 0), dtype=np.bool_)
    ties, others = (np.concatenate([nothing, *found.values()], axis=-1) for found in (near, differs))  # [N, groups]
    return Comparison(
        ticks=ticks,
        near_tie_ticks=int(ties.any(-1).sum()),
        differing_draws=int(others.sum()),
        draws=others.size,
        partial_ticks=int(others.any(-1).sum()),
        largest_error=largest,
        mismatch=worst,
    )


def relative_error(wanted: NDArray[Any], found: NDArray[Any], floor: float = 1.0) -> NDArray[Any]:
    """|difference| / max(floor, |wanted|), of one shape; infinite where either is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(found - wanted) / np.maximum(floor, np.abs(wanted))
    return np.where(np.isfinite(error), error, np.inf)


def first_mismatch(
    name: str, wanted: NDArray[Any], found: NDArray[Any], error: NDArray[Any], tolerance: float, *, row: str = "tick"
) -> Mismatch | None:
    """The worst element of the first row whose ``error`` [N, *shape] exceeds the tolerance."""
    by_row = error.reshape(len(error), -1)  # [N, elements]
    failed = np.flatnonzero((by_row > tolerance).any(-1))
    if not failed.size:
        return None
    number = int(failed[0])
    index = np.unravel_index(int(by_row[number].argmax()), wanted.shape[1:])
    return Mismatch(
        tensor=name,
        tick=number,
        index=tuple(int(i) for i in index),
        expected=float(wanted[number][index]),
        actual=float(found[number][index]),
        row=row,
    )


def objection(found: Comparison, thresholds: ParityThresholds) -> str | None:
    """Why a comparison does not pass, in one line; None if it does."""
    if found.mismatch is not None:
        tolerance = thresholds.tolerance_of(found.mismatch.tensor)
        return f"{found.mismatch} (tolerance {tolerance:g} x max(1, |expected|))"
    if found.differing_draws > thresholds.max_differing_draws * found.draws:
        return (
            f"{found.differing_draws} of {found.draws} near ties of classes were drawn the other way;"
            f" at most {thresholds.max_differing_draws:g} of all draws may be"
        )
    if found.partial_ticks == found.ticks:
        return "some class was drawn the other way at every tick: nothing that follows from it could be compared"
    return None


def near_ties(draw: Draw, inputs: Arrays, outputs: Arrays, min_gap: float) -> NDArray[np.bool_]:
    """Groups [N, S] of a draw in which the two best classes are closer than ``min_gap``."""
    gaps = best_gaps(perturbed(draw, inputs, outputs))
    return np.asarray(gaps < min_gap, dtype=np.bool_).reshape(len(gaps), -1)


def perturbed(draw: Draw, inputs: Arrays, outputs: Arrays) -> NDArray[Any]:
    """What the draw takes the best of, its logits and its noise: [N, 1, ..., C]."""
    logits = outputs[draw.logits]
    return logits if draw.noise is None else logits + inputs[draw.noise]


def best_gaps(scores: NDArray[Any]) -> NDArray[Any]:
    """By how much the best class leads the second best: [..., C] -> [...]."""
    top = np.partition(scores, scores.shape[-1] - 2, axis=-1)[..., -2:]
    return np.asarray(top[..., 1] - top[..., 0])


def replay(
    engine: Engine, inputs: Arrays, state: Sequence[StateTensor], outputs: Sequence[TensorSpec]
) -> dict[str, NDArray[np.float32]]:
    """Run an active engine over recorded ``inputs``, state included; outputs by graph name, ``[N, *tensor shape]``.

    ``state`` and ``outputs`` are the manifest's. Raises UserError for an engine with other tensors.
    """
    require_tensors(engine, {name: array.shape[1:] for name, array in inputs.items()}, state, outputs)
    ticks = len(next(iter(inputs.values())))
    made = {
        name: np.empty((ticks, *shape), dtype=np.float32)
        for name, shape in (*((t.name, t.shape) for t in outputs), *((s.output, s.shape) for s in state))
    }
    for tick in range(ticks):
        for name, buffer in engine.inputs.items():
            np.copyto(buffer, inputs[name][tick])
        for entry in state:
            engine.write_state(entry.name, inputs[entry.input][tick])
        engine.infer()
        for tensor in outputs:
            made[tensor.name][tick] = engine.outputs[tensor.name]
        for entry in state:
            if not entry.shown:  # else it is the output, which is what a controller reads
                made[entry.output][tick] = engine.read_state(entry.name)
    return made


def require_tensors(
    engine: Engine, inputs: Mapping[str, Shape], state: Sequence[StateTensor], outputs: Sequence[TensorSpec]
) -> None:
    """Refuse (UserError) an active engine whose graph takes or gives other tensors than these, by name and shape."""
    states = {entry.input for entry in state}
    for kind, wanted, views in (
        ("input", {name: shape for name, shape in inputs.items() if name not in states}, engine.inputs),
        ("output", {tensor.name: tensor.shape for tensor in outputs}, engine.outputs),
    ):
        found = {name: view.shape for name, view in views.items()}
        if odd := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
            raise UserError(
                f"the engine's graph does not fit the manifest: {kind} {odd[0][:100]} has shape"
                f" {found.get(odd[0])}, not {wanted.get(odd[0])} (None: there is none)"
            )


def check_parity(
    engine: Engine, bundle: Bundle, precision: Precision = "fp32", recording: Recording | None = None
) -> Comparison:
    """Run an active engine over the bundle's recording and refuse (UserError) one that is too far off.

    The recording is float32; ``precision`` is that of the engine's graph and tells how far off it may be. Names the
    tensor, the tick and both values. Afterwards the engine has its initial state again. ``recording`` is the bundle's,
    where it has been read already.
    """
    thresholds = bundle.manifest.thresholds(precision)
    recording = recording or bundle.recording()
    try:
        outputs = replay(engine, recording.inputs, bundle.manifest.state, bundle.manifest.outputs)
    except EngineError as error:
        raise UserError(f"{bundle.path}: this engine fails on a recorded tick: {str(error)[:300]}") from None
    _forget(engine)
    found = compare(recording.inputs, recording.outputs, outputs, bundle.manifest.draws, thresholds)
    if reason := objection(found, thresholds):
        raise UserError(
            f"{bundle.path}: this {precision} engine does not compute what was exported: {reason};"
            " build the engine anew or export again"
        )
    return found


def free_run(engine: Engine, bundle: Bundle, recording: Recording | None = None) -> FreeRun:
    """Let an active engine keep its own state over the bundle's recorded observations and noise.

    Raises UserError where it fails on one. Afterwards the engine has its initial state again. ``recording``: as above.
    """
    try:
        return free_run_over(engine, recording or bundle.recording(), bundle.manifest.state, bundle.manifest.draws)
    except EngineError as error:
        raise UserError(f"{bundle.path}: this engine fails on a recorded tick: {str(error)[:300]}") from None


def free_run_over(engine: Engine, recording: Recording, state: Sequence[StateTensor], draws: Sequence[Draw]) -> FreeRun:
    """``free_run`` over any recording; ``state`` and ``draws`` are the manifest's. Raises EngineError."""
    ticks = recording.ticks
    kept = {entry.output: entry.name for entry in state if not entry.shown}
    flips = np.zeros((ticks, sum(recording.outputs[draw.drawn][0, ..., 0].size for draw in draws)), dtype=np.bool_)
    divergence = 0.0
    engine.clear_state()
    for tick in range(ticks):
        for name, buffer in engine.inputs.items():
            np.copyto(buffer, recording.inputs[name][tick])
        engine.infer()
        apart = np.abs(engine.outputs[_ACTION] - recording.outputs[_ACTION][tick]).max()
        divergence = float(np.maximum(divergence, apart))  # not a number, if one was not
        first = 0
        for draw in draws:
            drawn = engine.read_state(kept[draw.drawn]) if draw.drawn in kept else engine.outputs[draw.drawn]
            other = (drawn != recording.outputs[draw.drawn][tick]).any(-1).reshape(-1)  # [groups]
            flips[tick, first : first + other.size] = other
            first += other.size
    _forget(engine)
    flipped = np.flatnonzero(flips.any(-1))
    return FreeRun(
        flips=int(flips.sum()),
        draws=flips.size,
        first_flip_tick=int(flipped[0]) if flipped.size else None,
        action_divergence=divergence,
    )


def _drawn_otherwise(draw: Draw, expected: Arrays, actual: Arrays) -> NDArray[np.bool_]:
    return np.asarray((expected[draw.drawn] != actual[draw.drawn]).any(-1)).reshape(len(actual[draw.drawn]), -1)


def _forget(engine: Engine) -> None:
    for buffer in engine.inputs.values():
        buffer.fill(0)
    engine.clear_state()
