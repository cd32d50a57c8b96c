"""A function of a batch recorded once as a CUDA graph and replayed: one launch instead of thousands.

The function must have static shapes and neither branch on values nor wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from robot_wm.learning.ranks import ALONE, Action, Ranks
from robot_wm.step import each

_WARM_UP = 3

Batch = TypeVar("Batch")  # a dataclass of tensors and of dictionaries of tensors
Result = TypeVar("Result")


class CapturedFunction(Generic[Batch, Result]):
    """``function`` of batches with the shapes of ``example``, replayed.

    It must have run before, so that nothing is compiled or allocated for the first time during capture: `warm_up`.
    Random numbers are drawn from ``generator``, if there is one, as they would be without the graph. Whoever calls gets
    the same tensors each time: they hold a result until the next call. What ``ranks`` keep apart is done between one
    graph and the next.
    """

    def __init__(
        self,
        function: Callable[[Batch], Result],
        example: Batch,
        generator: torch.Generator | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self._batch = type(example)(**each(torch.clone, example))
        self._generator = generator
        self._graphs: list[torch.cuda.CUDAGraph] = []
        self._steps: list[Action] = []  # replays of the graphs, and what is between them
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        with torch.cuda.stream(torch.cuda.Stream()), ranks.apart(self._cut):
            self._begin()
            try:
                self._result = function(self._batch)
            finally:
                self._end()

    def _begin(self) -> None:
        graph = torch.cuda.CUDAGraph()
        if self._generator is not None:
            graph.register_generator_state(self._generator)
        # One pool for all of them, which always run in the order of their capture. Only this thread's calls can spoil
        # it: others allocate, as those do that prepare batches, and NCCL's watchdog asks for events.
        pool = self._graphs[0].pool() if self._graphs else None
        graph.capture_begin(pool=pool, capture_error_mode="thread_local")
        self._graphs.append(graph)

    def _end(self) -> None:
        self._graphs[-1].capture_end()
        self._steps.append(self._graphs[-1].replay)

    def _cut(self, action: Action) -> None:
        """Do ``action`` at each replay, between what was recorded before and what follows; now nothing is computed."""
        self._end()
        self._steps.append(action)
        self._begin()

    def forget(self) -> None:
        """Give up the graphs: a communicator that they use must not end before they do."""
        self._steps.clear()
        for graph in self._graphs:
            graph.reset()

    def takes(self, batch: Batch) -> bool:
        """Whether ``batch`` has the shapes that were recorded."""
        return [tensor.shape for tensor in _tensors(batch)] == [tensor.shape for tensor in _tensors(self._batch)]

    def __call__(self, batch: Batch) -> Result:
        """Copy the batch in and replay; waits for nothing."""
        for target, source in zip(_tensors(self._batch), _tensors(batch), strict=True):
            target.copy_(source, non_blocking=True)
        for step in self._steps:
            step()
        return self._result


def warm_up(run: Callable[[], object], device: torch.device) -> None:
    """Run what is to be captured a few times, beside the current stream: compilers, libraries and allocator settle."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP):
            run()
    torch.cuda.current_stream(device).wait_stream(side)


def _tensors(batch: Any) -> Iterator[Tensor]:
    for field in fields(batch):
        value = getattr(batch, field.name)
        yield from [value] if isinstance(value, Tensor) else (value[name] for name in sorted(value))
