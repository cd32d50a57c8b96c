"""The A1 tasks: the contract of 45 numbers, rewards against the physics, and episodes that repeat bit by bit."""

import warnings
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from scripted import trot

from robot_wm.errors import UserError
from robot_wm.runtime.transform import scale, to_command, to_policy
from robot_wm_sim import locomotion
from robot_wm_sim.frames import rotate_inverse
from robot_wm_sim.robots.a1 import A1, FEET, LIMBS, TRUNK
from robot_wm_sim.robots.description import pybullet_description

TASKS = ("a1_stand", "a1_velocity")
HOME = np.array([joint.home for joint in A1.joints], np.float32)
UNITS = np.tile([0.125, 0.25, 0.25], 4).astype(np.float32)


def rollout(env, *, seed, steps):
    rng = np.random.default_rng(seed)
    trace = [(env.reset(seed=seed)[0], 0.0, False, False)]
    for _ in range(steps):
        *result, _ = env.step(rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32))
        trace.append(tuple(result))
        if result[2]:
            break
    return trace


def bits(trace):
    return [({name: value.tobytes() for name, value in obs.items()}, *rest) for obs, *rest in trace]


@pytest.mark.parametrize("render", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_passes_gymnasiums_checker_without_a_display(build_env, monkeypatch, task, render):
    monkeypatch.delenv("DISPLAY", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on SI ranges, which are meant
        check_env(build_env(task, render=render, observation="both"))


def test_the_contract(build_env):
    spec = build_env("a1_velocity").agent_spec
    assert (spec.control_rate_hz, spec.physics_rate_hz, spec.history_length) == (50, 500, 1)
    assert {field.name: field.shape[0] for field in spec.observations} == {
        "angular_velocity": 3,
        "projected_gravity": 3,
        "command": 3,
        "joint_position": 12,
        "joint_velocity": 12,
        "last_action": 12,
    }
    assert sum(shape.shape[0] for shape in spec.model_inputs().values()) == 45
    assert spec.action.joints[:4] == ("FR_hip_joint", "FR_upper_joint", "FR_lower_joint", "FL_hip_joint")
    assert [limits.effort for limits in spec.action.limits] == [33.5] * 12
    assert spec.firmware.kp == (20.0,) * 12
    assert spec.firmware.kd == (0.5,) * 12
    assert [(field.name, field.low, field.high) for field in spec.commands] == [
        ("linear_x", -1, 1),
        ("linear_y", -1, 1),
        ("angular_z", -1, 1),
    ]


def test_the_graph_sees_legged_gyms_numbers(build_env):
    env = build_env("a1_velocity")
    env.reset(seed=0)
    action = np.linspace(-0.3, 0.3, 12, dtype=np.float32)  # model units: all of it lies inside the joints' limits
    command = to_command(env.agent_spec.action, action)
    np.testing.assert_allclose(command, HOME + UNITS * 2 * action, rtol=1e-6)
    observation = env.step(command)[0]
    fields = {field.name: scale(field, observation[field.name]) for field in env.agent_spec.observations}
    np.testing.assert_allclose(fields["last_action"], 2 * action, atol=1e-5)  # policy units
    np.testing.assert_allclose(to_policy(env.agent_spec.action, observation["last_action"]), action, atol=1e-5)
    np.testing.assert_allclose(fields["angular_velocity"], 0.25 * observation["angular_velocity"])
    np.testing.assert_allclose(fields["joint_velocity"], 0.05 * observation["joint_velocity"])
    np.testing.assert_allclose(fields["joint_position"], observation["joint_position"] - HOME, atol=1e-6)
    np.testing.assert_array_equal(fields["command"], observation["command"])


def test_sensors_report_the_trunk_in_its_own_axes(build_env):
    env = build_env("a1_velocity")
    env.reset(seed=0)
    tilt = np.sin(0.2), 0.0, 0.0, np.cos(0.2)  # rolled by 0.4 rad, to the right
    env.sim.place(
        joint_position=HOME.astype(float),
        base_position=(0, 0, 2),
        base_quaternion=tilt,
        base_angular_velocity=(0, 0, 1),
    )
    observation = env.step(HOME)[0]
    np.testing.assert_allclose(observation["projected_gravity"], [0, -np.sin(0.4), -np.cos(0.4)], atol=0.03)
    assert np.linalg.norm(observation["projected_gravity"]) == pytest.approx(1, abs=1e-6)
    state = env.sim.state
    np.testing.assert_allclose(
        observation["angular_velocity"], rotate_inverse(state.base_quaternion, state.base_angular_velocity), atol=1e-5
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("observation", "fields"),
    [("image", ["command", "camera"]), ("both", 7)],
)
def test_pictures(build_env, task, observation, fields):
    env = build_env(task, observation=observation)
    values, _ = env.reset(seed=0)
    assert list(values) == fields or len(values) == fields
    assert values["camera"].shape == (64, 64, 3)
    assert values["camera"].std() > 10  # ground, sky and posts
    for _ in range(3):
        values = env.step(env.action_space.sample())[0]
    assert values["camera"].dtype == np.uint8


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_fixes_an_episode_whatever_ran_before(build_env, task):
    used, fresh = build_env(task), build_env(task)
    first = rollout(used, seed=3, steps=60)
    rollout(used, seed=4, steps=80)
    assert bits(rollout(used, seed=3, steps=60)) == bits(first)
    assert bits(rollout(fresh, seed=3, steps=60)) == bits(first)
    assert bits(rollout(fresh, seed=4, steps=60)) != bits(first)


def test_physics_goes_on_bit_equally_from_a_snapshot_on_the_ground(build_env):
    env = build_env("a1_stand")
    env.reset(seed=0)
    for _ in range(40):
        env.step(HOME)
    snapshot, wiggle = env.sim.save(), np.sin(np.arange(30))[:, None] * 0.1 + HOME

    def go_on():
        env.sim.restore(snapshot)
        return [env.step(command.astype(np.float32))[0]["joint_position"].tobytes() for command in wiggle]

    assert go_on() == go_on()


def test_the_home_pose_stands_for_twenty_seconds(build_env):
    env = build_env("a1_stand", render=True)
    env.reset(seed=3)
    total, ticks, ended = 0.0, 0, False
    while not ended:
        _, reward, terminated, truncated, info = env.step(HOME)
        total, ticks, ended = total + reward, ticks + 1, terminated or truncated
    assert (ticks, terminated, truncated) == (1000, False, True)
    assert info["success"] is True
    assert 0.25 < env.sim.state.base_position[2] < 0.35  # m
    assert min(env.sim.contact_forces(FEET)) > 10  # N
    assert sum(env.sim.contact_forces((TRUNK, *FEET))) == pytest.approx(12.46 * 9.81, rel=0.02)
    assert 0.9 * 1400 < total < 1400  # of 1.4 a step
    assert env.render().shape == (480, 640, 3)
    assert env.render().std() > 10


def test_an_episode_ends_when_the_trunk_touches_the_ground(build_env):
    env = build_env("a1_velocity")
    env.reset(seed=0)
    on_its_back = (1.0, 0.0, 0.0, 0.0)
    env.sim.place(joint_position=HOME.astype(float), base_position=(0, 0, 0.2), base_quaternion=on_its_back)
    for tick in range(50):
        _, _, terminated, truncated, info = env.step(HOME)
        assert terminated or tick < 49
        if terminated:
            break
    assert not truncated
    assert info["success"] is False
    assert env.sim.contact_forces((TRUNK,))[0] > 1


@pytest.mark.parametrize("backend", ["pybullet", "mujoco"])
def test_an_episode_ends_when_the_robot_lies_on_its_side(build_env, backend):
    env = build_env("a1_velocity", backend=backend)
    env.reset(seed=0)
    on_its_side = (np.sqrt(0.5), 0.0, 0.0, np.sqrt(0.5))
    told = []
    for turned in ((0.0, 0.0, 0.0, 1.0), on_its_side):
        env.sim.place(joint_position=HOME.astype(float), base_position=(0, 0, 0.3), base_quaternion=turned)
        for _ in range(30):
            _, _, terminated, _, info = env.step(HOME)
        told.append((terminated, info["figures"]["fall"], env.sim.contact_forces((TRUNK,))[0]))
    assert told == [(False, 0.0, 0.0), (True, 1.0, 0.0)]  # hips and shoulders bear it


def test_an_operator_asks_for_something_else_every_ten_seconds(build_env):
    env = build_env("a1_velocity")
    commands = [env.reset(seed=1)[0]["command"]]
    while len(commands) < 1001:
        observation, _, terminated, truncated, _ = env.step(HOME)
        assert not terminated
        commands.append(observation["command"])
    assert truncated
    changes = [tick for tick in range(1, 1001) if (commands[tick] != commands[tick - 1]).any()]
    assert changes == [500]
    wishes = np.array([env.reset()[0]["command"] for _ in range(120)])
    assert 0.05 < (wishes == 0).all(1).mean() < 0.25  # asked to stand
    assert (wishes[~(wishes == 0).all(1)] != 0).all()
    assert (np.abs(wishes) <= 1).all()
    assert (wishes.max(0) > 0.7).all()
    assert (wishes.min(0) < -0.7).all()


def test_an_operator_in_a_hurry_asks_for_something_else_each_second(build_env):
    env = build_env("a1_velocity", command_period_s=1.0)
    seen = [env.reset(seed=3)[0]["command"].copy()]
    for _ in range(120):
        seen.append(env.step(HOME)[0]["command"].copy())
    changes = np.flatnonzero((np.diff(seen, axis=0) != 0).any(1)) + 1
    assert changes.tolist() == [50, 100]
    with pytest.raises(UserError, match="command_period_s 0"):
        build_env("a1_velocity", command_period_s=0.0)


def test_a_short_episode_is_truncated_and_changes_its_command_as_often(build_env):
    env = build_env("a1_velocity", episode_s=0.5, command_period_s=0.2)
    seen = [env.reset(seed=3)[0]["command"].copy()]
    ends = []
    for _ in range(25):
        observation, _, terminated, truncated, _ = env.step(HOME)
        seen.append(observation["command"].copy())
        ends.append((terminated, truncated))
    assert ends == [(False, False)] * 24 + [(False, True)]
    assert (np.flatnonzero((np.diff(seen, axis=0) != 0).any(1)) + 1).tolist() == [10]
    for wrong in (0.0, 0.01, float("nan"), float("inf")):
        with pytest.raises(UserError, match="episode_s"):
            build_env("a1_velocity", episode_s=wrong)


def test_standing_asks_for_no_speed(build_env):
    env = build_env("a1_stand")
    assert not env.reset(seed=1)[0]["command"].any()
    assert not env.step(HOME)[0]["command"].any()


def test_terms_are_those_of_the_physics(build_env):
    env = build_env("a1_velocity", command="0.5,-0.3,0.4")
    rng = np.random.default_rng(0)
    env.reset(seed=0)
    before, feet = env.sim.state.joint_velocity.copy(), np.array(env.sim.link_positions(FEET))
    last, keep, averages, sums = HOME, np.exp(-0.02 / 0.2), None, Counter()
    for step in range(1, 31):
        state = env.sim.state
        if averages is None:
            averages = np.array([*body(state)[0][:2], body(state)[1][2]])
        command = (HOME + UNITS * rng.uniform(-0.5, 0.5, 12)).astype(np.float32)
        _, reward, _, _, info = env.step(command)
        (vx, vy, vz), (roll, pitch, yaw) = body(state)
        averages = keep * averages + (1 - keep) * np.array([vx, vy, yaw])
        moved = np.array(env.sim.link_positions(FEET))
        speeds = np.linalg.norm((moved - feet)[:, :2], axis=1) / 0.02
        off = np.hypot(0.5 - averages[0], -0.3 - averages[1])
        expected = {
            "linear_velocity": max(0, 1 - off / (1.3 * np.hypot(0.5, 0.3))),
            "yaw_rate": max(0, 1 - abs(0.4 - averages[2]) / (1.3 * 0.5)),
            "lift": (speeds * np.clip((moved[:, 2] - 0.02) / 0.06, 0, 1)).sum() / (speeds.sum() + 0.2),
            "vertical_velocity": vz**2,
            "tilting_rate": roll**2 + pitch**2,
            "torque": (state.joint_effort**2).sum(),
            "joint_acceleration": (((state.joint_velocity - before) / 0.02) ** 2).sum(),
            "action_rate": (((command - last) / UNITS) ** 2).sum(),
            "collision": sum(force > 0.1 for force in env.sim.contact_forces(LIMBS)),
            "restlessness": 0.0,  # it was asked to move
        }
        terms = info["terms"]
        assert terms == pytest.approx(expected, rel=1e-4, abs=1e-6)
        costs = sum(weight * terms[name] for name, weight in locomotion.WEIGHTS.items())
        reached = terms["linear_velocity"] * (1 + 0.3 * terms["lift"]) + 0.4 * terms["yaw_rate"]
        assert reward == pytest.approx(reached * np.exp(0.5 * costs))
        sums.update(terms)
        assert info["figures"]["term/torque"] == pytest.approx(sums["torque"] / step)
        before, last, feet = state.joint_velocity.copy(), command, moved
    assert info["figures"].keys() == set(env.figure_names)
    assert {f"term/{name}" for name in terms} < set(env.figure_names)


def body(state):
    """The trunk's velocity, m/s, and rate, rad/s, in its own axes."""
    turn = state.base_quaternion
    return rotate_inverse(turn, state.base_linear_velocity), rotate_inverse(turn, state.base_angular_velocity)


def test_who_should_stand_is_charged_for_moving_and_not_paid_for_lifting_feet(build_env):
    env = build_env("a1_stand")
    env.reset(seed=0)
    for tick in range(40):
        terms = env.step(HOME + 0.2 * (tick % 2))[4]["terms"]
        assert terms["restlessness"] == pytest.approx((env.sim.state.joint_velocity**2).sum())
        assert terms["lift"] == 0.0
    assert terms["restlessness"] > 1


def test_figures_of_a_trot_are_those_of_its_way(build_env):
    env = build_env("a1_velocity", command="0.5,0,0")
    env.reset(seed=1)
    observation, start = None, None
    for tick in range(300):
        observation, _, terminated, _, info = env.step(trot(observation, tick / 50).astype(np.float32))
        assert not terminated
        if tick == 199:
            start = env.sim.state.base_position.copy()
    way = env.sim.state.base_position - start
    assert way[0] / 2 == pytest.approx(env.task._speed[0], abs=0.1)  # m/s, of the last two seconds
    figures = info["figures"]
    assert 0.5 < figures["velocity_gain"] < 0.9
    assert figures["velocity_error_m_s"] == pytest.approx(0.5 * (1 - figures["velocity_gain"]), abs=0.08)
    assert 0.005 < figures["foot_clearance_m"] < 0.03
    assert 0.1 < figures["cost_of_transport"] < 1.0
    assert figures["overshoot"] == 0
    assert figures["yaw_gain"] is None  # it was not asked to turn
    assert figures["fall"] == 0


def test_figures_of_a_step_outlast_the_steps_and_the_episode_that_follow(build_env):
    env = build_env("a1_velocity")
    env.reset(seed=0)
    at_once = [dict(env.step(HOME)[4]["figures"]) for _ in range(40)]
    env.reset(seed=0)
    infos = [env.step(HOME)[4] for _ in range(40)]
    env.reset(seed=1)
    env.step(HOME)
    assert [info["figures"] for info in infos] == at_once


def test_torque_is_that_of_the_drives_and_stays_inside_their_limits(build_env):
    env = build_env("a1_velocity")
    env.reset(seed=0)
    env.sim.place(joint_position=HOME.astype(float), base_position=(0, 0, 2))  # in the air
    limits = np.full(12, 33.5)
    worst = np.zeros(12)
    for tick in range(60):
        env.step(env.action_space.high if tick % 2 else env.action_space.low)
        worst = np.maximum(worst, np.abs(env.sim.state.joint_effort))
        assert (np.abs(env.sim.state.joint_effort) <= limits).all()
    assert (worst > 1).all()


def test_commands_stop_at_the_joints_limits(build_env):
    space = build_env("a1_velocity").action_space
    low, high = np.array([joint.limits.position for joint in A1.joints]).T
    assert (space.low >= low).all()
    assert (space.high <= high).all()
    np.testing.assert_allclose(space.low[:2], [-0.1 - 0.25, 0.8 - 0.5], rtol=1e-5)
    assert space.high[2] == pytest.approx(-1.5 + 0.5)


def test_the_description_is_pybullet_datas_but_for_looks_and_limits():
    ours, theirs = (ElementTree.parse(path).getroot() for path in (A1.urdf, pybullet_description("a1/a1.urdf").path()))
    for root in (ours, theirs):
        for parent in root.iter():
            for child in [child for child in parent if child.tag in ("visual", "material")]:
                parent.remove(child)
    limits = [element.attrib for element in ours.iter("limit")]
    assert [(limit["effort"], limit["velocity"]) for limit in limits] == [("33.5", "21")] * 12
    for root in (ours, theirs):
        for element in root.iter("limit"):
            del element.attrib["effort"], element.attrib["velocity"]

    def parts(root):
        return [(element.tag, element.attrib) for element in root.iter()]

    assert parts(ours) == parts(theirs)
    assert len(parts(ours)) > 200
