"""Walking trials on the simulated A1."""

import numpy as np
import pytest

from robot_wm.baselines.trial import STARTS, WalkingTrials, can_walk
from robot_wm.baselines.walking import WALK_S
from robot_wm.errors import UserError
from robot_wm.tasks import agent_spec


@pytest.fixture
def trials():
    trials = WalkingTrials("a1_velocity", {})
    yield trials
    trials.close()


def standing(spec):
    home = np.array(spec.action.offset, np.float32)
    return lambda obs, is_first: np.tile(home, (STARTS, 1))


def throwing(spec):
    """Legs from one end of their reach to the other and back, ten times a second."""
    home, reach = np.array(spec.action.offset), np.array(spec.action.scale) * spec.action.clip
    step = iter(range(10**6))
    return lambda obs, is_first: np.tile((home + reach * (-1.0) ** (next(step) // 5)).astype(np.float32), (STARTS, 1))


def test_who_stands_outlasts_the_trial_and_does_not_walk(trials, build_env):
    spec = agent_spec(build_env("a1_velocity"))
    heard = []
    stand = standing(spec)
    walks = trials.run(lambda obs, is_first: (heard.append((obs, is_first.copy())), stand(obs, is_first))[1])
    assert len(walks) == STARTS
    assert [walk.walks for walk in walks] == [False] * STARTS
    assert all(walk.lasted_s == 6.0 and abs(walk.forward_m_s) < 0.1 for walk in walks)
    # It is asked for 0.5 m/s ahead all the time, and told once that an episode begins.
    np.testing.assert_array_equal({tuple(row) for obs, _ in heard for row in obs["command"]}, {(0.5, 0.0, 0.0)})
    assert [bool(first.all()) for _, first in heard] == [True] + [False] * 299


def test_who_falls_is_judged_by_the_fall_and_the_others_go_on(trials, build_env):
    spec = agent_spec(build_env("a1_velocity"))
    stand, throw = standing(spec), throwing(spec)

    def act(obs, is_first):
        commands = stand(obs, is_first)
        commands[1] = throw(obs, is_first)[1]
        return commands

    walks = trials.run(act)
    assert [walk.lasted_s == 6.0 for walk in walks] == [True, False, True]
    assert np.isnan(walks[1].forward_m_s)


def test_the_same_policy_starts_and_ends_the_same_every_time(trials, build_env):
    spec = agent_spec(build_env("a1_velocity"))
    told = ([], [])
    for frames in told:
        throw = throwing(spec)
        trials.run(lambda obs, is_first, frames=frames, throw=throw: (frames.append(obs), throw(obs, is_first))[1])
    first, again = told
    assert len(first) == len(again) < 300  # all have fallen
    for before, now in zip(first, again, strict=True):
        np.testing.assert_array_equal(before["joint_position"], now["joint_position"])
    assert len(np.unique(first[0]["joint_position"][:, 0])) == STARTS  # from starts that differ


def test_a_trial_measures_the_way_that_the_trunk_has_gone(build_env, monkeypatch):
    trials = WalkingTrials("a1_velocity", {})
    try:
        spec = agent_spec(build_env("a1_velocity"))
        envs = trials._envs
        rate_hz, turned = spec.control_rate_hz, (np.sin(0.35), np.cos(0.35))
        moved = [0]

        def pushed(obs, is_first):  # the simulator's pose, made up: 0.6 m/s ahead with the trunk 0.7 rad to the left
            moved[0] += 1
            for env in envs:
                state = env.unwrapped.sim.state
                state.base_position[:2] = moved[0] / rate_hz * 0.6 * np.array([np.cos(0.7), np.sin(0.7)])
                state.base_quaternion[:] = (0.0, 0.0, *turned)
            return np.zeros((STARTS, 12), np.float32)

        for env in envs:  # it stays where it is put
            monkeypatch.setattr(env.unwrapped, "step", lambda command: ({"x": np.zeros(1)}, 0.0, False, False, {}))
        monkeypatch.setattr(trials, "_envs", [env.unwrapped for env in envs])
        walks = trials.run(pushed)
        assert [walk.walks for walk in walks] == [True] * STARTS
        assert walks[0].forward_m_s * WALK_S == pytest.approx(3.0)
        assert abs(walks[0].sideways_m_s) < 1e-9
    finally:
        trials.close()


def test_only_tasks_with_a_velocity_command_are_asked_to_walk(build_env):
    assert can_walk(agent_spec(build_env("a1_velocity")))
    assert not can_walk(agent_spec(build_env("cartpole_balance")))
    with pytest.raises(UserError, match="command"):
        WalkingTrials("cartpole_balance", {})
