"""Heads of a deployed model over many rows, each on its own: a planner asks for one of them here, for another there.

Shape letters: N rows, F features, A action dimensions, U units.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from robot_wm.nn.heads import FlagHead, Policy, PolicyHead, ScalarHead
from robot_wm.nn.layers import MLP
from robot_wm_export.deployed.heads import DeployedActor, DeployedCritic
from robot_wm_export.deployed.layers import Level, Product, layers


def levels(mlp: MLP) -> nn.Sequential:
    """The layers of an MLP, one product and one norm each: [N, F] -> [N, U]; of none it is nothing."""
    return nn.Sequential(*(Level([layer]) for layer in layers(mlp)))


class PolicyRows(nn.Module):
    """``PolicyHead``."""

    def __init__(self, actor: PolicyHead) -> None:
        super().__init__()
        self.mlp, self.actor = levels(actor.mlp), DeployedActor(actor)

    def forward(self, feature: Tensor) -> Policy:
        """feature [N, F] -> over actions [N, A]."""
        return self.actor.policy(self.mlp(feature))


class ScalarRows(nn.Module):
    """``ScalarHead.mean``."""

    def __init__(self, head: ScalarHead) -> None:
        super().__init__()
        self.mlp, self.scalar = levels(head.mlp), DeployedCritic(head)

    def forward(self, feature: Tensor) -> Tensor:
        """feature [N, F] -> [N]."""
        return self.scalar.rows(self.mlp(feature))


class FlagRows(nn.Module):
    """``FlagHead``'s probability."""

    def __init__(self, head: FlagHead) -> None:
        super().__init__()
        self.mlp, self.out = levels(head.mlp), Product([head.out.weight], [head.out.bias])

    def forward(self, feature: Tensor) -> Tensor:
        """feature [N, F] -> [N]."""
        return cast(Tensor, self.out(self.mlp(feature))).sigmoid().flatten()
