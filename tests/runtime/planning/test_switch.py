"""A planner that fails many times in a row is given up, and comes back only when somebody says so."""

from __future__ import annotations

from robot_wm.runtime.planning.switch import Switch


def play(switch: Switch, script: str) -> list[bool]:
    """``x`` fails, ``.`` succeeds; whether it was on after each."""
    states = []
    for letter in script:
        if letter == "x":
            switch.failed("late")
        else:
            switch.succeeded()
        states.append(switch.is_on)
    return states


def test_so_many_failures_in_a_row():
    assert play(Switch(3, 1), "xx.xx.xxx") == [True] * 8 + [False]


def test_a_failure_is_forgotten_after_so_many_timely_plans_in_a_row():
    assert play(Switch(3, 2), "x.x.x") == [True] * 4 + [False]
    assert play(Switch(3, 2), "x.x..xx") == [True] * 7
    assert play(Switch(3, 2), "x.x..xxx") == [True] * 7 + [False]


def test_it_stays_off_until_somebody_turns_it_on():
    switch = Switch(2, 1)
    play(switch, "xx")
    assert (switch.is_on, switch.switched_off, switch.by_failures) == (False, 1, True)
    assert "2 times in a row" in switch.why
    assert "late" in switch.why
    assert play(switch, "....") == [False] * 4
    switch.turn(True)
    assert (switch.is_on, switch.why, switch.by_failures) == (True, "", False)
    assert play(switch, "xx") == [True, False], "what was is forgotten"
    assert switch.switched_off == 2
    play(switch, "xx")
    assert switch.switched_off == 2, "it was off"
    switch.turn(True)
    assert play(switch, "x") == [True], "what was is forgotten also where nothing came in time since"


def test_an_operator_turns_it_off():
    switch = Switch(2, 1)
    switch.turn(False)
    assert (switch.is_on, switch.why, switch.switched_off) == (False, "turned off by an operator", 0)
