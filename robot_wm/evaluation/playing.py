"""Episodes of a bundle as fast as they go, by the controller that runs on the robot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.evaluation.bounds import LONGEST_EPISODE_STEPS
from robot_wm.evaluation.closed_loop import ClosedLoopResult, EpisodeResult, run_closed_loop
from robot_wm.evaluation.driven import Driven, driven
from robot_wm.runtime.safety import SafetyConfig


@dataclass(frozen=True)
class Played:
    """What came of it."""

    result: ClosedLoopResult
    by: Driven  # stopped by now
    counts: Mapping[str, int]  # of `PlanningCounts`, all episodes together; none where the actor acted alone

    @property
    def returns(self) -> NDArray[np.float64]:
        """Of each episode, [E]."""
        return self.result.returns


def play(
    bundle: Path,
    public_key: Path | None = None,
    *,
    episodes: int,
    seed: int,
    longest: int = LONGEST_EPISODE_STEPS,
    on_start: Callable[[], None] = lambda: None,
    on_episode: Callable[[EpisodeResult], None] | None = None,
    **how: Any,
) -> Played:
    """Drive the bundle's task from the starts ``seed``, ``seed + 1``, ...; the actor is greedy, no start is soft.

    An episode is cut off after ``longest`` control steps. ``how`` is as for `driven`. Raises UserError for a bundle or
    a task that cannot be driven.
    """
    with driven(bundle, public_key, config=SafetyConfig(soft_start_s=0.0), seed=seed, **how) as it:
        on_start()
        result = run_closed_loop(
            it.controller,
            it.env,
            episodes=episodes,
            realtime=False,
            max_episode_s=longest * it.controller.spec.control_period_s,
            seed=seed,
            on_episode=on_episode,
        )
        thinker = it.controller.thinker
        return Played(result, it, {} if thinker is None else thinker.report().counts)
