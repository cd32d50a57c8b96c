"""The sampled search: against a plain one, and by what must hold for any model."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_search import plain_search
from tiny_model import TinyModel

from robot_wm.errors import UserError
from robot_wm.nn.heads import Policy
from robot_wm.search.gumbel import gumbel_muzero_policy
from robot_wm.search.latent_model import Prediction, Transition
from robot_wm.search.nodes import RecurrentOutput
from robot_wm.search.sampled import SearchConfig, SearchNoise, draw_noise, noise_shapes, search
from robot_wm.search.tree import RootOutput

LATENT = 6


def case(seed, *, batch=3, discrete=False, action_dim=3, **given_settings):
    """(model, latent, noise, config) by seed."""
    model = TinyModel(seed, latent=LATENT, action_dim=action_dim, discrete=discrete)
    config = SearchConfig(**given_settings)
    draw = torch.Generator().manual_seed(seed)
    noise = draw_noise(config, batch=batch, action_dim=action_dim, discrete=discrete, generator=draw)
    return model, torch.randn(batch, LATENT, generator=draw), noise, config


def row(noise, at):
    return SearchNoise(*(None if part is None else part[at : at + 1] for part in noise))


seeds = st.integers(0, 10**6)
kinds = st.booleans()
configs = st.fixed_dictionaries(
    {
        "num_simulations": st.sampled_from((1, 2, 5, 16, 23, 32, 50)),
        "max_depth": st.integers(1, 5),
        "root_actions": st.sampled_from((1, 2, 5, 16)),
        "root_policy": st.integers(0, 1),
        "interior_actions": st.integers(1, 3),
        "value_minmax_delta": st.sampled_from((0.01, 2.0)),
        "gumbel_scale": st.sampled_from((0.0, 1.0, 2.5)),
    }
)


@settings(max_examples=50)
@given(seeds, kinds, configs)
def test_it_finds_what_a_plain_search_finds(seed, discrete, given_settings):
    model, latent, noise, config = case(seed, discrete=discrete, **given_settings)
    out = search(model, latent, noise, config)
    for at in range(len(latent)):
        visits, qvalues, weights, index = plain_search(
            model.double(), latent[at : at + 1].double(), double(row(noise, at)), config
        )
        assert out.visits[at].tolist() == visits
        assert out.index[at] == index
        torch.testing.assert_close(out.qvalues[at].double(), torch.tensor(qvalues).double(), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(out.weights[at].double(), torch.tensor(weights).double(), atol=2e-3, rtol=1e-3)
        model.float()


def double(noise):
    return SearchNoise(*(None if part is None else part.double() for part in noise))


@settings(max_examples=40)
@given(seeds, kinds, configs)
def test_weights_are_a_policy_and_its_value_their_mean(seed, discrete, given_settings):
    model, latent, noise, config = case(seed, discrete=discrete, **given_settings)
    out = search(model, latent, noise, config)
    torch.testing.assert_close(out.weights.sum(-1), torch.ones(len(latent)))
    assert (out.weights >= 0).all()
    assert (out.visits.sum(-1) == config.num_simulations).all()
    torch.testing.assert_close(out.value, (out.weights * out.qvalues).sum(-1))
    torch.testing.assert_close(out.action, out.candidates[torch.arange(len(latent)), out.index])
    assert out.candidates.abs().max() <= 1.0


@settings(max_examples=40)
@given(seeds, kinds, configs)
def test_the_improved_policy_is_no_worse_than_the_prior(seed, discrete, given_settings):
    """Danihelka et al. 2022, section 4: by the Q-values that the search found."""
    model, latent, noise, config = case(seed, discrete=discrete, **given_settings)
    out = search(model, latent, noise, config)
    prior = (
        model.predict(latent).policy.first.softmax(-1)
        if discrete
        else torch.full_like(out.weights, 1 / out.weights.shape[-1])
    )
    assert (out.value >= (prior * out.qvalues).sum(-1) - 1e-5).all()


@settings(max_examples=30)
@given(seeds)
def test_actions_of_a_search_are_worth_more_than_those_of_the_prior(seed):
    """Danihelka et al. 2022, equation 4: over the noise, and by the model itself."""
    model = TinyModel(seed, latent=LATENT, action_dim=6, discrete=True)
    draw = torch.Generator().manual_seed(seed)
    config = SearchConfig(num_simulations=6, max_depth=1)
    latent = torch.randn(1, LATENT, generator=draw).expand(2000, -1)
    noise = draw_noise(config, batch=2000, action_dim=6, discrete=True, generator=draw)
    step = model.step(latent[:6], torch.eye(6))
    worth = step.reward + step.discount * step.prediction.value
    out = search(model, latent, noise, config)
    torch.testing.assert_close(out.qvalues[0], worth, atol=1e-4, rtol=1e-4)  # each was tried once
    got = worth[out.index]
    prior = (model.predict(latent[:1]).policy.first.softmax(-1) * worth).sum()
    assert got.mean() >= prior - 4 * got.std() / 2000**0.5


@settings(max_examples=40)
@given(seeds, kinds, configs)
def test_without_gumbel_noise_the_best_of_the_most_visited_is_taken(seed, discrete, given_settings):
    model, latent, noise, config = case(seed, discrete=discrete, **given_settings)
    noise = noise._replace(gumbel=torch.zeros_like(noise.gumbel))
    out, again = search(model, latent, noise, config), search(model, latent, noise, config)
    for name in (field.name for field in dataclasses.fields(out)):
        assert torch.equal(getattr(out, name), getattr(again, name)), name
    if not discrete:  # no prior speaks for any of them
        running = out.visits == out.visits.amax(-1, keepdim=True)
        assert torch.equal(out.index, torch.where(running, out.qvalues, -torch.inf).argmax(-1))


@settings(max_examples=40)
@given(seeds, st.integers(1, 5), st.sampled_from((1, 6, 20)))
def test_invalid_actions_are_neither_visited_nor_taken(seed, invalid, simulations):
    model, latent, noise, config = case(seed, discrete=True, action_dim=6, num_simulations=simulations)
    mask = torch.stack(
        [torch.randperm(6, generator=torch.Generator().manual_seed(seed + at)) < invalid for at in range(3)]
    )
    out = search(model, latent, noise, config, invalid_actions=mask)
    assert (out.visits[mask] == 0).all()
    assert (out.weights[mask] == 0).all()
    assert not mask[torch.arange(3), out.index].any()
    torch.testing.assert_close(out.weights.sum(-1), torch.ones(3))
    freely = search(model, latent, noise, config, invalid_actions=torch.zeros_like(mask))
    plainly = search(model, latent, noise, config)
    assert torch.equal(freely.visits, plainly.visits)


@settings(max_examples=40)
@given(seeds, kinds, configs)
def test_roots_do_not_know_each_other(seed, discrete, given_settings):
    model, latent, noise, config = case(seed, discrete=discrete, batch=4, **given_settings)
    order = torch.tensor([2, 0, 3, 1])
    out = search(model, latent, noise, config)
    other = search(
        model, latent[order], SearchNoise(*(None if part is None else part[order] for part in noise)), config
    )
    assert torch.equal(out.visits[order], other.visits)
    torch.testing.assert_close(out.weights[order], other.weights, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(out.action[order], other.action)


@settings(max_examples=40)
@given(seeds, st.sampled_from((1, 4, 6)))
def test_the_first_round_visits_whom_gumbel_muzero_does(seed, simulations):
    """Who is visited next within a round does not depend on the visits before."""
    model, latent, noise, config = case(seed, discrete=True, action_dim=6, num_simulations=simulations)
    policy, value = model.predict(latent)

    def recurrent_fn(action, embedding):
        step = model.step(embedding, torch.eye(6)[action])
        return RecurrentOutput(
            step.reward, step.discount, step.prediction.policy.first, step.prediction.value
        ), step.latent

    theirs = gumbel_muzero_policy(
        RootOutput(policy.first, value, latent),
        recurrent_fn,
        simulations,
        gumbel=noise.gumbel,
        max_num_considered_actions=min(6, simulations),
    )
    out = search(model, latent, noise, config)
    assert torch.equal(out.visits.int(), theirs.search_tree.summary().visit_counts)
    torch.testing.assert_close(out.qvalues, theirs.search_tree.summary().qvalues.where(out.visits > 0, out.qvalues))


class Plateau(torch.nn.Module):
    """Earns ``reward`` for each step and a little for the action, and values every latent at ``value``."""

    action_dim, discrete = 1, False

    def __init__(self, *, reward, slope, value, discount):
        super().__init__()
        self.reward, self.slope, self.value, self.discount = reward, slope, value, discount

    def predict(self, latent):
        flat = torch.zeros(len(latent), 1)
        return Prediction(Policy(flat, flat + 0.3), torch.full((len(latent),), self.value))

    def step(self, latent, action):
        reward = self.reward + self.slope * action[:, 0]
        return Transition(latent, reward, torch.full_like(reward, self.discount), self.predict(latent))


def preference(model, **given_settings):
    """How many nats of a search's weights a unit of Q is, by two candidates at -0.3 and 0.3, each tried once."""
    config = SearchConfig(num_simulations=2, root_actions=2, root_policy=2, **given_settings)
    noise = SearchNoise(torch.zeros(1, 2), torch.tensor([[[-1.0], [1.0]]]), torch.zeros(1, 2, 2, 1))
    out = search(model, torch.zeros(1, LATENT), noise, config)
    worse, better = out.weights[0].log().tolist()
    return (better - worse) / (2 * 0.3 * model.slope)


