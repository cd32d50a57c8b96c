"""A changed robot that an agent is adapted to: what it records, what it counts, and what the measurement tells."""

import csv
import json

import numpy as np
import pytest

from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
from robot_wm_bench.rescue.changed_robot import ChangedRobot
from robot_wm_bench.rescue.world_model import bench_rescue_world_model

SIZE = {"deter": 32, "hidden": 8, "stoch": 4, "classes": 4, "units": 16, "blocks": 4, "batch_size": 4}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The folder of a run that has made a few updates."""
    config = TrainConfig(
        task="cartpole_balance",
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
    robot = ChangedRobot(tmp_path / "robot", loaded.spec, "cartpole_balance", {}, told=told, seed=3)
    robot.act(loaded.agent, 1.0)
    robot.act(loaded.agent, 0.5)
    episodes = list(EpisodeStore.open(tmp_path / "robot").episodes())
    assert robot.steps == sum(episode.length - 1 for episode in episodes)
    assert robot.seconds == pytest.approx(1.5)
    assert robot.falls == 0
    known = np.concatenate([episode.reward_known[1:] for episode in episodes])
    reward = np.concatenate([episode.reward[1:] for episode in episodes])
    assert (known.all() and reward.any()) if told else not (known.any() or reward.any())
    assert all(told or not episode.is_terminal.any() for episode in episodes)


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "target.yaml"
    path.write_text("motor_strength: 0.5\naction_latency_s: 0.02\n")
    return path


def test_it_acts_and_adapts_in_turn_and_measures_before_each(source, target, tmp_path, capsys):
    settings = {"rounds": 2, "round_s": 1.0, "updates": 3, "rehearse": 40, "episodes": 2, "device": "cpu", "json": True}
    bench_rescue_world_model(out=tmp_path / "out", source=str(source), target=target, **settings)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    with (tmp_path / "out" / "seed0" / "rounds.csv").open() as file:
        rounds = list(csv.DictReader(file))
    assert [int(found["updates"]) for found in rounds] == [0, 3, 6]
    assert [float(found["robot_s"]) for found in rounds] == [0.0, 1.0, 2.0]
    assert row["robot_s"] == 2.0
    assert float(rounds[-1]["return_mean"]) == pytest.approx(row["last_return"])
    assert row["last_share"] == pytest.approx(row["last_return"] / row["home_return"])
    loaded = load_agent(tmp_path / "out" / "seed0" / "run")
    assert (loaded.state.updates, loaded.state.env_steps) == (6, 0)
    policies = [e.source.policy for e in EpisodeStore.open(tmp_path / "out" / "seed0" / "robot").episodes()]
    assert len(set(policies)) == 2  # the second second was driven by what the first had taught
    with pytest.raises(UserError, match="a run with other settings"):
        bench_rescue_world_model(out=tmp_path / "out", source=str(source), target=target, **settings | {"updates": 4})
