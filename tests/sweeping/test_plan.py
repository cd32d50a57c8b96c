"""What a sweep's file may say: everything is held against the settings of a run before anything starts."""

from __future__ import annotations

import pytest

from robot_wm.errors import UserError
from robot_wm.sweeping.plan import Sweep
from robot_wm.sweeping.space import merged, run_of, value_at, with_values
from robot_wm.yaml_file import write_yaml

RATE = {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}


def read(tmp_path, **changes):
    body = {
        "preset": "quickstart",
        "space": {"dreamer.learning_rate": RATE},
        "budget": {"trials": 3, "steps": 2000},
    }
    file = tmp_path / "sweep.yaml"
    file.write_text(write_yaml(body | changes))
    return Sweep(file)


def test_settings_come_over_the_file_over_the_preset(tmp_path):
    (tmp_path / "mine.yaml").write_text("train_ratio: 16\nenvs: 2\ndreamer: {horizon: 5}\n")
    sweep = read(tmp_path, config="mine.yaml", settings={"envs": 3, "stop_at_return": None})
    assert (sweep.base.train_ratio, sweep.base.envs, sweep.base.stop_at_return) == (16, 3, None)
    assert (sweep.base.settings.horizon, sweep.base.settings.batch_length) == (5, 16)  # the file's, the preset's
    assert sweep.base.steps == 2000
    assert sweep.whole_run(sweep.settings)["steps"] == 60_000  # as the preset says, for a run by the best settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"dreamer.learning_rat": RATE}}, "did you mean dreamer.learning_rate"),
        ({"space": {"learning_rate": RATE}}, "did you mean .*dreamer.learning_rate"),
        ({"space": {"seed": RATE}}, "seed: not to be set here"),
        ({"space": {"muzero.learning_rate": RATE}}, "muzero: settings of another agent"),
        ({"space": {"dreamer.horizon": {"type": "float", "low": 1, "high": 9}}}, "horizon: .*integer"),
        ({"space": {"dreamer.horizon": {"type": "int", "low": 0, "high": 9}}}, "horizon: .*greater than or equal to 1"),
        ({"space": {"dreamer.size": {"type": "choice", "values": ["nano", "huge"]}}}, "size: .*huge"),
        ({"space": {"train_ratio": {"type": "float", "low": 2, "high": 1}}}, "low 2 is not below high 1"),
        ({"space": {"train_ratio": {"type": "float", "low": 0, "high": 1, "log": True}}}, "must be above 0"),
        ({"space": {"envs": {"type": "int", "low": 1, "high": 4, "step": 2}}}, "high 4 is not low 1 and a multiple"),
        ({"space": {"envs": {"type": "choice", "values": [2, 2]}}}, "stands twice"),
        ({"space": {"envs": {"type": "integer", "low": 1, "high": 4}}}, "space.envs: .*'float', 'int', 'choice'"),
        ({"space": {}}, "space: .*at least 1"),
        ({"settings": {"steps": 3}}, "steps: not to be set here: budget.steps"),
        ({"settings": {"dreamer": {"horzion": 3}}}, "did you mean dreamer.horizon"),
        ({"settings": {"eval_every_steps": None, "stop_at_return": None}}, "evaluated never"),
        ({"settings": {"eval_every_steps": 5000}}, "evaluated every 5000 steps, and have 2000"),
        ({"budget": {"trials": 0, "steps": 2000}}, "budget.trials"),
        ({"pruner": {"min_steps": 3000}}, "pruner.min_steps 3000 is more than budget.steps 2000"),
        ({"objective": {"direction": "up"}}, "objective.direction"),
        ({"preset": "quickest"}, "unknown preset"),
        ({"config": "none.yaml"}, "none.yaml: no such file"),
        ({"preset": None}, "names neither preset nor config nor settings.task"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, **changes)
    assert "\n" not in str(error.value)


def test_values_go_where_their_names_say(tmp_path):
    sweep = read(tmp_path, space={"dreamer.learning_rate": RATE, "task_options.observation": OPTION, "envs": ENVS})
    values = {"dreamer.learning_rate": 0.005, "task_options.observation": "image", "envs": 2}
    config = run_of(with_values(sweep.settings, values), origin="a trial")
    assert {name: value_at(config, name) for name in values} == values
    assert config.settings.batch_length == sweep.base.settings.batch_length
    assert sweep.settings["dreamer"]["learning_rate"] == 0.001  # as it was


OPTION = {"type": "choice", "values": ["proprio", "image"]}
ENVS = {"type": "int", "low": 1, "high": 4}


def test_what_is_merged_wins_and_none_takes_away():
    below = {"a": 1, "b": {"c": 2, "d": 3}}
    assert merged(below, {"b": {"c": None, "e": 4}, "a": 5}) == {"a": 5, "b": {"d": 3, "e": 4}}
    assert below == {"a": 1, "b": {"c": 2, "d": 3}}
