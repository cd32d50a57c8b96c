"""What is left of an episode: the scores that might tell of a fall, tick by tick.

Shape letters: T ticks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.monitor import MonitorSection
from robot_wm_export.monitor.episodes import WatchedEpisode
from robot_wm_export.monitor.fit import episode_scores

READOUT = "readout of the posterior"  # log-odds above whichever limit holds: told above 0
LOW_VALUE = "low value"
SURPRISE = "surprise in a row"
CHANGE = "mean surprise"  # as the monitor's `change` has it, which tells of other worlds
VALUE_TICKS = 2  # that a low value is the mean of
SURPRISE_TICKS = 5  # in a row, as the runtime's `surprise_ticks`


@dataclass(frozen=True)
class Trace:
    """One episode by its scores."""

    scores: dict[str, NDArray[np.float64]]  # [T] by what tells; NaN where it says nothing
    down: bool


def trace(section: MonitorSection, episode: WatchedEpisode) -> Trace:
    """The monitor's own scores, and of simpler ones those that count while no start and no new command settles."""
    found = episode_scores(section, episode)
    restless = np.array([score.restless for score in found])  # [T]
    low = -_trailing(episode.value, VALUE_TICKS).mean(axis=1)  # [T]
    surprised = _trailing(episode.surprise, SURPRISE_TICKS).min(axis=1)  # [T]
    scores = {
        LOW_VALUE: np.where(restless, np.nan, low),
        SURPRISE: np.where(restless, np.nan, surprised),
        CHANGE: np.array([score.change for score in found]),
    }
    if (fall := section.fall) is not None:
        limits = np.where(restless, fall.restless_limit, fall.limit)  # [T]
        scores = {READOUT: np.array([score.fall for score in found]) - limits} | scores
    return Trace(scores=scores, down=episode.down)


def highest_score(one: Trace, told_by: str) -> float:
    """The limit that would just have raised no alarm; -inf where nothing was said."""
    scores = one.scores[told_by]
    return float(np.nanmax(scores)) if not np.isnan(scores).all() else -np.inf


def _trailing(values: NDArray[np.float32], ticks: int) -> NDArray[np.float64]:
    """The last ``ticks`` values at each tick, [T, ticks]; NaN before there are as many."""
    padded = np.concatenate([np.full(ticks - 1, np.nan), values.astype(np.float64)])
    return np.lib.stride_tricks.sliding_window_view(padded, ticks)
