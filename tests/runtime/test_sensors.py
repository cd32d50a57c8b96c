"""Every way in which an observation can be wrong gives its own flag, and nothing raises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from robot_wm.runtime.faults import Fault
from robot_wm.runtime.sensors import Sensors
from robot_wm.runtime.transform import ObservationTransform
from robot_wm.spec import CommandField, ObservationField


@pytest.fixture
def frame():
    return {"joint_position": np.float32([0.1, 0.2]), "gyro": np.float32([1, 2, 3])}


@pytest.fixture
def sensors(make_spec):
    spec = make_spec()
    return Sensors(spec, ObservationTransform(spec))


def test_a_sound_frame_is_copied_and_cast(make_spec, frame):
    transform = ObservationTransform(make_spec())
    sensors = Sensors(make_spec(), transform)
    frame["gyro"] = np.array([1, 2, 3], dtype=np.float64)
    assert sensors.read(frame, 0.0) == 0
    assert sensors.detail == ""
    np.testing.assert_array_equal(transform.raw["gyro"], [[1, 2, 3]])
    np.testing.assert_array_equal(sensors.joints.position, np.float32([0.1, 0.2]))
    frame["joint_position"][:] = 9
    np.testing.assert_array_equal(transform.raw["joint_position"], np.float32([[0.1, 0.2]]))
    np.testing.assert_array_equal(sensors.joints.position, np.float32([0.1, 0.2]))


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, Fault.MISSING_FIELD),
        ([1.0, 2.0, 3.0], Fault.WRONG_TYPE),
        (np.array(["1", "2", "3"]), Fault.WRONG_TYPE),
        (np.zeros(3, dtype=complex), Fault.WRONG_TYPE),
        (np.zeros(3, dtype=object), Fault.WRONG_TYPE),
        (np.float32([1, 2]), Fault.WRONG_SHAPE),
        (np.float32([[1, 2, 3]]), Fault.WRONG_SHAPE),
        (np.float32([1, np.nan, 3]), Fault.NOT_FINITE),
        (np.float32([1, np.inf, 3]), Fault.NOT_FINITE),
        (np.array([1, -1e300, 3]), Fault.NOT_FINITE),
        (np.float32([1, 3e38, 3]), Fault.NOT_FINITE),
    ],
)
def test_each_defect_has_its_flag_and_names_the_field(sensors, frame, value, fault):
    assert sensors.read(frame | {"gyro": value}, 0.0) == fault
    assert "gyro" in sensors.detail
    assert sensors.read(frame, 0.0) == 0
    assert sensors.detail == ""


def test_every_fault_of_a_frame_is_told(sensors, frame):
    frame = {"joint_position": None, "gyro": np.float32([np.nan, 0, 0])}
    stamps = {"joint_position": 9.0, "gyro": 9.0}
    assert sensors.read(frame, 10.0, stamps) == Fault.STALE | Fault.MISSING_FIELD
    assert sensors.detail == (
        "joint_position: 1 s old, max_age_s is 0.1; gyro: 1 s old, max_age_s is 0.05; joint_position: missing"
    )
    assert sensors.read(frame, 10.01) == Fault.MISSING_FIELD | Fault.NOT_FINITE
    assert sensors.detail == "joint_position: missing; gyro: not finite"


def test_an_absent_field_and_an_absent_frame(sensors, frame):
    assert sensors.read({"gyro": frame["gyro"]}, 0.0) == Fault.MISSING_FIELD
    assert sensors.read(None, 0.0) == Fault.MISSING_FIELD


def test_images_must_be_bytes(make_spec):
    camera = ObservationField(name="camera", shape=(2, 2, 3), dtype="uint8", unit="1")
    spec = make_spec(observations=(camera,))
    sensors = Sensors(spec, ObservationTransform(spec))
    assert sensors.read({"camera": np.zeros((2, 2, 3), np.uint8)}, 0.0) == 0
    assert sensors.read({"camera": np.zeros((2, 2, 3), np.uint16)}, 0.0) == Fault.WRONG_TYPE
    assert sensors.read({"camera": np.zeros((2, 2, 3), np.float32)}, 0.0) == Fault.WRONG_TYPE
    assert np.isnan(sensors.joints.position).all()


@pytest.mark.parametrize(
    ("gyro_stamp", "fault"),
    [
        (10.0, 0),
        (9.951, 0),
        (9.949, Fault.STALE),
        (10.04, 0),  # two clocks' disagreement
        (10.06, Fault.STALE),
        (None, Fault.STALE),
        (math.nan, Fault.STALE),
        (-math.inf, Fault.STALE),
        (math.inf, Fault.STALE),
        ("soon", Fault.STALE),
        (10**400, Fault.STALE),
    ],
)
def test_age_is_judged_per_field(sensors, frame, gyro_stamp, fault):
    """gyro may be 0.05 s old, joint_position the default 0.1 s."""
    assert sensors.read(frame, 10.0, {"joint_position": 9.901, "gyro": gyro_stamp}) == fault


def test_clocks_that_go_backwards(sensors, frame):
    stamps = {"joint_position": 5.0, "gyro": 5.0}
    assert sensors.read(frame, 5.0, stamps) == 0
    assert sensors.read(frame, 5.0, stamps) == 0  # the same sample twice is merely old
    assert sensors.read(frame, 5.01, stamps | {"gyro": 4.99}) == Fault.CLOCK
    assert "gyro" in sensors.detail
    assert sensors.read(frame, 2.0, {"joint_position": 2.0, "gyro": 2.0}) == Fault.CLOCK
    assert sensors.read(frame, 2.02, {"joint_position": 2.02, "gyro": 2.02}) == 0  # lives on with the new time
    sensors.forget_clock()
    assert sensors.read(frame, 0.0, {"joint_position": 0.0, "gyro": 0.0}) == 0


@pytest.mark.parametrize(
    ("now_s", "changed", "stamps", "placed"),
    [
        (10.0, {}, {}, True),
        (10.0, {"gyro": None}, {"joint_position": 10.0}, True),  # of another field
        (10.0, {"gyro": np.float32([np.nan, 0, 0])}, {}, True),
        (10.0, {}, {"gyro": 9.0}, True),
        (10.0, {"joint_position": None}, {}, False),
        (10.0, {"joint_position": np.float32([np.nan, 0])}, {}, False),
        (10.0, {}, {"joint_position": 9.0}, False),  # old
        (10.0, {}, {"joint_position": 9.98}, False),  # older than the one before
        (9.9, {}, {"joint_position": 9.9, "gyro": 9.9}, False),
        (None, {}, {}, False),
        (10.0, {}, None, False),
    ],
)
def test_where_the_joints_are_is_known_from_a_frame_whose_joint_fields_and_clock_are_sound(
    sensors, frame, now_s, changed, stamps, placed
):
    fresh = {"joint_position": 9.99, "gyro": 9.99}
    assert sensors.read(frame, 9.99, fresh) == 0
    moved = {"joint_position": np.float32([0.11, 0.21])} | {n: v for n, v in changed.items() if n == "joint_position"}
    sensors.read(frame | changed | moved, now_s, "none" if stamps is None else fresh | stamps)
    assert sensors.is_placed is placed
    np.testing.assert_array_equal(sensors.joints.position, np.float32([0.11, 0.21] if placed else [0.1, 0.2]))
    # A frame's fault is not the next one's.
    assert sensors.read(frame, 10.01, {"joint_position": 10.01, "gyro": 10.01}) == 0
    assert sensors.is_placed is True


@pytest.mark.parametrize("now", [math.nan, math.inf, None, "now", 10**400])
def test_a_time_that_is_none(sensors, frame, now):
    assert sensors.read(frame, now) == Fault.CLOCK
    assert sensors.read(frame, 0.0) == 0


def test_operator_commands_are_cut_to_what_the_agent_knows(make_spec):
    spec = make_spec(
        observations=(ObservationField(name="wish", shape=(2,), unit="1", source="command"),),
        commands=(
            CommandField(name="forward", unit="m/s", low=-0.5, high=1.0),
            CommandField(name="yaw", unit="rad/s", low=-1.0, high=1.0),
        ),
    )
    transform = ObservationTransform(spec)
    sensors = Sensors(spec, transform)
    assert sensors.read({"wish": np.float32([7.0, -7.0])}, 0.0) == 0
    np.testing.assert_array_equal(transform.raw["wish"], [[1.0, -1.0]])
    assert sensors.read({"wish": np.float32([np.inf, 0.0])}, 0.0) == Fault.NOT_FINITE


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    hnp.arrays(
        hnp.scalar_dtypes() | st.just(np.dtype(object)),
        hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    ),
)


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.sampled_from(["joint_position", "gyro", "camera"]), ANYTHING) | ANYTHING,
            ANYTHING,
            st.dictionaries(st.sampled_from(["joint_position", "gyro", "camera"]), ANYTHING) | ANYTHING,
        ),
        max_size=6,
    )
)
def test_nothing_that_comes_in_raises_and_a_sound_frame_is_finite(make_spec, ticks):
    spec = make_spec()
    transform = ObservationTransform(spec)
    sensors = Sensors(spec, transform)
    for observation, now, stamps in ticks:
        if sensors.read(observation, now, stamps) == 0:
            assert np.isfinite(transform.flat).all()
            assert isinstance(observation, dict)
        else:
            assert sensors.detail
