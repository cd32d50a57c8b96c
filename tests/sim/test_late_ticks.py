"""RobotEnv under a SensorModel: closed forms, seeds, and the same numbers as the robot in real time."""

import itertools
import math

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.spec import Source
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.frames import rotate_inverse
from robot_wm_sim.realtime.simulated_robot import SimulatedRobot
from robot_wm_sim.sensing.sensor_model import LEGGED_GYM_NOISE, SensorModel
from robot_wm_sim.tasks.cartpole import CartpoleSwingup

TASKS = ("a1_velocity", "a1_stand", "cartpole_balance", "cartpole_swingup", "panda_reach", "racecar_goal")
# Nothing is added, but every number goes the way of those to which something is.
NOTHING = SensorModel(noise_std={"joint_position": 0.0})
EVERYTHING = SensorModel(
    observation_latency_s=0.013,
    action_latency_s=0.009,
    jitter_s=0.03,
    drop_probability=0.2,
    noise_std={**LEGGED_GYM_NOISE, "linear_velocity": 0.3},
    bias={"joint_position": 0.05, "gravity": (0.03, -0.02), "linear_velocity": (0.1, 0.2, 0.3)},
)


def wiggle(spec, number):
    """A command [A] that keeps every joint moving, float32."""
    action = spec.action
    phase = 0.3 * number + np.arange(spec.action_dim)
    return (np.array(action.offset) + 0.5 * np.array(action.scale) * np.sin(phase)).astype(np.float32)


def play(env, steps, *, seed=None, model=None):
    """Observations of an episode's start and of each step, a list of dicts."""
    told = [env.reset(seed=seed, options=None if model is None else {"sensor_model": model})[0]]
    told += [env.step(wiggle(env.agent_spec, number))[0] for number in range(steps)]
    return told


