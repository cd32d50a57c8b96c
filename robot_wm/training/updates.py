"""Updates one after the other, with the replay's work hidden behind the device's, and where the time went.

While a GPU computes one update, the host stores the latents of the update before it and draws and sends the batch of
the next one, so the device always has work queued. A run of updates ends with nothing under way: whatever looks at the
replay between two runs (a checkpoint, a prediction, a resume) finds it as if nothing had overlapped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.learner import Learner
from robot_wm.replay.batch import SequenceBatch
from robot_wm.replay.stored import Values


class Replay(Protocol):
    """What batches are drawn from, and latents written back to: a sampler, or a mixture of them."""

    def sample(self, batch: int) -> SequenceBatch:
        """``batch`` windows."""

    def write_back(self, index: NDArray[np.int64], values: Values) -> int:
        """Replace what is stored at the steps ``index`` [B, T] by ``values`` [B, T, *shape] by name."""

    def prioritise(self, index: NDArray[np.int64], errors: NDArray[np.float32]) -> int:
        """Say how wrong the learner was, [B], about the windows whose context steps are ``index`` [B]."""


class Mark(Protocol):
    """A point of a device's work, as `torch.cuda.Event` is one."""

    def elapsed_time(self, end_event: Any, /) -> float:
        """Milliseconds from here to a later point; both have been passed."""

    def synchronize(self) -> None:
        """Wait until the device has passed it."""


class _HostMark:
    """A point of the work of a device that is never behind the host."""

    def __init__(self) -> None:
        self._at_s = time.perf_counter()

    def elapsed_time(self, end_event: _HostMark, /) -> float:
        return 1e3 * (end_event._at_s - self._at_s)

    def synchronize(self) -> None:
        pass


@dataclass
class Spent:
    """Seconds that a run's parts have taken so far.

    On a GPU ``transfer`` and ``update`` are the device's seconds, which the host spends on the other parts of the
    replay: the sum may exceed the wall clock.
    """

    collect: float = 0.0  # waiting for the simulators, acting, storing the steps
    sample: float = 0.0  # drawing windows, storing latents
    transfer: float = 0.0  # batches to the device, latents back
    update: float = 0.0

    def shares(self, wall_s: float) -> dict[str, float]:
        """Each part over the wall clock, as ``<part>_share``."""
        return {f"{name}_share": spent / max(wall_s, 1e-9) for name, spent in vars(self).items()}


@dataclass(frozen=True)
class _Drawn:
    """A batch on its way to the device."""

    index: NDArray[np.int64]  # [B, T1] names of the steps
    tensors: TensorBatch
    began: Mark
    ended: Mark


@dataclass(frozen=True)
class _Launched:
    """An update that the device may still be working on, and its latents on their way to the host."""

    drawn: _Drawn
    write_back: dict[str, Tensor]  # as `UpdateResult` has it, on the CPU once ``ended`` has passed
    priority: Tensor | None  # [B], likewise
    began: Mark
    updated: Mark
    ended: Mark


@dataclass
class ReplayedUpdates:
    """Runs updates of ``learner`` on batches of ``sampler``, and rewrites the latents that each of them found.

    With ``ahead`` the next batch is drawn while an update is under way, so a window may start from a latent that is
    older by one update than the newest. By default that is done on a GPU; a CPU has nothing to hide the work behind.
    """

    learner: Learner
    sampler: Replay
    spent: Spent
    batch_size: int
    ahead: bool | None = None
    metrics: dict[str, Tensor] = field(default_factory=dict)  # of the latest update, on the device

    def __post_init__(self) -> None:
        if self.ahead is None:
            self.ahead = self.learner.device.type == "cuda"
        self._dtypes = {entry.name: getattr(torch, entry.dtype) for entry in self.learner.agent.stored}

    def run(self, most: int, go_on: Callable[[], bool] = lambda: True) -> int:
        """Do up to ``most`` updates, asking ``go_on`` before each; returns how many were done, all of them finished."""
        done = 0
        under_way: deque[_Launched] = deque()
        drawn = self._draw() if most > 0 and go_on() else None
        while drawn is not None:
            under_way.append(self._launch(drawn))
            done += 1
            while len(under_way) > int(bool(self.ahead)):
                self._store(under_way.popleft())
            drawn = self._draw() if done < most and go_on() else None
        while under_way:
            self._store(under_way.popleft())
        return done

    def _draw(self) -> _Drawn:
        start = time.perf_counter()
        batch = self.sampler.sample(self.batch_size)
        self.spent.sample += time.perf_counter() - start
        began = self._mark()
        tensors = TensorBatch.from_numpy(batch, self.learner.device)
        return _Drawn(batch.index, tensors, began, self._mark())

    def _launch(self, drawn: _Drawn) -> _Launched:
        began = self._mark()
        result = self.learner.update(drawn.tensors)
        self.metrics = result.metrics
        updated = self._mark()
        # Queued before the next update, which overwrites the result; into pinned memory, so nothing waits here.
        write_back = {
            name: value.to(self._dtypes[name]).to("cpu", non_blocking=True, copy=True)
            for name, value in result.write_back.items()
        }
        priority = None if result.priority is None else result.priority.float().to("cpu", non_blocking=True, copy=True)
        return _Launched(drawn, write_back, priority, began, updated, self._mark())

    def _store(self, launched: _Launched) -> None:
        """Wait until the latents have arrived and put them into the replay."""
        launched.ended.synchronize()
        drawn = launched.drawn
        transfer_ms = drawn.began.elapsed_time(drawn.ended) + launched.updated.elapsed_time(launched.ended)
        self.spent.transfer += transfer_ms / 1e3
        self.spent.update += launched.began.elapsed_time(launched.updated) / 1e3
        start = time.perf_counter()
        if values := {name: value.numpy() for name, value in launched.write_back.items()}:
            windows, steps = next(iter(values.values())).shape[:2]
            self.sampler.write_back(drawn.index[-windows:, 1 : 1 + steps], values)
        if launched.priority is not None:
            self.sampler.prioritise(drawn.index[:, 0], launched.priority.numpy())
        self.spent.sample += time.perf_counter() - start

    def _mark(self) -> Mark:
        if self.learner.device.type != "cuda":
            return _HostMark()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.learner.device))
        return event
