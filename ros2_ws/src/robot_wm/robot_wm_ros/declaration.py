"""Declaring a node's parameters: type, range, choices, description and flags in one row each."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.exceptions import ParameterException, ParameterUninitializedException
from rclpy.node import Node

from robot_wm.errors import UserError


@dataclass(frozen=True)
class Declaration:
    """One parameter. ``default`` is a type where the default is an empty array, which has no type of its own."""

    name: str
    default: Any
    description: str  # with the unit
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False  # can only be given at the node's start

    def check(self, value: Any) -> None:
        """Raises UserError for what a descriptor cannot keep out: another word than the choices, NaN, infinity."""
        if self.choices and value not in self.choices:
            raise UserError(f"parameter {self.name}: {value!r} is not one of {', '.join(self.choices)}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"parameter {self.name}: {value} is not a finite number")

    def descriptor(self) -> ParameterDescriptor:
        """As ``ros2 param describe`` shows it."""
        descriptor = ParameterDescriptor(
            description=self.description,
            additional_constraints=f"one of {', '.join(self.choices)}" if self.choices else "",
            read_only=self.read_only,
        )
        if self.limits is not None:
            low, high = self.limits
            if isinstance(self.default, float):
                descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
            else:
                descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=1)]
        return descriptor


def declare(node: Node, declarations: Iterable[Declaration]) -> None:
    """Declare them. Raises UserError for a start value of the wrong type or out of range."""
    for declaration in declarations:
        try:
            node.declare_parameter(declaration.name, declaration.default, declaration.descriptor())
        except ParameterException as error:
            raise UserError(f"parameter {declaration.name}: {error}") from None


def values(node: Node, declarations: Iterable[Declaration]) -> dict[str, Any]:
    """What they are now, by name; () for an array that nobody gave. Raises UserError for a value that cannot be."""
    found: dict[str, Any] = {}
    for declaration in declarations:
        try:
            value = node.get_parameter(declaration.name).value
        except ParameterUninitializedException:
            value = ()
        declaration.check(value)
        found[declaration.name] = value
    return found
