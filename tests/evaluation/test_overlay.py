"""Numbers drawn on a picture: where they should be, and nowhere else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robot_wm.evaluation.overlay import LEAST_HEIGHT, Gauge, overlay

GREY = np.full((480, 640, 3), 128, np.uint8)
BLUE = (30, 120, 220)
STATUS = {"time": "1.20 s", "return": "12.3"}


def changed(picture, before=GREY):
    """Where the picture differs, [H, W]."""
    return (picture != before).any(axis=2)


def bar(**values):
    """Columns in which a gauge's bar is blue."""
    gauge = Gauge(**{"asked": 0.0, "actual": 0.0, "limit": 1.0, "unit": "m/s"} | values)
    picture = overlay(GREY, {"forward": gauge}, {}).astype(int)
    return np.flatnonzero((np.abs(picture - BLUE) < 8).all(axis=2).any(axis=0))


def test_panels_stand_in_the_upper_corners_and_nowhere_else():
    left = changed(overlay(GREY, STATUS, {}))
    right = changed(overlay(GREY, {}, STATUS))
    for where in (left, right):
        assert 1000 < where.sum() < where.size / 20
        assert not where[60:].any()
    assert not left[:, 320:].any()
    assert not right[:, :320].any()
    assert (changed(overlay(GREY, STATUS, STATUS)) == left | right).all()


def test_without_lines_the_picture_is_as_it_was():
    frame = np.random.default_rng(0).integers(0, 256, (480, 640, 3)).astype(np.uint8)
    picture = overlay(frame, {}, {})
    assert (picture == frame).all()
    kept = frame.copy()
    overlay(frame, STATUS, STATUS)
    assert (frame == kept).all()


@pytest.mark.parametrize("change", [{"time": "1.22 s"}, {"return": "-12.3"}, {"retour": "12.3"}, {"mode": "hold"}])
def test_every_name_and_value_can_be_seen(change):
    assert changed(overlay(GREY, STATUS, {}), overlay(GREY, STATUS | change, {})).sum() > 4


def test_a_bar_grows_with_the_value_from_the_middle_to_its_limit():
    right = [bar(actual=value) for value in (0.25, 0.5, 1.0)]
    left = [bar(actual=value) for value in (-0.25, -0.5, -1.0)]
    assert [len(columns) for columns in right] == sorted(len(columns) for columns in right)
    assert len(right[2]) > 3 * len(right[0]) > 20
    middle = right[0][0]
    for one, other in zip(right, left, strict=True):
        assert abs(len(one) - len(other)) <= 2
        assert one[0] == middle
        assert abs(other[-1] - middle) <= 4  # the tick of what was asked lies there
    assert len(bar(actual=7.0)) == len(right[2])  # beyond the limit it ends


def test_the_tick_stands_where_the_bar_should_end():
    ends = {}
    for asked in (-0.5, 0.5):
        picture = overlay(GREY, {"forward": Gauge(asked, asked, 1.0, "m/s")}, {}).astype(int)
        tick = np.flatnonzero((picture[:26] < 30).all(axis=2).sum(axis=0) > 12)  # black over the whole height
        ends[asked] = tick.mean()
    full = bar(actual=1.0, asked=1.0)
    assert ends[0.5] - ends[-0.5] == pytest.approx(len(full), abs=3)


def test_a_gauge_names_both_values_and_the_unit():
    assert str(Gauge(asked=0.5, actual=-0.471, limit=1.0, unit="m/s")) == "-0.47 of +0.50 m/s"


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=20, deadline=None)
def test_small_pictures_grow_by_a_whole_factor_until_letters_can_be_read(height, width):
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    picture = overlay(frame, {}, {})
    factor = picture.shape[0] // height
    assert picture.shape == (factor * height, factor * width, 3)
    assert picture.dtype == np.uint8
    assert LEAST_HEIGHT <= picture.shape[0] < LEAST_HEIGHT + height or factor == 1
    assert (picture[::factor, ::factor] == frame).all()
    assert overlay(frame, STATUS, STATUS).shape == picture.shape
