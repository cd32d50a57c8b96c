"""Which visit count Sequential Halving considers at each simulation (Karnin et al. 2013; Danihelka et al. 2022).

Of ``m`` actions all are visited, then the better half of them, then the better half of those, down to two. Who has been
visited as often as the simulation's considered count is in the running; the best-scored of them is visited next.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple


class Round(NamedTuple):
    """One more visit to each action that is still in the running."""

    actions: int  # in the running
    visits: int  # that each of them has had before


def halving_rounds(max_num_considered_actions: int, num_simulations: int) -> tuple[Round, ...]:
    """The rounds of a search: their actions add up to ``num_simulations``, so the last one may be cut short.

    Each halving gets an equal share of the simulations, at least one round; what is left goes to the last two actions.
    """
    if max_num_considered_actions <= 1:  # nothing to halve: one action gets every visit
        return tuple(Round(1, visits) for visits in range(num_simulations))
    halvings = math.ceil(math.log2(max_num_considered_actions))
    rounds: list[Round] = []
    actions, left = max_num_considered_actions, num_simulations
    while left > 0:
        for _ in range(max(1, num_simulations // (halvings * actions))):
            if left > 0:
                rounds.append(Round(min(actions, left), len(rounds)))
                left -= rounds[-1].actions
        actions = max(2, actions // 2)
    return tuple(rounds)


def considered_visits(max_num_considered_actions: int, num_simulations: int) -> tuple[int, ...]:
    """The visit count that is considered at each simulation [num_simulations]."""
    rounds = halving_rounds(max_num_considered_actions, num_simulations)
    return tuple(one.visits for one in rounds for _ in range(one.actions))


@cache
def table_of_considered_visits(max_num_considered_actions: int, num_simulations: int) -> tuple[tuple[int, ...], ...]:
    """``considered_visits`` of 0, 1, … actions [max_num_considered_actions + 1, num_simulations]: by valid actions."""
    return tuple(considered_visits(actions, num_simulations) for actions in range(max_num_considered_actions + 1))
