"""A robot on its feet leans, and its IMU must tell where to: closed forms. Whole robots are in tests/museum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.runtime.limits import CommandLimits
from robot_wm.runtime.live.check import LiveCheck, LiveConfig
from robot_wm.runtime.live.lean import LEANS, MOST_SIZE, STAY_S, Lean, leans_of
from robot_wm.runtime.live.tilt import LEAST, STANDARD_ERRORS, TURNED_DEG, Tilt, is_told, tilt_problem
from robot_wm.runtime.modes import Event, Mode
from robot_wm.runtime.safety import Safety, SafetyConfig
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import ObservationField

PERIOD_S = 0.02
SAMPLES = 20
FIELD = "projected_gravity"
NONE = np.full(2, np.nan)


def turn(degrees: float) -> np.ndarray:
    """Of what an IMU tells that is turned about the vertical by so much."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[cosine, sine], [-sine, cosine]])


def judged(matrix: np.ndarray, noise: float = 0.0) -> str:
    return tilt_problem(FIELD, np.asarray(matrix, dtype=np.float64), noise, SAMPLES)


SOUND = st.tuples(st.floats(0.03, 0.3), st.floats(0.03, 0.3), st.floats(-20.0, 20.0)).map(
    lambda drawn: turn(drawn[2]) @ np.diag(drawn[:2])
)


@given(SOUND)
def test_a_robot_that_leans_about_to_where_it_is_told_is_not_refused(matrix):
    assert judged(matrix) == ""
    assert judged(np.stack([matrix[:, 0], NONE], axis=1)) == ""  # nor by its first lean alone
    assert is_told(matrix, 0.0, SAMPLES)


@given(SOUND, st.floats(70.0, 290.0))
def test_an_imu_turned_about_the_vertical_is_told_by_how_much(matrix, degrees):
    found = judged(turn(degrees) @ matrix)
    told = float(found.split("turned by ")[1].split("°")[0])
    assert (told + degrees + 180.0) % 360.0 - 180.0 == pytest.approx(0.0, abs=21.0)  # what leans 20° to the side does
    assert "the IMU's mounting" in found


@given(SOUND, st.floats(0.0, 360.0))
def test_legs_that_are_mirrored_are_found_however_the_imu_is_turned(matrix, degrees):
    assert "it is mirrored" in judged(turn(degrees) @ matrix @ np.diag([1.0, -1.0]))


def test_the_first_lean_alone_shows_an_imu_that_looks_backwards_or_aside():
    alone = np.stack([[-0.06, 0.0], NONE], axis=1)
    assert "along (-0.06, 0.00) when the robot leant forward, expected (+, 0)" in judged(alone)
    assert "it is off by 180°" in judged(alone)
    assert judged(np.stack([0.06 * turn(2 * TURNED_DEG - 1)[:, 0], NONE], axis=1)) == ""
    assert judged(np.stack([0.06 * turn(2 * TURNED_DEG + 1)[:, 0], NONE], axis=1))


def test_noise_that_could_have_turned_it_tells_nothing():
    matrix = turn(180.0) @ (0.06 * np.eye(2))
    most = (0.06 - LEAST) / STANDARD_ERRORS * math.sqrt(2.0 * SAMPLES)
    assert judged(matrix, 0.99 * most)
    assert judged(matrix, 1.01 * most) == ""
    assert not is_told(matrix, 1.01 * most, SAMPLES)


def test_a_robot_that_does_not_tilt_at_all_does_not_stand_on_its_feet():
    found = judged(np.diag([0.06, 0.5 * LEAST]))
    assert "when the robot leant left, expected at least 0.01: it does not stand on its feet" in found
    assert judged(np.diag([0.06, 0.5 * LEAST]), noise=0.05) == ""


