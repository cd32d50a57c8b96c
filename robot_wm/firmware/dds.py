"""Middleware profiles: which interfaces DDS may use, and whether processes share memory.

Both files are rendered whatever the board's rmw is: the workstation may use the other one.
"""

from __future__ import annotations

from robot_wm.firmware import paths
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.rendered import RenderedFile, fill_template


def render_dds(board: BoardConfig) -> list[RenderedFile]:
    """Fast DDS profiles (valid for 2.x and 3.x) and the Cyclone DDS configuration."""
    addresses = [str(address) for address in board.dds.interfaces]
    only_loopback = bool(addresses) and all(address.is_loopback for address in board.dds.interfaces)
    values = {"board": board, "addresses": addresses, "only_loopback": only_loopback, "paths": paths}
    return [
        RenderedFile(
            "fastdds.xml",
            fill_template("fastdds.xml", **values),
            paths.FASTDDS_PROFILES,
            "interfaces and shared memory of Fast DDS (rmw_fastrtps_cpp)",
        ),
        RenderedFile(
            "cyclonedds.xml",
            fill_template("cyclonedds.xml", **values),
            paths.CYCLONEDDS_CONFIG,
            "interfaces of Cyclone DDS (rmw_cyclonedds_cpp)",
        ),
    ]
