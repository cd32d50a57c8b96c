"""The museum's page has every exhibit that was asked for, a thread for each, and the code's own numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from robot_wm.runtime.live import excitation, response, rest
from robot_wm.runtime.live.check import WINDOW_S

ROOT = Path(__file__).parents[2]
PAGE = (Path(__file__).parent / "README.md").read_text()
ROBOT = " ".join((ROOT / "ros2_ws/src/robot_wm/README.md").read_text().split())
ROWS = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in PAGE.splitlines() if line.startswith("| ")][
    1:
]
EXHIBITS = (
    "permuted gains",
    "degrees for radians",
    "wrong IMU frame",
    "gravity's sign",
    "quaternion order",
    "stale policy with a new spec",
    "old engine with a new graph",
    "action scale applied twice",
    "history in the wrong order",
    "joint offset of 0.2 rad",
    "swapped left and right legs",
    "a dead motor",
    "delayed sensors",
    "wrong control rate",
    "a frozen camera",
)
STAGES = ("files", "at rest", "by hand", "stand", "feet", "driven")


@pytest.mark.parametrize("name", EXHIBITS)
def test_every_exhibit_has_a_row(name):
    assert [row for row in ROWS if name in row[0]]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_cites_a_thread_and_says_when_and_what(row):
    _, threads, found, named = row
    assert threads == "the same" or re.search(r"[\w.-]+/[\w.-]+#\d+", threads)
    assert any(stage in found for stage in STAGES)
    assert named


def test_the_numbers_are_the_codes():
    assert (response.LATE_S, response.LATER_S, response.OFFSET) == (0.1, 0.06, 0.15)
    for words in ("kd / kp differ by 60 ms", "delays below 0.1 s", "offsets below 0.15 rad"):
        assert words in " ".join(PAGE.split())
    for words in ("delays below 0.1 s", "offsets below 0.15 rad", "for half a second", "30° more than theirs"):
        assert words in ROBOT
    assert (WINDOW_S, rest.TILT_DEG) == (0.5, 30.0)
    assert "goes out by 0.25 rad (0.02 m) and back in 0.7 s" in ROBOT
    assert (excitation.REACH, 2 * excitation.WAY_S) == ({"rad": 0.25, "m": 0.02}, 0.7)
