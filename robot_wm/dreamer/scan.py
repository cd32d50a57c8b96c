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

from robot_wm.nn import block_products as products
from robot_wm.nn import norm_silu as norm
from robot_wm.nn.block_gru import GRUPlan
from robot_wm.nn.categorical import softmax


class StepSaved(NamedTuple):
    """What the gradient of one GRU step needs."""

    inputs: Tensor  # [N, 2*U]
    inputs_norm: norm.NormSaved  # over [N, 2, U]
    hidden: Tensor  # [N, D]
    hidden_norm: norm.NormSaved
    gates: Tensor  # [N, 2, D]: reset and update after their sigmoid
    candidate: Tensor  # [N, D] before its nonlinearity
    squashed: Tensor  # [N, D] tanh(reset * candidate)


def gru_step(plan: GRUPlan, x: Tensor, base: Tensor, action: Tensor | None) -> tuple[Tensor, StepSaved]:
    """One planned GRU step: [deter | stoch] x [N, F] float32 -> next deter [N, D] float32. Records no graph.

    ``base`` is added to the first product: ``plan.first_bias``, or that with the embedded actions' share of hidden
    [N, 2*U+D], in which case ``action`` (embedded, [N, U]) is None.
    """
    dtype, width = plan.shared.dtype, plan.inputs_scale.numel()
    first = products.first(x.to(dtype), base, plan.first)
    inputs, inputs_norm = norm.forward(first[:, :width].unflatten(-1, (2, -1)), plan.inputs_scale)
    inputs = inputs.flatten(1)
    seen = inputs if action is None else torch.cat([inputs, action], -1)
    before = torch.addmm(first[:, width:], seen, plan.shared[: seen.shape[1]])
    hidden, hidden_norm = norm.forward(before, plan.hidden_scale)
    raw = products.gates(hidden, plan.gates, plan.gates_bias).float()  # [N, 3, D]
    gates = torch.sigmoid(raw[:, :2])
    candidate = raw[:, 2]
    squashed = torch.tanh(gates[:, 0] * candidate)
    deter = torch.lerp(x[:, : candidate.shape[1]], squashed, gates[:, 1])
    return deter, StepSaved(inputs, inputs_norm, hidden, hidden_norm, gates, candidate, squashed)


class ScanWeights(NamedTuple):
    """Weights of the posterior: from the next deter to its distribution."""

    deter: Tensor  # [U, D]
    scale: Tensor  # [U]
    logits: Tensor  # [Z, U]
    bias: Tensor  # [Z]


