"""`robot-wm bench planner_deadline`: what it counts as late, and that it drives both ways. How fast decides nothing."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from planned import lost, with_planner

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.tasks import agent_spec, make_env
from robot_wm_bench.planner_deadline import _Arm, bench_planner_deadline
from robot_wm_export.export import export_agent
from robot_wm_export.rollout import record_rollout


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> tuple[Path, Path]:
    """Of an untrained agent: with a planner that did not pay, which is measured all the same, and without."""
    folder = tmp_path_factory.mktemp("bundles")
    plain, planned = folder / "plain.rwm", folder / "planned.rwm"
    env = make_env("cartpole_balance", seed=1)
    try:
        spec = agent_spec(env)
        config = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, depth=2, units=16, blocks=4)
        generator = torch.Generator().manual_seed(1)
        agent = DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator).eval()
        rollout = record_rollout(agent, env, 256, 1)
    finally:
        env.close()
    export_agent(agent, spec, rollout, {"steps": 0}, plain, None, profiles=("policy.op17.onnx",))
    return with_planner(plain, planned, gate=lost()), plain


def test_with_and_without_a_planner_in_one_run(bundles, capsys):
    bench_planner_deadline(bundle=bundles[0], ticks=60, rate=500.0, deadline_ms=1e6, budget_ms=15.0, load=0, json=True)
    result = json.loads(capsys.readouterr().out)
    none, planned = result["rows"]
    assert (result["rate_hz"], result["deadline_us"], result["busy_processes"]) == (500.0, 1e9, 0)
    assert (none["planner"], planned["planner"]) == ("none", "halving of 4 x 5")
    assert (none["ticks"], planned["ticks"], result["late_beyond_none"]) == (60, 60, 0)
    assert none["late"] == planned["late"] == planned["late_by_planning"] == 0
    asked = planned["searches"] + planned["refused"] + planned["hurried"]
    assert asked == 60 + 20 - 1, "every tick that drives searches, also those that settle; the first is no such tick"
    assert planned["planned"] + planned["late_plans"] == planned["searches"]
    assert "searches" not in none
    assert gc.get_freeze_count() == 0


def test_a_command_is_late_by_planning_if_it_would_not_have_been_without(make_arm):
    arm = make_arm(delays_us=[100, 5001, 5001, 5001, 9000], plans_us=[0, 0, 1, 0.5, 4000])
    found = arm.figures(0.005)
    assert (found["ticks"], found["late"], found["late_by_planning"], found["max_us"]) == (5, 4, 2, 9000.0)


@pytest.fixture
def make_arm():
    class Stands:
        def enable(self): ...

    def make(delays_us, plans_us):
        arm = _Arm(Stands(), {}, len(delays_us))
        arm._delays_us, arm._plans_us, arm.done = np.float64(delays_us), np.float64(plans_us), len(delays_us)
        return arm

    return make


def test_without_a_planner_there_is_nothing_to_measure(bundles):
    with pytest.raises(UserError, match="has no planner to measure"):
        bench_planner_deadline(bundle=bundles[1], ticks=10)
    with pytest.raises(UserError, match="is of kind dreamer"):
        bench_planner_deadline(bundle=bundles[0], planner="muzero", ticks=10)
