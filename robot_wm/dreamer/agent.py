"""The Dreamer agent: every network, and the tick that a robot runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.continue_head import ContinueHead
from robot_wm.dreamer.decoder import Decoder
from robot_wm.dreamer.rssm import RSSM
from robot_wm.nn.categorical import kl, sample
from robot_wm.nn.encoder import Encoder, Inputs
from robot_wm.nn.heads import PolicyHead, ScalarHead
from robot_wm.nn.layers import initialise
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


class DreamerAgent(nn.Module):
    """World model, actor, critic and slow critic.

    ``inputs`` are the spec's model inputs; ``action_dim`` is A. Parameters are drawn from ``generator`` (torch's own
    one if None) as danijar/dreamerv3 draws them.
    """

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
        scalar = partial(ScalarHead, features, units=config.units, bins=config.bins)
        self.reward = scalar(layers=config.reward_layers)
        self.cont = ContinueHead(config, features)
        self.actor = PolicyHead(
            features,
            action_dim,
            units=config.units,
            layers=config.actor_layers,
            scale=config.actor_scale,
            min_std=config.min_std,
            max_std=config.max_std,
            discrete=discrete,
        )
        self.critic = scalar(layers=config.critic_layers)
        self.slow_critic = scalar(layers=config.critic_layers)
        self.slow_critic.requires_grad_(False)
        initialise(self, generator)
        self.slow_critic.load_state_dict(self.critic.state_dict())

    @property
    def dtype(self) -> torch.dtype:
        """What matrix products compute in; norms, distributions and the recurrent state stay float32."""
        return self.rssm.prior_logits.weight.dtype

    def parameter_count(self) -> int:
        """Parameters that are trained; the slow critic is not one of them."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)

    def initial(self, batch: int) -> TickState:
        """State before an episode: zeros, on the agent's device."""
        device = self.rssm.gru.norm_scale.device
        config = self.config
        return TickState(
            deter=torch.zeros(batch, config.deter, device=device),
            stoch=torch.zeros(batch, config.stoch, config.classes, device=device),
            action=torch.zeros(batch, self.action_dim, device=device),
        )

    def advance(self, deter: Tensor, stoch: Tensor, action: Tensor, exp_gumbel: Tensor) -> tuple[Tensor, Tensor]:
        """One step without an observation, which a search takes: the prior answers an action.

        deter [N, D] float32, stoch [N, S*C] one-hot, action [N, A], exp_gumbel [N, S, C] exp(Gumbel), of which ones
        are greedy -> next deter [N, D] and stoch [N, S*C] float32, side by side the feature that heads take. Pure.
        """
        deter = self.rssm.gru(deter, stoch, action)
        return deter, sample(self.rssm.prior_probs(deter), exp_gumbel).flatten(1)

    def tick(
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