def _stack(items: list[Any]) -> Any:
    """Lists of (possibly nested) tuples of tensors to tuples of tensors stacked over time."""
    if isinstance(items[0], Tensor):
        return torch.stack(items)
    fields = [_stack([item[i] for item in items]) for i in range(len(items[0]))]
    return type(items[0])(*fields)


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
        count = len(flat) - 10  # tensors of ``first``
        plan = GRUPlan(flat[:count], *flat[count : count + 6])
        post = ScanWeights(*flat[count + 6 :])
        dtype, size = plan.shared.dtype, plan.hidden_scale.shape[0]
        length, batch, groups, classes = odds.shape
        features = start.new_empty((length, *start.shape))  # [T, B, F]
        numbers = torch.arange(classes, device=start.device)
        uniform = odds.new_full((1,), 1.0 / classes)
        states: list[Tensor] = []
        steps: list[StepSaved] = []
        units: list[Tensor] = []
        norms: list[norm.NormSaved] = []
        softs: list[Tensor] = []
        drawn: list[Tensor] = []
        state = start
        for t in range(length):
            state = state * keep[t]
            deter, step = gru_step(plan, state, base[t], None)
            unit, unit_norm = norm.forward(torch.addmm(embedding[t], deter.to(dtype), post.deter.T), post.scale)
            logits = torch.addmm(post.bias, unit, post.logits.T)
            soft = softmax(logits.view(batch, groups, classes))
            index = (torch.lerp(soft, uniform, unimix) * odds[t]).argmax(-1)  # [B, S]
            states.append(state)
            state = features[t]
            state[:, :size] = deter
            state[:, size:].view(batch, groups, classes).copy_(index.unsqueeze(-1) == numbers)
            steps.append(step)
            units.append(unit)
            norms.append(unit_norm)
            softs.append(soft)
            drawn.append(index)
        soft = torch.stack(softs)
        index = torch.stack(drawn).to(torch.uint8)
        ctx.mark_non_differentiable(index)
        ctx.save_for_backward(keep, features, soft, *flat)
        ctx.saved = (states, steps, units, norms)  # inner values: neither inputs nor outputs, so no cycle
        ctx.unimix, ctx.count = unimix, count
        return features, torch.lerp(soft, uniform, unimix), index

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        keep, features, soft, *flat = ctx.saved_tensors
        states, steps, units, norms = (_stack(items) for items in ctx.saved)
        count, size = ctx.count, flat[ctx.count + 3].shape[0]
        plan, post = GRUPlan(tuple(flat[:count]), *flat[count : count + 6]), ScanWeights(*flat[count + 6 :])
        dtype, width = plan.shared.dtype, plan.inputs_scale.numel()
        length, batch, groups, classes = soft.shape
        shared = plan.shared[:width]
        # Local derivatives of all steps at once.
        inputs_local = norm.factors(steps.inputs_norm, plan.inputs_scale)
        hidden_local = norm.factors(steps.hidden_norm, plan.hidden_scale)
        unit_local = norm.factors(norms, post.scale)
        reset, update = steps.gates.unbind(2)  # [T, B, D]
        old, slope = states[..., :size], update * (1.0 - steps.squashed.square())
        gate_local = torch.stack(
            [
                slope * steps.candidate * reset * (1.0 - reset),
                (steps.squashed - old) * update * (1.0 - update),
                slope * reset,
            ],
            2,
        )  # [T, B, 3, D]
        stay = 1.0 - update
        through = 1.0 - ctx.unimix
        out_feature, out_probs = grads[0], grads[1] * through
        kept = torch.zeros_like(features[0])  # gradient that the step after sends to this one's state
        d_first, d_shared, d_hidden, d_gates = [], [], [], []
        d_unit, d_before, d_logits = [], [], []
        for t in reversed(range(length)):
            grad = out_feature[t] + kept
            latent = grad[:, size:].view(batch, groups, classes)
            d_soft = torch.add(out_probs[t], latent, alpha=through)
            d_logit = torch._softmax_backward_data(d_soft, soft[t], -1, torch.float32).flatten(1).to(dtype)  # [B, Z]
            g_unit = (d_logit @ post.logits).float()
            g_before = norm.backward(g_unit, unit_local.at(t)).to(dtype)  # [B, U]
            deter = grad[:, :size] + g_before @ post.deter  # [B, D]
            g_gates = (deter.unsqueeze(1) * gate_local[t]).to(dtype)  # [B, 3, D]
            g_hidden = products.gates_input_gradient(g_gates, plan.gates).float()
            d_middle = norm.backward(g_hidden, hidden_local.at(t)).to(dtype)  # [B, D]
            g_inputs = (d_middle @ shared.T).float().view(batch, 2, -1)
            d_inputs = norm.backward(g_inputs, inputs_local.at(t)).to(dtype).flatten(1)
            joined = torch.cat([d_inputs, d_middle], -1)  # [B, 2*U+D]
            kept = products.first_input_gradient(joined, plan.first).float()
            kept[:, :size] += deter * stay[t]
            kept *= keep[t]
            d_first.append(joined)
            d_shared.append(g_inputs)
            d_hidden.append(g_hidden)
            d_gates.append(g_gates)
            d_unit.append(g_unit)
            d_before.append(g_before)
            d_logits.append(d_logit)
        # Weight gradients: one product each over all T*B rows.
        first, g_inputs, g_hidden, g_gates, g_unit, before, logits = (
            torch.stack(items[::-1]) for items in (d_first, d_shared, d_hidden, d_gates, d_unit, d_before, d_logits)
        )
        logits = logits.flatten(0, 1)  # [T*B, Z]
        rows = first.flatten(0, 1)
        d_weight_shared = torch.zeros_like(plan.shared)
        d_weight_shared[:width] = steps.inputs.flatten(0, 1).T @ rows[:, width:]
        return (
            None,
            None,
            None,
            None,
            first,
            before,
            *products.first_weight_gradient(states.flatten(0, 1).to(dtype), rows, plan.first),
            None,
            (g_inputs * inputs_local.slope * steps.inputs_norm.unit).flatten(0, 1).sum(0),
            d_weight_shared,
            norm.scale_gradient(g_hidden, steps.hidden_norm.unit, hidden_local.slope),
            products.gates_weight_gradient(steps.hidden.flatten(0, 1), g_gates.flatten(0, 1), plan.gates),
            g_gates.flatten(0, 1).float().sum(0).to(dtype),
            before.flatten(0, 1).T @ features[..., :size].flatten(0, 1).to(dtype),
            norm.scale_gradient(g_unit, norms.unit, unit_local.slope),
            logits.T @ units.flatten(0, 1),
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
