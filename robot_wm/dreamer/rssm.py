"""The recurrent state-space model: block GRU, posterior and prior over groups of categorical variables."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.nn.block_gru import BlockGRU
from robot_wm.nn.categorical import unimix_probs
from robot_wm.nn.layers import MLP, Dense, Linear


class RSSM(nn.Module):
    """deter' = GRU(deter, stoch, action); stoch ~ posterior(deter', embedding) or prior(deter').

    The stochastic state travels flat, [.., S*C].
    """

    def __init__(self, config: DreamerConfig, *, embedding: int, action: int) -> None:
        super().__init__()
        self.config = config
        self.stoch_size = config.stoch * config.classes
        self.gru = BlockGRU(
            deter=config.deter, stoch=self.stoch_size, action=action, hidden=config.hidden, blocks=config.blocks
        )
        self.posterior = Dense(config.deter + embedding, config.hidden)
        self.posterior_logits = Linear(config.hidden, self.stoch_size)
        self.prior = MLP(config.deter, config.hidden, config.prior_layers)
        self.prior_logits = Linear(config.hidden, self.stoch_size)

    def posterior_probs(self, deter: Tensor, embedding: Tensor) -> Tensor:
        """deter [N, D], embedding [N, E] -> probabilities after unimix [N, S, C] float32."""
        x = torch.cat([deter.to(embedding.dtype), embedding], -1)
        return self._probs(self.posterior_logits(self.posterior(x)))

    def prior_probs(self, deter: Tensor) -> Tensor:
        """deter [N, D] -> probabilities after unimix [N, S, C] float32."""
        return self._probs(self.prior_logits(self.prior(deter.to(self.prior_logits.weight.dtype))))

    def _probs(self, logits: Tensor) -> Tensor:
        return unimix_probs(logits.unflatten(-1, (self.config.stoch, self.config.classes)), self.config.unimix)
