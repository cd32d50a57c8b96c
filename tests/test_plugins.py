"""A distribution that adds something to robot-wm and cannot be imported stops nothing but itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from foreign import install as install_foreign

from robot_wm.errors import UserError
from robot_wm.firmware.shipped import known
from robot_wm.plugins import GROUPS as ALL_GROUPS
from robot_wm.plugins import load

GROUPS = {
    "robot_wm.commands": "doctor2 = brokenplug:command\ndoctor = brokenplug:command",
    "robot_wm.benchmarks": "theirs = brokenplug:command",
    "robot_wm.zoo": "theirs = brokenplug:command",
    "robot_wm.tasks": "their_task = brokenplug:task\ntheir_good_task = goodplug:task",
    "robot_wm.robots": "a1 = brokenplug:A1\ntheir_good_robot = goodplug:ROBOT\ntheir_odd_robot = goodplug:task",
    "robot_wm.backends": "their_engine = brokenplug:Engine",
}
GOOD = '''from pathlib import Path

import firmware_configs

ROBOT = Path(firmware_configs.__file__).with_name("robots") / "cartpole.yaml"


def task(**options):
    """Somebody's task."""
'''
ERRORS = {
    "import": (
        "import a_module_that_is_not_there",
        "ModuleNotFoundError: No module named 'a_module_that_is_not_there'",
    ),
    "defect": ("1 / 0", "ZeroDivisionError: division by zero"),
    "exit": ("raise SystemExit(3)", "SystemExit: 3"),
    "attribute": ("", "AttributeError: module 'brokenplug' has no attribute "),
}


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, str]:
    """Environment in which such a distribution is installed."""
    (tmp_path / "brokenplug.py").write_text(ERRORS["import"][0])
    (tmp_path / "goodplug.py").write_text(GOOD)
    install_foreign(tmp_path, "brokenplug", "1.2", GROUPS)
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


@pytest.mark.parametrize("kind", ERRORS)
def test_whatever_its_module_does_is_one_line(tmp_path, monkeypatch, kind):
    source, wrong = ERRORS[kind]
    (tmp_path / "brokenplug.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "brokenplug", raising=False)
    entry = EntryPoint(name="x", group="robot_wm.tasks", value="brokenplug:task")
    with pytest.raises(UserError) as caught:
        load(entry)
    assert "robot_wm.tasks 'x' of another distribution cannot be imported: " + wrong in str(caught.value)


def robot_wm(arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robot_wm", *arguments.split()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_it_is_named_by_the_doctor_and_the_rest_works(foreign):
    wrong = ERRORS["import"][1]
    done = robot_wm("doctor --json", foreign)
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    for group, name in (("commands", "doctor2"), ("benchmarks", "theirs"), ("zoo", "theirs"), ("tasks", "their_task")):
        row = rows[f"robot_wm.{group} {name}"]
        assert row["status"] == "lacking"
        assert f"robot_wm.{group} '{name}' of brokenplug 1.2 cannot be imported: {wrong}" in row["found"]
        assert row["mend"] == "pip install --upgrade brokenplug  # or: pip uninstall brokenplug"
    assert "robot_wm.tasks their_good_task" not in rows


def test_the_doctor_says_what_of_each_group_is_of_whom(foreign):
    rows = {row["name"]: row for row in json.loads(robot_wm("doctor --json", foreign).stdout)["rows"]}
    for group in ALL_GROUPS:
        assert rows[group]["status"] == "ok"
        is_here = group != "robot_wm.bindings"  # of the ROS 2 package, which a workstation need not have
        assert not is_here or not rows[group]["found"].startswith("0 "), group
    tasks = rows["robot_wm.tasks"]["found"].split(", ")
    assert tasks[0].endswith(" of robot-wm")
    assert tasks[1:] == ["their_good_task (brokenplug 1.2)", "their_task (brokenplug 1.2)"]
    robots = rows["robot_wm.robots"]["found"].split(", ")
    assert robots[0] == f"{len(known('robots'))} of robot-wm"
    assert robots[1:] == ["their_good_robot (brokenplug 1.2)", "their_odd_robot (brokenplug 1.2)"]  # a1 is ours
    commands = rows["robot_wm.commands"]["found"].split(", ")
    assert "doctor2 (brokenplug 1.2)" in commands
    assert "doctor (brokenplug 1.2)" not in commands  # ours is used


def test_it_is_refused_in_one_line_where_it_is_asked_for(foreign):
    wrong = ERRORS["import"][1]
    asked = {
        "doctor2 --any option": "robot_wm.commands 'doctor2'",
        "tasks their_task": "robot_wm.tasks 'their_task'",
        "run --bundle zoo:cartpole_balance --backend their_engine": "robot_wm.backends 'their_engine'",
    }
    for arguments, named in asked.items():
        done = robot_wm(arguments, foreign)
        assert done.returncode == 2, done.stderr
        lines = [line for line in done.stderr.splitlines() if not line.startswith("pybullet build time")]
        assert len(lines) == 1, done.stderr
        assert f"{named} of brokenplug 1.2 cannot be imported: {wrong}" in lines[0]


def test_the_others_are_listed_beside_it(foreign):
    done = robot_wm("tasks --json", foreign)
    tasks = {row["task"]: row["description"] for row in json.loads(done.stdout)["rows"]}
    assert tasks["their_task"].startswith("cannot be used: robot_wm.tasks 'their_task'")
    assert tasks["their_good_task"] == "Somebody's task."
    assert tasks["cartpole_balance"].startswith("Keep")


def test_a_robot_of_another_distribution_is_found_by_name(foreign):
    done = robot_wm("firmware check --bundle zoo:cartpole_balance --robot their_good_robot --json", foreign)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["robot"] == "cartpole"
    done = robot_wm("firmware check --bundle zoo:cartpole_balance --robot their_odd_robot", foreign)
    assert done.returncode == 2
    assert "robot_wm.robots 'their_odd_robot' of brokenplug 1.2: goodplug:task is '<function task" in done.stderr
    assert "not the path of a .yaml" in done.stderr
    done = robot_wm("firmware check --bundle zoo:cartpole_balance --robot nobodys", foreign)
    assert "their_good_robot" in done.stderr


def test_robots_of_others_are_listed_and_ours_keep_their_names(foreign):
    done = robot_wm("firmware list --json", foreign)
    assert done.returncode == 0, done.stderr
    rows = [row for row in json.loads(done.stdout)["rows"] if row["kind"] == "robot"]
    told = {row["name"]: row["what"] for row in rows}
    assert len(told) == len(rows)
    assert told["their_good_robot"].endswith("(brokenplug 1.2)")
    assert told["their_odd_robot"].startswith("cannot be used: robot_wm.robots 'their_odd_robot'")
    assert told["a1"].startswith("Unitree A1")
