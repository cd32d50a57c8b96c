"""When a tick thinks: a table to read, and a budget that holds over any ticks."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.runtime.planning.gate import Allowance, Choice, Limits, Situation, choose

LIMITS = Limits(gain=0.1, look_ticks=10, reuse_surprise=2.0, surprise=5.0)
CALM = Situation(surprise=1.0, gain=0.5, searched_ticks=1, is_valid=False, searches=3.0)
SKIP, REUSE, SEARCH = Choice.SKIP, Choice.REUSE, Choice.SEARCH
NAN = math.nan


@pytest.mark.parametrize(
    ("situation", "choice"),
    [
        # The first search tells what the planner is worth here.
        ({"gain": NAN}, SEARCH),
        ({"gain": NAN, "searches": 0.9}, SKIP),
        # A plan that promised more than the actor: go on with it, and make another when it is over.
        ({"is_valid": True}, REUSE),
        ({"is_valid": True, "searches": 0.0}, REUSE),
        ({}, SEARCH),
        ({"searches": 1.0}, SEARCH),
        ({"searches": 0.999}, SKIP),
        # One that did not: no other for look_ticks.
        ({"gain": 0.1}, SKIP),
        ({"gain": 0.1, "is_valid": True}, SKIP),
        ({"gain": -3.0, "searched_ticks": 9}, SKIP),
        ({"gain": -3.0, "searched_ticks": 10}, SEARCH),
        ({"gain": -3.0, "searched_ticks": 10, "searches": 0.5}, SKIP),
        # Reality left the model: the plan is no longer good, and thinking pays whatever the last one promised.
        ({"surprise": 2.0, "is_valid": True}, REUSE),
        ({"surprise": 2.1, "is_valid": True}, SEARCH),
        ({"surprise": 2.1, "is_valid": True, "searches": 0.0}, SKIP),
        ({"surprise": 2.1, "gain": 0.0}, SEARCH),
        # A model that does not understand does not plan.
        ({"surprise": 5.0}, SEARCH),
        ({"surprise": 5.1}, SKIP),
        ({"surprise": 5.1, "is_valid": True, "searches": 9.0}, SKIP),
        ({"surprise": NAN, "is_valid": True}, SKIP),
    ],
)
def test_the_table(situation, choice):
    assert choose(CALM._replace(**situation), LIMITS) is choice


@given(
    share=st.floats(0.0, 1.0),
    burst=st.integers(1, 20),
    wants=st.lists(st.booleans(), min_size=1, max_size=400),
)
def test_over_any_ticks_no_more_than_the_share_and_a_burst(share, burst, wants):
    allowance, made = Allowance(share, burst), []
    for want in wants:
        allowance.tick()
        spends = want and allowance.searches >= 1.0
        if spends:
            allowance.spend()
        made.append(spends)
    for begin in range(0, len(made), 37):
        for end in range(begin + 1, len(made) + 1, 41):
            assert sum(made[begin:end]) <= share * (end - begin) + burst + 1e-9


def test_a_long_rest_saves_no_more_than_a_burst():
    allowance = Allowance(0.5, 4)
    for _ in range(1000):
        allowance.tick()
    assert allowance.searches == 4.0


def test_all_ticks_may_search_where_the_share_is_one():
    allowance = Allowance(1.0, 1)
    for _ in range(100):
        allowance.tick()
        assert allowance.searches >= 1.0
        allowance.spend()
