"""`robot-wm bench planner`: what it plays, in which worlds, and what its rows say. What pays decides nothing."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.evaluation.playing import play
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.checkpoint import RunState, write_agent
from robot_wm.training.config import TrainConfig
from robot_wm_bench.planner.command import bench_planner
from robot_wm_bench.planner.contest import THINKING, Plan, contender, contest
from robot_wm_bench.planner.worlds import world_options
from robot_wm_export.planner.gate import GATE_SEED

TASK = "cartpole_balance"


def write_checkpoint(folder: Path, *, broken: bool = False) -> str:
    """A new agent whose reward and critic say something, or what is no number."""
    with make_env(TASK, seed=0) as env:
        spec = agent_spec(env)
    config = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, units=16, blocks=4)
    generator = torch.Generator().manual_seed(0)
    agent = DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator).eval()
    with torch.no_grad():
        for head in (agent.reward, agent.critic):
            head.out.weight.normal_(std=0.2, generator=generator)
        if broken:
            agent.reward.out.bias[0] = float("inf")
    folder.mkdir()
    state = RunState(config=TrainConfig(task=TASK, run_dir=folder, dreamer=config), agent_spec=spec, env_steps=1)
    write_agent(folder, state, agent.state_dict())
    return str(folder)


@pytest.fixture(scope="module")
def agent(tmp_path_factory) -> str:
    return write_checkpoint(tmp_path_factory.mktemp("agents") / "agent")


@pytest.fixture(scope="module")
def out(agent, tmp_path_factory) -> Path:
    """The folder of a measurement."""
    folder = tmp_path_factory.mktemp("bench") / "out"
    chosen = {"planners": "flat", "candidates": "2", "depth": 1, "worlds": "none,both", "thinking": "gated,always"}
    bench_planner(out=folder, agents=agent, starts=2, seeds="0,3", json=True, **chosen)
    return folder


@pytest.fixture
def rows(out) -> list[dict]:
    return json.loads((out / "planner.json").read_text())["rows"]


def plan(seeds: list[int]) -> Plan:
    common = {"planners": ["flat"], "candidates": [2], "depth": 1, "worlds": ["none"], "thinking": ["always"]}
    return Plan(**common, starts=2, seeds=seeds)


def test_a_row_for_each_planner_world_and_way_of_thinking(rows, agent):
    kinds = [(row["planner"], row["candidates"], row["depth"], row["world"], row["thinking"]) for row in rows]
    common = ("flat", 2, 1)
    assert kinds == [(*common, world, thinking) for world in ("none", "both") for thinking in ("always", "gated")]
    assert {(row["agent"], row["starts"]) for row in rows} == {(agent, 4)}
    for row in rows:
        low, high = row["interval"]
        assert row["difference"] == pytest.approx(row["planned"] - row["reactive"])
        assert low <= row["difference"] <= high
        assert row["difference"] != 0.0  # it does plan
    for always, gated in (rows[:2], rows[2:]):
        assert always["reactive"] == gated["reactive"]
        assert always["searches_share"] == pytest.approx(1.0 - always["surprised_share"])
        assert 0.0 < gated["searches_share"] < 0.25 < always["searches_share"]
        assert always["return_kept"] is None
        assert gated["return_kept"] == pytest.approx(gated["planned"] / always["planned"])
    assert rows[0]["reactive"] != rows[2]["reactive"]  # another world


def test_the_figures_are_those_of_the_starts(agent, tmp_path, rows):
    """Played once more, start by start: the seeds' own, and paired."""
    one = contender(agent, plan([0, 3]), tmp_path)
    option = {"randomisation": {}}
    alone = [play(one.bundle, episodes=2, seed=GATE_SEED + 1000 * seed, option=option).returns for seed in (0, 3)]
    assert rows[0]["reactive"] == pytest.approx(np.mean(alone))
    first, second = (row for seed in (0, 3) for row in contest(one, plan([seed])))
    assert rows[0]["planned"] == pytest.approx((first["planned"] + second["planned"]) / 2)
    assert first["planned"] != second["planned"]


def test_a_plan_that_no_tick_waits_for_is_used_all_the_same_and_alike_each_time(agent, tmp_path, monkeypatch):
    """Of a beginner's policy, whose plans are nowhere near what it does itself."""
    monkeypatch.setitem(THINKING, "unwaited", dataclasses.replace(THINKING["unwaited"], reuse_tolerance=2.0))
    asked = dataclasses.replace(plan([0]), depth=3, thinking=["unwaited"])
    one = contender(agent, asked, tmp_path)
    (row,), (again,) = contest(one, asked), contest(one, asked)
    assert row["difference"] != 0.0
    assert 0.0 < row["searches_share"] < 0.25
    assert row == again


def test_table_and_picture_lie_beside(out, rows):
    with (out / "planner.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [float(row["interval_low"]) for row in table] == [row["interval"][0] for row in rows]
    assert [float(row["difference"]) for row in table] == [row["difference"] for row in rows]
    assert (out / "planner.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in out.iterdir()) == ["planner.csv", "planner.json", "planner.png"]


@pytest.mark.parametrize(
    ("world", "drawn"),
    [
        ("none", None),
        ("mass", {"mass_scale": 1.2}),
        ("latency", {"observation_latency_s": 0.05}),
        ("both", {"mass_scale": 1.2, "observation_latency_s": 0.05}),
    ],
)
def test_a_world_is_what_it_says(world, drawn):
    with make_env(TASK, **world_options(world, TASK, latency_s=0.03)) as env:
        _, info = env.reset(seed=0)
    assert info.get("randomisation") == drawn


def test_plans_that_are_no_numbers_are_told(tmp_path):
    one = contender(write_checkpoint(tmp_path / "broken", broken=True), plan([0]), tmp_path)
    with pytest.raises(UserError, match=r"broken: flat of 2: world none: 5 of 5 plans were not finite"):
        list(contest(one, plan([0])))


@pytest.mark.parametrize(
    ("settings", "naming"),
    [
        ({"planners": "oracle"}, "--planners: 'oracle' is none of flat, halving"),
        ({"worlds": "moon"}, "--worlds: 'moon' is none of none, mass, latency, both"),
        ({"thinking": "hard"}, "--thinking: 'hard' is none of always, gated, unwaited"),
        ({"candidates": "2,many"}, "--candidates: 'many' is no number"),
        ({"seeds": "-1"}, "--seeds: '-1' names no seed"),
        ({"agents": ","}, "--agents: names no agent"),
        ({"candidates": "1"}, "planner flat: candidates must be at least 2"),
        ({"agents": "zoo:nobody"}, "zoo:nobody: there is no such agent"),
    ],
)
def test_bad_options_are_one_line(settings, naming, agent, tmp_path):
    with pytest.raises(UserError, match=naming):
        bench_planner(out=tmp_path / "out", **{"agents": agent} | settings)
    assert not (tmp_path / "out" / "planner.json").exists()


def test_a_task_of_another_library_has_no_wrong_worlds():
    assert world_options("none", "gym:gymnasium:CartPole-v1", 0.0) == {}
    with pytest.raises(UserError, match="--worlds mass: its task gym:gymnasium:CartPole-v1 is not ours"):
        world_options("mass", "gym:gymnasium:CartPole-v1", 0.0)
