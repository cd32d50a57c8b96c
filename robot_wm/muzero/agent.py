"""The MuZero agent: every network, and the tick that a robot runs."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.learning.agent import Agent, Tick
from robot_wm.learning.imagination import Imagination, LatentPart
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.muzero.latent_model import MuZeroLatentModel
from robot_wm.muzero.networks import Consistency, Networks
from robot_wm.muzero.thinking import Searched, as_search_noise, declare_stored, search_config, search_noise
from robot_wm.nn.encoder import Inputs
from robot_wm.nn.layers import initialise
from robot_wm.runtime.graph_tensors import NoiseTensor, StateTensor, TensorSpec
from robot_wm.search.sampled import search
from robot_wm.spec import InputShape


class TickOutput(NamedTuple):
    """What one tick gives."""

    latent: Tensor  # [N, L] float32
    action: Tensor  # [N, A] in [-1, 1], or one-hot
    value: Tensor  # [N] expected discounted return, reward units
    surprise: Tensor  # [N] squared distance of the latent from the one that g had expected


class MuZeroAgent(Agent):
    """Model, its slow copy, and the heads that training compares latents by.

    It deploys without search: a tick takes the policy's own action. ``inputs`` are the spec's model inputs;
    ``action_dim`` is A. Parameters are drawn from ``generator`` (torch's own one if None).
    """

    kind: ClassVar[str] = "muzero"

    def __init__(
        self,
        config: MuZeroConfig,
        inputs: Mapping[str, InputShape],
        action_dim: int,
        discrete: bool,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config, self.action_dim, self.discrete = config, action_dim, discrete
        self.inputs = Inputs(inputs, layers=len(config.image_multipliers))
        self.model = Networks(config, self.inputs, action_dim, discrete)
        self.consistency = Consistency(config)
        self._declare()
        initialise(self, generator)
        self.target = copy.deepcopy(self.model).requires_grad_(False)

    def _declare(self) -> None:
        """What a tick takes, gives and keeps; names are those of the bundle's tensors."""
        latent, action = (1, self.config.latent), (1, self.action_dim)
        self.state = (
            StateTensor(name="latent", input="state/latent", output="next/latent", shape=latent, shown=True),
            StateTensor(name="action", input="state/action", output="action", shape=action, shown=True),
        )
        self.noise = (
            NoiseTensor(name="noise/action", shape=action, distribution="gumbel" if self.discrete else "normal"),
        )
        self.outputs = (
            TensorSpec(name="next/latent", shape=latent),
            TensorSpec(name="action", shape=action),
            TensorSpec(name="value", shape=(1,)),
            TensorSpec(name="surprise", shape=(1,)),
        )
        self.draws = ()
        self.surprise_unit = None
        self.belief = "next/latent"
        self.search = search_config(self.config)
        self.stored = declare_stored(self.search, action_dim=self.action_dim, discrete=self.discrete)
        self.eval_search = self.config.eval_search

    @property
    def explore_noise(self) -> tuple[NoiseTensor, ...]:
        """The randomness of a search."""
        return search_noise(self.search, action_dim=self.action_dim, discrete=self.discrete)

    def latent_model(self, *, target: bool = False) -> MuZeroLatentModel:
        """What a search asks, on the weights as they are or on those of the target network."""
        return MuZeroLatentModel(
            self.target if target else self.model,
            discount=self.config.discount,
            action_dim=self.action_dim,
            discrete=self.discrete,
        )

    def imagination(self, generator: torch.Generator | None = None) -> Imagination:
        """g and f, of which nothing is random; see `robot_wm.learning.agent.Agent.imagination`."""
        return Imagination(
            self.latent_model(),
            latent=lambda state: state["latent"],
            parts=(LatentPart("latent", self.config.latent, self.config.simplex),),
            discount=self.config.discount,
            horizon=self.config.unroll,
        )

    def acting(self) -> Iterator[nn.Parameter]:
        """The parameters of a tick and of the search by which an actor explores."""
        yield from self.model.parameters()

    def tick(
        self, obs: Mapping[str, Tensor], is_first: Tensor, state: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tick:
        """`step` by the declared names; see `robot_wm.learning.agent.Agent.tick`."""
        out = self.step(obs, is_first, state["latent"], state["action"], noise["noise/action"])
        return _told(out, self._unsearched(out.latent))

    def explore(
        self, obs: Mapping[str, Tensor], is_first: Tensor, state: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tick:
        """A tick whose action a search chooses, and which keeps what the search found; value is the search's, too."""
        seen, surprise = self._look(obs, is_first, state["latent"], state["action"])
        found = search(self.latent_model(), seen, as_search_noise(noise), self.search)
        return _told(TickOutput(seen, found.action, found.value, surprise), Searched.of(found).to_stored())

    def _unsearched(self, latent: Tensor) -> dict[str, Tensor]:
        """What is kept [N, ...] where nobody searched."""
        return {
            entry.name: latent.new_zeros((latent.shape[0], *entry.shape), dtype=getattr(torch, entry.dtype))
            for entry in self.stored
        }

    def step(
        self, obs: Mapping[str, Tensor], is_first: Tensor, latent: Tensor, action: Tensor, noise: Tensor
    ) -> TickOutput:
        """Take one observation in and choose the policy's action.

        obs[name] [N, *input shape]; is_first [N] float32 0 or 1, where 1 forgets; latent [N, L] and action [N, A] of
        the tick before; noise [N, A] normal, or Gumbel when discrete. Zero noise is greedy. Pure: no randomness and no
        host synchronisation inside.
        """
        seen, surprise = self._look(obs, is_first, latent, action)
        chosen = self.model.policy(seen).sample(noise)  # [N, A]
        if not self.discrete:
            chosen = chosen.clamp(-1.0, 1.0)
        return TickOutput(latent=seen, action=chosen, value=self.model.value(seen), surprise=surprise)

    def _look(
        self, obs: Mapping[str, Tensor], is_first: Tensor, latent: Tensor, action: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The latent [N, L] of an observation and its surprise [N]; arguments as of `step`."""
        seen = self.model.representation(obs)
        dynamics = self.model.dynamics
        expected = dynamics.lead(dynamics.trunk(latent, action))  # [N, L]
        return seen, (seen - expected).square().sum(-1) * (1.0 - is_first)


def _told(out: TickOutput, stored: dict[str, Tensor]) -> Tick:
    """By the declared names."""
    outputs = {"next/latent": out.latent, "action": out.action, "value": out.value, "surprise": out.surprise}
    return Tick(outputs, state={"latent": out.latent, "action": out.action}, stored=stored)
