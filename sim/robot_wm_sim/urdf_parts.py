"""The parts that a description consists of: which elements engines are shown, how often, and with which numbers.

Where one is missing, there twice or out of range, engines take the first or the last, fill something in, compute NaN
or end the program. What only one engine or none reads (``<gazebo>``, ``<transmission>``, ``<mujoco>``, ``<mimic>``, and
what is for looks) is left out; a joint that mimics another moves as its Robot says, or freely.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from robot_wm.errors import UserError

_MAX_DEPTH = 16  # of elements; the format has six
_MAX_LINKS = 128  # with as many joints as Bullet has room for; a humanoid with fingers has about 100
_MAX_SHAPES = 1000
_MAX_NAME = 200  # characters; Bullet crashes at some thousands
_SHAPES = ("box", "sphere", "cylinder", "capsule", "mesh")
# Element -> its children that matter -> how many of them there are at least and at most.
_CHILDREN: dict[str, dict[str, tuple[int, int]]] = {
    "robot": {"link": (1, sys.maxsize), "joint": (0, sys.maxsize)},
    "link": {"inertial": (0, 1), "collision": (0, sys.maxsize)},
    "inertial": {"origin": (0, 1), "mass": (0, 1), "inertia": (0, 1)},
    "collision": {"origin": (0, 1), "geometry": (1, 1)},
    "geometry": dict.fromkeys(_SHAPES, (0, 1)),
    "joint": {"parent": (1, 1), "child": (1, 1)} | dict.fromkeys(("origin", "axis", "limit", "dynamics"), (0, 1)),
}


@dataclass(frozen=True)
class _Numbers:
    """Numbers of an attribute, each within ``low`` and ``high``; ``default`` where they are left out, None: never."""

    unit: str
    low: float
    high: float
    count: int = 1
    default: str | None = ""


_MAX, _FAR_M, _SMALL_M = sys.float_info.max, 1e4, 1e-6
_LENGTH = _Numbers("m", _SMALL_M, _FAR_M, default=None)
_NUMBERS = {
    "mass": {"value": _Numbers("kg", 0.0, 1e6, default="0")},
    "inertia": {
        axes: _Numbers("kg·m²", 0.0 if axes[1] == axes[2] else -1e9, 1e9, default="0")
        for axes in ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
    },
    "origin": {"xyz": _Numbers("m", -_FAR_M, _FAR_M, 3), "rpy": _Numbers("rad", -_FAR_M, _FAR_M, 3)},
    "axis": {"xyz": _Numbers("", -_FAR_M, _FAR_M, 3, default="1 0 0")},
    "limit": dict.fromkeys(("lower", "upper"), _Numbers("rad or m", -_MAX, _MAX))
    | {"velocity": _Numbers("rad/s or m/s", 0.0, _MAX), "effort": _Numbers("N·m or N", 0.0, _MAX)},
    "dynamics": {"damping": _Numbers("N·m·s/rad or N·s/m", 0.0, _MAX), "friction": _Numbers("N·m or N", 0.0, _MAX)},
    "box": {"size": _Numbers("m", _SMALL_M, _FAR_M, 3, default=None)},
    "sphere": {"radius": _LENGTH},
    "cylinder": {"radius": _LENGTH, "length": _LENGTH},
    "capsule": {"radius": _LENGTH, "length": _LENGTH},
    "mesh": {"scale": _Numbers("", -_FAR_M, _FAR_M, 3, default="1 1 1")},
}
# Python's float takes 1_0 and digits of any alphabet, too; engines do not.
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def keep_parts(root: Element, origin: str) -> None:
    """Leave only what engines shall see, and write out its defaults; UserError naming part, attribute and value."""
    _require_plain(root, origin)
    _keep_children(root, origin)
    for part in root:
        if len(part.get("name", "")) > _MAX_NAME:
            raise UserError(f"{origin}: a {part.tag}'s name has {len(part.get('name', ''))} characters")
        _keep_children(part, _where(part, origin))
        for element in part.iter():
            for attribute, numbers in _NUMBERS.get(element.tag, {}).items():
                _require_numbers(element, attribute, numbers, _where(part, origin))
    for kind, found, most in (
        ("links", len(root.findall("link")), _MAX_LINKS),
        ("shapes", sum(1 for _ in root.iter("collision")), _MAX_SHAPES),
    ):
        if found > most:
            raise UserError(f"{origin}: {found} {kind}; at most {most}")
    root.set("name", root.get("name") or "robot")  # Bullet wants one


def numbers_of(text: str) -> tuple[float, ...]:
    """The finite numbers of an attribute; none where one of its words is none."""
    words = text.split()
    found = tuple(float(word) for word in words if _NUMBER.fullmatch(word) and abs(float(word)) <= _MAX)
    return found if len(found) == len(words) else ()


def ends(joint: Element) -> tuple[str, str]:
    """Names of a joint's parent and child link, "" where it has none."""
    parent, child = joint.find("parent"), joint.find("child")
    return ("" if parent is None else parent.get("link", ""), "" if child is None else child.get("link", ""))


def _where(part: Element, origin: str) -> str:
    return f"{origin}: {part.tag} {part.get('name', '')[:_MAX_NAME]}"


def _require_plain(root: Element, origin: str) -> None:
    pending = [(root, 1)]
    while pending:
        element, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise UserError(f"{origin}: elements nested more than {_MAX_DEPTH} deep")
        is_macro = element.tag.startswith("{") and "xacro" in element.tag
        macro = next((value for value in element.attrib.values() if "${" in value or "$(" in value), None)
        if is_macro or macro is not None:
            raise UserError(f"{origin}: {macro or 'an xacro element'}: this is xacro, not a URDF yet: xacro IN > OUT")
        pending += [(child, depth + 1) for child in element]


def _keep_children(element: Element, where: str) -> None:
    """Remove children that do not matter, of this element and those below it, and count the others."""
    kinds = _CHILDREN.get(element.tag, {})
    element[:] = [child for child in element if child.tag in kinds]
    if element.tag == "geometry" and len(element) != 1:
        raise UserError(f"{where}: a geometry has {len(element)} shapes; one of {', '.join(_SHAPES)} is needed")
    for kind, (least, most) in kinds.items():
        found = len(element.findall(kind))
        if not least <= found <= most:
            wanted = "one is needed" if least else "one at most"
            raise UserError(f"{where}: {element.tag} has {found} <{kind}>; {wanted}")
    if element.tag != "robot":
        for child in element:
            _keep_children(child, where)


def _require_numbers(element: Element, attribute: str, numbers: _Numbers, where: str) -> None:
    text = element.get(attribute)
    if text is None:
        if numbers.default is None:
            raise UserError(f"{where}: {element.tag} has no {attribute}, {numbers.unit}")
        if numbers.default:
            element.set(attribute, numbers.default)
        return
    found = numbers_of(text)
    if len(found) != numbers.count:
        what = "a finite number" if numbers.count == 1 else f"{numbers.count} finite numbers"
        raise UserError(f"{where}: {element.tag} {attribute} is {text[:80]!r}, not {what}")
    for value in found:
        if not numbers.low <= value <= numbers.high:
            allowed = f"{numbers.low:g} to {numbers.high:g} {numbers.unit}".rstrip()
            raise UserError(f"{where}: {element.tag} {attribute} is {text[:80]!r}; {allowed} can be simulated")
