"""The flat planner on models whose best sequences and returns are known."""

import itertools
from functools import partial

import pytest
import torch
from hand_models import Quadratic, Tabular, draw
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.nn.categorical import one_hot
from robot_wm.search.flat import FlatConfig, FlatPlanner
from robot_wm.search.halving import HalvingConfig, HalvingPlanner
from robot_wm.search.latent_model import Outcome

seeds = st.integers(0, 2**31)


def flat(model, *, least_gain=1e-9, **settings):
    return FlatPlanner(model, FlatConfig(least_gain=least_gain, **settings))


def halving(model, *, least_gain=1e-9):
    return HalvingPlanner(model, HalvingConfig(least_gain=least_gain))


def chosen(plan):
    """Class indices of a plan [1, K, A]."""
    assert torch.equal(plan.sort(-1).values[..., -1], torch.ones(plan.shape[:-1]))
    assert torch.equal(plan.sum(-1), torch.ones(plan.shape[:-1]))
    return plan[0].argmax(-1).tolist()


def discrete_sequences(model, noise, *, widening, interior):
    """Candidates one at a time: first actions by rank, then each state's logits plus noise."""
    _, count, depth, dim = noise.shape
    order = sorted(range(dim), key=lambda a: -(model.logits[0] + widening * noise[0, -1, 0])[a].item())
    mode = int(model.logits[0].argmax())
    order = [mode, *(a for a in order if a != mode)]
    found = []
    for n in range(count):
        actions = [order[n % dim]]
        for k in range(1, depth):
            state = 0
            for action in actions:
                state = int(model.leads[state, action])
            scale = 0.0 if n == 0 else interior if n < dim else max(interior, 1.0)
            actions.append(int((model.logits[state] + scale * noise[0, n, k]).argmax()))
        found.append(actions)
    return found


@given(
    seed=seeds,
    depth=st.integers(1, 4),
    count=st.integers(2, 9),
    widening=st.sampled_from([0.0, 1.0, 3.0]),
    interior=st.sampled_from([0.0, 0.5, 1.5]),
)
def test_discrete_scores_are_written_out_returns_and_the_best_one_is_the_plan(seed, depth, count, widening, interior):
    model = Tabular(seed=seed)
    planner = flat(model, candidates=count, depth=depth, widening=widening, policy_share=0.0, interior=interior)
    noise = draw(planner.noise_shape, seed=seed, discrete=True)
    out = planner(model.root(), noise)
    sequences = discrete_sequences(model, noise, widening=widening, interior=interior)
    returns = [model.walk(actions) for actions in sequences]
    torch.testing.assert_close(out.scores, torch.tensor([returns]))
    best = max(range(count), key=lambda n: (returns[n], -n))
    assert chosen(out.plan) == sequences[best] or returns[sequences.index(chosen(out.plan))] > returns[best] - 1e-5
    assert out.value.item() == pytest.approx(max(returns), abs=1e-5)
    assert out.gain.item() == pytest.approx(max(returns) - returns[0], abs=1e-5)
    assert out.gain.item() >= 0.0
    assert torch.equal(out.action, out.plan[:, 0])


