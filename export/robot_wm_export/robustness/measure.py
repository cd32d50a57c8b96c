"""What an agent does in one world: its bundle runs through the controller that drives the robot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium

from robot_wm.errors import UserError
from robot_wm.evaluation.closed_loop import run_closed_loop
from robot_wm.evaluation.driven import driven
from robot_wm.figures import FALL
from robot_wm.runtime.safety import SafetyConfig
from robot_wm_export.robustness.grid import Cell


@dataclass(frozen=True)
class Outcome:
    """Of all episodes in one world together."""

    cell: Cell
    episodes: int
    return_mean: float | None  # None where the engine does not have that world
    return_std: float | None
    falls: int | None  # episodes that ended in a fall; None where the task tells of none
    success_rate: float | None
    refused: str = ""  # why the engine does not have it

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


class _World(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Every episode in the world of one draw."""

    def __init__(self, env: gymnasium.Env[Any, Any], draw: Mapping[str, float]) -> None:
        super().__init__(env)
        self._draw = dict(draw)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=seed, options={**(options or {}), "randomisation": self._draw})


def measure(bundle: Path, public_key: Path | None, cell: Cell, *, episodes: int, seed: int) -> Outcome:
    """Run ``episodes`` episodes, seeded from ``seed`` on, as fast as they go."""
    with driven(
        bundle,
        public_key,
        config=SafetyConfig(soft_start_s=0.0),
        option={"randomisation": cell.randomisation},
        backend=cell.backend,
        seed=seed,
    ) as it:
        env = _World(it.env, cell.draw) if cell.draw else it.env
        try:
            result = run_closed_loop(it.controller, env, episodes=episodes, realtime=False, seed=seed)
        except UserError as error:
            if not cell.draw:
                raise
            return Outcome(cell, 0, None, None, None, None, refused=str(error))
    falls = [episode.figures[FALL] for episode in result.episodes if FALL in episode.figures]
    return Outcome(
        cell,
        episodes,
        float(result.returns.mean()),
        float(result.returns.std()),
        int(sum(falls)) if falls else None,
        result.success_rate,
    )
