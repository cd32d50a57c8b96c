"""How a monitor is calibrated: what counts as a fall, what the readout finds, and whose quantile the limits are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from leaning import Leaning

from robot_wm.errors import UserError
from robot_wm.runtime.monitor import Calibration, ChangeLimit, FallReadout, Monitor, MonitorSection, conformal_limit
from robot_wm_export.export import export_agent
from robot_wm_export.monitor import calibrate as calibration
from robot_wm_export.monitor.calibrate import Plan, calibrate
from robot_wm_export.monitor.episodes import WatchedEpisode, is_down, watched_episodes
from robot_wm_export.monitor.fit import about_to_fall, episode_scores, highest, readout

HORIZON = 5  # ticks


def episode(rng, *, down, ticks=40, leaning=8):
    """Belief [T, 3] of noise; the second number is 3 higher in the last ``leaning`` ticks of what falls."""
    belief = rng.normal(size=(ticks, 3)).astype(np.float32)
    if down:
        belief[-leaning:, 1] += 3.0
    zeros = np.zeros(ticks, np.float32)
    return WatchedEpisode(zeros, zeros, belief, np.zeros((ticks, 0), np.float32), down)


def test_the_ticks_before_the_ground_are_about_to_fall_and_no_others():
    rng = np.random.default_rng(0)
    assert about_to_fall(episode(rng, down=True), HORIZON).nonzero()[0].tolist() == [35, 36, 37, 38, 39]
    assert not about_to_fall(episode(rng, down=False), HORIZON).any()
    assert about_to_fall(episode(rng, down=True, ticks=3, leaning=1), HORIZON).all()


def test_an_episode_that_ends_without_success_ends_on_the_ground():
    told = [(True, {}), (False, {}), (True, {"success": False}), (True, {"success": True})]
    assert [is_down(terminated, info) for terminated, info in told] == [True, False, True, False]


def test_the_readout_finds_the_number_that_leans_and_leaves_the_others():
    rng = np.random.default_rng(1)
    weights, bias = readout([episode(rng, down=k % 2 == 0) for k in range(60)], horizon_ticks=HORIZON)
    assert weights[1] > 5 * abs(weights[[0, 2]]).max()
    assert bias < 0  # most ticks are far from the ground
    new = [episode(rng, down=k % 2 == 0) for k in range(40)]
    highest_odds = [float((one.belief @ weights + bias).max()) for one in new]
    assert min(highest_odds[::2]) > np.median(highest_odds[1::2])


def section(**fall):
    made = Calibration(false_alarm_rate=0.1, episodes=9, episode_s=1.0, backend="planted", randomisation="none")
    parts = {"output": "post_logits", "weights": (1.0,), "bias": 0.0, "ticks": 1, "limit": 0.0}
    parts |= {"restless_limit": 0.0, "blind_ticks": 1, "horizon_s": 0.1, "falls": 20, "calibration": made}
    change = ChangeLimit(ticks=2, limit=1.0, settle_ticks=2, calibration=made)
    return MonitorSection(change=change, fall=FallReadout(**(parts | fall)))


def test_the_highest_scores_are_those_that_the_robots_monitor_counts():
    one = WatchedEpisode(
        surprise=np.float32([90, 1, 3, 5, 1]),
        value=np.zeros(5, np.float32),
        belief=np.float32([[9], [7], [1], [2], [0]]),
        command=np.zeros((5, 0), np.float32),
        down=False,
    )
    assert highest(section(), one) == (4.0, 2.0, 7.0)
    short = WatchedEpisode(one.surprise[:1], one.value[:1], one.belief[:1], one.command[:1], False)
    assert highest(section(), short) == (-math.inf, -math.inf, -math.inf)


@pytest.fixture
def falling_task(request, make_case, monkeypatch):
    proprio = make_case(getattr(request, "param", "proprio"))
    monkeypatch.setattr(calibration, "make_env", lambda task, **options: Leaning(proprio.spec))
    monkeypatch.setattr(calibration, "MIN_FALLS", 10)
    for name in ("CHANGE_S", "SETTLE_S"):
        monkeypatch.setattr(calibration, name, 10 / proprio.spec.control_rate_hz)
    monkeypatch.setattr(calibration, "backend_names", lambda task, options: ("planted",))
    return proprio


def test_episodes_come_once_each_and_end_on_the_ground(proprio):
    envs = [Leaning(proprio.spec) for _ in range(4)]
    found = list(watched_episodes(proprio.agent, proprio.spec, envs, episodes=9, max_ticks=50, seed=0))
    assert sorted((len(one.surprise), one.down) for one in found) == [(30, True)] * 3 + [(50, False)] * 6
    alone = list(watched_episodes(proprio.agent, proprio.spec, envs[:1], episodes=2, max_ticks=50, seed=1))
    same = next(one for one in found if np.allclose(one.belief[0], alone[0].belief[0], atol=1e-5))
    np.testing.assert_allclose(same.surprise, alone[0].surprise, atol=1e-3)


@pytest.mark.parametrize("falling_task", ["proprio", "muzero"], indirect=True)
def test_a_calibrated_bundle_raises_no_more_alarms_than_its_rate(falling_task, tmp_path):
    case, plan = falling_task, Plan(episodes=30, false_alarm_rate=0.2)
    report = export_agent(case.agent, case.spec, case.rollout, {}, tmp_path / "agent.rwm", monitor=plan)
    found = report.manifest.monitor
    assert found.fall.falls == 10
    assert found.change.calibration.model_dump() == {
        "false_alarm_rate": 0.2,
        "episodes": 22,  # of 33, of which a third falls
        "episode_s": calibration.EPISODE_S,
        "backend": "planted",
        "randomisation": "none",
    }
    envs = [Leaning(case.spec) for _ in range(8)]
    again = list(watched_episodes(case.agent, case.spec, envs, episodes=33, max_ticks=560, seed=plan.seed))
    safe = [highest(found, one) for one in again if not one.down]
    assert sum(scores.fall > found.fall.limit for scores in safe) <= 0.1 * len(safe)
    assert found.change.limit == pytest.approx(conformal_limit([scores.change for scores in safe], 0.2), rel=1e-3)
    falls = [one for one in again if one.down]
    monitor = Monitor(found)
    flagged = [any(monitor.is_falling(scores) for scores in episode_scores(found, one)) for one in falls]
    assert np.mean(flagged) > 0.5


def test_where_nobody_falls_only_changes_are_found(falling_task, monkeypatch):
    monkeypatch.setattr(calibration, "MIN_FALLS", 1000)
    assert calibrate(falling_task.agent, falling_task.spec, Plan(episodes=30, false_alarm_rate=0.2)).fall is None


def test_too_few_episodes_are_refused_before_the_work():
    with pytest.raises(UserError, match=r"a false alarm rate of 0.005 needs 199 episodes, got 150"):
        Plan(episodes=150)


def test_who_wants_to_be_sure_needs_more_episodes():
    """Three limits, two of which may each be exceeded in half as many episodes."""
    fewest = math.ceil(math.log(0.05 / 3) / math.log(1 - 0.005))
    Plan(episodes=fewest, confidence=0.95)
    with pytest.raises(UserError, match=f"needs {fewest} episodes, got {fewest - 1}"):
        Plan(episodes=fewest - 1, confidence=0.95)


def test_episodes_that_are_too_short_to_judge_are_refused(falling_task, monkeypatch):
    monkeypatch.setattr(calibration, "SETTLE_S", 100.0)
    with pytest.raises(UserError, match=r"monitor: no tick in .* episodes of .* s tells of a limit: too short"):
        calibrate(falling_task.agent, falling_task.spec, Plan(episodes=30, false_alarm_rate=0.2))
