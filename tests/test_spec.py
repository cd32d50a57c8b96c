"""AgentSpec: round trip, hash, differences, refusals."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robot_wm.errors import UserError
from robot_wm.spec import (
    ActionSpec,
    AgentSpec,
    CommandField,
    FirmwareProfile,
    JointLimits,
    JointRole,
    ObservationField,
    Source,
    diff,
    require_same,
)


def arm(**changes) -> AgentSpec:
    values = dict(
        task="reach",
        robot="arm",
        control_rate_hz=50,
        physics_rate_hz=500,
        history_length=3,
        observations=(
            ObservationField(
                name="joint_position", shape=(2,), unit="rad", labels=("hip", "knee"), topic="/joint_states"
            ),
            ObservationField(name="camera", shape=(8, 8, 3), dtype="uint8", unit="1", frame="camera_link"),
            ObservationField(name="command", shape=(1,), unit="m/s", source=Source.COMMAND),
        ),
        action=ActionSpec(
            mode="position",
            joints=("hip", "knee"),
            unit="rad",
            scale=(0.25, 0.5),
            limits=(JointLimits(position=(-1, 1), effort=20), JointLimits(position=(-2, 0), effort=55)),
        ),
        commands=(CommandField(name="v_x", unit="m/s", low=-1, high=1),),
        firmware=FirmwareProfile(name="arm-default", kp=(20, 20), kd=(0.5, 0.5)),
    )
    return AgentSpec(**{**values, **changes})


def test_json_round_trip_keeps_everything_and_the_hash():
    spec = arm()
    again = AgentSpec.from_json(spec.to_json())
    assert again == spec
    assert again.content_hash() == spec.content_hash()
    assert len(spec.content_hash()) == 64


def test_hash_leaves_out_topics_frames_and_roles_only():
    """So what an older version exported, recorded or trained is the same agent's once its joint field is marked."""
    spec = arm()
    joints = spec.observations[0].model_copy(update={"role": JointRole.POSITION})
    camera = spec.observations[1].model_copy(update={"topic": "/cam", "frame": "elsewhere"})
    renamed = spec.model_copy(update={"observations": (joints, camera, spec.observations[2])})
    assert AgentSpec.from_json(renamed.to_json()) == renamed
    assert renamed.content_hash() == spec.content_hash()
    assert diff(spec, renamed) == []
    assert [str(d) for d in diff(spec, renamed, names=True)] == [
        "observations.joint_position.role: None != 'joint_position'",
        "observations.camera.topic: '' != '/cam'",
        "observations.camera.frame: 'camera_link' != 'elsewhere'",
    ]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("control_rate_hz", dict(control_rate_hz=100)),
        ("history_length", dict(history_length=4)),
        ("firmware.kp", dict(firmware=FirmwareProfile(name="arm-default", kp=(30, 20), kd=(0.5, 0.5)))),
        ("commands.0.high", dict(commands=(CommandField(name="v_x", unit="m/s", low=-1, high=2),))),
    ],
)
def test_every_difference_changes_the_hash_and_is_named(path, change):
    left, right = arm(), arm(**change)
    assert left.content_hash() != right.content_hash()
    assert [d.path for d in diff(left, right)] == [path]
    with pytest.raises(UserError, match=path):
        require_same(left, right, origin="bundle.rwm")


def test_swapped_joints_are_named_as_an_order_not_as_new_limits():
    spec = arm()
    action = spec.action.model_copy(update={"joints": ("knee", "hip"), "limits": spec.action.limits[::-1]})
    swapped = spec.model_copy(update={"action": action})
    assert [d.path for d in diff(spec, swapped)] == ["action.joints"]


def test_diff_pairs_limits_by_joint_name():
    spec = arm()
    limits = (spec.action.limits[0], JointLimits(position=(-2, 0), effort=44))
    other = spec.model_copy(update={"action": spec.action.model_copy(update={"limits": limits})})
    assert [str(d) for d in diff(spec, other)] == ["action.limits.knee.effort: 55.0 != 44.0"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(physics_rate_hz=120), "not a multiple"),
        (dict(control_rate_hz=-1), "greater than 0"),
        (dict(control_rate_hz=float("nan")), "finite|greater"),
        (dict(unknown=1), "unknown"),
        (dict(commands=()), "command has 0 entries"),
        (dict(firmware=FirmwareProfile(name="x", kp=(1,))), "firmware.kp has 1 entries for 2 joints"),
    ],
)
def test_inconsistent_specs_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        arm(**change)


