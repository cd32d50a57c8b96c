"""Models written by hand, whose returns can be worked out beside them.

Shape letters: N states side by side, S tabular states, A action dimensions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from robot_wm.nn.heads import Policy
from robot_wm.search.latent_model import Outcome, StagedModel


class Tabular(StagedModel):
    """A deterministic chain: a latent is a one-hot state [N, S], and everything is looked up."""

    discrete = True

    def __init__(self, *, states: int = 5, actions: int = 3, seed: int = 0) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.action_dim, self.states = actions, states
        self.leads = torch.randint(0, states, (states, actions), generator=g)  # [S, A]
        self.reward = torch.randn(states, actions, generator=g)
        self.discount = torch.rand(states, actions, generator=g)
        self.logits = torch.randn(states, actions, generator=g)
        self.values = torch.randn(states, generator=g)

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        pair = latent.unsqueeze(-1) * action.unsqueeze(-2)  # [N, S, A] one-hot
        return torch.einsum("nsa,sat->nt", pair, torch.eye(self.states)[self.leads]), pair.flatten(1)

    def outcome(self, shown: Tensor) -> Outcome:
        return Outcome(shown @ self.reward.flatten(), shown @ self.discount.flatten())

    def policy(self, latent: Tensor) -> Policy:
        return Policy(latent @ self.logits, None)

    def value(self, latent: Tensor) -> Tensor:
        return latent @ self.values

    def root(self, state: int = 0) -> Tensor:
        """[1, S]."""
        return torch.eye(self.states)[state : state + 1]

    def walk(self, actions: list[int], state: int = 0) -> float:
        """The return of an action sequence, worked out one number at a time."""
        total, going = 0.0, 1.0
        for action in actions:
            total += going * self.reward[state, action].item()
            going *= self.discount[state, action].item()
            state = int(self.leads[state, action])
        return total + going * self.values[state].item()


class Quadratic(StagedModel):
    """x' = x + a, reward -(|x'|^2 + cost |a|^2), value -|x|^2, a policy that goes a part of the way to 0."""

    discrete = False

    def __init__(
        self, *, dims: int = 2, discount: float = 0.9, cost: float = 0.1, part: float = 0.3, std: float = 0.3
    ) -> None:
        super().__init__()
        self.action_dim, self.discount, self.cost, self.part, self.std = dims, discount, cost, part, std

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        after = latent + action
        return after, torch.cat([after, action], -1)

    def outcome(self, shown: Tensor) -> Outcome:
        after, action = shown.chunk(2, -1)
        reward = -(after.square().sum(-1) + self.cost * action.square().sum(-1))
        return Outcome(reward, torch.full_like(reward, self.discount))

    def policy(self, latent: Tensor) -> Policy:
        mean = (-self.part * latent).clamp(-1.0, 1.0)
        return Policy(mean, torch.full_like(mean, self.std))

    def value(self, latent: Tensor) -> Tensor:
        return -latent.square().sum(-1)

    def walk(self, actions: Tensor, x: Tensor) -> float:
        """The return of actions [K, A] from x [A], worked out one step at a time."""
        total, going = 0.0, 1.0
        for action in actions:
            x = x + action
            total -= going * (x.square().sum() + self.cost * action.square().sum()).item()
            going *= self.discount
        return total - going * x.square().sum().item()

    def modes(self, x: Tensor, depth: int) -> Tensor:
        """The actor's own sequence from x [A]: [K, A]."""
        actions = []
        for _ in range(depth):
            actions.append((-self.part * x).clamp(-1.0, 1.0))
            x = x + actions[-1]
        return torch.stack(actions)


def draw(shape: tuple[int, ...], *, seed: int, discrete: bool) -> Tensor:
    """Standard normal noise, or Gumbel noise."""
    g = torch.Generator().manual_seed(seed)
    if discrete:
        return -torch.empty(shape).exponential_(generator=g).log()
    return torch.randn(shape, generator=g)