@pytest.mark.parametrize("unit", [1.0, 100.0])
def test_a_difference_weighs_as_its_share_of_a_steps_reward_in_any_unit(unit):
    """Sigma is (50 + 1 visit) x 0.1. Both are worth 100 units, and the root, a step earlier, 99: the range is that step
    and the difference.
    """
    model = Plateau(reward=unit, slope=0.01 * unit, value=100.0 * unit, discount=0.99)
    span = (100 + 0.003) - 0.99 * (100 - 0.003)
    assert preference(model) == pytest.approx(5.1 / (span * unit), rel=0.02)  # float32 of 100 in 0.006


def test_a_range_below_the_least_is_not_stretched():
    model = Plateau(reward=0.0, slope=0.001, value=0.0, discount=0.99)
    assert preference(model) == pytest.approx(5.1 / 0.01, rel=1e-3)
    assert preference(model, value_minmax_delta=2.0) == pytest.approx(5.1 / 2.0, rel=1e-3)
    assert preference(model, value_minmax_delta=1e-6) == pytest.approx(5.1 / (2 * 0.3 * 0.001), rel=1e-3)


def test_what_is_worse_deeper_down_makes_a_difference_at_the_root_smaller():
    """The first step earns 10, and a second costs 5: that is never a root's Q-value, but one of the tree's returns."""

    class Cliff(Plateau):
        def step(self, latent, action):
            step = super().step(latent, action)
            return step._replace(latent=latent + 1, reward=step.reward + torch.where(latent[:, 0] > 0.5, -5.0, 10.0))

    model = Cliff(reward=0.0, slope=1.0, value=0.0, discount=1.0)
    config = SearchConfig(num_simulations=4, root_actions=2, root_policy=2)
    noise = SearchNoise(torch.zeros(1, 2), torch.tensor([[[-1.0], [1.0]]]), torch.zeros(1, 4, 2, 1))
    out = search(model, torch.zeros(1, LATENT), noise, config)
    assert out.visits.tolist() == [[2.0, 2.0]]
    worse, better = out.weights[0].log().tolist()
    # Returns: 9.7 and 10.3 from the root in the first round, -5 from its nodes on, 4.7 and 5.3 through them.
    assert better - worse == pytest.approx(0.1 * 52 * 0.6 / (10.3 - -5), rel=1e-4)


