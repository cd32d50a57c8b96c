"""`robot-wm bench monitor`: what counts as told ahead, what simpler scores are, and one push followed several ways."""

from __future__ import annotations

import json
import math
from itertools import groupby
from types import SimpleNamespace

import numpy as np
import pytest
from leaning import Leaning

from robot_wm.errors import UserError
from robot_wm.runtime.monitor import Calibration, ChangeLimit, FallReadout, MonitorSection
from robot_wm.tasks import make_env
from robot_wm.training.initial import load_source
from robot_wm_bench.agent import fresh_agent
from robot_wm_bench.monitor import command as bench
from robot_wm_bench.monitor.impact import Impact, ImpactMeter
from robot_wm_bench.monitor.lead import area, counts, lead_ticks
from robot_wm_bench.monitor.pushed import PushedOnce
from robot_wm_bench.monitor.reaction import POLICY, REACTIONS, Alarm, alarms, reaction_table
from robot_wm_bench.monitor.settings import SETTINGS, load_settings
from robot_wm_bench.monitor.trace import CHANGE, LOW_VALUE, READOUT, SURPRISE, Trace, highest_score, trace
from robot_wm_export.monitor import calibrate as calibration
from robot_wm_export.monitor.episodes import WatchedEpisode

NAN = math.nan


@pytest.mark.parametrize(
    ("scores", "window", "ticks"),
    [
        ([0, 0, 0, 0], 4, 0),
        ([0, 0, 0, 2], 4, 1),  # in the tick whose action ends on the ground
        ([0, 2, 0, 0], 4, 3),  # the first alarm counts, though it ends
        ([0, 2, 0, 2], 4, 3),
        ([2, 0, 0, 2], 3, 1),  # too long before
        ([2, 0, 0, 0], 3, 0),
        ([2, 0], 75, 2),  # shorter than the window
        ([NAN, NAN, 2, NAN], 4, 2),
        ([1, 1, 1, 1], 4, 0),  # at the limit is not above it
    ],
)
def test_an_alarm_leads_by_the_ticks_from_it_to_the_ground(scores, window, ticks):
    assert lead_ticks(np.float64(scores), 1.0, window) == ticks


def one(down, alarm=None, ticks=100):
    """At 50 Hz; the score is above 0 from so many ticks before the end on."""
    scores = np.full(ticks, NAN)
    scores[50:] = -1.0
    if alarm is not None:
        scores[ticks - alarm :] = 1.0
    return Trace({"it": scores}, down)


def test_falls_told_ahead_and_alarms_of_those_who_stand_are_counted():
    falls = [one(True, lead) for lead in (None, 4, 5, 9, 10, 40)]
    stand = [one(False), one(False, 3), one(False)]
    assert counts([*falls, *stand], "it", 0.0, 50.0) == {
        "episodes": 9,
        "falls": 6,
        "falls_200_ms_ahead": 2,
        "falls_100_ms_ahead": 4,
        "median_lead_ms": 140.0,  # of 0, 80, 100, 180, 200 and 800
        "median_alarm_s": pytest.approx(1.86),  # of 1.2, 1.8, 1.82, 1.9, 1.92 and 1.94
        "standing": 3,
        "standing_flagged": 1,
    }
    assert counts(stand, "it", 0.0, 50.0)["median_lead_ms"] is None
    # At half the rate the same ticks are twice as long.
    assert counts(falls, "it", 0.0, 25.0)["falls_200_ms_ahead"] == 4


def highest(*scores):
    return [Trace({"it": np.float64([NAN, score, -9.0])}, False) for score in scores]


def test_the_area_is_the_share_of_pairs_in_which_the_changed_world_scores_higher():
    assert area(highest(3, 1), highest(0, 2), "it") == 0.75
    assert area(highest(1), highest(0, 1, 2, 3), "it") == 0.375  # a tie is half
    assert area(highest(5, 6), highest(1, 2), "it") == 1.0
    # What never said anything is below all that did.
    assert area([Trace({"it": np.full(2, NAN)}, True)], highest(-7), "it") == 0.0
    assert area([], highest(1), "it") is None


