"""The posterior scan over time with a written-out gradient.

Autograd would add up every weight's gradient step by step and recompute each local derivative in small kernels. Here
the forward pass keeps what each step saw; backwards, local derivatives are formed for all steps at once, the loop only
passes the gradient from step to step, and each weight's gradient is one product over all T*B rows.
Z = S*C, F = D+Z, U = hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from robot_wm.dreamer.cells import (
    PosteriorStep,
    ScanWeights,
    StepGradients,
    StepLocal,
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
        start: Tensor,
        keep: Tensor,
        odds: Tensor,
        unimix: float,
        base: Tensor,
        embedding: Tensor,
        *flat: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        plan, post = _weights(flat)
        advance = cell(posterior_step, start.device)
        feature, steps = start, []
        for t in range(odds.shape[0]):
            step: PosteriorStep = advance(plan, post, unimix, feature, keep[t], base[t], embedding[t], odds[t])
            feature = step.feature
            steps.append(step)
        saved: PosteriorStep = _stack(steps)
        classes = saved.classes.to(torch.uint8)
        ctx.mark_non_differentiable(classes)
        ctx.save_for_backward(keep, saved.feature, saved.soft, *flat)
        nothing = start.new_empty(0)
        ctx.saved = saved._replace(feature=nothing, soft=nothing)  # the rest is no output, so that no cycle arises
        ctx.unimix = unimix
        return saved.feature, mixed(saved.soft, unimix), classes

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        keep, features, soft, *flat = ctx.saved_tensors
        plan, post = _weights(tuple(flat))
        saved: PosteriorStep = ctx.saved
        step, width, size = saved.step, plan.inputs_scale.numel(), plan.hidden_scale.shape[0]
        # Local derivatives of all steps at once.
        reset, update = step.gates.unbind(2)  # [T, B, D]
        slope = update * (1.0 - step.squashed.square())
        local = StepLocal(
            inputs=norm.factors(step.inputs_norm, plan.inputs_scale),
            hidden=norm.factors(step.hidden_norm, plan.hidden_scale),
            unit=norm.factors(saved.unit_norm, post.scale),
            gates=torch.stack(
                [
                    slope * step.candidate * reset * (1.0 - reset),
                    (step.squashed - saved.state[..., :size]) * update * (1.0 - update),
                    slope * reset,
                ],
                2,
            ),  # [T, B, 3, D]
            stay=1.0 - update,
            soft=soft,
            keep=keep,
        )
        recede = cell(posterior_step_backward, keep.device)
        kept = torch.zeros_like(features[0])  # gradient that the step after sends to this one's feature
        parts: list[StepGradients] = []
        for t in reversed(range(len(features))):
            kept, part = recede(plan, post, ctx.unimix, _at(local, t), grads[0][t], grads[1][t], kept)
            parts.append(part)
        # Weight gradients: one product each over all T*B rows.
        at: StepGradients = _stack(parts[::-1])
        logits = at.logits.flatten(0, 1)  # [T*B, Z]
        rows = at.joined.flatten(0, 1)  # [T*B, 2*U+D]
        dtype = plan.shared.dtype
        d_shared = torch.zeros_like(plan.shared)
        d_shared[:width] = step.inputs.flatten(0, 1).T @ rows[:, width:]
        return (
            None,
            None,
            None,
            None,
            at.joined,
            at.before,
            *products.first_weight_gradient(saved.state.flatten(0, 1).to(dtype), rows, plan.first),
            None,
            (at.inputs * local.inputs.slope * step.inputs_norm.unit).flatten(0, 1).sum(0),
            d_shared,
            norm.scale_gradient(at.hidden, step.hidden_norm.unit, local.hidden.slope),
            products.gates_weight_gradient(step.hidden.flatten(0, 1), at.gates.flatten(0, 1), plan.gates),
            products.gates_bias_gradient(at.gates.flatten(0, 1), plan.gates),
            at.before.flatten(0, 1).T @ features[..., :size].flatten(0, 1).to(dtype),
            norm.scale_gradient(at.unit, saved.unit_norm.unit, local.unit.slope),
            logits.T @ saved.unit.flatten(0, 1),
            logits.float().sum(0).to(dtype),
        )


def posterior_scan(
    start: Tensor,
    keep: Tensor,
    odds: Tensor,
    *,
    unimix: float,
    action: Tensor,
    embedding: Tensor,
    plan: GRUPlan,
    posterior: ScanWeights,
) -> tuple[Tensor, Tensor, Tensor]:
    """Filter B sequences of T steps.

    start [B, F] float32: the latent before the first step; keep [T, B, 1] float32, 0 where a step forgets it (the
    action must be masked by the caller); odds [T, B, S, C]; action [T, B, U] embedded; embedding [T, B, U]: the
    observation's share of the posterior layer, bias included.
    Returns features [T, B, F] with straight-through gradients, probabilities after unimix [T, B, S, C], and the drawn
    classes [T, B, S] uint8.
    """
    width = plan.inputs_scale.numel()
    share = action @ plan.shared[width:]  # [T, B, D]
    base = torch.cat([share.new_zeros((*share.shape[:-1], width)), share], -1) + plan.first_bias
    return _PosteriorScan.apply(  # type: ignore[no-any-return]
        start, keep, odds, unimix, base, embedding, *plan.first, *plan[1:], *posterior
    )
