"""Many parameters in one buffer, so that a cast or an optimiser step is a few kernels."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

# Every parameter begins at a multiple of so many elements: matrix units want 16 bytes, and a bfloat16 copy has the
# same places. What lies between is zero and stays so.
_ALIGNMENT = 8


class FlatParameters:
    """Moves parameters into one buffer [P] of their dtype and makes them views of it, in the order given."""

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        self.named = dict(named)
        self.shapes = [p.shape for p in named.values()]
        self.sizes = [p.numel() for p in named.values()]
        self._gaps = [-size % _ALIGNMENT for size in self.sizes]
        self._room = [size + gap for size, gap in zip(self.sizes, self._gaps, strict=True)]
        self.flat = _joined(zip([p.detach() for p in named.values()], self._gaps, strict=True))  # [P]
        self.tensors = self.views(self.flat)
        for parameter, view in zip(named.values(), self.tensors, strict=True):
            parameter.data = view
        room = torch.tensor(self._room, device=self.flat.device)
        # [P] number of the parameter that an element belongs to: looking it up is cheaper than repeating values.
        self.owner = torch.repeat_interleave(torch.arange(len(room), device=room.device), room).int()

    def views(self, flat: Tensor) -> list[Tensor]:
        """Cut a buffer like ``flat`` into views with the parameters' shapes."""
        parts = zip(flat.split(self._room), self.sizes, self.shapes, strict=True)
        return [part[:size].view(shape) for part, size, shape in parts]

    def gather(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors in the parameters' order -> one new float32 buffer [P].

        Neighbours of one dtype are joined as they are and converted together.
        """
        pairs = zip(tensors, self._gaps, strict=True)
        joined = [_joined(run) for _, run in itertools.groupby(pairs, key=lambda pair: pair[0].dtype)]
        if len(joined) == 1:
            return joined[0].float()
        flat = torch.empty_like(self.flat)
        for part, values in zip(flat.split([values.shape[0] for values in joined]), joined, strict=True):
            part.copy_(values)
        return flat

    def span(self, names: Collection[str]) -> slice:
        """Elements of the named parameters, which must be neighbours."""
        inside = [name in names for name in self.named]
        first, count = inside.index(True), sum(inside)
        if count != len(names) or not all(inside[first : first + count]):
            raise ValueError(f"parameters are not contiguous: {sorted(names)}")
        start = sum(self._room[:first])
        return slice(start, start + sum(self._room[first : first + count]))


def _joined(pairs: Iterable[tuple[Tensor, int]]) -> Tensor:
    """Tensors of one dtype, flat, one behind the other, each with as many zeros after it as stand beside it."""
    tensors, gaps = zip(*pairs, strict=True)
    nothing = tensors[0].new_zeros(_ALIGNMENT)
    parts = [(tensor.reshape(-1), nothing[:gap]) for tensor, gap in zip(tensors, gaps, strict=True)]
    return torch.cat([part for pair in parts for part in pair])
