"""The parts of the live-observation check against closed forms; whole robots are in tests/museum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.runtime.limits import CommandLimits
from robot_wm.runtime.live.agreeing import LiveAgreement
from robot_wm.runtime.live.agreement import agreement, turned
from robot_wm.runtime.live.check import LiveCheck, LiveConfig
from robot_wm.runtime.live.excitation import REACH, StandExcitation
from robot_wm.runtime.live.fields import LiveFields
from robot_wm.runtime.live.frozen import REPEATS, FrozenWatch
from robot_wm.runtime.live.response import LATE_S, OFFSET, lag_problem, response, response_problem
from robot_wm.runtime.live.rest import angles_deg, noise_of
from robot_wm.runtime.live.samples import SampleRing, StampCount
from robot_wm.runtime.live.trained import trained_ranges
from robot_wm.runtime.parity_recording import Recording
from robot_wm.runtime.safety import Safety, SafetyConfig
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import ActionSpec, AgentSpec, FirmwareProfile, ObservationField

PERIOD_S = 0.02
TIMES_S = np.arange(26) * PERIOD_S
SWING = 0.3 * np.sin(2 * np.pi * TIMES_S)  # rad
SPEED = 0.3 * 2 * np.pi * np.cos(2 * np.pi * TIMES_S)  # rad/s, its derivative
EXACT = np.zeros(1)


def compared(level: np.ndarray, rate: np.ndarray, noise: float = 0.0):
    found = agreement(
        np.diff(level)[:, None, None],
        rate[:, None, None],
        TIMES_S,
        level_noise=EXACT + noise,
        rate_noise=EXACT + noise,
    )
    return bool(found.is_right[0]), bool(found.is_wrong[0])


# -- rates and levels -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "expected"),
    [
        (1.0, (True, False)),
        (1.4, (True, False)),
        (0.4, (False, False)),  # neither: some filters lag and shrink
        (0.2, (False, True)),
        (4.0, (False, True)),
        (-1.0, (False, True)),
        (0.0, (False, True)),
        (180 / math.pi, (False, True)),
        (math.pi / 180, (False, True)),
    ],
)
def test_a_rate_agrees_with_its_level_but_for_a_wrong_sign_or_unit(factor, expected):
    assert compared(SWING, factor * SPEED) == expected


def test_what_hardly_moves_proves_nothing():
    assert compared(0.01 * SWING, -0.01 * SPEED) == (False, False)


def test_what_moves_less_than_the_noise_proves_nothing():
    assert compared(SWING, -SPEED, noise=0.2) == (False, False)


def test_where_a_joint_stands_does_not_matter():
    assert compared(5.0 + SWING, SPEED) == (True, False)


def test_gravity_turns_against_the_body():
    # A body that pitches by p about y sees gravity along (sin p, 0, -cos p), which moves at p' (cos p, 0, sin p).
    pitch, rate = 0.3, 0.7
    gravity = np.array([[math.sin(pitch), 0.0, -math.cos(pitch)]])
    moves = turned(gravity, np.array([[0.0, rate, 0.0]]))
    assert np.allclose(moves, [[rate * math.cos(pitch), 0.0, rate * math.sin(pitch)]])


def test_turning_about_the_vertical_moves_no_gravity():
    assert np.allclose(turned(np.array([[0.0, 0.0, -1.0]]), np.array([[0.0, 0.0, 2.0]])), 0.0)


# -- at rest ----------------------------------------------------------------------------------------------------------


def test_noise_is_found_beside_a_motion_and_a_jolt():
    rng = np.random.default_rng(0)
    values = (2.0 * np.sin(np.arange(400) * 0.1) + rng.normal(0.0, 0.02, 400)).astype(np.float32)
    values[200:] += 3.0
    assert noise_of(values[:, None])[0] == pytest.approx(0.02, rel=0.2)


def test_angles_are_those_between_vectors_of_any_length():
    vectors = np.array([[0.0, 0.0, -2.0], [0.0, 1.0, 0.0], [0.0, 0.0, 5.0]], dtype=np.float32)
    assert angles_deg(vectors, np.array([0.0, 0.0, -1.0], dtype=np.float32)) == pytest.approx([0.0, 90.0, 180.0])


@pytest.mark.parametrize("given_gravity", [(0.0, 0.0, 0.0), (0.0, math.nan, 1.0), (1.0, 0.0)])
def test_no_direction_is_refused(given_gravity):
    with pytest.raises(UserError, match="rest_gravity must be a direction"):
        LiveConfig(rest_gravity=given_gravity)


@given(st.integers(1, 40), st.integers(2, 8))
def test_a_ring_holds_the_latest_in_their_order(count, capacity):
    ring = SampleRing(capacity, 1)
    for number in range(count):
        ring.add(np.array([number], dtype=np.float32), float(number))
    kept = list(range(max(0, count - capacity), count))
    assert ring.values[:, 0].tolist() == kept
    assert ring.times_s.tolist() == kept
    assert ring.is_full == (count >= capacity)


def test_a_sensors_rate_is_that_of_its_new_stamps():
    count = StampCount()
    for stamp_s in (0.0, 0.0, 0.04, 0.04, 0.08, 0.08, 0.12, 0.62, 0.66):  # most are seen twice, and one is late
        count.add({"joint_position": stamp_s}, "joint_position")
    assert count.interval_s == pytest.approx(0.04)


def test_the_training_data_are_told_in_si_units(make_spec):
    spec = make_spec()
    rng = np.random.default_rng(1)
    transform = ObservationTransform(spec)
    raw = rng.uniform(-0.5, 0.5, (30, 2)).astype(np.float32)
    raw[7] = (5.0, -9.0)  # the first is clipped, at 3 / 2 above its offset of 0.1
    ticks = []
    for row in raw:
        frame = {"joint_position": row, "gyro": np.zeros(3), "last_action": np.zeros(2)}
        frame = {name: np.asarray(value, dtype=np.float32) for name, value in frame.items()}
        ticks.append({name: value.copy() for name, value in transform.push(frame, not ticks).items()})
    inputs = {f"obs/{name}": np.stack([tick[name] for tick in ticks]) for name in ticks[0]}
    found = trained_ranges(spec, Recording(inputs=inputs, outputs={}))["joint_position"]
    assert np.allclose(np.delete(found.values, 7, axis=0), np.delete(raw, 7, axis=0), atol=1e-6)
    assert found.high[0] == np.inf
    assert found.low[0] == pytest.approx(raw[:, 0].min(), abs=1e-6)
    assert np.isneginf(found.low[1])


# -- on a stand -------------------------------------------------------------------------------------------------------


def limits(*, low: float = -1.0, high: float = 1.0, step: float = 0.4) -> CommandLimits:
    return CommandLimits(*(np.full(3, value, dtype=np.float32) for value in (low, high, step)))


def excited(
    pose: tuple[float, ...], ends: CommandLimits | None = None
) -> tuple[StandExcitation, np.ndarray, list[int | None]]:
    excitation = StandExcitation(
        np.array(pose, dtype=np.float32),
        np.full(3, 0.5, dtype=np.float32),
        tolerance=0.3,
        period_s=PERIOD_S,
        limits=ends or limits(),
        unit="rad",
    )
    assert excitation.begin(np.array(pose, dtype=np.float32))
    commands, joints = [], []
    while not excitation.has_arrived:
        commands.append(excitation.next().copy())
        joints.append(excitation.joint)
    return excitation, np.array(commands), joints


@given(st.tuples(*[st.floats(-1.0, 1.0, width=32)] * 3))
def test_each_joint_goes_out_and_back_alone_and_within_its_range(pose):
    excitation, commands, joints = excited(pose)
    assert (commands >= -1.0).all()
    assert (commands <= 1.0).all()
    assert np.array_equal(commands[-1], np.array(pose, dtype=np.float32))
    away = np.abs(commands - np.array(pose, dtype=np.float32))  # [T, A]
    for joint in range(3):
        turn = np.array([other == joint for other in joints])
        assert turn.sum() == excitation.pulse_ticks
        assert away[turn, joint].max() == pytest.approx(REACH["rad"], abs=1e-6)
        assert away[~turn, joint].max() == 0.0


def test_a_joint_with_hardly_any_range_goes_as_far_as_it_can():
    _, commands, _ = excited((0.0, 0.0, 0.0), limits(low=-0.1, high=0.05))
    assert commands.min() == pytest.approx(-0.1)
    assert commands.max() <= 0.05


def shown(gain: float, delay_ticks: int, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray, int]:
    """What one joint is told, and what it and another do: [T], [T, 2]."""
    excitation, commands, joints = excited((0.2, 0.0, 0.0))
    told = commands[[joint == 0 for joint in joints], 0].astype(np.float64)
    late = np.concatenate([np.full(delay_ticks, told[0]), told[: len(told) - delay_ticks]])
    does = 0.2 + offset + gain * (late - 0.2)
    return told, np.stack([does, np.full_like(does, -0.4)], axis=1), excitation.rest_ticks


@given(st.floats(0.55, 1.5), st.integers(0, 8), st.floats(-0.5, 0.5))
def test_gain_delay_and_offset_are_what_they_are(gain, delay_ticks, offset):
    told, does, rest_ticks = shown(gain, delay_ticks, offset)
    # So that the end of the motion is still seen.
    told, does = np.pad(told, (0, 10), mode="edge"), np.pad(does, ((0, 10), (0, 0)), mode="edge")
    does[:, 0] = 0.2 + offset + gain * (np.roll(told, delay_ticks) - 0.2)
    found = response(told, does, 0, rest_ticks, PERIOD_S)
    assert found.gains[0] == pytest.approx(gain, rel=1e-5)
    assert found.gains[1] == pytest.approx(0.0, abs=1e-6)
    assert found.lag_s == pytest.approx(delay_ticks * PERIOD_S, abs=1e-5)
    assert found.offset == pytest.approx(offset, abs=1e-6)
    assert bool(response_problem(found, 0, ("hip", "knee"), "joint_position", "rad")) == (abs(found.offset) > OFFSET)


@pytest.mark.parametrize(
    ("gain", "words"),
    [(0.0, "a motor without power"), (0.25, "applied twice"), (-1.0, "its sign is wrong"), (4.0, "applied twice, or")],
)
def test_what_a_joint_does_is_named(gain, words):
    told, does, rest_ticks = shown(gain, 0)
    found = response_problem(response(told, does, 0, rest_ticks, PERIOD_S), 0, ("hip", "knee"), "joint_position", "rad")
    assert found.startswith("joint_position: hip moved by")
    assert words in found


def test_a_joint_that_moves_in_anothers_place_is_named():
    told, does, rest_ticks = shown(1.0, 0)
    found = response(told, does[:, ::-1], 0, rest_ticks, PERIOD_S)
    assert "hip was moved and knee followed instead" in response_problem(found, 0, ("hip", "knee"), "q", "rad")


def test_a_delay_is_told_beyond_what_the_drives_make():
    drives_s = np.array([0.025, 0.025, 0.3])
    names = ("a", "b", "c")
    assert lag_problem(drives_s + 0.9 * LATE_S, drives_s, names, "q") == ""
    assert "q: is 110 ms later" in lag_problem(drives_s + 1.1 * LATE_S, drives_s, names, "q")
    assert "q: c lags by 25 ms, expected 300 ms" in lag_problem(np.array([0.025, 0.025, 0.025]), drives_s, names, "q")


def test_only_joints_that_take_positions_are_moved(make_spec):
    spec = make_spec()
    assert Safety(spec, SafetyConfig(start_speed=0.5, check_on_stand=True)).excitation is not None
    assert Safety(spec, SafetyConfig(start_speed=0.5)).excitation is None
    with pytest.raises(UserError, match="check_on_stand: only joints that take positions"):
        Safety(spec, SafetyConfig(check_on_stand=True))


# -- frozen -----------------------------------------------------------------------------------------------------------


def test_a_picture_is_frozen_once_it_repeats_and_the_robot_has_moved():
    watch, picture = FrozenWatch("camera"), np.zeros((4, 4, 3), dtype=np.uint8)
    assert [watch.judge(picture, 1.0) for _ in range(REPEATS)] == [""] * REPEATS
    assert "camera: is frozen" in watch.judge(picture, 1.0)
    watch.forget()
    assert [watch.judge(picture, 0.0) for _ in range(50)] == [""] * 50  # nothing moves
    picture[0, 0, 0] = 1
    assert watch.judge(picture, 1.0) == ""


# -- a whole one ------------------------------------------------------------------------------------------------------


def test_a_robot_that_was_not_looked_at_is_not_judged(make_spec):
    camera = ObservationField(name="camera", shape=(4, 4, 3), dtype="uint8", unit="1")
    spec = make_spec(observations=(*make_spec().observations, camera))
    check = LiveCheck(spec)
    check.watch(ObservationTransform(spec))

    def driven() -> str:
        """What is found of a camera that shows nothing while the robot is told to move."""
        told = [np.full(2, 0.1 * tick, dtype=np.float32) for tick in range(20)]
        return max(
            check.judge(tick * 0.02, command, None, is_driven=True, is_slow=False, excitation=None)
            for tick, command in enumerate(told)
        )

    assert driven() == ""
    assert not check.is_decided
    for tick in range(30):
        check.look(tick * 0.02, None, "")
    assert "camera: is frozen" in driven()


def test_what_was_found_stands_until_a_new_drive(make_spec):
    spec = make_spec()
    check, transform = LiveCheck(spec), ObservationTransform(spec)
    check.watch(transform)
    command = np.zeros(2, dtype=np.float32)
    for tick in range(30):
        check.look(tick * 0.1, None, "")  # at 10 Hz, of 50
    judged = [
        check.judge(3.0 + tick, command, None, is_driven=False, is_slow=False, excitation=None) for tick in (0, 1)
    ]
    assert judged[0].startswith("control_rate_hz: ticks come at 10 Hz")
    assert judged[1] == judged[0]
    check.forget()
    for tick in range(30):
        check.look(10.0 + tick * 0.02, None, "")
    assert check.judge(11.0, command, None, is_driven=False, is_slow=False, excitation=None) == ""


def test_how_a_robot_rests_is_seen_anew_after_a_drive(make_spec):
    check = LiveCheck(make_spec())
    for tick in range(30):
        check.look(tick * 0.1, None, "")
    assert check.is_decided
    assert check.rest_problems()
    check.forget_rest()
    assert not check.is_decided
    assert check.rest_problems() == []


def test_a_single_faulty_sample_is_nobodys_fault(make_spec):
    check = LiveCheck(make_spec())
    check.look(0.0, None, "gyro: missing")
    assert check.rest_problems() == []
    for tick in range(1, 4):
        check.look(tick * 0.02, None, "gyro: missing")
    assert check.rest_problems() == ["gyro: missing"]


@pytest.mark.parametrize(("gap_s", "is_found"), [(0.0, True), (0.2, False)])
def test_speeds_that_contradict_positions_prove_nothing_across_a_gap(gap_s, is_found):
    fields = [
        ObservationField(name=name, shape=(1,), unit=unit, labels=("elbow",), role=name, topic="joint_states")
        for name, unit in (("joint_position", "rad"), ("joint_velocity", "rad/s"))
    ]
    spec = AgentSpec(
        task="swing",
        robot="arm",
        control_rate_hz=50.0,
        physics_rate_hz=500.0,
        observations=tuple(fields),
        action=ActionSpec(mode="position", joints=("elbow",), unit="rad"),
        firmware=FirmwareProfile(name="arm"),
    )
    ring = SampleRing(len(TIMES_S), 2)
    for number, (position, speed, time_s) in enumerate(zip(SWING, SPEED, TIMES_S, strict=True)):
        late_s = gap_s if number > 12 else 0.0
        ring.add(np.array([position, -speed], dtype=np.float32), time_s + late_s)
    found = LiveAgreement(spec, LiveFields(spec)).judge(ring, np.zeros(2, dtype=np.float32), is_slow=True)
    assert ("joint_velocity: of elbow does not agree with joint_position" in found) == is_found
