"""`robot-wm robot import`: what it writes works at once, and what it guesses is what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tomllib
from foreign import install as install_foreign
from imported_robots import arm, car, dog, hinge, joint, link, run_import, slider, written

from robot_wm.firmware.loading import load_robot
from robot_wm.firmware.robot_model import RobotConfig

KINDS = {
    "arm": (arm, (), "reach"),
    "wheeled": (car, ("--effort", "5", "--velocity", "10", "--passive", "caster"), "goal"),
    "legged": (dog, (), "velocity"),
    "empty": (slider, (), "hold"),
}


@pytest.fixture
def imported(tmp_path, capsys):
    """``imported(parts, *options)``: the JSON that the command prints, of a package in tmp_path/out."""

    def build(parts, *options):
        code = run_import(written(tmp_path, parts), "--out", tmp_path / "out", "--json", *options)
        shown = capsys.readouterr()
        assert code == 0, shown.err
        return {**json.loads(shown.out), "notes": shown.err}

    return build


def source(tmp_path: Path, name: str) -> str:
    return (tmp_path / "out/src/bot" / name).read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_package_of_each_kind_passes_its_own_test(kind, imported, tmp_path):
    parts, options, suffix = KINDS[kind]
    result = imported(parts(), *options)
    assert result["kind"].startswith(f"{kind} (guessed: ")
    assert result["task"] == f"bot_{suffix}"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path / "out"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout
    assert ("7 passed, 2 skipped" if kind == "legged" else "9 passed") in done.stdout  # a dog's fields tell no reward


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_as_tidy_as_what_is_ours(kind, imported, tmp_path):
    parts, options, _ = KINDS[kind]
    imported(parts(), *options)
    ruff = Path(sys.executable).with_name("ruff")
    for command in (
        ["check", "--select", "E,F,I,B,UP,SIM,RUF", "--ignore", "RUF001,RUF002,RUF003"],
        ["format", "--check"],
    ):
        done = subprocess.run(
            [ruff, *command, "--isolated", "--line-length", "120", "--config", "src=['src']", "."],
            cwd=tmp_path / "out",
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_installed_it_is_found_by_its_names(imported, tmp_path):
    imported(arm())
    project = tomllib.loads((tmp_path / "out/pyproject.toml").read_text())["project"]
    groups = {
        group: "\n".join(f"{name} = {value}" for name, value in entries.items())
        for group, entries in project["entry-points"].items()
    }
    install_foreign(tmp_path / "out/src", project["name"], project["version"], groups)
    paths = os.pathsep.join([str(tmp_path / "out/src"), os.environ.get("PYTHONPATH", "")])

    def answer(*arguments: str) -> dict:
        command = [sys.executable, "-m", "robot_wm", *arguments, "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | {"PYTHONPATH": paths}
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    spec = answer("tasks", "bot_reach")
    assert spec["action"]["joints"] == ["pan", "lift", "elbow"]
    rows = {row["name"]: row["what"] for row in answer("firmware", "list")["rows"]}
    assert rows["bot"] == "bot, imported from bot.urdf as an arm robot (bot 0.1.0)"
    found = {row["name"]: row["found"] for row in answer("doctor")["rows"]}
    assert "bot_reach (bot 0.1.0)" in found["robot_wm.tasks"]
    assert "bot (bot 0.1.0)" in found["robot_wm.robots"]


def test_an_arm_commands_its_chain_and_holds_its_gripper(imported, tmp_path):
    result = imported(arm())
    assert result["commands"] == "pan, lift, elbow"
    assert result["by"] == "velocity, 20 Hz"
    assert 'TOOL = "tool0"' in source(tmp_path, "task.py")
    assert "joint right_finger: mimics left_finger, which it follows" in result["notes"]
    drives = load_robot(tmp_path / "out/src/bot/firmware.yaml").joints
    assert list(drives) == ["pan", "lift", "elbow", "left_finger"]  # what mimics has no drive


def home_of(tmp_path: Path, name: str) -> float:
    text = source(tmp_path, "robot.py").split(f'name="{name}"')[1]
    return float(text.split("home=")[1].split(",")[0])


def test_home_is_zero_or_the_middle_of_what_leaves_zero_out(imported, tmp_path):
    imported(arm())
    assert home_of(tmp_path, "pan") == 0.0
    assert home_of(tmp_path, "elbow") == 1.5


def test_gains_are_those_of_the_formula_that_is_written_there(imported, tmp_path):
    """A cart of 0.5 kg: E / (0.05 R) is 200 N/m, I W² would be 1800."""
    imported(slider())
    drive = load_robot(tmp_path / "out/src/bot/firmware.yaml").joints["slide"]
    assert drive.kp == 200.0
    assert drive.kd == 20.0  # 2 sqrt(200 * 0.5)
    assert "kp = min(E / (0.05 * R), I * 60**2), kd = 2 * sqrt(kp * I)" in source(tmp_path, "robot.py")


def test_a_light_joint_is_no_stiffer_than_its_inertia_allows(imported, tmp_path):
    light = joint(
        "slide",
        "rail",
        "cart",
        "prismatic",
        "0 0 0.5",
        "1 0 0",
        '<limit lower="-1" upper="1" effort="500" velocity="2"/>',
    )
    imported([*slider()[:2], light])
    assert load_robot(tmp_path / "out/src/bot/firmware.yaml").joints["slide"].kp == 1800.0


def test_wheels_of_a_side_turn_as_one_and_a_caster_freely(imported, tmp_path):
    result = imported(car(), *KINDS["wheeled"][1])
    assert result["commands"] == "left_wheels, right_wheels"
    assert "joint caster: moves freely, nothing drives it" in result["notes"]
    firmware: RobotConfig = load_robot(tmp_path / "out/src/bot/firmware.yaml")
    assert firmware.couplings["left_wheels"] == ("front_left_wheel", "back_left_wheel")
    assert "caster" not in firmware.joints
    wheel = firmware.joints["front_left_wheel"]
    assert (wheel.limits.position, wheel.limits.velocity, wheel.limits.effort, wheel.kp) == (None, 10.0, 5.0, 0.0)
    assert "not of the file but of the import: effort, velocity" in source(tmp_path, "robot.py")


def test_wheels_are_driven_at_a_metre_a_second_at_most(imported, tmp_path):
    imported(car(), "--effort", 5, "--velocity", 100, "--passive", "caster")
    assert "    10.0,  # left_wheels" in source(tmp_path, "task.py")  # 1 m/s over 0.1 m


def test_a_legged_robot_starts_on_its_feet(imported, tmp_path):
    result = imported(dog())
    assert "the feet are fl_shin, fr_shin, bl_shin, br_shin" in result["notes"]
    height = float(source(tmp_path, "robot.py").split("base_position=(0.0, 0.0, ")[1].split(")")[0])
    assert 0.2 < height < 0.42  # thigh 0.2 m; the shin, 0.2 m to the foot, is bent by 1.1 rad at home


def test_feet_that_do_not_hang_below_the_base_are_told(imported):
    lying = [part.replace('xyz="0 0 -0.2"', 'xyz="0 -0.4 0"') for part in dog()]
    assert "is its z axis up, as REP 103 has it?" in imported(lying)["notes"]


def test_the_kind_is_mine_to_say(imported):
    result = imported(arm(), "--kind", "empty", "--name", "mine")
    assert (result["kind"], result["task"], result["robot"]) == ("empty (as --kind said)", "mine_hold", "mine")
    assert "left_finger: held at home, an agent commands one unit, rad" in result["notes"]


def test_what_no_body_has_is_mended_and_told(imported, tmp_path):
    odd = link("cart").replace('ixx="0.01"', 'ixx="0.03"')
    none = link("tip").replace('ixx="0.01" iyy="0.01" izz="0.01"', 'ixx="0" iyy="0" izz="0"')
    result = imported([slider()[0], odd, slider()[2], none, hinge("nod", "cart", "tip")])
    assert (
        "link cart: no body has principal moments of 0.01, 0.01 and 0.03 kg·m²; 0.01 kg·m² added to each"
        in result["notes"]
    )
    assert "link tip: 0.5 kg without inertia; 0.000485 kg·m² written, a ball of water's" in result["notes"]
    assert 'ixx="0.04' in source(tmp_path, "description/robot.urdf")


def test_text_meshes_of_a_ros_package_come_along(imported, tmp_path):
    """ASCII STL, found as package://, whose folder has another name than the package."""
    corners = [(0, 0, 0), (0.1, 0, 0), (0, 0.1, 0), (0, 0, 0.1)]
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join("vertex {} {} {}\n".format(*corners[i]) for i in face)
        + "endloop\nendfacet\n"
        for face in ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))
    )
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes/cart.stl").write_text(f"solid cart\n{facets}endsolid cart\n")
    cart = link("cart", '<mesh filename="package://bot_description/meshes/cart.stl"/>')
    imported([slider()[0], cart, slider()[2]])
    binary = (tmp_path / "out/src/bot/description/meshes/cart.stl").read_bytes()
    assert len(binary) == 84 + 4 * 50
    assert 'filename="meshes/cart.stl"' in source(tmp_path, "description/robot.urdf")


def test_a_shin_that_turns_without_end_is_no_wheel(imported):
    """As on a Minitaur: level axes and nothing below, but under a hip that swings."""
    turning = [part.replace('type="revolute"', 'type="continuous"') if "_knee" in part else part for part in dog()]
    assert imported(turning)["kind"].startswith("legged (guessed: 4 limbs")


@pytest.mark.parametrize(("variable", "share"), [("AMENT_PREFIX_PATH", "share/"), ("ROS_PACKAGE_PATH", "")])
def test_a_mesh_of_a_sourced_workspace_is_found(variable, share, imported, tmp_path, monkeypatch):
    folder = tmp_path / "workspace" / share / "cart_description"
    folder.mkdir(parents=True)
    corners = "v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.1\n"
    (folder / "cart.obj").write_text(corners + "f 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n")
    monkeypatch.setenv(variable, f"/nowhere{os.pathsep}{tmp_path / 'workspace'}")
    cart = link("cart", '<mesh filename="package://cart_description/cart.obj"/>')
    imported([slider()[0], cart, slider()[2]])
    assert (tmp_path / "out/src/bot/description/meshes/cart.obj").is_file()
