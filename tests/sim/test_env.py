"""RobotEnv: Gymnasium's rules, bit-equal episodes, and agreement with the spec that it carries."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from robot_wm.errors import UserError
from robot_wm.spec import AgentSpec, ObservationField, Source
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.tasks.cartpole import CartpoleBalance

TASKS = ("cartpole_balance", "cartpole_swingup", "panda_reach", "racecar_goal")


def rollout(env, *, seed, steps):
    """Observations, rewards and ends of an episode under actions that ``seed`` fixes."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    trace = [(observation, 0.0, False, False)]
    for _ in range(steps):
        *result, _ = env.step(rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32))
        trace.append(tuple(result))
        if result[2] or result[3]:
            break
    return trace


def assert_bit_equal(left, right):
    assert len(left) == len(right)
    for (obs_a, *rest_a), (obs_b, *rest_b) in zip(left, right, strict=True):
        assert rest_a == rest_b
        for name in obs_a:
            assert obs_a[name].tobytes() == obs_b[name].tobytes(), name


@pytest.mark.parametrize("render", [False, True])
@pytest.mark.parametrize("task", TASKS)
def test_passes_gymnasiums_checker_without_a_display(build_env, monkeypatch, task, render):
    monkeypatch.delenv("DISPLAY", raising=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on SI ranges, which are meant
        for randomisation in ("none", "sim2real"):
            check_env(build_env(task, render=render, observation="both", randomisation=randomisation))


@pytest.mark.parametrize("task", TASKS)
def test_a_seed_fixes_an_episode_whatever_ran_before(build_env, task):
    used, fresh = build_env(task, observation="both"), build_env(task, observation="both")
    first = rollout(used, seed=7, steps=25)
    rollout(used, seed=8, steps=40)
    assert_bit_equal(first, rollout(used, seed=7, steps=25))
    assert_bit_equal(first, rollout(fresh, seed=7, steps=25))
    assert first[-1][0]["camera"].any()


def test_another_seed_gives_another_episode(build_env):
    env = build_env("cartpole_balance")
    assert rollout(env, seed=1, steps=1)[0][0]["pole_angle"] != rollout(env, seed=2, steps=1)[0][0]["pole_angle"]


def test_the_constructors_seed_is_that_of_the_first_reset_only(build_env):
    env, other = build_env("cartpole_balance", seed=5), build_env("cartpole_balance", seed=0)
    first, second = env.reset()[0], env.reset()[0]
    assert_bit_equal([(first,)], [(other.reset(seed=5)[0],)])
    assert first["pole_angle"] != second["pole_angle"]
    assert_bit_equal([(second,)], [(other.reset()[0],)])


@pytest.mark.parametrize("observation", ["proprio", "image", "both"])
@pytest.mark.parametrize("task", TASKS)
def test_spaces_and_observations_are_those_of_the_spec(build_env, task, observation):
    env = build_env(task, observation=observation)
    spec = env.agent_spec
    values, _ = env.reset(seed=0)
    assert spec == AgentSpec.from_json(spec.to_json())
    assert spec.task == task
    assert list(env.observation_space.spaces) == list(values) == [field.name for field in spec.observations]
    for field in spec.observations:
        assert values[field.name].shape == env.observation_space[field.name].shape == field.shape
        assert values[field.name].dtype == field.dtype
        assert field.max_age_s >= 2 * spec.control_period_s
        assert field.is_image or len(field.labels) == field.shape[0]
    assert env.observation_space.contains(values)
    assert any(field.is_image for field in spec.observations) == (observation != "proprio")
    assert env.action_space.shape == (spec.action_dim,) == (len(spec.firmware.kp),) == (len(spec.action.limits),)


@pytest.mark.parametrize("task", TASKS)
def test_scaled_observations_are_of_order_one(build_env, task):
    env = build_env(task, observation="proprio")
    scaled = [
        (values[field.name] - np.array(field.offset)) * np.array(field.scale)
        for seed in range(4)
        for values, *_ in rollout(env, seed=seed, steps=60)
        for field in env.agent_spec.observations
    ]
    flat = np.abs(np.concatenate(scaled))
    assert 0.1 < np.sqrt(np.mean(flat**2)) < 1.5
    assert flat.max() < 5.0


@pytest.mark.parametrize("task", TASKS)
def test_actions_can_ask_for_no_more_than_the_joint_limits(build_env, task):
    env = build_env(task)
    for i, limits in enumerate(env.agent_spec.action.limits):
        bound = getattr(limits, env.agent_spec.action.mode)
        assert -bound <= env.action_space.low[i] < env.action_space.high[i] <= bound


def test_a_command_beyond_the_limits_is_cut_to_them(build_env):
    env = build_env("cartpole_balance")
    env.reset(seed=0)
    at_limit = env.step(np.array([10.0], np.float32))
    assert env.sim.state.joint_effort[0] == 10.0
    env.reset(seed=0)
    beyond = env.step(np.array([1e6], np.float32))
    assert_bit_equal([at_limit[:4]], [beyond[:4]])


@pytest.mark.parametrize("action", [[np.nan], [0.0, 0.0], 0.0, [[0.0]], []])
def test_an_action_that_is_not_finite_or_not_of_that_size_is_refused(build_env, action):
    env = build_env("cartpole_balance")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not 1 finite numbers, N"):
        env.step(np.array(action, np.float32))


@pytest.mark.parametrize("action", [0.1, [0.1], [[0.1] * 12], [0.1] * 11])
def test_one_number_is_not_spread_over_all_joints(build_env, action):
    env = build_env("a1_stand")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="is not 12 finite numbers, rad"):
        env.step(np.array(action, np.float32))


