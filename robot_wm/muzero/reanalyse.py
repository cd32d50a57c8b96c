"""Searches anew, by what the model knows today (Schrittwieser et al. 2021: MuZero Reanalyse).

Shape letters: B windows, W of them searched again, K1 = K + 1 positions, L latent.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.thinking import Searched
from robot_wm.search.sampled import SearchNoise, search


@torch.no_grad()
def search_again(agent: MuZeroAgent, latent: Tensor, noise: SearchNoise) -> Searched:
    """Searches by the target network at its latents [W, K1, L]; noise of W * K1 searches -> [W, K1, ...]."""
    found = search(agent.latent_model(target=True), latent.flatten(0, 1), noise, agent.search)
    return Searched(*(value.unflatten(0, latent.shape[:2]) for value in Searched.of(found)))


def renewed(stored: Searched, again: Searched) -> Searched:
    """Stored searches [B, K1, ...], of the last W windows the new ones [W, K1, ...]."""
    kept = stored.value.shape[0] - again.value.shape[0]
    return Searched(*(torch.cat([old[:kept], new]) for old, new in zip(stored, again, strict=True)))
