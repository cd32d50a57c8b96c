"""Each kind of fault does what it says, to nothing else, and only in its time; files are checked."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from robot_wm.errors import UserError
from robot_wm_sim.realtime.fault_player import FaultPlayer
from robot_wm_sim.realtime.fault_schedule import FaultSchedule
from robot_wm_sim.robots.a1 import A1
from robot_wm_sim.sensing.sample import Sample

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a", "b", "c", "d")
STAMP_NS = 1_700_000_000_000_000_000


def make_sample(stamp_ns=STAMP_NS):
    return Sample(
        time_s=2.0,
        stamp_ns=stamp_ns,
        joint_names=NAMES,
        joint_position=np.array([1.0, 2.0, 3.0, 4.0]),
        joint_velocity=np.array([10.0, 20.0, 30.0, 40.0]),
        joint_effort=np.array([0.1, 0.2, 0.3, 0.4]),
        orientation=np.array([0.0, 0.0, 0.0, 1.0]),
        angular_velocity=np.array([0.5, 0.6, 0.7]),
        linear_acceleration=np.array([0.0, 0.0, 9.81]),
        base_position=np.zeros(3),
        linear_velocity=np.zeros(3),
        fields={"tool_position": np.ones(3)},
    )


def play(*faults, time_s=1.0, sample=None):
    schedule = FaultSchedule.model_validate({"faults": [{"at_s": 1.0, "duration_s": 0.5, **fault} for fault in faults]})
    return FaultPlayer(schedule).apply(sample or make_sample(), time_s)


def differences(changed, sample=None):
    """Names of what is not as it was."""
    before = vars(sample or make_sample())
    return {
        name
        for name, value in vars(changed).items()
        if not (
            np.array_equal(value, before[name], equal_nan=False)
            if isinstance(value, np.ndarray)
            else name == "fields" or value == before[name]
        )
    }


def by_name(sample):
    """Each joint's values under its name."""
    rows = zip(sample.joint_position, sample.joint_velocity, sample.joint_effort, strict=True)
    return dict(zip(sample.joint_names, rows, strict=True))


KINDS = [
    {"kind": "stop"},
    {"kind": "stale", "age_s": 0.2},
    {"kind": "jump", "joint": "b", "delta": 1.5},
    {"kind": "nan", "joints": ["c"]},
    {"kind": "missing_joints", "joints": ["a"]},
    {"kind": "reorder"},
    {"kind": "rename", "names": {"a": "z"}},
    {"kind": "clock_jump", "offset_s": 5.0},
]


@pytest.mark.parametrize("fault", KINDS, ids=lambda fault: fault["kind"])
def test_a_fault_acts_in_its_time_only_and_never_on_the_sample_itself(fault):
    for time_s in (-np.inf, 0.0, 0.999, 1.5, 9.0):
        sample = make_sample()
        assert play(fault, time_s=time_s, sample=sample) is sample
    for time_s in (1.0, 1.499):
        sample = make_sample()
        changed = play(fault, time_s=time_s, sample=sample)
        assert differences(sample) == set()
        assert changed is None or differences(changed)


def test_of_faults_that_follow_each_other_exactly_one_is_on():
    rows = [{"at_s": round(0.1 * k, 1), "duration_s": 0.1, "kind": "jump", "joint": "a", "delta": k} for k in range(40)]
    player = FaultPlayer(FaultSchedule.model_validate({"faults": rows}))
    for step in range(1000):  # of physics at 250 Hz
        changed = player.apply(make_sample(), step / 250 + 7.3 - 7.3)
        assert changed.joint_position[0] - 1.0 == step // 25


def test_stop_lets_nothing_through():
    assert play({"kind": "stop"}) is None


def test_stale_with_an_age_sets_every_stamp_back():
    changed = play({"kind": "stale", "age_s": 0.25})
    assert differences(changed) == {"stamp_ns"}
    assert changed.stamp_ns == STAMP_NS - 250_000_000


def test_stale_without_an_age_freezes_the_stamp_of_the_onset_each_time_anew():
    schedule = FaultSchedule.model_validate({"faults": [{"at_s": 1.0, "duration_s": 0.5, "kind": "stale"}]})
    player = FaultPlayer(schedule)
    for start_ns in (0, 100):  # played twice
        stamps = [player.apply(make_sample(start_ns + k), 0.8 + 0.1 * k).stamp_ns - start_ns for k in range(9)]
        assert stamps == [0, 1, 2, 2, 2, 2, 2, 7, 8]


def test_jump_moves_one_position():
    changed = play({"kind": "jump", "joint": "b", "delta": -1.5})
    assert differences(changed) == {"joint_position"}
    assert changed.joint_position.tolist() == [1.0, 0.5, 3.0, 4.0]


def test_nan_blanks_the_named_joints():
    changed = play({"kind": "nan", "joints": ["c", "a"]})
    assert differences(changed) == {"joint_position", "joint_velocity", "joint_effort"}
    for array in (changed.joint_position, changed.joint_velocity, changed.joint_effort):
        assert np.isnan(array).tolist() == [True, False, True, False]


def test_nan_without_names_blanks_all_joints_and_the_imu():
    changed = play({"kind": "nan"})
    blank = {"joint_position", "joint_velocity", "joint_effort", "orientation", "angular_velocity"}
    assert differences(changed) == blank | {"linear_acceleration"}
    assert np.isnan(changed.joint_position).all()
    assert np.isnan(changed.orientation).all()


