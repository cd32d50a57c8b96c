"""The halving planner against its rule worked out one candidate at a time."""

from types import SimpleNamespace

import pytest
import torch
from hand_models import Quadratic, Tabular, draw
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.search.halving import HalvingConfig, HalvingPlanner

seeds = st.integers(0, 2**31)
MODELS = {"discrete": Tabular, "continuous": Quadratic}


def halving(model, **settings):
    return HalvingPlanner(model, HalvingConfig(least_gain=1e-9, **settings))


def root_of(model, seed):
    if model.discrete:
        return model.root(seed % model.states)
    return torch.randn(1, model.action_dim, generator=torch.Generator().manual_seed(seed))


def rolled(model, root, first, noise):
    """Actions [K, A] and the return of one candidate: ``first`` [A], then the policy with noise [K-1, A]."""
    actions, made = [first], model.step(root, first[None])
    score, going = made.reward, made.discount
    for draw_ in noise:
        action = made.prediction.policy.sample(draw_[None])
        action = action if model.discrete else action.clamp(-1.0, 1.0)
        actions.append(action[0])
        made = model.step(made.latent, action)
        score, going = score + going * made.reward, going * made.discount
    return torch.stack(actions), (score + going * made.prediction.value).item()


def halved(model, root, noise, config):
    """What is to come, without a batch: noise [R, K, A]."""
    count, dim = config.candidates, model.action_dim
    policy = model.predict(root).policy
    if model.discrete:
        scores = policy.first[0] + config.widening * noise[count - 1, 0]
        order = scores.argsort(descending=True).tolist()
        mode = int(policy.first[0].argmax())
        order = [mode, *(a for a in order if a != mode)]
        firsts = [torch.eye(dim)[order[n % dim]] for n in range(count)]
    else:
        widths = [0.0] + [1.0 if n < config.policy_share * count else config.widening for n in range(1, count)]
        firsts = [
            (policy.first[0] + width * policy.std[0] * noise[n, 0]).clamp(-1.0, 1.0) for n, width in enumerate(widths)
        ]
    zero = torch.zeros(config.depth - 1, dim)
    clean = [rolled(model, root, first, zero) for first in firsts]
    rolls = [[score] for _, score in clean]
    left, row = list(range(count)), count
    means = [scores[0] for scores in rolls]
    kept = [left]
    for phase in config.phases[1:]:
        left = sorted(left, key=lambda n: -means[n])[:phase]
        kept.append(left)
        for n in left:
            rolls[n].append(rolled(model, root, firsts[n], config.interior * noise[row, 1:])[1])
            means[n] = sum(rolls[n]) / len(rolls[n])
            row += 1
    best = max(left, key=lambda n: means[n])
    if clean[best][1] <= clean[0][1]:
        best = 0
    return SimpleNamespace(
        plan=clean[best][0], value=clean[best][1], scores=means, gain=clean[best][1] - clean[0][1], kept=kept
    )


