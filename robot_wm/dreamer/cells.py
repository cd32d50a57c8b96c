"""One step of the world model, forwards and backwards, as pure functions: what a loop over time repeats.

They record no graph: the loops around them write their gradients out (``scan``) or need none (imagination). On a GPU
each is compiled into a few kernels. Z = S*C, F = D+Z, U = hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.nn import norm_silu as norm
from robot_wm.nn import packed_gru
from robot_wm.nn.categorical import one_hot, sample, softmax
from robot_wm.nn.packed_gru import PackedGRU


class Latent(NamedTuple):
    """What a step begins with."""

    deter: Tensor  # [N, D] float32
    low: Tensor  # [N, F] deter, then the drawn latent, one-hot, in the dtype that products compute in


def begin(feature: Tensor, size: int, dtype: torch.dtype) -> Latent:
    """What a step begins with after a feature [N, F] float32, of which the first ``size`` are deter."""
    # Contiguous like what steps return: a compiled step is compiled once more for other strides.
    return Latent(feature[:, :size].contiguous(), feature.to(dtype))


class ScanWeights(NamedTuple):
    """Weights of the posterior: from the next deter to its distribution."""

    deter: Tensor  # [U, D]
    scale: Tensor  # [U]
    logits: Tensor  # [Z, U]
    bias: Tensor  # [Z]


class PosteriorStep(NamedTuple):
    """One filtered step, and what its gradient needs."""

    feature: Tensor  # [B, F] float32: the next deter, then the drawn latent, one-hot
    gru: packed_gru.StepSaved  # joined
    unit: Tensor  # [B, U] the posterior's hidden layer
    unit_norm: norm.NormSaved
    soft: Tensor  # [B, S, C] probabilities before unimix
    classes: Tensor  # [B, S] drawn


def mixed(soft: Tensor, unimix: float) -> Tensor:
    """Probabilities [..., C] mixed with ``unimix`` of the uniform distribution."""
    return torch.lerp(soft, soft.new_full((1,), 1.0 / soft.shape[-1]), unimix)


def posterior_step(
    packed: PackedGRU,
    post: ScanWeights,
    unimix: float,
    latent: Latent,
    keep: Tensor,
    base: Tensor,
    embedding: Tensor,
    exp_gumbel: Tensor,
) -> tuple[PosteriorStep, Latent]:
    """Filter one step; also returns what the step after begins with, zero where that one forgets.

    keep [B, 1] is that of the step after; base [B, 2*U+D], embedding [B, U], exp_gumbel [B, S, C]: see
    ``scan.posterior_scan``.
    """
    deter, saved = packed_gru.step(packed, *latent, base, None)
    before = embedding + deter.to(packed.shared.dtype) @ post.deter.T
    unit, unit_norm = norm.forward(before, post.scale)
    soft = softmax(torch.addmm(post.bias, unit, post.logits.T).view(exp_gumbel.shape))
    classes = (mixed(soft, unimix) * exp_gumbel).argmax(-1)
    feature = torch.cat([deter, one_hot(classes, exp_gumbel.shape[-1], torch.float32).flatten(1)], -1)
    after = Latent(deter * keep, (feature * keep).to(latent.low.dtype))
    return PosteriorStep(feature, saved.joined(), unit, unit_norm, soft, classes), after


class PosteriorLocal(NamedTuple):
    """Local derivatives of one step (or of all steps, stacked over time)."""

    gru: packed_gru.StepLocal
    unit: norm.NormFactors
    soft: Tensor  # [B, S, C]
    keep: Tensor  # [B, 1]


def local_derivatives(
    packed: PackedGRU, post: ScanWeights, saved: PosteriorStep, deter: Tensor, keep: Tensor
) -> PosteriorLocal:
    """Those of all steps at once, from what they saved and the deter [T, B, D] that they began with."""
    return PosteriorLocal(
        gru=packed_gru.local_derivatives(packed, saved.gru, deter),
        unit=norm.factors(saved.unit_norm, post.scale),
        soft=saved.soft,
        keep=keep,
    )


class PosteriorGradients(NamedTuple):
    """Gradients at one step's products: what the weights' gradients are made of."""

    gru: packed_gru.StepGradients
    unit: Tensor  # [B, U] float32 at the posterior's norm's output
    before: Tensor  # [B, U] at the posterior's first product
    logits: Tensor  # [B, Z]


def posterior_step_backward(
    packed: PackedGRU,
    post: ScanWeights,
    unimix: float,
    local: PosteriorLocal,
    out_feature: Tensor,
    out_probs: Tensor,
    kept: Tensor,
) -> tuple[Tensor, PosteriorGradients]:
    """Pass the gradient through one step.

    ``out_feature`` [B, F] and ``out_probs`` [B, S, C] are those of the step's outputs, ``kept`` [B, F] what the step
    after sends to this one's feature. Returns what this step sends to the one before, and the products' gradients.
    """
    dtype, size = packed.shared.dtype, local.gru.stay.shape[-1]
    through = 1.0 - unimix
    grad = out_feature + kept
    latent = grad[:, size:].view(local.soft.shape)
    d_soft = (out_probs + latent) * through
    # Cast before it is flattened: a compiler then makes one kernel of it, groups of classes being its rows.
    d_logits = torch._softmax_backward_data(d_soft, local.soft, -1, torch.float32).to(dtype).flatten(1)  # [B, Z]
    d_unit = (d_logits @ post.logits).float()
    d_before = norm.backward(d_unit, local.unit).to(dtype)  # [B, U]
    deter = grad[:, :size] + d_before @ post.deter  # [B, D]
    before, gru = packed_gru.step_backward(packed, local.gru, deter)
    return before * local.keep, PosteriorGradients(gru, d_unit, d_before, d_logits)


def imagined_step(
    agent: DreamerAgent, packed: PackedGRU, latent: Latent, noise_action: Tensor, exp_gumbel: Tensor
) -> tuple[Latent, Tensor]:
    """The actor acts and the prior answers: the next latent and the action [N, A] float32 that led to it.

    noise_action [N, A], exp_gumbel [N, S, C].
    """
    action = agent.actor(latent.low).sample(noise_action)
    deter, _ = packed_gru.step(packed, *latent, packed.first_bias, agent.rssm.gru.embed_action(action))
    stoch = sample(agent.rssm.prior_probs(deter), exp_gumbel).flatten(1)
    dtype = latent.low.dtype
    return Latent(deter, torch.cat([deter.to(dtype), stoch.to(dtype)], -1)), action