def section(**fall):
    made = Calibration(false_alarm_rate=0.1, episodes=9, episode_s=1.0, backend="planted", randomisation="none")
    parts = {"output": "post_logits", "weights": (1.0,), "bias": 0.0, "ticks": 1, "limit": 2.0}
    parts |= {"restless_limit": 6.0, "blind_ticks": 1, "horizon_s": 0.1, "falls": 20, "calibration": made}
    change = ChangeLimit(ticks=2, limit=1.0, settle_ticks=2, calibration=made, command_step=fall.pop("steps", ()))
    return MonitorSection(change=change, fall=FallReadout(**(parts | fall)))


def test_every_score_is_silent_where_it_says_nothing_and_the_readout_is_told_from_its_own_limit():
    surprise, value, belief = [9, 9, 5, 6, 7, 3, 8], [0, 0, 4, 2, 6, 6, 6], [9, 7, 1, 2, 3, 0, 0]
    watched = WatchedEpisode(
        np.float32(surprise), np.float32(value), np.float32(belief)[:, None], np.zeros((7, 0), np.float32), True
    )
    found = trace(section(), watched)
    assert found.down
    np.testing.assert_array_equal(found.scores[READOUT], [NAN, 1, -1, 0, 1, -2, -2])  # restless for two ticks
    np.testing.assert_array_equal(found.scores[LOW_VALUE], [NAN, NAN, -2, -3, -4, -6, -6])
    np.testing.assert_array_equal(found.scores[SURPRISE], [NAN] * 4 + [5, 3, 3])
    np.testing.assert_array_equal(found.scores[CHANGE], [NAN, NAN, NAN, 5.5, 6.5, 5, 5.5])
    assert highest_score(found, LOW_VALUE) == -2.0
    assert highest_score(Trace({"it": np.full(3, NAN)}, False), "it") == -math.inf
    assert READOUT not in trace(section().model_copy(update={"fall": None}), watched).scores


@pytest.fixture
def leaning(monkeypatch):
    """A loaded agent and its task, in which whoever has a seed that three divides falls."""
    agent, spec = fresh_agent("nano", "proprio")
    built = []
    monkeypatch.setattr(calibration, "make_env", lambda task, **options: built.append(options) or Leaning(spec))
    monkeypatch.setattr(calibration, "MIN_FALLS", 10)
    for name in ("CHANGE_S", "SETTLE_S"):
        monkeypatch.setattr(calibration, name, 10 / spec.control_rate_hz)
    config = SimpleNamespace(task_options={"actuator": "ideal"})
    return SimpleNamespace(agent=agent, spec=spec, state=SimpleNamespace(config=config), built=built)


WORLDS = """
worlds:
  clean: {episodes: 8, episode_s: 20.0}
  pushed: {episodes: 12, episode_s: 20.0, randomisation: {friction: 0.5}}
  changed:
    slippery: {episodes: 4, episode_s: 20.0, randomisation: {friction: 0.1}}
reaction: {push_speed_m_s: [1, 2], crouch_pose: {}}
"""


