"""A readout of falls from a model's belief, and the scores of whole episodes.

Shape letters: T ticks, F numbers of the belief, N ticks of all episodes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.runtime.monitor import Monitor, MonitorSection, Scores
from robot_wm_export.monitor.episodes import WatchedEpisode

HORIZON_S = 0.5
RIDGE = 0.1  # on standardised inputs, per tick; of 0.001, 0.01 and 0.1 the one that tells unseen falls best
DIGITS = 4  # of a weight in a manifest


def readout(
    episodes: Sequence[WatchedEpisode], *, horizon_ticks: int, ridge: float = RIDGE
) -> tuple[NDArray[np.float64], float]:
    """Weights [F] and bias of the log-odds that the robot is down within ``horizon_ticks``: logistic regression."""
    belief = np.concatenate([episode.belief for episode in episodes]).astype(np.float64)  # [N, F]
    label = np.concatenate([about_to_fall(episode, horizon_ticks) for episode in episodes])  # [N]
    mean, spread = belief.mean(0), belief.std(0) + 1e-3  # [F]; what never moves is not blown up
    inputs, wanted = torch.from_numpy((belief - mean) / spread), torch.from_numpy(label.astype(np.float64))
    weights = torch.zeros(inputs.shape[1] + 1, dtype=torch.float64, requires_grad=True)  # the last is the bias
    optimiser = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        logits = inputs @ weights[:-1] + weights[-1]
        total = (
            torch.nn.functional.binary_cross_entropy_with_logits(logits, wanted) + ridge * weights[:-1].square().sum()
        )
        total.backward()
        return total

    optimiser.step(loss)
    found = weights.detach().numpy()
    scaled = found[:-1] / spread
    return scaled, float(found[-1] - scaled @ mean)


def about_to_fall(episode: WatchedEpisode, horizon_ticks: int) -> NDArray[np.bool_]:
    """Which ticks [T] are at most so many before the ground."""
    found = np.zeros(len(episode.surprise), dtype=bool)
    if episode.down:
        found[-horizon_ticks:] = True
    return found


def rounded(value: float) -> float:
    """As a manifest has it."""
    return float(f"{value:.{DIGITS}g}")


def episode_scores(section: MonitorSection, episode: WatchedEpisode) -> list[Scores]:
    """Those of every tick [T], by the monitor that runs on the robot."""
    monitor = Monitor(section)
    return [
        monitor.scores(float(surprise), belief, command.tolist(), is_first=tick == 0)
        for tick, (surprise, belief, command) in enumerate(
            zip(episode.surprise, episode.belief, episode.command, strict=True)
        )
    ]


class Highest(NamedTuple):
    """The largest score of each limit in an episode; -inf where there was none."""

    change: float
    fall: float
    restless_fall: float


def highest(section: MonitorSection, episode: WatchedEpisode) -> Highest:
    """What an episode would have needed as its limits, to raise no alarm."""
    scores = episode_scores(section, episode)

    def largest(values: Iterable[float]) -> float:
        return max((value for value in values if not math.isnan(value)), default=-math.inf)

    return Highest(
        change=largest(score.change for score in scores),
        fall=largest(score.fall for score in scores if not score.restless),
        restless_fall=largest(score.fall for score in scores if score.restless),
    )
