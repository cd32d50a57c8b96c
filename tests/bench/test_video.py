"""`robot-wm bench video`: its table from the shipped curves, and what it refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from robot_wm.errors import UserError

pytest.importorskip("bjontegaard")

from robot_wm_bench.video.command import bench_video
from robot_wm_bench.video.contest import ANCHOR, ORACLE, Outcome, table

TWICE = [
    Outcome(rate, rate, quality, quality, quality / 2, 0) for rate, quality in ((1e5, 70.0), (2e5, 80.0), (4e5, 88.0))
]


def outcomes(factor):
    return [replace(one, rate_bps=one.rate_bps * factor) for one in TWICE]


def test_half_the_bits_at_equal_quality_are_a_bd_rate_of_minus_50_per_cent():
    """And who saves half as much has half of the oracle's gain."""
    found = {ANCHOR: outcomes(1.0), "theirs": outcomes(0.75), ORACLE: outcomes(0.5)}
    rows = {row["contender"]: row for row in table(found, [ANCHOR], 3)}
    assert rows[ORACLE]["bd_rate_constant_quantiser"] == pytest.approx(-50.0, abs=1e-6)
    assert rows["theirs"]["bd_rate_constant_quantiser"] == pytest.approx(-25.0, abs=1e-6)
    assert rows["theirs"]["bd_rate_psnr"] == pytest.approx(-25.0, abs=1e-6)
    assert [rows[name]["oracle_share"] for name in found] == pytest.approx([0.0, 0.5, 1.0])


def test_a_bd_rate_is_the_mean_of_those_of_the_programmes():
    found = {ANCHOR: outcomes(1.0) * 2, ORACLE: outcomes(0.5) + outcomes(0.7)}
    (_, row) = table(found, [ANCHOR], 3)
    assert row["bd_rate_constant_quantiser"] == pytest.approx(-40.0, abs=1e-6)


def test_overshoot_and_underflows_are_counted():
    over = [replace(one, rate_bps=one.target_bps * share) for one, share in zip(TWICE, (1.005, 1.02, 0.9), strict=True)]
    late = [replace(one, underflows=number) for number, one in enumerate(outcomes(0.5))]
    rows = {row["contender"]: row for row in table({ANCHOR: over, ORACLE: late}, [ANCHOR], 3)}
    assert rows[ANCHOR]["overshoots"] == 1
    assert rows[ANCHOR]["worst_overshoot"] == pytest.approx(0.02)
    assert rows[ANCHOR]["rate_share"] == pytest.approx(np.mean([1.005, 1.02, 0.9]))
    assert (rows[ORACLE]["overshoots"], rows[ORACLE]["underflows"]) == (0, 3)


def test_curves_that_do_not_meet_are_refused():
    better = [replace(one, vmaf=one.vmaf + 50) for one in TWICE]
    with pytest.raises(UserError, match=r"^bench video: the curves of programme 0 by vmaf do not overlap$"):
        table({ANCHOR: TWICE, ORACLE: better}, [ANCHOR], 3)


def test_the_shipped_curves_bound_what_can_be_gained(capsys):
    """Nobody beats the oracle, all keep to the link, and who knows of the future does better than who does not."""
    bench_video(json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["encoded"] is False
    rows = {row["contender"]: row for row in told["rows"]}
    gains = {name: row["bd_rate_constant_quantiser"] for name, row in rows.items()}
    assert gains[ANCHOR] == pytest.approx(0.0, abs=1e-9)
    assert min(gains, key=gains.get) == ORACLE
    assert gains[ORACLE] < -2.0
    assert gains[ORACLE] < gains["forecast"] < gains["greedy Lagrangian"]
    for row in rows.values():
        assert row["underflows"] == row["overshoots"] == 0
        assert 0.9 < row["rate_share"] <= 1.0 + 1e-9


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"encode": True}, "--encode: needs the pictures"),
        ({"agents": "nowhere/at/all"}, "nowhere/at/all"),
        ({"agents": "zoo:cartpole_balance"}, "made for another agent"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_a_line(given, told):
    with pytest.raises(UserError, match=told):
        bench_video(**given)
