"""Pictures of a bundle's agent at work, with the numbers that a video of it has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from gymnasium.wrappers import RecordEpisodeStatistics
from numpy.typing import NDArray

from robot_wm.evaluation.closed_loop import run_closed_loop
from robot_wm.evaluation.driven import driven
from robot_wm.evaluation.video import draw
from robot_wm.runtime.safety import SafetyConfig


def stills(
    bundle: Path,
    public_key: Path | None = None,
    *,
    seed: int,
    every_s: float,
    from_s: float = 0.0,
    until_s: float | None = None,
) -> list[NDArray[np.uint8]]:
    """Pictures [H, W, 3] of one greedy episode, one each ``every_s`` of simulated time from ``from_s`` on.

    The episode ends by itself or at ``until_s``.
    """
    pictures: list[NDArray[np.uint8]] = []
    with driven(bundle, public_key, config=SafetyConfig(soft_start_s=0.0), seed=seed, render=True) as it:
        rate_hz = it.controller.spec.control_rate_hz
        env = RecordEpisodeStatistics(it.env)
        on_tick = draw(
            env,
            pictures.append,
            control_rate_hz=rate_hz,
            every=max(1, round(every_s * rate_hz)),
            first=round(from_s * rate_hz),
        )
        run_closed_loop(it.controller, env, realtime=False, max_episode_s=until_s, seed=seed, on_tick=on_tick)
    return pictures
