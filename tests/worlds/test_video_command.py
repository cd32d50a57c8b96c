"""`robot-wm video curves`, and what `robot-wm bench video --encode` makes of its folder."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drawn_clip import Square

pytest.importorskip("imageio_ffmpeg")

from robot_wm.errors import UserError
from robot_wm_bench.video.contest import planned
from robot_wm_bench.video.encoded import AS_SHIPPED, Studio
from robot_wm_worlds.video.clips import Clip
from robot_wm_worlds.video.command import curves
from robot_wm_worlds.video.curves import read_all
from robot_wm_worlds.video.encoder import MODES
from robot_wm_worlds.video.programme import Programme, kept_rate

CLIPS = (Clip("square", "test", Square()),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One that was filled by the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robot_wm_worlds.video.clips.clips", lambda: CLIPS)
        found = tmp_path_factory.mktemp("video")
        curves(found)
    return found


@pytest.fixture
def studio(folder, monkeypatch):
    monkeypatch.setattr("robot_wm_bench.video.encoded.clips", lambda: CLIPS)
    return Studio(folder)


@pytest.fixture
def programme(folder):
    (square,) = read_all(folder, "test")
    parts = (("square", 1), ("square", 0))
    order = [chunk for _, chunk in parts]
    return Programme(parts, *(getattr(square, key)[order] for key in ("size", "first", "vmaf", "psnr_db")))


def test_what_is_there_is_not_encoded_again(folder, monkeypatch, capsys):
    monkeypatch.setattr("robot_wm_worlds.video.clips.clips", lambda: CLIPS)
    monkeypatch.setattr("robot_wm_worlds.video.curves.encode_chunk", lambda *args: pytest.fail("encoded again"))
    curves(folder, json=True)
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert (row["clip"], row["chunks"]) == ("square", 2)
    assert (folder / row["file"]).is_file()


def test_a_plan_that_is_encoded_costs_and_looks_as_its_curves_say(studio, programme):
    """Chunks in another order than the clip has them, and of several spreads."""
    plan = np.array([MODES.index(("still", 30)), MODES.index(("moving", 24))])
    real, told = studio.planned(programme, 1e6, plan), planned(programme, 1e6, plan)
    assert real.rate_bps == told.rate_bps
    assert real.psnr_db == pytest.approx(told.psnr_db, abs=0.01)
    assert real.vmaf == pytest.approx(told.vmaf, abs=3.0)  # its motion is looked at over the edges of chunks


def test_an_outcome_is_measured_once(studio, programme, monkeypatch):
    plan = np.array([4, 4])
    before = studio.planned(programme, 1e6, plan)
    monkeypatch.setattr("robot_wm_bench.video.encoded.measure", lambda *args: pytest.fail("measured again"))
    assert studio.planned(programme, 1e6, plan) == before
    with pytest.raises(BaseException, match="measured again"):
        studio.planned(programme, 1e6, plan + 1)


def test_x264_s_own_rate_controls_come_near_the_target(studio, programme):
    rate_bps = kept_rate(programme.bytes_at(27), 2)
    factor = studio.rate_factor(programme, rate_bps)
    assert 0.9 < factor.rate_bps / rate_bps <= 1.0
    for outcome in (studio.two_pass(programme, rate_bps), studio.average(programme, rate_bps)):
        assert 0.5 < outcome.rate_bps / rate_bps < 1.3  # of 2 s: they need longer to settle
    assert studio.two_pass(programme, rate_bps, tuning=AS_SHIPPED) != studio.two_pass(programme, rate_bps)


def test_a_target_that_no_rate_factor_meets_and_a_damaged_outcome_are_refused(studio, programme, folder):
    with pytest.raises(UserError, match=r"^bench video: no rate factor up to 50 costs 10 bit/s or less$"):
        studio.rate_factor(programme, 10.0)
    plan = np.array([5, 5])
    studio.planned(programme, 1e6, plan)
    for path in (folder / "measured").glob("*.json"):
        path.write_text("{}")
    with pytest.raises(UserError, match=r"measured/\w+\.json: what: Field required"):
        studio.planned(programme, 1e6, plan)
