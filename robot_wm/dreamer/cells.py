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
    reset: Tensor  # [N, G, D/G] after its sigmoid, laid out as ``products.gates`` left it
    update: Tensor  # [N, G, D/G] the same
    candidate: Tensor  # [N, G, D/G] before its nonlinearity
    squashed: Tensor  # [N, G, D/G] tanh(reset * candidate)

    def joined(self) -> StepSaved:
        """With the blocks side by side, D instead of G, D/G: a GPU stacks many tensors at once only if contiguous."""
        flat = [x.flatten(-2) for x in (self.reset, self.update, self.candidate, self.squashed)]
        return StepSaved(self.inputs, self.inputs_norm, self.hidden, self.hidden_norm, *flat)


class Latent(NamedTuple):
    """What a step begins with."""

    deter: Tensor  # [N, D] float32
    low: Tensor  # [N, F] deter, then the drawn latent, one-hot, in the dtype that products compute in


def begin(feature: Tensor, size: int, dtype: torch.dtype) -> Latent:
    """What a step begins with after a feature [N, F] float32, of which the first ``size`` are deter."""
    # Contiguous like what steps return: a compiled step is compiled once more for other strides.
    return Latent(feature[:, :size].contiguous(), feature.to(dtype))


def gru_step(plan: GRUPlan, latent: Latent, base: Tensor, action: Tensor | None) -> tuple[Tensor, StepSaved]:
    """One planned GRU step: ``latent`` -> next deter [N, D] float32.

    ``base`` is added to the first product: ``plan.first_bias``, or that with the embedded actions' share of hidden
    [N, 2*U+D], in which case ``action`` (embedded, [N, U]) is None.
    """
    inputs, own = products.first(latent.low, base, plan.first, plan.inputs_scale.numel())
    inputs, inputs_norm = norm.forward(inputs.unflatten(-1, (2, -1)), plan.inputs_scale)
    inputs = inputs.flatten(1)
    seen = inputs if action is None else torch.cat([inputs, action], -1)
    # Product and sum apart: compiled, the sum joins the norm, where addmm would copy it first.
    before = own + seen @ plan.shared[: seen.shape[1]]
    hidden, hidden_norm = norm.forward(before, plan.hidden_scale)
    raw = products.gates(hidden, plan.gates, plan.gates_bias).float()  # [N, 3, G, D/G]
    reset, update, candidate = torch.sigmoid(raw[:, 0]), torch.sigmoid(raw[:, 1]), raw[:, 2]
    # tanh(y) = 2 * sigmoid(2 * y) - 1: on a CPU a third of the time of torch's tanh.
    squashed = torch.sigmoid(2.0 * reset * candidate).mul_(2.0).sub_(1.0)
    deter = torch.lerp(latent.deter.unflatten(-1, candidate.shape[1:]), squashed, update).flatten(1)
    return deter, StepSaved(inputs, inputs_norm, hidden, hidden_norm, reset, update, candidate, squashed)


class ScanWeights(NamedTuple):
    """Weights of the posterior: from the next deter to its distribution."""

    deter: Tensor  # [U, D]
    scale: Tensor  # [U]
    logits: Tensor  # [Z, U]
    bias: Tensor  # [Z]


class PosteriorStep(NamedTuple):
    """One filtered step, and what its gradient needs."""

    feature: Tensor  # [B, F] float32: the next deter, then the drawn latent, one-hot
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
    latent: Latent,
    keep: Tensor,
    base: Tensor,
    embedding: Tensor,
    odds: Tensor,
) -> tuple[PosteriorStep, Latent]:
    """Filter one step; also returns what the step after begins with, zero where that one forgets.

    keep [B, 1] is that of the step after; base [B, 2*U+D], embedding [B, U], odds [B, S, C]: see
    ``scan.posterior_scan``.
    """
    deter, step = gru_step(plan, latent, base, None)
    before = embedding + deter.to(plan.shared.dtype) @ post.deter.T
    unit, unit_norm = norm.forward(before, post.scale)
    soft = softmax(torch.addmm(post.bias, unit, post.logits.T).view(odds.shape))
    classes = (mixed(soft, unimix) * odds).argmax(-1)
    feature = torch.cat([deter, one_hot(classes, odds.shape[-1], torch.float32).flatten(1)], -1)
    after = Latent(deter * keep, (feature * keep).to(latent.low.dtype))
    return PosteriorStep(feature, step.joined(), unit, unit_norm, soft, classes), after


