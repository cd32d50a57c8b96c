"""A package of files for an imported robot: filled templates, checked against each other before anybody sees them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm.firmware.loading import parse
from robot_wm.firmware.rendered import fill_template
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm_sim.importing.gains import (
    LEG_DAMPING_S,
    LEG_ERROR_RAD,
    LEG_STIFFNESS,
    SHARES,
    STIFFEST_LEG_RAD_S,
    STIFFEST_RAD_S,
    rounded,
)
from robot_wm_sim.importing.imported import Imported
from robot_wm_sim.importing.joints import MovingJoint
from robot_wm_sim.importing.legs import legs_of
from robot_wm_sim.importing.measure import Measured
from robot_wm_sim.importing.names import class_name
from robot_wm_sim.importing.rates import control_rate_hz, physics_rate_hz, timeout
from robot_wm_sim.importing.ros2_control import Controllers, Interface
from robot_wm_sim.importing.settings import Kind
from robot_wm_sim.robot import Robot

_TEMPLATES = "robot_wm_sim.importing"
_MODES: dict[Kind, Interface] = {"arm": "velocity", "wheeled": "velocity", "legged": "position", "empty": "position"}
_STEPS: dict[Kind, int] = {"arm": 100, "wheeled": 200, "legged": 1000, "empty": 200}
_SUMMARIES: dict[Kind, str] = {
    "arm": "Bring the tool of {} to a target point",
    "wheeled": "Drive {} to a point on the ground",
    "legged": "Walk {} at commanded speeds",
    "empty": "Bring {} home and hold it there",
}
_SPREAD_SHARE, _SPREAD_RAD = 0.3, 1.0  # of a range; of a joint without stops
_LEG_UNIT_RAD, _LEG_SHARE = 0.25, 0.15  # legged_gym's, and at most that share of a range
_ROLL_SHARE = 0.5  # legged_gym's, of hinges that swing a leg sideways
_ALONG = 0.7  # least |cosine| of their axis with the base's x axis
_SHIN_CLEAR_M = 0.01  # over the sole at home: a shin that is lower touches the ground with it
_START_CLEAR = 0.02  # of a leg, over the ground when an episode starts
_CALM = 1.0  # rad/s, m/s
_STEERING_RAD_S = 2.0
_EFFORT_SHARE = 0.3
_LEAST_BOX_M = 0.05  # a side of a workspace, however flat it is


def write_files(
    folder: Path, imported: Imported, robot: Robot, task: str, controllers: Controllers | None
) -> dict[str, Any]:
    """Fill every template below ``folder``, where the description is already; returns the values that were filled in.

    Raises UserError for a robot that firmware cannot name or bound.
    """
    values = template_values(imported, robot, task, controllers)
    name = robot.name
    package = f"src/{name}"
    places = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "__init__.py": f"{package}/__init__.py",
        "robot.py": f"{package}/robot.py",
        f"task_{imported.plan.kind}.py": f"{package}/task.py",
        "firmware.yaml": f"{package}/firmware.yaml",
        "test_task.py": f"tests/test_{task}.py",
    }
    for template, place in places.items():
        text = fill_template(template, _TEMPLATES, **values)
        if template == "firmware.yaml":
            _require_firmware(text, imported)
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return values


def _require_firmware(text: str, imported: Imported) -> None:
    try:
        parse(text, RobotConfig, origin=f"{imported.source}: as firmware")
    except UserError as error:
        raise UserError(f"{error}; change it in the file, or by --effort or --velocity JOINT=VALUE") from None


def template_values(imported: Imported, robot: Robot, task: str, controllers: Controllers | None) -> dict[str, Any]:
    """What the templates name."""
    plan, kind = imported.plan, imported.plan.kind
    mode = controllers.interface if controllers else _MODES[kind]
    if kind == "wheeled" and mode == "position":
        raise UserError(
            f"{imported.source}: wheels are not commanded by position, as {controllers and controllers.controller} does"
        )
    rate = control_rate_hz(kind, controllers.update_rate_hz if controllers else None)
    timeout_s, periods = timeout(rate)
    measured = Measured(robot)
    size_m = measured.extent_m()
    members = [imported.tree.joints[plan.joints_of(action)[0]] for action in plan.actions]
    spread = [_spread(joint) for joint in members]
    scale = [
        _scale(action, joint, mode, imported, measured) for action, joint in zip(plan.actions, members, strict=True)
    ]
    effort_unit = members[0].effort_unit
    return {
        "name": robot.name,
        "distribution": robot.name.replace("_", "-"),
        "firmware": robot.firmware,
        "source": imported.source.name,
        "source_yaml": "".join(char for char in imported.source.name if char.isalnum() or char in "._-"),
        "kind": kind,
        "article": "an" if kind in ("arm", "empty") else "a",
        "reason": imported.reason,
        "notes": imported.notes,
        "fixed": imported.is_fixed,
        "base": imported.tree.base,
        "base_height": robot.base_position[2],
        "share": SHARES[kind],
        "stiffest": f"{STIFFEST_RAD_S:g}",
        "stiffest_leg": f"{STIFFEST_LEG_RAD_S:g}",
        "leg_error": LEG_ERROR_RAD,
        "leg_stiffness": f"{LEG_STIFFNESS:g}",
        "leg_damping": LEG_DAMPING_S,
        "joints": [_joint_values(joint, robot) for joint in imported.motors],
        "actions": plan.actions,
        "couplings": plan.couplings,
        "drives": plan.drives,
        "steering": plan.steering,
        "tool": plan.tool,
        "controller": controllers.controller if controllers else "",
        "update_rate": f"{controllers.update_rate_hz:g}" if controllers else "",
        "has_velocities": controllers is None or controllers.has_velocities,
        "mode": mode,
        "unit": plan.unit,
        "effort_unit": effort_unit,
        "action_unit": {"position": plan.unit, "velocity": f"{plan.unit}/s", "effort": effort_unit}[mode],
        "scale": scale,
        "spread": spread,
        "spread_text": _spread_text(kind),
        "rate": rate,
        "physics_rate": physics_rate_hz(rate),
        "max_age": rounded(3.0 / rate),
        "timeout": rounded(timeout_s),
        "timeout_periods": periods,
        "task": task,
        "class_name": class_name(task),
        "step_limit": _STEPS[kind],
        "summary": _SUMMARIES[kind].format(robot.name),
        "eye": tuple(rounded(way * size_m) for way in (1.8, -1.6, 1.2)),
        "target": (0.0, 0.0, rounded(0.4 * size_m)),
        **_places(imported, measured, spread, size_m),
    }


def _joint_values(joint: MovingJoint, robot: Robot) -> Mapping[str, Any]:
    built = robot.joint(joint.name)
    return {
        "name": joint.name,
        "unit": joint.unit,
        "effort_unit": joint.effort_unit,
        "mimics": joint.mimics,
        "settings": joint.settings,
        "home": built.home,
        "kp": built.kp,
        "kd": built.kd,
        "position": joint.position,
        "velocity": joint.velocity,
        "effort": joint.effort,
    }


def _spread(joint: MovingJoint) -> float:
    return rounded(_SPREAD_RAD if joint.range is None else _SPREAD_SHARE * joint.range)


def _spread_text(kind: Kind) -> str:
    if kind == "legged":
        return f"{_LEG_UNIT_RAD} rad, half of it where it swings a leg sideways, at most {_LEG_SHARE} of the range"
    return f"{_SPREAD_SHARE} of the range, {_SPREAD_RAD:g} where there is none"


def _scale(action: str, joint: MovingJoint, mode: Interface, imported: Imported, measured: Measured) -> float:
    """The SI value of one policy unit of an action."""
    plan, velocity, effort = imported.plan, joint.velocity or _CALM, joint.effort or 0.0
    is_wheel = action in plan.drives
    if mode == "effort":
        return rounded(effort if is_wheel else _EFFORT_SHARE * effort)
    if mode == "position":
        if plan.kind == "legged":
            is_roll = abs(float(imported.tree.axis(joint.name)[0])) > _ALONG
            unit = _LEG_UNIT_RAD * (_ROLL_SHARE if is_roll else 1.0)
            return rounded(min(unit, _LEG_SHARE * (joint.range or np.inf)))
        return _spread(joint)
    if is_wheel:
        radius_m = measured.height_m(joint.child) - measured.lowest_m(joint.child)
        return rounded(min(velocity, _CALM / radius_m if radius_m > 0.0 else np.inf))
    if plan.kind == "wheeled":
        return rounded(min(velocity, _STEERING_RAD_S))
    return rounded(min(velocity / 2.0, _CALM))


def _legs(imported: Imported, measured: Measured) -> dict[str, Any]:
    """What `robot_wm_sim.legged.body.Legged` wants to know: m and kg."""
    legs = list(legs_of(imported.tree, imported.plan.feet, measured))
    feet = {leg.foot.link for leg in legs}
    members = [imported.tree.joints[name].child for limb in imported.tree.limbs() for name in limb]
    hinged = {hinge.child for leg in legs for hinge in leg.hinges}
    limbs = [link for link in members if link in hinged and link not in feet]
    ground_m = min(measured.lowest_m(foot) for foot in feet)
    clear = {link for link in members if measured.lowest_m(link) > ground_m + _SHIN_CLEAR_M}
    hung = [link for link in limbs if link in clear]
    sides = [link for link in members if link not in hinged and link not in feet and link in clear]
    leg_m = max(leg.length_m for leg in legs)
    return {
        "feet": [leg.foot.link for leg in legs],
        "foot_centres": [tuple(round(float(value), 4) for value in leg.foot.centre) for leg in legs],
        "limbs": hung,
        "sides": sides,
        "shins_stand": len(hung) < len(limbs),
        "sole": rounded(max(leg.foot.radius_m for leg in legs)),
        "mass": round(measured.mass_kg(), 3),
        "leg": rounded(leg_m),
        "start_height": round(_START_CLEAR * leg_m - measured.lowest_at_m(0.5), 3),
    }


def _places(imported: Imported, measured: Measured, spread: list[float], size_m: float) -> dict[str, Any]:
    """Where an arm's targets, or a vehicle's goals, are, and what a legged robot stands on: m."""
    plan = imported.plan
    if plan.kind == "wheeled":
        return {
            "near": rounded(1.5 * size_m),
            "far": rounded(max(3.0, 4.0 * size_m)),
            "success": rounded(max(size_m / 2.0, 0.2)),
        }
    if plan.kind == "legged":
        return _legs(imported, measured)
    if plan.kind != "arm":
        return {}
    places = measured.workspace(plan.tool, plan.actions, np.array(spread))
    low, high = places.min(axis=0), places.max(axis=0)
    middle = (low + high) / 2.0
    half = np.maximum((high - low) / 2.0, _LEAST_BOX_M / 2.0)
    reach_m = float(np.linalg.norm(places, axis=1).max())
    return {
        "target_low": tuple(rounded(float(value)) for value in middle - half),
        "target_high": tuple(rounded(float(value)) for value in middle + half),
        "success": rounded(reach_m / 20.0),
        "halved": rounded(reach_m / 5.0),
    }
