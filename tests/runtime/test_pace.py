"""Pace: the grid stays where it is, whatever the turns take. Time is played, not spent."""

import pytest

from robot_wm.runtime import pace as pace_module
from robot_wm.runtime.pace import Pace


class PlayedTime:
    """A clock that moves when somebody sleeps or works."""

    def __init__(self):
        self.now_s = 100.0

    def monotonic(self):
        return self.now_s

    def sleep(self, duration_s):
        self.now_s += duration_s + 1e-4  # a sleep always lasts a little longer


@pytest.fixture
def clock(monkeypatch):
    played = PlayedTime()
    monkeypatch.setattr(pace_module, "time", played)
    return played


def turn(pace, clock, work_s):
    begun_s = pace.wait()
    clock.now_s += work_s
    pace.done()
    return begun_s - 100.0


def test_oversleeping_and_work_do_not_add_up(clock):
    pace = Pace(0.01)
    begun = [turn(pace, clock, 0.004) for _ in range(200)]
    assert begun == pytest.approx([0.01 * k + (1e-4 if k else 0.0) for k in range(200)])
    assert pace.misses == 0
    assert pace.wake_up.summary().max_us == pytest.approx(100.0)


@pytest.mark.parametrize("work_s", [0.012, 0.019, 0.034, 0.058])
def test_a_late_turn_is_one_miss_and_turns_long_past_are_left_out(clock, work_s):
    pace = Pace(0.01)
    turn(pace, clock, work_s)
    assert pace.misses == 1
    assert turn(pace, clock, 0.0) == pytest.approx(work_s)  # the turn that was due meanwhile, at once
    back_on_the_grid_s = 0.01 * (int(work_s / 0.01) + 1)
    assert turn(pace, clock, 0.0) == pytest.approx(back_on_the_grid_s, abs=2e-4)
    assert pace.misses == 1


def test_restart_begins_a_new_grid_now(clock):
    pace = Pace(0.01)
    clock.now_s += 0.123
    pace.restart()
    assert turn(pace, clock, 0.0) == pytest.approx(0.123)
    assert turn(pace, clock, 0.0) == pytest.approx(0.1331)
