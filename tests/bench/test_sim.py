"""`robot-wm bench sim`: the keys that others read, and that each raw loop holds the robot as the environment does."""

import json
from pathlib import Path

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


@pytest.mark.parametrize("randomisation", ["none", "weak.yaml"])
@pytest.mark.parametrize("backend", bench_sim.BACKENDS)
def test_the_raw_loop_simulates_what_the_environment_does(tmp_path, monkeypatch, backend, randomisation):
    """An episode and two seconds of the next; with the same motors, too, whose battery loses 1.5 % in every second."""
    monkeypatch.chdir(tmp_path)
    Path("weak.yaml").write_text("kp_scale: 0.9\nmotor_strength: 0.8\njoint_friction: 0.01\nbattery_sag: 0.3\n")
    envs = [make_env(bench_sim.TASK, backend=backend, randomisation=randomisation).unwrapped for _ in range(2)]
    try:
        env, raw = envs
        loops = bench_sim._raw_loop(raw), bench_sim._env_loop(env)
        assert [[loop(495) for loop in loops] for _ in range(22)] == [[500, 500]] * 22
        for link in ("imu_link", "FR_toe", "RL_toe"):
            np.testing.assert_allclose(raw.sim.link_pose(link)[0], env.sim.link_pose(link)[0], atol=1e-6)
        assert env.sim.link_pose("imu_link")[0][2] < 0.35  # from 0.42 m on to its feet
    finally:
        for each in envs:
            each.close()


@pytest.mark.parametrize("option", ["--steps", "--repeats"])
def test_nothing_to_measure_is_bad_input(capsys, option):
    assert run(["bench", "sim", option, "0"]) == 2
    assert capsys.readouterr().out == ""
