"""The units: accepted by systemd itself where it is installed, and saying what the board's file says."""

import shutil
import subprocess
from configparser import ConfigParser

import pytest
import yaml

from robot_wm.firmware import paths
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.controllers import controller_of
from robot_wm.firmware.jetson import render_jetson
from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.rendered import RenderedFile
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.firmware.shipped import known
from robot_wm.firmware.systemd import render_systemd


def rendered(robot: str, board: str) -> dict[str, str]:
    config = load_board(board)
    return {file.name: file.text for file in units_of(load_robot(robot), config)}


def units_of(robot: RobotConfig, board: BoardConfig) -> list[RenderedFile]:
    return [*render_systemd(robot, board, controller_of(robot, None)), *render_jetson(board)]


def section(text: str, name: str) -> dict[str, str]:
    """A section of a unit; of repeated keys the last."""
    parser = ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    parser.optionxform = str
    parser.read_string(text)
    return dict(parser[name])


@pytest.mark.parametrize("board", known("boards"))
def test_systemd_accepts_the_units_without_a_word(board, tmp_path):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: the units are checked where it is")
    config = load_board(board)
    files = units_of(load_robot("a1"), config)
    units = [file.name for file in files if file.name.endswith(".service")]
    for file in files:
        path = tmp_path / file.goes_to.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.text)
        path.chmod(0o755 if file.executable else 0o644)
    for name in (
        "sysinit",
        "basic",
        "shutdown",
        "multi-user",
        "network-online",
    ):  # of systemd itself: a bare root lacks them
        (tmp_path / f"etc/systemd/system/{name}.target").write_text("[Unit]\n")
    assert verify(tmp_path, units) == []
    # The tool ends with 0 for a misspelt key: what it says is what counts, and it must be able to say something.
    unit = tmp_path / "etc/systemd/system" / paths.AGENT_UNIT
    unit.write_text(unit.read_text().replace("KillMode=mixed", "KillMode=gently").replace("LimitRTPRIO", "LimitRT"))
    complaints = verify(tmp_path, units)
    assert any("kill mode" in line for line in complaints)
    assert any("LimitRT" in line for line in complaints)


