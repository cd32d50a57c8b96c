"""What of a Randomisation a world can have."""

from __future__ import annotations

from robot_wm.errors import UserError
from robot_wm_sim.backend import PhysicsBackend
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.randomisation.draw import AXES, PUSH, TERRAIN, TERRAIN_HEIGHT, Draw, Parts
from robot_wm_sim.randomisation.ranges import BOUNDS, Randomisation

_NEEDS_FREE_BASE = ("base_mass_scale", "com_offset_m", "push_speed_m_s")


def impossible(randomisation: Randomisation, sim: PhysicsBackend, parts: Parts) -> frozenset[str]:
    """Quantities to leave out here, as the file says; UserError for one of which it does not say so.

    The world is asked itself, with a small change of each, and is left as it was.
    """
    found: set[str] = set()
    before = sim.dynamics
    for quantity in BOUNDS:
        if not getattr(randomisation, quantity):
            continue
        problem = _problem(quantity, sim, parts)
        if not problem:
            continue
        if quantity not in randomisation.skip_where_impossible:
            raise UserError(
                f"{randomisation.origin}: {quantity}: {problem}; name it under skip_where_impossible to go without"
            )
        found.add(quantity)
    sim.vary(before)
    if "push_speed_m_s" in found:
        found.update(PUSH)
    if TERRAIN_HEIGHT in found:
        found.update(TERRAIN)
    return frozenset(found)


def _problem(quantity: str, sim: PhysicsBackend, parts: Parts) -> str:
    """Why the world cannot have it, empty where it can."""
    if quantity in _NEEDS_FREE_BASE and parts.base is None:
        return f"robot {sim.scene.robot.name} has a fixed base"
    names = [f"{quantity}/{axis}" for axis in AXES] if quantity == "com_offset_m" else [quantity]
    asked = Draw(dict.fromkeys(names, 1e-3 if quantity not in ("mass_scale", "base_mass_scale") else 1.0))
    dynamics = asked.dynamics(parts)
    if dynamics == Dynamics():
        return ""
    try:
        sim.vary(dynamics)
    except UserError as error:
        return str(error).removeprefix("dynamics: ")
    return ""
