"""What the deployed actor and critic do after their last hidden layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.nn.categorical import draw
from robot_wm.nn.heads import Policy, PolicyHead, ScalarHead
from robot_wm_export.deployed.layers import Bounded, Frozen, Product, total


class DeployedActor(nn.Module):
    """``PolicyHead.forward`` and ``Policy.sample`` after the MLP."""

    def __init__(self, actor: PolicyHead) -> None:
        super().__init__()
        self.discrete = actor.discrete
        self.min_std, self.spread = actor.min_std, actor.max_std - actor.min_std
        if self.discrete:
            self.out = Product([actor.out.weight], [actor.out.bias])
        else:
            self.out = Product([actor.out.weight, actor.std.weight], [actor.out.bias, actor.std.bias + 2.0])
            self.bounded = Bounded()

    def forward(self, hidden: Tensor, noise: Tensor) -> Tensor:
        """hidden [1, U], noise [1, A] -> action [1, A], one-hot or in [-1, 1]."""
        mean, std = self.policy(hidden)
        if std is None:
            return draw(mean + noise)
        return self.bounded(mean + std * noise)

    def policy(self, hidden: Tensor) -> Policy:
        """hidden [N, U] -> over actions [N, A]."""
        out = self.out(hidden)
        if self.discrete:
            return Policy(out, None)
        mean, raw = torch.chunk(out, 2, -1)
        return Policy(torch.tanh(mean), self.spread * torch.sigmoid(raw) + self.min_std)


class DeployedCritic(Frozen):
    """``ScalarHead.mean`` after the MLP, the bins laid out so that the two halves lie side by side.

    The sum stays symmetric: each bin meets its mirror image before anything else, so uniform logits give exactly 0.
    """

    positive: Tensor

    def __init__(self, critic: ScalarHead) -> None:
        super().__init__()
        self.pairs = critic.twohot.positive.shape[0]
        order = torch.arange(2 * self.pairs + 1)
        order = torch.cat([order[self.pairs + 1 :], order[: self.pairs].flip(0), order[self.pairs : self.pairs + 1]])
        self.out = Product([critic.out.weight[order]], [critic.out.bias[order]])
        self.hold("positive", critic.twohot.positive)  # [bins // 2]
        self.of_sum = critic.twohot.of_sum

    def forward(self, hidden: Tensor) -> Tensor:
        """hidden [1, U] -> value [1]."""
        return self.of_sum(total(self._differences(hidden) * self.positive))

    def rows(self, hidden: Tensor) -> Tensor:
        """hidden [N, U] -> values [N]."""
        return self.of_sum(self._differences(hidden) @ self.positive)

    def _differences(self, hidden: Tensor) -> Tensor:
        """How much more probable each bin is than its mirror image: [N, bins // 2]."""
        probs = torch.softmax(self.out(hidden), -1)  # [N, bins]: above zero, below zero mirrored, zero
        above, below, _ = torch.split(probs, [self.pairs, self.pairs, 1], -1)
        return above - below
