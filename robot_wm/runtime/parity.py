"""Does an engine compute what ONNX Runtime computed at export? Asked at every start, because a stale or
wrongly built engine moves a robot as confidently as a right one.

Tick by tick the recorded inputs and the recorded state are fed in, so that errors cannot build up. Where two
classes are nearly equally good an engine may draw the other one without being wrong: such a tick is counted apart,
and if the draw does differ, only what does not hang on it is compared.
Shape letters: N ticks, S stoch groups, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.engine import Engine, EngineError
from robot_wm.runtime.manifest import ParityThresholds, StateTensor, TensorSpec

Shape = tuple[int, ...]
Arrays = Mapping[str, NDArray[Any]]  # tensor name -> [N, *tensor shape]

_LOGITS, _LATENT_NOISE, _DRAW = "post_logits", "noise/latent", "next/stoch"
# Outputs that a draw cannot change, in the order in which they are computed: an error shows in the first it reaches.
_BEFORE_DRAW = ("next/deter", _LOGITS, "surprise")


@dataclass(frozen=True)
class Mismatch:
    """The worst value of the first tick that is too far off."""

    tensor: str
    tick: int
    index: tuple[int, ...]  # in the tensor, batch axis first
    expected: float
    actual: float

    def __str__(self) -> str:
        where = ",".join(map(str, self.index))
        return f"{self.tensor}[{where}] at tick {self.tick}: expected {self.expected:.9g}, got {self.actual:.9g}"


@dataclass(frozen=True)
class Comparison:
    """Outputs of two engines over the same N ticks."""

    ticks: int
    near_tie_ticks: int  # the two best perturbed logits of some group are closer than the manifest's gap
    differing_draws: int  # of those ticks, how many drew another class and were compared only in part
    largest_error: dict[str, float]  # by tensor: |difference| / max(1, |expected|)
    mismatch: Mismatch | None


def compare(inputs: Arrays, expected: Arrays, actual: Arrays, thresholds: ParityThresholds) -> Comparison:
    """Compare every tensor of ``expected`` with that of ``actual``, step by step.

    ``inputs`` gives the noise by which ties are known. A difference, or a value that is not finite, beyond
    ``tolerance * max(1, |expected|)`` (and the thresholds' ``resolution``) is a mismatch; the earliest tick's is
    reported, and there the tensor computed first.
    """
    ticks = len(next(iter(expected.values())))
    near, differs = np.zeros(ticks, dtype=np.bool_), np.zeros(ticks, dtype=np.bool_)
    if _LOGITS in expected and _LATENT_NOISE in inputs and _DRAW in expected:
        near = near_ties(expected[_LOGITS], inputs[_LATENT_NOISE], thresholds.min_logit_gap)
        differs = near & (expected[_DRAW] != actual[_DRAW]).reshape(ticks, -1).any(-1)
    largest: dict[str, float] = {}
    worst: Mismatch | None = None
    order = [name for name in _BEFORE_DRAW if name in expected]
    order += [name for name in expected if name not in order]
    for name in order:
        wanted, found = expected[name], actual[name]
        # Where float32 cannot tell values apart any finer, no engine can be asked to.
        floor = max(1.0, thresholds.resolution.get(name, 0.0) / thresholds.tolerance)
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(found - wanted) / np.maximum(floor, np.abs(wanted))  # [N, *shape]
        error = np.where(np.isfinite(error), error, np.inf)
        if name not in _BEFORE_DRAW:
            error[differs] = 0.0
        largest[name] = float(error.max())
        by_tick = error.reshape(ticks, -1)  # [N, elements]
        failed = np.flatnonzero((by_tick > thresholds.tolerance).any(-1))
        if failed.size and (worst is None or failed[0] < worst.tick):
            tick = int(failed[0])
            index = np.unravel_index(int(by_tick[tick].argmax()), wanted.shape[1:])
            worst = Mismatch(
                tensor=name,
                tick=tick,
                index=tuple(int(i) for i in index),
                expected=float(wanted[tick][index]),
                actual=float(found[tick][index]),
            )
    return Comparison(
        ticks=ticks,
        near_tie_ticks=int(near.sum()),
        differing_draws=int(differs.sum()),
        largest_error=largest,
        mismatch=worst,
    )


def near_ties(logits: NDArray[Any], noise: NDArray[Any], min_gap: float) -> NDArray[np.bool_]:
    """Ticks [N] in which the two best of ``logits + noise`` [N, 1, S, C] of any group are closer than ``min_gap``."""
    perturbed = logits + noise
    top = np.partition(perturbed, perturbed.shape[-1] - 2, axis=-1)[..., -2:]  # [N, 1, S, 2]
    gaps = top[..., 1] - top[..., 0]
    return np.asarray((gaps < min_gap).reshape(len(gaps), -1).any(-1), dtype=np.bool_)


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


def check_parity(engine: Engine, bundle: Bundle) -> Comparison:
    """Run an active engine over the bundle's recording and refuse (UserError) one that is too far off.

    Names the tensor, the tick and both values. Afterwards the engine has its initial state again.
    """
    recording = bundle.recording()
    try:
        outputs = replay(engine, recording.inputs, bundle.manifest.state, bundle.manifest.outputs)
    except EngineError as error:
        raise UserError(f"{bundle.path}: this engine fails on a recorded tick: {str(error)[:300]}") from None
    for buffer in engine.inputs.values():
        buffer.fill(0)
    engine.clear_state()
    found = compare(recording.inputs, recording.outputs, outputs, bundle.manifest.parity.thresholds)
    if found.mismatch is not None:
        tolerance = bundle.manifest.parity.thresholds.tolerance
        raise UserError(
            f"{bundle.path}: this engine does not compute what was exported: {found.mismatch}"
            f" (tolerance {tolerance:g} x max(1, |expected|)); build the engine anew or export again"
        )
    return found
