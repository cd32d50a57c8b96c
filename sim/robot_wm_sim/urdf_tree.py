"""A robot's description as every engine shall read it: what engines take differently is refused or written out.

Bullet hangs up, crashes or computes NaN where MuJoCo says what is wrong, and the other way round; what a format leaves
open they fill in each in its way (http://wiki.ros.org/urdf/XML). So both get the same text:

* one tree of links, unique names, limits where the joint has stops and nowhere else, axes of length one;
* the parts that `urdf_parts` lets through, masses as `urdf_masses` and meshes as `mesh_file` takes them;
* a root without mass that floats on a ``floating`` joint is left out: the body below it is the base;
* a root named ``world`` is called ``WORLD_LINK``: MuJoCo calls the ground so, and Bullet would not let it go.
"""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

from robot_wm.errors import UserError
from robot_wm.firmware.urdf import read_urdf
from robot_wm_sim.mesh_file import find_mesh, require_mesh
from robot_wm_sim.robot import Robot
from robot_wm_sim.urdf_masses import write_masses
from robot_wm_sim.urdf_parts import ends, keep_parts, numbers_of

Element = ElementTree.Element

WORLD_LINK = "world_link"
_WITH_STOPS = frozenset({"revolute", "prismatic"})
_MOVING = _WITH_STOPS | {"continuous"}
_LEAST_AXIS = 1e-6  # length


def loadable(robot: Robot) -> Element:
    """The description's root element, checked and written out; UserError naming file, link or joint, and value."""
    if not robot.urdf.is_file():
        raise UserError(f"robot {robot.name}: no description file {robot.urdf}")
    root = read_urdf(robot.urdf)
    write_out(root, robot)
    return root


def write_out(root: Element, robot: Robot) -> None:
    """Check and write out what was read from ``robot.urdf``; see `loadable`."""
    origin = str(robot.urdf)
    keep_parts(root, origin)
    links, joints, base = tree_of(root, origin)
    base = _without_floating_root(root, base, links, joints, robot, origin)
    _require_base(base, robot, origin)
    for name, joint in joints.items():
        _complete_joint(name, joint, robot, origin)
    write_masses(links, joints, None if robot.fixed_base else base, origin)
    _find_meshes(links, robot.urdf)
    _rename_world(links, joints, origin)


def tree_of(root: Element, origin: str) -> tuple[dict[str, Element], dict[str, Element], str]:
    """Links and joints by name and the root link's name; UserError for what is no tree of them."""
    links = _unique(root, "link", origin)
    joints = _unique(root, "joint", origin)
    return links, joints, _require_tree(links, joints, origin)


def _unique(root: Element, kind: str, origin: str) -> dict[str, Element]:
    found: dict[str, Element] = {}
    for element in root.findall(kind):
        name = element.get("name", "")
        if not name:
            raise UserError(f"{origin}: a {kind} without a name")
        if name in found:
            raise UserError(f"{origin}: {kind} {name} is there twice")
        found[name] = element
    return found


def _require_tree(links: dict[str, Element], joints: dict[str, Element], origin: str) -> str:
    """The name of the root of the one tree that the links are."""
    held: dict[str, str] = {}  # child -> parent
    for name, joint in joints.items():
        parent, child = ends(joint)
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
    below = [name for name, joint in joints.items() if ends(joint)[0] == base]
    if len(below) != 1 or joints[below[0]].get("type") != "floating" or links[base].find("inertial") is not None:
        return base
    joint = joints.pop(below[0])
    if robot.fixed_base:
        raise UserError(f"{origin}: joint {below[0]} is floating, but robot {robot.name} has a fixed base")
    root.remove(joint)
    root.remove(links.pop(base))
    return ends(joint)[1]


def _require_base(base: str, robot: Robot, origin: str) -> None:
    if base == "world" and not robot.fixed_base:
        raise UserError(
            f"{origin}: link world is the ground, but robot {robot.name} has no fixed base: remove the link"
        )


def _complete_joint(name: str, joint: Element, robot: Robot, origin: str) -> None:
    """Refuse what cannot be simulated; write out the axis, and take away what the joint's kind does not have."""
    kind = joint.get("type", "")
    where = f"{origin}: joint {name}"
    if kind == "fixed":
        return
    if kind not in _MOVING:
        raise UserError(f"{where} is of type {kind!r}; a simulated one is {', '.join(sorted(_MOVING))} or fixed")
    _write_axis(joint, where)
    limit = joint.find("limit")
    if kind == "continuous":
        if limit is not None:
            joint.remove(limit)
        return
    if limit is None:
        raise UserError(f"{where} is {kind} and has no <limit>; without stops it is continuous")
    lower, upper = (float(limit.get(side, "0")) for side in ("lower", "upper"))
    unit = "rad" if kind == "revolute" else "m"
    if not lower < upper:
        raise UserError(f"{where}: limits {lower:g} to {upper:g} {unit} leave no way to go; is it fixed or continuous?")
    for home in (one.home for one in robot.joints if one.name == name):
        if not lower <= home <= upper:
            ours = f"robot {robot.name} starts at {home:g} {unit} (home)"
            raise UserError(f"{where}: its range is {lower:g} to {upper:g} {unit}, but {ours}")


def _write_axis(joint: Element, where: str) -> None:
    axis = joint.find("axis")
    if axis is None:
        axis = ElementTree.SubElement(joint, "axis", xyz="1 0 0")
    direction = numbers_of(axis.get("xyz", ""))
    length = math.hypot(*direction)
    if length < _LEAST_AXIS:
        raise UserError(f"{where}: its axis is {axis.get('xyz')}")
    axis.set("xyz", " ".join(repr(part / length) for part in direction))


def _find_meshes(links: dict[str, Element], description: Path) -> None:
    for name, link in links.items():
        for mesh in link.iter("mesh"):
            where = f"{description}: link {name}"
            path = find_mesh(mesh.get("filename", ""), description, where)
            require_mesh(path, numbers_of(mesh.get("scale", "")), where)
            mesh.set("filename", str(path))


def _rename_world(links: dict[str, Element], joints: dict[str, Element], origin: str) -> None:
    if "world" not in links:
        return
    if WORLD_LINK in links:
        raise UserError(f"{origin}: link world would be called {WORLD_LINK}, and there is such a link")
    links["world"].set("name", WORLD_LINK)
    for joint in joints.values():
        for end in (joint.find("parent"), joint.find("child")):
            if end is not None and end.get("link") == "world":
                end.set("link", WORLD_LINK)