@given(seed=seeds)
def test_the_best_of_all_sequences_is_found_when_all_are_tried(seed):
    model, depth = Tabular(seed=seed), 3
    every = list(itertools.product(range(3), repeat=depth))
    planner = flat(model, candidates=27, depth=depth, interior=1.0)
    order = model.logits[0].argsort(descending=True).tolist()
    noise = torch.zeros(planner.noise_shape)
    for n in range(1, 27):  # candidate 0 is left to the actor, and the sequence of its number is tried by another
        for k, digit in enumerate((n // 3 % 3, n // 9), start=1):
            noise[0, n, k, digit] = 1e3
    noise[0, -1, 0] = 0.0
    tried = {(order[n % 3], n // 3 % 3, n // 9) for n in range(27)}
    assert tried == set(every)
    out = planner(model.root(), noise)
    others = [actions for actions in every if actions != (order[0], 0, 0)]
    best = max(map(model.walk, map(list, others)))
    own = discrete_sequences(model, torch.zeros_like(noise), widening=0.0, interior=0.0)[0]
    assert out.value.item() == pytest.approx(max(best, model.walk(own)), abs=1e-5)


@given(seed=seeds, share=st.sampled_from([0.0, 0.25, 1.0]), temperature=st.sampled_from([0.0, 0.2, 0.5]))
def test_continuous_scores_are_written_out_returns_and_weights_are_those_of_what_is_better(seed, share, temperature):
    model = Quadratic()
    planner = flat(
        model, candidates=8, depth=3, policy_share=share, widening=2.0, interior=0.5, temperature=temperature
    )
    x = torch.randn(1, 2, generator=torch.Generator().manual_seed(seed))
    noise = draw(planner.noise_shape, seed=seed, discrete=False)
    out = planner(x, noise)
    sequences = []
    for n in range(8):
        state, actions = x[0], []
        for k in range(3):
            width = (0.5 if k else 1.0 if n < 8 * share else 2.0) if n else 0.0
            mean = (-model.part * state).clamp(-1.0, 1.0)
            actions.append((mean + width * model.std * noise[0, n, k]).clamp(-1.0, 1.0))
            state = state + actions[-1]
        sequences.append(torch.stack(actions))
    returns = torch.tensor([model.walk(actions, x[0]) for actions in sequences], dtype=torch.float64)
    torch.testing.assert_close(out.scores[0].double(), returns, rtol=1e-4, atol=1e-4)
    if temperature:
        better = (returns - returns[0]).clamp(min=0.0)
        z = better / (temperature * max(better.max().item(), 0.01))
        weights = z.exp() - 1.0
        weights[0] = 1.0
        weights /= weights.sum()
    else:
        weights = torch.eye(8, dtype=torch.float64)[returns.argmax()]
    plan = (weights[:, None, None] * torch.stack(sequences)).sum(0)
    torch.testing.assert_close(out.plan[0].double(), plan.double(), rtol=1e-3, atol=1e-3)
    assert out.value.item() == pytest.approx((weights * returns).sum().item(), abs=1e-3, rel=1e-3)
    assert out.gain.item() == pytest.approx((weights * (returns - returns[0])).sum().item(), abs=1e-3, rel=1e-3)
    assert torch.equal(out.action, out.plan[:, 0])


def test_the_best_action_of_a_quadratic_is_found():
    # One step: the best is -x (1 + 1) / (1 + 1 + cost), where reward and value of x + a meet the action's cost.
    model, x = Quadratic(discount=1.0, cost=0.5, part=0.0, std=0.3), torch.tensor([[0.4, -0.3]])
    best = -x * 2.0 / 2.5
    noise = draw((1, 4096, 1, 2), seed=0, discrete=False)
    alone = flat(model, candidates=4096, depth=1, temperature=0.0)(x, noise)
    torch.testing.assert_close(alone.action, best, atol=0.05, rtol=0.0)
    averaged = flat(model, candidates=4096, depth=1, temperature=0.1)(x, noise)
    torch.testing.assert_close(averaged.action, best, atol=0.08, rtol=0.0)
    assert alone.value.item() == pytest.approx(model.walk(best, x[0]), abs=0.01)
    # A few candidates go a good part of the way from the actor, who stays.
    few = flat(model, candidates=16, depth=1)(x, noise[:, :16])
    assert (few.action - best).norm() < 0.6 * best.norm()


def test_candidates_that_begin_alike_take_that_step_once():
    class Counted(Tabular):
        asked: tuple[int, ...] = ()

        def lead(self, latent, action):
            self.asked = (*self.asked, len(action))
            return super().lead(latent, action)

    model = Counted()
    flat(model, candidates=8, depth=4)(model.root(), torch.zeros(1, 8, 4, 3))
    assert model.asked == (3, 8, 8, 8)


@pytest.mark.parametrize("at", [0, 1])
def test_nothing_counts_after_the_end_of_an_episode(at):
    model = Tabular(seed=1)
    model.leads = torch.tensor([[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4], [4, 4, 4]])
    model.discount[:] = 1.0
    planner = flat(model, candidates=3, depth=4)
    noise = draw(planner.noise_shape, seed=0, discrete=True)
    before = planner(model.root(), noise)
    model.discount[at] = 0.0
    ended = planner(model.root(), noise)
    model.reward[at + 1 :] += 100.0
    model.values += 100.0
    after = planner(model.root(), noise)
    assert torch.equal(ended.scores, after.scores)
    assert not torch.allclose(before.scores, ended.scores)


@given(seed=seeds)
def test_without_noise_a_continuous_plan_is_the_actors_own(seed):
    model, x = Quadratic(), torch.randn(1, 2, generator=torch.Generator().manual_seed(seed))
    planner = flat(model)
    out = planner(x, torch.zeros(planner.noise_shape))
    assert out.gain.item() == 0.0
    assert torch.equal(out.scores, out.scores[:, :1].expand(-1, 16))
    torch.testing.assert_close(out.plan[0], model.modes(x[0], 5))
    assert out.value.item() == pytest.approx(model.walk(model.modes(x[0], 5), x[0]), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_where_nothing_is_better_the_actor_is_left_alone(temperature):
    class Indifferent(Quadratic):
        loss = 0.0

        def lead(self, latent, action):
            return latent + action, action + self.part * latent

        def outcome(self, shown):
            return Outcome(-self.loss * shown.square().sum(-1), torch.full_like(shown[:, 0], 0.9))

        def value(self, latent):
            return torch.zeros_like(latent[:, 0])

    for loss in (0.0, 1.0):  # all equal, and every other action worse
        model, x = Indifferent(), torch.tensor([[0.5, -1.0]])
        model.loss = loss
        planner = flat(model, temperature=temperature)
        out = planner(x, draw(planner.noise_shape, seed=3, discrete=False))
        assert torch.equal(out.action, -model.part * x)
        assert out.gain.item() == 0.0


def test_scores_that_hardly_differ_hardly_move_the_actor():
    class Faint(Quadratic):
        def outcome(self, shown):
            made = super().outcome(shown)
            return Outcome(made.reward * 1e-4, made.discount * 0.0)

    model, x = Faint(), torch.tensor([[0.5, -1.0]])
    noise = draw((1, 16, 5, 2), seed=3, discrete=False)
    moved = {share: flat(model, least_gain=share)(x, noise).action + model.part * x for share in (1e-9, 0.01)}
    assert moved[0.01].norm() < 0.1 * moved[1e-9].norm()


@pytest.mark.parametrize("model", [Tabular(seed=3), Quadratic()], ids=["discrete", "continuous"])
@pytest.mark.parametrize("scale", [0.5, 40.0])  # of rewards: a return below 1 and one far above
@pytest.mark.parametrize(
    "planner", [partial(flat, temperature=0.0), halving], ids=["the best of flat ones", "the winner of halving"]
)
def test_an_advantage_that_is_a_faint_share_of_the_return_leaves_the_actor_its_way(model, scale, planner):
    class Scaled(type(model)):
        def outcome(self, shown):
            made = super().outcome(shown)
            return Outcome(made.reward * scale, made.discount)

        def value(self, latent):
            return super().value(latent) * scale

    model = Scaled(seed=3) if model.discrete else Scaled()
    root = model.root() if model.discrete else torch.tensor([[0.5, -1.0]])
    noise = draw(planner(model).noise_shape, seed=3, discrete=model.discrete)
    free = planner(model)(root, noise)
    own = free.value - free.gain
    share = (free.gain / own.abs().clamp(min=1.0)).item()
    assert share > 0.0
    taken, left = (planner(model, least_gain=share * factor)(root, noise) for factor in (0.99, 1.01))
    assert torch.equal(taken.plan, free.plan)
    assert left.gain.item() == 0.0
    torch.testing.assert_close(left.value, own)
    mode = model.predict(root).policy.first
    torch.testing.assert_close(left.action, one_hot(mode.argmax(-1), 3, torch.float32) if model.discrete else mode)


@pytest.mark.parametrize("model", [Tabular(), Quadratic()], ids=["discrete", "continuous"])
def test_roots_are_planned_apart(model):
    planner = flat(model)
    noise = draw((3, *planner.noise_shape[1:]), seed=0, discrete=model.discrete)
    roots = torch.eye(5)[:3] if model.discrete else noise[:, 0, 0] + 0.5
    together = planner(roots, noise)
    for b in range(3):
        alone = planner(roots[b : b + 1], noise[b : b + 1])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one, all_[b : b + 1])


@given(seed=seeds, scale=st.floats(0.0, 1e4))
def test_actions_stay_in_their_bounds_and_noise_bounds_how_far_they_go(seed, scale):
    model, x = Quadratic(std=0.1), torch.randn(1, 2, generator=torch.Generator().manual_seed(seed))
    planner = flat(model, widening=3.0)
    noise = draw(planner.noise_shape, seed=seed, discrete=False)
    out = planner(x, noise * scale)
    assert out.plan.abs().max() <= 1.0
    assert out.gain.item() >= 0.0
    reach = 3.0 * model.std * scale * noise[:, :, 0].abs().amax()
    assert (out.action - model.predict(x).policy.first).abs().max() <= reach + 1e-5


@pytest.mark.parametrize("temperature", [0.0, 0.5])
@pytest.mark.parametrize("model", [Tabular(), Quadratic()], ids=["discrete", "continuous"])
def test_what_is_not_finite_is_not_hidden(model, temperature):
    class Broken(type(model)):
        def outcome(self, shown):
            made = super().outcome(shown)
            return made._replace(reward=torch.where(torch.arange(len(shown)) == 2, torch.nan, made.reward))

    broken = Broken()
    planner = flat(broken, temperature=temperature)
    root = broken.root() if broken.discrete else torch.ones(1, 2)
    out = planner(root, draw(planner.noise_shape, seed=0, discrete=broken.discrete))
    assert out.scores.isnan().any()
    assert out.value.isnan().all()
    assert out.gain.isnan().all()


@pytest.mark.parametrize(
    ("settings", "naming"),
    [
        ({"candidates": 1}, "candidates"),
        ({"depth": 0}, "depth"),
        ({"policy_share": 1.1}, "policy_share"),
        ({"policy_share": float("nan")}, "policy_share"),
        ({"widening": -1.0}, "widening"),
        ({"interior": float("inf")}, "interior"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"least_gain": 0.0}, "least_gain"),
    ],
)
def test_settings_that_cannot_be_are_named(settings, naming):
    with pytest.raises(ValueError, match=f"^{naming} must be .*got"):
        FlatConfig(**settings)
