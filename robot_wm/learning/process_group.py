"""Several ranks over torch.distributed, as torchrun starts them: gloo on CPUs, NCCL between GPUs.

An exchange between devices is part of the update's CUDA graph, as NCCL allows (its guide, "Using NCCL with CUDA
Graphs"), or stands between two graphs. What a run agrees on goes over gloo on the host, whatever the device.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor

from robot_wm.errors import UserError
from robot_wm.learning.ranks import ALONE, Action, RankLostError, Ranks

# Rank 0 evaluates and saves while the others wait for what it says. A rank that has died shows at once, by its closed
# connections; this is for one that hangs.
_LONGEST_WAIT = timedelta(hours=1)
_LOOK_EVERY_S = 0.5
# Into one tensor, without copies; torch 2.13 has renamed it.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_DEATH_SHOWS_WITHIN_S = 2.0
_MAX_WORDS = 400


class ProcessGroup(Ranks):
    """The ranks that torchrun has started.

    ``captured``: exchanges between GPUs are recorded in the graphs of updates, not put between them. ``overlap``:
    gradients are exchanged beside what is computed meanwhile.
    """

    def __init__(self, store: dist.Store, device: torch.device, *, captured: bool = True, overlap: bool = True) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.on_host = int(os.environ.get("LOCAL_WORLD_SIZE", self.size))
        self.captured, self.overlap = captured, overlap
        self._store, self._device = store, device
        self._cut: Callable[[Action], None] | None = None
        self._endings: list[Action] = []
        self._lost: RankLostError | None = None
        self._closed = threading.Event()
        self._processes = [json.loads(text) for text in self.texts(json.dumps([socket.gethostname(), os.getpid()]))]
        if device.type == "cuda":
            # A communicator is made by its first use, which must not be within a capture.
            dist.all_reduce(torch.zeros(1, device=device))
            threading.Thread(target=self._watch, name="ranks", daemon=True).start()

    def mean(self, gradients: Sequence[Tensor]) -> Callable[[], Sequence[Tensor]]:
        """See `Ranks.mean`."""
        # Neighbours of one type are joined as they are and converted together: few kernels, however many tensors.
        joined = [torch.cat([g.reshape(-1) for g in run]) for _, run in groupby(gradients, key=lambda g: g.dtype)]
        flat = torch.cat([part.float() for part in joined])  # [P]
        flat.mul_(1.0 / self.size)
        works: list[dist.Work] = []

        def begin() -> None:
            work = dist.all_reduce(flat, async_op=self.overlap)
            works[:] = [work] if self.overlap else []

        def end() -> None:
            for work in works:
                work.wait()

        def averages() -> Sequence[Tensor]:
            if self.overlap:
                self._exchange(end)
            parts = flat.split([gradient.numel() for gradient in gradients])
            return [part.view(gradient.shape) for part, gradient in zip(parts, gradients, strict=True)]

        self._exchange(begin)
        return averages

    def gather(self, values: Tensor) -> Tensor:
        """See `Ranks.gather`."""
        own = values.contiguous()
        found = own.new_empty((self.size, *own.shape))
        self._exchange(lambda: _all_gather(found.flatten(), own.flatten()))
        return found

    def spread(self, tensors: Iterable[Tensor]) -> None:
        """See `Ranks.spread`."""
        for tensor in tensors:
            whole = tensor.detach().contiguous()
            self._called(lambda whole=whole: dist.broadcast(whole, src=0))  # type: ignore[misc]
            tensor.detach().copy_(whole)

    def rows(self, row: Sequence[float]) -> NDArray[np.float64]:
        """See `Ranks.rows`."""
        own = torch.tensor(row, dtype=torch.float64)
        found = torch.empty((self.size, len(row)), dtype=torch.float64)
        self._called(lambda: _all_gather(found.flatten(), own))
        return found.numpy()

    def texts(self, text: str) -> list[str]:
        """See `Ranks.texts`."""
        own = text.encode()
        lengths = self.rows([len(own)])[:, 0].astype(int).tolist()
        padded = torch.zeros(max(lengths), dtype=torch.uint8)
        padded[: len(own)] = torch.frombuffer(bytearray(own), dtype=torch.uint8) if own else padded[:0]
        found = torch.empty((self.size, len(padded)), dtype=torch.uint8)
        self._called(lambda: _all_gather(found.flatten(), padded))
        rows = found.numpy()
        return [rows[rank, :length].tobytes().decode() for rank, length in enumerate(lengths)]

    def told(self, find: Callable[[], Any]) -> Any:
        """See `Ranks.told`."""
        return json.loads(self.texts(json.dumps(find()) if self.rank == 0 else "")[0])

    def wait(self) -> None:
        """See `Ranks.wait`."""
        self.rows([0.0])

    def check(self) -> None:
        """See `Ranks.check`."""
        if self._lost is not None:
            raise self._lost

    def at_end(self, action: Action) -> None:
        """See `Ranks.at_end`."""
        self._endings.append(action)

    @contextmanager
    def apart(self, cut: Callable[[Action], None]) -> Iterator[None]:
        """See `Ranks.apart`."""
        self._cut = None if self.captured else cut
        try:
            yield
        finally:
            self._cut = None

    def close(self, *, failed: bool = False) -> None:
        """Leave the others, which do so at the same time; where one has ``failed``, without them.

        Recorded exchanges go first: NCCL waits for the end of every graph that has one.
        """
        self._closed.set()
        for action in self._endings:
            action()
        if failed:
            self._abort()
            # Gloo's threads must end while there is a Python that frees what they hold: one that comes too late aborts
            # the process. An exchange that the others have left hanging is not waited for.
            ending = threading.Thread(target=dist.destroy_process_group, daemon=True)
            ending.start()
            ending.join(_DEATH_SHOWS_WITHIN_S)
        else:
            dist.destroy_process_group()

    def _abort(self) -> None:
        """End what GPUs exchange, even where they wait for each other."""
        if self._device.type == "cuda":
            with suppress(RuntimeError):
                dist.distributed_c10d._get_default_group()._get_backend(self._device).abort()

    def say_last(self, error: BaseException) -> None:
        """Leave word of what this rank ends with, for those who will miss it."""
        with suppress(RuntimeError):  # whoever keeps the store may have ended before
            self._store.set(_key(self.rank), (" ".join(str(error).split()) or type(error).__name__)[:_MAX_WORDS])

    def _exchange(self, action: Action) -> None:
        """Between devices: now, or wherever a recording puts it."""
        if self._cut is None:
            self._called(action)
        else:
            self._cut(lambda: self._called(action))

    def _called(self, action: Callable[[], object]) -> None:
        self.check()
        try:
            action()
        except RuntimeError as error:
            self._miss(error)

    def _miss(self, error: RuntimeError) -> NoReturn:
        """Raise what an exchange that failed means; which rank it was shows a little later."""
        end = time.monotonic() + _DEATH_SHOWS_WITHIN_S
        while self._lost is None and time.monotonic() < end:
            self._lost = self._found_lost()
            time.sleep(0.05)
        raise self._lost or RankLostError(f"another rank does not answer: {str(error).splitlines()[0]}") from error

    def _found_lost(self) -> RankLostError | None:
        for rank, (host, process) in enumerate(self._processes):
            if rank == self.rank:
                continue
            with suppress(RuntimeError):
                if self._store.check([_key(rank)]):
                    return RankLostError(f"rank {rank} failed: {self._store.get(_key(rank)).decode()}")
            if host == socket.gethostname() and _is_gone(process):
                return RankLostError(f"rank {rank} (process {process}) was killed")
        return None

    def _watch(self) -> None:
        """A GPU waits for ever for one that is gone, and who waits for the GPU hears no signal: look, and free it.

        The update that was under way is garbage then, and whoever goes on has to go back behind it.
        """
        while not self._closed.wait(_LOOK_EVERY_S):
            lost = self._found_lost()
            if lost is None:
                continue
            self._lost = lost
            # Nothing is launched from now on, see `check`; what was being launched is through by then.
            if not self._closed.wait(_LOOK_EVERY_S):
                self._abort()
            return


def _key(rank: int) -> str:
    return f"last_words/{rank}"


def _is_gone(process: int) -> bool:
    """Whether a process of this host has ended, also where its parent has not asked yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True
    except OSError:
        return False


@contextmanager
def process_group(place: torch.device, *, captured: bool = True, overlap: bool = True) -> Iterator[Ranks]:
    """The ranks that this process was started as one of, by torchrun or alike; where it was not, it alone.

    ``place`` is the device that this rank has to itself; see `ProcessGroup`. Raises UserError where the others cannot
    be reached.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield ALONE
        return
    if place.type == "cuda":
        torch.cuda.set_device(place)
    try:
        store, rank, size = next(iter(dist.rendezvous("env://", timeout=_LONGEST_WAIT)))
        backend = "cpu:gloo,cuda:nccl" if place.type == "cuda" else "gloo"
        dist.init_process_group(
            backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size, timeout=_LONGEST_WAIT
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the other ranks cannot be reached: {str(error).splitlines()[0]}") from None
    ranks = ProcessGroup(dist.PrefixStore("robot_wm", store), place, captured=captured, overlap=overlap)
    try:
        yield ranks
    except BaseException as error:
        # Told to stop, all of them were, and they have saved together.
        told = isinstance(error, KeyboardInterrupt)
        if not told and not isinstance(error, RankLostError):
            ranks.say_last(error)
        ranks.close(failed=not told)
        raise
    ranks.close()
