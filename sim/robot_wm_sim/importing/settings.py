"""What who imports a robot says beside its description, from the command line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from robot_wm.errors import UserError

Kind = Literal["arm", "wheeled", "legged", "empty"]
_UNITS = {"effort": "N·m or N", "velocity": "rad/s or m/s"}


@dataclass(frozen=True)
class Settings:
    """Efforts and speeds that stand in for the description's, and joints that nothing drives.

    A value of the joint "" is that of every joint which the description gives none.
    """

    effort: Mapping[str, float] = field(default_factory=dict)  # N·m or N
    velocity: Mapping[str, float] = field(default_factory=dict)  # rad/s or m/s
    passive: tuple[str, ...] = ()

    @classmethod
    def of_texts(cls, effort: Sequence[str], velocity: Sequence[str], passive: Sequence[str]) -> Settings:
        """From options such as ``20`` and ``wheel=2.5``. Raises UserError naming the option."""
        return cls(_values("effort", effort), _values("velocity", velocity), tuple(passive))

    def of(self, key: str, joint: str) -> tuple[float | None, float | None]:
        """The effort or velocity of this very joint, and that of all which have none."""
        values: Mapping[str, float] = getattr(self, key)
        return values.get(joint), values.get("")

    def named_joints(self) -> Iterator[tuple[str, str]]:
        """Every joint that is named, with the option that names it."""
        for key in ("effort", "velocity", "passive"):
            yield from ((f"--{key}", joint) for joint in getattr(self, key) if joint)


def _values(key: str, texts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for text in texts:
        joint, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not 0.0 < value < math.inf:
            raise UserError(f"--{key} {text}: a number above 0 is needed, {_UNITS[key]}, or JOINT=NUMBER")
        if joint in found:
            raise UserError(f"--{key} {text}: is given twice")
        found[joint] = value
    return found
