"""What /diagnostics says of a robot before its agent is activated: everything that is missing, and nothing else."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from agent_rig import ACTIVATE, CONFIGURE, PROMPT, AgentRig
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Float64MultiArray, String

from robot_wm_ros.qos import LATCHED


@pytest.fixture
def rig(domain, make_bundle):
    """An inactive A1's rig, with ``told()`` the message of the latest diagnostics."""
    with ExitStack() as stack:
        rig = stack.enter_context(AgentRig(make_bundle("a1_velocity"), domain, namespace="", **PROMPT))
        reports, modes = [], []
        rig.peer.create_subscription(DiagnosticArray, "/diagnostics", reports.append, 10)
        rig.peer.create_subscription(String, "agent/mode", lambda message: modes.append(message.data), LATCHED)
        rig.told = lambda: reports[-1].status[0].message if reports else ""
        rig.modes = modes
        assert rig.change(CONFIGURE)
        yield rig


def test_an_inactive_agent_tells_what_it_lacks_until_it_lacks_nothing(rig):
    rig.until(lambda: "not ready: joint_states: no message yet" in rig.told())
    assert "not ready: imu/data: no message yet" in rig.told()
    assert "cmd_vel" not in rig.told()  # an operator who says nothing wants it to stand
    rig.sense(200.0)
    rig.until(lambda: rig.told() and "not ready" not in rig.told() and "nobody listens" not in rig.told())
    rig.be_silent()
    rig.until(lambda: "not ready: joint_states: silent, the last message is" in rig.told())
    assert rig.modes == ["inactive"]


def test_a_joint_that_is_missing_is_named(rig):
    rig.sense(200.0, joints=rig.joints()[1:])
    rig.until(lambda: f"not ready: joint_states: no joint '{rig.joints()[0]}'" in rig.told())


def test_a_sensor_that_is_too_slow_for_the_agent_is_told_with_its_rate(rig):
    rig.sense(25.0)
    rig.until(lambda: "not ready: joint_states comes at 2" in rig.told())
    assert "50 Hz wanted" in rig.told()


def test_commands_that_nobody_hears_are_told_also_while_they_are_sent(rig):
    rig.sense(200.0)
    rig.until(lambda: rig.told() and "nobody listens" not in rig.told())
    controller = next(s for s in rig.peer.subscriptions if s.msg_type is Float64MultiArray)
    rig.peer.destroy_subscription(controller)
    unheard = "nobody listens to forward_position_controller/commands"
    rig.until(lambda: unheard in rig.told())
    assert rig.change(ACTIVATE)
    rig.until(lambda: rig.modes[-1] != "inactive")
    rig.until(lambda: unheard in rig.told() and "not ready" not in rig.told())
