"""A scalar as a distribution over bins: two-hot targets, and DreamerV3's exponentially spaced bins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from robot_wm.nn.symlog import symexp

_SYMLOG_RANGE = 20.0


class SymmetricTwoHot(nn.Module):
    """Bins ``-positive``, 0 and ``positive`` (ascending, above 0); weights are linear between bins.

    One bin is exactly zero and the negative half mirrors the positive one: uniform logits then predict exactly 0,
    where a plain left-to-right sum, of symexp bins up to 4.85e8, would not.
    """

    bins: Tensor
    positive: Tensor

    def __init__(self, positive: Tensor) -> None:
        super().__init__()
        positive = positive.double()
        values = torch.cat([-positive.flip(0), torch.zeros_like(positive[:1]), positive]).float()
        self.register_buffer("bins", values, persistent=False)  # [bins]
        self.register_buffer("positive", positive.float(), persistent=False)  # [bins // 2]

    def mean(self, logits: Tensor) -> Tensor:
        """Predicted scalar: [..., bins] -> [...], float32."""
        return self.expectation(torch.softmax(logits.float(), -1))

    def expectation(self, probs: Tensor) -> Tensor:
        """Scalar that probabilities stand for: [..., bins] -> [...]; what comes after the bins counts nothing."""
        half = self.positive.shape[0]
        return self.of_sum((probs[..., half + 1 : 2 * half + 1] - probs[..., :half].flip(-1)) @ self.positive)

    def of_sum(self, total: Tensor) -> Tensor:
        """Scalar that a sum of bins, each times its probability, stands for; any shape."""
        return total

    def weights(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Indices [..., 2] of the bins that enclose ``target`` [...] and their weights [..., 2], which sum to 1.

        A target beyond the outermost bins puts all its weight on the last one.
        """
        inside = torch.clamp(target, self.bins[0], self.bins[-1])
        above = torch.searchsorted(self.bins, inside.contiguous()).clamp(1, self.bins.shape[0] - 1)  # [...]
        low, high = self.bins[above - 1], self.bins[above]
        upper = (inside - low) / (high - low)
        return torch.stack([above - 1, above], -1), torch.stack([1.0 - upper, upper], -1)

    def loss(
        self, logits: Tensor, *targets: Tensor, scales: Sequence[float] = (1.0,), probs: Tensor | None = None
    ) -> Tensor:
        """Cross-entropy of ``logits`` [..., bins] to the two-hot of each target [...], times its scale, summed: [...].

        ``probs``: softmax of the logits, where the caller has it already.
        """
        if len(targets) != len(scales):
            raise ValueError(f"{len(targets)} targets but {len(scales)} scales")
        index, weight = zip(*(self.weights(target) for target in targets), strict=True)
        scaled = torch.cat([w * scale for w, scale in zip(weight, scales, strict=True)], -1)
        logits = logits.float()
        probs = torch.softmax(logits.detach(), -1) if probs is None else probs
        return _SparseCrossEntropy.apply(logits, probs, torch.cat(index, -1), scaled, sum(scales))  # type: ignore[no-any-return]


class TwoHot(SymmetricTwoHot):
    """Bins ``symexp(linspace(-20, 20, bins))``, an odd number; weights are linear in raw space."""

    def __init__(self, bins: int) -> None:
        super().__init__(symexp(even_positive(bins, _SYMLOG_RANGE)))


def even_positive(bins: int, largest: float) -> Tensor:
    """The positive ones of an odd number of even bins from ``-largest`` to ``largest``: [bins // 2] float64.

    On the CPU even under a meta-device context: constants have values.
    """
    if bins < 3 or bins % 2 == 0:
        raise ValueError(f"two-hot needs an odd number of bins, at least 3; got {bins}")
    return torch.linspace(0.0, largest, bins // 2 + 1, dtype=torch.float64, device="cpu")[1:]


class _SparseCrossEntropy(torch.autograd.Function):
    """``-sum(weight * log_softmax(logits)[index])``: one pass over the bins backwards instead of four."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, probs: Tensor, index: Tensor, weight: Tensor, total: float) -> Tensor:
        ctx.save_for_backward(probs, index, weight)
        ctx.total = total
        # log-sum-exp from the largest entry, whose probability cannot underflow.
        spread = logits.amax(-1) - probs.amax(-1).log()  # [...]
        return spread * total - (logits.gather(-1, index) * weight).sum(-1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        probs, index, weight = ctx.saved_tensors
        grad = grads[0].unsqueeze(-1)
        out = (probs * (grad * ctx.total)).scatter_add_(-1, index, weight * -grad)
        return out, None, None, None, None
