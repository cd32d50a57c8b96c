"""What the package's README owes a reader before anything else, and numbers of it that are the code's."""

from __future__ import annotations

from pathlib import Path

from robot_wm.runtime.following import LIMIT_SHARE, SATURATED_SHARE
from robot_wm.runtime.safety import SafetyConfig

README = (Path(__file__).parents[2] / "ros2_ws/src/robot_wm/README.md").read_text()


def test_before_anything_else_it_says_that_ros2_control_does_not_stop_the_robot():
    first = README.split("\n## ")[1]
    assert "who stops the robot" in first.splitlines()[0]
    for words in (
        "**Not ros2_control.**",
        "repeats its last command",
        "`agent/damp`",
        "command_timeout_s",
        "hold_and_brake",
    ):
        assert words in first


def test_what_it_says_of_joints_that_do_not_follow_is_what_is_watched():
    assert (SATURATED_SHARE, LIMIT_SHARE, SafetyConfig().following_s) == (0.5, 0.25, 1.0)
    (text,) = (part for part in README.split("\n\n") if part.startswith("A joint does not follow"))
    text = " ".join(text.split())
    for words in ("for 1 s", "half of what its drive gives all it can for", "a quarter of the speed limit"):
        assert words in text
    for words in ("a quarter of the range", "a quarter of its effort limit", "`following_s`", "`following_error`"):
        assert words in text