def test_candidates_come_from_the_policy_and_from_around_it():
    model, latent, noise, config = case(0, batch=2000)
    policy = model.predict(latent).policy
    out = search(model, latent * 0, noise, config)  # mean 0, std 0.6: few are clamped
    spread = ((out.candidates.abs() < 1) * out.candidates).square().mean((0, 2)).sqrt()
    assert (spread[:4] < 0.5).all()
    assert policy.std is not None
    at_rest = model.predict(latent[:1] * 0).policy
    want = (
        at_rest.first[:, None] + at_rest.std[:, None] * torch.tensor([1.0] * 4 + [3.0] * 12)[:, None] * noise.root[:1]
    ).clamp(-1, 1)
    torch.testing.assert_close(out.candidates[:1], want)


@pytest.mark.parametrize("discrete", [False, True])
def test_noise_has_the_shapes_that_are_told(discrete):
    config = SearchConfig(num_simulations=7, root_actions=5, interior_actions=3)
    shapes = noise_shapes(config, batch=2, action_dim=4, discrete=discrete)
    noise = draw_noise(config, batch=2, action_dim=4, discrete=discrete)
    assert {name: tuple(part.shape) for name, part in noise._asdict().items() if part is not None} == shapes
    want = {"gumbel": (2, 4)} if discrete else {"gumbel": (2, 5), "root": (2, 5, 4), "interior": (2, 7, 3, 4)}
    assert shapes == want


@settings(max_examples=20)
@given(seeds, kinds)
def test_without_gumbel_noise_the_best_candidate_is_taken(seed, discrete):
    """Of those that were looked at as often as any, the one with the largest weight."""
    model, latent, noise, config = case(seed, discrete=discrete, gumbel_scale=0.0)
    out = search(model, latent, noise, config)
    most = out.visits == out.visits.amax(-1, keepdim=True)
    assert out.index.tolist() == torch.where(most, out.weights, -1.0).argmax(-1).tolist()


def test_gumbel_noise_is_gumbel():
    config = SearchConfig()
    noise = draw_noise(config, batch=20000, action_dim=1, discrete=False, generator=torch.Generator().manual_seed(0))
    assert noise.gumbel.mean() == pytest.approx(0.5772, abs=0.01)
    assert noise.gumbel.std() == pytest.approx(1.2825, abs=0.01)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_simulations", 0),
        ("max_depth", 0),
        ("root_actions", 0),
        ("interior_actions", 0),
        ("root_policy", 17),
        ("root_policy", -1),
        ("root_widening", 0.0),
        ("c_scale", float("nan")),
        ("value_minmax_delta", 0.0),
        ("c_visit", float("inf")),
        ("gumbel_scale", -0.5),
        ("gumbel_scale", float("nan")),
    ],
)
def test_a_setting_that_does_not_fit_is_named(field, value):
    with pytest.raises(UserError, match=f"{field}.*got {value}"):
        SearchConfig(**{field: value})