@given(st.tuples(*[st.floats(-0.3, 0.3)] * 2))
def test_the_bias_of_an_imu_and_a_floor_that_slopes_cancel(offset):
    tilt = Tilt()
    for lean in range(len(LEANS)):
        for end in (1, -1):
            gravity = np.array([*offset, -1.0])
            gravity[lean] += 0.05 * end
            tilt.add(lean, end, gravity)
    np.testing.assert_allclose(tilt.matrix(), 0.05 * np.eye(2), atol=1e-9)
    tilt.clear()
    assert np.isnan(tilt.matrix()).all()


# -- the motion -------------------------------------------------------------------------------------------------------

WAYS = np.array([[0.08, -0.04, 0.0], [0.0, 0.04, -0.08]], dtype=np.float32)  # [L, A]


def leant(pose: tuple[float, ...], *, low: float = -1.0, high: float = 1.0, step: float = 0.4, size: float = 1.0):
    """The commands [T, A] of a lean, and where it stays at each of them."""
    lean = Lean(
        np.array(pose, dtype=np.float32),
        np.full(3, 0.5, dtype=np.float32),
        tolerance=0.3,
        period_s=PERIOD_S,
        limits=CommandLimits(*(np.full(3, value, dtype=np.float32) for value in (low, high, step))),
        leans=WAYS,
    )
    assert lean.begin(np.array(pose, dtype=np.float32))
    lean.again(size)
    commands, stays = [], []
    while not lean.has_arrived:
        commands.append(lean.next().copy())
        stays.append(lean.stay)
    return np.array(commands), stays


@given(st.tuples(*[st.floats(-1.0, 1.0, width=32)] * 3), st.sampled_from([1.0, MOST_SIZE]))
def test_each_lean_goes_to_both_sides_and_back_within_the_range(pose, size):
    commands, stays = leant(pose, size=size)
    assert (np.abs(commands) <= 1.0).all()
    np.testing.assert_array_equal(commands[-1], np.array(pose, dtype=np.float32))
    ticks = round(STAY_S / PERIOD_S)
    for lean, way in enumerate(WAYS):
        for end in (1, -1):
            here = commands[[stay == (lean, end) for stay in stays]]
            target = np.clip(np.array(pose, dtype=np.float32) + end * size * way, -1.0, 1.0)
            np.testing.assert_allclose(here, np.tile(target, (ticks, 1)), atol=1e-6)


def test_a_lean_is_smooth_and_as_slow_as_its_slowest_joint():
    commands, _ = leant((0.0, 0.0, 0.0), step=0.002, size=MOST_SIZE)  # 0.1 rad/s
    assert np.abs(np.diff(commands, axis=0)).max() <= 0.002 + 1e-6


def test_leans_are_those_of_the_agents_joints(make_spec):
    action = make_spec().action
    first = action.joints[0]
    found = leans_of(action, {"left": {first: 0.02}, "forward": {first: -0.05}})
    np.testing.assert_allclose(found[:, 0], [-0.05, 0.02])
    with pytest.raises(UserError, match=r"which joints lean the robot left is not known.*leans\.left"):
        leans_of(action, {"forward": {first: 0.1}})
    with pytest.raises(UserError, match=r"leans\.forward: tail is none of the agent's joints"):
        leans_of(action, {"forward": {"tail": 0.1}, "left": {first: 0.1}})


def leaning(spec):
    joint = spec.action.joints[0]
    return {"check_on_feet": True, "start_speed": 0.5, "leans": {name: {joint: 0.05} for name in LEANS}}


def test_after_the_leans_the_policy_drives(make_spec):
    spec = make_spec()
    safety = Safety(spec, SafetyConfig(**leaning(spec)))
    zeros = np.zeros(spec.action_dim, dtype=np.float32)
    safety.request(Event.ENABLE)
    modes = []
    while not modes or modes[-1] is not Mode.SOFT_START or len(modes) == 1:
        safety.decide(zeros, 0, zeros)
        modes.append(safety.mode)
        assert len(modes) < 1000
    assert set(modes[:-1]) <= {Mode.GO_TO_START, Mode.SOFT_START}
    assert modes.count(Mode.GO_TO_START) > 100


