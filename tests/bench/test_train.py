"""``robot-wm bench train``: the keys that others read, and the run behind them."""

import json
from types import SimpleNamespace

import pytest
import torch
from rich.progress import Progress

from robot_wm.training.config import TrainConfig
from robot_wm_bench.train import Watch, bench_train

TINY = dict(
    size="nano",
    train_ratio=8.0,
    envs=2,
    batch_size=2,
    batch_length=4,
    device="cpu",
    threads=1,
    warm_up_seconds=0.2,
    seconds=0.5,
)
PARTS = ("collect", "sample", "transfer", "update")


@pytest.mark.parametrize(("actor", "processes"), [("inline", 0), ("process", 1)])
def test_prints_the_figures_of_a_run_whatever_the_actor(capsys, actor, processes):
    bench_train(task="cartpole_balance", actor=actor, processes=processes, json=True, **TINY)
    result = json.loads(capsys.readouterr().out)
    assert (result["task"], result["actor"], result["processes"]) == ("cartpole_balance", actor, processes)
    assert (result["envs"], result["train_ratio"], result["device"]) == (2, 8.0, "cpu")
    assert result["wall_s"] >= 0.5
    assert result["updates"] >= 20
    assert result["env_steps"] > 0
    assert result["first_update_s"] > 0
    assert result["updates_per_s"] == pytest.approx(result["updates"] / result["wall_s"], rel=0.2)
    assert all(0 <= result[f"{part}_share"] < 1 for part in PARTS)
    assert result["update_share"] == pytest.approx(
        result["update_ms_per_update"] * result["updates"] / 1e3 / result["wall_s"], rel=0.2
    )
    if actor == "inline":  # one update replays 2 x 4 steps, as many as a policy step asks for
        assert result["replayed_per_step"] == pytest.approx(8.0, rel=0.05)


def test_a_run_of_muzero_is_timed_as_well(capsys):
    settings = {name: value for name, value in TINY.items() if name not in ("batch_length", "train_ratio")}
    bench_train(
        task="cartpole_balance", agent="muzero", train_ratio=44.0, num_simulations=2, processes=0, json=True, **settings
    )
    result = json.loads(capsys.readouterr().out)
    assert (result["agent"], result["batch_length"]) == ("muzero", 11)
    assert result["replayed_per_step"] == pytest.approx(44.0, rel=0.05)
    assert result["collected_steps_per_s"] > result["env_steps_per_s"]


class StatedRun:
    """A trainer whose clock and counters are given, a round at a time."""

    def __init__(self, config):
        self.config, self.device, self.stopped_by = config, torch.device("cpu"), ""
        self.state = SimpleNamespace(env_steps=0, updates=0, episodes=0)
        self.spent = SimpleNamespace(**dict.fromkeys(PARTS, 0.0))
        self.running_s = 0.0

    def advance(self, seconds, *, env_steps=0, updates=0, episodes=0, **spent):
        self.running_s += seconds
        self.state.env_steps += env_steps
        self.state.updates += updates
        self.state.episodes += episodes
        for part, part_s in spent.items():
            setattr(self.spent, part, getattr(self.spent, part) + part_s)

    def stop(self, reason):
        self.stopped_by = reason


@pytest.fixture
def stated(tmp_path):
    settings = {"size": "nano", "batch_size": 2, "batch_length": 4}
    return StatedRun(TrainConfig(task="cartpole_balance", run_dir=tmp_path / "run", envs=2, dreamer=settings))


def watch(warm_up_s, seconds):
    return Watch(Progress(disable=True), warm_up_s=warm_up_s, seconds=seconds)


def test_figures_are_of_what_happened_between_the_warm_up_and_the_end(stated):
    look = watch(warm_up_s=5.0, seconds=10.0)
    # 19 updates are not warm; with the 20th the warm-up's own 5 s begin.
    for seconds, updates in ((100.0, 19), (1.0, 1), (4.9, 7), (0.1, 3)):
        stated.advance(seconds, env_steps=1000, updates=updates, episodes=50, collect=seconds)
        look(stated)
    assert not look.result
    stated.advance(9.0, env_steps=30, updates=30, episodes=1, collect=3.0, update=5.0)
    look(stated)
    assert not stated.stopped_by
    stated.advance(3.0, env_steps=20, updates=20, episodes=2, collect=1.0, sample=0.6, transfer=0.3, update=1.0)
    look(stated)
    assert stated.stopped_by == "bench"
    told = {name: look.result[name] for name in ("wall_s", "env_steps", "updates", "episodes", "replayed_per_step")}
    assert told == {"wall_s": 12.0, "env_steps": 50, "updates": 50, "episodes": 3, "replayed_per_step": 8.0}
    assert (look.result["env_steps_per_s"], look.result["updates_per_s"]) == (4.17, 4.167)
    assert look.result["collected_steps_per_s"] == 12.5
    assert [look.result[f"{part}_share"] for part in PARTS] == pytest.approx([4 / 12, 0.05, 0.025, 0.5], abs=1e-4)
    assert [look.result[f"{part}_ms_per_update"] for part in PARTS] == pytest.approx([80.0, 12.0, 6.0, 120.0])


@pytest.mark.parametrize(("env_steps", "updates"), [(0, 100), (100, 19), (0, 0)])
def test_time_alone_does_not_end_a_measurement_in_which_nothing_happened(stated, env_steps, updates):
    look = watch(warm_up_s=0.0, seconds=0.5)
    stated.advance(1.0, env_steps=20, updates=20)
    look(stated)
    stated.advance(60.0, env_steps=env_steps, updates=updates)
    look(stated)
    assert not stated.stopped_by
    stated.advance(1.0, env_steps=2, updates=20)
    look(stated)
    assert stated.stopped_by == "bench"
    assert look.result["wall_s"] == 61.0


def test_the_run_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", None)
    bench_train(task="cartpole_balance", processes=0, json=True, **TINY)
    assert list(tmp_path.iterdir()) == []
