"""What other distributions add through entry points: loaded so that one that is broken stops nothing but itself.

Ours raise what they raise: a module that an extra would bring is told by the command line, everything else is a defect.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from robot_wm.errors import UserError

DISTRIBUTIONS = ("robot-wm", "robot-wm-ros")  # the library, and the ROS 2 package
GROUPS = (
    "robot_wm.commands",
    "robot_wm.benchmarks",
    "robot_wm.zoo",
    "robot_wm.tasks",
    "robot_wm.robots",
    "robot_wm.bindings",
    "robot_wm.drives",
    "robot_wm.backends",
    "robot_wm.agents",
    "robot_wm.exporters",
)

_Wanted = TypeVar("_Wanted")


def entries(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by their names, in order, one a name: ours wins over another distribution's."""
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=is_ours, reverse=True):
        found.setdefault(entry.name, entry)
    return dict(sorted(found.items()))


def is_ours(entry: EntryPoint) -> bool:
    """Whether one of our distributions brings it."""
    return entry.dist is not None and entry.dist.name.replace("_", "-") in DISTRIBUTIONS


def brought_by(entry: EntryPoint) -> str:
    """Name and version of the distribution that an entry point comes with."""
    return "another distribution" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


def load(entry: EntryPoint) -> Any:
    """What an entry point names; UserError naming its distribution where another's cannot be imported."""
    if is_ours(entry):
        return entry.load()
    try:
        return entry.load()
    except (Exception, SystemExit) as error:  # whatever somebody's module does when it is imported
        brought = brought_by(entry)
        what = (str(error).splitlines() or [""])[0][:200]
        raise UserError(
            f"{entry.group} {entry.name!r} of {brought} cannot be imported: {type(error).__name__}: {what}"
            f' (python -c "import {entry.module}" shows where)'
        ) from error


def load_as(entry: EntryPoint, wanted: type[_Wanted]) -> _Wanted:
    """What an entry point names, which has to be a ``wanted``; UserError naming its distribution where it is not."""
    found = load(entry)
    if not isinstance(found, wanted):
        what = f"{entry.value} is {str(found)[:200]!r}, not a {wanted.__name__}"
        raise UserError(f"{entry.group} {entry.name!r} of {brought_by(entry)}: {what}")
    return found


def broken() -> Iterator[tuple[EntryPoint, str]]:
    """Other distributions' entry points that cannot be imported, and why."""
    for group in GROUPS:
        for entry in entry_points(group=group):
            if is_ours(entry):
                continue
            try:
                load(entry)
            except UserError as error:
                yield entry, str(error)
