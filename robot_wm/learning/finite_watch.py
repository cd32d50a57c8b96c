"""Which tensor first stopped being finite, remembered on the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

_NEVER = torch.iinfo(torch.int64).max


class FiniteWatch:
    """Latches, per watched figure, the update at which it was first NaN or infinite.

    Losses and weights are all NaN a few updates after the first bad one, so a look at the end names nothing; this
    keeps the first, and waits for the device only when asked.
    """

    def __init__(self, groups: dict[str, Sequence[str]], device: torch.device) -> None:
        self.sizes = [len(names) for names in groups.values()]
        self.groups = list(groups)
        self.names = [f"{group} {name}" for group, names in groups.items() for name in names]
        self.first = torch.full((len(self.names),), _NEVER, device=device)  # [N] update number

    @torch.no_grad()
    def look(self, figures: Sequence[Tensor], update: Tensor) -> dict[str, Tensor]:
        """Take in one figure a name, in order (any vectors, concatenated); returns 0-d 1.0 or 0.0 a group."""
        finite = torch.isfinite(torch.cat([f.reshape(-1).float() for f in figures]))
        now = torch.where(finite, _NEVER, update.long())
        torch.minimum(self.first, now, out=self.first)
        parts = finite.split(self.sizes)
        return {f"finite/{group}": part.all().float() for group, part in zip(self.groups, parts, strict=True)}

    def first_nonfinite(self) -> str | None:
        """Name and update of the first bad tensor, earliest group first; None if all were finite."""
        first = self.first.tolist()
        update = min(first)
        return None if update == _NEVER else f"{self.names[first.index(update)]} at update {update}"
