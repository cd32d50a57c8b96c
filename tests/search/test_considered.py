"""Sequential Halving's tables, for a human to check."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.search.considered import considered_visits, halving_rounds, table_of_considered_visits


@pytest.mark.parametrize(
    ("actions", "simulations", "rounds"),
    [
        # (actions in the running, visits that each has had)
        (16, 16, [(16, 0)]),
        (16, 32, [(16, 0), (8, 1), (4, 2), (4, 3)]),
        (16, 64, [(16, 0), (8, 1), (8, 2), *((4, v) for v in range(3, 7)), *((2, v) for v in range(7, 15))]),
        (16, 20, [(16, 0), (4, 1)]),
        (16, 5, [(5, 0)]),
        (4, 8, [(4, 0), (2, 1), (2, 2)]),
        (5, 16, [(5, 0), (2, 1), (2, 2), (2, 3), (2, 4), (2, 5), (1, 6)]),
        (2, 5, [(2, 0), (2, 1), (1, 2)]),
        (1, 3, [(1, 0), (1, 1), (1, 2)]),
        (0, 2, [(1, 0), (1, 1)]),
    ],
)
def test_rounds(actions, simulations, rounds):
    assert list(halving_rounds(actions, simulations)) == rounds


def test_the_table_of_three_actions_and_six_simulations():
    assert table_of_considered_visits(3, 6) == (
        (0, 1, 2, 3, 4, 5),  # no valid action: the first is taken
        (0, 1, 2, 3, 4, 5),
        (0, 0, 1, 1, 2, 2),
        (0, 0, 0, 1, 1, 2),
    )


@given(st.integers(2, 40), st.integers(1, 300))
def test_every_visit_is_of_an_action_that_was_visited_so_often(actions, simulations):
    visits = [0] * actions  # the first actions are always the best
    for considered in considered_visits(actions, simulations):
        at = visits.index(considered)
        visits[at] += 1
    assert sum(visits) == simulations
    assert visits == sorted(visits, reverse=True)
    assert visits[0] - visits[1] <= 1
