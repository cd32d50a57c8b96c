"""Descriptions as people bring them, one of each kind, and the command that imports them."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import cyclopts

from robot_wm import cli
from robot_wm_sim.importing.command import app

INERTIAL = (
    '<inertial><mass value="MASS"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>'
)
MIMIC = '<mimic joint="left_finger"/>'
LIMIT = '<limit lower="LOW" upper="HIGH" effort="40" velocity="4"/>'


def link(name: str, shape: str = '<box size="0.05 0.05 0.05"/>', mass: float = 0.5, origin: str = "0 0 0") -> str:
    collision = f'<collision><origin xyz="{origin}"/><geometry>{shape}</geometry></collision>' if shape else ""
    return f'<link name="{name}">{INERTIAL.replace("MASS", str(mass)) if mass else ""}{collision}</link>'


def hinge(
    name: str, parent: str, child: str, xyz: str = "0 0 0.2", axis: str = "0 1 0", low: float = -2.0, high: float = 2.0
) -> str:
    inside = LIMIT.replace("LOW", str(low)).replace("HIGH", str(high))
    return joint(name, parent, child, "revolute", xyz, axis, inside)


def joint(name: str, parent: str, child: str, kind: str, xyz: str = "0 0 0", axis: str = "0 1 0", inside: str = ""):
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}"/><axis xyz="{axis}"/>{inside}</joint>'
    )


def arm() -> list[str]:
    """Three hinges, the last of which cannot be at 0, a flange, and a gripper whose second finger mimics the first."""
    slide = '<limit lower="0" upper="0.04" effort="20" velocity="0.2"/>'
    return [
        link("base", mass=0.0),
        *(link(name) for name in ("shoulder", "upper", "fore", "left", "right")),
        link("tool0", shape="", mass=0.0),
        hinge("pan", "base", "shoulder", axis="0 0 1"),
        hinge("lift", "shoulder", "upper"),
        hinge("elbow", "upper", "fore", low=0.5, high=2.5),
        joint("flange", "fore", "tool0", "fixed", "0 0 0.1"),
        joint("left_finger", "fore", "left", "prismatic", "0 0.03 0.1", inside=slide),
        joint(
            "right_finger",
            "fore",
            "right",
            "prismatic",
            "0 -0.03 0.1",
            "0 -1 0",
            slide + '<mimic joint="left_finger"/>',
        ),
    ]


def car() -> list[str]:
    """Two wheels a side, without a word about their motors, and a caster."""
    wheel = '<sphere radius="0.1"/>'
    places = {
        "front_left": "0.2 0.2 0",
        "front_right": "0.2 -0.2 0",
        "back_left": "-0.2 0.2 0",
        "back_right": "-0.2 -0.2 0",
    }
    parts = [link("base", '<box size="0.5 0.3 0.1"/>', mass=5.0), link("ball", '<sphere radius="0.02"/>', mass=0.1)]
    for name, place in places.items():
        parts += [link(name, wheel), joint(f"{name}_wheel", "base", name, "continuous", place)]
    return [*parts, joint("caster", "base", "ball", "continuous", "0 0 -0.08", "0 0 1")]


def dog() -> list[str]:
    """Four legs of two hinges."""
    parts = [link("trunk", '<box size="0.4 0.2 0.1"/>', mass=6.0)]
    for name, place in {"fl": "0.2 0.1 0", "fr": "0.2 -0.1 0", "bl": "-0.2 0.1 0", "br": "-0.2 -0.1 0"}.items():
        parts += [
            link(f"{name}_thigh", origin="0 0 -0.1"),
            link(f"{name}_shin", '<sphere radius="0.02"/>', origin="0 0 -0.2", mass=0.1),
            hinge(f"{name}_hip", "trunk", f"{name}_thigh", place),
            hinge(f"{name}_knee", f"{name}_thigh", f"{name}_shin", "0 0 -0.2", low=-2.0, high=-0.2),
        ]
    return parts


def slider() -> list[str]:
    """A cart on a rail: neither of the others."""
    slide = '<limit lower="-1" upper="1" effort="20" velocity="2"/>'
    return [
        link("rail", mass=0.0),
        link("cart"),
        joint("slide", "rail", "cart", "prismatic", "0 0 0.5", "1 0 0", slide),
    ]


def written(folder: Path, parts: list[str], name: str = "bot", file_name: str = "bot.urdf") -> Path:
    path = folder / file_name
    path.write_text(f'<?xml version="1.0"?><robot name="{name}">{"".join(parts)}</robot>', encoding="utf-8")
    return path


def run_import(*arguments: object) -> int:
    """Exit code of ``robot-wm robot import …``; a checkout's entry points may be older than its commands."""
    robot_wm = cyclopts.App(name="robot-wm", result_action="return_value", help_format="plaintext")
    robot_wm.command(app)
    with patch.object(cli, "build_app", lambda: robot_wm):
        return cli.run(["robot", "import", *map(str, arguments)])
