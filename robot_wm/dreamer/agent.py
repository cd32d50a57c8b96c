"""The Dreamer agent: every network, and the tick that a robot runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.decoder import Decoder
from robot_wm.dreamer.rssm import RSSM
from robot_wm.learning.agent import Agent, Tick
from robot_wm.learning.imagination import Imagination, LatentPart
from robot_wm.nn.categorical import kl, sample
from robot_wm.nn.encoder import Encoder, Inputs
from robot_wm.nn.heads import FlagHead, PolicyHead, ScalarHead
from robot_wm.nn.layers import initialise
from robot_wm.nn.twohot import TwoHot
from robot_wm.replay.stored import Stored
from robot_wm.runtime.graph_tensors import Draw, NoiseTensor, StateTensor, TensorSpec
from robot_wm.spec import InputShape


class TickState(NamedTuple):
    """What an agent carries from one tick to the next."""

    deter: Tensor  # [B, D] float32
    stoch: Tensor  # [B, S, C] float32, one-hot
    action: Tensor  # [B, A] float32, model units: the action executed last


class TickOutput(NamedTuple):
    """What one tick gives."""

    action: Tensor  # [B, A] in [-1, 1], or one-hot
    state: TickState
    value: Tensor  # [B] expected discounted return, reward units
    surprise: Tensor  # [B] KL(posterior || prior), nats
    post_logits: Tensor  # [B, S, C] log-probabilities after unimix


class DreamerAgent(Agent):
    """World model, actor, critic and slow critic.

    ``inputs`` are the spec's model inputs; ``action_dim`` is A. Parameters are drawn from ``generator`` (torch's own
    one if None) as danijar/dreamerv3 draws them.
    """

    kind: ClassVar[str] = "dreamer"

    def __init__(
        self,
        config: DreamerConfig,
        inputs: Mapping[str, InputShape],
        action_dim: int,
        discrete: bool,
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.config, self.action_dim, self.discrete = config, action_dim, discrete
        self.inputs = Inputs(inputs, layers=len(config.image_multipliers))
        features = config.deter + config.stoch * config.classes
        self.encoder = Encoder(
            self.inputs,
            units=config.units,
            layers=config.encoder_layers,
            channels=[config.depth * m for m in config.image_multipliers],
            kernel=config.image_kernel,
        )
        self.rssm = RSSM(config, embedding=self.encoder.size, action=action_dim)
        self.decoder = Decoder(config, self.inputs)
        units = config.units

        def scalar(layers: int) -> ScalarHead:
            return ScalarHead(features, units=units, layers=layers, twohot=TwoHot(config.bins))

        self.reward = scalar(config.reward_layers)
        self.cont = FlagHead(features, units=units, layers=config.continue_layers)  # with the discount inside
        self.actor = PolicyHead(
            features,
            action_dim,
            units=units,
            layers=config.actor_layers,
            scale=config.actor_scale,
            min_std=config.min_std,
            max_std=config.max_std,
            discrete=discrete,
        )
        self.critic = scalar(config.critic_layers)
        self.slow_critic = scalar(config.critic_layers)
        self.slow_critic.requires_grad_(False)
        self._declare()
        initialise(self, generator)
        self.slow_critic.load_state_dict(self.critic.state_dict())

    def _declare(self) -> None:
        """What a tick takes, gives and keeps; names are those of the bundle's tensors."""
        config = self.config
        latent, action = (1, config.stoch, config.classes), (1, self.action_dim)
        self.state = (
            StateTensor(name="deter", input="state/deter", output="next/deter", shape=(1, config.deter)),
            StateTensor(name="stoch", input="state/stoch", output="next/stoch", shape=latent),
            StateTensor(name="action", input="state/action", output="action", shape=action, shown=True),
        )
        self.noise = (
            NoiseTensor(name="noise/latent", shape=latent, distribution="gumbel"),
            NoiseTensor(name="noise/action", shape=action, distribution="gumbel" if self.discrete else "normal"),
        )
        self.outputs = (
            TensorSpec(name="action", shape=action),
            TensorSpec(name="value", shape=(1,)),
            TensorSpec(name="surprise", shape=(1,)),
            TensorSpec(name="post_logits", shape=latent),  # log-probabilities after unimix
        )
        self.draws = (
            Draw(
                logits="post_logits",
                noise="noise/latent",
                drawn="next/stoch",
                before=("next/deter", "post_logits", "surprise"),
            ),
        )
        self.surprise_unit = "nats"
        self.belief = "post_logits"
        # Half precision is enough to start a sequence from: deter lies in [-1, 1].
        self.stored = (
            Stored(name="deter", shape=(config.deter,), dtype="float16", use="context"),
            Stored(name="stoch", shape=(config.stoch,), dtype="uint8", use="context"),  # class indices
        )

    @property
    def dtype(self) -> torch.dtype:
        """What matrix products compute in; norms, distributions and the recurrent state stay float32."""
        return self.rssm.prior_logits.weight.dtype

    def advance(self, deter: Tensor, stoch: Tensor, action: Tensor, exp_gumbel: Tensor) -> tuple[Tensor, Tensor]:
        """One step without an observation, which a search takes: the prior answers an action.

        deter [N, D] float32, stoch [N, S*C] one-hot, action [N, A], exp_gumbel [N, S, C] exp(Gumbel), of which ones
        are greedy -> next deter [N, D] and stoch [N, S*C] float32, side by side the feature that heads take. Pure.
        """
        deter = self.rssm.gru(deter, stoch, action)
        return deter, sample(self.rssm.prior_probs(deter), exp_gumbel).flatten(1)

    def imagination(self, generator: torch.Generator | None = None) -> Imagination:
        """The prior, with reward and continue head; see `robot_wm.learning.agent.Agent.imagination`."""
        from robot_wm.dreamer.latent_model import DreamerLatentModel  # which is made of an agent

        config = self.config
        return Imagination(
            DreamerLatentModel(self, generator=generator),
            latent=lambda state: torch.cat([state["deter"], state["stoch"].flatten(1)], -1),
            parts=(
                LatentPart("deter", config.deter, config.deter // config.blocks),
                LatentPart("stoch", config.stoch * config.classes, config.classes),
            ),
            discount=1.0 - 1.0 / config.discount_horizon,
            horizon=config.horizon,
            decode=self.decoder.predict,
        )

    def acting(self) -> Iterator[nn.Parameter]:
        """The parameters of a tick; decoder, reward, continue flag and slow critic are not among them."""
        for part in (self.encoder, self.rssm, self.actor, self.critic):
            yield from part.parameters()

    def tick(
        self, obs: Mapping[str, Tensor], is_first: Tensor, state: Mapping[str, Tensor], noise: Mapping[str, Tensor]
    ) -> Tick:
        """`step` by the declared names; see `robot_wm.learning.agent.Agent.tick`."""
        out = self.step(obs, is_first, TickState(**state), noise["noise/latent"], noise["noise/action"])
        return Tick(
            outputs={
                "action": out.action,
                "value": out.value,
                "surprise": out.surprise,
                "post_logits": out.post_logits,
            },
            state=out.state._asdict(),
            stored={"deter": out.state.deter.half(), "stoch": out.state.stoch.argmax(-1).to(torch.uint8)},
        )

    def step(
        self,
        obs: Mapping[str, Tensor],
        is_first: Tensor,
        state: TickState,
        noise_latent: Tensor,
        noise_action: Tensor,
    ) -> TickOutput:
        """Advance the posterior by one observation and choose an action.

        obs[name] [B, *input shape]; is_first [B] float32 0 or 1, where 1 forgets ``state``; noise_latent [B, S, C]
        Gumbel; noise_action [B, A] normal, or Gumbel when discrete. Zero noise is greedy. Pure: no randomness and no
        host synchronisation inside.
        """
        keep = 1.0 - is_first.unsqueeze(-1)  # [B, 1]
        deter = self.rssm.gru(state.deter * keep, state.stoch.flatten(1) * keep, state.action * keep)  # [B, D]
        embedding = self.encoder(obs, deter.dtype)  # [B, E]
        posterior = self.rssm.posterior_probs(deter, embedding)  # [B, S, C]
        prior = self.rssm.prior_probs(deter)  # [B, S, C]
        stoch = sample(posterior, noise_latent.exp())  # [B, S, C]
        feature = torch.cat([deter, stoch.flatten(1)], -1)  # [B, D+S*C]
        action = self.actor(feature).sample(noise_action)  # [B, A]
        if not self.discrete:
            action = action.clamp(-1.0, 1.0)
        post_logits = posterior.log()
        return TickOutput(
            action=action,
            state=TickState(deter=deter, stoch=stoch, action=action),
            value=self.critic.mean(feature),
            surprise=kl(post_logits, prior.log()),
            post_logits=post_logits,
        )
