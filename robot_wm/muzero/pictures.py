"""What an unroll predicts beside what came of it, drawn.

Shape letters: B windows, K unroll, K1 = K + 1 positions, H W pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.muzero.agent import MuZeroAgent
from robot_wm.muzero.losses import Goals, Unroll
from robot_wm.muzero.targets import Scalars
from robot_wm.raster import raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WINDOWS = 6  # that are drawn


def draw_unroll(agent: MuZeroAgent, model: Unroll, goals: Goals) -> NDArray[np.uint8]:
    """Rewards, probabilities of going on, and values of some windows, as an RGB picture [H, W, 3]."""
    from matplotlib.figure import Figure

    rows = (  # name, prediction, target, steps after the observation of the first
        ("reward", agent.model.dynamics.reward.twohot.mean(model.reward), goals.reward, 1),
        ("goes on", torch.sigmoid(model.cont), goals.cont, 1),
        ("value", agent.model.critic.twohot.mean(model.value), goals.value, 0),
    )
    figure = Figure(figsize=(9, 6), layout="constrained")
    figure.suptitle("circles: targets, dashed: predicted along the recorded actions", fontsize=9)
    for axes, (name, predicted, target, begin) in zip(figure.subplots(len(rows), 1, sharex=True), rows, strict=True):
        _draw(axes, predicted.cpu().numpy(), Scalars(target.target.cpu(), target.mask.cpu()), begin)
        axes.set_ylabel(name, fontsize=8)
    axes.set_xlabel("control steps after the observation")
    return raster(figure)


def _draw(axes: Axes, predicted: NDArray[np.float32], target: Scalars, begin: int) -> None:
    """Predictions [B, N] from step ``begin`` on, and targets where there are any."""
    steps = begin + np.arange(predicted.shape[1])
    for b in range(min(_WINDOWS, len(predicted))):
        (line,) = axes.plot(steps, predicted[b], "--", linewidth=1.0)
        told = target.mask[b].numpy() > 0
        real = target.target[b].numpy()[told]
        axes.plot(steps[told], real, "o", color=line.get_color(), markersize=4, fillstyle="none")
