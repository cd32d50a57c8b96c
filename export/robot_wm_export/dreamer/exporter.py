"""Dreamer's share of an export.

Shape letters: N ticks, D deter, S stoch groups, C classes, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robot_wm.dreamer.agent import DreamerAgent, TickState
from robot_wm.dreamer.latent_model import DreamerLatentModel
from robot_wm.search.latent_model import StagedModel
from robot_wm_export.dreamer.deployed_model import DeployedDreamerModel
from robot_wm_export.dreamer.deployed_tick import DeployedTick


class DreamerExporter:
    """See `robot_wm_export.exporters.Exporter` and `PlanningExporter`."""

    root: tuple[str, ...] = ("next/deter", "next/stoch")

    def deployed(self, agent: DreamerAgent, fields: Sequence[str]) -> nn.Module:
        """Its tick laid out for engines."""
        return _DeployedGraph(agent, fields)

    def latent_model(self, agent: DreamerAgent) -> StagedModel:
        """What it learned, asked without observations."""
        return DreamerLatentModel(agent)

    def deployed_model(self, agent: DreamerAgent) -> StagedModel:
        """The same laid out for engines."""
        return DeployedDreamerModel(DreamerLatentModel(agent))

    @torch.inference_mode()
    def value_magnitude(self, agent: DreamerAgent, outputs: Mapping[str, NDArray[Any]]) -> float:
        """The value is a sum over bins of up to 4.85e8; before the critic has learned that most of them are out of the
        question, huge terms cancel."""
        probs = torch.softmax(agent.critic(_features(outputs)), -1)  # [N, bins]
        return float((probs * agent.critic.twohot.bins.abs()).sum(-1).max())

    @torch.inference_mode()
    def choice_scores(self, agent: DreamerAgent, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The policy's logits [N, A]."""
        scores: NDArray[Any] = agent.actor(_features(outputs)).first.numpy()
        return scores


class _DeployedGraph(nn.Module):
    def __init__(self, agent: DreamerAgent, fields: Sequence[str]) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.tick = DeployedTick(agent)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.fields)
        obs = dict(zip(self.fields, tensors[:count], strict=True))
        is_first, deter, stoch, action, noise_latent, noise_action = tensors[count:]
        out = self.tick(obs, is_first, TickState(deter, stoch, action), noise_latent, noise_action)
        return (out.action, out.value, out.surprise, out.post_logits, out.state.deter, out.state.stoch)


def _features(outputs: Mapping[str, NDArray[Any]]) -> Tensor:
    """What the heads saw: [N, D + S*C]."""
    deter, stoch = torch.from_numpy(outputs["next/deter"]), torch.from_numpy(outputs["next/stoch"])
    return torch.cat([deter.flatten(1), stoch.flatten(1)], -1)


DREAMER = DreamerExporter()
