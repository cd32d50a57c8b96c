"""The moving joints of a description, and what drives them: limits from the file, or from who imports it.

Joints with a motor need an effort and a speed; where the file has none (0 counts as none), or one that is no drive's
(1000 rad/s for "any"), a setting of the import stands in. Nothing is guessed here: a robot that believes in a wrong
torque breaks things.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from xml.etree.ElementTree import Element

from robot_wm.errors import UserError
from robot_wm.firmware.robot_model import LARGEST
from robot_wm_sim.importing.settings import Settings
from robot_wm_sim.robot import Mimic
from robot_wm_sim.urdf_parts import ends, numbers_of

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")  # of a RobotConfig's joints
_MOVING = ("revolute", "prismatic", "continuous")


@dataclass(frozen=True)
class MovingJoint:
    """A joint that moves; ``effort`` and ``velocity`` are None where nothing drives it."""

    name: str
    parent: str  # link
    child: str  # link
    unit: str  # rad or m
    position: tuple[float, float] | None  # rad or m; None: turns without end
    velocity: float | None  # rad/s or m/s
    effort: float | None  # N·m or N
    home: float = 0.0  # rad or m
    mimics: Mimic | None = None  # what it follows; a motor of the simulation's own sees to that
    settings: tuple[str, ...] = field(default=())  # of the import that stand in for the file's

    @property
    def has_motor(self) -> bool:
        """Whether something drives it, in simulation at least."""
        return self.effort is not None

    @property
    def follows(self) -> str:
        """The joint that it mimics; "" if none."""
        return "" if self.mimics is None else self.mimics.joint

    @property
    def range(self) -> float | None:
        """From one stop to the other, rad or m."""
        return None if self.position is None else self.position[1] - self.position[0]

    @property
    def effort_unit(self) -> str:
        """N·m or N."""
        return "N·m" if self.unit == "rad" else "N"


def moving_joints(
    root: Element, mimics: Mapping[str, Mimic], settings: Settings, commanded: Sequence[str], *, origin: str
) -> dict[str, MovingJoint]:
    """Joints by name in the file's order; ``mimics`` says what a joint mimics, where it does.

    ``commanded`` are the joints that a controller commands, none where nothing was said of controllers. Then a joint
    that is not among them and has no stops is driven by nobody: a caster. Raises UserError naming file, joint, value
    and unit, and what mends it.
    """
    elements = {one.get("name", ""): one for one in root.findall("joint") if one.get("type") in _MOVING}
    for setting, named in settings.named_joints():
        if named not in elements:
            raise UserError(f"{setting}: {origin} has no moving joint {named!r}; it has {', '.join(elements)}")
    found = {}
    for name, element in elements.items():
        if not _NAME.fullmatch(name):
            raise UserError(
                f"{origin}: joint {name!r}: drives and firmware know joints by letters, digits and _, a letter first:"
                " rename it in the file (and on the robot)"
            )
        followed = _followed(name, mimics, elements, f"{origin}: joint {name}")
        source = elements[followed.joint if followed else name]
        is_idle = any(
            one.get("name") in settings.passive
            or (bool(commanded) and one.get("name") not in commanded and one.get("type") == "continuous")
            for one in (element, source)  # with a leader that nothing drives nobody drives what mimics it
        )
        found[name] = _moving(element, source, followed, settings, is_idle=is_idle, where=f"{origin}: joint {name}")
    for name, joint in found.items():
        if joint.mimics is not None:
            found[name] = _led_home(joint, found[joint.mimics.joint], f"{origin}: joint {name}")
    if not any(joint.has_motor for joint in found.values()):
        raise UserError(f"{origin}: nothing in it is driven: {len(found)} moving joints, none with a motor")
    return found


def write_limits(root: Element, joints: Mapping[str, MovingJoint]) -> None:
    """Let the description say of each driven joint what the package says, so that limits nest."""
    for element in root.findall("joint"):
        joint = joints.get(element.get("name", ""))
        if joint is None or not joint.has_motor:
            continue
        limit = element.find("limit")
        if limit is None:
            limit = Element("limit")
            element.append(limit)
        limit.set("effort", repr(joint.effort))
        limit.set("velocity", repr(joint.velocity))


def mimics_of(root: Element, origin: str) -> dict[str, Mimic]:
    """Joint -> what it mimics, of a description as it was read. UserError naming the joint for what is no number."""
    found = {}
    for joint in root.findall("joint"):
        for mimic in joint.findall("mimic"):
            name = joint.get("name", "")
            multiplier, offset = (
                _factor(mimic, key, default, f"{origin}: joint {name}")
                for key, default in (("multiplier", "1"), ("offset", "0"))
            )
            found[name] = Mimic(joint=mimic.get("joint", ""), multiplier=multiplier, offset=offset)
    return found


def _factor(mimic: Element, key: str, default: str, where: str) -> float:
    text = mimic.get(key, default)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{where}: <mimic {key}> is {text[:80]!r}, no finite number")
    return value


def _moving(
    element: Element, source: Element, mimics: Mimic | None, settings: Settings, *, is_idle: bool, where: str
) -> MovingJoint:
    """One joint; ``source`` is whose drive moves it: another's where it mimics that."""
    name, kind = element.get("name", ""), element.get("type", "")
    unit = "m" if kind == "prismatic" else "rad"
    limit = element.find("limit")
    if limit is None and kind != "continuous":
        raise UserError(
            f'{where} is {kind} and has no <limit>: give it one, <limit lower="…" upper="…" effort="…" velocity="…"/>'
            f" in {unit}, {'N·m' if unit == 'rad' else 'N'} and {unit}/s, or make it continuous"
        )
    position = None if kind == "continuous" else _position(limit, where, unit)
    effort = velocity = None
    stand_ins: tuple[str, ...] = ()
    if not is_idle:
        effort, is_set = _driven("effort", name, source, settings, unit, where)
        stand_ins += ("effort",) if is_set else ()
        velocity, is_set = _driven("velocity", name, source, settings, unit, where)
        stand_ins += ("velocity",) if is_set else ()
    home = 0.0 if position is None or position[0] <= 0.0 <= position[1] else (position[0] + position[1]) / 2.0
    return MovingJoint(name, *ends(element), unit, position, velocity, effort, home, mimics, stand_ins)


