"""Parallel streams of steps in preallocated rings: what the sequence sampler draws from.

A *position* counts the steps of one stream from 0 and never comes back, so it says both where a step lies
(position modulo ring size) and whether it is still there: a stream's live positions are the last ring-full.
Shape letters: N rows written at once, P ring size, A action.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.replay.stored import Stored
from robot_wm.runtime.transform import CommandMap, Scaling
from robot_wm.spec import AgentSpec
from robot_wm.step import step_columns

Array = NDArray[Any]
Ints = NDArray[np.int64]

STEPS, STORED = "steps", "stored"  # groups of columns: what came with a step, and what the agent keeps beside it
# Where the newest values of a row are on disk: in no segment yet, or nowhere since the store has them or they are 0.
UNSAVED, NOT_NEEDED = 0, -1


def _columns(spec: AgentSpec, stored: Sequence[Stored]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of a step in each array of the rings."""
    # "age": steps since the episode's first
    shapes = step_columns(spec) | {"age": ((), np.dtype(np.int32))}
    if taken := sorted(shapes.keys() & {entry.name for entry in stored}):
        raise ValueError(f"stored {taken[0]}: a column of every step has that name")
    return shapes | {entry.name: (entry.shape, np.dtype(entry.dtype)) for entry in stored}


def ring_bytes_per_step(spec: AgentSpec, stored: Sequence[Stored] = ()) -> int:
    """Memory that a step takes in the rings, bytes."""
    return sum(math.prod(shape) * dtype.itemsize for shape, dtype in _columns(spec, stored).values())


