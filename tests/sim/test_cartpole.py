"""The cartpole tasks: rewards at known states, ends, and controllers written by hand that solve them."""

import math

import numpy as np
import pytest
from scripted import episode, hold_upright, swing_up


def reward_at(env, *, x=0.0, angle=0.0, rate=0.0, force=0.0):
    env.reset(seed=0)
    env.sim.place(joint_position=np.array([x, angle]), joint_velocity=np.array([0.0, rate]))
    return env.task.outcome(env.sim, np.array([force])).reward


@pytest.mark.parametrize("task", ["cartpole_balance", "cartpole_swingup"])
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, 1.0),
        ({"x": 1.79}, (1 + 0.1 ** (0.895**2)) / 2),
        ({"angle": math.pi / 3}, 0.75),
        ({"angle": math.pi}, 0.0),
        ({"x": -1.0}, (1 + 0.1**0.25) / 2),
        ({"force": 10.0}, 0.8),
        ({"force": -5.0}, (4 + 0.75) / 5),
        ({"rate": 5.0}, (1 + 0.1) / 2),
        ({"x": 1.0, "angle": math.pi / 2, "force": 10.0, "rate": -5.0}, (1 + 0.1**0.25) / 2 * 0.5 * 0.8 * 0.55),
    ],
)
def test_reward_is_the_closed_form(build_env, task, state, expected):
    assert reward_at(build_env(task), **state) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("task", "expected"), [("cartpole_balance", (1 + 0.1) / 2), ("cartpole_swingup", 0.0)])
def test_only_balance_pays_for_its_last_step_off_the_rail(build_env, task, expected):
    for x in (2.0, -2.0):
        assert reward_at(build_env(task), x=x) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("x", "angle", "over"),
    [(0.0, 0.79, False), (0.0, 0.81, True), (0.0, -0.81, True), (1.79, 0.0, False), (-1.81, 0.0, True)],
)
def test_balance_ends_when_the_pole_falls_or_the_cart_leaves(build_env, x, angle, over):
    env = build_env("cartpole_balance")
    env.reset(seed=0)
    env.sim.place(joint_position=np.array([x, angle]))
    assert env.task.outcome(env.sim, np.zeros(1)).terminated is over


def test_the_end_stops_hold_the_cart_and_do_not_end_a_swing_up(build_env):
    env = build_env("cartpole_swingup")
    env.reset(seed=0)
    positions = []
    for _ in range(200):
        observation, _, terminated, _, _ = env.step(np.array([10.0], np.float32))
        assert not terminated
        positions.append(observation["cart_position"][0])
    assert 1.9 < max(positions) < 2.05


def test_a_pole_that_whirls_over_a_cart_at_the_stop_earns_next_to_nothing(build_env):
    env = build_env("cartpole_swingup")
    for seed in range(3):
        result = episode(env, lambda observation, time_s: np.array([10.0 if time_s < 0.5 else -10.0]), seed=seed)
        assert abs(env.sim.state.joint_velocity[1]) > 5.0  # rad/s: still whirling
        assert result.total < 20.0


def test_swing_up_starts_hanging_and_tells_direction_not_angle(build_env):
    env = build_env("cartpole_swingup")
    observation, _ = env.reset(seed=0)
    # A robot's node reads the elements of joint_states by these labels.
    labels = {field.name: field.labels for field in env.agent_spec.observations}
    assert labels["pole_direction"] == ("sin(hinge)", "cos(hinge)")
    sine, cosine = observation["pole_direction"]
    assert cosine < -0.99
    assert math.hypot(sine, cosine) == pytest.approx(1.0)


def test_a_written_out_lqr_balances_for_more_than_480(build_env):
    env = build_env("cartpole_balance")
    for seed in range(3):
        result = episode(env, hold_upright, seed=seed)
        assert not result.terminated
        assert 480 < result.total <= 500
        assert result.info["figures"] == {"upright_share": 1.0}


def test_energy_pumping_and_lqr_swing_the_pole_up(build_env):
    env = build_env("cartpole_swingup")
    result = episode(env, swing_up, seed=0)
    assert result.total > 380
    assert result.info["figures"]["upright_share"] > 0.75
    assert env.task.outcome(env.sim, np.zeros(1)).reward > 0.95


@pytest.mark.parametrize("task", ["cartpole_balance", "cartpole_swingup"])
def test_upright_share_counts_the_steps_within_a_fifth_of_a_radian(build_env, task):
    env = build_env(task)
    env.reset(seed=0)
    shares = []
    for angle in (0.19, -0.21, 2 * math.pi + 0.19, math.pi):
        env.sim.place(joint_position=np.array([0.0, angle]))
        shares.append(env.task.outcome(env.sim, np.zeros(1)).info["figures"]["upright_share"])
    assert shares == [1.0, 1 / 2, 2 / 3, 2 / 4]
    env.reset(seed=0)
    *_, info = env.step(np.zeros(1, np.float32))
    assert info["figures"]["upright_share"] in (0.0, 1.0)  # a new episode counts anew
    assert env.task.figure_names == tuple(info["figures"])
