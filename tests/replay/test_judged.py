"""`replay import --reward task`: a robot's steps get the rewards and ends that its task has in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from stories import tell

from robot_wm.errors import UserError
from robot_wm.replay import judged as module
from robot_wm.replay.judged import TaskReward, judged
from robot_wm.replay.mcap_import import episodes
from robot_wm.replay.runs import find_runs
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.command import Command
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.tasks import agent_spec, make_env

RACECAR = {"observation": "proprio"}


@pytest.fixture
def recorded(tmp_path):
    """The file of a robot that saw these observations {field: [L, O]} and was given these commands [L, A]."""

    def make(spec, obs, commands):
        recorder = TickRecorder(tmp_path / "recorded", spec, bundle_sha256="5" * 64)
        period_ns = round(1e9 / spec.control_rate_hz)
        for n, given in enumerate(commands):
            seen = {field.name: np.zeros(field.shape, np.float32) for field in spec.observations}
            seen |= {name: np.float32(value[n]) for name, value in obs.items()}
            command = Command(given, given, given, n + 1, Mode.ACTIVE, damp=False, fault_bits=0)
            at = n * period_ns
            assert recorder.add(seen, command, stamp_ns=at, receipt_ns=at, publish_ns=at)
        recorder.close()
        return recorder.path

    return make


@pytest.fixture
def racecar_spec():
    env = make_env("racecar_goal", **RACECAR)
    env.close()
    return agent_spec(env)


def imported(replay, path, store, *options):
    code, result, err = replay("import", path, "--into", store, *options, "--json")
    assert code == 0, err
    return result, list(EpisodeStore.open(store).episodes())


def test_a_recording_of_the_simulated_robot_has_the_rewards_of_simulation(recorded, replay, tmp_path):
    env = make_env("cartpole_swingup", seed=3)
    env.action_space.seed(3)
    seen, commands, given = [env.reset()[0]], [], [0.0]
    for _ in range(60):
        commands.append(env.action_space.sample())
        observation, reward, *_ = env.step(commands[-1])
        seen.append(observation)
        given.append(reward)
    env.close()
    obs = {name: np.stack([one[name] for one in seen]) for name in seen[0]}
    path = recorded(agent_spec(env), obs, [*commands, commands[0]])
    result, (one,) = imported(replay, path, tmp_path / "replay", "--reward", "task")
    assert result["reward"] == "task"
    np.testing.assert_allclose(one.reward, given, rtol=0, atol=2e-6)
    assert max(given) > 0.001
    assert one.reward_known.all()
    assert not one.is_terminal.any()
    # Without the flag nothing is told.
    _, (none,) = imported(replay, path, tmp_path / "plain")
    assert (none.reward.any(), none.reward_known.tolist()) == (False, [True] + [False] * 60)


def test_an_arrival_ends_the_episode_and_the_next_goal_begins_one(recorded, replay, tmp_path, racecar_spec):
    goal = [[2, 0], [1, 0], [0.3, 0], [0.3, 0], [3, 0], [2.5, 0], [2.25, 0]]
    path = recorded(racecar_spec, {"goal_position": goal}, np.zeros((7, 2), np.float32))
    options = ("--reward", "task", "--option.observation", "proprio")
    result, (one, other) = imported(replay, path, tmp_path / "replay", *options)
    np.testing.assert_allclose(one.reward, [0, 1, 5.7], atol=1e-6)
    np.testing.assert_allclose(other.reward, [0, 0.5, 0.25], atol=1e-6)
    assert (one.is_terminal.tolist(), other.is_terminal.tolist()) == ([False, False, True], [False] * 3)
    assert (result["rows"][0]["terminated"], result["rows"][0]["after_end"]) == (1, 1)


def test_a_car_that_stood_still_was_told_that_it_earned_nothing(recorded, replay, tmp_path, racecar_spec):
    path = recorded(racecar_spec, {"goal_position": [[2, 0]] * 4}, np.zeros((4, 2), np.float32))
    options = ("--reward", "task", "--option.observation", "proprio")
    _, (one,) = imported(replay, path, tmp_path / "replay", *options)
    assert (one.reward.any(), one.reward_known.all(), one.source.rewards_told) == (False, True, True)


def parts(known, terminal=None):
    """First ticks and rewards of the episodes of a run of which a function says this."""
    recording = tell("." * len(known))

    def function(obs, action):
        return 1 + obs["mark"][:, 0], np.zeros(len(known), bool) if terminal is None else np.array(terminal), known

    found = list(episodes(recording, find_runs(recording).slices, reward=function))
    for episode in found:
        episode.require_valid(recording.spec)
    return [(episode.obs["mark"][:, 0].astype(int).tolist(), episode.reward.tolist()) for episode in found]


def test_a_reward_that_is_not_known_begins_an_episode():
    known = np.array([True, True, True, False, True, True])
    assert parts(known) == [([0, 1, 2], [1, 2, 3]), ([3, 4, 5], [0, 5, 6])]
    assert parts(np.array([False, False, False, True])) == [([2, 3], [0, 4])]
    assert parts(np.array([True, False, True, False])) == [([1, 2], [0, 3])]
    terminal = [False, True, True, False, False, True]
    assert parts(known, terminal) == [([0, 1], [1, 2]), ([3, 4, 5], [0, 5, 6])]
    assert parts(np.zeros(4, bool)) == []


@pytest.mark.parametrize(
    ("told", "what"),
    [
        ((np.zeros(2), np.zeros(2, bool), np.ones(3, bool)), r"bool \(3,\) for known, not 2 bool"),
        ((np.zeros(2), np.zeros(2, bool), np.ones(2)), r"float64 \(2,\) for known, not 2 bool"),
        ((np.zeros(2), np.zeros(2), np.ones(2, bool)), r"float64 \(2,\) for terminal, not 2 bool"),
    ],
)
def test_what_a_function_must_not_return(told, what):
    with pytest.raises(UserError, match=what):
        judged(lambda obs, action: told, {}, np.zeros((2, 1), np.float32))


def test_refusals_are_one_line_and_make_no_store(recorded, replay, tmp_path, racecar_spec):
    path = recorded(racecar_spec, {"goal_position": [[2, 0]] * 4}, np.zeros((4, 2), np.float32))
    store = tmp_path / "replay"

    def refused(*options):
        code, result, err = replay("import", path, "--into", store, *options, "--json")
        assert (code, result, err.count("\n")) == (2, None, 1)
        assert not store.exists()
        return err

    # The task sees with its camera, if nothing else is said.
    other = refused("--reward", "task")
    assert "reward 'task': task racecar_goal (its options: --option.NAME VALUE): made for another agent" in other
    stray = refused("--option.observation", "both")
    assert "options observation: of the task, for reward 'task' only, not 'none'" in stray


def test_a_task_that_offers_none_is_named_with_its_fields():
    env = make_env("a1_stand")
    env.close()
    with pytest.raises(UserError, match=r"task a1_stand offers no reward from recorded fields \(angular_velocity, .*"):
        TaskReward().of(agent_spec(env))


def test_a_task_that_is_not_here_is_named():
    with pytest.raises(UserError, match="unknown task 'drive'"):
        TaskReward().of(tell("..").spec)


def test_no_file_chooses_what_is_imported(monkeypatch):
    monkeypatch.setattr(module, "make_env", None)
    with pytest.raises(UserError, match="task gym:os:path offers no reward"):
        TaskReward().of(tell("..").spec.model_copy(update={"task": "gym:os:path"}))
