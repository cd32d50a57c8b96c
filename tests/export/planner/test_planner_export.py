"""A bundle with a planner: what is asked for, what it is worth in its task, and who may use it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from robot_wm.cli import run
from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.evaluation.playing import play
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.graph_tensors import TensorSpec
from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.planner_section import PLANNER
from robot_wm.runtime.planning.load import load_planner
from robot_wm.runtime.planning.planner import Planner
from robot_wm.tasks import agent_spec, make_env
from robot_wm_export import exporters
from robot_wm_export.dreamer.exporter import DREAMER
from robot_wm_export.export import export_agent, summary
from robot_wm_export.planner.export import PlannerSettings, draft_planner, make_graph
from robot_wm_export.planner.gate import measure_gate
from robot_wm_export.rollout import record_rollout

TASK = "cartpole_balance"
SETTINGS = PlannerSettings(kind="flat", candidates=2, depth=1, budget_s=0.004, starts=3, seed=41)


@pytest.fixture(scope="module")
def cartpole(teach):
    """An agent of the task, its spec and a rollout."""
    env = make_env(TASK, seed=0)
    try:
        spec = agent_spec(env)
        config = DreamerConfig(size="nano", deter=32, hidden=8, stoch=4, classes=3, units=16, blocks=4)
        generator = torch.Generator().manual_seed(0)
        agent = DreamerAgent(config, spec.model_inputs(), spec.action_dim, False, generator=generator).eval()
        return teach(agent), spec, record_rollout(agent, env, 256, 0)
    finally:
        env.close()


@pytest.fixture(scope="module")
def planned(cartpole, tmp_path_factory):
    """A bundle with a planner, which loses: its model was never trained."""
    out = tmp_path_factory.mktemp("planned") / "agent.rwm"
    return export_agent(*cartpole, {"steps": 7}, out, profiles=(POLICY_OP17,), planner=SETTINGS)


def test_the_bundle_says_what_its_planner_is(planned, cartpole):
    with Bundle.open(planned.path) as bundle:
        section = bundle.manifest.planner
        assert (section.kind, section.candidates, section.depth, section.simulations) == ("flat", 2, 1, None)
        assert section.budget_s == 0.004
        assert section.root == ("next/deter", "next/stoch")
        assert [(entry.name, entry.shape) for entry in section.noise] == [("noise/plan", (1, 2, 1, 1))]
        assert section.outputs[0] == TensorSpec(name="action", shape=(1, 1))
        assert bundle.read(PLANNER)
        load_planner(bundle, forced=True).deactivate()
    figures = summary(planned)["planner"]
    assert figures["starts"] == 3
    assert figures["pays"] is section.gate.pays
    json.dumps(figures)


def test_the_gate_is_what_eval_plays_with_it_and_without(planned, capsys):
    gate = planned.manifest.planner.gate
    arguments = ["eval", str(planned.path), "--episodes", "3", "--seed", "41", "--json"]
    means = []
    for flag in ([], ["--force-planner"]):
        assert run([*arguments, *flag]) == 0
        result = json.loads(capsys.readouterr().out)
        assert result["planner"] is bool(flag)
        means.append(result["return_mean"])
    assert means == pytest.approx([gate.reactive, gate.planned])
    assert means[0] != pytest.approx(means[1], abs=0.1)  # it does plan
    assert gate.interval[0] <= gate.planned - gate.reactive <= gate.interval[1]
    assert measure_gate(planned.path, episodes=3, seed=41, forced=True) == gate


def test_a_draft_plans_what_the_bundles_planner_does(planned, cartpole):
    """Without its recording, which takes long."""
    agent, spec, _ = cartpole
    draft = draft_planner(make_graph(agent, spec, SETTINGS), SETTINGS, spec)
    drafted = Planner(OnnxEngine(draft.graph(), ()), draft.section, seed=41)
    found = play(planned.path, episodes=1, seed=41, planner=drafted)
    expected = play(planned.path, episodes=1, seed=41, planner=True, force_planner=True)
    np.testing.assert_array_equal(found.returns, expected.returns)
    assert found.counts == expected.counts
    assert found.counts["planned"] > 10
    assert not play(planned.path, episodes=1, seed=41).counts


def test_a_planner_that_loses_is_written_and_refused_unless_forced(planned, capsys):
    gate = planned.manifest.planner.gate
    assert not gate.pays
    assert gate.interval[1] < 0
    assert run(["eval", str(planned.path), "--planner", "--json"]) == 2
    assert "its planner does not pay: mean return" in capsys.readouterr().err


def test_what_cannot_be_is_told_before_anything_is_done(cartpole, out, monkeypatch):
    agent, spec, rollout = cartpole
    cases = {
        r"planner: a budget of 21 ms; the control period is 20 ms": {"budget_s": 0.021},
        r"planner: a budget of 0 ms": {"budget_s": 0.0},
        r"planner halving: depth must be at least 2 control steps": {"kind": "halving", "depth": 1},
        r"planner flat: candidates must be at least 2": {"candidates": 1},
        r"planner 'cem' is not one of flat, halving": {"kind": "cem"},
    }
    for naming, change in cases.items():
        settings = PlannerSettings(**({"kind": "flat"} | change))
        with pytest.raises(UserError, match=naming):
            export_agent(agent, spec, rollout, {}, out, planner=settings)
    # What another distribution brings may have no model to plan with.
    monkeypatch.setattr(exporters, "load", lambda entry: _Reactive())
    with pytest.raises(UserError, match="an agent of the kind 'dreamer' has no model that a planner could be exported"):
        make_graph(agent, spec, PlannerSettings(kind="flat"))
    assert not list(out.parent.iterdir())


class _Reactive:
    deployed, value_magnitude, choice_scores = DREAMER.deployed, DREAMER.value_magnitude, DREAMER.choice_scores


def test_a_model_that_is_not_finite_leaves_nothing_behind(cartpole, out):
    agent, spec, rollout = cartpole
    kept = agent.reward.out.bias.detach().clone()
    try:
        with torch.no_grad():
            agent.reward.out.bias[0] = float("inf")
        with pytest.raises(UserError, match=r"planner: \w+\[0.*\] of plan 0 is nan; nothing is written"):
            export_agent(agent, spec, rollout, {}, out, profiles=(POLICY_OP17,), planner=SETTINGS)
    finally:
        with torch.no_grad():
            agent.reward.out.bias.copy_(kept)
    assert not list(out.parent.iterdir())


def test_flags_that_belong_to_a_planner_ask_for_one(tmp_path, capsys):
    arguments = ["export", "--checkpoint", str(tmp_path), "--out", str(tmp_path / "agent.rwm")]
    for flag in ("budget-ms", "candidates", "depth", "starts"):
        assert run([*arguments, f"--planner-{flag}", "30"]) == 2
        assert f"--planner-{flag}: of a planner; add --planner flat or halving" in capsys.readouterr().err
    assert run(["eval", "--checkpoint", str(tmp_path), "--planner"]) == 2
    assert "--planner: of a bundle; a checkpoint has none" in capsys.readouterr().err
