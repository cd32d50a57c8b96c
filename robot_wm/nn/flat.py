"""Many parameters in one buffer, so that a cast or an optimiser step is a few kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn


class FlatParameters:
    """Moves parameters into one float32 buffer [P] and makes them views of it, in the order given."""

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        self.named = dict(named)
        self.shapes = [p.shape for p in named.values()]
        self.sizes = [p.numel() for p in named.values()]
        self.flat = torch.cat([p.detach().reshape(-1) for p in named.values()])  # [P]
        self.tensors = self.views(self.flat)
        for parameter, view in zip(named.values(), self.tensors, strict=True):
            parameter.data = view
        self.repeats = torch.tensor(self.sizes, device=self.flat.device)

    def views(self, flat: Tensor) -> list[Tensor]:
        """Cut a buffer like ``flat`` into views with the parameters' shapes."""
        parts = flat.split(self.sizes)
        return [part.view(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def gather(self, tensors: Sequence[Tensor]) -> Tensor:
        """Tensors in the parameters' order -> one new float32 buffer [P]."""
        return torch.cat([t.reshape(-1).float() for t in tensors])

    def spread(self, values: Tensor) -> Tensor:
        """One value a tensor [N] -> one value an element [P]."""
        return torch.repeat_interleave(values, self.repeats, output_size=self.flat.shape[0])

    def span(self, names: Collection[str]) -> slice:
        """Elements of the named parameters, which must be neighbours."""
        inside = [name in names for name in self.named]
        first, count = inside.index(True), sum(inside)
        if count != len(names) or not all(inside[first : first + count]):
            raise ValueError(f"parameters are not contiguous: {sorted(names)}")
        start = sum(self.sizes[:first])
        return slice(start, start + sum(self.sizes[first : first + count]))
