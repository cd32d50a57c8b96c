"""MuZero's share of an export.

Shape letters: N ticks, L numbers of a latent, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.nn.value_scaling import scale_slope
from robot_wm.search.latent_model import StagedModel
from robot_wm_export.muzero.deployed_model import DeployedMuZeroModel
from robot_wm_export.muzero.deployed_tick import DeployedTick


class MuZeroExporter:
    """See `robot_wm_export.exporters.Exporter` and `PlanningExporter`."""

    root: tuple[str, ...] = ("next/latent",)

    def deployed(self, agent: MuZeroAgent, fields: Sequence[str]) -> nn.Module:
        """Its tick laid out for engines."""
        return _DeployedGraph(agent, fields)

    def latent_model(self, agent: MuZeroAgent) -> StagedModel:
        """What it learned, asked without observations."""
        return agent.latent_model()

    def deployed_model(self, agent: MuZeroAgent) -> StagedModel:
        """The same laid out for engines."""
        return DeployedMuZeroModel(agent.latent_model())

    @torch.inference_mode()
    def value_magnitude(self, agent: MuZeroAgent, outputs: Mapping[str, NDArray[Any]]) -> float:
        """The value is made of a sum over scaled bins; an error of the sum counts by the slope of the scaling there."""
        twohot = agent.model.critic.twohot
        probs = torch.softmax(agent.model.value_logits(_latents(outputs)), -1)  # [N, bins]
        slope = scale_slope(twohot.expectation(probs))  # [N] scaled units a reward unit
        return float(((probs * twohot.bins.abs()).sum(-1) / slope).max())

    @torch.inference_mode()
    def choice_scores(self, agent: MuZeroAgent, outputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """The policy's logits [N, A]."""
        scores: NDArray[Any] = agent.model.policy(_latents(outputs)).first.numpy()
        return scores


class _DeployedGraph(nn.Module):
    def __init__(self, agent: MuZeroAgent, fields: Sequence[str]) -> None:
        super().__init__()
        self.fields = tuple(fields)
        self.tick = DeployedTick(agent)

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.fields)
        obs = dict(zip(self.fields, tensors[:count], strict=True))
        return tuple(self.tick(obs, *tensors[count:]))


def _latents(outputs: Mapping[str, NDArray[Any]]) -> Tensor:
    """What the heads saw: [N, L]."""
    return torch.from_numpy(outputs["next/latent"]).flatten(1)


MUZERO = MuZeroExporter()
