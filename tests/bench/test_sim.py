"""`robot-wm bench sim`: the keys that others read, and that each raw loop holds the robot as the environment does."""

import json

import numpy as np
import pytest

from robot_wm.cli import run
from robot_wm.tasks import make_env
from robot_wm_bench import sim as bench_sim


def test_json_has_a_row_for_each_engine_in_one_process_and_in_two(capsys):
    assert run(["bench", "sim", "--json", "--steps", "40", "--repeats", "3"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [(row["backend"], row["processes"]) for row in result["rows"]] == [
        ("pybullet", 1),
        ("mujoco", 1),
        ("pybullet", 2),
        ("mujoco", 2),
    ]
    for row in result["rows"]:
        assert row["raw_steps_per_s"] > 0
        assert row["env_steps_per_s"] > 0
        assert row["ratio"] > 0
        assert row["raw_sim2real_steps_per_s"] > 0
        assert row["env_sim2real_steps_per_s"] > 0
        assert row["ratio_sim2real"] > 0
        assert row["sim2real_over_env"] > 0
    assert sorted(result["mujoco_over_pybullet"]) == ["env", "raw"]
    assert (result["task"], result["physics_rate_hz"], result["steps"], result["repeats"]) == (
        "a1_velocity",
        500,
        40,
        3,
    )


def test_ratios_are_medians_over_turns_and_not_ratios_of_medians():
    rates = {("pybullet", "raw"): [1.0, 2.0, 4.0], ("pybullet", "env"): [3.0, 2.0, 1.0]}
    rates |= {("pybullet", "raw_sim2real"): [1.0, 2.0, 4.0], ("pybullet", "env_sim2real"): [0.5, 0.5, 0.5]}
    row = bench_sim._row(rates, 1, "pybullet")
    assert (row["raw_steps_per_s"], row["env_steps_per_s"], row["ratio"]) == (2.0, 2.0, 1.0)
    assert (row["ratio_sim2real"], row["sim2real_over_env"]) == (0.25, 0.25)
    rates["pybullet", "env"] = [1.0, 4.0, 2.0]
    assert bench_sim._row(rates, 1, "pybullet")["ratio"] == 1.0


@pytest.fixture(params=bench_sim.BACKENDS)
def two_envs(request):
    """An engine's name, and two environments in it."""
    envs = [make_env(bench_sim.TASK, backend=request.param).unwrapped for _ in range(2)]
    yield (request.param, *envs)
    for env in envs:
        env.close()


def test_the_raw_loop_simulates_what_the_environment_does(two_envs):
    name, env, raw = two_envs
    for each in (env, raw):
        each.reset(seed=bench_sim.SEED)
    take = bench_sim._pybullet_steps(raw) if name == "pybullet" else bench_sim._mujoco_steps(raw)
    held = 0 if name == "pybullet" else 10  # steps that the second one's drives were set with
    assert bench_sim._raw_loop(raw, take)(495 - held) == 500 - held
    assert bench_sim._env_loop(env)(495) == 500
    for link in ("imu_link", "FR_toe", "RL_toe"):
        np.testing.assert_allclose(raw.sim.link_pose(link)[0], env.sim.link_pose(link)[0], atol=1e-6)
    assert env.sim.link_pose("imu_link")[0][2] < 0.35  # from 0.42 m on to its feet


@pytest.mark.parametrize("option", ["--steps", "--repeats"])
def test_nothing_to_measure_is_bad_input(capsys, option):
    assert run(["bench", "sim", option, "0"]) == 2
    assert capsys.readouterr().out == ""
