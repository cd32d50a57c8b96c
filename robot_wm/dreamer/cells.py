"""One step of the recurrent model, forwards and backwards, as pure functions: what a loop over time repeats.

They record no graph: the loops around them write their gradients out (``scan``) or need none (imagination). On a GPU
each is compiled into a few kernels. Z = S*C, F = D+Z, U = hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.nn import block_products as products
from robot_wm.nn import norm_silu as norm
from robot_wm.nn.block_gru import GRUPlan
from robot_wm.nn.categorical import one_hot, sample, softmax


class StepSaved(NamedTuple):
    """What the gradient of one GRU step needs."""

    inputs: Tensor  # [N, 2*U]
    inputs_norm: norm.NormSaved  # over [N, 2, U]
    hidden: Tensor  # [N, D]
    hidden_norm: norm.NormSaved
    gates: Tensor  # [N, 2, G, D/G]: reset and update after their sigmoid, laid out as ``products.gates`` left them
    candidate: Tensor  # [N, G, D/G] before its nonlinearity
    squashed: Tensor  # [N, G, D/G] tanh(reset * candidate)

    def joined(self) -> StepSaved:
        """With the blocks side by side, D instead of G, D/G: a GPU stacks many tensors at once only if contiguous."""
        flat = [x.flatten(-2) for x in (self.gates, self.candidate, self.squashed)]
        return StepSaved(self.inputs, self.inputs_norm, self.hidden, self.hidden_norm, *flat)


def gru_step(plan: GRUPlan, x: Tensor, base: Tensor, action: Tensor | None) -> tuple[Tensor, StepSaved]:
    """One planned GRU step: [deter | stoch] x [N, F] float32 -> next deter [N, D] float32.

    ``base`` is added to the first product: ``plan.first_bias``, or that with the embedded actions' share of hidden
    [N, 2*U+D], in which case ``action`` (embedded, [N, U]) is None.
    """
    dtype, width = plan.shared.dtype, plan.inputs_scale.numel()
    inputs, own = products.first(x.to(dtype), base, plan.first, width)
    inputs, inputs_norm = norm.forward(inputs.unflatten(-1, (2, -1)), plan.inputs_scale)
    inputs = inputs.flatten(1)
    seen = inputs if action is None else torch.cat([inputs, action], -1)
    # Product and sum apart: compiled, the sum joins the norm, where addmm would copy it first.
    before = own + seen @ plan.shared[: seen.shape[1]]
    hidden, hidden_norm = norm.forward(before, plan.hidden_scale)
    raw = products.gates(hidden, plan.gates, plan.gates_bias).float()  # [N, 3, G, D/G]
    gates = torch.sigmoid(raw[:, :2])
    candidate = raw[:, 2]
    # tanh(y) = 2 * sigmoid(2 * y) - 1: on a CPU a third of the time of torch's tanh.
    squashed = torch.sigmoid(2.0 * gates[:, 0] * candidate).mul_(2.0).sub_(1.0)
    old = x[:, : hidden.shape[1]].unflatten(-1, candidate.shape[1:])
    deter = torch.lerp(old, squashed, gates[:, 1]).flatten(1)
    return deter, StepSaved(inputs, inputs_norm, hidden, hidden_norm, gates, candidate, squashed)


class ScanWeights(NamedTuple):
    """Weights of the posterior: from the next deter to its distribution."""

    deter: Tensor  # [U, D]
    scale: Tensor  # [U]
    logits: Tensor  # [Z, U]
    bias: Tensor  # [Z]


class PosteriorStep(NamedTuple):
    """One filtered step, and what its gradient needs."""

    feature: Tensor  # [B, F] float32: the next deter, then the drawn latent, one-hot
    state: Tensor  # [B, F] what the step began with: zero where it forgets
    step: StepSaved  # joined
    unit: Tensor  # [B, U] the posterior's hidden layer
    unit_norm: norm.NormSaved
    soft: Tensor  # [B, S, C] probabilities before unimix
    classes: Tensor  # [B, S] drawn


def mixed(soft: Tensor, unimix: float) -> Tensor:
    """Probabilities [..., C] mixed with ``unimix`` of the uniform distribution."""
    return torch.lerp(soft, soft.new_full((1,), 1.0 / soft.shape[-1]), unimix)


def posterior_step(
    plan: GRUPlan,
    post: ScanWeights,
    unimix: float,
    feature: Tensor,
    keep: Tensor,
    base: Tensor,
    embedding: Tensor,
    odds: Tensor,
) -> PosteriorStep:
    """Filter one step from the ``feature`` [B, F] of the step before.

    keep [B, 1], base [B, 2*U+D], embedding [B, U], odds [B, S, C]: see ``scan.posterior_scan``.
    """
    state = feature * keep
    deter, step = gru_step(plan, state, base, None)
    before = embedding + deter.to(plan.shared.dtype) @ post.deter.T
    unit, unit_norm = norm.forward(before, post.scale)
    soft = softmax(torch.addmm(post.bias, unit, post.logits.T).view(odds.shape))
    classes = (mixed(soft, unimix) * odds).argmax(-1)
    drawn = one_hot(classes, odds.shape[-1], torch.float32).flatten(1)
    return PosteriorStep(torch.cat([deter, drawn], -1), state, step.joined(), unit, unit_norm, soft, classes)


class StepLocal(NamedTuple):
    """Local derivatives of one step (or of all steps, stacked over time)."""

    inputs: norm.NormFactors
    hidden: norm.NormFactors
    unit: norm.NormFactors
    gates: Tensor  # [B, 3, D]: of reset, update and candidate
    stay: Tensor  # [B, D] share of the old deter in the next one
    soft: Tensor  # [B, S, C]
    keep: Tensor  # [B, 1]


class StepGradients(NamedTuple):
    """Gradients at one step's products: what the weights' gradients are made of."""

    joined: Tensor  # [B, 2*U+D] at the first product
    inputs: Tensor  # [B, 2, U] float32 at the first norm's output
    hidden: Tensor  # [B, D] float32 at the second norm's output
    gates: Tensor  # [B, 3, D] at the gates' product
    unit: Tensor  # [B, U] float32 at the posterior's norm's output
    before: Tensor  # [B, U] at the posterior's first product
    logits: Tensor  # [B, Z]


def posterior_step_backward(
    plan: GRUPlan,
    post: ScanWeights,
    unimix: float,
    local: StepLocal,
    out_feature: Tensor,
    out_probs: Tensor,
    kept: Tensor,
) -> tuple[Tensor, StepGradients]:
    """Pass the gradient through one step.

    ``out_feature`` [B, F] and ``out_probs`` [B, S, C] are those of the step's outputs, ``kept`` [B, F] what the step
    after sends to this one's feature. Returns what this step sends to the one before, and the products' gradients.
    """
    dtype, width, size = plan.shared.dtype, plan.inputs_scale.numel(), local.stay.shape[-1]
    through = 1.0 - unimix
    grad = out_feature + kept
    latent = grad[:, size:].view(local.soft.shape)
    d_soft = (out_probs + latent) * through
    d_logits = torch._softmax_backward_data(d_soft, local.soft, -1, torch.float32).flatten(1).to(dtype)  # [B, Z]
    d_unit = (d_logits @ post.logits).float()
    d_before = norm.backward(d_unit, local.unit).to(dtype)  # [B, U]
    deter = grad[:, :size] + d_before @ post.deter  # [B, D]
    d_gates = (deter.unsqueeze(1) * local.gates).to(dtype)  # [B, 3, D]
    d_hidden = products.gates_input_gradient(d_gates, plan.gates).float()
    d_middle = norm.backward(d_hidden, local.hidden).to(dtype)  # [B, D]
    d_inputs = (d_middle @ plan.shared[:width].T).float().unflatten(-1, (2, -1))
    d_first = norm.backward(d_inputs, local.inputs).to(dtype).flatten(1)
    joined = torch.cat([d_first, d_middle], -1)  # [B, 2*U+D]
    back = products.first_input_gradient(joined, plan.first).float()  # [B, F]
    before = torch.cat([torch.addcmul(back[:, :size], deter, local.stay), back[:, size:]], -1) * local.keep
    return before, StepGradients(joined, d_inputs, d_hidden, d_gates, d_unit, d_before, d_logits)


def imagined_step(
    agent: DreamerAgent, plan: GRUPlan, feature: Tensor, noise_action: Tensor, odds: Tensor
) -> tuple[Tensor, Tensor]:
    """The actor acts and the prior answers: next feature [N, F] float32 and the action [N, A] that led to it.

    feature [N, F] float32, noise_action [N, A], odds [N, S, C].
    """
    action = agent.actor(feature.to(agent.dtype)).sample(noise_action)
    deter, _ = gru_step(plan, feature, plan.first_bias, agent.rssm.gru.embed_action(action))
    stoch = sample(agent.rssm.prior_probs(deter), odds).flatten(1)
    return torch.cat([deter, stoch], -1), action
