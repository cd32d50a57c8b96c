"""curve.csv holds what a log told of the robot, to six digits, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm_export.zoo_curve import read_curve, write_curve

KEPT = ["episode/return", "eval/return", "eval/fall, of ours", "run/wall_s"]
LEFT = ["loss/dynamics", "episode/term/alive", "replay/return", "evaluation"]
values = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)
logs = st.lists(st.dictionaries(st.sampled_from(KEPT + LEFT), values), max_size=20)


@given(logs)
def test_what_is_kept_comes_back_in_order(tmp_path_factory, logged):
    path = tmp_path_factory.mktemp("curve") / "curve.csv"
    rows = [{"step": 123_456_789 + index, **row} for index, row in enumerate(logged)]
    write_curve(path, rows)
    expected = [{name: value for name, value in row.items() if name in ("step", *KEPT)} for row in rows]
    assert read_curve(path) == [pytest.approx(row, rel=1e-5) for row in expected if len(row) > 1]


def test_a_run_without_a_log_has_an_empty_curve(tmp_path):
    write_curve(tmp_path / "curve.csv", [])
    assert read_curve(tmp_path / "curve.csv") == []
