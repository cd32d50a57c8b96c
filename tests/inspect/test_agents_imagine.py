"""Both kinds of agents as an audit asks them."""

import numpy as np
import pytest
import torch

from robot_wm.agents import agent_kind
from robot_wm.inspect.imagining import imagine
from robot_wm.inspect.reliving import relive
from robot_wm.inspect.starts import Start
from robot_wm.inspect.world import World
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.transform import to_policy
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training.actor import Actor
from robot_wm.training.playing import play

TASK = "cartpole_balance"
SETTINGS = {
    "dreamer": {"size": "nano", "deter": 32, "hidden": 8, "stoch": 4, "classes": 4, "units": 16, "blocks": 4},
    "muzero": {"size": "nano", "latent": 16, "units": 16, "projection_units": 16, "projection": 8},
}


@pytest.fixture(params=list(SETTINGS))
def agent(request):
    """An agent whose reward head has weights, so that what it predicts depends on where it is."""
    torch.manual_seed(0)
    kind = agent_kind(request.param)
    with make_env(TASK) as env:
        made = kind.make_agent(kind.config(**SETTINGS[request.param]), agent_spec(env)).eval()
    head = made.reward if request.param == "dreamer" else made.model.dynamics.reward
    with torch.no_grad():
        head.out.weight.normal_(0, 0.3)
    return made


@pytest.fixture
def store(tmp_path, agent):
    with make_env(TASK) as env:
        spec = agent_spec(env)
    with EpisodeStore.create(tmp_path / "replay", spec) as made:
        play(agent, TASK, {}, made, steps=60, seed=2, envs=1)
    return made


def test_it_believes_what_it_would_with_the_recorded_commands(agent, store):
    """Not those that it would have chosen: the state that it imagines from must be the one that is restored."""
    episode = store.episode(0)
    step = episode.length - 2
    (lived,) = relive(agent, store.spec, World(TASK, {}), [Start(0, episode, step)], steps=2, seed=0)
    actor = Actor(agent, store.spec, envs=1, seed=0, greedy=True, searches=False)
    for k in range(step + 1):
        acted = actor.act({name: array[k : k + 1] for name, array in episode.obs.items()}, np.array([k == 0]))
        if k < step:
            actor.executed(to_policy(store.spec.action, episode.action[k : k + 1]))
    believed = agent.imagination().latent(actor.state)[0].numpy()
    np.testing.assert_allclose(lived.latents[step], believed, atol=1e-6)
    np.testing.assert_allclose(lived.command[step], acted.command[0], atol=1e-6)
    assert np.ptp(np.stack(lived.command[:step])) > 0


def test_rewards_of_imagination_are_those_of_its_steps_discounted(agent, store):
    episode = store.episode(0)
    (lived,) = relive(agent, store.spec, World(TASK, {}), [Start(0, episode, 3)], steps=2, seed=0)
    latent = torch.from_numpy(lived.latents[3])[None]
    found = imagine(agent, latent.numpy(), horizon=3, draws=1, seed=5)
    model = agent.imagination(torch.Generator().manual_seed(5)).model
    total, weight = 0.0, 1.0
    with torch.inference_mode():
        for h in range(3):
            latent, reward, discount, _ = model.step(latent, model.policy(latent).mode().clamp(-1, 1))
            total, weight = total + weight * reward.item(), weight * discount.item()
            assert found.returns[h, 0] == pytest.approx(total, rel=1e-5)


def test_a_random_model_is_drawn_from_and_a_mean_is_told(agent, store):
    episode = store.episode(0)
    (lived,) = relive(agent, store.spec, World(TASK, {}), [Start(0, episode, 3)], steps=2, seed=0)
    latents = lived.latents[3][None]
    once, again, other = (imagine(agent, latents, horizon=4, draws=1, seed=seed).returns for seed in (1, 1, 2))
    np.testing.assert_array_equal(once, again)
    assert np.allclose(once, other) == (agent.kind == "muzero")  # of which nothing is random
    few, many = (
        np.std([imagine(agent, latents, horizon=4, draws=n, seed=s).returns[-1] for s in range(8)]) for n in (1, 64)
    )
    assert many <= 0.5 * few or agent.kind == "muzero"
