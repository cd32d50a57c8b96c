"""From the actor's action to the planner's and back: equal shares, and no step larger than one of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.runtime.planning.blend import Blend


def run(blend: Blend, ticks: list[tuple[float, float | None]]) -> list[float]:
    """The actions [A = 1] of ticks (actor, planned)."""
    actions = []
    for actor, planned in ticks:
        out = np.zeros(1, np.float32)
        blend.into(np.float32([actor]), None if planned is None else np.float32([planned]), out)
        actions.append(float(out[0]))
    return actions


def test_in_and_out_in_equal_shares():
    actions = run(Blend(1, 3), [(0.0, None)] * 2 + [(0.0, 0.8)] * 5 + [(0.0, None)] * 5)
    assert actions == pytest.approx([0, 0, 0.2, 0.4, 0.6, 0.8, 0.8, 0.6, 0.4, 0.2, 0, 0], abs=1e-6)


def test_a_turn_half_way_begins_where_it_is():
    actions = run(Blend(1, 1), [(0.0, 0.8), (0.0, None), (0.0, 0.8), (0.0, None), (0.0, None)])
    assert actions == pytest.approx([0.4, 0.2, 0.5, 0.25, 0.0], abs=1e-6)


def test_without_ticks_there_is_none():
    assert run(Blend(1, 0), [(0.1, None), (0.1, -0.5), (0.2, 0.7), (0.3, None)]) == pytest.approx([0.1, -0.5, 0.7, 0.3])


def test_what_was_is_forgotten():
    blend = Blend(1, 3)
    run(blend, [(0.0, 0.8)] * 4)
    blend.forget()
    assert run(blend, [(0.0, 0.8), (0.0, 0.8)]) == pytest.approx([0.2, 0.4]), "nothing to come from"
    blend.forget()
    assert run(blend, [(0.1, None), (0.1, None)]) == pytest.approx([0.1, 0.1])
    assert run(blend, [(0.0, 0.8)]) == pytest.approx([0.2])


def test_the_actor_moves_under_a_correction_that_goes():
    assert run(Blend(1, 1), [(0.0, 0.4), (0.0, 0.4), (0.5, None), (0.5, None)]) == pytest.approx([0.2, 0.4, 0.7, 0.5])


def test_the_action_stays_one():
    blend = Blend(1, 1)
    assert run(blend, [(-0.9, 0.9), (-0.9, 0.9), (0.9, None)]) == pytest.approx([0.0, 0.9, 1.0])


@given(
    ticks=st.integers(0, 6),
    script=st.lists(
        st.tuples(st.floats(-1, 1, width=32), st.none() | st.floats(-1, 1, width=32)), min_size=2, max_size=60
    ),
)
def test_no_step_is_larger_than_a_share_of_the_way(ticks, script):
    """Beyond what the planner itself changed its mind by, while it was asked."""
    blend, before, wanted_before, planned_before = Blend(1, ticks), 0.0, 0.0, False
    for actor, planned in script:
        wanted = 0.0 if planned is None else planned - actor
        out = np.zeros(1, np.float32)
        blend.into(np.float32([actor]), None if planned is None else np.float32([planned]), out)
        step = abs(float(blend.correction[0]) - before)
        same = (planned is not None) == planned_before
        changed = abs(wanted - wanted_before) if same else 0.0
        assert step <= 4.0 / (ticks + 1) + changed + 1e-5  # corrections are -2 to 2
        assert abs(float(out[0])) <= 1.0
        before, wanted_before, planned_before = float(blend.correction[0]), wanted, planned is not None
