"""A trained Dreamer as the model of a search: its imagination, its heads, and the posterior that it starts from."""

import math

import pytest
import torch
from torch.nn import functional as F

from robot_wm.dreamer.agent import TickState
from robot_wm.dreamer.behavior import imagine
from robot_wm.dreamer.latent_model import DreamerLatentModel
from robot_wm.dreamer.noise import Noise
from robot_wm.dreamer.pessimism import Ensemble, disagreement
from robot_wm.learning.agent import initial_state
from robot_wm.nn.layers import initialise
from robot_wm.nn.returns import lambda_return
from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm.search.halving import HalvingConfig, HalvingPlanner

DEPTH = 3
PLANNERS = {
    "flat": lambda model: FlatPlanner(model, FlatConfig(depth=DEPTH)),
    "halving": lambda model: HalvingPlanner(model, HalvingConfig(depth=DEPTH)),
}


def awake(workshop, **settings):
    """An agent whose heads all say something, and a prior that answers actions."""
    agent = workshop.awake(action=3, **settings).agent
    g = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in agent.rssm.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g) * 0.3)
        for head in (agent.reward, agent.critic):  # numbers around 1, beside which an error of any term shows
            head.out.bias.copy_(-3.0 * torch.linspace(-20.0, 20.0, len(head.out.bias)).abs())
    return agent


def latents(agent, count=4, seed=0):
    g = torch.Generator().manual_seed(seed)
    config = agent.config
    stoch = torch.eye(config.classes)[torch.randint(0, config.classes, (count, config.stoch), generator=g)]
    return torch.cat([torch.rand(count, config.deter, generator=g) - 0.5, stoch.flatten(1)], -1)


def actions(agent, count=4, seed=1):
    action = torch.rand(count, agent.action_dim, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    return F.one_hot(action.argmax(-1), agent.action_dim).float() if agent.discrete else action


@pytest.mark.parametrize("planner", PLANNERS)
@pytest.mark.parametrize("discrete", [False, True], ids=["continuous", "discrete"])
@torch.no_grad()
def test_the_actors_own_sequence_is_worth_what_imagination_says(workshop, discrete, planner):
    agent = awake(workshop, discrete=discrete, horizon=DEPTH)
    start = latents(agent)
    noise = Noise(
        posterior=torch.empty(0),
        prior=torch.ones(DEPTH, 4, agent.config.stoch, agent.config.classes),
        action=torch.zeros(DEPTH, 4, 3),
    )
    seen = imagine(agent, start, noise)
    goes_on = torch.sigmoid(agent.cont(seen.feature))
    returns = lambda_return(agent.reward.mean(seen.feature), goes_on, None, agent.critic.mean(seen.feature), mix=1.0)
    made = PLANNERS[planner](DreamerLatentModel(agent))
    out = made(start, torch.zeros(4, *made.noise_shape[1:]))
    assert returns[0].abs().max() < 100.0
    torch.testing.assert_close(out.value - out.gain, returns[0], rtol=1e-4, atol=1e-4)
    if not discrete:
        torch.testing.assert_close(out.plan, seen.action.transpose(0, 1))
        assert out.gain.abs().max() < 1e-5


@torch.no_grad()
def test_the_discount_is_in_the_continue_flag_and_counts_once(workshop):
    agent = awake(workshop, discount_horizon=10.0)
    target = 0.75 * (1.0 - 1.0 / 10.0)  # what the head learns where three of four episodes go on
    agent.cont.out.weight.zero_()
    agent.cont.out.bias.fill_(math.log(target / (1.0 - target)))
    made = DreamerLatentModel(agent).step(latents(agent), actions(agent))
    torch.testing.assert_close(made.discount, torch.full((4,), target))


@torch.no_grad()
def test_reward_and_discount_are_those_of_the_latent_that_is_reached(workshop):
    agent = awake(workshop)
    before = latents(agent)
    made = DreamerLatentModel(agent).step(before, actions(agent))
    torch.testing.assert_close(made.reward, agent.reward.mean(made.latent))
    torch.testing.assert_close(made.discount, torch.sigmoid(agent.cont(made.latent)))
    torch.testing.assert_close(made.prediction.value, agent.critic.mean(made.latent))
    torch.testing.assert_close(made.prediction.policy.first, agent.actor(made.latent).first)
    assert (made.reward - agent.reward.mean(before)).abs().min() > 1e-4
    stoch = made.latent[:, agent.config.deter :].view(4, agent.config.stoch, agent.config.classes)
    prior = agent.rssm.prior_probs(made.latent[:, : agent.config.deter])
    assert torch.equal(stoch.argmax(-1), prior.argmax(-1))
    assert torch.equal(stoch.sum(-1), torch.ones(4, agent.config.stoch))


@torch.no_grad()
def test_the_posterior_goes_on_from_the_action_that_was_executed(workshop):
    """A safety filter changes what the planner wanted: the next root follows from what the robot did."""
    agent = awake(workshop)
    model, config = DreamerLatentModel(agent), agent.config
    obs = {name: torch.randn(1, width) for name, width in agent.inputs.vectors.items()}
    quiet = torch.zeros(1, config.stoch, config.classes), torch.zeros(1, 3)
    root = agent.step(obs, torch.ones(1), TickState(**initial_state(agent.state, 1, "cpu")), *quiet).state
    planner = FlatPlanner(model, FlatConfig(depth=DEPTH))
    latent = torch.cat([root.deter, root.stoch.flatten(1)], -1)
    noise = torch.randn(planner.noise_shape, generator=torch.Generator().manual_seed(0))
    planned = planner(latent, noise).action
    executed = planned * 0.5
    assert (executed - root.action).abs().max() > 0.05

    def next_deter(action):
        return agent.step(obs, torch.zeros(1), root._replace(action=action), *quiet).state.deter

    expected = model.step(latent, executed).latent[:, : config.deter]
    torch.testing.assert_close(next_deter(executed), expected)
    for other in (root.action, planned):
        assert (next_deter(other) - expected).abs().max() > 1e-3


@torch.no_grad()
def test_what_the_ensemble_disagrees_about_comes_off_the_reward(workshop):
    agent = awake(workshop, pessimism=0.5)
    config = agent.config
    ensemble = Ensemble(
        config.deter + config.stoch * config.classes,
        *(3,),
        members=4,
        units=8,
        groups=config.stoch,
        classes=config.classes,
    )
    initialise(ensemble, torch.Generator().manual_seed(0))
    before, action = latents(agent), actions(agent)
    sure = DreamerLatentModel(agent).step(before, action)
    doubt = disagreement(ensemble(before, action))
    assert doubt.min() > 1e-3
    for penalty, expected in ((None, 0.5), (2.0, 2.0), (0.0, 0.0)):
        made = DreamerLatentModel(agent, ensemble, penalty).step(before, action)
        torch.testing.assert_close(made.reward, sure.reward - expected * doubt)
        assert torch.equal(made.latent, sure.latent)


def test_a_penalty_that_cannot_be_is_named(workshop):
    agent = workshop.learner().agent
    for penalty in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"^penalty must be at least 0 reward units a nat and finite"):
            DreamerLatentModel(agent, None, penalty)
    with pytest.raises(ValueError, match="no ensemble"):
        DreamerLatentModel(agent, None, 0.5)
