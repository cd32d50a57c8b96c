"""The monitor: limits that keep their promise, ticks that do not count, and what a planted fall makes of the robot."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.manifest import Manifest
from robot_wm.runtime.modes import Event, Mode
from robot_wm.runtime.monitor import (
    Calibration,
    ChangeLimit,
    FallReadout,
    Monitor,
    MonitorSection,
    Scores,
    conformal_limit,
)
from robot_wm.runtime.safety import Safety, SafetyConfig
from robot_wm.spec import ActionSpec, CommandField, JointLimits, ObservationField, Source

CALIBRATION = Calibration(false_alarm_rate=0.01, episodes=99, episode_s=12.0, backend="planted", randomisation="none")
CHANGE = ChangeLimit(ticks=2, limit=2.0, settle_ticks=3, command_step=(0.2,), calibration=CALIBRATION)
FALL = FallReadout(
    output="post_logits",
    weights=(1.0, -2.0),
    bias=0.5,
    ticks=2,
    limit=3.0,
    restless_limit=4.0,
    blind_ticks=1,
    horizon_s=0.5,
    falls=20,
    calibration=CALIBRATION,
)
PERIOD_S = 0.02


class Tick(NamedTuple):
    """What a tick decided."""

    mode: Mode
    damp: bool
    faults: int
    falling: bool
    changed: bool
    alarm: str


@pytest.mark.parametrize(
    ("scores", "rate", "limit"),
    [
        (range(1, 100), 0.01, 99),  # ceil(100 * 0.99) = 99th of 99
        (range(1, 200), 0.01, 198),  # ceil(200 * 0.99) = 198th of 199
        (range(1, 101), 0.01, 100),  # ceil(101 * 0.99) = 100th of 100
        ([5, 1, 3], 0.25, 5),
        ([5, 1, 3], 0.5, 3),
    ],
)
def test_the_limit_is_that_of_split_conformal_prediction(scores, rate, limit):
    assert conformal_limit(list(scores), rate) == limit


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=60, unique=True), st.floats(0.25, 0.9))
def test_of_n_and_a_new_one_at_most_that_share_is_above_whichever_is_new(scores, rate):
    """Exchangeability, counted out: each of the n + 1 is the new one once."""
    above = sum(score > conformal_limit(scores[:k] + scores[k + 1 :], rate) for k, score in enumerate(scores))
    assert above <= rate * len(scores) + 1e-9


def test_too_few_episodes_for_a_rate_are_refused_with_how_many_it_takes():
    with pytest.raises(UserError, match=r"a false alarm rate of 0.01 needs 99 episodes, got 98"):
        conformal_limit([0.0] * 98, 0.01)


@pytest.mark.parametrize("rate", [0.005, 0.05])
def test_the_fewest_episodes_that_make_one_sure_have_the_largest_of_them_as_limit(rate):
    """Of n all may stay below the true quantile by chance: (1 - rate)^n, which is to be at most 0.05."""
    fewest = math.ceil(math.log(0.05) / math.log(1 - rate))
    assert conformal_limit(list(range(fewest)), rate, 0.95) == fewest - 1
    with pytest.raises(UserError, match=f"with a confidence of 0.95, needs {fewest} episodes, got {fewest - 1}"):
        conformal_limit([0.0] * (fewest - 1), rate, 0.95)


@given(st.integers(60, 400), st.floats(0.05, 0.3), st.floats(0.5, 0.95))
def test_the_rate_of_one_monitor_is_as_sure_as_was_asked_and_no_limit_lower_is(count, rate, confidence):
    """Below the limit of rank r lies a share Beta(r, n + 1 - r) of all episodes, by the binomial's tail."""
    rank = conformal_limit(list(range(1, count + 1)), rate, confidence)

    def sure(rank: int) -> float:
        above = count - rank  # P(Beta(r, n + 1 - r) >= 1 - rate) = P(Bin(n, rate) > n - r)
        return 1.0 - math.fsum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(above + 1))

    assert sure(rank) >= confidence - 1e-9
    mean = math.ceil((count + 1) * (1 - rate) - 1e-9)  # that of monitors in the mean, which holds all the same
    assert rank == mean or sure(rank - 1) < confidence + 1e-9


def test_of_many_monitors_as_many_keep_their_rate_as_they_are_sure_of():
    """Counted out with uniform scores, of which a limit's own rate is one less itself."""
    rng = np.random.default_rng(0)
    limits = [[conformal_limit(rng.random(300).tolist(), 0.02, sure) for _ in range(2000)] for sure in (0.0, 0.9)]
    kept = (np.array(limits) >= 0.98).mean(axis=1)
    assert 0.4 < kept[0] < 0.7
    assert kept[1] >= 0.9 - 3 * math.sqrt(0.09 / 2000)


def changes(monitor, ticks):
    """Of (surprise, command, is_first) a tick."""
    return [monitor.scores(s, None, (c,), is_first=first).change for s, c, first in ticks]


