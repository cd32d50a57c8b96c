"""A function of a batch recorded once as a CUDA graph and replayed: one launch instead of thousands.

The function must have static shapes and neither branch on values nor wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from robot_wm.step import each

Batch = TypeVar("Batch")  # a dataclass of tensors and of dictionaries of tensors
Result = TypeVar("Result")


class CapturedFunction(Generic[Batch, Result]):
    """``function`` of batches with the shapes of ``example``, replayed.

    It must have run before, so that nothing is compiled or allocated for the first time during capture. Random
    numbers are drawn from ``generator`` as they would be without the graph. Whoever calls gets the same tensors
    each time: they hold a result until the next call.
    """

    def __init__(self, function: Callable[[Batch], Result], example: Batch, generator: torch.Generator) -> None:
        self._batch = type(example)(**each(torch.clone, example))
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        with torch.cuda.graph(self._graph):
            self._result = function(self._batch)

    def takes(self, batch: Batch) -> bool:
        """Whether ``batch`` has the shapes that were recorded."""
        return [tensor.shape for tensor in _tensors(batch)] == [tensor.shape for tensor in _tensors(self._batch)]

    def __call__(self, batch: Batch) -> Result:
        """Copy the batch in and replay; waits for nothing."""
        for target, source in zip(_tensors(self._batch), _tensors(batch), strict=True):
            target.copy_(source, non_blocking=True)
        self._graph.replay()
        return self._result


def _tensors(batch: Any) -> Iterator[Tensor]:
    for field in fields(batch):
        value = getattr(batch, field.name)
        yield from [value] if isinstance(value, Tensor) else (value[name] for name in sorted(value))
