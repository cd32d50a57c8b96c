"""Rewards from recorded fields are those that the environment gave, for every task of ours that offers them."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted import Policy, clumsy, hold_upright, pursue, reach, swing_up, uniform

from robot_wm.tasks import reward_function
from robot_wm_sim.recorded import StepRewards
from robot_wm_sim.rewards import positive

# Of a reward in [0, 1] from float32 fields.
ROUNDING = 2e-6
# m: distances of some 6 m in float32, and in MuJoCo a car that rears at a wall is as near to the post as its picture
# on the car's own plane, and that is all that its fields tell.
DISTANCE_M = {"pybullet": 1e-5, "mujoco": 1e-2}
GOOD: dict[str, Policy] = {
    "cartpole_balance": hold_upright,
    "cartpole_swingup": swing_up,
    "panda_reach": reach,
    "racecar_goal": pursue,
}
NONE = ("a1_stand", "a1_velocity")


class Recorded(NamedTuple):
    """What is kept of an episode of L steps, as a store keeps it."""

    obs: dict[str, np.ndarray]  # [L, O] float32
    action: np.ndarray  # [L, A] float32
    reward: np.ndarray  # [L] float32
    terminal: np.ndarray  # [L] bool


def record(env, policy, *, seed) -> Recorded:
    observation, _ = env.reset(seed=seed)
    seen, actions, rewards, ends = [observation], [], [0.0], [False]
    terminated = truncated = False
    while not (terminated or truncated):
        command = np.asarray(policy(observation, len(actions) / env.agent_spec.control_rate_hz), np.float32)
        command = np.clip(command, env.action_space.low, env.action_space.high)
        observation, reward, terminated, truncated, _ = env.step(command)
        for kept, new in ((seen, observation), (actions, command), (rewards, reward), (ends, terminated)):
            kept.append(new)
    return Recorded(
        {name: np.stack([one[name] for one in seen]) for name in seen[0]},
        np.stack([*actions, np.zeros_like(actions[0])]),
        np.array(rewards, np.float32),
        np.array(ends),
    )


def tolerance(env, backend):
    return DISTANCE_M[backend] if env.agent_spec.task == "racecar_goal" else ROUNDING


def agrees(env, one, backend):
    reward, known = reward_function(env)(one.obs, one.action)
    assert (reward.dtype, known.dtype, reward.shape, known.shape) == (np.float32, np.bool_, *[one.reward.shape] * 2)
    np.testing.assert_allclose(reward[known], one.reward[known], rtol=0, atol=tolerance(env, backend))
    return known


@pytest.fixture(params=GOOD)
def env(request, build_env, backend):
    """Every task that offers it, in each engine."""
    return build_env(request.param, observation="proprio", backend=backend)


def policies(env):
    low, high, good = env.action_space.low, env.action_space.high, GOOD[env.agent_spec.task]
    noise = uniform(low, high, seed=5)
    return {"good": good, "clumsy": clumsy(good, noise, share=0.5), "random": noise}


def test_every_task_of_ours_offers_it_or_says_why_not():
    shipped = entry_points(group="robot_wm.tasks")
    assert {*GOOD, *NONE} == {entry.name for entry in shipped if entry.value.startswith("robot_wm_sim.tasks")}


@pytest.mark.parametrize("task", NONE)
def test_what_no_field_observes_is_no_reward(build_env, task):
    assert reward_function(build_env(task)) is None


@pytest.mark.parametrize("task", GOOD)
def test_a_picture_tells_no_reward(build_env, task):
    assert reward_function(build_env(task, observation="image")) is None


@pytest.mark.parametrize("policy", ["good", "clumsy", "random"])
@pytest.mark.parametrize("seed", [1, 2])
def test_rewards_of_a_recorded_episode_are_those_that_were_given(env, backend, policy, seed):
    one = record(env, policies(env)[policy], seed=seed)
    assert agrees(env, one, backend).all()
    np.testing.assert_array_equal(reward_function(env).terminal(one.obs), one.terminal)


def test_the_episodes_of_that_test_have_ends_and_arrivals(build_env):
    """So that it has seen them: a pole that falls, and a post that is reached."""
    for task, policy in (("cartpole_balance", "random"), ("racecar_goal", "good")):
        env = build_env(task, observation="proprio")
        assert record(env, policies(env)[policy], seed=1).terminal[-1]


def faults(one: Recorded):
    """Recordings that are not of these steps: everything in turn a step late, or another field's."""
    yield one._replace(reward=np.roll(one.reward, 1))
    yield one._replace(obs={name: np.roll(value, 1, axis=0) for name, value in one.obs.items()})
    if "goal_position" not in one.obs:  # it pays for the way alone
        yield one._replace(action=np.roll(one.action, 1, axis=0))
    wrong = {"cart_position": "cart_velocity", "tool_position": "target_position", "goal_position": "linear_velocity"}
    for name, other in wrong.items():
        if name in one.obs:
            yield one._replace(obs=one.obs | {name: one.obs[other]})


