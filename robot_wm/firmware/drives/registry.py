"""Which renderer writes for which drive type, and how what it writes gets into the drive."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from robot_wm.firmware.drives.dynamixel import render_dynamixel
from robot_wm.firmware.drives.joint import JointDrive
from robot_wm.firmware.drives.moteus import render_moteus
from robot_wm.firmware.drives.odrive import render_odrive
from robot_wm.firmware.drives.vesc import render_vesc

Renderer = Callable[[str, Sequence[JointDrive]], dict[str, str]]


def render_closed(robot: str, joints: Sequence[JointDrive]) -> dict[str, str]:
    """Nothing: the maker keeps a closed drive's configuration to itself."""
    return {}


# Drive type -> (robot's name, its joints) -> text of each file, by name.
RENDERERS: Mapping[str, Renderer] = MappingProxyType(
    {
        "moteus": render_moteus,
        "odrive": render_odrive,
        "dynamixel": render_dynamixel,
        "vesc": render_vesc,
        "closed": render_closed,
    }
)

HOW_TO_APPLY: Mapping[str, str] = MappingProxyType(
    {
        "moteus": "moteus_tool --target BUS_ID --write-config FILE, after --calibrate (PyPI: moteus)",
        "odrive": "odrivetool restore-config FILE with this drive alone on USB, then calibrate (PyPI: odrive)",
        "dynamixel": "write each row in order (PyPI: dynamixel-sdk); the rows of memory ram again at every start",
        "vesc": "after motor detection: vesc_tool --vescPort PORT --setMcConf MOTOR_XML, then --setAppConf APP_XML",
        "closed": "",
    }
)
