"""Sequences for a learner, drawn from streams of experience in memory.

As DreamerV3 replays (Hafner et al., Nature 2025; danijar/dreamerv3 `embodied/replay`): every new step is trained on
once in its order before windows are drawn uniformly, each window is preceded by one context step whose stored
posterior starts the sequence, and the latents that an update computes are written back. Here they are whatever an agent
has stored beside its steps, and windows may be drawn by `priorities` instead.
Shape letters: B batch, T trained steps, T1 = T + 1, A action, N steps of an episode.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.replay.batch import SequenceBatch
from robot_wm.replay.episode import Episode
from robot_wm.replay.placed import Places
from robot_wm.replay.priorities import WindowPriorities
from robot_wm.replay.rings import STORED, UNSAVED, Array, Ints, StreamRings
from robot_wm.replay.stored import Stored, Values, by_name
from robot_wm.spec import AgentSpec
from robot_wm.step import Steps, column_names, step_columns

# PCG64's 128-bit state and increment, as 64-bit words that safetensors can hold.
_WORD = 1 << 64


class SequenceSampler:
    """Windows of ``length + 1`` consecutive steps out of per-stream rings.

    A *stream* is what one environment produced, episode after episode; a window may cross episode borders, but never
    streams nor the place where a ring overwrites its oldest steps. Methods may be called from several threads.
    """

    def __init__(
        self,
        spec: AgentSpec,
        *,
        capacity_steps: int,
        length: int = 64,
        streams: int = 1,
        stored: Sequence[Stored] = (),
        seed: int = 0,
        priority_exponent: float = 0.0,
        priority_correction: float = 0.0,
    ) -> None:
        """Reserve memory for ``capacity_steps`` steps, divided evenly among ``streams``.

        ``length`` is T in steps; ``stored`` is what the agent has kept beside each. With a ``priority_exponent`` all
        windows are drawn by priority, and none is fresh.
        Raises UserError where a stream's share of the capacity does not hold one window.
        """
        if min(length, streams) < 1:
            raise ValueError(f"length {length} and streams {streams} must be positive")
        capacity = capacity_steps // streams
        if capacity < length + 1:
            raise UserError(
                f"replay capacity: {capacity_steps} steps among {streams} streams hold no window of {length} + 1 steps"
            )
        self.spec = spec
        self.length = length
        self.streams = streams
        self._stored = by_name(stored)
        self._rings = StreamRings(spec, streams=streams, capacity=capacity, stored=tuple(self._stored.values()))
        self.places = Places(self._rings)  # which stored episodes its steps are, as far as it was told
        self._columns = step_columns(spec)
        # What a caller's numbers become; pictures must be what they are.
        self._converted = {name: dtype for name, (_, dtype) in self._columns.items() if dtype != np.uint8}
        self._bits = np.random.PCG64(seed)
        self._rng = np.random.Generator(self._bits)
        self._fresh: list[int] = []  # names (see _names) of windows not returned yet, oldest first
        self._next_fresh = np.zeros(streams, np.int64)  # [streams] context position of the next fresh window
        self._priorities: WindowPriorities | None = None
        if priority_exponent > 0:
            self._priorities = WindowPriorities(
                self._rings, length=length, exponent=priority_exponent, correction=priority_correction
            )
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Steps that can be drawn."""
        return int((self._rings.count - self._rings.low).sum())

    @property
    def rings(self) -> StreamRings:
        """What it draws from, for this package alone."""
        return self._rings

    @property
    def capacity_steps(self) -> int:
        """Steps that can be drawn when every ring is full."""
        return self._rings.capacity * self.streams

    @property
    def steps_added(self) -> int:
        """Steps ever added, the overwritten ones included."""
        return int(self._rings.count.sum())

    @property
    def windows(self) -> int:
        """Distinct windows that can be drawn now; ``sample`` needs one."""
        return int(self._valid_starts()[1].sum())

    @property
    def fresh_windows(self) -> int:
        """Windows not returned yet."""
        return len(self._fresh)

    def add_step(self, step: Steps[Any], *, streams: Ints | None = None, stored: Values | None = None) -> None:
        """Append one step to N ``streams`` [N], all different and by default all there are: row n to the nth of them.

        Raw SI values; ``stored`` [N, *shape] by name is what the agent kept, zeros if not given. Of a bad step
        nothing is stored. Raises UserError for a value that is not finite, ValueError for a wrong shape or a missing
        ``is_first``.
        """
        steps: dict[str, Array] = {
            name: np.asarray(value, self._converted.get(name)) for name, value in step.columns().items()
        }
        streams = np.arange(self.streams, dtype=np.int64) if streams is None else streams
        kept = self._checked(steps, stored or {}, streams=streams)
        with self._lock:
            self._rings.write_step({**steps, **kept}, streams)
            if self._priorities is not None:
                self._priorities.follow()
                return
            # A step completes one window of a stream at most.
            whole = streams[self._rings.count[streams] - 1 - self._next_fresh[streams] >= self.length]
            self._fresh += (self._next_fresh[whole] * self.streams + whole).tolist()
            self._next_fresh[whole] += self.length

    def add_episode(
        self,
        episode: Episode,
        *,
        stream: int | None = None,
        stored: Values | None = None,
        fresh: bool = True,
    ) -> int:
        """Append a stored episode, or a piece of one, and return its stream.

        By default a piece goes to the stream that the piece before it has gone to, and anything else to the stream that
        has got least, of those that run no episode if there are any; a running one is truncated there. A piece whose
        predecessor has not come begins as an episode does: nothing is known of what was before.
        ``stored`` [N, *shape] by name is zeros if not given. ``fresh=False`` leaves it to uniform sampling only, as for
        experience that was trained on before.
        """
        rings, before = self._rings, episode.source.first_step
        goes_on = rings.open & (rings.ages == before) & (before > 0)  # [streams] where the episode has come to
        if stream is None:
            for candidates in (goes_on, ~rings.open, np.ones(self.streams, np.bool_)):
                if candidates.any():
                    stream = int(np.flatnonzero(candidates)[np.argmin(rings.count[candidates])])
                    break
        if stream is None or not 0 <= stream < self.streams:
            raise ValueError(f"stream {stream} of {self.streams}")
        steps = episode.columns()
        if before > 0 and not goes_on[stream]:
            steps["is_first"] = np.arange(episode.length) == 0
        kept = self._checked(steps, stored or {}, streams=np.full(episode.length, stream, np.int64))
        with self._lock:
            self._rings.write(stream, {**steps, **kept})
            self._queue_fresh(stream, fresh)
        return stream

    def _checked(
        self,
        steps: Mapping[str, Array],
        stored: Values,
        *,
        streams: Ints,
    ) -> dict[str, Array]:
        """What is stored beside the steps as arrays; raises for steps [rows, ...] that are not what the spec describes.

        Each row is the next step of its stream in ``streams`` [rows].
        """
        rows = len(streams)
        if steps.keys() != self._columns.keys():
            raise ValueError(f"columns {sorted(steps)}, but the AgentSpec asks for {sorted(self._columns)}")
        for name, (shape, dtype) in self._columns.items():
            array = steps[name]
            if array.shape != (rows, *shape) or (dtype == np.uint8) != (array.dtype == np.uint8):
                asked = f"{dtype} {(rows, *shape)}"
                raise ValueError(f"{name}: {array.dtype} {array.shape}, but the AgentSpec asks for {asked}")
            if dtype == np.float32 and not np.isfinite(array).all():
                row = int(np.argwhere(~np.isfinite(array))[0][0])
                where = int(streams[row])
                step = int(self._rings.count[where]) + int((streams[:row] == where).sum())
                raise UserError(f"stream {where}: {name} is not finite at step {step}")
        kept = {name: np.asarray(value) for name, value in stored.items()}
        for name, value in kept.items():
            if name not in self._stored:
                raise ValueError(f"{name}: not declared; stored are {sorted(self._stored)}")
            if value.shape != (rows, *self._stored[name].shape):
                raise ValueError(f"{name}: shape {value.shape}, but {(rows, *self._stored[name].shape)} is stored")
        return kept

    def _queue_fresh(self, stream: int, fresh: bool) -> None:
        """Queue each window that has become complete; their trained steps follow each other without overlap."""
        if self._priorities is not None:
            self._priorities.follow()
            return
        newest = int(self._rings.count[stream]) - 1
        start = int(self._next_fresh[stream])
        if fresh:
            complete = max(0, (newest - start) // self.length)
            self._fresh += [(start + k * self.length) * self.streams + stream for k in range(complete)]
            self._next_fresh[stream] = start + complete * self.length
        else:
            self._next_fresh[stream] = newest

    def sample(self, batch: int) -> SequenceBatch:
        """Draw ``batch`` windows: fresh ones first, each once, then uniformly with replacement over all valid starts.

        With priorities: all of them by those, with replacement. Raises ValueError where no stream holds a whole window
        yet (see ``windows``).
        """
        with self._lock:
            low, valid = self._valid_starts()
            self._require_a_window(valid)
            if self._priorities is not None:
                return self._gather(*self._priorities.draw(batch, int(valid.sum()), self._rng))
            fresh = self._take_fresh(batch, low)
            return self._gather(np.concatenate([fresh, self._draw(batch - len(fresh), low, valid, self._rng)]))

    def look(self, batch: int, rng: np.random.Generator) -> SequenceBatch:
        """``batch`` windows drawn uniformly by ``rng``, for what does not train: `sample` goes on as if never called.

        Raises ValueError as `sample` does.
        """
        with self._lock:
            low, valid = self._valid_starts()
            self._require_a_window(valid)
            return self._gather(self._draw(batch, low, valid, rng))

    def at(self, stream: Ints, position: Ints) -> SequenceBatch:
        """The windows whose context steps are at these positions of these streams, [B] each.

        What lies before a stream's first step, behind its newest one or has been overwritten means nothing.
        """
        with self._lock:
            return self._gather(position * self.streams + stream)

    def _require_a_window(self, valid: Ints) -> None:
        if not valid.any():
            raise ValueError(f"no stream holds {self.length} + 1 steps yet")

    def _draw(self, count: int, low: Ints, valid: Ints, rng: np.random.Generator) -> Ints:
        """Names of ``count`` windows, uniformly with replacement."""
        ends = np.cumsum(valid)  # [streams]
        drawn = rng.integers(int(ends[-1]), size=count, dtype=np.int64)
        stream = np.searchsorted(ends, drawn, side="right").astype(np.int64)
        return (low[stream] + drawn - (ends - valid)[stream]) * self.streams + stream

    def prioritise(self, index: Ints, errors: NDArray[np.float32]) -> int:
        """Say how wrong the learner was about the windows whose context steps are ``index`` [B]; errors [B].

        Those overwritten since are left out; returns how many counted, of which there is none without priorities.
        """
        with self._lock:
            return 0 if self._priorities is None else self._priorities.put(index, errors)

    def _gather(self, names: Ints, weights: NDArray[np.float32] | None = None) -> SequenceBatch:
        rings, rows = self._rings, self._rings.rows
        stream = (names % self.streams)[:, None]  # [B, 1]
        position = (names // self.streams)[:, None] + np.arange(self.length + 1, dtype=np.int64)  # [B, T1]
        slots = rings.slots(stream, position)  # [B, T1]
        return SequenceBatch(
            obs=rings.observations(stream, position),
            **{name: rows[name].take(slots, axis=0) for name in column_names(Steps)},
            stored={name: self._kept(entry, slots) for name, entry in self._stored.items()},
            index=position * self.streams + stream,
            window={
                "weight": np.ones(len(names), np.float32) if weights is None else weights,
                "age": ((rings.count[stream[:, 0]] - 1 - position[:, 1]) * self.streams).astype(np.float32),
            },
        )

    def _kept(self, entry: Stored, slots: Ints) -> Array:
        """What is stored at ``slots`` [B, T1], as training wants it."""
        wanted = slots[:, 0] if entry.use == "context" else slots
        taken = self._rings.rows[entry.name].take(wanted, axis=0)
        return taken.astype(np.float32) if entry.dtype == "float16" else taken

    def _valid_starts(self) -> tuple[Ints, Ints]:
        """[streams] lowest valid start and [streams] number of them."""
        low = self._rings.low
        return low, np.maximum(self._rings.count - low - self.length, 0)

    def _take_fresh(self, batch: int, low: Ints) -> Ints:
        """Up to ``batch`` fresh windows; those that have been overwritten are dropped."""
        taken = np.zeros(0, np.int64)
        while self._fresh and len(taken) < batch:
            wanted = batch - len(taken)
            names = np.array(self._fresh[:wanted], np.int64)
            del self._fresh[:wanted]
            taken = np.concatenate([taken, names[names // self.streams >= low[names % self.streams]]])
        return taken

    def write_back(self, index: Ints, values: Values) -> int:
        """Replace what is stored at the steps ``index`` [B, T] by ``values`` [B, T, *shape] by name.

        Steps overwritten since they were sampled are left out; returns how many were written. Of a step that occurs
        twice the later one counts.
        """
        with self._lock:
            rings = self._rings
            stream, position = index % self.streams, index // self.streams
            held = rings.holds(stream, position)  # [B, T]
            everything = bool(held.all())  # the usual case, where no copy is needed
            slots = rings.slots(stream, position)
            slots = slots if everything else slots[held]
            for name, value in values.items():
                if value.shape != (*index.shape, *self._stored[name].shape):
                    raise ValueError(f"{name}: shape {value.shape} for index {index.shape}")
                rings.rows[name][slots] = value if everything else value[held]
            if values:
                rings.held_in[STORED][slots] = UNSAVED
            return slots.size

    def state_dict(self, *, rows: bool = True) -> dict[str, Array]:
        """Everything that the next batch depends on, as plain arrays; ``load_state_dict`` continues exactly.

        ``rows=False`` leaves out the steps, which then have to come from elsewhere (see `saved`).
        """
        with self._lock:
            state: Mapping[str, Any] = self._bits.state
            words = [word for key in ("state", "inc") for word in divmod(state["state"][key], _WORD)]
            own: dict[str, Array] = {
                "layout": self._layout(),
                "spec": np.frombuffer(hashlib.sha256(self.spec.content_hash().encode()).digest(), np.uint8).copy(),
                "rng": np.array([*words, state["has_uint32"], state["uinteger"]], np.uint64),
                "fresh": np.array(self._fresh, np.int64),
                "next_fresh": self._next_fresh.copy(),
            }
            if self._priorities is not None:
                own["priorities"] = self._priorities.state()
            return own | {f"rings/{name}": array for name, array in self._rings.state_dict(rows=rows).items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue from a saved state; raises UserError where it was made with another layout or AgentSpec.

        One with rows is a test's, or of a checkpoint of an older version. Priorities that only one of the two has are
        forgotten, or begin as those of new windows.
        """
        priorities = state.get("priorities")
        state = {name: array for name, array in state.items() if name != "priorities"}
        rows = any(name.startswith("rings/rows/") for name in state)
        mine = self.state_dict(rows=rows)
        if rows:  # an older version's does not say which rewards are known: it trained on all of them
            state = {"rings/rows/reward_known": np.ones(len(state["rings/rows/reward"]), np.bool_), **state}
        # An older version's has the widths of the latents behind it, which their arrays tell, too.
        for name, saved, now in zip(_LAYOUT, state["layout"].tolist(), self._layout().tolist(), strict=False):
            if saved != now:
                raise UserError(f"saved replay: {name} {saved}, but this run has {now}")
        if not np.array_equal(state["spec"], mine["spec"]):
            raise UserError("saved replay: made for another AgentSpec")
        mine.pop("priorities", None)
        if mine.keys() != state.keys():
            raise UserError(f"saved replay: arrays {sorted(mine.keys() ^ state.keys())} are missing or unknown")
        for name, entry in self._stored.items() if rows else ():
            saved_shape = state[f"rings/rows/{name}"].shape[1:]
            if saved_shape != entry.shape:
                raise UserError(f"saved replay: {name} {saved_shape}, but this run has {entry.shape}")
        with self._lock:
            self._rings.load_state_dict(
                {k.removeprefix("rings/"): v for k, v in state.items() if k.startswith("rings/")}
            )
            words = [int(word) for word in state["rng"]]
            self._bits.state = {
                "bit_generator": "PCG64",
                "state": {"state": words[0] * _WORD + words[1], "inc": words[2] * _WORD + words[3]},
                "has_uint32": words[4],
                "uinteger": words[5],
            }
            self._fresh = [int(name) for name in state["fresh"]]
            self._next_fresh[:] = state["next_fresh"]
            if self._priorities is not None:
                self._priorities.load_state(priorities)

    def _layout(self) -> Ints:
        return np.array((self.streams, self._rings.capacity, self.length), np.int64)


_LAYOUT = ("streams", "capacity in steps a stream", "length in steps")
