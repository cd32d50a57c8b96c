"""What every binding of a topic's messages to observation fields has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.spec import ObservationField

# A field and the array of its shape and type that messages are written into.
Target = tuple[ObservationField, NDArray[Any]]


class Binding(ABC):
    """Copies the messages of one topic into the arrays of its fields. Made from ``list[Target]``; may raise UserError.

    ``copy`` returns "" or what is wrong with the message; then the arrays' content means nothing. It raises for
    nothing that a message may hold. Numbers that are not finite pass: finding them is the Controller's.
    """

    message_type: ClassVar[type]
    topics: ClassVar[str] = ""  # regular expression of how the topics that it reads end; "": any that no other does
    reads_pictures: ClassVar[bool] = False  # whether its fields are images, or vectors

    def __init__(self, targets: list[Target]) -> None:
        self._targets = targets

    @abstractmethod
    def copy(self, message: Any) -> str:
        """Write one message into the targets' arrays."""

    def settle(self, stamp_s: float) -> float:
        """Stamp of what the arrays hold after ``copy`` of a message of ``stamp_s``; NaN if it was none of theirs."""
        return stamp_s

    def sources(self) -> int:
        """How many publishers the latest messages can have come from without one contradicting another."""
        return 1


def refusal(field: ObservationField, why: str) -> UserError:
    """The error for a field that no message can fill."""
    return UserError(
        f"observation {field.name}: topic {field.topic!r}, unit {field.unit!r}, labels {list(field.labels)}: {why}"
    )


def element_units(field: ObservationField) -> tuple[str, ...]:
    """Unit of each element; ``unit`` is one for all, or a list with commas. UserError if that has another length."""
    units = field.element_units()
    if not units:
        raise refusal(field, f"{field.unit.count(',') + 1} units for {field.shape[0]} elements")
    return units
