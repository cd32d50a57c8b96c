"""Power mode and clocks of a Jetson: a start script and its unit."""

from __future__ import annotations

from collections.abc import Sequence

from robot_wm.firmware import paths
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.rendered import RenderedFile, fill_template


def render_jetson(board: BoardConfig) -> list[RenderedFile]:
    """The script that sets nvpmodel and jetson_clocks, and the unit that runs it at boot; nothing for other boards."""
    if not board.is_jetson:
        return []
    values = {
        "board": board,
        "paths": paths,
        "isolated": cpu_list(board.cpu.isolated),
        "others": cpu_list(board.cpu.others),
    }
    return [
        RenderedFile(
            "start-board",
            fill_template("start-board.sh", **values),
            paths.START_BOARD,
            "sets power mode and clocks",
            executable=True,
        ),
        RenderedFile(
            paths.BOARD_UNIT,
            fill_template("board.service", **values),
            f"/etc/systemd/system/{paths.BOARD_UNIT}",
            "runs start-board at boot, before the agent",
        ),
    ]


def cpu_list(cores: Sequence[int]) -> str:
    """Cores as the kernel's command line takes them: ``0-3,6``."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
