"""A robot's description as every engine shall read it: what engines take differently is refused or written out.

Bullet hangs up, crashes or computes NaN where MuJoCo says what is wrong, and the other way round; what a format leaves
open they fill in each in its way (http://wiki.ros.org/urdf/XML). So both get the same text:

* one tree of links, unique names, finite numbers, limits where the joint has stops, mass where something moves;
* a link without ``<inertial>`` weighs nothing (Bullet's default is 1 kg);
* a root without mass that floats on a ``floating`` joint is left out: the body below it is the base;
* a root named ``world`` is called ``WORLD_LINK``: MuJoCo calls the ground so, and Bullet would not let it go;
* meshes by their full path; shapes for looks are left out, with their meshes, which need not be there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from robot_wm.errors import UserError
from robot_wm.firmware.urdf import read_urdf
from robot_wm_sim.robot import Robot

Element = ElementTree.Element

WORLD_LINK = "world_link"
_MAX_DEPTH = 16  # of elements; the format has six
_MAX_PARTS = 500  # links, and joints; a humanoid with fingers has about 100
_WITH_STOPS = frozenset({"revolute", "prismatic"})
_MOVING = _WITH_STOPS | {"continuous"}
# Element -> attribute -> how many numbers it has.
_NUMBERS = {
    "mass": {"value": 1},
    "inertia": dict.fromkeys(("ixx", "iyy", "izz", "ixy", "ixz", "iyz"), 1),
    "origin": {"xyz": 3, "rpy": 3},
    "axis": {"xyz": 3},
    "limit": dict.fromkeys(("lower", "upper", "velocity", "effort"), 1),
    "dynamics": dict.fromkeys(("damping", "friction"), 1),
    "box": {"size": 3},
    "sphere": {"radius": 1},
    "cylinder": dict.fromkeys(("radius", "length"), 1),
    "capsule": dict.fromkeys(("radius", "length"), 1),
    "mesh": {"scale": 3},
}
# Bullet takes a root without any mass for one that is bolted to the ground: a milligram, with a sphere's inertia.
_NEXT_TO_NOTHING_KG, _NEXT_TO_NOTHING_KG_M2 = 1e-6, 1e-12


def loadable(robot: Robot) -> Element:
    """The description's root element, checked and written out; UserError naming file, link or joint, and value."""
    origin = str(robot.description)
    if not robot.description.is_file():
        raise UserError(f"robot {robot.name}: no description file {origin}")
    root = read_urdf(robot.description)
    _require_plain(root, origin)
    for link in root.findall("link"):
        for visual in link.findall("visual"):
            link.remove(visual)
    _require_numbers(root, origin)
    links = _unique(root, "link", origin)
    joints = _unique(root, "joint", origin)
    base = _require_tree(links, joints, origin)
    base = _without_floating_root(root, base, links, joints, robot, origin)
    _require_base(base, joints, robot, origin)
    for name, joint in joints.items():
        _require_joint(name, joint, origin)
    for name, joint in joints.items():
        _require_mass(name, joint, links, joints, origin)
    _write_masses(base, links, robot)
    _find_meshes(links, robot.description)
    _rename_world(links, joints)
    return root


def _require_plain(root: Element, origin: str) -> None:
    pending = [(root, 1)]
    while pending:
        element, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise UserError(f"{origin}: elements nested more than {_MAX_DEPTH} deep")
        is_macro = isinstance(element.tag, str) and element.tag.startswith("{") and "xacro" in element.tag
        macro = next((value for value in element.attrib.values() if "${" in value or "$(" in value), None)
        if is_macro or macro is not None:
            raise UserError(f"{origin}: {macro or 'an xacro element'}: this is xacro, not a URDF yet: xacro IN > OUT")
        pending += [(child, depth + 1) for child in element]


