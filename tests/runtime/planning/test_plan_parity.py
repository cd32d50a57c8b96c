"""Which plans may differ from the recorded ones, and which engine is refused."""

from __future__ import annotations

import numpy as np
import pytest

from robot_wm.runtime.planning.plan_parity import compare_plans, differing, plan_objection
from robot_wm.runtime.planning.plan_recording import PlanRecording

P, N, K, A = 100, 4, 3, 2
TOLERANCE, MOST = 1e-3, 0.1


@pytest.fixture
def recorded() -> PlanRecording:
    """Candidates 0.5 apart, the last one best; in the first ten plans its rival is nearly as good."""
    rng = np.random.default_rng(0)
    scores = np.tile(np.float32([0.0, 0.5, 1.0, 1.5]), (P, 1, 1))  # [P, 1, N]
    scores[:10, 0, 2] = 1.4995
    outputs = {
        "action": rng.uniform(-1, 1, (P, 1, A)),
        "value": np.full((P, 1), 1.5),
        "scores": scores,
        "plan": rng.uniform(-1, 1, (P, 1, K, A)),
        "gain": np.full((P, 1), 1.5),
    }
    outputs = {name: array.astype(np.float32) for name, array in outputs.items()}
    return PlanRecording(inputs={}, outputs=outputs, unsteady=np.arange(P) >= 95)


def changed(recorded, name, plans, by=0.5):
    actual = {key: array.copy() for key, array in recorded.outputs.items()}
    actual[name][plans] += by
    return actual


def judged(recorded, actual, *, decides):
    found = compare_plans(recorded, actual, decides=decides, tolerance=TOLERANCE)
    return found, plan_objection(found, tolerance=TOLERANCE, max_differing=MOST)


@pytest.mark.parametrize("decides", [True, False])
def test_equal_plans_pass_and_ties_are_counted_where_something_hangs_on_them(recorded, decides):
    found, reason = judged(recorded, recorded.outputs, decides=decides)
    assert reason is None
    assert found.near_tie_plans == (10 if decides else 0)
    assert (found.unsteady_plans, found.differing_plans) == (5, 0)
    assert set(found.largest_error.values()) == {0.0}


@pytest.mark.parametrize("name", ["action", "plan", "value", "gain"])
def test_at_a_near_tie_the_other_candidate_may_be_taken(recorded, name):
    actual = changed(recorded, name, slice(3, 6))
    found, reason = judged(recorded, actual, decides=True)
    assert reason is None
    assert found.differing_plans == 3
    assert found.largest_error[name] == 0.0
    # Who weighs candidates has none to take.
    assert f"{name}[0" in judged(recorded, actual, decides=False)[1]


def test_the_scores_themselves_may_not_differ_at_a_near_tie(recorded):
    found, reason = judged(recorded, changed(recorded, "scores", slice(3, 6)), decides=True)
    assert found.mismatch.tick == 3
    assert reason.startswith("scores[0,")
    assert "at plan 3: expected" in reason


def test_of_two_candidates_that_are_one_action_either_may_go_on(recorded):
    actual = {key: array.copy() for key, array in recorded.outputs.items()}
    actual["scores"] = actual["scores"][..., [1, 0, 2, 3]]
    assert judged(recorded, actual, decides=True)[1] is None


def test_what_the_export_found_unsteady_may_differ_in_everything(recorded):
    for name in recorded.outputs:
        found, reason = judged(recorded, changed(recorded, name, [95, 99]), decides=False)
        assert reason is None
        assert found.differing_plans == 2


def test_a_clear_decision_that_falls_otherwise_is_refused(recorded):
    found, reason = judged(recorded, changed(recorded, "action", [50, 70], by=2e-3), decides=True)
    assert found.mismatch.tick == 50
    assert "action[0,0] at plan 50" in reason
    assert judged(recorded, changed(recorded, "action", 50, by=0.9e-3), decides=True)[1] is None


def test_too_many_that_differ_are_refused(recorded):
    assert judged(recorded, changed(recorded, "plan", slice(0, 10)), decides=True)[1] is None
    actual = changed(recorded, "plan", [*range(10), 96])
    found, reason = judged(recorded, actual, decides=True)
    assert found.differing_plans == 11
    assert reason == "11 of 100 plans fell another way at near ties; at most 0.1 of all may"


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("plan", [4, 50, 97])  # a near tie, a clear one, an unsteady one
def test_what_is_no_number_is_refused_everywhere(recorded, value, plan):
    actual = {key: array.copy() for key, array in recorded.outputs.items()}
    actual["action"][plan, 0, 1] = value
    assert f"action[0,1] at plan {plan}" in judged(recorded, actual, decides=True)[1]


def test_which_plans_differ(recorded):
    actual = changed(recorded, "gain", [7, 97])
    assert differing(recorded.outputs, actual, decides=True, tolerance=TOLERANCE).nonzero()[0].tolist() == [7, 97]


@pytest.mark.parametrize("name", ["action", "plan"])
def test_the_action_of_an_average_may_be_off_by_more_than_the_scores_that_weigh_it(recorded, name):
    near, far = (changed(recorded, name, [50], by) for by in (0.049, 0.052))
    assert judged(recorded, near, decides=False)[1] is None
    assert f"{name}[0" in judged(recorded, far, decides=False)[1]
    assert f"{name}[0" in judged(recorded, near, decides=True)[1]  # who takes the best takes it as it is
    for decides, told in ((False, []), (True, [50])):
        assert differing(recorded.outputs, near, decides=decides, tolerance=TOLERANCE).nonzero()[0].tolist() == told


@pytest.mark.parametrize("decides", [True, False])
def test_a_gain_is_held_to_the_size_of_what_it_is_the_difference_of(recorded, decides):
    recorded.outputs["value"][...] = 200.0
    near, far = (changed(recorded, "gain", [50], by) for by in (0.19, 0.21))
    assert judged(recorded, near, decides=decides)[1] is None
    assert "gain[0" in judged(recorded, far, decides=decides)[1]