def test_missing_joints_are_left_out_with_their_values():
    changed = play({"kind": "missing_joints", "joints": ["a", "c"]})
    expected = {name: row for name, row in by_name(make_sample()).items() if name in "bd"}
    assert by_name(changed) == expected


@pytest.mark.parametrize("seed", range(40))
def test_reorder_keeps_each_joint_s_values_under_its_name(seed):
    changed = play({"kind": "reorder", "seed": seed})
    assert changed.joint_names != NAMES
    assert by_name(changed) == by_name(make_sample())
    assert changed.joint_names == play({"kind": "reorder", "seed": seed}).joint_names


def test_the_seed_fixes_the_order():
    assert len({play({"kind": "reorder", "seed": seed}).joint_names for seed in range(20)}) > 5


def test_rename_changes_names_alone():
    changed = play({"kind": "rename", "names": {"b": "z"}})
    assert differences(changed) == {"joint_names"}
    assert changed.joint_names == ("a", "z", "c", "d")


@pytest.mark.parametrize("offset_s", [-3600.0, 0.001, 1e8])
def test_clock_jump_offsets_every_stamp(offset_s):
    changed = play({"kind": "clock_jump", "offset_s": offset_s})
    assert differences(changed) == {"stamp_ns"}
    assert changed.stamp_ns == STAMP_NS + round(offset_s * 1e9)


def test_a_stamp_never_goes_below_zero():
    sample = make_sample(5)
    assert play({"kind": "clock_jump", "offset_s": -1.0}, sample=sample).stamp_ns == 0
    assert play({"kind": "stale", "age_s": 1.0}, sample=sample).stamp_ns == 0


def test_flood_changes_the_rate_alone():
    schedule = FaultSchedule.model_validate(
        {"faults": [{"at_s": 1.0, "duration_s": 0.5, "kind": "flood", "rate_hz": 5000.0}]}
    )
    player = FaultPlayer(schedule)
    assert [player.rate_hz(t) for t in (0.9, 1.0, 1.4, 1.5)] == [None, 5000.0, 5000.0, None]
    assert player.active(1.2) == ("flood",)
    sample = make_sample()
    assert player.apply(sample, 1.2) is sample


def test_faults_at_once_act_in_the_file_s_order():
    renamed = play({"kind": "rename", "names": {"a": "z"}}, {"kind": "missing_joints", "joints": ["a"]})
    assert renamed.joint_names == ("z", "b", "c", "d")
    gone = play({"kind": "missing_joints", "joints": ["a"]}, {"kind": "rename", "names": {"a": "z"}})
    assert gone.joint_names == ("b", "c", "d")


def test_the_example_holds_every_kind_for_an_a1():
    path = ROOT / "ros2_ws/src/robot_wm/config/faults.yaml"
    schedule = FaultSchedule.load(path)
    schedule.require_joints(A1.joint_names, origin=str(path))
    assert {fault.kind for fault in schedule.faults} == {fault["kind"] for fault in KINDS} | {"flood"}


ONSET = {"at_s": 1.0, "duration_s": 1.0}


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"faults": [{**ONSET, "kind": "melt"}]}, "faults.0"),
        ({"faults": [{**ONSET, "kind": "stop", "age_s": 1.0}]}, "faults.0.stop.age_s"),
        ({"faults": [{"duration_s": 1.0, "kind": "stop"}]}, "faults.0.stop.at_s"),
        ({"faults": [{"at_s": -1.0, "duration_s": 1.0, "kind": "stop"}]}, "faults.0.stop.at_s"),
        ({"faults": [{**ONSET, "kind": "stop"}, {**ONSET, "kind": "flood", "rate_hz": 0}]}, "faults.1.flood.rate_hz"),
        ({"faults": [{**ONSET, "kind": "clock_jump", "offset_s": float("inf")}]}, "faults.0.clock_jump.offset_s"),
        ({"faults": [{**ONSET, "kind": "missing_joints", "joints": []}]}, "faults.0.missing_joints.joints"),
        ({"fault": []}, "fault"),
        ([], "(whole)"),
    ],
)
def test_a_bad_file_is_refused_by_its_name_and_key(tmp_path, content, key):
    path = tmp_path / "faults.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError) as caught:
        FaultSchedule.load(path)
    assert str(caught.value).startswith(f"{path}: {key}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_yaml_or_not_there_is_refused(tmp_path):
    path = tmp_path / "faults.yaml"
    with pytest.raises(UserError, match="cannot read it: No such file"):
        FaultSchedule.load(path)
    path.write_text("faults: [")
    with pytest.raises(UserError, match="not YAML"):
        FaultSchedule.load(path)


@pytest.mark.parametrize("fault", [KINDS[2], KINDS[3], KINDS[4], KINDS[6]], ids=lambda fault: fault["kind"])
def test_a_joint_that_the_robot_lacks_is_refused(fault):
    schedule = FaultSchedule.model_validate({"faults": [{**ONSET, **fault}]})
    schedule.require_joints(NAMES, origin="f.yaml")
    with pytest.raises(UserError, match=rf"f.yaml: faults.0.{fault['kind']}: no joint '[abc]'; it has x, y"):
        schedule.require_joints(("x", "y"), origin="f.yaml")
