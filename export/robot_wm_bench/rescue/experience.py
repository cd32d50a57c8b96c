"""Transitions of the source world as a memoryless learner sees them, each with the teacher's own action beside it.

Shape letters: M transitions, D flat observation (`robot_wm.baselines.view`), A actions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file


@dataclass(frozen=True)
class Experience:
    """M transitions; actions in [-1, 1]."""

    seen: NDArray[np.float32]  # [M, D]
    action: NDArray[np.float32]  # [M, A] executed
    label: NDArray[np.float32]  # [M, A] what the teacher would have done, greedily
    reward: NDArray[np.float32]  # [M]
    then_seen: NDArray[np.float32]  # [M, D]
    terminal: NDArray[np.float32]  # [M] 1 where the episode ended for good

    def __len__(self) -> int:
        return len(self.reward)

    def save(self, path: Path) -> None:
        """Write an .npz file."""
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def load(cls, path: Path) -> Experience:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as found:
            return cls(**{field.name: found[field.name] for field in fields(cls)})

    @classmethod
    def joined(cls, parts: Sequence[Experience]) -> Experience:
        """All transitions of ``parts``."""
        names = [field.name for field in fields(cls)]
        return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})
