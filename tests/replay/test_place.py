"""Two episodes are the same experience where their stretches of one recording share a tick."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from robot_wm.replay.place import RecordedIn, matching


def stretch(first: int, last: int, recording: str = "a") -> RecordedIn:
    return RecordedIn(id=recording, first=first, last=last, begin=first)


@pytest.mark.parametrize(
    ("other", "shared"),
    [
        (stretch(10, 20), True),
        (stretch(12, 15), True),
        (stretch(0, 99), True),
        (stretch(20, 30), True),  # one tick
        (stretch(0, 10), True),
        (stretch(21, 30), False),
        (stretch(0, 9), False),
        (stretch(10, 20, "b"), False),
    ],
)
def test_one_tick_of_the_same_recording_is_enough(other: RecordedIn, shared: bool):
    one = stretch(10, 20)
    assert (one.shares(other), other.shares(one)) == (shared, shared)
    assert matching({7: one}, {3: other}) == ({7} if shared else set())


def test_every_known_stretch_is_looked_at():
    wanted = {1: stretch(0, 9), 2: stretch(50, 59), 3: stretch(90, 99), 4: stretch(0, 9, "b"), 5: stretch(0, 9, "c")}
    known = {0: stretch(5, 6), 1: stretch(99, 120), 2: stretch(9, 30, "b")}
    assert matching(wanted, known) == {1, 3, 4}
    assert matching(wanted, {}) == matching({}, known) == set()


@pytest.mark.parametrize("change", [{"seen": 1}, {"first": -1}, {"id": None}])
def test_what_is_no_stretch_is_not_read_as_one(change: dict[str, object]):
    with pytest.raises(ValidationError):
        RecordedIn.model_validate(stretch(10, 20).model_dump() | change)
