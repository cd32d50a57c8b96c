"""Figures that are worked out when somebody looks."""

import copy
import json
import pickle

import numpy as np
import pytest
from gymnasium.utils.env_checker import data_equivalence

from robot_wm.figures import episode_figures
from robot_wm_sim.figures_so_far import FiguresSoFar, StepRows

VALUES = {"fall": 0.0, "gain": None, "way_m": 2.5}


def test_rows_are_those_that_were_added_and_means_those_of_their_columns():
    rows = StepRows(2)
    for step in range(5):
        rows.add([float(step), 0.1])
    np.testing.assert_array_equal(rows.between(1, 3), [[1.0, 0.1], [2.0, 0.1]])
    assert rows.means(3) == [1.0, (0.1 + 0.1 + 0.1) / 3]  # added up one after the other
    part = rows.between(0, 5)
    rows.add([9.0, 9.0])  # a view would forbid the array to grow
    assert part.shape == (5, 2)
    assert rows.means(6) == pytest.approx([19 / 6, 9.5 / 6])


def test_nothing_is_worked_out_before_somebody_looks_and_then_once():
    asked = []
    figures = FiguresSoFar(lambda: asked.append(1) or VALUES)
    assert asked == []
    assert episode_figures(("way_m", "gain"), {"figures": figures}) == pytest.approx(
        {"way_m": 2.5, "gain": np.nan}, nan_ok=True
    )
    assert (figures["fall"], list(figures), len(figures), repr(figures)) == (0.0, list(VALUES), 3, repr(VALUES))
    assert asked == [1]


def test_they_are_a_mapping_like_any_other():
    figures = FiguresSoFar(lambda: VALUES)
    assert figures == VALUES
    assert figures != {**VALUES, "way_m": 2.6}
    assert data_equivalence({"figures": figures}, {"figures": FiguresSoFar(lambda: VALUES)})  # of Gymnasium's checker
    assert json.loads(json.dumps(dict(figures))) == VALUES


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
def test_a_copy_and_what_goes_to_another_process_are_plain_numbers(copied):
    other = copied(FiguresSoFar(lambda: VALUES))  # a function that no pickle takes
    assert type(other) is dict
    assert other == VALUES
