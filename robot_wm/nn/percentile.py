"""The scale that advantages are divided by."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class PercentileScale(nn.Module):
    """Running average of two percentiles; their distance, at least ``limit``, is the scale (DreamerV3)."""

    low: Tensor
    high: Tensor
    quantiles: Tensor

    def __init__(self, *, rate: float, low: float, high: float, limit: float) -> None:
        super().__init__()
        self.rate, self.limit = rate, limit
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("quantiles", torch.tensor([low / 100.0, high / 100.0]), persistent=False)

    @torch.no_grad()
    def update(self, values: Tensor) -> Tensor:
        """Take in values of any shape (at most 2**24 elements, torch.quantile's bound); returns the new 0-d scale."""
        low, high = torch.quantile(values.float().flatten(), self.quantiles).unbind(0)
        self.low.lerp_(low, self.rate)
        self.high.lerp_(high, self.rate)
        return torch.clamp(self.high - self.low, min=self.limit)