def verify(root, units: list[str]) -> list[str]:
    """Lines of `systemd-analyze verify` that name our units."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", f"--root={root}", *units],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return [line for line in done.stderr.splitlines() if "robot-wm" in line or "robot_wm" in line]


@pytest.mark.parametrize("board", known("boards"))
def test_the_unit_asks_for_what_the_board_says(board):
    config = load_board(board)
    files = rendered("a1", board)
    service = section(files[paths.AGENT_UNIT], "Service")
    assert service["CPUSchedulingPolicy"] == "fifo"
    assert int(service["CPUSchedulingPriority"]) == config.priorities.launch
    # The agent raises itself, without being root, as far as this.
    assert int(service["LimitRTPRIO"]) == config.priorities.agent > config.priorities.launch
    assert service["LimitMEMLOCK"] == "infinity"
    assert service["MemoryMax"] == f"{config.engine.memory_budget_mib}M"
    assert service["Restart"] == "on-failure"
    assert service.get("CPUAffinity", "").split() == [str(core) for core in config.cpu.isolated]
    # What would take real time, devices or CUDA from the agent.
    assert not {"RestrictRealtime", "PrivateDevices", "DevicePolicy", "MemoryDenyWriteExecute"} & set(service)
    if config.cpu.isolated:
        others = section(files["robot-wm-cpus.conf"], "Manager")["CPUAffinity"].split()
        assert sorted(map(int, others)) == sorted(set(range(config.cpu.count)) - set(config.cpu.isolated))
    assert service["User"] == service["Group"] == paths.USER
    parameters = yaml.safe_load(files["agent.yaml"])["/**/agent"]["ros__parameters"]
    # What the board is said to run is what it runs, and nothing that nobody signed.
    assert (parameters["engine"], parameters["precision"]) == (config.engine.kind, config.engine.precision)
    assert parameters["public_key"] == paths.PUBLIC_KEY
    assert not parameters.get("allow_unsigned", False)
    assert parameters["fifo_priority"] == config.priorities.agent
    # Left out rather than empty: ROS gives an empty list no type.
    assert parameters.get("cpu_affinity") == (list(config.cpu.isolated) or None)


@pytest.mark.parametrize(
    ("distro", "rmw", "variable"),
    [
        ("humble", "rmw_fastrtps_cpp", "FASTRTPS_DEFAULT_PROFILES_FILE=/etc/robot_wm/fastdds.xml"),
        ("jazzy", "rmw_fastrtps_cpp", "FASTRTPS_DEFAULT_PROFILES_FILE=/etc/robot_wm/fastdds.xml"),
        ("kilted", "rmw_fastrtps_cpp", "FASTDDS_DEFAULT_PROFILES_FILE=/etc/robot_wm/fastdds.xml"),
        ("jazzy", "rmw_cyclonedds_cpp", "CYCLONEDDS_URI=file:///etc/robot_wm/cyclonedds.xml"),
    ],
)
def test_the_unit_names_the_profile_of_its_middleware(distro, rmw, variable, a1, orin_nx):
    board = orin_nx.model_copy(
        update={"ros_distro": distro, "dds": orin_nx.dds.model_copy(update={"rmw": rmw})},
    )
    lines = units_of(a1, board)[0].text.splitlines()
    assert f"Environment=RMW_IMPLEMENTATION={rmw}" in lines
    profiles = [line for line in lines if "_FILE=" in line or "_URI=" in line]
    assert profiles == [f"Environment={variable}"]


def test_the_agent_waits_for_the_power_mode_on_a_jetson_and_only_there():
    assert section(rendered("a1", "orin-nx")[paths.AGENT_UNIT], "Unit")["Requires"] == paths.BOARD_UNIT
    files = rendered("a1", "x86")
    assert paths.BOARD_UNIT not in files
    assert "Requires" not in section(files[paths.AGENT_UNIT], "Unit")


@pytest.mark.parametrize("board", known("boards"))
def test_the_guardian_outlives_the_agent_and_runs_above_it(board):
    config, files = load_board(board), rendered("a1", board)
    guardian, agent = (section(files[unit], "Service") for unit in (paths.GUARDIAN_UNIT, paths.AGENT_UNIT))
    assert guardian["ExecStart"] == paths.START_GUARDIAN
    assert guardian["Restart"] == "always"
    assert section(files[paths.GUARDIAN_UNIT], "Unit")["StartLimitIntervalSec"] == "0", "else 5 bad starts are its last"
    assert config.priorities.agent < int(guardian["CPUSchedulingPriority"]) <= 99
    assert guardian["User"] == agent["User"]
    unit = section(files[paths.AGENT_UNIT], "Unit")
    assert unit["Wants"] == paths.GUARDIAN_UNIT  # neither Requires nor PartOf: it stays when the agent goes
    assert files["start-guardian"].splitlines()[-1].endswith('/lib/robot_wm/guardian"')
    # Life signs come from the node, which is not the main process.
    assert (agent["NotifyAccess"], agent["WatchdogSec"]) == ("all", "30s")


def test_the_start_script_becomes_the_launch(tmp_path):
    """Run for real, with a stand-in for /opt/ros and ros2: the process that is started is the launch, not a parent."""
    script = rendered("a1", "orin-nx")["start-agent"]
    assert subprocess.run(["bash", "-n"], input=script, text=True, timeout=10, check=False).returncode == 0
    ros = tmp_path / "ros/humble/setup.bash"
    workspace = tmp_path / "workspace/install/setup.bash"
    for setup in (ros, workspace):
        setup.parent.mkdir(parents=True)
        setup.write_text(f'export SOURCED="${{SOURCED:-}} {setup.parents[1].name}"\n: "$AMENT_UNSET"\n')
    tool = tmp_path / "bin/ros2"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\necho "$$ $SOURCED"\nprintf "%s\\n" "$@"\n')
    tool.chmod(0o755)
    path = tmp_path / "start-agent"
    path.write_text(script.replace("/opt/ros/", f"{tmp_path}/ros/"))
    environment = {"PATH": f"{tool.parent}:/usr/bin:/bin", "ROBOT_WM_WORKSPACE": str(tmp_path / "workspace")}
    process = subprocess.Popen(["bash", path], stdout=subprocess.PIPE, text=True, env=environment)
    said, _ = process.communicate(timeout=10)
    first, *arguments = said.splitlines()
    assert first.split() == [str(process.pid), "ros", "workspace"]
    assert arguments == [
        "launch",
        "robot_wm",
        "agent.launch.py",
        "params_file:=/etc/robot_wm/agent.yaml",
        "bundle:=/var/lib/robot_wm/bundles/current",
        "autostart:=configure",  # nothing moves by itself, at boot or after a crash
        "guardian:=false",  # which has a unit of its own, and outlives this launch
    ]
