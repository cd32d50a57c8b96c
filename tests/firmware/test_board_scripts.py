"""The power-mode script, run by a real shell against stand-ins for NVIDIA's tools."""

import subprocess
import sysconfig
from pathlib import Path

import pytest

from robot_wm.firmware.jetson import cpu_list, render_jetson
from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.render import render_all
from robot_wm.firmware.shipped import known

JETSONS = [name for name in known("boards") if load_board(name).is_jetson]

# Keeps the mode in a file; a mode in `needs_restart` is not taken, as where nvpmodel asks for a restart and hears no.
NVPMODEL = """#!/bin/sh
case "$1" in
-q) printf 'NV Power Mode: %s\\n%s\\n' "$(cat "$STATE/name")" 9 ;;
-m) echo "$2" >>"$STATE/asked"
    [ -e "$STATE/needs_restart" ] && exit 0
    sed -n "s/^< POWER_MODEL ID=$2 NAME=\\(.*\\) >/\\1/p" "$NVPMODEL_CONF" >"$STATE/name" ;;
esac
"""


class Jetson:
    """A folder with stand-ins for nvpmodel and jetson_clocks."""

    def __init__(self, folder: Path, modes: dict[int, str], current: str) -> None:
        self.folder = folder
        for name, text in (("nvpmodel", NVPMODEL), ("jetson_clocks", '#!/bin/sh\necho "$@" >"$STATE/clocks"\n')):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        lines = [f"< POWER_MODEL ID={number} NAME={name} >\nCPU_ONLINE CORE_0 1\n" for number, name in modes.items()]
        (folder / "nvpmodel.conf").write_text("".join(lines))
        (folder / "name").write_text(current)

    def start(self, board: str) -> subprocess.CompletedProcess[str]:
        script = next(file for file in render_jetson(load_board(board)) if file.name == "start-board")
        return subprocess.run(
            ["sh", "-s"],
            input=script.text,
            env={
                "PATH": f"{self.folder}:/usr/bin:/bin",
                "STATE": str(self.folder),
                "NVPMODEL_CONF": str(self.folder / "nvpmodel.conf"),
            },
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def said(self, name: str) -> str | None:
        path = self.folder / name
        return path.read_text().strip() if path.is_file() else None


@pytest.mark.parametrize("board", JETSONS)
def test_sets_mode_and_clocks(board, tmp_path):
    mode = load_board(board).power_mode
    jetson = Jetson(tmp_path, {mode.id: mode.name, mode.id + 1: "15W"}, current="15W")
    done = jetson.start(board)
    assert done.returncode == 0, done.stderr
    assert (jetson.said("asked"), jetson.said("name")) == (str(mode.id), mode.name)
    assert jetson.said("clocks") == "--fan"
    assert "irqaffinity=" in done.stderr  # the hint: this machine's kernel was not started with it


def test_leaves_a_mode_that_is_set_alone(tmp_path):
    jetson = Jetson(tmp_path, {0: "MAXN_SUPER"}, current="MAXN_SUPER")
    assert jetson.start("orin-nx").returncode == 0
    assert jetson.said("asked") is None


@pytest.mark.parametrize("modes", [{0: "MAXN"}, {2: "MAXN_SUPER"}, {0: "MAXN_SUPER_2"}, {10: "MAXN_SUPER"}])
def test_refuses_another_modules_table_and_touches_nothing(modes, tmp_path):
    jetson = Jetson(tmp_path, modes, current="15W")
    done = jetson.start("orin-nx")
    assert done.returncode == 1
    assert "has no mode 0 named MAXN_SUPER" in done.stderr
    assert (jetson.said("asked"), jetson.said("clocks"), jetson.said("name")) == (None, None, "15W")


def test_says_so_when_the_mode_needs_a_restart(tmp_path):
    jetson = Jetson(tmp_path, {0: "MAXN_SUPER"}, current="15W")
    (tmp_path / "needs_restart").touch()
    done = jetson.start("orin-nx")
    assert done.returncode == 1
    assert "was not taken" in done.stderr
    assert jetson.said("clocks") is None  # locked clocks of the wrong mode would only hide it


def test_says_so_where_there_is_no_nvpmodel(tmp_path):
    jetson = Jetson(tmp_path, {0: "MAXN_SUPER"}, current="15W")
    (tmp_path / "nvpmodel").unlink()
    done = jetson.start("orin-nx")
    assert (done.returncode, "nvpmodel is not installed" in done.stderr) == (1, True)


def test_shellcheck_has_nothing_to_say(tmp_path):
    tool = Path(sysconfig.get_path("scripts")) / "shellcheck"
    for board in JETSONS:
        scripts = [file for file in render_all(load_robot("a1"), load_board(board)) if file.executable]
        assert len(scripts) == 3  # of the board, the agent and its guardian
        for script in scripts:
            path = tmp_path / f"{board}_{script.name}"
            path.write_text(script.text)
            done = subprocess.run([tool, path], capture_output=True, text=True, timeout=60, check=False)
            assert done.stdout == ""


def test_cpu_lists_are_those_of_the_kernels_command_line():
    assert cpu_list([6, 7]) == "6-7"
    assert cpu_list([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert cpu_list([]) == ""
    assert cpu_list([3]) == "3"
