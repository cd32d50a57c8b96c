"""Choosing the best few without sorting: comparisons and products, the same in every engine, ties included."""

from __future__ import annotations

import torch
from torch import Tensor


def ranked(scores: Tensor, ranks: Tensor) -> Tensor:
    """Who has these ranks, 0 the best: finite scores [B, N], ranks [R] -> one-hot [B, R, N] float32.

    Of equal scores the first is the better one: libraries' sorts and top-k leave that open, and a graph that chooses
    otherwise than its reference does has chosen another action.
    """
    count = scores.shape[-1]
    # -1 or 1 for another that would lose or win a tie: between -1 and 1, so that it decides only there.
    tie = torch.ones(count, count, device=scores.device).tril(-1) - 0.5  # [N own, N other]
    ahead = torch.sign(torch.sign(scores.unsqueeze(-2) - scores.unsqueeze(-1)) + tie)  # [B, N own, N other]
    # Each has `rank` others ahead of it (1) and the rest, itself among them, behind (-1).
    balance = ahead.sum(-1).unsqueeze(-2)  # [B, 1, N]
    return (balance == (2 * ranks - count).to(scores.dtype).unsqueeze(-1)).to(scores.dtype)