def test_the_time_limit_truncates_and_does_not_terminate(build_env):
    env = build_env("cartpole_swingup")
    trace = rollout(env, seed=0, steps=600)
    assert len(trace) == 1 + 500
    assert [step[2:] for step in trace[-2:]] == [(False, False), (False, True)]


def test_a_fall_terminates_and_does_not_truncate(build_env):
    *_, (observation, _, terminated, truncated) = rollout(build_env("cartpole_balance"), seed=0, steps=500)
    assert (terminated, truncated) == (True, False)
    assert abs(observation["pole_angle"][0]) > 0.8


def test_a_fall_in_the_last_step_terminates_and_does_not_truncate(build_env):
    env = build_env("cartpole_balance")
    env.reset(seed=0)
    for step in range(500):
        env.sim.place(joint_position=np.array([0.0, 1.0 if step == 499 else 0.0]))
        _, _, terminated, truncated, _ = env.step(np.zeros(1, np.float32))
        assert (terminated, truncated) == (step == 499, False)


def test_the_last_action_field_holds_the_command_that_was_executed():
    task = CartpoleBalance("proprio")
    field = ObservationField(name="last_action", shape=(1,), unit="N", source=Source.LAST_ACTION)
    task.spec = task.spec.model_copy(update={"observations": (*task.spec.observations, field)})
    env = RobotEnv(task)
    assert env.reset(seed=0)[0]["last_action"].tolist() == [0.0]
    assert env.step(np.array([3.0], np.float32))[0]["last_action"].tolist() == [3.0]
    assert env.step(np.array([30.0], np.float32))[0]["last_action"].tolist() == [10.0]
    assert env.reset()[0]["last_action"].tolist() == [0.0]
    env.close()


@pytest.mark.parametrize("task", TASKS)
def test_videos_show_the_robot_move(build_env, task):
    env = build_env(task, render=True)
    env.reset(seed=0)
    before = env.render()
    for _ in range(10):
        env.step(env.action_space.high)
    after = env.render()
    assert before.shape == after.shape == (480, 640, 3)
    assert before.dtype == np.uint8
    assert 20 < np.count_nonzero((before != after).any(axis=2)) < before.shape[0] * before.shape[1] / 4
    assert build_env(task).render() is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation": "lidar"}, "'lidar' is not one of proprio, image, both"),
        ({"backend": "bullet9"}, r"backend 'bullet9' is not installed; known backends: .*pybullet"),
    ],
)
def test_a_wrong_option_is_named(build_env, options, message):
    with pytest.raises(UserError, match=message):
        build_env("cartpole_balance", **options)


def test_nothing_but_the_program_writes_to_standard_output():
    code = "from robot_wm.tasks import make_env; make_env('racecar_goal').reset(); print('mine')"
    environment = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "mine\n"
