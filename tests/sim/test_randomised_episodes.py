"""Episodes of randomised worlds: what each quantity does in them, and that nothing of one is left for the next."""

import itertools
import json
import math

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm_sim.drive import Drive
from robot_wm_sim.dynamics import Dynamics
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.randomisation.draw import Parts
from robot_wm_sim.randomisation.episode import Pushes
from robot_wm_sim.randomisation.ranges import Randomisation
from robot_wm_sim.sensing.sensor_model import SensorModel
from robot_wm_sim.tasks.a1 import A1Velocity

TASKS = ("a1_velocity", "panda_reach", "cartpole_swingup", "racecar_goal")
STEPS = 30


def trajectory(env, *, seed=5, draw=None, model=None, steps=STEPS):
    """Everything that an agent sees of an episode, and the truth at its end; actions depend on the step alone."""
    options = {"randomisation": draw} if draw is not None else {}
    options |= {"sensor_model": model} if model is not None else {}
    observation, info = env.reset(seed=seed, options=options)
    rng, seen = np.random.default_rng(0), [observation]
    rewards = []
    for _ in range(steps):
        observation, reward, terminated, _, _ = env.step(
            env.action_space.low + rng.random(env.action_space.shape) * (env.action_space.high - env.action_space.low)
        )
        seen.append(observation)
        rewards.append(reward)
        if terminated:
            break
    flat = np.concatenate([np.concatenate([value.ravel() for value in one.values()]) for one in seen])
    return flat, np.array(rewards), env.sim.state.block.copy(), info