class StreamRings:
    """Rings of ``capacity`` steps, one a stream, holding what the model reads: observations scaled, actions in [-1, 1].

    Each ring has ``history_length - 1`` rows more than its capacity, so that the oldest step within capacity still
    finds all its history frames. Untouched rows cost address space only.
    """

    def __init__(self, spec: AgentSpec, *, streams: int, capacity: int, stored: Sequence[Stored] = ()) -> None:
        self.spec = spec
        self.streams = streams
        self.capacity = capacity  # steps a stream
        self.size = capacity + spec.history_length - 1  # P
        self.count = np.zeros(streams, np.int64)  # [streams] steps written: the next position
        self.open = np.zeros(streams, np.bool_)  # [streams] an episode is running
        self._scalings = {f"obs/{field.name}": Scaling(field) for field in spec.observations if not field.is_image}
        self._commands = CommandMap(spec.action)
        self.rows: dict[str, Array] = {
            name: np.zeros((streams * self.size, *shape), dtype)
            for name, (shape, dtype) in _columns(spec, stored).items()
        }
        beside = tuple(entry.name for entry in stored)
        self.groups = {STEPS: tuple(name for name in self.rows if name not in beside), STORED: beside}
        # group -> [rows] number of the segment on disk (see `segments`) that holds a live row, or why none does.
        self.held_in = {group: np.full(streams * self.size, UNSAVED, np.int32) for group in self.groups}

    @property
    def low(self) -> Ints:
        """[streams] oldest position that may be read."""
        return np.maximum(self.count - self.capacity, 0)

    @property
    def ages(self) -> Ints:
        """[streams] steps of the newest episode so far; what it says of a stream without steps means nothing."""
        return self.rows["age"][self.slots(np.arange(self.streams, dtype=np.int64), self.count - 1)] + 1

    def slots(self, stream: Ints | int, position: Ints) -> Ints:
        """Rows at which positions of a stream lie (the arguments broadcast)."""
        return np.asarray(stream * self.size + position % self.size, np.int64)

    def holds(self, stream: Ints, position: Ints) -> NDArray[np.bool_]:
        """Whether each step is still there, not overwritten since."""
        count = self.count[stream]
        return (position < count) & (position >= count - self.size)

    def names(self, rows: Ints) -> Ints:
        """``position * streams + stream`` of the newest step that was written to each of these rows."""
        stream, newest = rows // self.size, self.count[rows // self.size] - 1
        return (newest - (newest - rows) % self.size) * self.streams + stream

    def write(self, stream: int, steps: Mapping[str, Array]) -> None:
        """Append N consecutive raw steps (arrays [N, ...] in SI units, what is stored beside optional) to ``stream``.

        A first step that follows a running episode ends that one as truncated. Raises ValueError if a step is
        neither an episode's first nor the follower of a running one.
        """
        first = steps["is_first"]  # [N]
        last = steps["is_last"] | np.append(first[1:], False)  # [N]
        n = first.shape[0]
        closed = np.concatenate([~self.open[stream : stream + 1], last[:-1]])  # [N] no episode runs before the step
        if (closed & ~first).any():
            raise ValueError(f"stream {stream}: a step without is_first follows the end of an episode")
        ages = self._ages(stream, first)
        if self.open[stream] and first[0]:
            self._truncate(self._newest(stream))
        count = int(self.count[stream])
        for here, there in self._segments(stream, count, n):
            self._put({name: array[here] for name, array in steps.items()}, last[here], ages[here], there)
        self.count[stream] = count + n
        self.open[stream] = not last[-1]

    def write_step(self, steps: Mapping[str, Array], streams: Ints) -> None:
        """Append one raw step to each of N different ``streams`` [N]: arrays [N, ...], otherwise as `write`."""
        first, last = steps["is_first"], steps["is_last"]  # [N]
        is_open, count = self.open[streams], self.count[streams]  # [N]
        if not (is_open | first).all():
            stream = int(streams[np.argmin(is_open | first)])
            raise ValueError(f"stream {stream}: a step without is_first follows the end of an episode")
        newest = self.slots(streams, count - 1)  # [N] of a stream without steps: any row
        cut = newest[is_open & first]
        if cut.size:
            self._truncate(cut)
        ages = np.where(first, 0, self.rows["age"][newest] + 1)
        self._put(steps, last, ages, self.slots(streams, count))
        self.count[streams] += 1
        self.open[streams] = ~last

    def _segments(self, stream: int, count: int, n: int) -> Iterator[tuple[slice, slice]]:
        """Up to two pairs of (steps, rows), both contiguous; of more than a ring-full only the end stays."""
        begin = max(0, n - self.size)
        while begin < n:
            row = (count + begin) % self.size
            end = min(n, begin + self.size - row)
            yield slice(begin, end), slice(stream * self.size + row, stream * self.size + row + end - begin)
            begin = end

    def _put(self, steps: Mapping[str, Array], last: NDArray[np.bool_], ages: Ints, there: slice | Ints) -> None:
        """Write raw steps [N, ...] to the rows ``there`` as the model reads them."""
        for name, rows in self.rows.items():
            value: Array | int
            if name in self._scalings:
                value = np.empty(steps[name].shape, np.float32)
                self._scalings[name].into(steps[name], value)
            elif name == "action":
                value = np.empty(steps[name].shape, np.float32)
                self._commands.policy_into(steps[name], value)
                value[last] = 0.0  # nothing was done after the last observation
            elif name == "is_last":
                value = last
            elif name == "age":
                value = ages
            else:
                value = steps.get(name, 0)  # 0: what nobody has computed
            rows[there] = value
        self.held_in[STEPS][there] = UNSAVED
        self.held_in[STORED][there] = NOT_NEEDED if steps.keys().isdisjoint(self.groups[STORED]) else UNSAVED

    def _ages(self, stream: int, first: NDArray[np.bool_]) -> Ints:
        """[N] steps since the episode's first step."""
        before = 0
        if self.open[stream]:
            before = 1 + int(self.rows["age"][self._newest(stream)])
        step = np.arange(first.shape[0])
        begun = np.maximum.accumulate(np.where(first, step, -1))  # [N] latest first step so far, -1 for none
        return np.where(begun >= 0, step - begun, step + before)

    def _newest(self, stream: int) -> int:
        """Row of the stream's newest step."""
        return stream * self.size + (int(self.count[stream]) - 1) % self.size

    def _truncate(self, row: int | Ints) -> None:
        """Mark the steps at these rows as their episodes' last."""
        self.rows["is_last"][row] = True
        self.rows["action"][row] = 0.0

    def refill(self, stream: int, begin: int, steps: Mapping[str, Array], *, age: int) -> None:
        """Put consecutive raw steps of one episode back from position ``begin`` on, as far as they are live.

        ``age`` is the first one's. Counters stay; what is stored beside the steps becomes 0.
        """
        ages = age + np.arange(steps["is_first"].shape[0])
        position = begin + np.arange(len(ages), dtype=np.int64)
        there = self.holds(np.full_like(position, stream), position)
        kept = {name: array[there] for name, array in {**steps, "is_first": ages == 0}.items()}
        self._put(kept, kept["is_last"], ages[there], self.slots(stream, position[there]))

    def end_before_firsts(self) -> None:
        """Mark each live step as its episode's last that the first step of another follows, as `write` does."""
        rows = self.live()
        names = self.names(rows)
        stream, after = names % self.streams, names // self.streams + 1
        followed = after < self.count[stream]
        first = self.rows["is_first"][self.slots(stream, after)]
        self._truncate(rows[followed & first])

    def observations(self, stream: Ints, position: Ints) -> dict[str, Array]:
        """Model inputs at positions [B, T1] of streams [B, 1].

        Vectors are [B, T1, F*O], oldest frame first; images [B, T1, H, W, C], the newest frame only. Before an
        episode's first step its first frame is repeated, as runtime.transform.History does.
        """
        slots = self.slots(stream, position)  # [B, T1]
        frames = np.arange(self.spec.history_length - 1, -1, -1)  # [F] steps back
        if len(frames) > 1:
            back = np.minimum(frames, self.rows["age"][slots][..., None])  # [B, T1, F]
            frame_slots = self.slots(stream[..., None], position[..., None] - back)  # [B, T1, F]
        else:
            frame_slots = slots[..., None]
        inputs: dict[str, Array] = {}
        for field in self.spec.observations:
            rows = self.rows[f"obs/{field.name}"]
            if field.is_image:
                inputs[field.name] = rows.take(slots, axis=0)
            else:
                inputs[field.name] = rows.take(frame_slots, axis=0).reshape(*slots.shape, -1)
        return inputs

    def live(self) -> Ints:
        """Rows of every live step, stream by stream, oldest first."""
        parts = [
            self.slots(stream, np.arange(max(0, count - self.size), count, dtype=np.int64))
            for stream, count in enumerate(self.count.tolist())
        ]
        return np.concatenate(parts)

    def state_dict(self, *, rows: bool = True) -> dict[str, Array]:
        """Counters and the live rows, as copies; ``rows=False`` leaves out the rows."""
        live = self.live()
        return {"count": self.count.copy(), "open": self.open.copy()} | {
            f"rows/{name}": array[live] for name, array in self.rows.items() if rows
        }

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Take over a state of rings of the same layout, with or without rows."""
        self.count[:] = state["count"]
        self.open[:] = state["open"]
        live = self.live()
        for name, rows in self.rows.items():
            if f"rows/{name}" in state:
                rows[live] = state[f"rows/{name}"]
        for held_in in self.held_in.values():
            held_in[:] = UNSAVED