def _led_home(joint: MovingJoint, leader: MovingJoint, where: str) -> MovingJoint:
    """The joint with the home that its leader's puts it to. UserError where its own range has no such place."""
    assert joint.mimics is not None
    home = joint.mimics.at(leader.home)
    if joint.position is not None and not joint.position[0] <= home <= joint.position[1]:
        low, high = joint.position
        raise UserError(
            f"{where}: it mimics {leader.name}, which puts it at {home:g} {joint.unit} at home; its limits are"
            f" {low:g} to {high:g} {joint.unit}: mend <mimic multiplier offset> or the limits"
        )
    return replace(joint, home=home)


def _position(limit: Element | None, where: str, unit: str) -> tuple[float, float]:
    lower, upper = (_number(limit, side) for side in ("lower", "upper"))
    if not lower < upper:
        raise UserError(
            f"{where}: limits {lower:g} to {upper:g} {unit} leave no way to go: mend <limit lower upper>, or make the"
            " joint fixed, or continuous where it turns without end"
        )
    return lower, upper


def _driven(key: str, name: str, element: Element, settings: Settings, unit: str, where: str) -> tuple[float, bool]:
    """An effort or a speed, and whether a setting of the import stands in for the file's."""
    own, for_all = settings.of(key, name)
    units = {"effort": "N·m" if unit == "rad" else "N", "velocity": f"{unit}/s"}
    stated, (largest, *_) = _number(element.find("limit"), key), LARGEST[unit][key]
    if own is None and 0.0 < stated <= largest:
        return stated, False
    chosen = own if own is not None else for_all
    if chosen is None:
        what = f"{stated:g} {units[key]}, beyond the {largest:g} of any drive" if stated else f"not there, {units[key]}"
        raise UserError(
            f"{where}: <limit {key}> is {what}: write it in the file, or pass --{key} {name}=VALUE, or --passive {name}"
            " where nothing drives it"
        )
    if chosen > largest:
        raise UserError(f"--{key} {name}={chosen:g}: beyond {largest:g} {units[key]}, what any drive gives")
    return chosen, True


def _followed(name: str, mimics: Mapping[str, Mimic], elements: Mapping[str, Element], where: str) -> Mimic | None:
    """The joint that drives this one by way of what it mimics, and how far; None if it mimics none."""
    seen: list[str] = []
    found: Mimic | None = None
    while (above := mimics.get(seen[-1] if seen else name)) is not None:
        if above.joint not in elements:
            raise UserError(f"{where}: it mimics joint {above.joint!r}, which is not among the moving ones")
        if above.joint in (name, *seen):
            raise UserError(f"{where}: it mimics {above.joint}, and so on in a ring")
        seen.append(above.joint)
        below = found or Mimic(joint=name)
        found = Mimic(
            joint=above.joint,
            multiplier=below.multiplier * above.multiplier,
            offset=below.multiplier * above.offset + below.offset,
        )
    return found


def _number(limit: Element | None, key: str) -> float:
    """0 where it is left out, as the format has it; `keep_parts` has seen to the rest."""
    found = () if limit is None else numbers_of(limit.get(key, "0"))
    return found[0] if found else 0.0
