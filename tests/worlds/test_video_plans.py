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
    assert underflows(link, sizes(programme, oracle)) == 0
    most = plans.quality(programme, oracle)
    assert most <= plans.bound(programme, link) + 1e-9
    for plan in (plans.constant(programme, link), plans.constant(programme, link, "even")):
        assert sum(sizes(programme, plan)) <= link.budget * (1 + 1e-9)
        assert plans.quality(programme, plan) <= most


@given(seed=SEEDS, quantiser=QUANTISER, chunk=st.integers(1, 6))
def test_the_greedy_plan_knows_nothing_of_what_is_to_come(seed, quantiser, chunk):
    """But for the reserve of the first pass, which is left as it is."""
    programme = planted(seed)
    link = link_of(programme, quantiser)
    changed = programme.size.copy(), programme.vmaf.copy()
    changed[0][chunk:] = np.maximum(changed[0][chunk:] // 3, 2)
    changed[0][:, plans.FIRST_PASS] = programme.size[:, plans.FIRST_PASS]
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
