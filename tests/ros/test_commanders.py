"""Two who command one robot: neither is activated, unless somebody wants it so."""

from __future__ import annotations

import pytest
from agent_rig import ACTIVATE, CONFIGURE, PROMPT, AgentRig
from std_msgs.msg import Float64MultiArray

TOPIC = "forward_effort_controller/commands"


@pytest.fixture
def rig(domain, make_bundle):
    """``with rig(parameter=value) as it``: an agent under a name space."""
    return lambda **more: AgentRig(make_bundle("cartpole_balance"), domain, **({"namespace": "left"} | PROMPT | more))


def doubts(rig):
    return rig.agent.agent._preflight.doubts()


def test_a_second_agent_of_the_same_name_keeps_both_from_driving(rig, make_bundle, spawn):
    with rig() as it:
        parameters = ("-p", f"bundle:={make_bundle('cartpole_balance')}", "-p", "allow_unsigned:=true")
        other = spawn("robot_wm_ros.agent", "--ros-args", "-r", "__ns:=/left", *parameters)
        it.until(lambda: it.peer.count_publishers("agent/mode") == 2)
        assert it.change(CONFIGURE)  # one of the two answers first
        it.until(lambda: it.peer.count_publishers(TOPIC) == 2)
        it.until(lambda: any("commanded by" in line for line in other.lines))
        assert not it.change(ACTIVATE)
        line = it.wait_for_line("activate failed")
        assert f"{TOPIC} is commanded by /left/agent, too" in line
        assert "allow_rival_commanders" in line
        other.wait_for("activate failed")
        other.close()
        it.until(lambda: not any("commanded by" in doubt for doubt in doubts(it)))
        assert it.change(ACTIVATE)


def test_a_guardian_is_nobody_elses_hand_and_a_console_is(rig, spawn):
    with rig() as it:
        spawn("robot_wm_ros.guardian", "--ros-args", "-r", "__ns:=/left")
        assert it.change(CONFIGURE)
        it.until(lambda: it.peer.count_publishers(TOPIC) == 2, "the guardian to be prepared")
        assert not any("commanded by" in doubt for doubt in doubts(it))
        console = it.peer.create_publisher(Float64MultiArray, TOPIC, 1)
        it.until(lambda: any("is commanded by /left/peer, too" in doubt for doubt in doubts(it)))
        assert not it.change(ACTIVATE)
        it.peer.destroy_publisher(console)
        it.until(lambda: it.change(ACTIVATE))


def test_who_wants_two_commanders_may_have_them_and_is_told(rig):
    with rig(allow_rival_commanders=True) as it:
        it.peer.create_publisher(Float64MultiArray, TOPIC, 1)
        assert it.change(CONFIGURE)
        assert it.change(ACTIVATE)
        it.wait_for_line("is commanded by /left/peer, too")
