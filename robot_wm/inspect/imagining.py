"""What the model says the policy would get: rollouts of the latent model from real states.

Shape letters: N states, L numbers of a latent, H imagined steps, M draws, P probed quantities.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robot_wm.inspect.probe import Probe
from robot_wm.learning.agent import Agent

_ROWS = 4096  # of a batch

Floats = NDArray[np.float64]


class Imagined(NamedTuple):
    """Means over draws; everything is discounted by the model, whose discount holds the chance that it goes on."""

    returns: Floats  # [H, N] of the rewards of steps 1..h
    terms: Floats  # [H, N, P] discounted sums of what the probe reads off the latents of steps 1..h


def imagine(
    agent: Agent,
    latents: NDArray[np.float32],
    *,
    horizon: int,
    draws: int,
    seed: int,
    greedy: bool = True,
    probe: Probe | None = None,
) -> Imagined:
    """Let the policy act in the model for ``horizon`` steps from ``latents`` [N, L], each state ``draws`` times."""
    parts = []
    states = max(1, _ROWS // draws)
    generator = torch.Generator(_device(agent)).manual_seed(seed)
    for first in range(0, len(latents), states):
        begun = torch.from_numpy(latents[first : first + states]).to(_device(agent))
        parts.append(_rollout(agent, begun.repeat_interleave(draws, 0), generator, horizon, draws, greedy, probe))
    joined = [np.concatenate(arrays, 1) for arrays in zip(*parts, strict=True)]
    return Imagined(*joined)


@torch.inference_mode()
def _rollout(
    agent: Agent,
    latent: Tensor,  # [N * M, L]
    generator: torch.Generator,
    horizon: int,
    draws: int,
    greedy: bool,
    probe: Probe | None,
) -> Imagined:
    imagination = agent.imagination(generator)
    assert imagination is not None
    model = imagination.model
    rows = len(latent)
    weight, total = torch.ones(rows, device=latent.device), torch.zeros(rows, device=latent.device)
    terms = np.zeros((rows, 0 if probe is None else len(probe.names)))
    totals, sums = [], []

    def mean(values: Floats) -> Floats:
        """Over draws."""
        found: Floats = values.reshape(rows // draws, draws, *values.shape[1:]).mean(1)
        return found

    for _ in range(horizon):
        policy = model.policy(latent)
        noise = torch.zeros_like(policy.first)
        if not greedy:
            noise.normal_(generator=generator)
            if policy.std is None:  # Gumbel
                noise = -torch.empty_like(noise).exponential_(generator=generator).log()
        action = policy.sample(noise)
        latent, shown = model.lead(latent, action if model.discrete else action.clamp(-1.0, 1.0))
        reward, discount = model.outcome(shown)
        total = total + weight * reward
        if probe is not None:
            terms = terms + weight.double().cpu().numpy()[:, None] * probe.predict(latent.float().cpu().numpy())
        weight = weight * discount
        totals.append(mean(total.double().cpu().numpy()))
        sums.append(mean(terms))
    return Imagined(np.stack(totals), np.stack(sums))


def _device(agent: Agent) -> torch.device:
    return next(agent.acting()).device
