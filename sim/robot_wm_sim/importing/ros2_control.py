"""What a ros2_control controllers.yaml says of a robot: who commands which joints, in which order and how, how often.

Read are the controller manager's ``update_rate`` and, of the controllers below, type and joints:

=========================================  ================================================================
joint_trajectory_controller                ``joints``; ``command_interfaces``, of which the first that agents know
forward_command_controller                 ``joints``; ``interface_name``
position_, velocity_, effort_controllers   ``joints`` of the JointGroup controllers; the interface is in the name
diff_drive_controller                      ``left_wheel_names``, ``right_wheel_names``, ``wheel_radius``,
                                           ``wheel_separation``: the agent commands a speed of each side
joint_state_broadcaster                    ``joints`` and ``interfaces``, where it is told what to publish
=========================================  ================================================================

An agent commands by one controller: the one with most joints, unless it is named. Namespaces (``/**``,
``/arm/controller_manager``) are seen through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robot_wm.errors import UserError
from robot_wm.yaml_file import read_mapping

Interface = Literal["position", "velocity", "effort"]
_INTERFACES: tuple[Interface, ...] = ("position", "velocity", "effort")
_GROUPS: dict[str, Interface] = {
    "position_controllers/JointGroupPositionController": "position",
    "velocity_controllers/JointGroupVelocityController": "velocity",
    "effort_controllers/JointGroupEffortController": "effort",
}
_TRAJECTORY = "joint_trajectory_controller/JointTrajectoryController"
_FORWARD = "forward_command_controller/ForwardCommandController"
_DIFF_DRIVE = "diff_drive_controller/DiffDriveController"
_BROADCASTER = "joint_state_broadcaster/JointStateBroadcaster"
_MANAGER = "controller_manager"
_LARGEST_M = 100.0
_SLOWEST_HZ, _FASTEST_HZ = 10.0, 5000.0


@dataclass(frozen=True)
class DiffDrive:
    """A base that a diff_drive_controller turns by its wheels' speeds."""

    left: tuple[str, ...]  # joints
    right: tuple[str, ...]
    wheel_radius_m: float
    wheel_separation_m: float


@dataclass(frozen=True)
class Controllers:
    """One controller of the file, and what is around it."""

    controller: str
    joints: tuple[str, ...]  # in its order
    interface: Interface
    update_rate_hz: float
    has_velocities: bool  # whether joint_states tell the joints' speeds
    passed_over: tuple[str, ...]  # other controllers, with their types
    base: DiffDrive | None = None  # of a diff_drive_controller


def read_controllers(path: Path, wanted: str = "") -> Controllers:
    """The file at ``path``; UserError naming file, controller, key and value for one that says too little."""
    sections = dict(_sections(read_mapping(path), ""))
    manager = sections.get(_MANAGER)
    if manager is None:
        raise UserError(f"{path}: no {_MANAGER} with ros__parameters")
    rate = manager.get("update_rate")
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not _SLOWEST_HZ <= rate <= _FASTEST_HZ:
        raise UserError(
            f"{path}: {_MANAGER}.update_rate is {rate!r}, Hz; {_SLOWEST_HZ:g} to {_FASTEST_HZ:g} are needed"
        )
    types = {name: body["type"] for name, body in manager.items() if isinstance(body, dict) and "type" in body}
    usable = {name: _commands(name, kind, sections, path) for name, kind in types.items() if _takes_commands(kind)}
    if not usable:
        known = ", ".join([_TRAJECTORY, _FORWARD, *_GROUPS, _DIFF_DRIVE])
        raise UserError(f"{path}: no controller that takes joints' commands ({known}); it has {types or 'none'}")
    if wanted and wanted not in usable:
        raise UserError(f"--controller {wanted}: {path} has {', '.join(usable)}")
    chosen = wanted or max(usable, key=lambda name: len(usable[name][0]))
    joints, interface = usable[chosen]
    told, interfaces = _published(types, sections, path)
    if told and (missing := [name for name in joints if name not in told]):
        raise UserError(
            f"{path}: joint {missing[0]} is commanded by {chosen}, but no joint_state_broadcaster tells of it"
        )
    others = tuple(f"{name} ({kind})" for name, kind in types.items() if name != chosen and kind != _BROADCASTER)
    has_velocities = not interfaces or "velocity" in interfaces
    base = _base(chosen, sections.get(chosen, {}), path) if types[chosen] == _DIFF_DRIVE else None
    return Controllers(chosen, joints, interface, float(rate), has_velocities, others, base)


