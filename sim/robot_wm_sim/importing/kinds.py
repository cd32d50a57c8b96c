"""What kind of robot a description is of, and what its agent commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from robot_wm.errors import UserError
from robot_wm_sim.importing.ros2_control import DiffDrive
from robot_wm_sim.importing.settings import Kind
from robot_wm_sim.importing.tree import Tree
from robot_wm_sim.urdf_parts import ends, numbers_of

_ARM_JOINTS = 3  # a chain of fewer is no arm by itself
_LEG_JOINTS = 2
_BELOW = 0.5  # of how far feet are, the share that is downwards
_ODD_SHARE = 0.2  # of a wheel separation, between the controller's and the description's
_LEANING = 0.02  # of the feet's distance from each other sideways
_LEVEL_M = 1e-3  # of a wheel beside the middle


@dataclass(frozen=True)
class Plan:
    """What the package's task commands and watches. Names of actions are joints or couplings of joints."""

    kind: Kind
    actions: tuple[str, ...]
    unit: str  # rad or m, of all that is commanded
    couplings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tool: str = ""  # link, of an arm
    drives: tuple[str, ...] = ()  # actions that turn wheels
    steering: tuple[str, ...] = ()  # actions that turn steering hinges
    feet: tuple[str, ...] = ()  # links, of a legged one
    notes: tuple[str, ...] = ()

    def joints_of(self, action: str) -> tuple[str, ...]:
        """The joints that an action moves."""
        return self.couplings.get(action, (action,))


def guess_kind(tree: Tree) -> tuple[Kind, str]:
    """The kind, and what speaks for it."""
    chain, _ = tree.chain()
    wheels, limbs = tree.wheels(), tree.limbs()
    legs = [limb for limb in limbs if len(limb) >= _LEG_JOINTS]
    if len(chain) >= _ARM_JOINTS:
        return "arm", f"one chain of {len(chain)} driven joints"
    if len(wheels) >= 2:
        return "wheeled", f"{len(wheels)} wheels ({', '.join(wheels)})"
    if len(legs) >= 2 and tree.base != "world":
        return "legged", f"{len(legs)} limbs of {_LEG_JOINTS} or more driven joints"
    return "empty", "neither an arm's chain, nor wheels, nor legs"


def plan(tree: Tree, kind: Kind, commanded: Sequence[str], *, origin: str) -> Plan:
    """What an agent of that kind commands: ``commanded`` where it is not empty. UserError where there is nothing."""
    if commanded:
        for name in commanded:
            if name in tree.joints and not tree.is_driven(name):
                raise UserError(f"{origin}: joint {name} is commanded, but nothing drives it")
    build = {"arm": _arm, "wheeled": _wheeled, "legged": _legged, "empty": _empty}[kind]
    return build(tree, tuple(commanded), origin)


def _arm(tree: Tree, commanded: tuple[str, ...], origin: str) -> Plan:
    chain, tool = tree.chain()
    chosen = commanded or chain
    if not chosen:
        raise UserError(f"{origin}: --kind arm: no driven joint before motors branch off at link {tool}")
    actions, unit, notes = _of_one_unit(tree, chosen, origin, must=bool(commanded))
    return Plan("arm", actions, unit, tool=tool, notes=(f"the tool is link {tool}", *notes))


def _wheeled(tree: Tree, commanded: tuple[str, ...], origin: str) -> Plan:
    wheels = tuple(name for name in tree.wheels() if not commanded or name in commanded)
    if not wheels:
        raise UserError(f"{origin}: --kind wheeled: no driven joint turns without end about a level axis")
    hinges = tuple(name for name in tree.steering(wheels) if not commanded or name in commanded)
    if commanded:
        others = tuple(name for name in commanded if name not in (*wheels, *hinges))
        actions, unit, notes = _of_one_unit(tree, commanded, origin, must=True)
        notes += (f"{', '.join(others)}: neither a wheel nor steering",) if others else ()
        return Plan("wheeled", actions, unit, drives=wheels, steering=(*hinges, *others), notes=notes)
    couplings = _coupled(tree, wheels, together=bool(hinges))
    drives = tuple(couplings) or wheels
    steering = ("steering",) if len(hinges) > 1 else hinges
    couplings |= {"steering": hinges} if len(hinges) > 1 else {}
    notes = tuple(f"{name} turns {', '.join(members)}" for name, members in couplings.items())
    return Plan("wheeled", (*drives, *steering), "rad", couplings, drives=drives, steering=steering, notes=notes)


def plan_base(tree: Tree, base: DiffDrive, *, origin: str) -> Plan:
    """A speed of each side, which a node makes the twist of that a diff_drive_controller takes.

    UserError for a wheel that nothing drives or that slides.
    """
    couplings = {"left_wheels": base.left, "right_wheels": base.right}
    for name in (*base.left, *base.right):
        if not tree.is_driven(name) or tree.joints[name].unit != "rad":
            raise UserError(f"{origin}: joint {name} is a wheel of the diff_drive_controller, but no motor turns it")
    if taken := [name for name in couplings if name in tree.elements]:
        raise UserError(f"{origin}: a joint is called {taken[0]}, as the speed of all wheels of that side: rename it")
    left, right = (float(np.mean([tree.places[name][1, 3] for name in side])) for side in (base.left, base.right))
    notes = [f"{name} turns {', '.join(members)}" for name, members in couplings.items()]
    notes.append(
        f"on the robot: command_type twist_stamped, wheel_radius {base.wheel_radius_m:g}, wheel_separation"
        f" {base.wheel_separation_m:g}"
    )
    if abs(left - right - base.wheel_separation_m) > _ODD_SHARE * base.wheel_separation_m:
        notes.append(
            f"wheel_separation is {base.wheel_separation_m:g} m, but here the left wheels are {left - right:.3g} m to"
            " the left of the right ones: which is the robot's?"
        )
    drives = tuple(couplings)
    return Plan("wheeled", drives, "rad", couplings, drives=drives, notes=tuple(notes))