@pytest.mark.parametrize(
    "field",
    [
        dict(name="x", shape=(3,), unit="1", dtype="uint8"),
        dict(name="x", shape=(4, 4), unit="1"),
        dict(name="x", shape=(4, 4, 3), unit="1", dtype="uint8", scale=(2.0,)),
        dict(name="x", shape=(3,), unit="1", scale=(1.0, 2.0)),
        dict(name="x", shape=(3,), unit="1", labels=("a",)),
        dict(name="not a name", shape=(3,), unit="1"),
        dict(name="x", shape=(0,), unit="1"),
        dict(name="x", shape=(3,), unit="1", clip=-1.0),
    ],
)
def test_inconsistent_fields_are_refused(field):
    with pytest.raises(ValueError, match=r"(?i)validation error"):
        ObservationField(**field)


def test_bad_json_names_file_field_and_value(tmp_path):
    body = json.loads(arm().to_json())
    body["observations"][0]["max_age_s"] = -3
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(body))
    with pytest.raises(UserError, match=r"spec\.json: observations\.0\.max_age_s: .*greater than 0.*-3"):
        AgentSpec.load(path)
    with pytest.raises(UserError, match=r"missing\.json: cannot read"):
        AgentSpec.load(tmp_path / "missing.json")


@given(st.binary(max_size=200))
def test_no_bytes_make_the_parser_fail_otherwise(data):
    with pytest.raises(UserError):
        AgentSpec.from_json(data)


def test_model_inputs_stack_history_of_vectors_only():
    shapes = {name: item.shape for name, item in arm().model_inputs().items()}
    assert shapes == {"joint_position": (6,), "camera": (8, 8, 3), "command": (3,)}


def test_a_spec_has_a_largest_size():
    """A recording or bundle says what is allocated for it before anything vouches for it."""
    body = json.loads(arm().to_json())
    for shape, history in (([2**40], 1), ([65536, 65536, 3], 1), ([2**21], 64), ([2**26], 1)):
        field = {"name": "big", "shape": shape, "dtype": "uint8" if len(shape) == 3 else "float32", "unit": "1"}
        text = json.dumps(body | {"observations": [*body["observations"], field], "history_length": history})
        with pytest.raises(UserError, match=rf"^f: observations have \d+ elements.*at most {2**26} in all.*big"):
            AgentSpec.from_json(text, origin="f")
    field["shape"] = [2**25]
    fits = body | {"observations": [field], "history_length": 2}
    assert AgentSpec.from_json(json.dumps(fits), origin="f").model_inputs()["big"].shape == (2**26,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(unit="rad/s"), "role joint_position of hip is in 'rad/s', not rad \\["),
        (dict(unit="m"), "role joint_position of hip is in 'm', not rad \\["),  # but the command is in rad
        (dict(unit="rad, m"), "role joint_position of knee is in 'rad, m', not rad \\["),
        (dict(unit="rad, rad, rad"), "role joint_position of hip is in"),
        (dict(role="joint_velocity"), "role joint_velocity of hip is in 'rad', not rad/s or m/s"),
        (dict(labels=("hip", "hip")), "name a joint twice"),
        (dict(labels=("ankle", "toe")), "name none of the joints"),
        (dict(labels=()), "name none of the joints"),
        (dict(source=Source.LAST_ACTION), "is for a sensor's vector"),
        (dict(shape=(2, 2, 3), dtype="uint8", labels=()), "is for a sensor's vector"),
        (dict(role="joint"), "role"),
    ],
)
def test_a_role_is_refused_where_the_field_cannot_have_it(change, message):
    field = dict(name="q", shape=(2,), unit="rad", labels=("hip", "knee"), role="joint_position")
    assert arm(observations=(ObservationField(**field),), commands=()).observations[0].role is JointRole.POSITION
    with pytest.raises(ValueError, match=message):
        arm(observations=(ObservationField(**field | change),), commands=())


def test_a_role_is_one_fields_and_a_choice_has_no_joints():
    q = ObservationField(name="q", shape=(2,), unit="rad", labels=("hip", "knee"), role="joint_position")
    with pytest.raises(ValueError, match="role joint_position: fields q and p both have it"):
        arm(observations=(q, q.model_copy(update={"name": "p"})), commands=())
    with pytest.raises(ValueError, match="of an action with joints"):
        arm(observations=(q,), commands=(), action=ActionSpec(mode="discrete", joints=("hip", "knee"), unit="1"))
