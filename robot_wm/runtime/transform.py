"""Raw SI values to what the graph sees, and back: the one implementation, used on the robot and by the learner.

Everything is computed in float32, element by element, so that a value scaled on the robot is bit-equal to the
same value scaled in a replay batch. Shape letters: B batch, O one field's flat size, F history frames, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robot_wm.spec import ActionSpec, AgentSpec, ObservationField

Array = NDArray[Any]
Float32 = NDArray[np.float32]


class Scaling:
    """``clip((raw - offset) * scale)`` of vector fields, with the constants made once."""

    def __init__(self, field: ObservationField) -> None:
        self._take([field])

    @classmethod
    def joined(cls, fields: Sequence[ObservationField]) -> Scaling:
        """One scaling of all ``fields`` laid end to end, element by element equal to theirs."""
        scaling = cls.__new__(cls)
        scaling._take(fields)
        return scaling

    def _take(self, fields: Sequence[ObservationField]) -> None:
        def row(values: Sequence[Sequence[float]]) -> Float32:
            parts = [
                np.broadcast_to(np.asarray(v, dtype=np.float32), f.shape) for v, f in zip(values, fields, strict=True)
            ]
            return np.concatenate(parts) if parts else np.zeros(0, dtype=np.float32)

        self._offset = row([field.offset for field in fields])  # (O,)
        self._scale = row([field.scale for field in fields])  # (O,)
        self._bound = row([(np.inf if field.clip is None else field.clip,) for field in fields])  # (O,)
        self._shifts, self._scales = bool(self._offset.any()), bool((self._scale != 1).any())
        self._clips = bool(np.isfinite(self._bound).any())
        self._lowest = -self._bound

    def into(self, raw: Float32, out: Float32) -> None:
        """Write the scaled ``raw`` [..., O] to ``out`` [..., O]; both float32, allocates nothing."""
        source = raw
        if self._shifts:
            np.subtract(source, self._offset, out=out)
            source = out
        if self._scales:
            np.multiply(source, self._scale, out=out)
            source = out
        if self._clips:
            np.minimum(source, self._bound, out=out)
            np.maximum(out, self._lowest, out=out)
        elif source is not out:
            np.copyto(out, source)


class CommandMap:
    """Model action in [-1, 1] to SI command and back, with its constants made once.

    A continuous command is ``offset + scale * clip * action``; a discrete action is its one-hot vector both ways.
    """

    def __init__(self, action: ActionSpec) -> None:
        self._is_discrete = action.is_discrete
        n = len(action.joints)
        gain = np.asarray(action.scale, dtype=np.float32) * np.float32(action.clip)
        self._gain = np.ascontiguousarray(np.broadcast_to(gain, (n,)))  # (A,) SI per model unit
        self._offset = np.ascontiguousarray(np.broadcast_to(np.asarray(action.offset, dtype=np.float32), (n,)))  # (A,)

    def command_into(self, action: Float32, out: Float32) -> None:
        """Write the SI command of the model ``action`` [..., A] to ``out`` [..., A]; allocates nothing."""
        if self._is_discrete:
            np.copyto(out, action)
            return
        np.multiply(action, self._gain, out=out)
        np.add(out, self._offset, out=out)

    def policy_into(self, command: Float32, out: Float32) -> None:
        """Write the model action of the SI ``command`` [..., A], cut to [-1, 1], to ``out``; allocates nothing."""
        if self._is_discrete:
            np.copyto(out, command)
            return
        np.subtract(command, self._offset, out=out)
        np.divide(out, self._gain, out=out)
        np.minimum(out, np.float32(1), out=out)
        np.maximum(out, np.float32(-1), out=out)


def scale(field: ObservationField, raw: ArrayLike, out: Array | None = None) -> Array:
    """Return what the graph sees of the raw SI values ``raw`` [..., *field.shape], any leading axes.

    Vectors give float32 ``clip((raw - offset) * scale)``, written to ``out`` if given; an image is returned as
    it is (no copy) or copied to ``out``. NaN stays NaN: finding it is the caller's task.
    """
    if field.is_image:
        image = np.asarray(raw, dtype=np.uint8)
        if out is None:
            return image
        np.copyto(out, image)
        return out
    values = np.asarray(raw, dtype=np.float32)
    if out is None:
        out = np.empty_like(values)
    Scaling(field).into(values, out)
    return out


def to_command(action_spec: ActionSpec, action: ArrayLike, out: Float32 | None = None) -> Float32:
    """Return the SI command [..., A] of a model action [..., A] in [-1, 1]; one-hot in, one-hot out if discrete.

    Nothing is limited here: a command for a robot goes through ``robot_wm.runtime.safety``.
    """
    values = np.asarray(action, dtype=np.float32)
    if out is None:
        out = np.empty_like(values)
    CommandMap(action_spec).command_into(values, out)
    return out


def to_policy(action_spec: ActionSpec, command: ArrayLike, out: Float32 | None = None) -> Float32:
    """Return the model action [..., A] of an SI command [..., A], cut to [-1, 1]; one-hot either way if discrete."""
    values = np.asarray(command, dtype=np.float32)
    if out is None:
        out = np.empty_like(values)
    CommandMap(action_spec).policy_into(values, out)
    return out


class History:
    """The last F frames of one vector field, oldest first, flattened: what the graph takes as ``obs/<field>``.

    ``values`` [B, F*O] float32 is one buffer for life (``out`` if given, so it may be the engine's input itself);
    ``push`` changes it in place.
    """

    def __init__(self, frames: int, size: int, *, batch: int = 1, out: Float32 | None = None) -> None:
        shape = (batch, frames * size)
        if out is not None and (out.shape != shape or out.dtype != np.float32):
            raise ValueError(f"the history's buffer must be float32 {shape}, not {out.dtype} {out.shape}")
        self.values: Float32 = np.zeros(shape, dtype=np.float32) if out is None else out
        self._frames = self.values.reshape(batch, frames, size)  # [B, F, O], a view
        if not np.shares_memory(self._frames, self.values):
            raise ValueError("the history's buffer must be contiguous")
        self._single = frames == 1
        # Rows as 1-d views: there numpy shifts overlapping memory in place; of a 2-d array it makes a copy first.
        self._shifts = [(row[:-size], row[size:]) for row in self.values] if frames > 1 else []
        self.newest: Float32 = self._frames[:, -1]  # [B, O], a view

    def advance(self) -> None:
        """Move every frame one place towards the oldest; the caller then writes ``newest``."""
        for older, newer in self._shifts:
            older[:] = newer

    def fill(self, is_first: NDArray[np.bool_] | bool) -> None:
        """Give every frame the newest one's value, in the rows where ``is_first`` (bool or [B]) holds."""
        if self._single:
            return
        if is_first is True:
            self._frames[:, :-1] = self.newest[:, None]
        elif np.any(is_first):
            rows = np.broadcast_to(np.asarray(is_first, dtype=np.bool_), self.values.shape[:1])
            self._frames[rows, :-1] = self.newest[rows, None]

    def push(self, frame: ArrayLike, is_first: NDArray[np.bool_] | bool) -> Float32:
        """Append ``frame`` [B, O] (scaled) and return ``values``; an episode's first frame fills all F."""
        self.advance()
        np.copyto(self.newest, frame, casting="same_kind")
        self.fill(is_first)
        return self.values


class ObservationTransform:
    """Raw single-frame fields to the graph's ``obs/<field>`` inputs, for B robots or environments at once.

    Write one raw SI frame into the views of ``raw`` ([B, *field.shape]; float32, images uint8), then call
    ``advance``; or give ``push`` a dictionary, which does both. ``inputs`` holds a buffer [B, *model_inputs shape]
    for each field, in the spec's order, owned by this object unless given in ``out``.
    """

    def __init__(self, spec: AgentSpec, *, batch: int = 1, out: Mapping[str, Array] | None = None) -> None:
        vectors = [field for field in spec.observations if not field.is_image]
        total = sum(field.shape[0] for field in vectors)
        # All vectors lie in one row, so that scaling them takes one pass and not one a field.
        self.flat: Float32 = np.zeros((batch, total), dtype=np.float32)  # [B, sum of O], raw SI
        self._scaled: Float32 = np.zeros((batch, total), dtype=np.float32)  # [B, sum of O]
        self._scaling = Scaling.joined(vectors)
        self.raw: dict[str, Array] = {}
        self.inputs: dict[str, Array] = {}
        self._histories: list[tuple[History, Float32]] = []
        start = 0
        for field in spec.observations:
            shape = (batch, *spec.model_inputs()[field.name].shape)
            buffer = np.zeros(shape, dtype=field.dtype) if out is None else out[field.name]
            if buffer.shape != shape or buffer.dtype != np.dtype(field.dtype):
                raise ValueError(f"obs/{field.name}: {field.dtype} {shape} needed, got {buffer.dtype} {buffer.shape}")
            self.inputs[field.name] = buffer
            if field.is_image:
                self.raw[field.name] = buffer  # goes in untouched: the graph's input is the frame itself
                continue
            part = slice(start, start + field.shape[0])
            start = part.stop
            self.raw[field.name] = self.flat[:, part]
            history = History(spec.history_length, field.shape[0], batch=batch, out=buffer)
            self._histories.append((history, self._scaled[:, part]))

    def advance(self, is_first: NDArray[np.bool_] | bool) -> dict[str, Array]:
        """Scale the frame in ``raw``, append it to the histories and return ``inputs``; allocates nothing.

        ``is_first`` is one bool for all, or [B]: there the frame fills the whole history.
        """
        self._scaling.into(self.flat, self._scaled)
        for history, scaled in self._histories:
            history.advance()
            history.newest[:] = scaled
            if is_first is not False:
                history.fill(is_first)
        return self.inputs

    def push(self, observation: Mapping[str, ArrayLike], is_first: NDArray[np.bool_] | bool) -> dict[str, Array]:
        """Copy one raw frame of every field ([B, *field.shape]; without B if B = 1), advance, return ``inputs``.

        Raises KeyError for a missing field, ValueError for a wrong shape and TypeError for a wrong dtype.
        """
        for name, buffer in self.raw.items():
            value = np.asarray(observation[name])
            if value.shape not in (buffer.shape, buffer.shape[1:]) or (value.ndim < buffer.ndim and len(buffer) > 1):
                raise ValueError(f"field {name}: shape {buffer.shape} needed, got {value.shape}")
            np.copyto(buffer, value, casting="same_kind")
        return self.advance(is_first)
