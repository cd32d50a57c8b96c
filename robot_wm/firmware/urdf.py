"""Joint limits of a robot's description (URDF)."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from xml.etree import ElementTree

from pydantic import ValidationError

from robot_wm.errors import UserError
from robot_wm.spec import JointLimits

_MAX_BYTES = 2**24
_MOVING = ("revolute", "prismatic", "continuous")


def urdf_limits(path: Path, joints: Collection[str]) -> dict[str, JointLimits]:
    """Limits of those of ``joints`` that the description has and that move: rad, rad/s, N·m, or m, m/s, N.

    Raises UserError for a file that is no URDF, and for a limit that is none, naming the joint.
    """
    limits: dict[str, JointLimits] = {}
    for joint in read_urdf(path).findall("joint"):
        name = joint.get("name", "")
        if name in limits:
            raise UserError(f"{path}: joint {name} is there twice")
        if name in joints and joint.get("type") in _MOVING:
            limits[name] = _limits(joint, origin=f"{path}: joint {name}")
    return limits


def read_urdf(path: Path) -> ElementTree.Element:
    """The root element of a description. Raises UserError for a file that is no URDF."""
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise UserError(f"{path}: larger than {_MAX_BYTES >> 20} MiB; no URDF is")
        text = content.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot read the URDF: {getattr(error, 'strerror', None) or error}") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise UserError(f"{path}: a URDF declares no document type or entities")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise UserError(f"{path}: not XML: {error}") from None
    if root.tag != "robot":
        raise UserError(f"{path}: not a URDF: its root is <{root.tag}>, not <robot>")
    return root


def _limits(joint: ElementTree.Element, *, origin: str) -> JointLimits:
    found = joint.findall("limit")
    if len(found) > 1:
        raise UserError(f"{origin}: it has {len(found)} <limit>; one at most")
    if not found:
        if joint.get("type") != "continuous":  # unlimited, to a check: whatever the firmware has would fit
            raise UserError(f"{origin} is {joint.get('type')} and has no <limit>; without stops it is continuous")
        return JointLimits()
    (limit,) = found
    values = {}
    for key in ("lower", "upper", "velocity", "effort"):
        text = limit.get(key)
        try:
            values[key] = None if text is None else float(text)
        except ValueError:
            raise UserError(
                f"{origin}: limit {key}={text!r} is not a number (rad or m, rad/s or m/s, N·m or N)"
            ) from None
    # The format gives lower and upper 0 where they are missing; a continuous joint has neither.
    position = None if joint.get("type") == "continuous" else (values["lower"] or 0.0, values["upper"] or 0.0)
    try:
        return JointLimits(position=position, velocity=values["velocity"], effort=values["effort"])
    except ValidationError as error:
        raise UserError.from_validation(error, origin=origin) from None
