"""The models that the search benchmark plans with: of fixed sizes, with random weights that all say something.

Shape letters: N rows, L numbers of a latent, A action dimensions, U units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from robot_wm.dreamer.config import SIZES
from robot_wm.dreamer.latent_model import DreamerLatentModel
from robot_wm.errors import UserError
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.muzero.latent_model import MuZeroLatentModel
from robot_wm.muzero.networks import Networks
from robot_wm.nn.encoder import Inputs
from robot_wm.nn.heads import Policy
from robot_wm.nn.layers import initialise
from robot_wm.search.latent_model import Outcome, StagedModel
from robot_wm.spec import InputShape
from robot_wm_bench.agent import fresh_agent
from robot_wm_export.dreamer.deployed_model import DeployedDreamerModel
from robot_wm_export.muzero.deployed_model import DeployedMuZeroModel

LATENT, UNITS, ACTIONS, DISCOUNT = 128, 256, 16, 0.99
_NUMBERS = 48  # that an observation has


@dataclass(frozen=True)
class BenchModel:
    """A model, and how long its latent is."""

    model: StagedModel
    latent: int  # L


def bench_model(name: str) -> BenchModel:
    """``plain``, ``muzero`` or a size of Dreamer; raises UserError for another."""
    if name == "plain":
        return BenchModel(PlainModel(), LATENT)
    if name == "muzero":
        return BenchModel(_muzero(), LATENT)
    if name not in SIZES:
        raise UserError(f"--models: {name!r} is none of plain, muzero, {', '.join(SIZES)}")
    agent, _ = fresh_agent(name, "proprio")
    config = agent.config
    return BenchModel(DeployedDreamerModel(DreamerLatentModel(agent)), config.deter + config.stoch * config.classes)


def _muzero() -> StagedModel:
    """MuZero's networks as they deploy, 128 numbers and 2 x 256 units, for 16 discrete actions."""
    config = MuZeroConfig.model_validate({"latent": LATENT, "units": UNITS, "layers": 2})
    generator = torch.Generator().manual_seed(0)
    inputs = Inputs({"proprio": InputShape(shape=(_NUMBERS,), dtype="float32")}, layers=len(config.image_multipliers))
    networks = Networks(config, inputs, ACTIONS, True)
    initialise(networks, generator)
    with torch.no_grad():  # heads that begin with zeros would make all actions equal
        for head in (networks.dynamics.reward, networks.critic, networks.actor):
            nn.init.normal_(head.out.weight, std=0.1, generator=generator)
    model = MuZeroLatentModel(networks, discount=DISCOUNT, action_dim=ACTIONS, discrete=True)
    return DeployedMuZeroModel(model).eval()


class PlainModel(StagedModel):
    """What searches are usually timed with: two layers of 256 rectified units for g and two for f, scalar heads.

    Policy and value share their layers, and no layer has a norm.
    """

    action_dim = ACTIONS
    discrete = True

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        widths = {
            "latent_in": (LATENT, UNITS),
            "action_in": (ACTIONS, UNITS),
            "dynamics": (UNITS, UNITS),
            "out": (UNITS, LATENT),
            "reward": (UNITS, 1),
            "first": (LATENT, UNITS),
            "second": (UNITS, UNITS),
            "logits": (UNITS, ACTIONS),
            "critic": (UNITS, 1),
        }
        self.bias = nn.Parameter(torch.zeros(UNITS))
        self.weights = nn.ParameterDict()
        for name, shape in widths.items():
            self.weights[name] = nn.Parameter(torch.randn(shape, generator=generator) / shape[0] ** 0.5)

    def lead(self, latent: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """See StagedModel; a step shows the last hidden layer [N, U]."""
        w = self.weights
        hidden = torch.relu(torch.addmm(torch.addmm(self.bias, latent, w["latent_in"]), action, w["action_in"]))
        hidden = torch.relu(torch.addmm(self.bias, hidden, w["dynamics"]))
        return torch.tanh(hidden @ w["out"]), hidden

    def outcome(self, shown: Tensor) -> Outcome:
        """See StagedModel."""
        reward = (shown @ self.weights["reward"]).flatten()
        return Outcome(reward, torch.full_like(reward, DISCOUNT))

    def policy(self, latent: Tensor) -> Policy:
        """See StagedModel."""
        return Policy(self._trunk(latent) @ self.weights["logits"], None)

    def value(self, latent: Tensor) -> Tensor:
        """See StagedModel."""
        return (self._trunk(latent) @ self.weights["critic"]).flatten()

    def _trunk(self, latent: Tensor) -> Tensor:
        hidden = torch.relu(torch.addmm(self.bias, latent, self.weights["first"]))
        return torch.relu(torch.addmm(self.bias, hidden, self.weights["second"]))
