"""Plans over known curves against what can be counted out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_programmes import planted

from robot_wm_worlds.video import plans
from robot_wm_worlds.video.encoder import MODES, QUANTISERS
from robot_wm_worlds.video.forecast import COARSEST_PROBE, PROBES, Forecast, ranked
from robot_wm_worlds.video.link import Link, underflows
from robot_wm_worlds.video.programme import kept_rate

SEEDS = st.integers(0, 10_000)
QUANTISER = st.floats(20, 40)


def link_of(programme, quantiser):
    return Link.of(kept_rate(programme.bytes_at(quantiser), len(programme)), len(programme))


def sizes(programme, plan):
    return programme.size[np.arange(len(plan)), plan].tolist()


@pytest.mark.parametrize("seed", range(6))
def test_the_oracle_is_the_best_of_all_plans_that_can_be_counted_out(seed):
    """To within what one step of one chunk is worth: a price has no plan for every budget."""
    programme = planted(seed, chunks=3)
    link = link_of(programme, 29.0)
    best = -np.inf
    for plan in itertools.product(range(len(MODES)), repeat=3):
        cost = sizes(programme, np.array(plan))
        if sum(cost) <= link.budget and not underflows(link, cost):
            best = max(best, plans.quality(programme, np.array(plan)))
    found = plans.oracle(programme, link)
    assert sum(sizes(programme, found)) <= link.budget
    assert not underflows(link, sizes(programme, found))
    assert best - 0.15 <= plans.quality(programme, found) <= best + 1e-9
    assert best <= plans.bound(programme, link) + 1e-9


@given(seed=SEEDS, quantiser=QUANTISER)
def test_nothing_within_the_budget_beats_the_bound_and_the_oracle_beats_the_rest(seed, quantiser):
    programme = planted(seed)
    link = link_of(programme, quantiser)
    oracle = plans.oracle(programme, link)
    assert sum(sizes(programme, oracle)) <= link.budget
    coarsest = np.full(len(programme), COARSEST_PROBE)
    assert underflows(link, sizes(programme, oracle)) <= underflows(link, sizes(programme, coarsest))
    most = plans.quality(programme, oracle)
    assert most <= plans.bound(programme, link) + 1e-9
    for plan in (plans.constant(programme, link), plans.constant(programme, link, "even")):
        assert sum(sizes(programme, plan)) <= link.budget * (1 + 1e-9)
        assert plans.quality(programme, plan) <= most


@given(seed=SEEDS, quantiser=QUANTISER, chunk=st.integers(1, 6))
def test_the_greedy_plan_knows_nothing_of_what_is_to_come(seed, quantiser, chunk):
    """But for what the chunks cost at least, which was probed and is left as it is."""
    programme = planted(seed)
    link = link_of(programme, quantiser)
    changed = programme.size.copy(), programme.vmaf.copy()
    changed[0][chunk:] = np.maximum(changed[0][chunk:] // 3, 2)
    changed[0][:, COARSEST_PROBE] = programme.size[:, COARSEST_PROBE]
    changed[1][chunk:] -= 20
    other = replace(programme, size=changed[0], vmaf=changed[1])
    assert (plans.greedy(programme, link)[:chunk] == plans.greedy(other, link)[:chunk]).all()


def test_the_constant_quantiser_spends_a_budget_that_is_just_its_own():
    programme = planted(1)
    step = QUANTISERS.index(27)
    link = Link.of(kept_rate(programme.bytes_at(27), len(programme)), len(programme))
    plan = plans.constant(programme, link, "even")
    late = underflows(link, sizes(programme, np.full(len(programme), step)))
    assert late == 0
    assert (plan == step).all()
    dearer = replace(link, budget=link.budget * 0.999)
    assert (plans.constant(programme, dearer, "even") == step + 1).all()


@given(seed=SEEDS, quantiser=QUANTISER)
def test_the_fair_price_spends_the_budget_and_no_lower_price_does(seed, quantiser):
    programme = planted(seed)
    budget = programme.bytes_at(quantiser)
    price = plans.fair_price(programme, budget)
    assert plans.cost(programme, plans.at_price(programme, price)) <= budget
    assert plans.cost(programme, plans.at_price(programme, price * (1 - 1e-6))) > budget


def test_a_forecast_is_right_where_it_was_probed_and_geometric_between():
    programme = planted(2)
    expected = Forecast(programme)
    known = [*PROBES, COARSEST_PROBE]
    np.testing.assert_allclose(expected.size[:, known], programme.size[:, known])
    np.testing.assert_allclose(expected.vmaf[:, known], programme.vmaf[:, known])
    first = MODES.index(("still", 18))
    size = {quantiser: expected.size[:, first + step] for step, quantiser in enumerate(QUANTISERS)}
    np.testing.assert_allclose(size[27] ** 2, size[24] * size[30])
    np.testing.assert_allclose(size[18] * size[30], size[24] ** 2)  # beyond the finest as before it
    even = programme.size[:, COARSEST_PROBE] / programme.size[:, MODES.index(("even", 36))]
    np.testing.assert_allclose(size[42] / size[36], even)  # beyond the coarsest as the even spread was probed


@given(seed=SEEDS, quantiser=QUANTISER)
def test_a_forecast_that_is_right_plans_nearly_as_well_as_the_oracle(seed, quantiser):
    programme = planted(seed)
    link = link_of(programme, quantiser)
    right = Forecast(programme)
    right.size, right.vmaf = programme.size.astype(float), programme.vmaf
    left, spent, total = link.budget, 0, 0.0
    for chunk in range(len(programme)):
        mode = int(right.worth(chunk, left - spent).argmax())
        spent += programme.size[chunk, mode]
        total += programme.vmaf[chunk, mode]
    assert spent <= link.budget
    assert total / len(programme) >= plans.bound(programme, link) - 1.5


def test_offers_are_each_spread_s_best_and_the_best_spread_s_first():
    worth = np.arange(len(MODES)) % len(QUANTISERS) * np.repeat([1.0, 3.0, 2.0], len(QUANTISERS))
    assert [mode for _, mode in ranked(worth.tolist())] == [17, 26, 8]


def test_a_forecast_learns_that_chunks_cost_more():
    programme = planted(2)
    expected = Forecast(programme)
    before = expected.worth(1, 40_000.0).argmax()
    expected.learn(0, 4, 1.4 * expected.size[0, 4])
    assert expected.correction == pytest.approx(0.3 * np.log(1.4))
    for _ in range(20):
        expected.learn(0, 4, 1.4 * expected.size[0, 4])
    after = expected.worth(1, 40_000.0).argmax()
    assert expected.correction == pytest.approx(np.log(1.4), rel=1e-2)
    assert expected.size[1, after] < expected.size[1, before]


def test_the_greedy_plan_of_chunks_that_are_all_alike_is_the_fair_one():
    one = planted(3, chunks=1)
    alike = replace(
        one,
        parts=one.parts * 8,
        **{key: np.repeat(getattr(one, key), 8, 0) for key in ("size", "first", "vmaf", "psnr_db")},
    )
    link = link_of(alike, 30)
    fair = plans.at_price(alike, plans.fair_price(alike, link.budget))
    plan = plans.greedy(alike, link)
    assert plan[0] == fair[0]
    assert plans.cost(alike, fair) <= plans.cost(alike, plan) <= link.budget
