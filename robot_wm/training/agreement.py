"""What the ranks of a run settle together, once a round: no decision may differ from one to another.

A rank that learned on while another one stopped, or made one update more, would wait for the others for ever.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, fields

from robot_wm.learning.ranks import Ranks

GOES_ON = "steps"  # what a run that nothing else ends is ended by
# In the order in which one wins over another where ranks have different ones.
_REASONS = (GOES_ON, "return", "time limit", "signal", "another rank")


@dataclass
class Collected:
    """What has been collected and not been counted yet; summed over the environments."""

    env_steps: int = 0  # policy steps
    episodes: int = 0
    robot_steps: int = 0  # control steps of all robots, which resets are not
    falls: int = 0


@dataclass
class Agreement:
    """What this rank has to tell, and what all of them have settled."""

    ranks: Ranks
    own: Collected = field(default_factory=Collected)
    wanted_end: str = GOES_ON  # why this rank would end the run
    update_s: float = 0.0  # how long an update takes here
    stopped_by: str = GOES_ON  # why all of them do
    can_learn: bool = False  # whether every rank's replay holds a window

    def settle(self, *, can_learn: bool) -> Collected:
        """Exchange what there is to tell; returns what all ranks have collected since the last time."""
        ended = _REASONS.index(self.wanted_end) if self.wanted_end in _REASONS else len(_REASONS) - 1
        rows = self.ranks.rows([*astuple(self.own), can_learn, ended, self.update_s])  # [R, n]
        counted = len(fields(Collected))
        self.own = Collected()
        self.can_learn = bool(rows[:, counted].all())
        worst = int(rows[:, counted + 1].max())
        self.stopped_by = self.wanted_end if worst == ended else _REASONS[worst]
        self.update_s = float(rows[:, counted + 2].max())
        return Collected(*(int(total) for total in rows[:, :counted].sum(0)))

    def end(self, why: str) -> None:
        """Want the run to end. One rank alone ends it so; with several all of them do when they next settle."""
        self.wanted_end = why
        if self.ranks.size == 1:
            self.stopped_by = why

    def updates_within(self, due: int, seconds: float) -> int:
        """How many of the ``due`` updates to make before the clock is asked again.

        One rank alone asks it after each of them. Several make as many as take the slowest of them that long.
        """
        if self.ranks.size == 1:
            return due
        return min(due, max(1, int(seconds / self.update_s)) if self.update_s else 1)

    def took(self, updates: int, seconds: float) -> None:
        """Note how long so many updates took here."""
        if updates:
            self.update_s = seconds / updates
