"""What `systemctl stop` does to the agent: a launch that forwards SIGINT and its node, as real processes.

systemd.kill(5): `control-group` signals every process, `mixed` the main one and kills the rest once it has ended or the
time is out, `process` signals the main one alone, whatever becomes of the rest. No systemd runs here as process 1.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path

import pytest

from robot_wm.firmware.controllers import controller_of
from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.systemd import render_systemd

# Counts the signals that it gets; on the first it "damps" for a while, as the agent does, then goes.
NODE = """
import pathlib, signal, sys, time
folder, damping_s = pathlib.Path(sys.argv[1]), float(sys.argv[2])
count = 0
def on_signal(number, frame):
    global count
    count += 1
    (folder / "signals").write_text(str(count))
signal.signal(signal.SIGINT, on_signal)
signal.signal(signal.SIGTERM, on_signal)
(folder / "node_ready").touch()
while not count:
    time.sleep(0.01)
end = time.monotonic() + damping_s
while time.monotonic() < end:
    time.sleep(0.01)
(folder / "damped").touch()
"""

# As ros2 launch: SIGINT is passed on once to each node, then launch waits for them. SIGTERM is not passed on.
# `crash`: dies of the signal before it passes anything on.
LAUNCH = """
import os, pathlib, signal, subprocess, sys, time
folder, behaviour, node, damping_s = pathlib.Path(sys.argv[1]), *sys.argv[2:]
child = subprocess.Popen([sys.executable, "-c", node, str(folder), damping_s])
(folder / "node_pid").write_text(str(child.pid))
asked = False
def on_sigint(number, frame):
    global asked
    if behaviour == "crash":
        os._exit(1)
    asked = True
signal.signal(signal.SIGINT, on_sigint)
(folder / "launch_ready").touch()
while not asked:
    time.sleep(0.01)
time.sleep(0.1)  # as launch's own event loop: systemd's signal to the node, if any, is there first
child.send_signal(signal.SIGINT)
child.wait()
"""


class Unit:
    """A started unit: launch and node, known by their process ids as systemd knows them by their control group."""

    def __init__(self, folder: Path, *, behaviour: str = "forward", damping_s: float = 0.5) -> None:
        self.folder = folder
        arguments = [sys.executable, "-c", LAUNCH, str(folder), behaviour, NODE, str(damping_s)]
        self.launch = subprocess.Popen(arguments, start_new_session=True)
        self._wait_for("launch_ready", "node_ready", "node_pid")
        self.node_pid = int((folder / "node_pid").read_text())

    def _wait_for(self, *names: str) -> None:
        end = time.monotonic() + 30.0
        while not all((self.folder / name).is_file() for name in names):
            assert time.monotonic() < end, f"not there: {names}"
            time.sleep(0.01)

    def stop(self, kill_mode: str, kill_signal: int, timeout_s: float) -> None:
        """`systemctl stop`, by systemd.kill(5)."""
        os.kill(self.launch.pid, kill_signal)
        if kill_mode == "control-group":
            os.kill(self.node_pid, kill_signal)
        try:
            self.launch.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.launch.kill()
            self.launch.wait()
        if kill_mode != "process" and self.node_is_alive:
            os.kill(self.node_pid, signal.SIGKILL)
            end = time.monotonic() + 10.0
            while self.node_is_alive and time.monotonic() < end:
                time.sleep(0.01)

    @property
    def node_is_alive(self) -> bool:
        """Whether the node still runs; one that ended and waits to be reaped does not."""
        try:
            state = Path(f"/proc/{self.node_pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return state not in "ZX"

    @property
    def signals(self) -> int:
        """How many signals the node has got."""
        path = self.folder / "signals"
        return int(path.read_text()) if path.is_file() else 0

    @property
    def damped(self) -> bool:
        """Whether the node came to the end of its damping."""
        return (self.folder / "damped").is_file()

    def close(self) -> None:
        """Leave nothing behind."""
        for pid in (self.launch.pid, self.node_pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.launch.wait()


def rendered_service() -> ConfigParser:
    """How the rendered unit is stopped."""
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    robot = load_robot("a1")
    parser.read_string(render_systemd(robot, load_board("orin-nx"), controller_of(robot, None))[0].text)
    return parser["Service"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    units: list[Unit] = []

    def begin(**options) -> Unit:
        folder = tmp_path / str(len(units))
        folder.mkdir()
        units.append(Unit(folder, **options))
        return units[-1]

    yield begin
    for unit in units:
        unit.close()


def test_the_rendered_unit_signals_the_node_once_and_lets_it_damp(start):
    service = rendered_service()
    assert service["KillSignal"] == "SIGINT"
    unit = start()
    unit.stop(service["KillMode"], getattr(signal, service["KillSignal"]), float(service["TimeoutStopSec"].rstrip("s")))
    assert (unit.signals, unit.damped, unit.node_is_alive) == (1, True, False)
    assert unit.launch.returncode == 0


def test_the_rendered_unit_leaves_no_node_behind_a_crashed_launch(start):
    service = rendered_service()
    unit = start(behaviour="crash")
    unit.stop(service["KillMode"], signal.SIGINT, 5.0)
    assert not unit.node_is_alive


def test_control_group_would_signal_the_node_twice(start):
    unit = start()
    unit.stop("control-group", signal.SIGINT, 15.0)
    assert unit.signals == 2


def test_process_would_leave_the_node_behind(start):
    unit = start(behaviour="crash")
    unit.stop("process", signal.SIGINT, 5.0)
    assert unit.node_is_alive


def test_sigterm_would_leave_the_node_undamped(start):
    unit = start()
    unit.stop("mixed", signal.SIGTERM, 15.0)
    assert (unit.signals, unit.damped) == (0, False)