def assert_equal(one, other):
    for ours, theirs in zip(one[:3], other[:3], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("backend", ["pybullet", "mujoco"])
def test_drives_that_are_said_to_be_the_same_are(build_env, monkeypatch, backend):
    """Late commands and readings cut a period into runs; a battery that sags renews the drives in between."""
    ranges = {"battery_sag": 0.9, "action_latency_s": 0.006, "observation_latency_s": 0.004, "jitter_s": 0.006}
    options = {"backend": backend, "randomisation": Randomisation.model_validate(ranges)}
    env, other = build_env("a1_velocity", **options), build_env("a1_velocity", **options)
    run, told = env.sim.run, []

    def tell_anew(drive, steps, *, refresh=True, is_same=False):
        numbers = b"".join(value.tobytes() for value in vars(drive).values())
        told.append((is_same, numbers))
        run(drive, steps, refresh=refresh)

    monkeypatch.setattr(env.sim, "run", tell_anew)
    assert_equal(trajectory(env, steps=55), trajectory(other, steps=55))
    pairs = list(itertools.pairwise(told))
    assert all(before == now for (_, before), (is_same, now) in pairs if is_same)
    assert sum(is_same for _, (is_same, _) in pairs) > 55
    assert sum(not is_same for _, (is_same, _) in pairs) > 55


@pytest.fixture
def drives(monkeypatch):
    """Makes an environment note what its drives are told, as copies."""

    def of(env):
        told, run = [], env.sim.run

        def note(drive, steps, **how):
            told.append(Drive(**{name: value.copy() for name, value in vars(drive).items()}))
            run(drive, steps, **how)

        monkeypatch.setattr(env.sim, "run", note)
        return told

    return of


# -- whole episodes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_a_logged_draw_brings_the_episode_again_bit_by_bit(build_env, backend, task):
    env = build_env(task, backend=backend, observation="proprio", randomisation="harsh")
    first = trajectory(env)
    log = json.dumps(first[3]["randomisation"])
    plain = build_env(task, backend=backend, observation="proprio")
    again = trajectory(plain, draw=json.loads(log))
    assert_equal(first, again)
    assert again[3] == first[3]
    assert not np.array_equal(first[2], trajectory(plain)[2])  # it was another world


@pytest.mark.parametrize("task", TASKS)
def test_nothing_is_left_of_a_world_for_the_next(build_env, backend, task):
    env = build_env(task, backend=backend, observation="proprio", randomisation="harsh")
    first = trajectory(env, seed=1)
    trajectory(env, seed=2)
    assert_equal(first, trajectory(env, seed=1))  # twice is as once
    # The empty draw is the world as built, and that of an environment that never was another.
    fresh = build_env(task, backend=backend, observation="proprio")
    assert_equal(trajectory(env, draw={}), trajectory(fresh))


@pytest.mark.parametrize("task", TASKS)
def test_the_task_draws_what_it_draws_without(build_env, task):
    plain = build_env(task, observation="proprio")
    env = build_env(task, observation="proprio", randomisation="sim2real")
    for seed in (3, None, None):  # of its own, and going on from the last
        starts = []
        for each in (plain, env):
            each.reset(seed=seed)
            starts.append(each.sim.state.block.copy())
        np.testing.assert_array_equal(*starts)
        assert plain.np_random.bit_generator.state == env.np_random.bit_generator.state


def test_episodes_without_a_seed_are_different_worlds(build_env):
    env = build_env("cartpole_balance", randomisation="sim2real")
    worlds = [env.reset(seed=0)[1]["randomisation"]] + [env.reset()[1]["randomisation"] for _ in range(3)]
    assert len({world["friction"] for world in worlds}) == 4
    assert env.reset(seed=0)[1]["randomisation"] == worlds[0]


def test_without_randomisation_a_reset_tells_nothing(build_env):
    env = build_env("cartpole_balance", randomisation="none")
    assert env.reset(seed=0)[1] == {}
    assert env.randomisation_names == ()


# -- what engine and robot can -----------------------------------------------------------------------------------------


def test_what_is_told_to_be_skipped_is_told_as_nothing_and_changes_no_other(build_env):
    told = {}
    for backend in ("pybullet", "mujoco"):
        env = build_env("a1_velocity", backend=backend, randomisation="sim2real")
        assert env.sim.dynamics == Dynamics()  # to ask what can be has left nothing
        told[backend] = env.reset(seed=4)[1]["randomisation"]
        assert set(told[backend]) <= set(env.randomisation_names)
    missing = {"armature_s2", "com_offset_m/x", "com_offset_m/y", "com_offset_m/z"}
    assert set(told["mujoco"]) - set(told["pybullet"]) == missing
    assert told["pybullet"] == {name: value for name, value in told["mujoco"].items() if name not in missing}


@pytest.mark.parametrize(
    ("task", "ranges", "message"),
    [
        ("a1_velocity", {"armature_s2": 0.001}, "armature_s2: armature: backend pybullet cannot change it"),
        ("a1_velocity", {"com_offset_m": {"plus_minus": 0.01}}, "com_offset_m: com_offset: backend pybullet cannot"),
        ("panda_reach", {"base_mass_scale": 1.1}, "base_mass_scale: robot franka_panda has a fixed base"),
        (
            "panda_reach",
            {"push_speed_m_s": 1.0, "push_interval_s": 1.0},
            "push_speed_m_s: robot franka_panda has a fixed base",
        ),
        ("a1_velocity", {"noise_std": {"tool_position": 0.1}}, "noise_std: tool_position: no sensor of this task"),
    ],
)
def test_what_cannot_be_is_refused_unless_it_may_be_skipped(build_env, task, ranges, message):
    with pytest.raises(UserError, match=rf"^randomisation: {message}"):
        build_env(task, backend="pybullet", randomisation=ranges)


# -- what each quantity does -------------------------------------------------------------------------------------------


def test_physics_is_what_the_draw_says(build_env, backend):
    env = build_env("a1_velocity", backend=backend, randomisation="sim2real")
    for seed in range(3):
        numbers = env.reset(seed=seed)[1]["randomisation"]
        dynamics = env.sim.dynamics
        assert dynamics.friction == numbers["friction"]
        assert dynamics.gravity == (0.0, 0.0, -(9.81 + numbers["gravity_offset_m_s2"]))
        assert dynamics.mass_scale["trunk"] == numbers["mass_scale"] * numbers["base_mass_scale"]
        assert dynamics.mass_scale["FR_toe"] == numbers["mass_scale"]
        assert dynamics.joint_friction["FR_hip_joint"] == numbers["joint_friction"] * 33.5
        assert dynamics.joint_damping["FR_hip_joint"] == numbers["joint_damping_s"] * 33.5
        if backend == "mujoco":
            assert dynamics.armature["FR_hip_joint"] == numbers["armature_s2"] * 33.5
            assert dynamics.com_offset["trunk"] == tuple(numbers[f"com_offset_m/{axis}"] for axis in "xyz")


def test_a_motor_of_half_the_strength_does_half_of_a_command(build_env, backend):
    env = build_env("cartpole_swingup", backend=backend)
    ends = []
    for command, draw in ((4.0, {"motor_strength": 0.5}), (2.0, {}), (4.0, {})):
        env.reset(seed=0, options={"randomisation": draw})
        for _ in range(20):
            env.step(np.array([command]))
        ends.append(env.sim.state.block.copy())
    np.testing.assert_array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


@pytest.mark.parametrize("late", [False, True])
def test_drives_are_told_scaled_gains_and_offset_set_points(build_env, drives, late):
    env = build_env("a1_velocity")
    told, home = drives(env), Drive.holding_home(env.task.scene.robot)
    joints = env.task.scene.robot.joint_names
    offsets = {f"joint_offset_rad/{name}": 0.001 * index for index, name in enumerate(joints)}
    # Offsets alone bring the way of late samples with them; strengths alone keep the short one.
    draw = {"motor_strength": 0.8, "kp_scale": 1.2, "kd_scale": 0.6} | (offsets if late else {})
    env.reset(seed=0, options={"randomisation": draw})
    command = np.array(env.agent_spec.action.offset) + 0.05
    env.step(command)
    (drive,) = told
    np.testing.assert_allclose(drive.kp, 0.8 * 1.2 * home.kp)
    np.testing.assert_allclose(drive.kd, 0.8 * 0.6 * home.kd)
    np.testing.assert_allclose(drive.limit, 0.8 * home.limit)
    wanted = command - (0.001 * np.arange(12) if late else 0.0)
    np.testing.assert_allclose(drive.position, wanted)


@pytest.mark.parametrize("late", [False, True])
def test_a_battery_sags_over_the_episode_to_what_was_drawn(build_env, drives, late):
    env = build_env("cartpole_balance")  # 500 steps at 50 Hz
    told = drives(env)
    draw = {"battery_sag": 0.2, "motor_strength": 0.9} | ({"action_latency_s": 0.004} if late else {})
    env.reset(seed=0, options={"randomisation": draw})
    for _ in range(120):
        env.step(np.array([1.0]))
    limits = np.array([drive.limit[0] for drive in told])
    built = env.task.scene.robot.motors[0].limits.effort
    np.testing.assert_allclose(sorted(set(limits / built), reverse=True), [0.9 * (1 - 0.2 * s / 10) for s in (0, 1, 2)])
    assert (np.diff(limits) <= 0).all()


def test_an_encoder_s_zero_is_off_in_what_is_told_and_where_the_joint_goes(build_env, backend):
    env = build_env("a1_velocity", backend=backend)
    joint = env.task.scene.robot.joint_names.index("FL_upper_joint")
    truth, told = [], []
    weightless = {"gravity_offset_m_s2": -9.8}  # a load would bend the joint beside
    for draw in (weightless, weightless | {"joint_offset_rad/FL_upper_joint": 0.05}):
        first, _ = env.reset(seed=2, options={"randomisation": draw})
        told.append(first["joint_position"])
        for _ in range(60):
            env.step(np.array(env.agent_spec.action.offset))
        truth.append(env.sim.state.joint_position.copy())
    expected = np.zeros(12)
    expected[joint] = 0.05
    np.testing.assert_allclose(told[1] - told[0], expected, atol=1e-6)
    assert (truth[1] - truth[0])[joint] == pytest.approx(-0.05, abs=0.006)


def test_a_joint_with_all_its_effort_in_friction_is_stuck_and_no_other_is(build_env, backend):
    env = build_env("a1_velocity", backend=backend)
    joints = env.task.scene.robot.joint_names
    stuck = joints.index("FL_lower_joint")
    env.reset(seed=2, options={"randomisation": {"gravity_offset_m_s2": -9.8, "joint_friction/FL_lower_joint": 1.0}})
    before = env.sim.state.joint_position.copy()
    for _ in range(60):
        env.step(np.array(env.agent_spec.action.offset) + 0.2)
    moved = env.sim.state.joint_position - before
    assert abs(moved[stuck]) < 0.03  # MuJoCo's dry friction is soft
    assert (np.abs(np.delete(moved, stuck)) > 0.1).all()


@pytest.mark.parametrize(
    ("numbers", "model"),
    [
        ({"observation_latency_s": 0.006}, SensorModel(observation_latency_s=0.006)),
        ({"action_latency_s": 0.006}, SensorModel(action_latency_s=0.006)),
        ({"jitter_s": 0.006}, SensorModel(jitter_s=0.006)),
        ({"drop_probability": 0.5}, SensorModel(drop_probability=0.5)),
        ({"noise_std/gravity": 0.1}, SensorModel(noise_std={"gravity": 0.1})),
        ({"bias/angular_velocity/1": 0.1}, SensorModel(bias={"angular_velocity": (0.0, 0.1, 0.0)})),
    ],
)
def test_what_is_drawn_of_the_sensors_is_a_sensor_model(build_env, numbers, model):
    env = build_env("a1_velocity")
    ours = trajectory(env, draw=numbers)
    assert_equal(ours, trajectory(env, model=model))
    assert not np.array_equal(ours[0], trajectory(env)[0])


def test_an_accelerometer_at_rest_shows_the_gravity_that_was_drawn(build_env):
    env = build_env("panda_reach")
    env.reset(seed=0, options={"randomisation": {"gravity_offset_m_s2": 1.0}})
    sensors = env._sensors
    sensors.before_run()
    np.testing.assert_allclose(sensors.sample(sensors.read(0.0)).linear_acceleration, [0.0, 0.0, 10.81])


def test_a_push_changes_the_base_s_velocity_and_nothing_else(build_env, backend):
    env = build_env("a1_velocity", backend=backend)
    env.reset(seed=0)
    for _ in range(10):
        env.step(np.array(env.agent_spec.action.offset))
    pushes = Pushes(0.7, 2.0, seed=3)
    times, ways = [], []
    for step in range(1000):
        before = env.sim.state.block.copy()
        velocity = env.sim.state.base_linear_velocity.copy()
        pushes.advance(env.sim, step / 50)
        change = env.sim.state.base_linear_velocity - velocity
        if not change.any():
            continue
        times.append(step / 50)
        ways.append(math.atan2(change[1], change[0]))
        assert math.hypot(*change[:2]) == pytest.approx(0.7, abs=1e-6)
        assert change[2] == pytest.approx(0.0, abs=1e-6)
        after = env.sim.state.block.copy()
        joints = 12
        np.testing.assert_allclose(after[: 2 * joints + 7], before[: 2 * joints + 7], atol=1e-6)
        np.testing.assert_allclose(after[2 * joints + 10 : 2 * joints + 13], before[2 * joints + 10 : 2 * joints + 13])
    assert len(times) == 10  # in 20 s, every 2 s, the first one within the first 2 s
    np.testing.assert_allclose(np.diff(times), 2.0, atol=0.021)
    assert np.ptp(ways) > 1.0


def test_pushes_come_in_an_episode(build_env):
    env = build_env("a1_velocity")
    draw = {"push_speed_m_s": 2.0, "push_interval_s": 0.1, "push_seed": 1.0}
    still, pushed = (trajectory(env, draw=one, steps=10) for one in ({}, draw))
    assert not np.allclose(still[2], pushed[2])


def test_what_does_not_name_the_draw_of_this_robot_is_refused_at_the_reset(build_env):
    env = build_env("cartpole_balance")
    with pytest.raises(UserError, match="randomisation: joint_offset_rad/FL_upper_joint: no such quantity here"):
        env.reset(options={"randomisation": {"joint_offset_rad/FL_upper_joint": 0.01}})


def test_a_coupling_s_motors_get_their_own_joints_offsets():
    task = A1Velocity("proprio")
    env = RobotEnv(task, randomisation=Randomisation(joint_offset_rad={"plus_minus": 0.02}))
    try:
        numbers = env.reset(seed=0)[1]["randomisation"]
        parts = Parts.of(task.scene, env._sensors)
        assert list(numbers) == [f"joint_offset_rad/{name}" for name in parts.rotating]
    finally:
        env.close()