def test_a_recording_of_other_steps_is_told_from_it(env, backend):
    one = record(env, policies(env)["clumsy"], seed=1)
    for wrong in faults(one):
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            agrees(env, wrong, backend)


def test_a_recording_that_begins_in_the_middle_lacks_only_its_first_reward(env, backend):
    whole = record(env, policies(env)["clumsy"], seed=1)
    obs = {name: value[7:] for name, value in whole.obs.items()}
    reward, known = reward_function(env)(obs, whole.action[7:])
    assert (reward[0], known.all()) == (0.0, True)  # it is a reset's, as far as the function can tell
    np.testing.assert_array_equal(reward[1:], reward_function(env)(whole.obs, whole.action)[0][8:])


def test_a_target_counts_from_the_step_after_it_was_seen(build_env):
    env = build_env("panda_reach")
    tool, target = np.zeros((3, 3), np.float32), np.float32([[0, 0, 0], [0.18, 0, 0], [0.18, 0, 0]])
    reward, known = reward_function(env)({"tool_position": tool, "target_position": target}, np.zeros((3, 7)))
    assert known.all()
    np.testing.assert_allclose(reward, [0.0, 1.0, 0.5], atol=1e-6)  # 0.18 m: 15 cm beyond what counts as there


def test_beyond_an_end_nothing_is_known_until_it_is_left(build_env):
    """The car waits at the post, and then is given another one."""
    goal = np.float32([[2, 0], [1, 0], [0.3, 0], [0.3, 0], [3, 0], [2.5, 0]])
    reward, known = reward_function(build_env("racecar_goal", observation="proprio"))(
        {"goal_position": goal}, np.zeros((6, 2), np.float32)
    )
    assert known.tolist() == [True, True, True, False, False, True]
    np.testing.assert_allclose(reward, [0, 1, 5.7, 0, 0, 0.5], atol=1e-6)


def test_a_cart_off_the_rail_earns_nothing_and_has_ended_only_where_it_balances(build_env):
    at = np.float32([[1.7], [1.9], [1.9]])
    still = {"cart_position": at, "pole_velocity": np.zeros_like(at)}
    balance = still | {"pole_angle": np.zeros_like(at)}
    swing = still | {"pole_direction": np.float32([[0, 1]] * 3)}
    reward, known = reward_function(build_env("cartpole_swingup"))(swing, np.zeros_like(at))
    assert (reward.tolist(), known.all()) == ([0, 0, 0], True)
    reward, known = reward_function(build_env("cartpole_balance"))(balance, np.zeros_like(at))
    assert reward[1] > 0.5
    assert known.tolist() == [True, True, False]


def test_a_reward_in_place_of_one_that_is_not_known_is_zero():
    paid = StepRewards(("x",), lambda before, action, now: now["x"][:, 0], lambda obs: obs["x"][:, 0] > 1)
    reward, known = paid({"x": np.float32([[2], [3], [1]])}, np.zeros((3, 1)))
    assert (reward.tolist(), known.tolist()) == ([0, 0, 0], [True, False, False])


@given(st.lists(st.floats(-1e300, 1e300), min_size=1))
def test_what_is_positive_is_so_of_numbers_and_arrays_alike(values):
    wanted = [max(value, 0.0) for value in values]
    assert [positive(value) for value in values] == wanted
    np.testing.assert_array_equal(positive(np.array(values)), wanted)