def assert_same(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert list(one) == list(other)
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.mark.parametrize("backend", ["pybullet", "mujoco"])
@pytest.mark.parametrize("task", TASKS)
def test_without_a_model_the_agent_is_told_bit_for_bit_what_the_task_observes(build_env, task, backend):
    env = build_env(task, observation="proprio", backend=backend)
    env.reset(seed=3)
    for number in range(15):
        told = env.step(wiggle(env.agent_spec, number))[0]
        truth = dict(env.task.observe(env.sim))
        for field in env.agent_spec.observations:
            if field.source is not Source.LAST_ACTION:
                expected = np.array(truth[field.name], dtype=np.float32)
                assert told[field.name].tobytes() == expected.tobytes(), field.name


@pytest.mark.parametrize("task", TASKS)
def test_the_way_through_the_sensors_changes_nothing_by_itself(build_env, task):
    env = build_env(task, observation="both", seed=4)
    exact, sensed = play(env, 12, seed=4), play(env, 12, seed=4, model=NOTHING)
    assert_same(exact, sensed)


def fields_of(sample, spec):
    """What a robot's computer makes of a sample, by the rules for messages: topic, unit, labels. Raw SI by field."""
    found = dict(sample.fields)
    column = {"x": 0, "forward": 0, "y": 1, "left": 1, "z": 2, "yaw": 2}
    for field in spec.observations:
        if field.is_image or field.source is not Source.SENSOR or field.name in found:
            continue
        if field.topic == "joint_states":
            of_joint = dict(
                zip(
                    sample.joint_names,
                    sample.joint_velocity if field.unit.endswith("/s") else sample.joint_position,
                    strict=True,
                )
            )
            of_joint |= {f"sin({name})": math.sin(value) for name, value in of_joint.items()}
            of_joint |= {f"cos({name})": math.cos(value) for name, value in of_joint.items() if "(" not in name}
            found[field.name] = [of_joint[label] for label in field.labels]
        elif field.name == "projected_gravity":
            found[field.name] = rotate_inverse(sample.orientation, (0.0, 0.0, -1.0))
        else:
            vector = sample.linear_velocity if field.topic == "odom" else sample.angular_velocity
            found[field.name] = [vector[column[label]] for label in field.labels]
    return found


@pytest.mark.parametrize(("seed", "randomisation"), [(0, "none"), (1, "none"), (0, "harsh")])
@pytest.mark.parametrize("task", TASKS)
def test_an_environment_and_the_robot_in_real_time_tell_the_same(build_env, task, seed, randomisation):
    """One seed, one model, one world: latencies of both ways, jitter, losses, noise and bias, over two episodes."""
    options = {"observation": "proprio", "randomisation": randomisation}
    env = build_env(task, **options, sensor_model=EVERYTHING)
    robot = SimulatedRobot.of_task(task, options, seed=seed, sensor_model=EVERYTHING)
    spec = env.agent_spec
    try:
        for episode in range(2):
            told = env.reset(seed=seed if episode == 0 else None)[0]
            if episode:
                robot.reset()
            for number in range(10):
                sensed = fields_of(robot.sample(), spec)
                for field in spec.observations:
                    if field.source is Source.SENSOR:
                        np.testing.assert_allclose(
                            told[field.name], sensed[field.name], rtol=1e-5, atol=2e-5, err_msg=f"{field.name} {number}"
                        )
                told = env.step(wiggle(spec, number))[0]
                robot.command(spec.action.joints, wiggle(spec, number))
                robot.advance(spec.physics_steps)
    finally:
        robot.close()


def test_a_joint_that_moves_steadily_reads_q_of_t_minus_l(build_env):
    """A pole that hangs at rest under a cart that nothing pushes: x = v t, told 8 ms late at 50 Hz control."""
    env = build_env("cartpole_swingup", backend="mujoco")
    model = SensorModel(observation_latency_s=0.008)  # two of 4 ms
    env.reset(seed=0, options={"sensor_model": model})
    env.sim.place(joint_position=np.array([0.0, math.pi]), joint_velocity=np.array([0.5, 0.0]))
    for tick in range(1, 40):
        told = env.step(np.zeros(1, np.float32))[0]
        assert env.sim.state.joint_position[0] == pytest.approx(0.5 * 0.02 * tick, abs=1e-4)
        assert told["cart_position"][0] == pytest.approx(0.5 * (0.02 * tick - 0.008), abs=1e-4)


@pytest.mark.parametrize("late_steps", [1, 3, 5, 13])
@pytest.mark.parametrize("task", ["cartpole_balance", "a1_stand"])
def test_an_observation_is_the_state_of_so_many_physics_steps_before(build_env, task, late_steps):
    """Bit for bit, of an episode that is not changed by how late it is told; longer than a control period, too."""
    env = build_env(task, observation="proprio")
    spec = env.agent_spec
    position = next(field.name for field in spec.observations if field.role == "joint_position")
    rows = env.task.scene.robot.index(spec.action.joints)
    robot = SimulatedRobot.of_task(task, {"observation": "proprio"}, seed=6)
    try:
        truth = [robot.sim.state.joint_position[rows]]
        for number in range(8):
            robot.command(spec.action.joints, wiggle(spec, number))
            for _ in range(spec.physics_steps):
                robot.advance()
                truth.append(robot.sim.state.joint_position[rows])
    finally:
        robot.close()
    told = play(env, 8, seed=6, model=SensorModel(observation_latency_s=late_steps / spec.physics_rate_hz))
    for tick, values in enumerate(told):
        expected = truth[max(0, tick * spec.physics_steps - late_steps)]
        np.testing.assert_array_equal(values[position], expected.astype(np.float32))


@pytest.mark.parametrize("late_steps", [0, 2, 5, 8])
def test_the_step_response_of_a_late_command(build_env, monkeypatch, late_steps):
    """The force changes so many physics steps after the tick that asks for it, be it in a later control period."""
    env = build_env("cartpole_balance", backend="mujoco")
    env.reset(seed=0, options={"sensor_model": SensorModel(action_latency_s=late_steps / 250)})
    forces = []  # of each physics step, N
    run = env.sim.run

    def spy(drive, steps, **how):
        forces.extend([float(drive.effort[0])] * steps)
        run(drive, steps, **how)

    monkeypatch.setattr(env.sim, "run", spy)
    for force in (3.0, -2.0, 5.0, 5.0):
        told, *_ = env.step(np.array([force], np.float32))
        np.testing.assert_array_equal(told["cart_position"], env.sim.state.joint_position[:1].astype(np.float32))
    asked = np.repeat([3.0, -2.0, 5.0, 5.0], 5)
    assert forces == [0.0] * late_steps + asked[: 20 - late_steps].tolist()


def test_a_late_velocity_set_point_moves_as_it_would_and_so_much_later(build_env):
    """An arm at 1 rad/s: the ramp of a command runs on through the seams of control periods."""
    env = build_env("panda_reach", observation="proprio")
    moved = []
    for late_s in (0.0, 0.02):
        env.reset(seed=0, options={"sensor_model": SensorModel(action_latency_s=late_s)})
        start = env.sim.state.joint_position[6]
        for _ in range(16):
            env.step(np.array([0, 0, 0, 0, 0, 0, 0.5], np.float32))
        moved.append(env.sim.state.joint_position[6] - start)
        assert env.sim.state.joint_velocity[6] == pytest.approx(0.5, abs=0.01)
    assert moved[0] - moved[1] == pytest.approx(0.5 * 0.02, abs=2e-3)


def test_noise_has_the_size_asked_for_and_leaves_the_motion_alone(build_env):
    env = build_env("cartpole_swingup", observation="proprio")
    noisy_model = SensorModel(noise_std={"joint_position": 0.01, "joint_velocity": 0.3})
    true, noisy = play(env, 499, seed=1), play(env, 499, seed=1, model=noisy_model)
    limit = 5 / math.sqrt(2 * 500)  # five standard errors of a deviation
    for name, size in (("cart_position", 0.01), ("cart_velocity", 0.3), ("pole_velocity", 0.3)):
        errors = np.array([one[name] - other[name] for one, other in zip(noisy, true, strict=True)])
        assert errors.std() == pytest.approx(size, rel=limit)
        assert abs(errors.mean()) < 5 * size / math.sqrt(500)
    sines = np.array([np.hypot(*step["pole_direction"]) for step in noisy])
    np.testing.assert_allclose(sines, 1.0, atol=1e-6)  # of a noisy angle, not noise on two numbers


def test_a_tool_s_place_has_the_noise_of_its_name(build_env):
    env = build_env("panda_reach", observation="proprio")
    model = SensorModel(noise_std={"tool_position": 0.02}, bias={"tool_position": (0.1, 0.0, -0.1)})
    true, noisy = play(env, 99, seed=1), play(env, 99, seed=1, model=model)
    errors = np.array([one["tool_position"] - other["tool_position"] for one, other in zip(noisy, true, strict=True)])
    assert errors.std(axis=0) == pytest.approx(0.02, rel=0.36)
    np.testing.assert_allclose(errors.mean(axis=0), [0.1, 0.0, -0.1], atol=0.01)
    for one, other in zip(noisy, true, strict=True):
        np.testing.assert_array_equal(one["joint_position"], other["joint_position"])
        np.testing.assert_array_equal(one["target_position"], other["target_position"])  # the operator's, not sensed


def test_a_lost_sample_repeats_the_last_one_pictures_too(build_env):
    env = build_env("racecar_goal", observation="both")
    told = play(env, 40, seed=2, model=SensorModel(drop_probability=0.4, noise_std={"joint_velocity": 0.1}))
    pictures = [values["camera"] for values in told]
    assert not any(np.shares_memory(*pair) for pair in itertools.pairwise(pictures))  # the caller's own
    lost, camera = [], []
    for before, now in itertools.pairwise(told):
        same = {name: np.array_equal(before[name], now[name]) for name in now}
        lost.append(same["wheel_speed"])
        assert same["goal_position"] == same["linear_velocity"] == same["wheel_speed"]
        assert same["camera"] or not lost[-1]
        camera.append(same["camera"])
    assert 6 <= sum(lost) <= 28  # of 40; five standard errors are 15
    assert not all(camera)


def test_a_picture_is_as_late_as_the_rest(build_env):
    env = build_env("racecar_goal", observation="image")
    prompt = play(env, 6, seed=2)
    late = play(env, 6, seed=2, model=SensorModel(observation_latency_s=0.1))  # two control periods
    assert_same([prompt[0], prompt[0], *prompt[:5]], late)
    assert not np.array_equal(prompt[3]["camera"], prompt[5]["camera"])


def test_a_reset_s_model_is_for_one_episode(build_env):
    env = build_env("cartpole_balance", sensor_model=SensorModel(bias={"joint_position": 0.1}))
    biased = play(env, 5, seed=1)
    model = SensorModel(bias={"joint_position": (0.3, 0.0)})
    other, back = play(env, 5, seed=1, model=model), play(env, 5, seed=1)
    assert_same(biased, back)
    for one, two in zip(biased, other, strict=True):
        assert two["cart_position"] - one["cart_position"] == pytest.approx(0.2, abs=1e-6)
        assert two["pole_angle"] - one["pole_angle"] == pytest.approx(-0.1, abs=1e-6)
    exact = play(env, 5, seed=1, model=SensorModel())
    assert_same(exact, play(build_env("cartpole_balance"), 5, seed=1))


@pytest.mark.parametrize("task", ["a1_velocity", "racecar_goal"])
def test_a_seed_fixes_an_episode_bit_by_bit_with_everything_on(build_env, task):
    used, fresh = (build_env(task, observation="proprio") for _ in range(2))
    first = play(used, 12, seed=7, model=EVERYTHING)
    second = play(used, 3, model=EVERYTHING)
    play(used, 5, seed=8)
    assert_same(first, play(used, 12, seed=7, model=EVERYTHING))
    assert_same(first, play(fresh, 12, seed=7, model=EVERYTHING))
    assert_same(second, play(fresh, 3, model=EVERYTHING))
    assert not np.array_equal(first[1][next(iter(first[1]))], play(fresh, 1, seed=9, model=EVERYTHING)[1])


def test_noise_changes_nothing_that_the_task_draws(build_env, monkeypatch):
    drawn = []
    monkeypatch.setattr(CartpoleSwingup, "advance", lambda self, sim, rng: drawn.append(rng.random()))
    env = build_env("cartpole_swingup")
    starts = []
    for model in (None, EVERYTHING):
        for seed in (5, None):  # a second episode follows from the first one's generator
            env.reset(seed=seed, options={"sensor_model": model or SensorModel()})
            starts.append(env.sim.state.joint_position.copy())
            for _ in range(3):
                env.step(np.zeros(1, np.float32))
    assert drawn[:6] == drawn[6:]
    np.testing.assert_array_equal(starts[:2], starts[2:])


def test_what_is_no_model_is_refused(build_env):
    env = build_env("cartpole_balance")
    with pytest.raises(UserError, match=r"sensor_model 0\.1 is not a SensorModel"):
        env.reset(options={"sensor_model": 0.1})
    untouched, _ = env.reset()  # what is refused has changed nothing: this is the first episode
    assert_same([untouched], play(build_env("cartpole_balance"), 0))
    task = CartpoleSwingup("proprio")
    with pytest.raises(UserError, match="bias tool_position: no sensor of this task reads it"):
        RobotEnv(task, sensor_model=SensorModel(bias={"tool_position": 0.1}))
    with pytest.raises(UserError, match="its options tell of a sensor model, and so do those of the robot"):
        SimulatedRobot(RobotEnv(task, sensor_model=EVERYTHING), sensor_model=NOTHING)
