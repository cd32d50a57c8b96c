"""Small specs and stamped messages for tests of what lies between messages and observations."""

from robot_wm.spec import ActionSpec, AgentSpec, CommandField, FirmwareProfile, ObservationField, Source
from robot_wm_ros.bindings import bind

NOW_S = 50.0
XYZ = ("x", "y", "z")


def field(name, topic, unit, labels, **more):
    return ObservationField(name=name, topic=topic, unit=unit, labels=labels, shape=(len(labels),), **more)


def spec_of(*fields, commands=()):
    return AgentSpec(
        task="test",
        robot="test",
        control_rate_hz=50.0,
        physics_rate_hz=50.0,
        observations=fields,
        action=ActionSpec(mode="velocity", joints=("wheel",), unit="rad/s"),
        commands=commands,
        firmware=FirmwareProfile(name="test"),
    )


def stamped(message, stamp_s=NOW_S):
    message.header.stamp.sec = int(stamp_s)
    message.header.stamp.nanosec = round((stamp_s - int(stamp_s)) * 1e9)
    return message


def read(fields, message, **options):
    """The frame after one message on the fields' one topic."""
    frame, (source,) = bind(spec_of(*fields), **options)
    assert isinstance(message, source.message_type)
    source.read(message, NOW_S)
    return frame


JOINT = field("q", "joint_states", "rad", ("wheel",), max_age_s=0.1)

SPEEDS = (("linear_x", "m/s"), ("linear_y", "m/s"), ("angular_z", "rad/s"))
VELOCITY = field(
    "command",
    "cmd_vel",
    "m/s, m/s, rad/s",
    tuple(name for name, _ in SPEEDS),
    source=Source.COMMAND,
    max_age_s=0.5,
)

TARGET = field("command", "target_pose", "m", XYZ, source=Source.COMMAND, max_age_s=0.5)
PLACES = tuple(CommandField(name=f"target_{axis}", unit="m", low=-1.0, high=1.0) for axis in XYZ)


def speeds(low=-1.0, high=1.0):
    """The commands of ``VELOCITY``."""
    return tuple(CommandField(name=name, unit=unit, low=low, high=high) for name, unit in SPEEDS)
