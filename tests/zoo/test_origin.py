"""The command line that is told for a run gives, typed again, the settings of that run."""

import shlex
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.agents import DEFAULT
from robot_wm.options import MOST_SEED
from robot_wm.training.command import TrainFlags, app, run_config
from robot_wm.training.config import TrainConfig
from robot_wm_export.zoo_origin import command_line

PRESETS = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted((Path(str(files("robot_wm.training"))) / "presets").glob("*.yaml"))
}


def typed(line):
    """The settings that `robot-wm train` gets from a command line."""
    program, command, *flags = shlex.split(line)
    assert (program, command) == ("robot-wm", "train")
    _, bound, _ = app.parse_args(flags, exit_on_error=False, print_error=False)
    return run_config(bound.kwargs.get("flags", TrainFlags()))


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_told_by_its_name(name):
    assert command_line(TrainConfig(**PRESETS[name], run_dir="somewhere")) == f"robot-wm train --preset {name}"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"task": "gym:gymnasium:CartPole-v1"},
        {"task": "racecar_goal", "task_options": {"observation": "image", "damp": True, "n": 2, "x": 0.5}},
        {"actor": "process", "realtime": True, "stop_at_return": -3.5, "eval_every_steps": 100},
        {"dreamer": {"size": "1m", "units": 96, "image_multipliers": (1, 2, 3)}},
        {"agent": "muzero"},
        {"agent": "muzero", "envs": 4, "muzero": {"size": "nano", "unroll": 3, "learning_rate": 1e-3}},
        PRESETS["quickstart"] | {"time_limit_s": None},  # which no flag can unset
        PRESETS["racecar_goal"] | {"task_options": {}},
    ],
)
def test_settings_of_every_kind_come_back(changes):
    config = TrainConfig(**changes)
    assert typed(command_line(config)) == config


@settings(max_examples=25, deadline=None)
@given(
    preset=st.sampled_from(sorted(PRESETS)),
    seed=st.integers(0, MOST_SEED),
    envs=st.integers(1, 32),
    train_ratio=st.floats(1e-3, 1e4),
    size=st.sampled_from(["nano", "1m"]),  # which every kind of agent has
    learning_rate=st.floats(1e-7, 1.0),
)
def test_changes_to_a_preset_come_back(preset, size, learning_rate, **changes):
    base = PRESETS[preset]
    kind = base.get("agent", DEFAULT)
    own = base[kind] | {"size": size, "learning_rate": learning_rate}
    config = TrainConfig(**base | changes | {kind: own})
    line = command_line(config)
    assert typed(line) == config
    assert len(shlex.split(line)) < 30
