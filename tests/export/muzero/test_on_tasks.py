"""From a task to a running controller: a new MuZero agent is recorded, exported, checked and acts."""

from __future__ import annotations

import pytest
import torch

from robot_wm.agents import agent_kind
from robot_wm.evaluation.closed_loop import run_closed_loop
from robot_wm.muzero.config import MuZeroConfig
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.start import start_controller
from robot_wm.tasks import agent_spec, make_env
from robot_wm_export.export import export_agent
from robot_wm_export.rollout import record_rollout


@pytest.mark.parametrize(
    ("task", "options"),
    [
        ("cartpole_swingup", {}),
        ("cartpole_balance", {"observation": "image"}),
        ("gym:gymnasium:CartPole-v1", {}),  # discrete
    ],
    ids=["vector", "image", "discrete"],
)
def test_a_task_s_agent_runs_on_the_robots_controller(task, options, out):
    env = make_env(task, seed=0, **options)
    spec = agent_spec(env)
    torch.manual_seed(0)
    config = MuZeroConfig(size="nano", latent=16, units=16, depth=2)
    agent = agent_kind("muzero").make_agent(config, spec).eval()
    with torch.no_grad():
        agent.model.actor.out.weight.mul_(50)
    report = export_agent(agent, spec, record_rollout(agent, env, 256, 0), {}, out)
    assert all(max(result.largest_error.values()) < 1e-4 for result in report.manifest.parity.results.values())
    told: list[str] = []
    with Bundle.open(out) as bundle, start_controller(bundle, tell=told.append) as controller:
        assert bundle.manifest.kind == "muzero"
        assert bundle.manifest.surprise_unit is None
        assert bundle.manifest.draws == ()
        result = run_closed_loop(controller, env, realtime=False, max_episode_s=0.4, seed=3)
    env.close()
    assert told[0].startswith("fp32 engine: step by step over 256 recorded ticks off by at most")
    assert "draws" not in told[0]
    assert result.episodes[0].ticks >= 8
    assert result.faults == {}
