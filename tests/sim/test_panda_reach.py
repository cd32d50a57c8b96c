"""panda_reach: targets, rewards, velocity commands, and a hand-written controller that reaches."""

import numpy as np
import pytest

from robot_wm_sim.robots.panda import ARM, PANDA, TOOL
from robot_wm_sim.tasks.panda_reach import TARGET_HIGH, TARGET_LOW


def test_targets_are_drawn_from_the_commands_ranges_and_shown(build_env):
    env = build_env("panda_reach", observation="both")
    targets = np.array([env.reset(seed=seed)[0]["target_position"] for seed in range(40)])
    assert (targets >= np.float32(TARGET_LOW)).all()
    assert (targets <= np.float32(TARGET_HIGH)).all()
    assert (np.ptp(targets, axis=0) > 0.7 * (np.array(TARGET_HIGH) - TARGET_LOW)).all()
    assert [(command.low, command.high) for command in env.agent_spec.commands] == list(
        zip(TARGET_LOW, TARGET_HIGH, strict=True)
    )
    places = []
    for seed in (0, 1):
        picture = env.reset(seed=seed)[0]["camera"].astype(int)
        red = (picture[..., 0] > 100) & (3 * picture[..., 1] < picture[..., 0])
        assert red.sum() >= 3
        places.append(np.argwhere(red).mean(axis=0))
    assert np.linalg.norm(places[0] - places[1]) > 3.0  # pixels


@pytest.mark.parametrize(("distance", "expected"), [(0.0, 1.0), (0.029, 1.0), (0.43, 0.1), (0.23, 0.1**0.25)])
def test_reward_is_the_closed_form_of_the_distance(build_env, distance, expected):
    env = build_env("panda_reach")
    env.reset(seed=0)
    env.task._target = env.sim.link_pose(TOOL)[0] + np.array([0.0, distance, 0.0])
    outcome = env.task.outcome(env.sim, np.zeros(7))
    assert outcome.reward == pytest.approx(expected, rel=1e-6)
    assert outcome.info["success"] is (distance <= 0.03)
    assert not outcome.terminated


def test_joints_turn_with_the_commanded_velocities_and_hold_still_after(build_env):
    env = build_env("panda_reach")
    start = env.reset(seed=0)[0]["joint_position"]
    command = np.array([0.3, -0.2, 0.3, 0.2, -0.3, 0.3, -0.3], np.float32)
    for _ in range(20):
        observation, *_ = env.step(command)
    np.testing.assert_allclose(observation["joint_position"] - start, command, atol=0.02)
    np.testing.assert_allclose(observation["joint_velocity"], command, atol=0.05)
    for _ in range(20):
        observation, *_ = env.step(np.zeros(7, np.float32))
    np.testing.assert_allclose(observation["joint_position"] - start, command, atol=0.01)
    np.testing.assert_allclose(observation["joint_velocity"], 0.0, atol=0.01)


@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_joints_stay_inside_their_limits_under_any_constant_command(build_env, side):
    env = build_env("panda_reach")
    env.reset(seed=0)
    low, high = np.array([PANDA.joint(name).limits.position for name in ARM]).T
    # Set-points end at the limits; the arm's mechanical stops lie 0.07 rad beyond them.
    for _ in range(100):
        observation, *_ = env.step(np.full(7, side, np.float32))
        assert (observation["joint_position"] > low - 0.07).all()
        assert (observation["joint_position"] < high + 0.07).all()


def test_a_damped_jacobian_controller_reaches_the_targets(build_env):
    env, model = build_env("panda_reach"), build_env("panda_reach").sim
    fingers = np.array([joint.home for joint in PANDA.joints])[7:]

    def tool(joints):
        model.place(joint_position=np.concatenate([joints, fingers]))
        return model.link_pose(TOOL)[0]

    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        truncated = False
        while not truncated:
            joints = observation["joint_position"].astype(np.float64)
            here = tool(joints)
            jacobian = np.stack([(tool(joints + step) - here) / 1e-4 for step in np.eye(7) * 1e-4], axis=1)  # [3, 7]
            error = observation["target_position"] - observation["tool_position"]
            speeds = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 0.01 * np.eye(3), 3.0 * error)
            observation, reward, terminated, truncated, info = env.step(speeds.astype(np.float32))
            assert not terminated
        assert info["success"]
        assert reward == 1.0