def test_surprise_counts_once_start_and_new_command_are_three_ticks_ago():
    monitor = Monitor(MonitorSection(change=CHANGE))
    start = [(50.0, 0.0, True), (50.0, 0.0, False), (50.0, 0.0, False)]
    ticks = [*start, (1.0, 0.0, False), (2.0, 0.1, False), (4.0, 0.1, False)]
    ticks += [(70.0, 0.4, False), (9.0, 0.4, False), (9.0, 0.4, False), (1.0, 0.4, False), (3.0, 0.4, False)]
    nan = math.nan
    np.testing.assert_equal(changes(monitor, ticks), [nan, nan, nan, nan, 1.5, 3.0, nan, nan, nan, nan, 2.0])
    np.testing.assert_equal(changes(monitor, ticks[:5]), [nan, nan, nan, nan, 1.5])  # an episode begins anew


def test_a_command_that_creeps_is_a_new_one_a_step_from_the_last():
    """The command grows by 0.15 from tick 5 on: the second such tick is the first that is more than 0.2 away."""
    monitor = Monitor(MonitorSection(change=CHANGE))
    commands = [0.0] * 5 + [0.15, 0.3] + [0.3] * 5
    found = changes(monitor, [(1.0, command, tick == 0) for tick, command in enumerate(commands)])
    assert [tick for tick, score in enumerate(found) if not math.isnan(score)] == [4, 5, 10, 11]


@given(st.lists(st.floats(0, 100), min_size=8, max_size=30), st.integers(4, 7))
def test_what_is_masked_is_never_told(surprises, at):
    """Whatever surprise is within the settling ticks of a new command, the scores are the same."""

    def scores(tainted):
        monitor = Monitor(MonitorSection(change=CHANGE))
        return changes(
            monitor,
            [
                (1e9 if tainted and at <= tick < at + 3 else s, float(tick >= at), tick == 0)
                for tick, s in enumerate(surprises)
            ],
        )

    np.testing.assert_equal(scores(True), scores(False))


def test_the_fall_is_a_mean_of_log_odds_over_its_ticks():
    monitor = Monitor(MonitorSection(change=CHANGE, fall=FALL))
    beliefs = [(99.0, 0.0), (3.5, 0.0), (5.5, 0.5), (0.0, -2.0)]  # log-odds 99.5, 4, 5, 4.5
    scores = [
        monitor.scores(0.0, np.float32(belief), (0.0,), is_first=tick == 0) for tick, belief in enumerate(beliefs)
    ]
    np.testing.assert_equal([score.fall for score in scores], [math.nan, 4.0, 4.5, 4.75])
    # While a start settles, three ticks, the limit is 4; then it is 3.
    assert [monitor.is_falling(score) for score in scores] == [False, False, True, True]
    assert monitor.text(scores[2]) == "about to fall: log-odds 4.5, limit 4"
    new = [monitor.scores(0.0, np.float32([3.0, 0.0]), (0.9,), is_first=False) for _ in range(3)]  # a new command
    np.testing.assert_equal([(score.fall, score.restless) for score in new], [(math.nan, True)] + [(3.5, True)] * 2)
    assert not any(map(monitor.is_falling, new))
    assert math.isnan(monitor.scores(0.0, np.float32([0, 0]), (0.9,), is_first=True).fall)
    assert monitor.scores(0.0, np.float32([0, 0]), (0.9,), is_first=False).fall == 0.5  # nothing of the last episode
    assert monitor.text(scores[3]) == "about to fall: log-odds 4.75, limit 3"
    assert monitor.text(Scores()) == ""
    assert monitor.text(Scores(change=2.5)) == "the world has changed: mean surprise 2.5, limit 2"


def body_with(manifest, section):
    return json.loads(manifest.model_copy(update={"monitor": section}).to_json())


@pytest.fixture
def agent(make_spec, make_agent):
    """Its value counts the ticks since an episode began: read as log-odds, tick 4 is the first to be about to fall."""
    wish = ObservationField(name="wish", shape=(1,), unit="m/s", source=Source.COMMAND)
    commands = (CommandField(name="ahead", unit="m/s", low=-1.0, high=1.0),)
    made = make_agent(make_spec(observations=(*make_spec().observations, wish), commands=commands))
    section = MonitorSection(
        change=CHANGE.model_copy(update={"ticks": 1, "limit": 1e-6}),
        fall=FallReadout(
            output="value",
            weights=(1.0,),
            bias=-3.5,
            ticks=1,
            limit=0.0,
            restless_limit=0.0,
            blind_ticks=1,
            horizon_s=0.5,
            falls=20,
            calibration=CALIBRATION,
        ),
    )
    raw = json.dumps(body_with(made.manifest, section)).encode()
    return replace(made, manifest=Manifest.from_json(raw))


@pytest.mark.parametrize(
    ("change", "naming"),
    [
        ({"output": "belief"}, "monitor: fall has 1 weights for the output belief None"),
        ({"weights": [1.0, 1.0]}, r"monitor: fall has 2 weights for the output value \(1,\)"),
        ({"weights": [math.nan]}, "monitor.fall.weights"),
        ({"weights": [0.0] * 8193}, "monitor.fall.weights"),
        ({"ticks": 10**9}, "monitor.fall.ticks"),
        ({"threshold": 1.0}, "monitor.fall.threshold"),
    ],
)
def test_a_readout_that_does_not_fit_is_refused_by_name(agent, change, naming):
    body = body_with(agent.manifest, agent.manifest.monitor)
    body["monitor"]["fall"] |= change
    with pytest.raises(UserError, match=naming):
        Manifest.from_json(json.dumps(body).encode())


