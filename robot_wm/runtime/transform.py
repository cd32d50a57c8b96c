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
        # Arrays: as an operand of so short an array a scalar takes twice the time.
        self._ones = np.ones(n, dtype=np.float32)  # (A,)
        self._minus_ones = -self._ones  # (A,)

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
        np.minimum(out, self._ones, out=out)
        np.maximum(out, self._minus_ones, out=out)


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
    """The last F frames of vector fields laid end to end: of each field its F frames, oldest first, flattened.

    ``values`` [B, F * sum of O] float32 is what the graph takes as ``obs/<field>``, field after field; one buffer for
    life (``out`` if given). Write the new frame into ``newest`` [B, sum of O] and ``advance``, or ``push`` it.
    """

    def __init__(self, frames: int, sizes: int | Sequence[int], *, batch: int = 1, out: Float32 | None = None) -> None:
        sizes = [sizes] if isinstance(sizes, int) else list(sizes)
        total = sum(sizes)
        shape = (batch, frames * total)
        if out is not None and (out.shape != shape or out.dtype != np.float32):
            raise ValueError(f"the history's buffer must be float32 {shape}, not {out.dtype} {out.shape}")
        self.values: Float32 = np.zeros(shape, dtype=np.float32) if out is None else out
        self._frames = frames
        if frames == 1:
            self.newest: Float32 = self.values
            return
        # One gather moves every field by one frame, however many fields there are: from the old values with the new
        # frame behind them, [B, F * sum of O + sum of O], to the new values.
        self._source = np.zeros((batch, shape[1] + total), dtype=np.float32)
        self.newest = self._source[:, shape[1] :]
        # With one row the gather's ends are 1-d views: that is much faster than a row of a matrix.
        self._rows = (self._source[0], self.values[0], self._source[0, : shape[1]]) if batch == 1 else None
        starts = np.cumsum([0, *sizes])[:-1]
        new = [shape[1] + np.arange(start, start + size) for start, size in zip(starts, sizes, strict=True)]
        old = [
            np.arange(frames * start + size, frames * (start + size)) for start, size in zip(starts, sizes, strict=True)
        ]
        pairs = list(zip(old, new, strict=True))
        self._shift = np.concatenate([part for pair in pairs for part in pair]) if pairs else np.arange(0)
        self._fill = np.concatenate([np.tile(part, frames) for part in new]) if pairs else np.arange(0)

    def advance(self, is_first: NDArray[np.bool_] | bool) -> Float32:
        """Take ``newest`` in and return ``values``; where ``is_first`` (bool or [B]) holds it fills all F frames."""
        if self._frames == 1:
            return self.values
        # mode="clip" writes straight into ``out``; no index is out of range.
        if self._rows is not None:
            row, to, old = self._rows
            first = is_first if type(is_first) is bool else bool(np.any(is_first))
            row.take(self._fill if first else self._shift, out=to, mode="clip")
            old[:] = to
            return self.values
        if is_first is True or is_first is False:
            self._source.take(self._fill if is_first else self._shift, axis=1, out=self.values, mode="clip")
        else:
            rows = np.broadcast_to(np.asarray(is_first, dtype=np.bool_), (len(self.values),))
            self.values[...] = np.where(rows[:, None], self._source[:, self._fill], self._source[:, self._shift])
        self._source[:, : self.values.shape[1]] = self.values
        return self.values

    def push(self, frame: ArrayLike, is_first: NDArray[np.bool_] | bool) -> Float32:
        """Append ``frame`` [B, sum of O] (scaled) and return ``values``; an episode's first frame fills all F."""
        np.copyto(self.newest, frame, casting="same_kind")
        return self.advance(is_first)


class ObservationTransform:
    """Raw single-frame fields to the graph's ``obs/<field>`` inputs, for B robots or environments at once.

    Write one raw SI frame into the views of ``raw`` ([B, *field.shape]; float32, images uint8), then call
    ``advance``; or give ``push`` a dictionary, which does both. ``inputs`` holds an array [B, *model_inputs shape]
    for each field, in the spec's order, owned by this object unless given in ``out``. Vectors given in ``out`` that
    lie end to end in memory are written at once, others are copied one by one.
    """

    def __init__(self, spec: AgentSpec, *, batch: int = 1, out: Mapping[str, Array] | None = None) -> None:
        vectors = [field for field in spec.observations if not field.is_image]
        sizes = [field.shape[0] for field in vectors]
        wanted = spec.model_inputs()
        for name in wanted if out is not None else ():
            shape, dtype = (batch, *wanted[name].shape), np.dtype(wanted[name].dtype)
            if out[name].shape != shape or out[name].dtype != dtype:  # type: ignore[index]
                raise ValueError(f"obs/{name}: {dtype} {shape} needed, got {out[name].dtype} {out[name].shape}")  # type: ignore[index]
        # All vectors lie in one row, so that a tick's passes over them do not multiply with their number.
        self.flat: Float32 = np.zeros((batch, sum(sizes)), dtype=np.float32)  # [B, sum of O], raw SI
        row = None if out is None else _joined([out[field.name] for field in vectors])
        self._history = History(spec.history_length, sizes, batch=batch, out=row)
        self._scaling = Scaling.joined(vectors)
        # The same memory, but as rows where there is only one: NumPy is quicker with one axis than with two.
        one = batch == 1
        self._scaled_from = self.flat[0] if one else self.flat
        self._scaled_to = self._history.newest[0] if one else self._history.newest
        self.raw: dict[str, Array] = {}
        self.inputs: dict[str, Array] = {}
        self._copies: list[tuple[Array, Float32]] = []
        start, frames = 0, spec.history_length
        for field in spec.observations:
            if field.is_image:
                # It goes in untouched: the graph's input is the frame itself.
                image = np.zeros((batch, *field.shape), dtype=np.uint8) if out is None else out[field.name]
                self.raw[field.name] = self.inputs[field.name] = image
                continue
            stop = start + field.shape[0]
            self.raw[field.name] = self.flat[:, start:stop]
            part = self._history.values[:, frames * start : frames * stop]
            self.inputs[field.name] = part if out is None else out[field.name]
            if out is not None and row is None:
                self._copies.append((out[field.name], part))
            start = stop

    def advance(self, is_first: NDArray[np.bool_] | bool) -> dict[str, Array]:
        """Scale the frame in ``raw``, append it to the histories and return ``inputs``; allocates nothing if B = 1.

        ``is_first`` is one bool for all, or [B]: there the frame fills the whole history.
        """
        self._scaling.into(self._scaled_from, self._scaled_to)
        self._history.advance(is_first)
        for target, source in self._copies:
            target[...] = source
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


def _joined(arrays: Sequence[Array]) -> Float32 | None:
    """One array [1, sum of sizes] over ``arrays`` [1, size] that lie end to end in one block; None if they do not."""
    if not arrays or arrays[0].base is None or any(len(array) != 1 for array in arrays):
        return None
    block = arrays[0].base
    if any(array.base is not block for array in arrays) or not isinstance(block, np.ndarray) or block.ndim != 1:
        return None
    starts = [(array.ctypes.data - block.ctypes.data) // block.itemsize for array in arrays]
    sizes = [array.size for array in arrays]
    if any(start + size != following for start, size, following in zip(starts, sizes, starts[1:], strict=False)):
        return None
    joined: Float32 = block[starts[0] : starts[-1] + sizes[-1]].reshape(1, -1)
    return joined
