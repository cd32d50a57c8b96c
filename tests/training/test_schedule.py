"""Updates by policy steps: counted by hand, and the two directions against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.training.config import TrainConfig
from robot_wm.training.schedule import UpdateSchedule

RATES = st.floats(1e-3, 4.0)
SCHEDULES = st.builds(
    UpdateSchedule,
    prefill_steps=st.integers(0, 5000),
    pretrain_updates=st.integers(0, 500),
    early_updates=st.integers(0, 1000),
    early_per_step=RATES,
    per_step=RATES,
)


@pytest.mark.parametrize(
    ("steps", "updates"),
    [(0, 0), (99, 0), (100, 10), (101, 10), (102, 11), (120, 20), (121, 20), (124, 21), (160, 30)],
)
def test_random_steps_then_pretraining_then_the_early_rate_then_the_other(steps, updates):
    schedule = UpdateSchedule(
        prefill_steps=100, pretrain_updates=10, early_updates=10, early_per_step=0.5, per_step=0.25
    )
    assert schedule.due(steps) == updates


@given(SCHEDULES, st.integers(0, 20_000))
def test_updates_that_are_due_allow_the_steps_that_they_are_due_for(schedule, steps):
    due = schedule.due(steps)
    assert schedule.due(steps + 1) >= due
    allowed = schedule.steps(due)
    # Counting in whole updates loses less than one of them.
    slowest = min(schedule.early_per_step, schedule.per_step)
    assert allowed <= max(steps, schedule.prefill_steps) + 1e-6 * steps
    assert allowed >= steps - 1 / slowest - 1 or due == 0
    assert schedule.steps(due + 1) >= allowed


def test_a_train_ratio_counts_replayed_steps():
    batch = {"batch_size": 8, "batch_length": 16}
    plain = TrainConfig(train_ratio=64, prefill_steps=1000, dreamer=batch).schedule
    assert [plain.due(steps) for steps in (1000, 1002, 3000)] == [0, 1, 1000]
    early = TrainConfig(
        train_ratio=64, early_train_ratio=256, early_updates=400, prefill_steps=1000, dreamer=batch
    ).schedule
    assert [early.due(steps) for steps in (1000, 1002, 1200, 1202)] == [0, 4, 400, 401]
