"""SimulatedRobot: the environment's own motion step by step, latencies to the step, noise, IMU; PhysicsClock."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm_sim.frames import rotate_inverse
from robot_wm_sim.realtime.physics_clock import CATCH_UP_S, PhysicsClock
from robot_wm_sim.realtime.simulated_robot import SimulatedRobot
from robot_wm_sim.sensing.sensor_model import LEGGED_GYM_NOISE, SensorModel
from robot_wm_sim.tasks.cartpole import CartpoleBalance

TASKS = ("a1_velocity", "panda_reach", "cartpole_swingup", "racecar_goal")
PROPRIO = {"observation": "proprio"}


@pytest.fixture
def build_robot():
    """SimulatedRobot.of_task; every robot is closed after the test."""
    built = []

    def build(task, options=PROPRIO, **robot):
        built.append(SimulatedRobot.of_task(task, options, **robot))
        return built[-1]

    yield build
    for robot in built:
        robot.close()


def wiggle(spec, number):
    """A command [A] that keeps every joint moving."""
    action = spec.action
    phase = 0.3 * number + np.arange(spec.action_dim)
    return np.array(action.offset) + 0.5 * np.array(action.scale) * np.sin(phase)


def drive_for(robot, steps, *, first=0):
    """A command at every control period; the blocks of the state after each physics step, [steps, 3J + 13]."""
    blocks = []
    for step in range(first, first + steps):
        if step % robot.spec.physics_steps == 0:
            robot.command(robot.spec.action.joints, wiggle(robot.spec, step // robot.spec.physics_steps))
        robot.advance()
        blocks.append(robot.sim.state.block.copy())
    return np.array(blocks)


@pytest.mark.parametrize(("task", "tolerance"), list(zip(TASKS, (0.0, 1e-11, 0.0, 1e-5), strict=True)))
def test_it_moves_as_the_environment_does(task, tolerance, build_env, build_robot):
    """Bit-equal but for velocity set-points, whose sums round differently (and a car's wheel contacts amplify that)."""
    env, robot = build_env(task, seed=5, **PROPRIO), build_robot(task, seed=5)
    env.reset(seed=5)
    np.testing.assert_array_equal(robot.sim.state.block, env.sim.state.block)
    rng = np.random.default_rng(0)
    for _ in range(25):
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        action = np.clip(action, env.action_space.low, env.action_space.high)
        env.step(action)
        robot.command(robot.spec.action.joints, action)
        robot.advance(robot.spec.physics_steps)
        np.testing.assert_allclose(robot.sim.state.block, env.sim.state.block, rtol=0, atol=tolerance)


def test_what_happens_to_a_task_s_robot_happens_to_it_too(build_env, build_robot, monkeypatch):
    """Pushes and the like, from the same generator at the same control steps."""
    drawn = []
    monkeypatch.setattr(CartpoleBalance, "advance", lambda self, sim, rng: drawn.append((self, rng.random())))
    env, robot = build_env("cartpole_balance", seed=5, **PROPRIO), build_robot("cartpole_balance", seed=5)
    env.reset(seed=5)
    for _ in range(3):
        env.step(np.zeros(1, dtype=np.float32))
        robot.advance(robot.spec.physics_steps)
    of_env, of_robot = ([value for owner, value in drawn if owner is task] for task in (env.task, robot.task))
    assert len(of_env) == 3
    assert of_robot == of_env


def test_a_seed_fixes_start_motion_and_noise(build_robot):
    def run(seed):
        model = SensorModel(noise_std=LEGGED_GYM_NOISE, observation_latency_s=0.006)
        robot = build_robot("a1_velocity", seed=seed, sensor_model=model)
        drive_for(robot, 40)
        robot.reset()
        drive_for(robot, 7)
        return np.concatenate([robot.sim.state.block, robot.sample().joint_velocity, robot.sample().orientation])

    np.testing.assert_array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


def test_a_robot_that_stands_lets_time_pass_and_then_moves_as_if_none_had(build_robot):
    held, free = build_robot("a1_velocity", seed=3), build_robot("a1_velocity", seed=3)
    start = held.sim.state.block.copy()
    held.command(held.spec.action.joints, wiggle(held.spec, 7))  # nobody obeys meanwhile
    held.stand(500)
    assert held.time_s == 500 / held.spec.physics_rate_hz
    np.testing.assert_array_equal(held.sim.state.block, start)
    held.reset()
    free.reset()
    np.testing.assert_array_equal(drive_for(held, 60), drive_for(free, 60))


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_an_action_latency_delays_commands_by_exactly_its_steps(steps, build_robot):
    """A command sent at step k through the latency is a command sent at step k + n without it."""
    robots = [
        build_robot("cartpole_balance", seed=1, sensor_model=SensorModel(action_latency_s=steps / 250)),
        build_robot("cartpole_balance", seed=1),
    ]
    for step in range(20):
        for robot, sent_at in zip(robots, (3, 3 + steps), strict=True):
            if step == sent_at:
                robot.command(("slider",), [7.0])
            robot.advance()
        np.testing.assert_array_equal(robots[0].sim.state.block, robots[1].sim.state.block)
        assert robots[0].sim.state.joint_effort[0] == (7.0 if 3 + steps <= step else 0.0)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_sensor_latency_shows_readings_of_exactly_so_many_steps_ago(steps, build_robot):
    model = SensorModel(observation_latency_s=steps / 500)
    late, prompt = build_robot("a1_velocity", sensor_model=model), build_robot("a1_velocity")
    readings = [prompt.sample()]
    for step in range(1, 15):
        for robot in (late, prompt):
            drive_for(robot, 1, first=step - 1)
        readings.append(prompt.sample())
        sample = late.sample()
        expected = readings[max(0, step - steps)]
        np.testing.assert_array_equal(sample.joint_position, expected.joint_position)
        np.testing.assert_array_equal(sample.linear_acceleration, expected.linear_acceleration)
        assert sample.time_s == expected.time_s
    late.reset()
    np.testing.assert_array_equal(late.sample().joint_position, late.sim.state.joint_position)


def test_pictures_are_late_by_the_same_steps(build_robot):
    model = SensorModel(observation_latency_s=0.004)
    robot = build_robot("racecar_goal", {"observation": "image"}, sensor_model=model)
    robot.look()
    assert robot.sample().images == {}
    robot.advance()
    assert robot.sample().images == {}
    robot.advance()
    assert robot.sample().images["camera"].shape == (64, 64, 3)
    assert robot.sample().images == {}  # each comes once


def test_noise_has_the_sizes_asked_for_and_stays_in_the_sample(build_robot):
    sizes = {"joint_position": 0.02, "joint_velocity": 0.3, "angular_velocity": 0.1, "gravity": 0.04}
    robot = build_robot("a1_velocity", sensor_model=SensorModel(noise_std=sizes))
    clean = build_robot("a1_velocity").sample()
    samples = [robot.sample() for _ in range(600)]
    gravity = np.array([rotate_inverse(sample.orientation, (0.0, 0.0, -1.0)) for sample in samples])
    for name, size in (("joint_position", 0.02), ("joint_velocity", 0.3), ("angular_velocity", 0.1)):
        errors = np.array([getattr(sample, name) for sample in samples]) - getattr(clean, name)
        assert errors.std(axis=0) == pytest.approx(size, rel=0.15)  # five standard errors of 600 draws
        assert abs(errors.mean(axis=0)).max() < 5 * size / 600**0.5
    assert gravity[:, :2].std(axis=0) == pytest.approx(0.04, rel=0.15)
    np.testing.assert_allclose(np.linalg.norm([s.orientation for s in samples], axis=1), 1.0)
    for name in ("joint_effort", "base_position", "linear_velocity", "linear_acceleration"):
        np.testing.assert_array_equal(getattr(samples[-1], name), getattr(clean, name))


def test_an_accelerometer_feels_nothing_in_free_fall_and_its_weight_at_rest(build_robot):
    falling = build_robot("a1_velocity")
    falling.advance(2)  # it starts clear of the ground
    np.testing.assert_allclose(falling.sample().linear_acceleration, 0.0, atol=0.6)  # the legs swing a little
    standing = build_robot("racecar_goal")
    standing.advance(500)
    np.testing.assert_allclose(standing.sample().linear_acceleration, [0.0, 0.0, 9.81], atol=0.05)


def test_the_imu_speaks_in_the_base_s_own_axes(build_robot):
    robot = build_robot("a1_velocity", seed=2)
    drive_for(robot, 60)
    sample, state = robot.sample(), robot.sim.state
    x, y, z, w = state.base_quaternion
    turn = np.array(  # rotation matrix of a unit quaternion
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    np.testing.assert_allclose(sample.angular_velocity, turn.T @ state.base_angular_velocity, atol=1e-12)
    np.testing.assert_allclose(sample.linear_velocity, turn.T @ state.base_linear_velocity, atol=1e-12)
    assert abs(sample.angular_velocity - state.base_angular_velocity).max() > 1e-3  # the axes do differ


def test_a_coupling_reads_the_mean_of_its_joints(build_robot):
    robot = build_robot("racecar_goal")
    drive_for(robot, 50)
    sample = robot.sample()
    assert sample.joint_names[-2:] == ("drive", "steering")
    np.testing.assert_allclose(
        sample.joint_velocity[-2:], [sample.joint_velocity[:4].mean(), sample.joint_velocity[4:6].mean()]
    )


@pytest.mark.parametrize("stop", ["estop", "damp", "watchdog"])
def test_a_stopped_robot_brakes_with_kd_alone(stop, build_robot):
    robot = build_robot("a1_velocity")
    drive_for(robot, 20)
    if stop == "damp":
        robot.firmware.damp(True)
    elif stop == "estop":
        robot.firmware.estop()
    else:
        robot.advance(50)
    for _ in range(30):
        velocity = robot.sim.state.joint_velocity.copy()
        if stop != "watchdog":
            robot.command(robot.spec.action.joints, wiggle(robot.spec, 0))
        robot.advance()
        np.testing.assert_allclose(robot.sim.state.joint_effort, -0.5 * velocity)  # 20 N·m are far away
    robot.reset()
    drive_for(robot, 1)
    assert robot.firmware.mode.value == ("damp" if stop == "damp" else "following")


def test_a_refused_command_is_counted_with_its_reason(build_robot):
    robot = build_robot("cartpole_balance")
    robot.command(("slider",), [float("nan")])
    robot.command(("pole",), [1.0])
    robot.advance()
    assert robot.refused == 2
    assert robot.refusal == "joints pole are not slider"


def test_a_task_without_a_robot_of_ours_is_refused():
    with pytest.raises(UserError, match=r"gym:gymnasium:CartPole-v1: it has no robot"):
        SimulatedRobot.of_task("gym:gymnasium:CartPole-v1")


@given(times=st.lists(st.floats(0.0, 0.1), min_size=1, max_size=30), rate_hz=st.sampled_from([250.0, 333.0, 500.0]))
def test_physics_is_never_ahead_and_less_than_a_step_behind(times, rate_hz):
    clock = PhysicsClock(rate_hz)
    now_s, done = 1000.0, 7
    clock.start(now_s, steps=done)
    for elapsed_s in times:
        now_s += elapsed_s
        done += clock.due(now_s, done)
        assert -1e-5 <= (now_s - 1000.0) * rate_hz - (done - 7) < 1.0 + 1e-5
    assert clock.given_up_s == 0.0


def test_physics_on_the_grid_does_one_step_a_turn():
    clock = PhysicsClock(500.0)
    clock.start(1e6)
    assert [clock.due(1e6 + 0.002 * (k + 1), k) for k in range(1000)] == [1] * 1000


def test_what_cannot_be_caught_up_with_is_given_up_and_counted():
    clock = PhysicsClock(500.0)
    clock.start(10.0)
    assert clock.due(13.0, 0) == round(CATCH_UP_S * 500)
    assert clock.given_up_s == pytest.approx(3.0 - CATCH_UP_S)
    assert clock.due(13.0, 125) == 0
    assert clock.due(13.1, 125) == 50


def test_a_faster_clock_asks_for_more_physics():
    clock = PhysicsClock(500.0, speed=4.0)
    clock.start(0.0)
    assert clock.due(0.1, 0) == 200
