"""Heads on a latent feature: distributions of scalars and the policy."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robot_wm.nn.categorical import draw
from robot_wm.nn.layers import MLP, Linear
from robot_wm.nn.twohot import SymmetricTwoHot


class ScalarHead(nn.Module):
    """Two-hot distribution over a scalar (reward or value); predicts exactly 0 before training.

    ``twohot`` says what the bins stand for. Without ``layers`` the logits are linear in the feature.
    """

    def __init__(self, features: int, *, units: int, layers: int, twohot: SymmetricTwoHot) -> None:
        super().__init__()
        self.mlp = MLP(features, units, layers)
        self.out = Linear(units if layers else features, twohot.bins.shape[0], scale=0.0)
        self.twohot = twohot

    def forward(self, feature: Tensor) -> Tensor:
        """Feature [..., F] -> logits [..., bins] float32."""
        logits: Tensor = self.out(self.mlp(feature))
        return logits.float()

    def even_logits(self, feature: Tensor) -> Tensor:
        """Feature [..., F] -> logits [..., bins + 1] float32, the last of them -inf: a class of probability 0.

        An odd number of outputs keeps matrix products from their fast paths (twice the time on a CPU, too), and
        cutting the last one off again would be a copy.
        """
        weight = F.pad(self.out.weight, (0, 0, 0, 1))
        bias = F.pad(self.out.bias, (0, 1), value=-math.inf)
        return F.linear(self.mlp(feature), weight, bias).float()

    def mean(self, feature: Tensor) -> Tensor:
        """Feature [..., F] -> predicted scalar [...], float32."""
        exported = torch.onnx.is_in_onnx_export()
        return self.twohot.mean(self(feature) if exported else self.even_logits(feature))


class FlagHead(nn.Module):
    """Logit of a flag, such as "the episode goes on"; without ``layers`` it is linear in the feature."""

    def __init__(self, features: int, *, units: int, layers: int) -> None:
        super().__init__()
        self.mlp = MLP(features, units, layers)
        self.out = Linear(units if layers else features, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Feature [..., F] -> logit [...], float32."""
        return self.out(self.mlp(feature)).float().squeeze(-1)


class Policy(NamedTuple):
    """A distribution over actions, continuous (mean, std) or discrete (logits, None)."""

    first: Tensor  # mean or logits [..., A] float32
    std: Tensor | None  # [..., A] float32

    def sample(self, noise: Tensor) -> Tensor:
        """Action [..., A] from given noise: standard normal, or Gumbel when discrete; zeros give the mode.

        A continuous action is not clipped here.
        """
        if self.std is None:
            return draw(self.first + noise)
        return self.first + self.std * noise

    def mode(self) -> Tensor:
        """What ``sample`` gives without noise: [..., A]."""
        if self.std is None:
            return draw(self.first)
        return self.first

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-density (or log-probability) of actions [..., A] -> [...], nats."""
        if self.std is None:
            return (F.log_softmax(self.first, -1) * action).sum(-1)
        z = (action - self.first) / self.std
        return -(0.5 * z.square() + self.std.log()).sum(-1) - 0.5 * math.log(2 * math.pi) * action.shape[-1]

    def entropy(self) -> Tensor:
        """[...], nats."""
        if self.std is None:
            log_probs = F.log_softmax(self.first, -1)
            return -(log_probs.exp() * log_probs).sum(-1)
        return self.std.log().sum(-1) + 0.5 * math.log(2 * math.pi * math.e) * self.std.shape[-1]

    def kl(self, other: Policy) -> Tensor:
        """KL(self || other) of two policies of one kind [...], nats."""
        if self.std is None or other.std is None:
            own, theirs = F.log_softmax(self.first, -1), F.log_softmax(other.first, -1)
            return (own.exp() * (own - theirs)).sum(-1)
        ratio, off = self.std / other.std, (self.first - other.first) / other.std
        return 0.5 * (ratio.square() + off.square() - 1.0 - 2.0 * ratio.log()).sum(-1)


class PolicyHead(nn.Module):
    """Normal(tanh(mean), bounded std) for continuous actions, categorical for discrete ones.

    ``scale`` is that of the last layer's first weights.
    """

    def __init__(
        self,
        features: int,
        action: int,
        *,
        units: int,
        layers: int,
        scale: float,
        min_std: float,
        max_std: float,
        discrete: bool,
    ) -> None:
        super().__init__()
        self.discrete = discrete
        self.min_std, self.max_std = min_std, max_std
        self.mlp = MLP(features, units, layers)
        self.out = Linear(units, action, scale=scale)  # mean or logits
        if not discrete:
            self.std = Linear(units, action, scale=scale)

    def forward(self, feature: Tensor) -> Policy:
        """Feature [..., F] -> policy over A."""
        x = self.mlp(feature)
        if self.discrete:
            return Policy(self.out(x).float(), None)
        weight = torch.cat([self.out.weight, self.std.weight])  # one product instead of two
        mean, raw = F.linear(x, weight, torch.cat([self.out.bias, self.std.bias])).float().chunk(2, -1)
        return Policy(torch.tanh(mean), (self.max_std - self.min_std) * torch.sigmoid(raw + 2.0) + self.min_std)
