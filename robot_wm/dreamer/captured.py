"""A function of a batch recorded once as a CUDA graph and replayed: one launch instead of thousands.

The function must have static shapes and neither branch on values nor wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Generic, TypeVar

import torch
from torch import Tensor

from robot_wm.dreamer.batch import TensorBatch

Result = TypeVar("Result")


class CapturedFunction(Generic[Result]):
    """``function`` of batches with the shapes of ``example``, replayed.

    It must have run before, so that nothing is compiled or allocated for the first time during capture. Random
    numbers are drawn from ``generator`` as they would be without the graph. Whoever calls gets the same tensors
    each time: they hold a result until the next call.
    """

    def __init__(
        self, function: Callable[[TensorBatch], Result], example: TensorBatch, generator: torch.Generator
    ) -> None:
        self._batch = TensorBatch(
            obs={name: tensor.clone() for name, tensor in example.obs.items()},
            **{name: getattr(example, name).clone() for name in _SINGLE},
        )
        self._graph = torch.cuda.CUDAGraph()
        self._graph.register_generator_state(generator)
        with torch.cuda.graph(self._graph):
            self._result = function(self._batch)

    def takes(self, batch: TensorBatch) -> bool:
        """Whether ``batch`` has the shapes that were recorded."""
        return [tensor.shape for tensor in _tensors(batch)] == [tensor.shape for tensor in _tensors(self._batch)]

    def __call__(self, batch: TensorBatch) -> Result:
        """Copy the batch in and replay; waits for nothing."""
        for target, source in zip(_tensors(self._batch), _tensors(batch), strict=True):
            target.copy_(source, non_blocking=True)
        self._graph.replay()
        return self._result


_SINGLE = tuple(field.name for field in fields(TensorBatch) if field.name != "obs")


def _tensors(batch: TensorBatch) -> Iterator[Tensor]:
    yield from (batch.obs[name] for name in sorted(batch.obs))
    yield from (getattr(batch, name) for name in _SINGLE)
