"""Whether an episode goes on, from the latent feature."""

from __future__ import annotations

from torch import Tensor, nn

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.nn.layers import MLP, Linear


class ContinueHead(nn.Module):
    """Logit of "the episode goes on", with the discount inside."""

    def __init__(self, config: DreamerConfig, features: int) -> None:
        super().__init__()
        self.mlp = MLP(features, config.units, config.continue_layers)
        self.out = Linear(config.units, 1)

    def forward(self, feature: Tensor) -> Tensor:
        """Feature [..., F] -> logit [...], float32."""
        return self.out(self.mlp(feature)).float().squeeze(-1)
