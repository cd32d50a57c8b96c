"""All files of one robot on one computer, rendered together and written as one folder."""

from __future__ import annotations

from pathlib import Path

from robot_wm.atomic import atomic_directory
from robot_wm.errors import UserError
from robot_wm.firmware import paths
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.controllers import controller_of, render_controllers
from robot_wm.firmware.dds import render_dds
from robot_wm.firmware.jetson import render_jetson
from robot_wm.firmware.joint_drives import render_drives
from robot_wm.firmware.loading import robot_yaml
from robot_wm.firmware.mcu_header import render_mcu_header
from robot_wm.firmware.rendered import RenderedFile, fill_template
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.firmware.systemd import render_systemd
from robot_wm.firmware.udev import render_udev
from robot_wm.spec import AgentSpec

MANIFEST = "README.md"
# How a folder of ours is known again, before --force replaces it.
_MARK = "Rendered by `robot-wm firmware`"


def render_all(
    robot: RobotConfig, board: BoardConfig, *, spec: AgentSpec | None = None, public_key: str | None = None
) -> list[RenderedFile]:
    """Every file, the manifest last.

    ``spec`` is that of the bundle that will run, ``public_key`` the PEM that bundles are signed for, if they are known.
    """
    controller = controller_of(robot, spec)
    rendered = [
        *render_drives(robot),
        *render_mcu_header(robot, spec),
        *render_systemd(robot, board, controller),
        *render_controllers(robot, board, controller),
        *render_jetson(board),
        *render_dds(board),
        *render_udev(robot),
        RenderedFile("robot.yaml", robot_yaml(robot), paths.ROBOT_CONFIG, "what the agent checks its bundle against"),
    ]
    if public_key is not None:
        rendered.append(RenderedFile("robot.pub.pem", public_key, paths.PUBLIC_KEY, "whose bundles the agent runs"))
    values = {"robot": robot, "board": board, "controller": controller, "paths": paths, "mark": _MARK}
    text = fill_template("README.md", files=rendered, has_key=public_key is not None, has_spec=bool(spec), **values)
    return [*rendered, RenderedFile(MANIFEST, text, "nowhere: it is this list", "what each file is and where it goes")]


def write_all(files: list[RenderedFile], folder: Path, *, mark: str = _MARK, force: bool = False) -> None:
    """Write the files as ``folder``, whole or not at all.

    Raises UserError for a folder that is there already; with ``force`` only for one whose manifest has no ``mark``.
    """
    if folder.exists() and any(folder.iterdir() if folder.is_dir() else [folder]):
        if not force:
            raise UserError(f"{folder}: is there already; --force replaces it")
        manifest = folder / MANIFEST
        if not (manifest.is_file() and mark in manifest.read_text(errors="replace")):
            raise UserError(f"{folder}: was not {mark.lower().replace('`', '')}; it is not replaced")
    with atomic_directory(folder) as temporary:
        for file in files:
            path = temporary / file.name
            path.write_text(file.text, encoding="utf-8")
            path.chmod(0o755 if file.executable else 0o644)
