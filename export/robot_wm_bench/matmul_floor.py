"""The floor under an update on a CPU: the time of its matrix products alone.

One run is recorded operator by operator. Then just its products are computed again, from tensors of the same shapes,
strides and dtypes into outputs that are already there. What else an update does (pointwise work, copies, autograd,
the interpreter) is what lies above this floor.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_aten = torch.ops.aten
# What computes the bare product, without the sum it may come with, and where its two factors are in the recorded call.
_PRODUCTS: Mapping[Any, tuple[Callable[..., Tensor], slice]] = {
    **dict.fromkeys((_aten.mm.default, _aten.mm.out), (torch.mm, slice(0, 2))),
    **dict.fromkeys((_aten.bmm.default, _aten.bmm.out), (torch.bmm, slice(0, 2))),
    **dict.fromkeys((_aten.addmm.default, _aten.addmm.out, _aten.addmm_.default), (torch.mm, slice(1, 3))),
    **dict.fromkeys((_aten.baddbmm.default, _aten.baddbmm.out, _aten.baddbmm_.default), (torch.bmm, slice(1, 3))),
}
_CONVOLUTIONS = (_aten.convolution.default, _aten.convolution_backward.default)


class Layout(NamedTuple):
    """A tensor without its values."""

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    def ones(self) -> Tensor:
        """A tensor like it; of ones, because zeros and denormal numbers may take another time."""
        last = sum((size - 1) * step for size, step in zip(self.shape, self.stride, strict=True))
        return torch.ones(last + 1, dtype=self.dtype).as_strided(self.shape, self.stride)


class Product(NamedTuple):
    """One matrix product or convolution as it was called."""

    operator: Any  # aten overload
    arguments: tuple[Any, ...]  # a ``Layout`` in place of each tensor
    output: Layout | None  # None for a convolution, which makes its own
    flops: int  # multiplications and additions


class ProductRecorder(TorchDispatchMode):
    """Lists the products computed under it, in order and backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call ``func``, and note it down if it is a product."""
        out = func(*args, **(kwargs or {}))
        if func in _PRODUCTS or func in _CONVOLUTIONS:
            made = _layout(out) if func in _PRODUCTS else None
            layouts = tuple(_layout(argument) for argument in args)
            self.products.append(Product(func, layouts, made, _flops(func, args, out)))
        return out


def record_products(run: Callable[[], object]) -> list[Product]:
    """Products of one ``run()``; what is compiled in it runs plainly, so that every product is seen."""
    with torch.compiler.set_stance("force_eager"), ProductRecorder() as recorder:
        run()
    return recorder.products


class MatmulFloor:
    """Computes recorded products again, and nothing else.

    Products of equal layouts share their tensors: an update too finds most factors in the cache, just written.
    """

    def __init__(self, products: list[Product]) -> None:
        self.products = products
        tensor = functools.cache(lambda layout, place: layout.ones())  # place: factors of one product stay apart
        self._calls: list[functools.partial[Any]] = []
        for operator, arguments, output, _ in products:
            values = [tensor(a, i) if isinstance(a, Layout) else a for i, a in enumerate(arguments)]
            if output is None:
                self._calls.append(functools.partial(operator, *values))
            else:
                compute, factors = _PRODUCTS[operator]
                self._calls.append(functools.partial(compute, *values[factors], out=tensor(output, "output")))

    @torch.no_grad()
    def run(self) -> None:
        """All products once, in the order recorded."""
        for call in self._calls:
            call()


def _flops(operator: Any, arguments: tuple[Any, ...], out: Any) -> int:
    if operator in _CONVOLUTIONS:
        return int(flop_registry[operator.overloadpacket](*arguments, out_val=out))
    _, factors = _PRODUCTS[operator]
    left, right = arguments[factors]
    return 2 * left.numel() * int(right.shape[-1])


def _layout(argument: Any) -> Any:
    if not isinstance(argument, Tensor):
        return argument
    return Layout(tuple(argument.shape), argument.stride(), argument.dtype)
