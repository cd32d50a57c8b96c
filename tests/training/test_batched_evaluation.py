"""Evaluations of many episodes: in groups, each episode what it is alone."""

import pytest
import torch

from robot_wm.dreamer.agent import DreamerAgent
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training import batched_evaluation
from robot_wm.training.env_pool import EnvPool

TASK, LONGEST = "cartpole_balance", 60  # control steps: some of the poles that nobody holds have fallen by then


@pytest.fixture
def agent(tiny):
    env = make_env(TASK)
    spec = agent_spec(env)
    env.close()
    torch.manual_seed(0)
    return DreamerAgent(tiny().settings, spec.model_inputs(), spec.action_dim, spec.action.is_discrete).eval()


def test_episodes_are_the_same_in_groups_of_any_size(agent, monkeypatch):
    made = []
    one = EnvPool.__init__
    monkeypatch.setattr(EnvPool, "__init__", lambda pool, *a, **k: made.append(k["envs"]) or one(pool, *a, **k))
    heard: dict[int, list[int]] = {}
    results = {}
    for width in (3, 5, 10, 64):
        monkeypatch.setattr(batched_evaluation, "SIDE_BY_SIDE", width)
        heard[width] = []
        results[width] = batched_evaluation.evaluate(
            agent, TASK, {}, episodes=10, seed=7, on_episode=heard[width].append, longest=LONGEST
        )
    assert made == [3, 5, 10, 10]
    assert all(numbers[0] == 0 and numbers[-1] == 10 and numbers == sorted(numbers) for numbers in heard.values())
    alone = [
        batched_evaluation.evaluate(agent, TASK, {}, episodes=1, seed=7 + number, longest=LONGEST)
        for number in range(10)
    ]
    assert len({one["length_mean"] for one in alone}) > 1
    for result in results.values():
        assert result["lengths"] == [one["lengths"][0] for one in alone]
        assert result["returns"] == pytest.approx([one["returns"][0] for one in alone], abs=1e-3)
        assert result["cut_off"] == sum(one["cut_off"] for one in alone) > 0
        assert result["episodes"] == 10