# -- both -------------------------------------------------------------------------------------------------------------


def started(make_spec, gravities):
    """A robot that leans, start by start of the leans with another M in ``gravities``: what is found, and passed."""
    fields = (*make_spec().observations, ObservationField(name=FIELD, shape=(3,), unit="1", labels=("x", "y", "z")))
    spec = make_spec(observations=fields)
    check, transform = LiveCheck(spec, {}, LiveConfig()), ObservationTransform(spec)
    check.watch(transform)
    gravity = transform.raw[FIELD][0]  # [3], a view of what the check reads
    rng = np.random.default_rng(0)
    safety = Safety(spec, SafetyConfig(**leaning(spec)))
    lean = safety.excitation
    assert isinstance(lean, Lean)
    now_s, runs, left = 0.0, [], list(gravities)

    def show(at) -> None:
        nonlocal now_s
        gravity[:2] = 0.0 if at is None else at[1] * left[0][:, at[0]]
        gravity[2] = -1.0 + 1e-6 * rng.normal()  # a sensor that repeats itself is a frozen one
        now_s += PERIOD_S

    for _ in range(60):
        show(None)
        check.look(now_s, None, "")
    lean.begin(np.zeros(2, dtype=np.float32))
    problem = ""
    while not problem and not check.passed:
        command = lean.next()
        show(lean.stay)
        was_over = lean.is_over
        problem = check.judge(now_s, command, None, is_driven=True, is_slow=True, excitation=lean)
        if was_over and not lean.is_over:  # it leans anew
            runs.append(lean.size)
            left.pop(0)
        assert now_s < 60.0
    return problem, check.passed, runs


SOUNDLY, BACKWARDS, HARDLY = 0.05 * np.eye(2), -0.05 * np.eye(2), 1e-3 * np.eye(2)


def test_who_pushes_a_robot_once_is_not_what_is_wrong_with_it(make_spec):
    problem, passed, runs = started(make_spec, [BACKWARDS, SOUNDLY])
    assert problem == ""
    assert passed == "check on its feet passed: gravity turned along (0.050, 0.000) forward, (0.000, 0.050) left"
    assert runs == [1.0]


def test_what_is_wrong_twice_is_wrong(make_spec):
    problem, passed, runs = started(make_spec, [BACKWARDS, BACKWARDS])
    assert "it is off by 180°" in problem
    assert (passed, runs) == ("", [1.0])


def test_a_lean_that_tells_nothing_is_made_larger_once(make_spec):
    assert started(make_spec, [HARDLY, SOUNDLY])[1:] == (
        "check on its feet passed: gravity turned along (0.050, 0.000) forward, (0.000, 0.050) left",
        [MOST_SIZE],
    )
    problem, _, runs = started(make_spec, [HARDLY, HARDLY, HARDLY])
    assert "it does not stand on its feet" in problem
    assert runs == [MOST_SIZE, MOST_SIZE]


def test_a_sound_robot_leans_once(make_spec):
    problem, passed, runs = started(make_spec, [SOUNDLY])
    assert (problem, runs) == ("", [])
    assert "passed" in passed


def test_leaning_needs_joints_that_take_positions_and_a_floor(make_spec):
    spec = make_spec()
    with pytest.raises(UserError, match="check_on_feet: only joints that take positions"):
        Safety(spec, SafetyConfig(**leaning(spec) | {"start_speed": 0.0}))
    with pytest.raises(UserError, match="check_on_feet: a robot that hangs on a stand"):
        Safety(spec, SafetyConfig(**leaning(spec) | {"check_on_stand": True}))
    with pytest.raises(UserError, match=r"its robot_config says so \(leans\.forward\)"):
        Safety(spec, SafetyConfig(check_on_feet=True, start_speed=0.5))