def _sections(body: Mapping[str, Any], below: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every node's parameters by the last part of its name."""
    for key, value in body.items():
        if key == "ros__parameters" and isinstance(value, dict):
            yield below, value
        elif isinstance(value, dict):
            yield from _sections(value, str(key).rstrip("/").rsplit("/", 1)[-1])


def _takes_commands(kind: object) -> bool:
    return kind in (_TRAJECTORY, _FORWARD, _DIFF_DRIVE, *_GROUPS)


def _commands(
    name: str, kind: str, sections: Mapping[str, Mapping[str, Any]], path: Path
) -> tuple[tuple[str, ...], Interface]:
    """Joints and interface of a controller."""
    body = sections.get(name, {})
    if kind == _DIFF_DRIVE:
        base = _base(name, body, path)
        return (*base.left, *base.right), "velocity"
    joints = _names(body, "joints", f"{path}: {name}")
    if not joints or len(set(joints)) < len(joints):
        raise UserError(f"{path}: {name}.joints is {list(joints)}; names of joints, each once, are needed")
    if kind in _GROUPS:
        return joints, _GROUPS[kind]
    key = "command_interfaces" if kind == _TRAJECTORY else "interface_name"
    stated = _names(body, key, f"{path}: {name}") if kind == _TRAJECTORY else (str(body.get(key, "")),)
    found = next((one for one in _INTERFACES if one in stated), None)
    if found is None:
        raise UserError(f"{path}: {name}.{key} is {', '.join(stated)!r}; one of {', '.join(_INTERFACES)} is needed")
    return joints, found


def _base(name: str, body: Mapping[str, Any], path: Path) -> DiffDrive:
    """Wheels and sizes of a diff_drive_controller."""
    left, right = (_names(body, f"{side}_wheel_names", f"{path}: {name}") for side in ("left", "right"))
    if not left or len(left) != len(right) or len({*left, *right}) < len(left) + len(right):
        raise UserError(
            f"{path}: {name}: left_wheel_names {list(left)} and right_wheel_names {list(right)}: as many names of"
            " joints on either side, each once, are needed"
        )
    sizes = []
    for key in ("wheel_radius", "wheel_separation"):
        size = body.get(key)
        if not isinstance(size, (int, float)) or isinstance(size, bool) or not 0.0 < size < _LARGEST_M:
            raise UserError(f"{path}: {name}.{key} is {size!r}, m; above 0 and below {_LARGEST_M:g} is needed")
        sizes.append(float(size))
    return DiffDrive(left, right, *sizes)


def _published(
    types: Mapping[str, Any], sections: Mapping[str, Mapping[str, Any]], path: Path
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Joints and interfaces that the broadcaster is told to publish; none where it publishes all there are."""
    name = next((name for name, kind in types.items() if kind == _BROADCASTER), None)
    if name is None:
        return (), ()
    where = f"{path}: {name}"
    joints, interfaces = (_names(sections.get(name, {}), key, where) for key in ("joints", "interfaces"))
    if interfaces and "position" not in interfaces:
        raise UserError(
            f"{where}.interfaces is {', '.join(interfaces)}: without position nobody knows where joints are"
        )
    return joints, interfaces


def _names(body: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    value = body.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise UserError(f"{where}.{key} is {str(value)[:80]!r}; a list of names is needed")
    return tuple(value)
