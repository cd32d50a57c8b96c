"""racecar_goal: driving, steering, rewards, what the camera sees, and a hand-written driver that arrives."""

import math

import numpy as np
import pytest
from scripted import episode, pursue

from robot_wm_sim.frames import from_yaw
from robot_wm_sim.robots.racecar import WHEEL_RADIUS_M


def drive(env, *, speed, steering, steps):
    for _ in range(steps):
        observation, *_ = env.step(np.array([speed, steering], np.float32))
    return observation


@pytest.fixture
def car(build_env):
    """The environment with the car in the middle, heading along x."""
    env = build_env("racecar_goal", observation="both")
    env.reset(seed=0)
    env.sim.place(joint_position=np.zeros(6), base_position=(0.0, 0.0, 0.0), base_quaternion=from_yaw(0.0))
    return env


def test_wheels_roll_the_car_forwards_and_backwards(car):
    observation = drive(car, speed=20.0, steering=0.0, steps=20)
    assert observation["linear_velocity"][0] == pytest.approx(20.0 * WHEEL_RADIUS_M, rel=0.1)
    assert observation["wheel_speed"][0] == pytest.approx(20.0, rel=0.1)
    assert abs(car.sim.state.base_position[1]) < 0.02
    observation = drive(car, speed=-20.0, steering=0.0, steps=20)
    assert observation["linear_velocity"][0] == pytest.approx(-20.0 * WHEEL_RADIUS_M, rel=0.1)


def test_steering_keeps_the_angle_it_was_brought_to_and_turns_left_when_positive(car):
    drive(car, speed=0.0, steering=4.0, steps=1)
    observation = drive(car, speed=10.0, steering=0.0, steps=30)
    assert observation["steering_angle"][0] == pytest.approx(0.2, abs=0.03)
    assert observation["yaw_rate"][0] > 0.2
    # A turning circle: yaw rate = v tan(angle) / wheelbase.
    expected = observation["linear_velocity"][0] * math.tan(0.2) / 0.325
    assert observation["yaw_rate"][0] == pytest.approx(expected, rel=0.25)


def test_steering_stays_inside_its_limits(car):
    observation = drive(car, speed=0.0, steering=4.0, steps=20)
    assert observation["steering_angle"][0] == pytest.approx(0.4, abs=0.02)


def test_rewards_add_up_to_the_progress_and_arrival_ends_the_episode(build_env):
    env = build_env("racecar_goal", observation="proprio")
    lengths = []
    for seed in range(4):
        start = np.linalg.norm(env.reset(seed=seed)[0]["goal_position"])
        result = episode(env, pursue, seed=seed)
        assert result.terminated
        assert result.info["success"] is True
        distance = result.info["figures"]["distance_m"]
        assert distance <= 0.35
        assert result.total == pytest.approx(start - distance + 5.0, abs=1e-4)
        lengths.append(start)
    assert min(lengths) >= 1.0


def test_standing_still_earns_nothing_and_is_no_success(build_env):
    env = build_env("racecar_goal", observation="proprio")
    env.reset(seed=0)
    rewards = [env.step(np.zeros(2, np.float32))[1:] for _ in range(200)]
    assert abs(sum(reward for reward, *_ in rewards)) < 0.01
    assert [step[1:3] for step in rewards[-2:]] == [(False, False), (False, True)]
    assert rewards[-1][3]["success"] is False


def test_the_car_stays_in_the_arena(build_env):
    env = build_env("racecar_goal", observation="proprio")
    env.reset(seed=3)
    for _ in range(100):
        env.step(env.action_space.high)
    assert np.abs(env.sim.state.base_position[:2]).max() < 3.0
    assert abs(env.sim.state.base_position[2]) < 0.1


def test_a_collision_is_counted_once_however_long_the_car_pushes(car):
    car.sim.place(joint_position=np.zeros(6), base_position=(2.3, 0.0, 0.0), base_quaternion=from_yaw(0.0))
    counts = []
    for speed, steps in ((0.0, 5), (20.0, 30), (-20.0, 15), (20.0, 30)):
        for _ in range(steps):
            *_, info = car.step(np.array([speed, 0.0], np.float32))
        counts.append(info["figures"]["collisions"])
    assert counts[0] == 0.0
    assert counts[1:] == [1.0, 1.0, 2.0]
    assert car.task.figure_names == tuple(info["figures"])


@pytest.mark.parametrize(("yaw", "touches"), [(0.0, False), (0.5, True), (math.pi - 0.5, True), (-0.5, False)])
def test_a_wheel_touches_a_side_wall_as_the_nose_does(car, yaw, touches):
    car.sim.place(joint_position=np.zeros(6), base_position=(0.0, 2.68, 0.0), base_quaternion=from_yaw(yaw))
    *_, info = car.step(np.zeros(2, np.float32))
    assert info["figures"]["collisions"] == float(touches)


def test_the_camera_sees_the_post_where_it_stands(car):
    columns = []
    for left in (0.4, 0.0, -0.4):
        car.sim.move_marker("goal", (1.5, left, 0.3))
        picture = car._observe()["camera"].astype(int)
        red = (picture[..., 0] > 100) & (picture[..., 1] + picture[..., 2] < 80)
        assert red.sum() > 20
        columns.append(np.nonzero(red)[1].mean())
    assert columns == sorted(columns)
    assert columns[1] == pytest.approx(31.5, abs=1.0)