@pytest.mark.parametrize("kind", MODELS)
@given(
    seed=seeds,
    count=st.sampled_from([2, 3, 4, 6, 8, 16]),
    depth=st.integers(2, 4),
    interior=st.sampled_from([0.0, 0.5, 2.0]),
)
def test_it_halves_by_the_mean_of_all_rolls(kind, seed, count, depth, interior):
    model = Tabular(actions=16, states=7, seed=seed) if kind == "discrete" else Quadratic(std=0.4)
    planner = halving(model, candidates=count, depth=depth, interior=interior)
    noise = draw(planner.noise_shape, seed=seed, discrete=model.discrete)
    root = root_of(model, seed)
    out, expected = planner(root, noise), halved(model, root, noise[0], planner.config)
    torch.testing.assert_close(out.scores[0], torch.tensor(expected.scores), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(out.plan[0], expected.plan, rtol=1e-4, atol=1e-4)
    assert out.value.item() == pytest.approx(expected.value, abs=1e-4, rel=1e-4)
    assert out.gain.item() == pytest.approx(expected.gain, abs=1e-4, rel=1e-4)
    assert out.gain.item() >= 0.0
    assert torch.equal(out.action, out.plan[:, 0])


def test_phases_halve_down_to_two():
    assert HalvingConfig(candidates=16).phases == (16, 8, 4, 2)
    assert HalvingConfig(candidates=2).phases == (2,)
    assert HalvingConfig(candidates=12).phases == (12, 6, 3)
    assert halving(Quadratic(), candidates=16, depth=5).noise_shape == (1, 30, 5, 2)


def test_a_first_action_is_answered_once():
    class Counted(Quadratic):
        asked = 0

        def lead(self, latent, action):
            self.asked += len(action)
            return super().lead(latent, action)

    model = Counted()
    planner = halving(model, candidates=16, depth=5)
    planner(torch.ones(1, 2), torch.zeros(planner.noise_shape))
    assert model.asked == 16 + 4 * (16 + 8 + 4 + 2)


def test_rolling_again_finds_out_who_was_lucky():
    """Action 1 looks best as long as the mode follows it; with any noise it does not. Action 2 is second, and sure."""
    model = Tabular(states=5, actions=3)
    model.leads = torch.tensor([[1, 2, 3], [4, 4, 4], [4, 4, 4], [4, 4, 4], [4, 4, 4]])
    model.reward = torch.zeros(5, 3)
    model.reward[2] = torch.tensor([2.0, -9.0, -9.0])
    model.reward[3] = 1.5
    model.discount = torch.ones(5, 3)
    model.values = torch.zeros(5)
    model.logits = torch.zeros(5, 3)
    model.logits[0, 0] = 1.0
    model.logits[1:, 0] = 0.1
    planner = halving(model, candidates=4, depth=2, interior=1.0)
    noise = torch.zeros(planner.noise_shape)
    assert planner(model.root(), noise).action.argmax() == 1
    noise[:, 4:, 1, 1] = 5.0
    out = planner(model.root(), noise)
    assert out.action.argmax() == 2
    assert out.value.item() == 1.5
    assert sorted(out.scores[0].tolist()) == [-3.5, 0.0, 0.0, 1.5]


def test_the_actor_stays_where_its_own_sequence_is_as_good():
    model = Tabular(seed=0)
    model.reward[:], model.values[:] = 1.0, 1.0
    model.discount[:] = 1.0
    planner = halving(model, candidates=3)
    out = planner(model.root(), draw(planner.noise_shape, seed=0, discrete=True))
    assert out.action.argmax() == model.logits[0].argmax()
    assert out.gain.item() == 0.0


@given(seed=seeds)
def test_without_noise_a_continuous_plan_is_the_actors_own(seed):
    model, x = Quadratic(), torch.randn(1, 2, generator=torch.Generator().manual_seed(seed))
    planner = halving(model)
    out = planner(x, torch.zeros(planner.noise_shape))
    assert out.gain.item() == 0.0
    torch.testing.assert_close(out.plan[0], model.modes(x[0], 5))
    assert out.value.item() == pytest.approx(model.walk(model.modes(x[0], 5), x[0]), rel=1e-5)


def test_nothing_counts_after_the_end_of_an_episode():
    model = Tabular(seed=1)
    planner = halving(model, candidates=3)
    noise = draw(planner.noise_shape, seed=0, discrete=True)
    model.discount[:] = 0.0
    ended = planner(model.root(), noise)
    torch.testing.assert_close(ended.scores.sort().values, model.reward[:1].sort().values)
    model.values += 100.0
    assert torch.equal(planner(model.root(), noise).value, ended.value)


@pytest.mark.parametrize("kind", MODELS)
def test_roots_are_planned_apart(kind):
    model = MODELS[kind]()
    planner = halving(model)
    noise = draw((3, *planner.noise_shape[1:]), seed=0, discrete=model.discrete)
    roots = torch.cat([root_of(model, seed) for seed in range(3)])
    together = planner(roots, noise)
    for b in range(3):
        alone = planner(roots[b : b + 1], noise[b : b + 1])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one, all_[b : b + 1])


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_not_finite_is_not_hidden(kind):
    class Broken(MODELS[kind]):
        def outcome(self, shown):
            made = super().outcome(shown)
            return made._replace(reward=torch.where(torch.arange(len(shown)) == 1, torch.nan, made.reward))

    model = Broken()
    planner = halving(model)
    out = planner(root_of(model, 0), draw(planner.noise_shape, seed=0, discrete=model.discrete))
    assert out.scores.isnan().any()
    assert out.value.isnan().all()
    assert out.gain.isnan().all()


def test_settings_that_cannot_be_are_named():
    with pytest.raises(ValueError, match=r"^depth must be at least 2 control steps .*got 1"):
        HalvingConfig(depth=1)
    with pytest.raises(ValueError, match=r"^candidates must be"):
        HalvingConfig(candidates=1)
