"""The README's tables and lists of names are those of the code."""

import ast
import math
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import tomllib
import torch
from shown import ROOT, pages
from task_cards import WORLDS

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import SIZES, DreamerConfig
from robot_wm.spec import InputShape
from robot_wm.tasks import agent_spec, make_env
from robot_wm.zoo.catalog import Zoo
from robot_wm_sim.actuators.actuator import Actuator, TorqueSpeedCurve
from robot_wm_sim.actuators.network import ActuatorNetwork, Settings
from robot_wm_sim.robot import Joint

TEXT = pages()["README.md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
COMMANDS = PROJECT["entry-points"]


def rows(heading):
    """Cells of the first table below a heading, without its head."""
    below = TEXT[TEXT.index(f"\n## {heading}\n") :]
    table = re.search(r"(?:^\|.*\n)+", below, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


@pytest.mark.parametrize("row", rows("Sizes"), ids=lambda row: row[0])
def test_a_size_has_the_widths_and_parameters_of_its_row(row):
    name, deter, hidden, latents, units, *counts = (cell.strip("` ").replace(",", "") for cell in row)
    config = DreamerConfig(size=name)
    assert [config.deter, config.hidden, config.units] == [int(deter), int(hidden), int(units)]
    assert f"{config.stoch} × {config.classes}" == latents
    shapes = InputShape(shape=(48,), dtype="float32"), InputShape(shape=(64, 64, 3), dtype="uint8")
    for shape, count in zip(shapes, counts, strict=True):
        with torch.device("meta"):
            assert DreamerAgent(config, {"field": shape}, 12, False).parameter_count() == int(count)


def test_every_size_has_a_row():
    assert [row[0].strip("`") for row in rows("Sizes")] == list(SIZES)


@pytest.mark.parametrize("row", rows("Tasks")[:-1], ids=lambda row: row[0])
def test_a_task_has_the_observations_and_the_action_of_its_row(row):
    name, _, _, observations, action, _ = row
    count = int(re.search(r"(\d+) numbers", observations)[1]) if re.search(r"\d+ numbers", observations) else None
    task = name.strip("`")
    env = make_env(task, **({} if task in WORLDS else {"observation": "proprio"}))
    try:
        spec = agent_spec(env)
    finally:
        env.close()
    if count is not None:
        assert sum(math.prod(field.shape) for field in spec.observations) == count
    if not spec.action.is_discrete:
        assert action.endswith(f", {spec.action.unit}")
    if joints := re.match(r"\d+", action):
        assert spec.action_dim == int(joints[0])


MOTORS = [line.strip("|").split(" | ") for line in re.findall(r"^\| .*`(?:Actuator|Joint)\(.*$", TEXT, re.MULTILINE)]


@pytest.mark.parametrize("row", MOTORS, ids=lambda row: row[0].strip())
def test_a_motor_is_declared_as_its_row_says(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    layer = np.zeros((1, 6)), np.zeros(1)
    ActuatorNetwork(Settings(lags_s=(0.0, 0.01, 0.02), kp=20.0, layers=1), (layer,)).save(Path("net"))
    call = ast.parse(row[1].strip("` "), mode="eval").body
    names = {part.__name__: part for part in (Actuator, ActuatorNetwork, Joint, Path, TorqueSpeedCurve)}
    built = eval(ast.unparse(call), names)  # what the README says, and nothing else
    for keyword in call.keywords:
        assert getattr(built, keyword.arg) != getattr(type(built), keyword.arg, None)  # it is not what holds anyway


def test_every_part_of_a_motor_has_a_row():
    told = {keyword.arg for row in MOTORS for keyword in ast.parse(row[1].strip("` "), mode="eval").body.keywords}
    assert told == {field.name for field in fields(Actuator)} | {"name", "damping", "friction"}


@pytest.mark.parametrize("row", rows("The zoo"), ids=lambda row: row[0])
def test_an_agent_s_row_is_its_card(row):
    name, _, size, *told = row
    card = Zoo.shipped().card(name.strip("`").removeprefix("zoo:"))
    both = [card.evaluations[engine] for engine in ("pybullet", "mujoco")]
    assert size == card.size
    rates, falls = [one.success_rate for one in both], [one.falls for one in both]
    (episodes,) = {one.episodes for one in both}
    assert told == [
        ", ".join(f"{one.return_mean:.1f}" for one in both),
        "–" if None in rates else ", ".join(f"{rate:.2f}" for rate in rates),
        "–" if None in falls else f"{', '.join(map(str, falls))} of {episodes}",
    ]


def test_every_agent_of_the_zoo_has_a_row():
    assert [row[0].strip("`").removeprefix("zoo:") for row in rows("The zoo")] == list(Zoo.shipped().names())


def test_every_task_preset_and_extra_is_named():
    tasks = {row[0].strip("`") for row in rows("Tasks")}
    assert tasks == (set(COMMANDS["robot_wm.tasks"]) - {"gym"}) | {"gym:<module>:<Id>"}
    presets = re.search(r"presets: ([\w,#\s]+?)\n +robot-wm", TEXT)[1]
    shipped = {path.stem for path in (ROOT / "robot_wm/training/presets").glob("*.yaml")}
    assert set(re.findall(r"\w+", presets)) == shipped
    extras = re.search(r"\(extras: (.*?)\)", TEXT, re.DOTALL)[1]
    named = set(re.findall(r"`([\w-]+)`", extras)) | set(re.findall(r"robot-wm\[(\w+)\]", TEXT))
    assert named == set(PROJECT["optional-dependencies"])
