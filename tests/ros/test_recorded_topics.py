"""Topics that are recorded beside the ticks, over real DDS, and their types in ROS 2's own notation."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest
from agent_rig import CLEANUP, CONFIGURE, DEACTIVATE, PROMPT, AgentRig
from geometry_msgs.msg import PoseWithCovarianceStamped
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rcl_interfaces.msg import ParameterDescriptor
from sensor_msgs.msg import Image
from std_msgs.msg import String

from robot_wm.replay.mcap_import import import_recording
from robot_wm_ros.message_definition import definition, message_class
from robot_wm_ros.qos import LATCHED, SENSORS


@pytest.fixture
def rig(domain, make_bundle):
    """``rig(parameter=value)``: an agent that balances a pole, until the test ends."""
    with ExitStack() as stack:

        def make(*, namespace="", **parameters):
            bundle = make_bundle("cartpole_balance")
            return stack.enter_context(AgentRig(bundle, domain, namespace=namespace, **(PROMPT | parameters)))

        yield make


def test_a_definition_is_the_types_own_fields_with_all_that_they_are_made_of():
    assert definition(Image) == (
        "std_msgs/Header header\nuint32 height\nuint32 width\nstring encoding\nuint8 is_bigendian\nuint32 step\n"
        f"uint8[] data\n{'=' * 80}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
        f"{'=' * 80}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
    )
    pose = definition(PoseWithCovarianceStamped)
    assert "float64[36] covariance\n" in pose
    assert pose.count("MSG: geometry_msgs/Point\n") == 1
    assert "rcl_interfaces/FloatingPointRange[<=1] floating_point_range\n" in definition(ParameterDescriptor)
    assert "bool read_only\n" in definition(ParameterDescriptor)


@pytest.mark.parametrize("name", ["no_such_package/msg/A", "std_msgs/msg/NoSuch", "nonsense"])
def test_a_type_that_is_not_installed_is_an_import_error(name):
    with pytest.raises(ImportError):
        message_class(name)


def test_what_is_published_is_recorded_beside_the_ticks(rig, tmp_path):
    out = tmp_path / "ticks"
    rig = rig(
        namespace="/left",
        record=str(out),
        record_topics=["camera/image_raw", "/notes", "/nobody", "/notes"],
        robot_serial="A1-007",
    )
    notes = rig.peer.create_publisher(String, "/notes", LATCHED)
    notes.publish(String(data="said before"))  # and only once
    rig.drive()
    camera = rig.peer.create_publisher(Image, "camera/image_raw", SENSORS)
    rig.wait_for_line("recording /notes (std_msgs/msg/String) beside the ticks")
    rig.wait_for_line("recording /left/camera/image_raw (sensor_msgs/msg/Image) beside the ticks")
    picture = Image(height=2, width=3, encoding="mono8", step=3, data=bytes(range(6)))

    def recorded():
        camera.publish(picture)
        return rig.agent.agent._recorder.beside._counts[-1] > 5

    rig.until(recorded, "pictures")
    assert rig.change(DEACTIVATE, CLEANUP)
    (path,) = out.iterdir()
    with path.open("rb") as file:
        found = list(make_reader(file, decoder_factories=[DecoderFactory()]).iter_decoded_messages())
    said = [value.data for _, channel, _, value in found if channel.topic == "/notes"]
    pictures = [bytes(value.data) for _, channel, _, value in found if channel.topic == "/left/camera/image_raw"]
    assert said == ["said before"]
    assert set(pictures) == {bytes(range(6))}
    result = import_recording(path, tmp_path / "store")
    assert result.recorder == f"cartpole /left/agent on {os.uname().nodename} serial A1-007"
    assert result.damage == ()
    assert result.steps > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no topic", "parameter record_topics: 'no topic' is no topic's name"),
        ("/agent/tick", "parameter record_topics: /agent/tick is what the recording calls a topic of its own"),
        ("/agent/image/x", "parameter record_topics: /agent/image/x is what the recording calls a topic of its own"),
    ],
)
def test_a_topic_that_cannot_be_recorded_is_refused(rig, tmp_path, name, message):
    rig = rig(record=str(tmp_path / "out"), record_topics=[name])
    assert not rig.change(CONFIGURE)
    rig.wait_for_line(message)
    assert [path.suffix for path in (tmp_path / "out").iterdir()] == [".mcap"]  # it is closed, not left open
