"""The state machine as a table that a person can check: rows are modes, columns events."""

from __future__ import annotations

import pytest

from robot_wm.runtime.modes import Event, Mode, transition

EVENTS = ["enable", "disable", "estop", "reset", "fault", "falling", "far", "arrived", "started"]
EVENTS += ["recovered", "expired"]
TABLE = {  # "." is: stays
    "inactive": "soft_start . estop . . . . . . . .",
    "soft_start": ". inactive estop . hold crouch go_to_start . active . .",
    "go_to_start": ". inactive estop . hold . . soft_start . . .",
    "active": ". inactive estop . hold crouch . . . . .",
    "hold": ". inactive estop . . crouch . . . soft_start damp",
    "crouch": ". inactive estop . . . . . . . damp",
    "damp": "soft_start inactive estop inactive . . . . . . .",
    "estop": ". . . inactive . . . . . . .",
}


@pytest.mark.parametrize(
    ("mode", "event", "follows"),
    [(mode, event, cell) for mode, row in TABLE.items() for event, cell in zip(EVENTS, row.split(), strict=True)],
)
def test_transition_table(mode, event, follows):
    assert transition(Mode(mode), Event(event)) is Mode(mode if follows == "." else follows)


def test_the_table_is_whole():
    assert set(TABLE) == {mode.value for mode in Mode}
    assert set(EVENTS) == {event.value for event in Event}
