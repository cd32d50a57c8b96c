"""Where the episodes of a recording begin and end, and which gaps are bridged."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stories import BETWEEN, PERIOD_NS, SPEC, TICKS, tell

from robot_wm.replay.runs import Run, find_runs


@pytest.mark.parametrize(
    ("story", "slices", "counts"),
    [
        ("", [], {}),
        ("......", [(0, 6)], {}),
        (".", [], {"too_short": 1}),
        ("FDF", [], {"not_driven": 3}),
        # One of each, and the two episodes beside it.
        ("...F...", [(0, 3), (4, 7)], {"not_driven": 1}),
        ("...D...", [(0, 3), (4, 7)], {"not_driven": 1}),
        ("...C...", [(0, 3), (4, 7)], {"not_driven": 1}),
        ("...c...", [(0, 3), (4, 7)], {"not_driven": 1}),
        ("...O...", [(0, 3), (4, 7)], {"not_driven": 1}),
        ("...I...", [(0, 3), (4, 7)], {"not_driven": 1}),
        # Half a period to one and a half is on time.
        ("...h...", [(0, 6)], {}),
        ("...H...", [(0, 6)], {}),
        ("...e...", [(0, 3), (3, 6)], {"split_by_time": 1}),
        ("...l...", [(0, 3), (3, 6)], {"split_by_time": 1, "skipped": 1}),
        ("...-...", [(0, 3), (3, 6)], {"missing": 1, "split_by_missing": 1}),
        ("...----...", [(0, 3), (3, 6)], {"missing": 4, "split_by_missing": 1}),
        ("...r...", [(0, 3), (3, 6)], {"split_by_missing": 1}),
        # What is missing beside a fault splits nothing, and before the first tick nothing is known to be missing.
        ("...F-...", [(0, 3), (4, 7)], {"not_driven": 1, "missing": 1}),
        ("...-F...", [(0, 3), (4, 7)], {"not_driven": 1, "missing": 1}),
        ("--...", [(0, 3)], {}),
        (".F..F.", [(2, 4)], {"not_driven": 2, "too_short": 2}),
        # Ticks alone.
        ("..F.F..", [(0, 2), (5, 7)], {"not_driven": 2, "too_short": 1}),
        (".-.-.", [], {"missing": 2, "split_by_missing": 2, "too_short": 3}),
        (".e.l.", [], {"split_by_time": 2, "skipped": 1, "too_short": 3}),
        # Behind a damped tick the recorder has rested.
        ("..D--D--..", [(0, 2), (4, 6)], {"not_driven": 2, "paused": 4}),
        ("..DF--..", [(0, 2), (4, 6)], {"not_driven": 2, "missing": 2}),
        # Skipped control periods end an episode that is too young, and are none beside a fault.
        ("...ss...", [(0, 3), (3, 6)], {"split_by_time": 1, "skipped": 2}),
        ("..sF..", [(0, 2), (3, 5)], {"not_driven": 1}),
    ],
)
def test_where_episodes_begin_and_end(story: str, slices: list[tuple[int, int]], counts: dict[str, int]):
    runs = find_runs(tell(story))
    assert [(run.start, run.stop) for run in runs.slices] == slices
    counted = {name: value for name, value in vars(runs).items() if name != "slices" and value}
    assert counted == counts
    assert all(type(value) is int for name, value in vars(runs).items() if name != "slices")  # they become JSON


TEN = "." * 10


@pytest.mark.parametrize(
    ("story", "gaps"),
    [
        (TEN + "s..", [((9, 1),)]),
        (TEN + "l..", [((9, 1),)]),
        (TEN * 2 + "ss..", [((19, 2),)]),
        (TEN * 3 + "sss..", [((29, 3),)]),
        (TEN + "s.", [((9, 1),)]),
        # One tick less before it, or one period more.
        (TEN[1:] + "s..", [(), ()]),
        (TEN + "ss..", [(), ()]),
        (TEN * 5 + "ssss..", [(), ()]),
        # Each gap wants its own.
        (TEN + "s" + TEN + "s..", [((9, 1), (19, 1))]),
        (TEN + "s" + TEN[1:] + "s..", [((9, 1),), ()]),
        ("F" + TEN + "s..", [((10, 1),)]),
        (TEN + "F" + TEN[1:] + "s..", [(), (), ()]),
        # Ticks that happened and were not recorded: what they sent is not known.
        (TEN + "-..", [(), ()]),
        (TEN + "s-..", [(), ()]),
        (TEN + "e..", [(), ()]),
    ],
)
def test_which_gaps_are_bridged(story: str, gaps: list[tuple[tuple[int, int], ...]]):
    runs = find_runs(tell(story))
    assert [run.gaps for run in runs.slices] == gaps
    bridged = [gap for run in gaps for gap in run]
    assert (runs.bridged_gaps, runs.bridged_ticks) == (len(bridged), sum(missed for _, missed in bridged))
    assert all(not run.gaps for run in find_runs(tell(story), bridge_ticks=0).slices)


def test_a_bridge_keeps_the_time_base_true():
    (run,) = find_runs(tell(TEN * 2 + "ss..")).slices
    assert run.places().tolist() == [*range(19), 19, 19, 19, 20, 21]
    assert run.steps == 24


def test_longer_gaps_are_bridged_if_asked():
    (run,) = find_runs(tell(TEN * 5 + "sssss.."), bridge_ticks=5).slices
    assert run.gaps == ((49, 5),)


@pytest.mark.parametrize(
    ("taken", "left"),
    [
        ((), [(0, 24, ((9, 1), (19, 2)))]),
        (range(24), []),
        (range(12), [(12, 24, ((19, 2),))]),
        (range(10), [(10, 24, ((19, 2),))]),
        (range(10, 24), [(0, 10, ())]),  # the bridge leads nowhere
        ([5, 7, 23], [(0, 5, ()), (8, 23, ((9, 1), (19, 2)))]),  # one tick alone is no episode
    ],
)
def test_what_is_left_of_a_run(taken, left):
    gone = np.zeros(24, np.bool_)
    gone[list(taken)] = True
    run = Run(0, 24, ((9, 1), (19, 2)))
    assert [(part.start, part.stop, part.gaps) for part in run.without(gone)] == left


def test_a_recording_at_another_rate_has_no_episodes():
    """The spec says 100 Hz, the samples came with 50."""
    runs = find_runs(tell(".....", SPEC.model_copy(update={"control_rate_hz": 100.0})))
    assert (runs.slices, runs.split_by_time, runs.too_short) == ((), 4, 5)
    slow = find_runs(tell(TEN * 20, SPEC.model_copy(update={"control_rate_hz": 100.0})))
    assert (slow.slices, slow.bridged_gaps) == ((), 0)


CHARACTERS = st.text(st.sampled_from("." * 12 + "c" + "".join(TICKS | BETWEEN)), max_size=60)
PIECES = st.lists(st.sampled_from([TEN, "s", "ss", "l", "-", "F", "."]), max_size=9).map("".join)
STORIES = CHARACTERS | PIECES


@given(STORIES)
@settings(max_examples=150, deadline=None)
def test_every_tick_is_in_one_episode_or_counted(story: str):
    recording = tell(story)
    runs, ticks = find_runs(recording), recording.ticks
    sound = [char == "." for char in story if char not in BETWEEN]
    stamps = [int(tick["header.stamp.sec"]) * 10**9 + int(tick["header.stamp.nanosec"]) for tick in ticks]
    steps = [b - a for a, b in pairwise(ticks["tick"].tolist())]
    on_time = [PERIOD_NS // 2 <= b - a <= PERIOD_NS * 3 // 2 for a, b in pairwise(stamps)]
    inside = [n for run in runs.slices for n in range(run.start, run.stop)]
    assert inside == sorted(set(inside))  # in order, and no tick twice
    assert all(sound[n] for n in inside)
    joined = {n for run in runs.slices for n in range(run.start, run.stop - 1)}  # with the tick behind it
    pairs = [n for n in range(len(steps)) if sound[n] and sound[n + 1]]
    bridged = {at: missed for run in runs.slices for at, missed in run.gaps}
    assert joined - set(bridged) == {n for n in pairs if steps[n] == 1 and on_time[n]}
    for at, missed in bridged.items():
        assert steps[at] == 1
        assert at in pairs
        assert 0 < missed <= 3
        assert abs(stamps[at + 1] - stamps[at] - (missed + 1) * PERIOD_NS) <= PERIOD_NS // 2
        assert {*range(at + 1 - 10 * missed, at)} <= joined - set(bridged)
    assert (len(bridged), sum(bridged.values())) == (runs.bridged_gaps, runs.bridged_ticks)
    assert all(run.stop - run.start >= 2 for run in runs.slices)
    assert runs.not_driven == sound.count(False)
    assert runs.not_driven + runs.too_short + len(inside) == len(ticks)
    assert runs.split_by_missing == sum(steps[n] != 1 for n in pairs)
    assert runs.split_by_missing + runs.split_by_time + len(joined) == len(pairs)
    assert runs.missing + runs.paused == sum(max(0, step - 1) for step in steps)
