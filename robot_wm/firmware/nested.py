"""Limits inside limits: what of an inner layer reaches beyond the layer around it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from robot_wm.spec import JointLimits

Range = tuple[float, float]
QUANTITIES = ("position", "velocity", "effort", "rate")


@dataclass(frozen=True)
class Violation:
    """One rule that does not hold, with both values."""

    rule: str  # such as "URDF ⊇ firmware"
    where: str  # joint or field
    outer: str  # what bounds, with its value and unit
    inner: str  # what is bounded, with its value and unit

    def __str__(self) -> str:
        return f"{self.where}: {self.inner}, but {self.outer} ({self.rule})"


def beyond(outer: JointLimits, inner: JointLimits) -> Iterator[tuple[str, Range, Range | None]]:
    """Quantities of ``inner`` that ``outer`` does not contain: name, outer range, inner range (None: unlimited)."""
    for quantity in QUANTITIES:
        wide, narrow = range_of(outer, quantity), range_of(inner, quantity)
        if wide is not None and (narrow is None or narrow[0] < wide[0] or narrow[1] > wide[1]):
            yield quantity, wide, narrow


def range_of(limits: JointLimits, quantity: str) -> Range | None:
    """Smallest and largest allowed value; None where there is no such limit."""
    value = getattr(limits, quantity)
    if value is None or isinstance(value, tuple):
        return value
    return (-value, value)


def unit_of(quantity: str, joint_unit: str, command_unit: str = "") -> str:
    """Unit of a quantity of a joint that moves in ``rad`` or ``m``; a rate's is that of the command, per second."""
    force = "N·m" if joint_unit == "rad" else "N"
    units = {"position": joint_unit, "velocity": f"{joint_unit}/s", "effort": force}
    return units.get(quantity) or f"{command_unit}/s"


def written(values: Range | None, unit: str) -> str:
    """A range with its unit: ``±20 N·m``, ``[-1, 2] rad``, ``unlimited``."""
    if values is None:
        return "unlimited"
    low, high = values
    return f"±{high:.12g} {unit}" if low == -high else f"[{low:.12g}, {high:.12g}] {unit}"
