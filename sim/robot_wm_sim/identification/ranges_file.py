"""What was identified as ranges of `robot_wm_sim.randomisation`: around each estimate as wide as it is unsure.

A range of friction, damping or armature holds the estimates of all joints, whose worlds have one share of the effort
limit; encoders' zeros go by joint. What the log does not tell is as another randomisation has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_wm.atomic import atomic_file
from robot_wm.yaml_file import write_yaml
from robot_wm_sim.identification.identify import Estimate, Identified
from robot_wm_sim.randomisation.ranges import BOUNDS, Randomisation
from robot_wm_sim.robot import Robot

DEVIATIONS = 3.0  # on either side of an estimate


@dataclass(frozen=True)
class _Quantity:
    """Of the randomisation, and what of ours it is."""

    name: str
    kind: str
    least: float  # half width at least, in the quantity's unit
    least_share: float  # or this share of the estimate: a motor that warms up is not the same an hour later


_QUANTITIES = (
    _Quantity("armature_s2", "armature", 0.0, 0.1),
    _Quantity("joint_damping_s", "damping", 0.0, 0.1),
    _Quantity("joint_friction", "friction", 0.0, 0.1),
    _Quantity("motor_strength", "strength", 0.02, 0.0),
    _Quantity("action_latency_s", "delay", 0.002, 0.0),
)


_ZERO = _Quantity("joint_offset_rad", "bias", 0.002, 0.0)


def ranges(found: Identified, robot: Robot, over: Randomisation) -> dict[str, Any]:
    """The file's content, with all that ``over`` has of other quantities."""
    body = over.model_dump(mode="json", exclude_defaults=True)
    skipped = set(body.pop("skip_where_impossible", []))
    body = {name: plain(value) for name, value in body.items()}
    for quantity in _QUANTITIES:
        own = [one for one in found.estimates if one.parameter.kind == quantity.kind and one.is_informed]
        if own:
            body[quantity.name] = _ends(quantity, own, robot)
            skipped |= {quantity.name} & {"armature_s2"}  # PyBullet's joints know of no motor's inertia
    zeros = [one for one in found.estimates if one.parameter.kind == "bias" and one.parameter.unit == "rad"]
    if any(one.is_informed for one in zeros):
        body[_ZERO.name] = {one.parameter.joint: _ends(_ZERO, [one], robot) for one in zeros if one.is_informed}
    if skipped:
        body["skip_where_impossible"] = sorted(skipped)
    return body


def write_ranges(path: Path, found: Identified, robot: Robot, over: Randomisation, *, told: str) -> None:
    """Write the file, with a line of where it comes from."""
    with atomic_file(path) as temporary:
        temporary.write_text(f"# {told}\n{write_yaml(ranges(found, robot, over))}")


def _ends(quantity: _Quantity, estimates: Sequence[Estimate], robot: Robot) -> list[float]:
    """Low and high around all of them."""
    told = [_scaled(quantity.name, one, robot) for one in estimates]
    halves = [max(DEVIATIONS * sure, quantity.least, quantity.least_share * abs(value)) for value, sure in told]
    bounds = BOUNDS[quantity.name]
    both = list(zip(told, halves, strict=True))
    low = min(value - half for (value, _), half in both)
    high = max(value + half for (value, _), half in both)
    return [float(f"{min(max(end, bounds.low), bounds.high):.4g}") for end in (low, high)]


def _scaled(name: str, estimate: Estimate, robot: Robot) -> tuple[float, float]:
    """Value and deviation in the quantity's unit."""
    value, deviation = estimate.value, estimate.deviation
    if name not in ("armature_s2", "joint_damping_s", "joint_friction"):
        return value, deviation
    motor = robot.joint(estimate.parameter.joint)
    effort = motor.limits.effort or 1.0
    built = {"joint_damping_s": motor.damping, "joint_friction": motor.friction}.get(name, 0.0)  # ranges add to it
    return (value - built) / effort, deviation / effort


def plain(value: Any) -> Any:
    """Of pydantic's dump of a Randomisation what its file has: ranges as they are written."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if not all(isinstance(one, bool | int | float) for one in value):
        return value
    low, high, log = value
    return {"log": [low, high]} if log else [low, high]
