"""udev rules: every adapter of the robot under a name that does not depend on which was plugged in first."""

from __future__ import annotations

from robot_wm.firmware.rendered import RenderedFile, fill_template
from robot_wm.firmware.robot_model import RobotConfig

# FTDI's serial chips wait 16 ms for more bytes by default, most of a 50 Hz control period.
FTDI_VENDOR_ID = "0403"


def render_udev(robot: RobotConfig) -> list[RenderedFile]:
    """Rules for the CAN and serial buses that name their USB adapter; nothing for a robot without any."""
    adapters = {
        name: bus
        for name, bus in robot.buses.items()
        if bus.kind != "ethernet" and (bus.usb_vendor_id is not None or bus.kind == "can")
    }
    if not adapters:
        return []
    text = fill_template("adapters.rules", robot=robot, adapters=adapters, ftdi=FTDI_VENDOR_ID)
    name = f"70-robot-wm-{robot.name.replace('_', '-')}.rules"
    return [RenderedFile(name, text, f"/etc/udev/rules.d/{name}", "names, bit rates and rights of adapters")]