def test_command_steps_are_one_for_each_of_the_operators_numbers(agent):
    body = body_with(agent.manifest, agent.manifest.monitor)
    body["monitor"]["change"]["command_step"].append(1.0)
    with pytest.raises(UserError, match=r"monitor: command_step has \d entries for \d of the operator's numbers"):
        Manifest.from_json(json.dumps(body).encode())


def drive(agent, config, ticks=9, wish=lambda tick: 0.0):
    """The stand-in's surprise is how far the last action was from zero."""
    with Controller(agent, config=config) as controller:
        controller.enable()
        for tick in range(ticks):
            frame = {"joint_position": np.float32([0.2, -0.2]), "gyro": np.zeros(3, np.float32)}
            frame["wish"] = np.float32([wish(tick)])
            command = controller.step(frame, tick * PERIOD_S)
            yield Tick(
                command.mode, command.damp, command.fault_bits, command.falling, command.changed, controller.alarm
            )


def test_a_fall_that_is_foreseen_is_told_and_moves_nothing_by_itself(agent):
    seen = list(drive(agent, SafetyConfig(soft_start_s=0)))
    assert [tick.falling for tick in seen] == [False] * 3 + [True] * 6
    assert {(tick.mode, tick.faults) for tick in seen} == {(Mode.ACTIVE, 0)}
    assert seen[-1].alarm.startswith("about to fall: log-odds 5.5, limit 0; the world has changed: mean surprise ")


def test_the_controller_masks_the_ticks_after_a_new_command(agent):
    changed = [tick.changed for tick in drive(agent, SafetyConfig(soft_start_s=0), wish=lambda tick: float(tick >= 5))]
    assert changed == [False] * 3 + [True] * 2 + [False] * 3 + [True]


def test_asked_to_react_the_robot_crouches_and_is_damped(agent):
    pose = {agent.manifest.spec.action.joints[0]: 0.1}
    config = SafetyConfig(soft_start_s=0, reacts_to_fall=True, crouch_pose=pose, crouch_s=3 * PERIOD_S)
    seen = list(drive(agent, config))
    told = [(tick.mode, tick.damp) for tick in seen]
    assert told == [(Mode.ACTIVE, False)] * 3 + [(Mode.CROUCH, False)] * 3 + [(Mode.DAMP, True)] * 3
    # Only the first: a robot that is on its way down, or there, needs no second reaction.
    assert [tick.faults for tick in seen] == [0] * 3 + [Fault.FALLING] + [0] * 5


def test_without_a_pose_it_is_damped_at_once(agent):
    config = SafetyConfig(soft_start_s=0, reacts_to_fall=True)
    assert [tick.mode for tick in drive(agent, config, 5)] == [Mode.ACTIVE] * 3 + [Mode.DAMP] * 2


def test_an_agent_without_a_monitor_is_driven_as_ever(agent):
    old = replace(agent, manifest=agent.manifest.model_copy(update={"monitor": None}))
    seen = set(drive(old, SafetyConfig(soft_start_s=0, reacts_to_fall=True)))
    assert seen == {Tick(Mode.ACTIVE, False, 0, False, False, "")}


def crouching(spec, pose):
    safety = Safety(spec, SafetyConfig(soft_start_s=0, crouch_pose=pose, crouch_s=1.0))
    return safety


def test_the_crouch_goes_to_its_pose_and_no_faster_than_the_joints_may(make_spec):
    rate = 5.0  # rad/s
    limits = tuple(JointLimits(position=(-1.0, 1.0), velocity=9.0, effort=1.0, rate=rate) for _ in range(2))
    action = ActionSpec(mode="position", joints=("shoulder", "elbow"), unit="rad", limits=limits)
    safety = crouching(make_spec(action=action), {"elbow": 0.35})
    safety.request(Event.ENABLE)
    safety.decide(np.float32([0, 0]), 0, np.float32([0, 0]))
    way = [safety.decide(None, int(Fault.FALLING) if k == 0 else 0, None).copy() for k in range(5)]
    np.testing.assert_allclose(way, [[0, 0.1], [0, 0.2], [0, 0.3], [0, 0.35], [0, 0.35]], atol=1e-6)
    assert safety.mode is Mode.CROUCH


def test_a_pose_that_a_robot_does_not_have_is_refused(make_spec):
    with pytest.raises(UserError, match="crouch_pose: wrist is none of the agent's joints"):
        crouching(make_spec(), {"wrist": 0.0})
    with pytest.raises(UserError, match="crouch_pose: commands of effort have no pose to go to"):
        crouching(make_spec(action=ActionSpec(mode="effort", joints=("shoulder", "elbow"), unit="N·m")), {"elbow": 0.0})
    with pytest.raises(UserError, match="crouch_s must be at least 0 s, got -1"):
        SafetyConfig(crouch_s=-1)
