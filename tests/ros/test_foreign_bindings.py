"""Message types that another distribution brings, read and published by a running agent; and what may be wrong."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from agent_rig import PROMPT, AgentRig
from foreign import install as install_foreign
from geometry_msgs.msg import Vector3Stamped
from planted_bundle import write_planted_bundle
from small_specs import XYZ, field, spec_of
from std_msgs.msg import Float32MultiArray

from robot_wm.errors import UserError
from robot_wm_ros.bindings import bind

MODULE = """
import numpy as np
from geometry_msgs.msg import Vector3Stamped
from std_msgs.msg import Float32MultiArray

from robot_wm_ros.binding import Binding
from robot_wm_ros.command_message import CommandMessage


class Gyro(Binding):
    message_type = Vector3Stamped
    topics = r"gyro(/\\w+)?"

    def copy(self, message):
        vector = message.vector
        if vector.x > 100.0:
            raise ArithmeticError("too fast")
        for _, out in self._targets:
            out[:] = vector.x, vector.y, vector.z
        return ""


class Joints(Gyro):
    topics = "joint_states"


class Halves(CommandMessage):
    topic = "halves"

    def __init__(self, action, joints, route):
        super().__init__(action, joints, route)
        self.message = Float32MultiArray(data=[0.0] * len(joints))

    def write(self):
        np.frombuffer(self.message.data, np.float32)[:] = 0.5 * self.values
"""
ENTRIES = "gyro = theirmessages:Gyro\njoints = theirmessages:Joints\nhalves = theirmessages:Halves\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install(entries)``: a distribution with these entry points of robot_wm.bindings."""

    def make(entries: str) -> None:
        (tmp_path / "theirmessages.py").write_text(MODULE)
        install_foreign(tmp_path, "theirmessages", "2.0", {"robot_wm.bindings": entries})
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "theirmessages", raising=False)

    return make


def test_an_agent_reads_and_publishes_what_another_distribution_brings(install, domain, tmp_path):
    install(ENTRIES)

    def turned_by_their_gyro(spec):
        fields = [
            entry.model_copy(update={"topic": "gyro/filtered"}) if entry.name == "angular_velocity" else entry
            for entry in spec.observations
        ]
        return spec.model_copy(update={"observations": tuple(fields)})

    bundle = write_planted_bundle(tmp_path / "agent.rwm", turned_by_their_gyro)
    with AgentRig(bundle, domain, namespace="", command_type="halves", sensor_wait_s=30.0, **PROMPT) as rig:
        heard = []
        rig.peer.create_subscription(Float32MultiArray, "forward_position_controller/halves", heard.append, 10)
        gyro = rig.peer.create_publisher(Vector3Stamped, "gyro/filtered", 10)
        message = Vector3Stamped()

        def turn():
            message.header.stamp = rig.peer.get_clock().now().to_msg()
            gyro.publish(message)

        rig.peer.create_timer(0.005, turn)
        rig.drive()
        rig.until(lambda: heard, "their message")
        offsets = rig.spec.action.offset  # the planted agent's zero action
        rig.until(lambda: heard[-1].data.tolist() == pytest.approx([0.5 * offset for offset in offsets]), "half of it")
        message.vector.x = 101.0  # at which their code raises
        rig.wait_for_line("MISSING_FIELD")
        assert "gyro/filtered: cannot be read: ArithmeticError: too fast" in rig.wait_for_line("ArithmeticError")


def test_ours_read_their_topics_whoever_else_would(install):
    install(ENTRIES)
    joint = field("q", "joint_states", "rad", ("wheel",))
    assert bind(spec_of(joint))[1][0].message_type.__name__ == "JointState"


def test_two_that_would_read_a_topic_are_refused_with_both_names(install):
    install(ENTRIES + "gyro2 = theirmessages:Gyro\n")
    with pytest.raises(UserError, match=r"robot_wm\.bindings must read it, not 2: gyro of theirmessages 2\.0, gyro2"):
        bind(spec_of(field("turning", "gyro", "rad/s", XYZ)))


def test_the_doctor_tells_of_them_and_of_what_is_no_binding(install, tmp_path, monkeypatch, domain):
    install(ENTRIES + "odd = theirmessages:np\nbroken = theirmessages:Nothing\n")
    path = f"{tmp_path}:{':'.join(filter(None, sys.path))}"
    monkeypatch.setenv("PYTHONPATH", path)
    done = subprocess.run(
        [sys.executable, "-m", "robot_wm", "doctor", "--json"], capture_output=True, text=True, timeout=60, check=True
    )
    rows = {row["name"]: row["found"] for row in json.loads(done.stdout)["rows"]}
    assert rows["robot_wm.bindings"].startswith("10 of robot-wm, broken (theirmessages 2.0), gyro (theirmessages 2.0)")
    assert "has no attribute 'Nothing'" in rows["robot_wm.bindings broken"]


def test_what_cannot_be_used_is_told_and_the_rest_works(install):
    from robot_wm_ros.binding_kinds import BindingKinds

    install(ENTRIES + "odd = theirmessages:np\nbroken = theirmessages:Nothing\n")
    kinds = BindingKinds()
    assert [line.split(":")[0] for line in sorted(kinds.broken)] == [
        "robot_wm.bindings 'broken' of theirmessages 2.0 cannot be imported",
        "robot_wm.bindings 'odd' of theirmessages 2.0",
    ]
    assert kinds.command("halves").__name__ == "Halves"
    with pytest.raises(UserError, match=r"'half' is not one of float64_multi_array, halves, joint_trajectory, .*group"):
        kinds.command("half")
