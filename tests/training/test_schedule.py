"""Updates by policy steps: counted by hand, in any pieces, over changes of the rate, and back to steps."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.training.config import TrainConfig
from robot_wm.training.schedule import UpdateSchedule, whole

RATES = st.floats(1e-3, 4.0)
SCHEDULES = st.builds(
    UpdateSchedule,
    prefill_steps=st.integers(0, 5000),
    pretrain_updates=st.integers(0, 500),
    early_updates=st.integers(0, 1000),
    early_per_step=RATES,
    per_step=RATES,
)


def earned(schedule, *marks, total=0.0):
    """Updates earned by ``marks``, the policy steps at which they are counted, from the first one on."""
    for before, after in itertools.pairwise(marks):
        total += schedule.earned(before, after, total)
    return total


@pytest.mark.parametrize(
    ("steps", "updates"),
    [(0, 0), (99, 0), (100, 10), (101, 10), (102, 11), (120, 20), (121, 20), (124, 21), (160, 30)],
)
def test_random_steps_then_pretraining_then_the_early_rate_then_the_other(steps, updates):
    schedule = UpdateSchedule(
        prefill_steps=100, pretrain_updates=10, early_updates=10, early_per_step=0.5, per_step=0.25
    )
    assert whole(earned(schedule, 0, steps)) == updates
    assert whole(earned(schedule, *range(steps + 1))) == updates


def test_without_random_steps_pretraining_is_earned_by_the_first_step():
    schedule = UpdateSchedule(prefill_steps=0, pretrain_updates=5, early_updates=0, early_per_step=1.0, per_step=0.5)
    assert earned(schedule, 0, 2) == 5 + 2 * 0.5


@given(SCHEDULES, st.lists(st.integers(0, 20_000), min_size=2, max_size=20))
def test_credit_is_the_same_in_whatever_pieces_steps_arrive(schedule, marks):
    marks = sorted([0, *marks])
    total = earned(schedule, *marks)
    assert total == pytest.approx(earned(schedule, 0, marks[-1]), abs=1e-6)
    assert total == 0 or marks[-1] >= schedule.prefill_steps


@given(SCHEDULES, SCHEDULES, st.integers(0, 20_000), st.integers(0, 5000))
def test_a_schedule_that_is_changed_holds_for_the_steps_that_come(before, after, steps, more):
    total = earned(before, 0, steps)
    gained = after.earned(steps, steps + more, total)
    fastest = max(after.early_per_step, after.per_step)
    # Nothing is owed for the steps that were, and the ones to come earn what they earn.
    assert 0 <= gained <= more * fastest + max(0.0, after.pretrain_updates - total) + 1e-6
    if steps > after.prefill_steps:
        slowest = min(after.early_per_step, after.per_step)
        assert more * slowest - 1e-6 <= gained <= more * fastest + 1e-6


def test_a_ratio_changed_on_the_way_by_hand():
    def at(per_step):
        return UpdateSchedule(
            prefill_steps=100, pretrain_updates=0, early_updates=0, early_per_step=per_step, per_step=per_step
        )

    total = earned(at(1.0), 0, 1100)
    assert total == 1000
    assert at(0.25).earned(1100, 1200, total) == 25  # formerly none for 3000 steps
    assert at(8.0).earned(1100, 1101, total) == 8  # formerly 7008 at once


@given(SCHEDULES, st.integers(0, 20_000), st.floats(0, 1))
def test_what_is_owed_is_so_many_steps_behind(schedule, steps, share):
    total = earned(schedule, 0, steps)
    updates = math.floor(total * share)
    behind = schedule.steps_behind(updates, total - updates)
    paid_for = max(steps - behind, schedule.prefill_steps)
    # Credit by those steps is what was done, but for pretraining, which takes no steps.
    assert (
        earned(schedule, 0, round(paid_for))
        == pytest.approx(
            max(updates, earned(schedule, 0, schedule.prefill_steps)), abs=schedule.early_per_step + schedule.per_step
        )
        or steps < schedule.prefill_steps
    )
    assert schedule.steps_behind(updates, 0.0) == 0


@pytest.mark.parametrize(("steps", "updates", "left"), [(99, 0, 0), (100, 0, 10), (100, 4, 6), (150, 12, 0)])
def test_a_checkpoint_without_credit_owes_what_is_left_of_pretraining(steps, updates, left):
    schedule = UpdateSchedule(prefill_steps=100, pretrain_updates=10, early_updates=5, early_per_step=2, per_step=1)
    assert schedule.left_of_pretraining(steps, updates) == left


def test_ten_tenths_are_one_update():
    schedule = UpdateSchedule(prefill_steps=0, pretrain_updates=0, early_updates=0, early_per_step=0.1, per_step=0.1)
    assert whole(earned(schedule, *range(11))) == 1
    assert whole(-1e-9) == 0


def test_a_train_ratio_counts_replayed_steps():
    batch = {"batch_size": 8, "batch_length": 16}
    plain = TrainConfig(train_ratio=64, prefill_steps=1000, dreamer=batch).schedule()
    assert [whole(earned(plain, 0, steps)) for steps in (1000, 1002, 3000)] == [0, 1, 1000]
    early = TrainConfig(
        train_ratio=64, early_train_ratio=256, early_updates=400, prefill_steps=1000, dreamer=batch
    ).schedule()
    assert [whole(earned(early, 0, steps)) for steps in (1000, 1002, 1200, 1202)] == [0, 4, 400, 401]


@given(rate=RATES, early=RATES)
def test_the_steps_of_an_update_earn_one_at_any_time(rate, early):
    schedule = UpdateSchedule(prefill_steps=0, pretrain_updates=0, early_updates=3, early_per_step=early, per_step=rate)
    for updates in (0, 1, 3, 100):
        assert whole(schedule.earned(10**6, 10**6 + schedule.steps_an_update, updates)) >= 1
