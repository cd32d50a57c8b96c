"""`robot-wm firmware`, from its command line to the folder that it writes."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cyclopts
import pytest
import yaml

from robot_wm.errors import UserError
from robot_wm.firmware import paths
from robot_wm.firmware.command import app
from robot_wm.firmware.joint_drives import joint_drives
from robot_wm.firmware.loading import load_board, load_robot, parse, robot_yaml
from robot_wm.firmware.render import MANIFEST, render_all
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.firmware.shipped import known
from robot_wm.runtime.installed import SYSTEM_ROOT
from robot_wm.runtime.signature import generate_key
from robot_wm_sim.robots.a1 import A1


def run(*arguments: object) -> None:
    app([str(argument) for argument in arguments], exit_on_error=False, print_error=False, result_action="return_value")


def listed(text: str) -> dict[str, str]:
    """Files of a manifest's table, with where each goes."""
    return dict(re.findall(r"^\| `([^`]+)` \| `?([^|`]+?)`? \|", text, re.M))


@pytest.mark.parametrize("board", known("boards"))
@pytest.mark.parametrize("robot", known("robots"))
def test_every_robot_renders_for_every_board(robot, board):
    files = render_all(load_robot(robot), load_board(board))
    names = [file.name for file in files]
    assert len(set(names)) == len(names)
    assert {f"{robot}_firmware.h", "robot-wm-agent.service", "fastdds.xml", "cyclonedds.xml", "robot.yaml"} <= set(
        names
    )
    assert ("start-board" in names) == load_board(board).is_jetson
    for file in files:
        assert file.text.endswith("\n"), file.name
        assert not re.search(r"\{[{%#]|[%}]\}$|\bNone\b|Undefined", file.text), file.name  # no template's leftovers
    assert set(listed(files[-1].text)) == set(names) - {MANIFEST}


def test_open_drives_get_their_settings_and_closed_ones_none():
    for name in known("robots"):
        robot = load_robot(name)
        purposes = [file.purpose for file in render_all(robot, load_board("x86"))]
        assert (f"settings of the {robot.drive_type} drives" in purposes) == (robot.drive_type != "closed"), name


def test_render_writes_what_the_manifest_lists(tmp_path, capsys):
    out = tmp_path / "made/for/a1"
    run("render", "--robot", "a1", "--board", "orin-nx", "--out", out)
    manifest = (out / MANIFEST).read_text()
    assert {path.name for path in out.iterdir()} == set(listed(manifest)) | {MANIFEST}
    assert {path.name for path in out.iterdir() if path.stat().st_mode & 0o111} == {
        "start-agent",
        "start-board",
        "start-guardian",
    }
    assert parse((out / "robot.yaml").read_text(), RobotConfig, origin="rendered") == load_robot("a1")
    # Whatever a rendered file names on the robot is among the places where rendered files go.
    places = {*listed(manifest).values(), paths.PUBLIC_KEY}
    assert f"install -D -m 644 PUBLIC_KEY {paths.PUBLIC_KEY}" in manifest  # a key of one's own
    for name in ("robot-wm-agent.service", "robot-wm-board.service", "start-agent", "agent.yaml"):
        text = "\n".join(line for line in (out / name).read_text().splitlines() if not line.lstrip().startswith("#"))
        for path in re.findall(r"/etc/robot_wm/[\w.-]+|/usr/local/lib/robot_wm/[\w.-]+", text):
            assert path in places, (name, path)


def test_a_public_key_is_rendered_with_the_rest(tmp_path):
    key = generate_key(tmp_path / "robot.pem")
    run("render", "--robot", "a1", "--board", "x86", "--out", tmp_path / "out", "--public-key", key)
    assert (tmp_path / "out/robot.pub.pem").read_bytes() == key.read_bytes()
    manifest = (tmp_path / "out" / MANIFEST).read_text()
    assert listed(manifest)["robot.pub.pem"] == paths.PUBLIC_KEY
    assert "PUBLIC_KEY" not in manifest
    key.write_text("not a key")
    with pytest.raises(UserError, match="not a PEM public key"):
        run("render", "--robot", "a1", "--board", "x86", "--out", tmp_path / "other", "--public-key", key)
    assert not (tmp_path / "other").exists()


def test_what_an_installation_types_is_what_the_files_name():
    """User, folders and program of the rendered README, of the unit and of the library are the same."""
    files = {file.name: file.text for file in render_all(load_robot("a1"), load_board("orin-nx"))}
    readme, unit = files[MANIFEST], files["robot-wm-agent.service"]
    (user,) = re.findall(r"^User=(\w+)$", unit, re.M)
    assert re.search(rf"^useradd .* {user}$", readme, re.M)
    assert f"install -d -o {user} -g {user} {SYSTEM_ROOT} {SYSTEM_ROOT}/bundles" in readme
    assert f"sudo -u {user} " in readme
    assert readme.index("bundle install") < readme.index("systemctl enable --now")
    # `robot-wm bundle install` of that user, and the unit's StateDirectory, are where the agent looks.
    assert str(SYSTEM_ROOT / "bundles/current") == paths.BUNDLE
    assert re.findall(r"^StateDirectory=(.+)$", unit, re.M) == [SYSTEM_ROOT.name]


def test_a_folder_is_replaced_only_when_asked_and_only_if_it_is_ours(tmp_path):
    out = tmp_path / "out"
    arguments = ["render", "--robot", "panda", "--board", "x86", "--out", out]
    run(*arguments)
    (out / "agent.yaml").write_text("changed by hand")
    with pytest.raises(UserError, match="--force replaces it"):
        run(*arguments)
    assert (out / "agent.yaml").read_text() == "changed by hand"
    run(*arguments, "--force")
    assert (out / "agent.yaml").read_text() != "changed by hand"
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.tex").write_text("years of work")
    with pytest.raises(UserError, match="was not rendered by robot-wm firmware"):
        run(*arguments[:-1], home, "--force")
    assert (home / "thesis.tex").read_text() == "years of work"
    assert {path.name for path in tmp_path.iterdir()} == {"out", "home"}  # nothing half-made is left


