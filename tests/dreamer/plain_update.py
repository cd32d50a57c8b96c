"""One DreamerV3 update in plain autograd, straight from the published equations: what the learner must equal.

Clear rather than fast: it loops over steps and blocks and lets autograd differentiate all of it. It takes an agent's
parameters by name and nothing else of ours: no layer, no loss and no setting. Sources are the sections of the paper
(Hafner et al., "Mastering diverse control tasks through world models", Nature 2025), and danijar/dreamerv3 at e3f0224
for what the paper leaves open. N rows of any kind, F = D+Z feature, Z = S*C.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, OneHotCategorical
from torch.nn import functional as F

from robot_wm.dreamer.noise import Noise
from robot_wm.learning.batch import TensorBatch

Weights = Mapping[str, Tensor]

DISCOUNT = 1 - 1 / 333
LAMBDA = 0.95
ENTROPY_SCALE = 3e-4
UNIMIX = 0.01
NORM_EPSILON = 1e-4
MIN_STD, MAX_STD = 0.1, 1.0
RETURN_RATE = 0.01
LOSS_WEIGHTS = {"representation": 0.1, "replay_value": 0.3}  # of all others: 1


# Layers


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    """[N, in] -> [N, out]."""
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def norm_silu(x: Tensor, scale: Tensor) -> Tensor:
    """RMS norm and SiLU over the last axis (dreamerv3's nets.py)."""
    x = x / (x.square().mean(-1, keepdim=True) + NORM_EPSILON).sqrt() * scale
    return x * x.sigmoid()


def dense(w: Weights, name: str, x: Tensor) -> Tensor:
    """[N, in] -> [N, units]: the layer that all networks are made of."""
    return norm_silu(linear(w, name, x), w[f"{name}.norm_scale"])


def mlp(w: Weights, name: str, x: Tensor) -> Tensor:
    """[N, in] -> [N, units]: as many layers as there are parameters."""
    layer = 0
    while f"{name}.{layer}.weight" in w:
        x = dense(w, f"{name}.{layer}", x)
        layer += 1
    return x


def head(w: Weights, name: str, feature: Tensor) -> Tensor:
    """[..., F] -> [..., out]: an MLP and a linear layer."""
    return linear(w, f"{name}.out", mlp(w, f"{name}.mlp", feature))


def symlog(x: Tensor) -> Tensor:
    """Squashes both signs ("Robust predictions")."""
    return x.sign() * (1 + x.abs()).log()


# World model


def block_gru_step(w: Weights, deter: Tensor, stoch: Tensor, action: Tensor) -> Tensor:
    """Sequence model: deter [N, D], stoch [N, Z], action [N, A] -> next deter [N, D].

    A GRU of block-diagonal matrices ("World model learning"); inputs and gates as in dreamerv3's rssm.py:
    each block sees its own part of deter beside all the inputs, and a gate's bias of -1 makes it remember at first.
    """
    action = action / action.abs().clamp(min=1)
    inputs = [
        dense(w, "rssm.gru.deter_in", deter),
        dense(w, "rssm.gru.stoch_in", stoch),
        dense(w, "rssm.gru.action_in", action),
    ]
    blocks, _, width = w["rssm.gru.hidden.weight"].shape  # G, in, D/G
    own = deter.split(width, -1)
    hidden = [torch.cat([own[g], *inputs], -1) @ w["rssm.gru.hidden.weight"][g] for g in range(blocks)]
    hidden = norm_silu(torch.cat(hidden, -1) + w["rssm.gru.hidden.bias"], w["rssm.gru.norm_scale"]).split(width, -1)
    bias = w["rssm.gru.gates.bias"].split(3 * width)
    after = []
    for g in range(blocks):
        gates = hidden[g] @ w["rssm.gru.gates.weight"][g] + bias[g]
        reset, candidate, update = gates.split(width, -1)
        update = (update - 1).sigmoid()
        after.append(update * (reset.sigmoid() * candidate).tanh() + (1 - update) * own[g])
    return torch.cat(after, -1)


def latent(logits: Tensor, groups: tuple[int, int]) -> Tensor:
    """Logits [N, Z] -> log-probabilities [N, S, C] of the mixture with 1 % uniform ("World model learning")."""
    probs = logits.unflatten(-1, groups).softmax(-1)
    return ((1 - UNIMIX) * probs + UNIMIX / groups[1]).log()


def posterior(w: Weights, deter: Tensor, embedding: Tensor, groups: tuple[int, int]) -> Tensor:
    """Encoder's latent from deter [N, D] and embedded observation [N, E]."""
    hidden = dense(w, "rssm.posterior", torch.cat([deter, embedding], -1))
    return latent(linear(w, "rssm.posterior_logits", hidden), groups)


def prior(w: Weights, deter: Tensor, groups: tuple[int, int]) -> Tensor:
    """Dynamics predictor's latent from deter [..., D] alone."""
    return latent(linear(w, "rssm.prior_logits", mlp(w, "rssm.prior", deter)), groups)


def draw(log_probs: Tensor, gumbel: Tensor) -> Tensor:
    """Sample of [N, S, C] as one-hot [N, Z] with straight-through gradients ("World model learning")."""
    probs = log_probs.exp()
    sample = F.one_hot((log_probs + gumbel).argmax(-1), probs.shape[-1])
    return (sample + probs - probs.detach()).flatten(-2)


class Filtered(NamedTuple):
    """Latents of the trained steps, with their gradients."""

    deter: Tensor  # [T, B, D]
    stoch: Tensor  # [T, B, Z]
    log_probs: Tensor  # [T, B, S, C] posterior


def trained(batch_major: Tensor) -> Tensor:
    """[B, T1, ...] -> [T, B, ...]: without the context step, time first."""
    return batch_major[:, 1:].transpose(0, 1)


def filter_sequences(w: Weights, batch: TensorBatch, gumbel: Tensor) -> Filtered:
    """Run the posterior along each sequence from its stored latent; a first step forgets latent and action."""
    groups = (gumbel.shape[-2], gumbel.shape[-1])
    observed = mlp(w, "encoder.mlp", symlog(torch.cat([trained(value) for value in batch.obs.values()], -1)))
    deter = batch.stored["deter"]
    stoch = F.one_hot(batch.stored["stoch"].long(), groups[1]).to(deter.dtype).flatten(1)
    steps = []
    for t, (embedding, first) in enumerate(zip(observed, trained(batch.is_first), strict=True)):
        fresh = first[:, None]
        state = (x.masked_fill(fresh, 0) for x in (deter, stoch, batch.action[:, t]))  # the action that led here
        deter = block_gru_step(w, *state)
        log_probs = posterior(w, deter, embedding, groups)
        stoch = draw(log_probs, gumbel[t])
        steps.append((deter, stoch, log_probs))
    return Filtered(*(torch.stack(each) for each in zip(*steps, strict=True)))


def kl(left: Tensor, right: Tensor) -> Tensor:
    """KL(left || right) of log-probabilities [..., S, C], summed over groups: [...] nats."""
    return (left.exp() * (left - right)).sum((-2, -1))


def with_free_nats(divergence: Tensor, free: float) -> Tensor:
    """No loss below ``free`` nats of a whole latent ("World model learning"); mean over T and B."""
    return divergence.clamp(min=free).mean()


def world_model_losses(w: Weights, batch: TensorBatch, seen: Filtered, free: float) -> dict[str, Tensor]:
    """Prediction, dynamics and representation losses ("World model learning")."""
    feature = torch.cat([seen.deter, seen.stoch], -1)
    expected = prior(w, seen.deter, (seen.log_probs.shape[-2], seen.log_probs.shape[-1]))
    losses = {
        "dynamics": with_free_nats(kl(seen.log_probs.detach(), expected), free),
        "representation": with_free_nats(kl(seen.log_probs, expected.detach()), free),
        "reward": known_mean(
            twohot_loss(head(w, "reward", feature), trained(batch.reward)), trained(batch.reward_known)
        ),
        "continue": continue_loss(w, feature, trained(batch.is_terminal)),
    }
    decoded = mlp(w, "decoder.mlp", feature)
    for field, (name, value) in enumerate(batch.obs.items()):
        error = linear(w, f"decoder.fields.{field}", decoded) - symlog(trained(value))
        losses[f"rec/{name}"] = error.square().sum(-1).mean()  # dreamerv3's: the paper halves it
    return losses


def known_mean(loss: Tensor, known: Tensor) -> Tensor:
    """Mean over T and B of losses [T, B], of which only the known rewards' count."""
    return loss.masked_fill(~known, 0).mean()


def continues(w: Weights, feature: Tensor) -> Tensor:
    """Probability [...] that the episode goes on, times the discount (dreamerv3's contdisc)."""
    return head(w, "cont", feature).squeeze(-1).sigmoid()


def continue_loss(w: Weights, feature: Tensor, terminal: Tensor) -> Tensor:
    """Cross-entropy to the discount where the episode goes on, to zero where it ends."""
    chance, target = continues(w, feature), DISCOUNT * (~terminal).to(feature.dtype)
    return -(target * chance.log() + (1 - target) * (1 - chance).log()).mean()


# Scalars as distributions ("Robust predictions")


def bins_of(logits: Tensor) -> Tensor:
    """Values [bins] of a two-hot distribution: symexp of an even grid."""
    grid = torch.linspace(-20, 20, logits.shape[-1], dtype=torch.float64)
    return grid.sign() * (grid.abs().exp() - 1)


def expected_scalar(logits: Tensor) -> Tensor:
    """Mean of a two-hot distribution: [..., bins] -> [...]."""
    return (logits.softmax(-1) * bins_of(logits)).sum(-1)


def twohot_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of logits [..., bins] to the two-hot of a target [...], which has no gradient."""
    bins = bins_of(logits)
    # How far the target has come from each bin to the next, 0 to 1: a bin keeps what arrived and went no further.
    passed = ((target.detach()[..., None] - bins[:-1]) / bins.diff()).clamp(0, 1)  # [..., bins - 1]
    twohot = F.pad(passed, (1, 0), value=1.0) - F.pad(passed, (0, 1), value=0.0)  # [..., bins]
    return -(twohot * logits.log_softmax(-1)).sum(-1)


# Behaviour


def policy(w: Weights, feature: Tensor) -> Distribution:
    """The actor's distribution over A ("Actor learning"); bounds of the normal one as in dreamerv3's heads.py."""
    hidden = mlp(w, "actor.mlp", feature)
    first = linear(w, "actor.out", hidden)
    if "actor.std.weight" not in w:
        return OneHotCategorical(logits=first)
    std = (MAX_STD - MIN_STD) * (linear(w, "actor.std", hidden) + 2).sigmoid() + MIN_STD
    return Independent(Normal(first.tanh(), std), 1)


def act(chosen: Distribution, noise: Tensor) -> Tensor:
    """Sample [N, A] by given noise: Gumbel for a categorical policy, normal for a normal one."""
    if isinstance(chosen, OneHotCategorical):
        return F.one_hot((chosen.logits + noise).argmax(-1), noise.shape[-1]).to(noise.dtype)
    return chosen.mean + chosen.stddev * noise


@torch.no_grad()
def imagine(w: Weights, start: Tensor, size: int, gumbel: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Prior and actor for H steps from N states: features [H+1, N, F] and the actions between them [H, N, A].

    start [N, F], of whose F the first ``size`` are deter. No gradient: REINFORCE needs none ("Actor learning").
    """
    features, actions = [start], []
    groups = (gumbel.shape[-2], gumbel.shape[-1])
    for latent_noise, action_noise in zip(gumbel, noise, strict=True):
        actions.append(act(policy(w, features[-1]), action_noise))
        deter = block_gru_step(w, features[-1][:, :size], features[-1][:, size:], actions[-1])
        stoch = draw(prior(w, deter, groups), latent_noise)
        features.append(torch.cat([deter, stoch], -1))
    return torch.stack(features), torch.stack(actions)


def lambda_return(reward: Tensor, discount: Tensor, cut: Tensor, value: Tensor) -> Tensor:
    """R[t] = r[t+1] + d[t+1] ((1 - λ) v[t+1] + λ R[t+1]) and R[T] = v[T] ("Critic learning"): [T+1, N] -> [T, N].

    The paper's r[t] follows the action of step t; it is stored with the step that it led to. Where a replayed
    episode is cut the next step belongs to another one: there R is v.
    """
    future = value[-1]
    returns: list[Tensor] = []
    for t in reversed(range(1, len(value))):
        future = torch.where(cut[t], value[t], (1 - LAMBDA) * value[t] + LAMBDA * future)
        future = reward[t] + discount[t] * future
        returns.insert(0, future)
    return torch.stack(returns)


def return_range(returns: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """max(1, S): S is the range from the 5th to the 95th percentile, averaged over updates ("Actor learning").

    low and high (0-d): averages before this update.
    """
    edges = torch.quantile(returns, torch.tensor([0.05, 0.95], dtype=returns.dtype))
    before = torch.stack([low, high]).to(returns.dtype)
    averaged = (1 - RETURN_RATE) * before + RETURN_RATE * edges
    return (averaged[1] - averaged[0]).clamp(min=1)


def policy_loss(w: Weights, feature: Tensor, action: Tensor, advantage: Tensor, weight: Tensor) -> Tensor:
    """REINFORCE with an entropy bonus ("Actor learning"), mean over H and N.

    feature [H, N, F], action [H, N, A]; advantage, already divided by the range of returns, and weight [H, N].
    """
    chosen = policy(w, feature)
    objective = chosen.log_prob(action) * advantage + ENTROPY_SCALE * chosen.entropy()
    return -(weight * objective).mean()


def value_loss(w: Weights, feature: Tensor, returns: Tensor) -> Tensor:
    """Cross-entropy of the critic to returns [...] and to its own slow average ("Critic learning"): [...]."""
    logits = head(w, "critic", feature)
    slow = expected_scalar(head(w, "slow_critic", feature))
    return twohot_loss(logits, returns) + twohot_loss(logits, slow)


def replay_value_loss(w: Weights, batch: TensorBatch, feature: Tensor, imagined: Tensor) -> Tensor:
    """The critic on replayed steps, whose returns end in the imagined ones ("Critic learning").

    feature [T, B, F] with the world model's gradients, imagined [T, B]: the return imagined from each step. A last
    step has no return: what follows it is another episode.
    """
    last = trained(batch.is_last)
    discount = DISCOUNT * (~trained(batch.is_terminal)).to(feature.dtype)
    guess = expected_scalar(head(w, "reward", feature)).detach()
    reward = torch.where(trained(batch.reward_known), trained(batch.reward), guess)
    returns = lambda_return(reward, discount, last, imagined)  # [T-1, B]
    loss = value_loss(w, feature[:-1], returns)
    return loss.masked_fill(last[:-1], 0).mean()


def behavior_losses(
    w: Weights, batch: TensorBatch, seen: Filtered, noise: Noise, low: Tensor, high: Tensor
) -> dict[str, Tensor]:
    """Actor and critic, in imagination from every filtered step and, the critic, on replayed steps."""
    feature = torch.cat([seen.deter, seen.stoch], -1)  # [T, B, F]
    start = feature.detach().flatten(0, 1)
    x, action = imagine(w, start, seen.deter.shape[-1], noise.prior.log(), noise.action)
    with torch.no_grad():
        reward, value = expected_scalar(head(w, "reward", x)), expected_scalar(head(w, "critic", x))  # [H+1, N]
        goes_on = continues(w, x)  # [H+1, N], discount included
        nowhere = torch.zeros_like(goes_on, dtype=torch.bool)
        returns = lambda_return(reward, goes_on, nowhere, value)  # [H, N]
        advantage = (returns - value[:-1]) / return_range(returns, low, high)
        # A step counts as much as it is likely to be reached; the start's own flag is the first factor (dreamerv3).
        weight = goes_on.cumprod(0)[:-1]
    return {
        "policy": policy_loss(w, x[:-1], action, advantage, weight),
        "value": (weight * value_loss(w, x[:-1], returns)).mean(),
        "replay_value": replay_value_loss(w, batch, feature, returns[0].view(feature.shape[:2])),
    }


class PlainUpdate(NamedTuple):
    """What one update computes before its optimiser step."""

    losses: dict[str, Tensor]  # unweighted, 0-d
    gradients: dict[str, Tensor]  # of their weighted sum, by parameter
    seen: Filtered


def plain_update(
    weights: Weights, batch: TensorBatch, noise: Noise, *, free: float, low: Tensor, high: Tensor
) -> PlainUpdate:
    """All losses, and the gradients of those ``weights`` that require one."""
    seen = filter_sequences(weights, batch, noise.posterior.log())
    losses = world_model_losses(weights, batch, seen, free)
    losses.update(behavior_losses(weights, batch, seen, noise, low, high))
    total = sum(LOSS_WEIGHTS.get(name, 1.0) * loss for name, loss in losses.items())
    leaves = {name: weight for name, weight in weights.items() if weight.requires_grad}
    return PlainUpdate(losses, dict(zip(leaves, torch.autograd.grad(total, [*leaves.values()]), strict=True)), seen)
