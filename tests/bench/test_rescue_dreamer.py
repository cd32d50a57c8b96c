"""A changed robot that an agent is adapted to: what it records, what it counts, and what the comparison tells."""

import csv
import json
from concurrent.futures import Executor, Future
from pathlib import Path

import numpy as np
import pytest

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.actor import Actor
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
from robot_wm_bench.rescue import command
from robot_wm_bench.rescue.adaptation import Adaptation
from robot_wm_bench.rescue.changed_robot import ChangedRobot
from robot_wm_bench.rescue.command import bench_rescue
from robot_wm_bench.rescue.dreamer import Dreamer
from robot_wm_bench.rescue.evaluation import Evaluated
from robot_wm_bench.rescue.method import World
from robot_wm_bench.rescue.record import Record

TASK, HZ = "cartpole_balance", 50.0
SIZE = {"deter": 32, "hidden": 8, "stoch": 4, "classes": 4, "units": 16, "blocks": 4, "batch_size": 4}
HOW = Adaptation(source="this test", rounds=3, round_s=1.0, updates=3, rehearse=40)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a run that has made a few updates."""
    config = TrainConfig(
        task=TASK,
        run_dir=tmp_path_factory.mktemp("source") / "run",
        steps=80,
        prefill_steps=60,
        train_ratio=8.0,
        replay_capacity_steps=2000,
        device="cpu",
        dreamer=DreamerConfig(size="nano", batch_length=8, horizon=4, **SIZE),
    )
    Trainer(config).train()
    return config.folder


@pytest.mark.parametrize("told", [True, False])
def test_the_robot_records_rewards_only_where_somebody_tells_them(source, tmp_path, told):
    loaded = load_agent(source)
    robot = ChangedRobot(tmp_path / "robot", loaded.spec, World(TASK), told=told, seed=3)
    ended = robot.act(loaded.agent, 1.0) + robot.act(loaded.agent, 0.5)
    episodes = list(EpisodeStore.open(tmp_path / "robot").episodes())
    assert robot.steps == sum(episode.length - 1 for episode in episodes) == 1.5 * HZ
    assert len(ended) == len(episodes) - 2  # what the end of a round cut off has not ended
    known = np.concatenate([episode.reward_known[1:] for episode in episodes])
    reward = np.concatenate([episode.reward[1:] for episode in episodes])
    assert (known.all() and reward.any()) if told else not (known.any() or reward.any())
    assert all(told or not episode.is_terminal.any() for episode in episodes)


@pytest.fixture
def rescued(source, tmp_path):
    """Rescues with looks that show the returns that are given, all of them asked for; returns the record.

    Its clock runs ten times too fast, so that a round of 1 s is one of 10 s to it.
    """

    def rescue(*returns, how=HOW, limit_s=600.0):
        looks, folder = list(returns), tmp_path

        def evaluate(policy):
            rescue.policies.append(policy)
            return Evaluated(np.full(2, looks.pop(0)), 0.0)

        method = Dreamer(how, source, seed=0, device="cpu")
        method.prepare(World(TASK), folder)
        with Record(folder, rate_hz=HZ / 10, source_return=1.0, evaluate=evaluate, robots=2, limit_s=limit_s) as record:
            method.rescue(World(TASK, {"backend": "mujoco"}), record)
        assert not looks
        return record

    rescue.policies = []
    return rescue


def drivers(folder):
    """Who drove the changed robot, and how many steps it took."""
    episodes = list(EpisodeStore.open(folder / "robot").episodes())
    return list(dict.fromkeys(e.source.policy for e in episodes)), sum(e.length - 1 for e in episodes)


def test_it_acts_and_adapts_in_turn_and_is_looked_at_after_each(rescued, source, tmp_path):
    record = rescued(0.3, 0.5, 0.4, 0.95)
    assert [look.target_s for look in record.looks] == [0.0, 10.0, 20.0, 30.0]
    assert record.summary()["rescued_s"] == 30.0  # the rounds are over: one look suffices
    assert drivers(tmp_path) == (["after 0 steps", "after 50 steps", "after 100 steps"], 150)
    begun = [e.source.seed for e in EpisodeStore.open(tmp_path / "robot").episodes()]
    assert len(set(begun)) == len(begun)  # no round begins where another did
    assert record.episodes == record.looks[-1].episodes > 0  # what has learned nothing does not balance
    state = load_agent(tmp_path / "run").state
    assert (state.updates, state.env_steps) == (9, 0)
    assert [Path(name.partition("=")[0]).name for name in state.config.replay] == ["robot", "rehearsed"]
    assert state.config.settings.actor_start > 0  # as `robot-wm adapt` does it


def test_looks_show_the_agent_as_it_is_by_then(rescued, source, tmp_path):
    rescued(0.3, 0.3, how=HOW.model_copy(update={"rounds": 1, "settings": {"warmup": 0}}))
    first, last = rescued.policies
    spec, one = load_agent(source).spec, np.ones(2, np.bool_)
    obs = {field.name: np.full((2, *field.shape), 0.1, np.float32) for field in spec.observations}
    found = [policy(obs, one) for policy in (first, last)]
    acting = [
        Actor(load_agent(folder).agent, spec, envs=2, seed=9, greedy=True) for folder in (source, tmp_path / "run")
    ]
    wanted = [actor.act(obs, one).command for actor in acting]
    np.testing.assert_array_equal(found, wanted)
    assert not np.array_equal(*wanted)


def test_who_is_rescued_drives_no_further(rescued, tmp_path):
    record = rescued(0.3, 0.95, 0.92)
    assert record.summary()["rescued_s"] == 10.0
    assert drivers(tmp_path)[1] == 100
    assert load_agent(tmp_path / "run").state.updates == 6


def test_who_walks_at_once_is_adapted_all_the_same_until_a_second_look(rescued):
    assert rescued(0.95, 0.95).summary()["rescued_s"] == 0.0


def test_the_limit_of_robot_time_holds_for_it_too(rescued):
    assert [look.target_s for look in rescued(0.3, 0.3, limit_s=10.0).looks] == [0.0, 10.0]


def test_a_rescue_that_was_broken_off_begins_anew(rescued, tmp_path):
    with pytest.raises(IndexError):  # no third look: as a crash
        rescued(0.3, 0.5)
    rehearsed = EpisodeStore.open(tmp_path / "rehearsed").version
    assert len(rescued(0.3, 0.5, 0.4, 0.4).looks) == 4
    assert drivers(tmp_path)[1] == 150
    assert load_agent(tmp_path / "run").state.updates == 9
    assert EpisodeStore.open(tmp_path / "rehearsed").version == rehearsed  # which was whole


def test_without_rehearsal_and_rewards_the_robot_s_steps_are_all_there_is(rescued, tmp_path):
    rescued(0.3, 0.4, how=HOW.model_copy(update={"rounds": 1, "rehearse": 0, "rewards": "unknown"}))
    assert not (tmp_path / "rehearsed").exists()
    (episode, *_) = EpisodeStore.open(tmp_path / "robot").episodes()
    assert not episode.reward_known[1:].any()


class Here(Executor):
    """Does at once, in this process, what it is given."""

    def __init__(self, *_, **__):
        pass

    def submit(self, call, /, *given, **named):
        future = Future()
        future.set_result(call(*given, **named))
        return future


def test_the_command_tells_of_a_world_model_as_of_the_others(source, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "ProcessPoolExecutor", Here)
    options = {
        "methods": "dreamer",
        "seeds": "3",
        "agent": str(source),
        "target": {"backend": "mujoco"},
        "drive": {"backend": "pybullet"},
        "adaptation": {"rounds": "1", "round-s": "1", "updates": "2", "rehearse": "40"},
        "dreamer": {"anchor": "0.5", "pessimism": "0"},
        "episodes": 2,
        "limit_s": 1.0,
    }
    bench_rescue(out=tmp_path, json=True, **options)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["method"], row["seeds"], row["target_s"]) == ("dreamer", 1, 1.0)
    with (tmp_path / "rescue.csv").open() as file:
        looks = list(csv.DictReader(file))
    assert [(look["method"], look["seed"], float(look["target_s"])) for look in looks] == [
        ("dreamer", "3", 0.0),
        ("dreamer", "3", 1.0),
    ]
    (run,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert run["source_steps"] == 40
    driven = EpisodeStore.open(tmp_path / "dreamer_seed3" / "robot").episodes()
    assert {episode.source.backend for episode in driven} == {"pybullet"}
    settings = load_agent(tmp_path / "dreamer_seed3" / "run").state.config.settings
    assert (settings.anchor, settings.pessimism) == (0.5, 0.0)
    monkeypatch.setattr(command, "ProcessPoolExecutor", None)
    bench_rescue(out=tmp_path, json=True, **options)  # which finds it done
    assert json.loads(capsys.readouterr().out)["rows"] == [row]
    with pytest.raises(UserError, match="a run with other settings"):
        bench_rescue(out=tmp_path, json=True, **options | {"dreamer": {"anchor": "0.1"}})