class StepLocal(NamedTuple):
    """Local derivatives of one step (or of all steps, stacked over time)."""

    inputs: norm.NormFactors
    hidden: norm.NormFactors
    unit: norm.NormFactors
    gates: Tensor  # [B, 3, D]: of reset, update and candidate
    stay: Tensor  # [B, D] share of the old deter in the next one
    soft: Tensor  # [B, S, C]
    keep: Tensor  # [B, 1]


def local_derivatives(plan: GRUPlan, post: ScanWeights, saved: PosteriorStep, deter: Tensor, keep: Tensor) -> StepLocal:
    """Those of all steps at once, from what they saved and the deter [T, B, D] that they began with."""
    step = saved.step
    slope = step.update * (1.0 - step.squashed.square())  # [T, B, D]
    gates = [
        slope * step.candidate * step.reset * (1.0 - step.reset),
        (step.squashed - deter) * step.update * (1.0 - step.update),
        slope * step.reset,
    ]
    return StepLocal(
        inputs=norm.factors(step.inputs_norm, plan.inputs_scale),
        hidden=norm.factors(step.hidden_norm, plan.hidden_scale),
        unit=norm.factors(saved.unit_norm, post.scale),
        gates=torch.stack(gates, 2),  # [T, B, 3, D]
        stay=1.0 - step.update,
        soft=saved.soft,
        keep=keep,
    )


class StepGradients(NamedTuple):
    """Gradients at one step's products: what the weights' gradients are made of."""

    joined: Tensor  # [B, 2*U+D] at the first product
    inputs: Tensor  # [B, 2, U] float32 at the first norm's output
    hidden: Tensor  # [B, D] float32 at the second norm's output
    gates: Tensor  # [B, 3*D] or [G, B, 3*D/G] at the gates' product
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
    # Cast before it is flattened: a compiler then makes one kernel of it, groups of classes being its rows.
    d_logits = torch._softmax_backward_data(d_soft, local.soft, -1, torch.float32).to(dtype).flatten(1)  # [B, Z]
    d_unit = (d_logits @ post.logits).float()
    d_before = norm.backward(d_unit, local.unit).to(dtype)  # [B, U]
    deter = grad[:, :size] + d_before @ post.deter  # [B, D]
    d_gates = products.gates_gradient((deter.unsqueeze(1) * local.gates).to(dtype), plan.gates)
    d_hidden = products.gates_input_gradient(d_gates, plan.gates).float()
    d_middle = norm.backward(d_hidden, local.hidden).to(dtype)  # [B, D]
    d_inputs = (d_middle @ plan.shared[:width].T).float().unflatten(-1, (2, -1))
    d_first = norm.backward(d_inputs, local.inputs).to(dtype).flatten(1)
    joined = torch.cat([d_first, d_middle], -1)  # [B, 2*U+D]
    back = products.first_input_gradient(joined, plan.first).float()  # [B, F]
    before = torch.cat([torch.addcmul(back[:, :size], deter, local.stay), back[:, size:]], -1) * local.keep
    return before, StepGradients(joined, d_inputs, d_hidden, d_gates, d_unit, d_before, d_logits)


def imagined_step(
    agent: DreamerAgent, plan: GRUPlan, latent: Latent, noise_action: Tensor, odds: Tensor
) -> tuple[Latent, Tensor]:
    """The actor acts and the prior answers: the next latent and the action [N, A] float32 that led to it.

    noise_action [N, A], odds [N, S, C].
    """
    action = agent.actor(latent.low).sample(noise_action)
    deter, _ = gru_step(plan, latent, plan.first_bias, agent.rssm.gru.embed_action(action))
    stoch = sample(agent.rssm.prior_probs(deter), odds).flatten(1)
    dtype = latent.low.dtype
    return Latent(deter, torch.cat([deter.to(dtype), stoch.to(dtype)], -1)), action
