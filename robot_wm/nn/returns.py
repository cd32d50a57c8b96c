"""λ-returns."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_return(reward: Tensor, live: Tensor, last: Tensor | None, boot: Tensor, *, mix: float) -> Tensor:
    """Returns of steps 0..T-2 from quantities of steps 0..T-1, time first: all [T, ...] -> [T-1, ...].

    ``return[t] = reward[t+1] + live[t+1] * ((1 - m[t+1]) * boot[t+1] + m[t+1] * return[t+1])`` with
    ``m = mix * (1 - last)`` and ``return[T-1] = boot[T-1]``. ``live`` is the discounted probability of going on;
    ``last`` (1 where a sequence is cut; None for nowhere) bootstraps at once. DreamerV3, Nature 2025.
    """
    live, boot_next = live[1:], boot[1:]
    mixed = live * mix if last is None else live * mix * (1.0 - last[1:])  # [T-1, ...]
    returns = torch.addcmul(reward[1:], live - mixed, boot_next)
    returns = torch.cat([returns[:-1], torch.addcmul(returns[-1:], mixed[-1:], boot_next[-1:])])
    # Each round doubles the steps that a return sums up (Hillis and Steele's scan): a compiler takes some 15 s
    # over a loop of 63 steps, which becomes one kernel as deep.
    reach = 1
    while reach < len(returns):
        going = len(returns) - reach  # steps whose sum does not reach the end yet
        further = torch.addcmul(returns[:going], mixed[:going], returns[reach:])
        returns = torch.cat([further, returns[going:]])
        mixed = mixed[:-reach] * mixed[reach:]
        reach *= 2
    return returns