def _require_numbers(root: Element, origin: str) -> None:
    for part in (*root.findall("link"), *root.findall("joint")):
        for element in part.iter():
            for attribute, count in _NUMBERS.get(str(element.tag), {}).items():
                text = element.get(attribute)
                if text is not None and len(_numbers(text)) != count:
                    what = "a finite number" if count == 1 else f"{count} finite numbers"
                    where = f"{part.tag} {part.get('name', '')}: {element.tag} {attribute}"
                    raise UserError(f"{origin}: {where} is {text[:80]!r}, not {what}")


def _numbers(text: str) -> tuple[float, ...]:
    """The finite numbers of an attribute; none where one of its words is none."""
    try:
        found = tuple(float(word) for word in text.split())
    except ValueError:
        return ()
    return found if all(map(math.isfinite, found)) else ()


def _unique(root: Element, kind: str, origin: str) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for element in root.findall(kind):
        name = element.get("name", "")
        if not name:
            raise UserError(f"{origin}: a {kind} without a name")
        if name in found:
            raise UserError(f"{origin}: {kind} {name} is there twice")
        found[name] = element
    if len(found) > _MAX_PARTS:
        raise UserError(f"{origin}: {len(found)} {kind}s; at most {_MAX_PARTS}")
    return found


def _ends(joint: Element) -> tuple[str, str]:
    """Names of a joint's parent and child link, "" where it has none."""
    parent, child = joint.find("parent"), joint.find("child")
    return ("" if parent is None else parent.get("link", ""), "" if child is None else child.get("link", ""))


def _require_tree(links: dict[str, Element], joints: dict[str, Element], origin: str) -> str:
    """The name of the root of the one tree that the links are."""
    held: dict[str, str] = {}  # child -> parent
    for name, joint in joints.items():
        parent, child = _ends(joint)
        for end, link in (("parent", parent), ("child", child)):
            if link not in links:
                raise UserError(f"{origin}: joint {name}: its {end} {link!r} is not among the links")
        if child in held:
            raise UserError(f"{origin}: joint {name}: link {child} hangs on {held[child]} already")
        held[child] = parent
    roots = [name for name in links if name not in held]
    if len(roots) != 1:
        what = f"{len(roots)} links hang on nothing ({', '.join(roots[:5])})" if roots else "its links are a ring"
        raise UserError(f"{origin}: {what}; a robot is one tree of links")
    reached, pending = {roots[0]}, [roots[0]]
    while pending:
        parent = pending.pop()
        below = [child for child, above in held.items() if above == parent]
        reached.update(below)
        pending += below
    if lost := [name for name in links if name not in reached]:
        raise UserError(f"{origin}: links {', '.join(lost[:5])} are a ring; a robot is one tree of links")
    return roots[0]


def _without_floating_root(
    root: Element, base: str, links: dict[str, Element], joints: dict[str, Element], robot: Robot, origin: str
) -> str:
    """Take away what a base floats on, which a Robot says itself; the name of the base."""
    below = [name for name, joint in joints.items() if _ends(joint)[0] == base]
    if len(below) != 1 or joints[below[0]].get("type") != "floating" or links[base].find("inertial") is not None:
        return base
    joint = joints.pop(below[0])
    if robot.fixed_base:
        raise UserError(f"{origin}: joint {below[0]} is floating, but robot {robot.name} has a fixed base")
    root.remove(joint)
    root.remove(links.pop(base))
    return _ends(joint)[1]


def _require_base(base: str, joints: dict[str, Element], robot: Robot, origin: str) -> None:
    if base == "world" and not robot.fixed_base:
        raise UserError(
            f"{origin}: link world is the ground, but robot {robot.name} has no fixed base: remove the link"
        )


