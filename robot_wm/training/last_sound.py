"""Where a learner can go back to when another rank is lost in the middle of an update."""

from __future__ import annotations

import time
from collections.abc import Mapping

from torch import Tensor

from robot_wm.learning.learner import Learner
from robot_wm.training.checkpoint import RunState

# So much learning is lost with a rank, at most; a copy on the device takes a hundredth of an update.
KEEP_EVERY_S = 10.0


class LastSound:
    """A copy of the learner between two updates, a few seconds old at most, on its device.

    An exchange that fails leaves an update half done, and on a GPU weights that were averaged with nothing.
    """

    def __init__(self) -> None:
        self._kept: Mapping[str, Tensor] | None = None
        self._updates = 0
        self._next_s = 0.0

    def keep(self, learner: Learner, state: RunState) -> None:
        """Take a copy where the last one is old; called with no update under way."""
        if time.monotonic() < self._next_s or learner.first_nonfinite() is not None:
            return
        self._kept, self._updates = learner.state_dict(), state.updates
        self._next_s = time.monotonic() + KEEP_EVERY_S

    def go_back(self, learner: Learner, state: RunState) -> bool:
        """Load the copy and count what was made since as not made, but earned; whether there is one."""
        if self._kept is None:
            return False
        learner.load_state_dict(self._kept)
        lost = state.updates - self._updates
        state.updates = self._updates
        if state.config.offline:
            state.offline_updates -= lost
        else:
            state.update_credit = (state.update_credit or 0.0) + lost
        return True
