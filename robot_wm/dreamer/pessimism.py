"""What the world model has not seen must not look good: imagined rewards less what an ensemble disagrees about.

An agent that learns from a little experience of a robot, and in imagination only, goes where the model errs in its
favour. Several small predictors of the next latent are trained on replayed steps: on what was seen they say the same,
elsewhere each says what its first weights make it say (Sekar et al., Planning to Explore, 2020, who seek it; Yu et al.,
MOPO, 2020, who take it off the reward, as is done here).

Shape letters: K members, N rows, F features, A action, U units, S groups, C classes, Z = S*C, T time, B batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.dreamer.world_model import Posterior
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.ranks import ALONE, Ranks
from robot_wm.nn.flat import FlatParameters
from robot_wm.nn.laprop import LaProp
from robot_wm.nn.layers import Initialised, fan_in_normal_, initialise

# The members begin with nothing while the model is trained already, and have hundreds of updates, not ten thousands.
_LEARNING_RATE = 1e-3


class Ensemble(Initialised):
    """K predictors of the next posterior from a feature and the action that follows it, side by side in one product."""

    def __init__(self, features: int, action: int, *, members: int, units: int, groups: int, classes: int) -> None:
        super().__init__()
        self.groups, self.classes = groups, classes
        self.weight = torch.nn.Parameter(torch.empty(members, units, features))
        self.action_weight = torch.nn.Parameter(torch.empty(members, units, action))
        self.bias = torch.nn.Parameter(torch.zeros(members, units))
        self.out_weight = torch.nn.Parameter(torch.empty(members, groups * classes, units))
        self.out_bias = torch.nn.Parameter(torch.zeros(members, 1, groups * classes))

    def initialise(self, generator: torch.Generator | None) -> None:
        """Draw the weights of each member, no two alike.

        A dozen actions weigh as much as a thousand features: with one fan-in for both, members hardly differed about
        actions that were never taken.
        """
        for weight in (self.weight, self.action_weight, self.out_weight):
            fan_in_normal_(weight, weight.shape[-1], 1.0, generator)

    def forward(self, feature: Tensor, action: Tensor) -> Tensor:
        """Feature [N, F] and action [N, A] in model units -> log-probabilities [K, N, S, C] float32.

        Computes in the dtype of ``feature``.
        """
        dtype = feature.dtype
        inputs = torch.cat([feature, action.clamp(-1.0, 1.0).to(dtype)], -1)  # as executed: commands are clipped
        weight = torch.cat([self.weight, self.action_weight], -1).flatten(0, 1).to(dtype)  # [K*U, F+A]
        unit = F.silu(F.linear(inputs, weight, self.bias.flatten().to(dtype)))  # [N, K*U]
        unit = unit.unflatten(-1, self.bias.shape).transpose(0, 1)  # [K, N, U]
        logits = torch.baddbmm(self.out_bias.to(dtype), unit, self.out_weight.transpose(1, 2).to(dtype))  # [K, N, Z]
        return torch.log_softmax(logits.float().unflatten(-1, (self.groups, self.classes)), -1)


def disagreement(log_probs: Tensor) -> Tensor:
    """How much the members would learn from the answer: [K, N, S, C] -> [N] nats, summed over groups; at most S ln K.

    Entropy of their mean less the mean of their entropies: the mutual information of the next latent and which member
    is right (Houlsby et al., Bayesian Active Learning by Disagreement, 2011). Noise that all of them expect is none.
    """
    mean = log_probs.exp().mean(0)  # [N, S, C]
    own = (log_probs.exp() * log_probs).sum(-1).mean(0)  # [N, S] less the mean entropy
    return (own - torch.xlogy(mean, mean).sum(-1)).sum(-1).clamp(min=0.0)


class Pessimism:
    """The ensemble, how it learns, and what it takes off imagined rewards."""

    def __init__(self, config: DreamerConfig, action: int, device: torch.device, *, seed: int) -> None:
        """``action`` is A; the members' weights follow from ``seed``."""
        self.scale = config.pessimism
        self.ensemble = Ensemble(
            config.deter + config.stoch * config.classes,
            action,
            members=config.pessimism_members,
            units=config.units,
            groups=config.stoch,
            classes=config.classes,
        )
        initialise(self.ensemble, torch.Generator().manual_seed(seed))
        self.ensemble.to(device)
        self._flat = FlatParameters(dict(self.ensemble.named_parameters()))
        self._optimiser = LaProp(
            self._flat,
            learning_rate=_LEARNING_RATE,
            warmup=0,
            clip=config.clip,
            clip_floor=config.clip_floor,
            beta_momentum=config.beta_momentum,
            beta_rms=config.beta_rms,
            epsilon=config.rms_epsilon,
        )

    @torch.no_grad()
    def doubt(self, feature: Tensor, action: Tensor) -> Tensor:
        """Disagreement about what follows each imagined step: feature [H, N, F], action [H, N, A] -> [H, N] nats."""
        rows = disagreement(self.ensemble(feature.flatten(0, 1), action.flatten(0, 1)))
        return rows.view(action.shape[:2])

    def update(
        self, batch: TensorBatch, posterior: Posterior, dtype: torch.dtype, ranks: Ranks = ALONE
    ) -> dict[str, Tensor]:
        """One step of the members on the replayed steps; returns figures worth logging, 0-d each."""
        feature = posterior.feature[:-1].detach().to(dtype).flatten(0, 1)  # [(T-1)*B, F]
        target = posterior.probs[1:].detach().flatten(0, 1)  # [(T-1)*B, S, C]
        action = batch.action[:, 1:-1].transpose(0, 1).flatten(0, 1)  # [(T-1)*B, A]: taken after those features
        follows = 1.0 - batch.is_first[:, 2:].transpose(0, 1).flatten().float()  # [(T-1)*B] not of another episode
        log_probs = self.ensemble(feature, action)  # [K, (T-1)*B, S, C]
        loss = -((target * log_probs).sum((-1, -2)) * follows).mean(1).sum()
        self._optimiser.step(ranks.mean(torch.autograd.grad(loss, list(self._flat.named.values())))())
        with torch.no_grad():
            return {
                "pessimism/loss": loss.detach() / log_probs.shape[0],
                "pessimism/replayed_nats": (disagreement(log_probs) * follows).mean(),
            }

    def tensors(self) -> dict[str, Any]:
        """Everything that the next update depends on, by name."""
        own = {f"ensemble/{name}": tensor for name, tensor in self.ensemble.state_dict().items()}
        for key, flat in (("momentum", self._optimiser.momentum), ("rms", self._optimiser.rms)):
            views = zip(self._flat.named, self._flat.views(flat), strict=True)
            own |= {f"optimiser/{key}/{name}": view for name, view in views}
        return own | {"optimiser/steps": self._optimiser.steps}