def _require_joint(name: str, joint: Element, origin: str) -> None:
    kind = joint.get("type", "")
    where = f"{origin}: joint {name}"
    if kind == "fixed":
        return
    if kind not in _MOVING:
        raise UserError(f"{where} is of type {kind!r}; a simulated one is {', '.join(sorted(_MOVING))} or fixed")
    axis = joint.find("axis")
    if axis is not None and not any(_numbers(axis.get("xyz", "1 0 0"))):
        raise UserError(f"{where}: its axis is 0 0 0")
    if kind not in _WITH_STOPS:
        return
    limit = joint.find("limit")
    if limit is None:
        raise UserError(f"{where} is {kind} and has no <limit>; without stops it is continuous")
    lower, upper = (float(limit.get(side, "0")) for side in ("lower", "upper"))
    if not lower < upper:
        unit = "rad" if kind == "revolute" else "m"
        raise UserError(f"{where}: limits {lower:g} to {upper:g} {unit} leave no way to go; is it fixed or continuous?")


def _require_mass(
    name: str, joint: Element, links: dict[str, Element], joints: dict[str, Element], origin: str
) -> None:
    """Refuse a moving joint that carries nothing: its acceleration would be infinite."""
    if joint.get("type") == "fixed":
        return
    rigid = list(_rigid(_ends(joint)[1], joints))
    mass = sum(_value(links[link], "mass", "value") for link in rigid)
    inertia = sum(_value(links[link], "inertia", axis) for link in rigid for axis in ("ixx", "iyy", "izz"))
    if any(_value(links[link], "mass", "value") < 0 for link in rigid) or mass <= 0:
        raise UserError(f"{origin}: joint {name}: what it moves ({', '.join(rigid[:5])}) has a mass of {mass:g} kg")
    if inertia <= 0 and len(rigid) == 1:
        raise UserError(f"{origin}: joint {name}: link {rigid[0]} has {mass:g} kg and no inertia, kg·m²")


def _rigid(link: str, joints: dict[str, Element]) -> Iterator[str]:
    """A link and those that are fixed to it."""
    fixed = [_ends(joint) for joint in joints.values() if joint.get("type") == "fixed"]
    pending = [link]
    while pending:
        parent = pending.pop()
        yield parent
        pending += [child for above, child in fixed if above == parent]


def _value(link: Element, element: str, attribute: str) -> float:
    found = link.find(f"inertial/{element}")
    return 0.0 if found is None else float(found.get(attribute, "0"))


def _write_masses(base: str, links: dict[str, Element], robot: Robot) -> None:
    for name, link in links.items():
        if link.find("inertial/mass") is not None:
            continue
        for inertial in link.findall("inertial"):
            link.remove(inertial)
        floats = name == base and not robot.fixed_base
        mass, moment = (_NEXT_TO_NOTHING_KG, _NEXT_TO_NOTHING_KG_M2) if floats else (0.0, 0.0)
        inertial = ElementTree.SubElement(link, "inertial")
        ElementTree.SubElement(inertial, "mass", value=repr(mass))
        axes = dict.fromkeys(("ixx", "iyy", "izz"), repr(moment)) | dict.fromkeys(("ixy", "ixz", "iyz"), "0")
        ElementTree.SubElement(inertial, "inertia", axes)


def _find_meshes(links: dict[str, Element], description: Path) -> None:
    for name, link in links.items():
        for mesh in link.iter("mesh"):
            file_name = mesh.get("filename", "")
            places = list(_places(file_name, description))
            found = next((place for place in places if place.is_file()), None)
            if found is None:
                raise UserError(f"{description}: link {name}: no mesh {file_name!r}; looked for {places[0]}")
            mesh.set("filename", str(found.resolve()))


def _places(file_name: str, description: Path) -> Iterator[Path]:
    """Where a mesh may be: beside the description, or in the ROS package that the description is in or beside."""
    folder = description.resolve().parent
    if not file_name.startswith("package://"):
        yield folder / file_name.removeprefix("file://")
        return
    rest = file_name.removeprefix("package://")
    for above in (folder, *folder.parents):
        yield above / rest


def _rename_world(links: dict[str, Element], joints: dict[str, Element]) -> None:
    if "world" not in links:
        return
    links["world"].set("name", WORLD_LINK)
    for joint in joints.values():
        for end in (joint.find("parent"), joint.find("child")):
            if end is not None and end.get("link") == "world":
                end.set("link", WORLD_LINK)