def test_limits_of_one_engine_are_tried_in_the_other(leaning, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("robot_wm.training.initial.load_source", lambda source: leaning)
    (tmp_path / "worlds.yaml").write_text(WORLDS)
    out = tmp_path / "out"
    bench.bench_monitor(out=out, settings=tmp_path / "worlds.yaml", episodes=30, rate=0.2, share=0.5, seed=0, json=True)
    found = json.loads((out / "monitor.json").read_text())
    assert json.loads(capsys.readouterr().out) == found
    assert (found["familiar_episodes"], found["fitted_falls"]) == (22, 10)
    assert [(row["told_by"], row["world"]) for row in found["rows"]] == [
        (told_by, world)
        for told_by in (READOUT, LOW_VALUE, SURPRISE, CHANGE)
        for world in ("clean", "pushed", "slippery")
    ]
    # Half of the episodes; of seeds 0 to 3 and 0 to 5 three divides 0 and 3.
    assert [(row["episodes"], row["falls"], row["standing"]) for row in found["rows"]] == [
        (4, 2, 2),
        (6, 2, 4),
        (2, 1, 1),
    ] * 4
    readout = found["rows"][1]
    assert readout["falls_100_ms_ahead"] == 2  # it leans for 9 ticks
    worlds = [(options["backend"], options.get("randomisation")) for options in leaning.built]
    assert [world for world, _ in groupby(worlds)] == [
        ("pybullet", None),
        ("pybullet", "stumbles"),
        ("mujoco", None),
        ("mujoco", {"friction": 0.5}),
        ("mujoco", {"friction": 0.1}),
    ]
    assert {options["actuator"] for options in leaning.built} == {"ideal"}
    assert (out / "monitor.png").read_bytes().startswith(b"\x89PNG")


def test_without_enough_falls_the_simpler_scores_are_counted_alone(leaning, monkeypatch, tmp_path):
    monkeypatch.setattr(calibration, "MIN_FALLS", 1000)
    (tmp_path / "worlds.yaml").write_text(WORLDS)
    given = dict(calibrate_in="pybullet", try_in="mujoco", episodes=30, rate=0.2, share=0.1, seed=0)
    settings = tmp_path / "worlds.yaml"
    found = bench.measure(leaning, tmp_path / "monitor.png", settings=settings, pushes=0, **given)
    assert [row["told_by"] for row in found["rows"]] == [LOW_VALUE] * 3 + [SURPRISE] * 3 + [CHANGE] * 3
    with pytest.raises(UserError, match=r"--reaction: too few pushed episodes ended on the ground"):
        bench.measure(leaning, tmp_path / "monitor.png", settings=settings, pushes=1, **given)


def test_settings_are_refused_by_the_field(tmp_path):
    (tmp_path / "worlds.yaml").write_text(WORLDS.replace("episodes: 12", "episodes: 0"))
    with pytest.raises(UserError, match=r"worlds\.yaml.*worlds\.pushed\.episodes.*0"):
        load_settings(tmp_path / "worlds.yaml")
    (tmp_path / "worlds.yaml").write_text(WORLDS.replace("slippery", "pushed"))
    with pytest.raises(UserError, match=r"worlds\.yaml.*worlds\.changed.*'pushed' names another world"):
        load_settings(tmp_path / "worlds.yaml")
    (tmp_path / "worlds.yaml").write_text(WORLDS.replace(", randomisation: {friction: 0.1}", ""))
    with pytest.raises(UserError, match=r"worlds\.changed.*slippery: a changed world needs its randomisation"):
        load_settings(tmp_path / "worlds.yaml")
    shipped = load_settings(SETTINGS).worlds
    assert {world.episode_s for world in (shipped.clean, *shipped.changed.values())} == {shipped.clean.episode_s}
    for world in shipped.changed.values():
        make_env("a1_velocity", backend="mujoco", randomisation=world.randomisation).close()


class Dropping:
    """A body of 1 m/s² that touches the ground in its fourth step, and once more in its sixth."""

    def __init__(self):
        self.steps = 0
        self.state = SimpleNamespace(base_linear_velocity=np.zeros(3), base_angular_velocity=np.float64([0, 3, 4]))

    def run(self, drive, steps):
        assert steps == 1
        self.steps += 1
        self.state.base_linear_velocity[:] = 0.3, 0.4, -0.1 * self.steps

    def contact_forces(self, links):
        assert links == ("trunk", "hip")
        return [0.0, 0.0] if self.steps < 4 else [2.0, {4: 10.0, 5: 0.0}.get(self.steps, 90.0)]


def test_a_meter_stands_in_for_a_world_whose_commands_and_readings_come_late():
    plain, metered = (make_env("a1_velocity", randomisation="stumbles").unwrapped for _ in range(2))
    try:
        metered.sim = meter = ImpactMeter(metered.sim, ("trunk",), after_steps=2)
        told = []
        for env in (plain, metered):
            env.reset(seed=3)
            told.append([env.step(np.float32(env.agent_spec.action.offset))[0]["joint_position"] for _ in range(5)])
        np.testing.assert_array_equal(*told)
        assert meter.impact is None
    finally:
        for env in (plain, metered):
            env.close()


def test_an_impact_is_the_motion_before_the_contact_and_the_largest_force_after_it():
    meter = ImpactMeter(Dropping(), ("trunk", "hip"), after_steps=2)
    meter.run(None, 3)
    assert meter.impact is None
    meter.run(None, 1)
    assert not meter.is_over
    meter.run(None, 1)
    assert meter.is_over
    meter.run(None, 1)  # too late to count
    speed = pytest.approx(math.sqrt(0.3**2 + 0.4**2 + 0.3**2))
    assert meter.impact == Impact(
        step=3, downwards_m_s=pytest.approx(0.3), speed_m_s=speed, turning_rad_s=5.0, peak_n=12.0
    )
    meter.begin()
    assert meter.impact is None


def test_reactions_are_compared_where_the_policy_falls():
    def impact(downwards):
        return Impact(50, downwards, 2.0, 3.0, 100.0)

    stays = Alarm(1.0, {POLICY: None, "hold": impact(9.0), "damp": impact(9.0), "crouch": impact(9.0)})
    first = Alarm(0.1, {POLICY: impact(1.0), "hold": impact(1.0), "damp": impact(2.0), "crouch": None})
    second = Alarm(0.3, {POLICY: impact(2.0), "hold": impact(1.0), "damp": impact(2.0), "crouch": impact(2.5)})
    found = reaction_table([stays, first, second], 5, 500.0)
    rows = {row["reaction"]: row for row in found.pop("rows")}
    assert found == {
        "pushes": 5,
        "alarms": 3,
        "falls": 2,
        "median_alarm_after_push_ms": 200.0,
        "crouch_slower_downwards": 1,
    }
    assert list(rows) == [POLICY, *REACTIONS]
    assert (rows[POLICY]["on_the_ground"], rows[POLICY]["downwards_m_s"]) == (2, 1.5)
    assert (rows["crouch"]["on_the_ground"], rows["crouch"]["downwards_m_s"]) == (1, 2.5)
    assert rows["damp"]["ground_after_alarm_ms"] == 100.0


@pytest.fixture(scope="module")
def walker():
    return load_source("zoo:a1_velocity")


def test_a_push_is_the_seeds_and_so_is_the_episode():
    ends = []
    with make_env("a1_velocity", seed=0, backend="mujoco") as env:
        sim = env.unwrapped.sim
        pushed = PushedOnce(env, ImpactMeter(sim, ("trunk",), after_steps=1), (1.5, 2.5))
        still = np.float32(env.unwrapped.agent_spec.action.offset)
        for seed in (7, 7, 8):
            pushed.reset(seed=seed)
            for _ in range(pushed.push_tick):
                pushed.step(still)
            before = sim.state.base_linear_velocity.copy()
            pushed.step(still)
            jump = np.linalg.norm(sim.state.base_linear_velocity[:2] - before[:2])
            assert jump == pytest.approx(pushed.push_m_s, rel=0.3)  # a control period of legs in between
            ends.append((pushed.push_tick, pushed.push_m_s, sim.state.base.tobytes()))
    assert ends[0] == ends[1] != ends[2]


def test_a_fall_is_followed_from_the_alarm_on(walker):
    numbers = walker.spec.commands
    always = section(weights=(0.0,) * 256, bias=9.0, steps=(9.0,) * len(numbers))
    settings = load_settings().reaction.model_copy(update={"push_speed_m_s": (3.0, 3.0)})
    given = walker.agent, walker.spec, always, settings, {"backend": "mujoco"}
    (found,) = alarms(*given, pushes=1, seed=5)
    assert found.after_push_s == pytest.approx(walker.spec.control_period_s)  # the first tick that sees the push
    assert list(found.impacts) == [POLICY, *REACTIONS]
    assert found.impacts[POLICY].step > 0
    assert found.impacts["damp"].peak_n > 100.0
    assert found.impacts["crouch"].downwards_m_s != found.impacts["damp"].downwards_m_s
    at_rest = settings.model_copy(update={"crouch_pose": {}})
    (again,) = alarms(*given[:3], at_rest, given[4], pushes=1, seed=5)
    differ = [name for name, impact in found.impacts.items() if impact != again.impacts[name]]
    assert differ == ["crouch"]  # all else is the same fall, bit by bit
    never = always.model_copy(update={"fall": always.fall.model_copy(update={"bias": 0.0})})
    assert not list(alarms(*given[:2], never, *given[3:], pushes=1, seed=5))
