"""Small descriptions for tests, and robots and engines made of them."""

from __future__ import annotations

from pathlib import Path

from robot_wm.spec import JointLimits
from robot_wm_sim.backend import load_backend
from robot_wm_sim.robot import Joint, Robot
from robot_wm_sim.scene import Scene

ENGINES = ("pybullet", "mujoco")
INERTIA = '<inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/>'
INERTIAL = f'<inertial><mass value="1"/>{INERTIA}</inertial>'
BOX = '<collision><geometry><box size="0.1 0.1 0.1"/></geometry></collision>'
LIMIT = '<limit lower="-1" upper="1" effort="10" velocity="3"/>'


def link(name: str, inertial: str = INERTIAL, collision: str = BOX) -> str:
    return f'<link name="{name}">{inertial}{collision}</link>'


def joint(name: str, parent: str, child: str, kind: str = "revolute", inside: str = LIMIT, axis: str = "0 1 0") -> str:
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="0 0 0.3"/><axis xyz="{axis}"/>{inside}</joint>'
    )


def written(folder: Path, *parts: str) -> Path:
    path = folder / "r.urdf"
    path.write_text(f'<?xml version="1.0"?><robot name="r">{"".join(parts)}</robot>', encoding="utf-8")
    return path


def robot(path: Path, *joints: str, fixed_base: bool = False, **gains) -> Robot:
    limits = JointLimits(effort=50.0)
    return Robot(
        name="r",
        description=path,
        joints=tuple(Joint(name=name, limits=limits, **({"kp": 20.0, "kd": 0.5} | gains)) for name in joints),
        firmware="f",
        fixed_base=fixed_base,
        base_position=(0.0, 0.0, 1.0),
    )


def build(engine: str, built: Robot):
    return load_backend(engine)(Scene(robot=built, physics_rate_hz=500.0))


MESH = '<collision><geometry><mesh filename="NAME"/></geometry></collision>'
A, B, C, J1 = link("a"), link("b"), link("c"), joint("j1", "a", "b")
