"""panda_reach: targets, rewards, velocity commands, and a hand-written controller that reaches."""

import numpy as np
import pytest
from scripted import constant, episode, panda_tool, reach

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


@pytest.mark.parametrize("distance", [0.0, 0.029, 0.18, 0.33, 0.63])  # m
@pytest.mark.parametrize(("speeds", "still"), [([0.0] * 7, 1.0), ([1.0] * 7, 0.9), ([0.5, *[0.0] * 6], 1 - 0.025 / 7)])
def test_reward_is_the_closed_form_of_distance_and_command(build_env, distance, speeds, still):
    env = build_env("panda_reach")
    env.reset(seed=0)
    env.task._target = env.sim.link_pose(TOOL)[0] + np.array([0.0, distance, 0.0])
    outcome = env.task.outcome(env.sim, np.array(speeds))
    expected = {0.0: 1.0, 0.029: 1.0, 0.18: 1 / 2, 0.33: 1 / 4, 0.63: 1 / 16}[distance]
    assert outcome.reward == pytest.approx(expected * still, rel=1e-6)
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


def test_the_tool_is_where_the_makers_kinematics_put_it(build_env):
    sim = build_env("panda_reach").sim
    rng = np.random.default_rng(0)
    low, high = np.array([PANDA.joint(name).limits.position for name in ARM]).T
    for _ in range(5):
        joints = rng.uniform(low, high)

        def tool(at):
            sim.place(joint_position=np.concatenate([at, np.zeros(2)]))
            return sim.link_pose(TOOL)[0]

        here, jacobian = panda_tool(joints)
        np.testing.assert_allclose(tool(joints), here, atol=1e-5)
        slopes = np.stack([(tool(joints + step) - tool(joints - step)) / 0.02 for step in np.eye(7) * 0.01], axis=1)
        np.testing.assert_allclose(jacobian, slopes, atol=1e-3)


def test_a_damped_jacobian_controller_reaches_the_targets(build_env):
    env = build_env("panda_reach")
    for seed in range(4):
        result = episode(env, reach, seed=seed)
        assert not result.terminated
        assert result.info["success"]
        assert result.info["figures"]["distance_m"] < 0.01
        assert 0.3 < result.info["figures"]["reach_time_s"] < 2.0
        assert env.task.outcome(env.sim, np.zeros(7)).reward == 1.0


def test_the_time_to_reach_is_that_of_the_first_arrival_or_all_of_it(build_env):
    env = build_env("panda_reach")
    assert episode(env, constant(np.zeros(7)), seed=0).info["figures"]["reach_time_s"] == 5.0
    env.reset(seed=0)
    times = []
    for distance in (0.2, 0.02, 0.2, 0.02):
        env.task._target = env.sim.link_pose(TOOL)[0] + np.array([0.0, distance, 0.0])
        times.append(env.task.outcome(env.sim, np.zeros(7)).info["figures"]["reach_time_s"])
    assert times == [0.05, 0.1, 0.1, 0.1]  # s, of 20 steps a second
    env.reset(seed=0)
    *_, info = env.step(np.zeros(7, np.float32))
    assert info["figures"]["reach_time_s"] == 0.05  # a new episode counts anew
    assert env.task.figure_names == tuple(info["figures"])
