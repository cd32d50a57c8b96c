"""What other people's environments tell beside observation and reward: success, rate, figures and rendered frames."""

import logging

import numpy as np
import pytest
from foreign_envs import TASK, Unreadable, boom, gives

from robot_wm.errors import UserError


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"success": True}, True),
        ({"success": np.array([False])}, False),
        ({"success": None, "is_success": 1.0}, True),
        ({"success": None}, None),
        ({"success": np.nan}, None),
    ],
)
def test_success_is_a_truth_value_or_not_told(foreign, caplog, info, told):
    env = foreign(step=gives(1.0, False, False, info))
    env.reset()
    assert env.step([0.0, 0.0])[4].get("success") is told


@pytest.mark.parametrize(
    "value",
    ["yes", np.array([True, False]), [1, [2]], {}, 10**400, pytest.param(10**5000, id="many"), Unreadable()],
)
def test_a_success_that_is_no_truth_value_is_left_out_and_told_once(foreign, caplog, value):
    env = foreign(step=gives(1.0, False, False, {"is_success": value, "x": 1}))
    env.reset()
    with caplog.at_level(logging.WARNING):
        infos = [env.step([0.0, 0.0])[4] for _ in range(2)]
    assert all("success" not in info and info["x"] == 1 for info in infos)
    assert caplog.text.count("no truth value") == 1


@pytest.mark.parametrize(
    ("attributes", "rate_hz"),
    [
        ({"dt": property(boom)}, 20),
        ({"dt": 0.0}, 20),
        ({"dt": float("inf")}, 20),
        ({"dt": "fast"}, 20),
        ({"metadata": {"render_fps": None}}, 30),
        ({"metadata": {"render_fps": float("inf")}}, 30),
        ({"metadata": {}}, 30),
    ],
)
def test_a_rate_that_cannot_be_read_is_the_next_best_one(foreign, attributes, rate_hz):
    assert foreign(**attributes).agent_spec.control_rate_hz == rate_hz


@pytest.mark.parametrize("names", ["fall", 3, property(boom), (1, 2)])
def test_figure_names_that_are_none_are_no_figures(foreign, names):
    assert foreign(figure_names=names).figure_names == ()


RED = np.full((6, 8, 3), [200, 0, 0], np.uint8)
GREY = np.full((6, 8), 100, np.uint8)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (RED, [200, 0, 0]),
        ([GREY, RED], [200, 0, 0]),
        (np.dstack([RED, GREY]), [200, 0, 0]),
        (GREY, [100] * 3),
        (GREY[..., None], [100] * 3),
        (RED.astype(float), [200, 0, 0]),
    ],
)
def test_a_rendered_frame_of_any_usual_form_is_taken(foreign, frame, expected):
    env = foreign({"observation": "image", "size": 4}, render=lambda self: frame)
    observation, _ = env.reset()
    np.testing.assert_array_equal(observation["image"], np.broadcast_to(np.uint8(expected), (4, 4, 3)))


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (RED / 255, r"float64 values 0\.\.0\.78"),
        (None, "values of type object; pixels are uint8"),
        ([], r"shape \(0,\)|float64"),
        (np.zeros((6, 8, 2), np.uint8), r"shape \(6, 8, 2\), not an RGB array"),
        (np.zeros((0, 8, 3), np.uint8), r"shape \(0, 8, 3\), not an RGB array"),
    ],
)
def test_a_frame_that_is_no_picture_is_one_line(foreign, frame, told):
    env = foreign({"observation": "image"}, render=lambda self: frame)
    with pytest.raises(UserError, match=rf"^task {TASK}: render\(\): {told}"):
        env.reset()
