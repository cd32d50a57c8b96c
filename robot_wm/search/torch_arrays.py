"""The array operations of a search in torch: static, so that they can be captured in a CUDA graph or exported."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robot_wm.search.arrays import Arrays
from robot_wm.search.ranks import ranked


class _TorchArrays:
    """Nothing here waits for a device, nor branches on a value."""

    larger = staticmethod(torch.maximum)
    smaller = staticmethod(torch.minimum)
    exp = staticmethod(torch.exp)
    log = staticmethod(torch.log)
    sqrt = staticmethod(torch.sqrt)

    @staticmethod
    def sizes(x: Tensor) -> tuple[int, ...]:
        if not torch.jit.is_tracing():
            return tuple(x.shape)
        # A trace makes tensors of sizes, and what is computed with them a part of the graph.
        return tuple(x.shape[axis : axis + 1].numel() for axis in range(x.ndim))

    @staticmethod
    def where(condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return torch.where(condition, x, y)

    @staticmethod
    def take(x: Tensor, index: Tensor) -> Tensor:
        rows = x.index_select(0, index.reshape(-1))
        return rows if index.ndim == 1 else rows.reshape(TORCH.sizes(index) + TORCH.sizes(x)[1:])

    @staticmethod
    def put(x: Tensor, index: Tensor, rows: Tensor) -> Tensor:
        rows, index = rows.reshape(-1, *TORCH.sizes(x)[1:]), index.reshape(-1)
        if not torch.onnx.is_in_onnx_export():
            return x.index_copy_(0, index, rows)
        # An exported graph has no places to write to.
        return x.scatter(0, index.reshape(-1, *(1,) * (x.ndim - 1)).expand(TORCH.sizes(rows)), rows)

    @staticmethod
    def at_least(x: Tensor, floor: float) -> Tensor:
        return x.clamp(min=floor)

    @staticmethod
    def at_most(x: Tensor, ceiling: float) -> Tensor:
        return x.clamp(max=ceiling)

    @staticmethod
    def sum(x: Tensor) -> Tensor:
        return x.sum(-1, keepdim=True)

    @staticmethod
    def max(x: Tensor) -> Tensor:
        return x.amax(-1, keepdim=True)

    @staticmethod
    def extremes(x: Tensor) -> tuple[Tensor, Tensor]:
        least, greatest = torch.aminmax(x, dim=-1, keepdim=True)
        return least, greatest

    @staticmethod
    def argmax(x: Tensor) -> Tensor:
        return x.argmax(-1)

    @staticmethod
    def best_first(x: Tensor, count: int) -> Tensor:
        # topk leaves the order of equals open, and greedy searches have many.
        finite = x.clamp(min=torch.finfo(x.dtype).min)
        return ranked(finite, torch.arange(count, device=x.device)).argmax(-1)

    @staticmethod
    def concat(parts: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(parts))

    @staticmethod
    def stack(parts: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(parts))

    @staticmethod
    def full(shape: tuple[int, ...], value: float, like: Tensor) -> Tensor:
        return torch.full(shape, value, dtype=like.dtype, device=like.device)

    @staticmethod
    def full_index(shape: tuple[int, ...], value: int, like: Tensor) -> Tensor:
        return torch.full(shape, value, dtype=torch.int64, device=like.device)

    @staticmethod
    def index_range(count: int, like: Tensor) -> Tensor:
        return torch.arange(count, device=like.device)

    @staticmethod
    def as_type(x: Tensor, like: Tensor) -> Tensor:
        return x.to(like.dtype)

    @staticmethod
    def as_count(x: Tensor) -> Tensor:
        return x.to(torch.int32)

    @staticmethod
    def surely_all(x: Tensor) -> bool:
        return False

    @staticmethod
    def surely_none(x: Tensor) -> bool:
        return False


TORCH: Arrays = _TorchArrays()