def test_render_checks_the_bundle_and_names_it_in_the_header(specs, make_bundle, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["render", "--robot", "a1", "--board", "orin-nx", "--out", out, "--bundle"]
    run(*arguments, make_bundle(specs["a1"]))
    assert specs["a1"].content_hash() in (out / "a1_firmware.h").read_text()
    # The board runs fp16, and this bundle has no such graph: what is rendered starts, and the lack is told.
    assert "has no fp16 graph" in " ".join(capsys.readouterr().err.split())
    parameters = yaml.safe_load((out / "agent.yaml").read_text())["/**/agent"]["ros__parameters"]
    assert (parameters["engine"], parameters["precision"]) == ("tensorrt", "fp32")
    with pytest.raises(UserError, match="not for robot a1: robot: the agent's is 'franka_panda'"):
        run(*arguments, make_bundle(specs["panda"]), "--force")


@pytest.mark.parametrize("command", ["check", "render"])
def test_a_bundle_that_is_older_than_the_robot_wants_is_refused(command, specs, make_bundle, tmp_path):
    path = tmp_path / "cart.yaml"
    path.write_text(robot_yaml(load_robot("cartpole").model_copy(update={"min_bundle_version": 3})))
    more = ["--board", "x86", "--out", tmp_path / "out"] if command == "render" else []
    with pytest.raises(UserError, match="bundle_version 0 is older than this robot's min_bundle_version 3"):
        run(command, "--bundle", make_bundle(specs["cartpole"]), "--robot", path, *more)


def test_check_passes_a_bundle_that_belongs(specs, make_bundle, capsys):
    run("check", "--bundle", make_bundle(specs["a1"]), "--robot", "a1", "--urdf", A1.description, "--json")
    result = json.loads(capsys.readouterr().out)
    assert result["violations"] == 0
    assert result["rows"] == []
    assert result["spec_hash"] == specs["a1"].content_hash()


def test_check_lists_every_violation_and_fails(specs, make_bundle, tmp_path, capsys):
    body = yaml.safe_load(robot_yaml(load_robot("a1")))
    body["joints"]["FL_hip_joint"]["kp"] = 30.0
    body["command_timeout_s"] = 2.0
    path = tmp_path / "stiff.yaml"
    path.write_text(yaml.safe_dump(body, sort_keys=False))
    arguments = ["check", "--bundle", make_bundle(specs["a1"]), "--robot", path]
    with pytest.raises(UserError, match="2 rules of robot a1 do not hold"):
        run(*arguments, "--json")
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["where"] for row in rows] == ["command_timeout_s", "FL_hip_joint.kp"]
    assert rows[1]["found"] == "the agent was trained with 20 N·m/rad"
    assert rows[1]["but"] == "the robot's drive has 30 N·m/rad"
    with pytest.raises(UserError):
        run(*arguments)
    assert "gains as trained" in capsys.readouterr().out


def test_check_with_another_urdf(specs, make_bundle, tmp_path):
    urdf = tmp_path / "short.urdf"
    urdf.write_text(A1.description.read_text().replace('upper="-0.916297857297"', 'upper="-1.0"'))
    with pytest.raises(UserError, match="4 rules"):
        run("check", "--bundle", make_bundle(specs["a1"]), "--robot", "a1", "--urdf", urdf)


def test_list_names_robots_and_boards(capsys):
    run("list", "--json")
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["name"] for row in rows if row["kind"] == "robot"] == known("robots")
    assert [row["name"] for row in rows if row["kind"] == "board"] == known("boards")


def test_mistakes_on_the_command_line_are_named(tmp_path: Path):
    with pytest.raises(UserError, match="unknown board 'orin'; known: agx-orin"):
        run("render", "--robot", "a1", "--board", "orin", "--out", tmp_path / "out")
    with pytest.raises(cyclopts.CycloptsError, match="--board"):
        run("render", "--robot", "a1", "--out", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_robot_needs_no_templates_to_check_its_agent():
    script = (
        "import sys, robot_wm.firmware.check, robot_wm.firmware.loading as l, robot_wm.firmware.command\n"
        "l.load_robot('a1')\n"
        "print(sorted({'jinja2', 'torch', 'pybullet', 'gymnasium', 'onnxruntime'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_a_drive_is_told_what_the_robots_file_says():
    body = yaml.safe_load(robot_yaml(load_robot("cartpole")))
    body |= {"drive_type": "odrive", "buses": {"can0": {"kind": "can", "bitrate": 500000}}}
    told = {
        "bus": "can0",
        "bus_id": 3,
        "gear_ratio": 20.0,
        "current_limit_a": 40.0,
        "temperature_limit_c": 80.0,
        "torque_constant_nm_per_a": 0.05,
        "pole_pairs": 7,
        "direction": -1,
        "settings": {"a": 1},
    }
    body["joints"]["slider"] |= told | {"watchdog_s": 0.05}
    (drive,) = joint_drives(parse(yaml.safe_dump(body, sort_keys=False), RobotConfig, origin="test"))
    assert {key: getattr(drive, key) for key in told} == told
    assert (drive.name, drive.kp, drive.kd, drive.watchdog_s) == ("slider", 0.0, 0.0, 0.05)
    assert (drive.position_limits, drive.velocity_limit, drive.effort_limit) == ((-1.8, 1.8), 10.0, 10.0)
    assert joint_drives(load_robot("cartpole")) == []  # closed
