"""``robot-wm bench ranks``: the keys that others read, what does not fit its time, and that unequal updates show."""

import json
from dataclasses import replace

import pytest

from robot_wm.errors import UserError
from robot_wm_bench import ranks_equality
from robot_wm_bench.ranks import bench_ranks

SMALL = {"size": ("nano",), "batch_length": 3, "horizon": 2, "updates": 2, "device": "cpu", "json": True}


def printed(capsys, **settings):
    bench_ranks(**{**SMALL, **settings})
    return json.loads(capsys.readouterr().out)


def test_prints_one_object_with_its_units(capsys):
    found = printed(capsys, batch_size=(2, 3), equality_updates=2)
    assert (found["ranks"], found["device"], found["backend"], found["skipped"]) == (1, "cpu", "gloo", [])
    assert [(row["size"], row["obs"], row["batch_size"]) for row in found["rows"]] == [
        ("nano", "proprio", 2),
        ("nano", "proprio", 3),
    ]
    assert all(row["alone_ms"] > 0 and row["params"] == 180_487 for row in found["rows"])
    same = found["equality"]
    assert (same["case"], same["updates"], same["compute"]) == ("nano proprio 2", 2, "float32")
    assert (same["max_abs_error"], same["within_bounds"], same["ranks_bit_equal"]) == (0.0, True, True)


def test_what_does_not_fit_the_time_is_left_out_and_named(capsys):
    found = printed(capsys, obs=("proprio", "image"), batch_size=(2,), equality_updates=0, time_limit_s=1e-9)
    assert [row["obs"] for row in found["rows"]] == ["proprio"]
    assert found["skipped"] == ["nano image 2"]
    assert found["equality"] == {}


def test_updates_that_are_not_the_same_are_out_of_bounds(capsys, monkeypatch):
    def other_noise(noise, own, whole):
        return replace(noise, action=-noise.action)

    monkeypatch.setattr(ranks_equality, "_share", other_noise)
    same = printed(capsys, batch_size=(2,), equality_updates=4)["equality"]
    assert not same["within_bounds"]
    assert same["relative_error_q1"] > same["bounds"]["relative_error_q1"]


def test_a_batch_without_a_sequence_is_refused():
    with pytest.raises(UserError, match="--batch-size 0: must be positive"):
        bench_ranks(**SMALL, batch_size=(0,))
