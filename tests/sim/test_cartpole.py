"""The cartpole tasks: rewards at known states, ends, and controllers written by hand that solve them."""

import math

import numpy as np
import pytest

# LQR of the linearised cartpole, 50 Hz, state cost (1, 10, 0.1, 0.1), control cost 0.1: N per (m, rad, m/s, rad/s).
LQR = np.array([2.8326, 39.598, 4.1759, 9.9043])


def reward_at(env, *, x=0.0, angle=0.0, rate=0.0, force=0.0):
    env.sim.place(joint_position=np.array([x, angle]), joint_velocity=np.array([0.0, rate]))
    return env.task.outcome(env.sim, np.array([force])).reward


@pytest.mark.parametrize("task", ["cartpole_balance", "cartpole_swingup"])
@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({}, 1.0),
        ({"angle": math.pi / 3}, 0.75),
        ({"angle": math.pi}, 0.0),
        ({"x": 2.0}, (1 + 0.1) / 2),
        ({"x": -1.0}, (1 + 0.1**0.25) / 2),
        ({"force": 10.0}, 0.8),
        ({"force": -5.0}, (4 + 0.75) / 5),
        ({"rate": 5.0}, (1 + 0.1) / 2),
        ({"x": 2.0, "angle": math.pi / 2, "force": 10.0, "rate": -5.0}, 0.55 * 0.5 * 0.8 * 0.55),
    ],
)
def test_reward_is_the_closed_form(build_env, task, state, expected):
    assert reward_at(build_env(task), **state) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("x", "angle", "over"),
    [(0.0, 0.79, False), (0.0, 0.81, True), (0.0, -0.81, True), (1.79, 0.0, False), (-1.81, 0.0, True)],
)
def test_balance_ends_when_the_pole_falls_or_the_cart_leaves(build_env, x, angle, over):
    env = build_env("cartpole_balance")
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
        observation, _ = env.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            names = ("cart_position", "pole_angle", "cart_velocity", "pole_velocity")
            state = np.concatenate([observation[name] for name in names])
            observation, reward, terminated, truncated, _ = env.step(np.array([LQR @ state], np.float32))
            total, done = total + reward, terminated or truncated
        assert truncated
        assert 480 < total <= 500


def test_energy_pumping_and_lqr_swing_the_pole_up(build_env):
    env = build_env("cartpole_swingup")
    observation, _ = env.reset(seed=0)
    rewards, done = [], False
    while not done:
        x, (sine, cosine), speed, rate = (observation[field.name] for field in env.agent_spec.observations)
        angle, (x, speed, rate) = math.atan2(sine, cosine), map(float, (x[0], speed[0], rate[0]))
        if abs(angle) < 0.5 and abs(rate) < 4.0:
            force = LQR @ (x, angle, speed, rate)
        else:
            missing = 0.5 * 0.0333 * rate**2 + 0.1 * 9.81 * 0.5 * (cosine - 1.0)  # J, negative while too slow
            force = 1.1 * (np.clip(60.0 * missing * rate * cosine, -8.0, 8.0) - 2.0 * x - speed)
        observation, reward, terminated, truncated, _ = env.step(np.array([force], np.float32))
        rewards.append(reward)
        done = terminated or truncated
    assert sum(rewards) > 380
    assert min(rewards[-100:]) > 0.95
