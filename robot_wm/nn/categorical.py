"""Groups of categorical variables: unimix, sampling by given noise, KL.

All of it works on explicit probabilities: KL and sampling both see the 1 % uniform mixture (a KL without it is a
known defect of other ports).
"""

from __future__ import annotations

import torch
from torch import Tensor


def softmax(logits: Tensor) -> Tensor:
    """Softmax over the last axis, float32 [..., S, C].

    On a CPU torch vectorises over the last axis only where it is long; C is short, so the groups take its place.
    """
    if logits.device.type == "cpu" and not torch.onnx.is_in_onnx_export():
        return torch.softmax(logits.float().transpose(-1, -2), -2).transpose(-1, -2).contiguous()
    return torch.softmax(logits.float(), -1)


def unimix_probs(logits: Tensor, unimix: float) -> Tensor:
    """``softmax`` mixed with ``unimix`` of the uniform distribution; float32 [..., S, C]."""
    return softmax(logits) * (1.0 - unimix) + unimix / logits.shape[-1]


def one_hot(index: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """Class indices [...] to [..., C], without the range check (and device sync) of ``F.one_hot``."""
    return (index.unsqueeze(-1) == torch.arange(classes, device=index.device, dtype=index.dtype)).to(dtype)


def draw(scores: Tensor) -> Tensor:
    """One-hot of the largest score, the first of equal ones: [..., C] -> [..., C] of the dtype of ``scores``."""
    classes = torch.arange(scores.shape[-1], device=scores.device)
    return (scores.argmax(-1, keepdim=True) == classes).to(scores.dtype)


def sample(probs: Tensor, exp_gumbel: Tensor) -> Tensor:
    """Draw one class a group: [..., S, C] -> one-hot [..., S, C] of the dtype of ``probs``.

    ``exp_gumbel`` is ``exp(gumbel)``: ``argmax(log p + gumbel) = argmax(p * exp(gumbel))``, one logarithm less.
    Ones give the mode; ties go to the first class.
    """
    return draw(probs * exp_gumbel)


def kl(left: Tensor, right: Tensor) -> Tensor:
    """KL(left || right) in nats, summed over groups: two log-probabilities [..., S, C] -> [...]."""
    return (left.exp() * (left - right)).sum((-1, -2))
