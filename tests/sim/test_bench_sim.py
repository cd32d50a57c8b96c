"""`robot-wm bench sim`: the keys that others read."""

import json

import pytest

from robot_wm.cli import run


def test_json_has_a_row_for_one_process_and_for_two(capsys):
    assert run(["bench", "sim", "--json", "--steps", "40", "--repeats", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [row["processes"] for row in result["rows"]] == [1, 2]
    for row in (result, *result["rows"]):
        assert row["raw_steps_per_s"] > 0
        assert row["env_steps_per_s"] > 0
        assert row["ratio"] > 0
    assert {key: result[key] for key in ("raw_steps_per_s", "env_steps_per_s", "ratio")} == {
        key: value for key, value in result["rows"][0].items() if key != "processes"
    }
    assert (result["task"], result["physics_rate_hz"]) == ("a1_velocity", 500)


@pytest.mark.parametrize("option", ["--steps", "--repeats"])
def test_nothing_to_measure_is_bad_input(capsys, option):
    assert run(["bench", "sim", option, "0"]) == 2
    assert capsys.readouterr().out == ""
