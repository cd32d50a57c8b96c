"""Curriculum: how much of a range an episode is drawn from, by how those before it went.

As legged_gym's (Rudin et al. 2021, "game-inspired curriculum"), each environment has a level of its own, which rises
by one after an episode that succeeded and falls by one after an episode that ended early. Unlike there, an episode
with a seed of its own is drawn from the whole range whatever was run before it: a seed fixes an episode, and
evaluations, which seed every episode, are all as hard.
"""

from __future__ import annotations

from robot_wm_sim.task import Outcome


class Curriculum:
    """The level of one environment, 0 to ``levels``."""

    def __init__(self, levels: int) -> None:
        self.levels = levels
        self._level = 0
        self._counts = False  # whether the latest episode was of this level

    def begin(self, after: Outcome | None, *, is_seeded: bool, is_replayed: bool = False) -> int:
        """Level of the episode that begins; ``after`` is the last step of the one before it, None if that broke off.

        What is replayed has its own numbers, and says nothing of a level.
        """
        if self._counts and after is not None:
            if after.info.get("success", False):
                self._level = min(self._level + 1, self.levels)
            elif after.terminated:
                self._level = max(self._level - 1, 0)
        self._counts = not (is_seeded or is_replayed)
        if is_seeded:
            self._level = 0
            return self.levels
        return self._level
