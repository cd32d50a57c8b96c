"""The posterior scan over time with a written-out gradient.

Autograd would add up every weight's gradient step by step and recompute each local derivative in small kernels. Here
the forward pass keeps what each step saw; backwards, local derivatives are formed for all steps at once, the loop only
passes the gradient from step to step, and each weight's gradient is one product over all T*B rows.
Z = S*C, F = D+Z, U = hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from robot_wm.dreamer.cells import (
    Latent,
    PosteriorGradients,
    PosteriorLocal,
    PosteriorStep,
    ScanWeights,
    begin,
    local_derivatives,
    mixed,
    posterior_step,
    posterior_step_backward,
)
from robot_wm.nn import norm_silu as norm
from robot_wm.nn import packed_gru
from robot_wm.nn.compiled import fused
from robot_wm.nn.packed_gru import PackedGRU

_POST = len(ScanWeights._fields)


class ScanInputs(NamedTuple):
    """What a scan of T steps over B sequences needs before it starts; see ``scan_inputs``."""

    latent: Latent  # what the first step begins with
    keep: Tensor  # [T, B, 1] float32, 0 where a step forgets what was before it
    after: Tensor  # [T, B, 1] the same of the step after each step, 1 after the last
    base: Tensor  # [T, B, 2*U+D] what is added to the first product: its bias, and the actions' share of hidden
    embedding: Tensor  # [T, B, U] the observations' share of the posterior layer, bias included
    packed: PackedGRU


def scan_inputs(start: Tensor, keep: Tensor, action: Tensor, embedding: Tensor, packed: PackedGRU) -> ScanInputs:
    """Everything that needs no loop over time.

    start [B, F] float32: the latent before the first step; keep and embedding as in ``ScanInputs``; action [T, B, U]
    embedded, of which the caller has masked what a step forgets.
    """
    base = packed_gru.base_of(packed, action)
    latent = begin(start * keep[0], packed.hidden_scale.shape[0], packed.shared.dtype)
    return ScanInputs(latent, keep, torch.cat([keep[1:], torch.ones_like(keep[:1])]), base, embedding, packed)


def _stack(items: list[Any]) -> Any:
    """Lists of (possibly nested) tuples of tensors to tuples of tensors stacked over time."""
    if isinstance(items[0], Tensor):
        return torch.stack(items)
    fields = [_stack([item[i] for item in items]) for i in range(len(items[0]))]
    return type(items[0])(*fields)


def _at(items: Any, t: int) -> Any:
    """One step of what ``_stack`` made."""
    return items[t] if isinstance(items, Tensor) else type(items)(*(_at(field, t) for field in items))


def _weights(flat: tuple[Tensor, ...]) -> tuple[PackedGRU, ScanWeights]:
    return PackedGRU.of(flat[:-_POST]), ScanWeights(*flat[-_POST:])


class _PosteriorScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        deter: Tensor,
        low: Tensor,
        keep: Tensor,
        after: Tensor,
        exp_gumbel: Tensor,
        unimix: float,
        base: Tensor,
        embedding: Tensor,
        *flat: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        packed, post = _weights(flat)
        advance = fused(posterior_step, deter.device)
        begun, steps = [Latent(deter, low)], []
        for t in range(exp_gumbel.shape[0]):
            step, latent = advance(packed, post, unimix, begun[-1], after[t], base[t], embedding[t], exp_gumbel[t])
            begun.append(latent)
            steps.append(step)
        saved: PosteriorStep = _stack(steps)
        classes = saved.classes.to(torch.uint8)
        ctx.mark_non_differentiable(classes)
        ctx.save_for_backward(keep, saved.feature, saved.soft, *flat)
        nothing = deter.new_empty(0)
        ctx.saved = saved._replace(feature=nothing, soft=nothing)  # the rest is no output, so that no cycle arises
        ctx.begun = _stack(begun[:-1])
        ctx.unimix = unimix
        return saved.feature, mixed(saved.soft, unimix), classes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        keep, features, soft, *flat = ctx.saved_tensors
        packed, post = _weights(tuple(flat))
        saved: PosteriorStep = ctx.saved._replace(soft=soft, feature=features)
        begun: Latent = ctx.begun
        local: PosteriorLocal = fused(local_derivatives, keep.device)(packed, post, saved, begun.deter, keep)
        recede = fused(posterior_step_backward, keep.device)
        kept = torch.zeros_like(features[0])  # gradient that the step after sends to this one's feature
        parts: list[PosteriorGradients] = []
        for t in reversed(range(len(features))):
            kept, part = recede(packed, post, ctx.unimix, _at(local, t), grads[0][t], grads[1][t], kept)
            parts.append(part)
        at: PosteriorGradients = _stack(parts[::-1])
        weights = fused(_weight_gradients, keep.device)(packed, post, saved, begun.low, local, at)
        return (*[None] * 6, at.gru.joined, at.before, *weights)


def _weight_gradients(
    packed: PackedGRU,
    post: ScanWeights,
    saved: PosteriorStep,
    low: Tensor,
    local: PosteriorLocal,
    at: PosteriorGradients,
) -> tuple[Tensor | None, ...]:
    """One product a weight over all T*B rows, in the order of ``PackedGRU.tensors`` and posterior; ``low`` [T, B, F].

    None for the bias of the first product, whose gradient is that of ``ScanInputs.base``.
    """
    dtype, size = packed.shared.dtype, packed.hidden_scale.shape[0]
    logits = at.logits.flatten(0, 1)  # [T*B, Z]
    return (
        *packed_gru.weight_gradients(packed, saved.gru, low, local.gru, at.gru),
        at.before.flatten(0, 1).T @ saved.feature[..., :size].flatten(0, 1).to(dtype),
        norm.scale_gradient(at.unit, saved.unit_norm.unit, local.unit.slope),
        logits.T @ saved.unit.flatten(0, 1),
        logits.float().sum(0).to(dtype),
    )


def posterior_scan(
    inputs: ScanInputs, posterior: ScanWeights, exp_gumbel: Tensor, *, unimix: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter B sequences of T steps; exp_gumbel [T, B, S, C].

    Returns features [T, B, F] with straight-through gradients, probabilities after unimix [T, B, S, C], and the drawn
    classes [T, B, S] uint8. The stored latent before the first step gets no gradient.
    """
    latent, keep, after, base, embedding, packed = inputs
    return _PosteriorScan.apply(  # type: ignore[no-any-return]
        *latent, keep, after, exp_gumbel, unimix, base, embedding, *packed.tensors(), *posterior
    )
