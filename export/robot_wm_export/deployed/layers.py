"""Layers of the deployed tick: one row a vector, products that leave nothing to transpose, copy or expand.

A robot asks for one tick at a time, so there is no batch axis: layers of one width that can run side by side are the
rows of one product and one norm. Weights are copies, laid out once.
Shape letters: R rows, U width. One row alone is [1, U], several are [R, 1, U].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.nn.layers import MLP, Dense
from robot_wm.nn.norm_silu import NORM_EPSILON, plain_norm_silu


class Frozen(nn.Module):
    """A module that holds copies of weights, which nobody trains."""

    def hold(self, name: str, value: Tensor) -> None:
        """A float32 copy of ``value`` as buffer ``name``."""
        self.register_buffer(name, value.detach().float().clone(memory_format=torch.contiguous_format))


def total(x: Tensor) -> Tensor:
    """The sum of all elements, [...] -> [1]: of a flat row, so that the result is not moved into shape by a kernel."""
    return x.flatten().sum(0, keepdim=True)


class Bounded(Frozen):
    """``x`` cut to [-1, 1], as ``x / max(|x|, 1)``.

    TensorRT 8.6 makes a kernel of its own of a Clip, in the middle of what it else fuses. A division by a Max it fuses,
    and a NaN stays one: a GPU's Max and Min would give the bound instead, a finite action that nobody then refuses.
    """

    one: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.hold("one", torch.ones(1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[1, A] -> [1, A]; infinite ones become NaN."""
        return x / torch.maximum(x.abs(), self.one)


class Rows(Frozen):
    """Vectors as rows of a matrix: a sum of rows under masks, which an engine makes while it reads them.

    A concatenation is copied together instead, by one kernel a vector.
    """

    def __init__(self, rows: int) -> None:
        super().__init__()
        for row, mask in enumerate(torch.eye(rows).unsqueeze(-1)):
            self.hold(f"mask{row}", mask)  # [R, 1]

    def forward(self, vectors: Sequence[Tensor], *, first: int = 0) -> Tensor:
        """Up to R vectors [1, U] -> [R, U], from row ``first`` on; rows that are not given are zero."""
        masked = [vector * self.get_buffer(f"mask{row}") for row, vector in enumerate(vectors, start=first)]
        return sum(masked[1:], masked[0])


class RowNorm(Frozen):
    """RMS norm over the last axis, then SiLU; every row has a scale of its own."""

    scale: Tensor
    ones: Tensor

    def __init__(self, scale: Tensor) -> None:
        """``scale``: [U] for one row, else the shape of what comes in."""
        super().__init__()
        self.hold("scale", scale)
        self.hold("ones", torch.ones(scale.shape[-1]))

    def forward(self, x: Tensor) -> Tensor:
        """[1, U], [R, U] or [R, 1, U] -> same shape."""
        if self.scale.dim() == 1:
            return plain_norm_silu(x, self.scale)
        # ONNX Runtime's kernel for a norm takes a scale that all rows share: these share ones.
        unit = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + NORM_EPSILON) * self.ones
        return F.silu(unit * self.scale)


def layers(mlp: MLP) -> list[Dense]:
    """The layers of an MLP, as what they are."""
    return cast(list[Dense], list(mlp))


def _rows(vectors: Sequence[Tensor]) -> Tensor:
    """Vectors [U] -> [U] of one, [R, 1, U] of several."""
    return vectors[0] if len(vectors) == 1 else torch.stack(list(vectors)).unsqueeze(1)


class Product(Frozen):
    """``x @ weight``, and ``+ bias`` where there is one; weights [out, in] of one input are one product."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weights: Sequence[Tensor], biases: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.hold("weight", torch.cat(list(weights)).T)  # [in, out]
        if biases:
            self.hold("bias", torch.cat(list(biases)))
        else:
            self.register_buffer("bias", None)

    def forward(self, x: Tensor) -> Tensor:
        """[1, in] -> [1, out]."""
        return x @ self.weight if self.bias is None else torch.addmm(self.bias, x, self.weight)


class Level(Frozen):
    """One Dense layer of each of R chains: one batched product, one norm."""

    weight: Tensor
    bias: Tensor

    def __init__(self, layers: Sequence[Dense]) -> None:
        super().__init__()
        weights = [layer.weight.T for layer in layers]
        self.hold("weight", weights[0] if len(layers) == 1 else torch.stack(weights))  # [U, U] or [R, U, U]
        self.hold("bias", _rows([layer.bias for layer in layers]))
        self.norm = RowNorm(_rows([layer.norm_scale for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        """[1, U] or [R, 1, U] -> same shape."""
        if self.weight.dim() == 2:
            return self.norm(torch.addmm(self.bias, x, self.weight))
        return self.norm(torch.bmm(x, self.weight) + self.bias)


class Chains(nn.Module):
    """MLPs of one width that run side by side, each as deep as it is; the deepest come first.

    The caller makes their first products; what follows each of them, norm by norm, is done here.
    """

    def __init__(self, chains: Sequence[Sequence[Dense]]) -> None:
        super().__init__()
        self.depths = [len(chain) for chain in chains]
        if self.depths != sorted(self.depths, reverse=True) or self.depths[-1] < 1:
            raise ValueError(f"chains of {self.depths} layers: the deepest come first, and each has one at least")
        self.first_norm = RowNorm(_rows([chain[0].norm_scale for chain in chains]))
        self.levels = nn.ModuleList(
            Level([chain[level] for chain in chains if len(chain) > level]) for level in range(1, self.depths[0])
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """First products with their bias, [1, R*U] -> the end of each chain, R times [1, U]."""
        if len(self.depths) > 1:
            x = x.reshape(len(self.depths), 1, -1)
        x = self.first_norm(x)
        ends: list[Tensor] = []
        for depth, level in enumerate((nn.Identity(), *self.levels), start=1):
            x = level(x)
            rows, going = (sum(d >= least for d in self.depths) for least in (depth, depth + 1))
            if going == rows:
                continue
            parts = torch.split(x, [going] * (going > 0) + [1] * (rows - going)) if rows > 1 else (x,)
            single = [part.squeeze(0) if part.dim() == 3 and part.shape[0] == 1 else part for part in parts]
            x, ends = single[0], [*single[going > 0 :], *ends]
        return ends
