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
    PosteriorStep,
    ScanWeights,
    StepGradients,
    StepLocal,
    begin,
    local_derivatives,
    mixed,
    posterior_step,
    posterior_step_backward,
)
from robot_wm.nn import block_products as products
from robot_wm.nn import norm_silu as norm
from robot_wm.nn.block_gru import GRUPlan
from robot_wm.nn.compiled import cell

_POST = len(ScanWeights._fields)
_PLAN = len(GRUPlan._fields) - 1  # tensors of a plan besides those of ``first``


class ScanInputs(NamedTuple):
    """What a scan of T steps over B sequences needs before it starts; see ``scan_inputs``."""

    latent: Latent  # what the first step begins with
    keep: Tensor  # [T, B, 1] float32, 0 where a step forgets what was before it
    after: Tensor  # [T, B, 1] the same of the step after each step, 1 after the last
    base: Tensor  # [T, B, 2*U+D] what is added to the first product: its bias, and the actions' share of hidden
    embedding: Tensor  # [T, B, U] the observations' share of the posterior layer, bias included
    plan: GRUPlan


def scan_inputs(start: Tensor, keep: Tensor, action: Tensor, embedding: Tensor, plan: GRUPlan) -> ScanInputs:
    """Everything that needs no loop over time.

    start [B, F] float32: the latent before the first step; keep and embedding as in ``ScanInputs``; action [T, B, U]
    embedded, of which the caller has masked what a step forgets.
    """
    width, size = plan.inputs_scale.numel(), plan.hidden_scale.shape[0]
    share = action @ plan.shared[width:]  # [T, B, D]
    base = torch.cat([share.new_zeros((*share.shape[:-1], width)), share], -1) + plan.first_bias
    latent = begin(start * keep[0], size, plan.shared.dtype)
    return ScanInputs(latent, keep, torch.cat([keep[1:], torch.ones_like(keep[:1])]), base, embedding, plan)


def _stack(items: list[Any]) -> Any:
    """Lists of (possibly nested) tuples of tensors to tuples of tensors stacked over time."""
    if isinstance(items[0], Tensor):
        return torch.stack(items)
    fields = [_stack([item[i] for item in items]) for i in range(len(items[0]))]
    return type(items[0])(*fields)


def _at(items: Any, t: int) -> Any:
    """One step of what ``_stack`` made."""
    return items[t] if isinstance(items, Tensor) else type(items)(*(_at(field, t) for field in items))


def _weights(flat: tuple[Tensor, ...]) -> tuple[GRUPlan, ScanWeights]:
    count = len(flat) - _POST - _PLAN
    return GRUPlan(flat[:count], *flat[count : count + _PLAN]), ScanWeights(*flat[count + _PLAN :])


class _PosteriorScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        deter: Tensor,
        low: Tensor,
        keep: Tensor,
        after: Tensor,
        odds: Tensor,
        unimix: float,
        base: Tensor,
        embedding: Tensor,
        *flat: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        plan, post = _weights(flat)
        advance = cell(posterior_step, deter.device)
        begun, steps = [Latent(deter, low)], []
        for t in range(odds.shape[0]):
            step, latent = advance(plan, post, unimix, begun[-1], after[t], base[t], embedding[t], odds[t])
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
        plan, post = _weights(tuple(flat))
        saved: PosteriorStep = ctx.saved._replace(soft=soft, feature=features)
        begun: Latent = ctx.begun
        local: StepLocal = cell(local_derivatives, keep.device)(plan, post, saved, begun.deter, keep)
        recede = cell(posterior_step_backward, keep.device)
        kept = torch.zeros_like(features[0])  # gradient that the step after sends to this one's feature
        parts: list[StepGradients] = []
        for t in reversed(range(len(features))):
            kept, part = recede(plan, post, ctx.unimix, _at(local, t), grads[0][t], grads[1][t], kept)
            parts.append(part)
        at: StepGradients = _stack(parts[::-1])
        weights = cell(_weight_gradients, keep.device)(plan, post, saved, begun.low, local, at)
        return (*[None] * 6, at.joined, at.before, *weights)


def _weight_gradients(
    plan: GRUPlan, post: ScanWeights, saved: PosteriorStep, low: Tensor, local: StepLocal, at: StepGradients
) -> tuple[Tensor | None, ...]:
    """One product a weight over all T*B rows, in the order of plan and posterior; ``low`` [T, B, F].

    None for the bias of the first product, whose gradient is that of ``ScanInputs.base``.
    """
    step, dtype = saved.step, plan.shared.dtype
    width, size = plan.inputs_scale.numel(), plan.hidden_scale.shape[0]
    logits = at.logits.flatten(0, 1)  # [T*B, Z]
    rows = at.joined.flatten(0, 1)  # [T*B, 2*U+D]
    gates = products.all_rows(at.gates, plan.gates)
    # The actions' share of hidden is in ``base``.
    d_shared = torch.cat([step.inputs.flatten(0, 1).T @ rows[:, width:], torch.zeros_like(plan.shared[width:])])
    return (
        *products.first_weight_gradient(low.flatten(0, 1), rows, plan.first),
        None,
        (at.inputs * local.inputs.slope * step.inputs_norm.unit).flatten(0, 1).sum(0),
        d_shared,
        norm.scale_gradient(at.hidden, step.hidden_norm.unit, local.hidden.slope),
        products.gates_weight_gradient(step.hidden.flatten(0, 1), gates, plan.gates),
        products.gates_bias_gradient(gates, plan.gates),
        at.before.flatten(0, 1).T @ saved.feature[..., :size].flatten(0, 1).to(dtype),
        norm.scale_gradient(at.unit, saved.unit_norm.unit, local.unit.slope),
        logits.T @ saved.unit.flatten(0, 1),
        logits.float().sum(0).to(dtype),
    )


def posterior_scan(
    inputs: ScanInputs, posterior: ScanWeights, odds: Tensor, *, unimix: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter B sequences of T steps; odds [T, B, S, C].

    Returns features [T, B, F] with straight-through gradients, probabilities after unimix [T, B, S, C], and the drawn
    classes [T, B, S] uint8. The stored latent before the first step gets no gradient.
    """
    latent, keep, after, base, embedding, plan = inputs
    return _PosteriorScan.apply(  # type: ignore[no-any-return]
        *latent, keep, after, odds, unimix, base, embedding, *plan.first, *plan[1:], *posterior
    )
