"""DriveKind: what a kind of drive declares. Found by its name, the ``drive_type`` of a robot's file.

They come from the entry points `robot_wm.drives`, so another distribution can bring one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from robot_wm.errors import UserError
from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.plugins import entries, load_as

GROUP = "robot_wm.drives"

# Robot's name, its joints -> text of each file, by name; UserError for what a drive cannot be told.
Renderer = Callable[[str, Sequence[JointDrive]], dict[str, str]]


def render_nothing(robot: str, joints: Sequence[JointDrive]) -> dict[str, str]:
    """The maker keeps a closed drive's configuration to itself."""
    return {}


@dataclass(frozen=True)
class DriveKind:
    """One kind of drive."""

    render: Renderer
    how_to_apply: str  # how what is rendered gets into the drive, in words
    is_open: bool = True  # it can be set up: then its joints need all that a JointDrive has
    shares_ids: bool = False  # several joints may have one number on a bus


CLOSED = DriveKind(render_nothing, "", is_open=False)


def drive_kind(name: str) -> DriveKind:
    """The kind of that name; UserError naming those that there are."""
    found = entries(GROUP)
    if name not in found:
        raise UserError(f"{name!r} is no drive of the group {GROUP}; known: {', '.join(found)}")
    return load_as(found[name], DriveKind)