def _coupled(tree: Tree, wheels: tuple[str, ...], *, together: bool) -> dict[str, tuple[str, ...]]:
    """Wheels that turn as one: all of a car with steering, else those of a side, if they turn the same way."""
    side = {name: float(tree.places[name][1, 3]) for name in wheels}
    groups = {
        "left_wheels": tuple(name for name in wheels if side[name] > _LEVEL_M),
        "right_wheels": tuple(name for name in wheels if side[name] < -_LEVEL_M),
    }
    if together:
        groups = {"drive": wheels}
    turns_alike = all(len({tree.axis(name)[1] > 0 for name in members}) == 1 for members in groups.values())
    is_whole = sum(map(len, groups.values())) == len(wheels)
    names_free = not any(name in tree.elements for name in groups)
    worth = any(len(members) > 1 for members in groups.values())
    return groups if turns_alike and is_whole and names_free and worth else {}


def _legged(tree: Tree, commanded: tuple[str, ...], origin: str) -> Plan:
    limbs = [limb for limb in tree.limbs() if len(limb) >= _LEG_JOINTS]
    if len(limbs) < 2:
        raise UserError(
            f"{origin}: --kind legged: {len(limbs)} limbs of {_LEG_JOINTS} or more driven joints; two at least"
        )
    chosen = commanded or tuple(name for limb in limbs for name in limb)
    actions, unit, notes = _of_one_unit(tree, chosen, origin, must=bool(commanded))
    feet = tuple(tree.foot(limb) for limb in limbs)
    notes = (f"the feet are {', '.join(feet)}", *_odd_upright(tree, feet), *_lopsided(tree, feet), *notes)
    return Plan("legged", actions, unit, feet=feet, notes=notes)


def _odd_upright(tree: Tree, feet: tuple[str, ...]) -> Iterator[str]:
    """A line where the feet do not hang below the base, with all joints at zero: some descriptions have y upwards."""
    hung = {ends(joint)[1]: tree.places[name][:3, 3] for name, joint in tree.elements.items()}
    middle = np.mean([hung[foot] for foot in feet], axis=0)
    if middle[2] > -_BELOW * float(np.linalg.norm(middle)):
        where = ", ".join(f"{value:.2g}" for value in middle)
        yield f"the feet are not below the base but at ({where}) m of it: is its z axis up, as REP 103 has it?"


def _lopsided(tree: Tree, feet: tuple[str, ...]) -> Iterator[str]:
    """A line where the robot leans to a side, with all joints at zero: a leg may have been copied without mirroring."""
    hung = {ends(joint)[1]: tree.places[name] for name, joint in tree.elements.items()}
    masses, sides = [], []  # kg, and m to the left
    for name, link in tree.links.items():
        inertial = link.find("inertial")
        mass = None if inertial is None else inertial.find("mass")
        if inertial is None or mass is None:
            continue
        origin = inertial.find("origin")
        centre = numbers_of("0 0 0" if origin is None else origin.get("xyz", "0 0 0"))
        place = hung.get(name, np.eye(4)) @ (*centre, 1.0)
        masses.append(numbers_of(mass.get("value", "0"))[0])
        sides.append(float(place[1]))
    across = [float(hung[foot][1, 3]) for foot in feet]
    if not sum(masses) > 0.0:
        return
    left_m = float(np.average(sides, weights=masses)) - float(np.mean(across))
    if abs(left_m) > _LEANING * (max(across) - min(across)) > 0.0:
        yield (
            f"the centre of mass is {abs(left_m) * 1e3:.2g} mm to the {'left' if left_m > 0 else 'right'} of the middle"
            " of the feet: are the masses of one side's legs those of the other, not mirrored?"
        )


def _empty(tree: Tree, commanded: tuple[str, ...], origin: str) -> Plan:
    chosen = commanded or tuple(name for name in tree.joints if tree.is_driven(name))
    actions, unit, notes = _of_one_unit(tree, chosen, origin, must=bool(commanded))
    return Plan("empty", actions, unit, notes=notes)


def _of_one_unit(
    tree: Tree, chosen: tuple[str, ...], origin: str, *, must: bool
) -> tuple[tuple[str, ...], str, tuple[str, ...]]:
    """Those of the commoner unit, since an agent's command has one; UserError where all ``must`` be commanded."""
    units = [tree.joints[name].unit for name in chosen]
    unit = max(("rad", "m"), key=units.count)
    others = [name for name, of in zip(chosen, units, strict=True) if of != unit]
    if others and must:
        other = tree.joints[others[0]]
        raise UserError(
            f"{origin}: joint {other.name} moves in {other.unit}, others in {unit}; an agent commands one unit"
        )
    notes = (f"{', '.join(others)}: held at home, an agent commands one unit, {unit}",) if others else ()
    return tuple(name for name, of in zip(chosen, units, strict=True) if of == unit), unit, notes
