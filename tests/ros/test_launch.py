"""The launch files, run for real where `ros2 launch` is."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
import yaml
from lifecycle_msgs.msg import Transition
from node_process import NodeProcess
from rcl_interfaces.srv import GetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import NodeNameNonExistentError
from rclpy.parameter import parameter_value_to_python

from robot_wm_ros.hil.lifecycle import LifecycleClient
from robot_wm_ros.hil.services import Services

AGENT = ("launch", "robot_wm", "agent.launch.py", "allow_unsigned:=true")
CONFIGURE, CLEANUP = Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP
DEACTIVATE = Transition.TRANSITION_DEACTIVATE


class Peer:
    """An operator's node."""

    def __init__(self, domain: int) -> None:
        self._context = rclpy.Context()
        self._context.init(domain_id=domain)
        self._node = rclpy.create_node("peer", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self.services = Services(self._node, lambda condition, what: self._until(condition, what))

    def _until(self, condition: Callable[[], Any], what: str, patience_s: float = 60.0) -> None:
        end_s = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < end_s, f"waited for {what}"
            self._executor.spin_once(timeout_sec=0.02)

    def listen(self, duration_s: float) -> None:
        """Let time pass."""
        end_s = time.monotonic() + duration_s
        self._until(lambda: time.monotonic() >= end_s, "the end")

    def wait(self, condition: Callable[[], Any], what: str) -> None:
        """Listen until the condition holds."""
        self._until(condition, what)

    def topics(self, kind: str, node: str, namespace: str) -> set[str]:
        """Topics that a node has a "subscriber" or a "publisher" of."""
        found = getattr(self._node, f"get_{kind}_names_and_types_by_node")
        try:
            return {name for name, _ in found(node, namespace)}
        except NodeNameNonExistentError:
            return set()

    def parameters(self, node: str, *names: str) -> list[Any]:
        """Values of a running node's parameters."""
        request = GetParameters.Request(names=list(names))
        answer = self.services.call(GetParameters, f"{node}/get_parameters", request)
        return [parameter_value_to_python(value) for value in answer.values]

    def close(self) -> None:
        """Leave nothing behind."""
        self.services.close()
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()


@pytest.fixture
def peer(domain) -> Iterator[Peer]:
    peer = Peer(domain)
    yield peer
    peer.close()


@pytest.fixture
def ros2(domain) -> Iterator[Any]:
    """``ros2("launch", ...)`` as a process, where launch and the built package are installed."""
    pytest.importorskip("launch_ros", reason="needs ros2 launch, which is on no package index")
    if not shutil.which("ros2") or "robot_wm" not in subprocess.getoutput("ros2 pkg list").split():
        pytest.skip("needs the ros2 command and this package in its index: colcon build, source install/setup.bash")
    running: list[NodeProcess] = []

    def start(*arguments: str) -> NodeProcess:
        running.append(NodeProcess(["ros2", *arguments]))
        return running[-1]

    yield start
    for process in reversed(running):
        process.close()


def test_it_comes_up_and_damps_on_ctrl_c(ros2, make_bundle):
    launched = ros2(*AGENT, f"bundle:={make_bundle('a1_velocity')}")
    launched.wait_for("/agent is configured")
    launched.wait_for("inactive -> ", 90)  # activated: it waits for sensors, then holds, for there is no robot
    launched.signal(signal.SIGINT)
    assert launched.wait(20) == 0
    launched.wait_for("damping and leaving")
    launched.wait_for("process has finished cleanly")
    assert not any("Caught exception" in line for line in launched.lines)


def test_it_stays_down_without_autostart_and_takes_a_namespace_and_a_file(ros2, make_bundle, peer, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**/agent:\n  ros__parameters:\n    hold_s: 0.75\n")
    bundle = make_bundle("a1_velocity")
    launched = ros2(
        *AGENT, f"bundle:={bundle}", "namespace:=left", "autostart:=false", f"params_file:={file}",
    )  # fmt: skip
    launched.wait_for("process started")
    assert peer.parameters("left/agent", "hold_s", "bundle", "use_sim_time") == [0.75, str(bundle), False]
    assert not any("is configured" in line for line in launched.lines)


def test_the_robot_s_own_names_of_topics_are_arguments(ros2, make_bundle, peer):
    launched = ros2(
        *AGENT, f"bundle:={make_bundle('a1_velocity')}", "namespace:=left", "autostart:=configure",
        "joint_states_topic:=/my_robot/joint_states", "imu_topic:=imu_sensor/imu", "estop_topic:=/estop",
        "remap:=cmd_vel:=/teleop/cmd_vel forward_position_controller/commands:=/my_robot/legs/commands",
    )  # fmt: skip
    launched.wait_for("/left/agent is configured")
    read = {"/my_robot/joint_states", "/left/imu_sensor/imu", "/teleop/cmd_vel", "/estop"}
    peer.wait(lambda: read <= peer.topics("subscriber", "agent", "/left"), "its subscriptions")
    assert "/my_robot/legs/commands" in peer.topics("publisher", "agent", "/left")
    peer.wait(lambda: "/estop" in peer.topics("publisher", "guardian", "/left"), "the guardian's e-stop")


def test_it_goes_no_further_than_configure_if_that_is_all_that_is_asked(ros2, make_bundle, peer):
    launched = ros2(*AGENT, f"bundle:={make_bundle('a1_velocity')}", "autostart:=configure")
    launched.wait_for("/agent is configured")
    peer.listen(2.0)
    assert LifecycleClient(peer.services, "agent").state().label == "inactive"
    launched.signal(signal.SIGINT)
    assert launched.wait(20) == 0


def test_a_guardian_that_is_killed_is_started_again_and_no_agent_is(ros2, make_bundle):
    launched = ros2(*AGENT, f"bundle:={make_bundle('a1_velocity')}", "autostart:=configure")
    started = re.compile(r"\[(guardian|agent)-\d+\]: process started with pid \[(\d+)\]")

    def pids(name):
        return [int(found[2]) for line in launched.lines if (found := started.search(line)) and found[1] == name]

    def wait(condition):
        end_s = time.monotonic() + 60.0
        while not condition():
            assert time.monotonic() < end_s, "\n".join(launched.lines)
            time.sleep(0.05)

    launched.wait_for("/agent is configured")
    os.kill(pids("guardian")[0], signal.SIGKILL)
    wait(lambda: len(pids("guardian")) == 2)
    os.kill(pids("agent")[0], signal.SIGKILL)
    assert launched.wait(30) == 1
    assert (len(pids("guardian")), len(pids("agent"))) == (2, 1)


def test_a_later_configure_by_hand_activates_nothing(ros2, make_bundle, peer):
    launched = ros2(*AGENT, f"bundle:={make_bundle('a1_velocity')}", "autostart:=true")
    launched.wait_for("inactive -> ", 90)
    lifecycle = LifecycleClient(peer.services, "agent")
    for transition in (DEACTIVATE, CLEANUP, CONFIGURE):
        assert lifecycle.change_state(transition)
    peer.listen(3.0)
    assert lifecycle.state().label == "inactive"


def test_a_configure_by_hand_after_a_failed_one_activates_nothing(ros2, make_bundle, peer, tmp_path):
    bundle = tmp_path / "agent.rwm"
    bundle.mkdir()
    launched = ros2(*AGENT, f"bundle:={bundle}", "autostart:=true")
    launched.wait_for("configuring failed")
    shutil.copytree(make_bundle("a1_velocity"), bundle, dirs_exist_ok=True)
    lifecycle = LifecycleClient(peer.services, "agent")
    assert lifecycle.change_state(CONFIGURE)
    launched.wait_for("/agent is configured")
    peer.listen(3.0)
    assert lifecycle.state().label == "inactive"


def test_a_parameter_file_is_laid_over_the_package_s_own(ros2, make_bundle, peer, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**/agent:\n  ros__parameters:\n    hold_s: 0.75\n")
    bundle = make_bundle("cartpole_balance")
    ros2("launch", "robot_wm", "hil.launch.py", f"bundle:={bundle}", "task:=cartpole_balance", f"params_file:={file}",
         "autostart:=false")  # fmt: skip
    assert peer.parameters("agent", "hold_s", "trace") == [0.75, True]
    assert peer.parameters("sim_robot", "trace", "wait_for_agent") == [True, True]


def test_a_failed_configure_says_why_and_how_to_go_on(ros2, tmp_path):
    launched = ros2(*AGENT, f"bundle:={tmp_path}")
    launched.wait_for("has no manifest.json")
    assert "ros2 lifecycle set /agent configure" in launched.wait_for("configuring failed")


def test_it_ends_with_the_agent_and_starts_no_other(ros2, make_bundle):
    launched = ros2(*AGENT, f"bundle:={make_bundle('a1_velocity')}")
    started = launched.wait_for("[agent-2]: process started with pid")
    launched.wait_for("is configured")
    os.kill(int(re.findall(r"pid \[(\d+)\]", started)[0]), signal.SIGKILL)
    assert launched.wait(20) == 1  # a failure, for systemd's Restart=on-failure
    assert sum("process started" in line for line in launched.lines) == 2  # with the guardian


@pytest.mark.parametrize(
    ("argument", "naming"),
    [("bundle:=/none.rwm", "no such file"), ("use_sim_time:=maybe", "neither true nor false"),
     ("autostart:=1", "not true, configure or false"),
     ("imu_topic:=/my imu", "imu_topic:=/my imu: a topic is named by letters"),
     ("remap:=cmd_vel", "remap:=cmd_vel:=: a topic is named by letters"),
     ("security:=true", "ROS_SECURITY_KEYSTORE")],
)  # fmt: skip
def test_a_bad_argument_is_refused_in_a_line(ros2, monkeypatch, argument, naming):
    monkeypatch.delenv("ROS_SECURITY_KEYSTORE", raising=False)
    launched = ros2("launch", "robot_wm", "agent.launch.py", argument)
    assert launched.wait(20) != 0
    launched.wait_for(naming)


def test_security_asks_for_the_enclave_by_name(ros2, monkeypatch, tmp_path):
    (tmp_path / "enclaves").mkdir()
    monkeypatch.setenv("ROS_SECURITY_KEYSTORE", str(tmp_path))
    launched = ros2("launch", "robot_wm", "agent.launch.py", "security:=true", "namespace:=left")
    assert launched.wait(20) != 0
    assert "ros2 security create_enclave" in launched.wait_for("has no enclave /left/agent")


def test_hil_measures_and_ends(ros2, make_bundle, tmp_path):
    launched = ros2(
        "launch", "robot_wm", "hil.launch.py", f"bundle:={make_bundle('cartpole_balance')}", "task:=cartpole_balance",
        "seconds:=3.0", f"out:={tmp_path}",
    )  # fmt: skip
    launched.wait_for("hil.json written", 60)
    assert launched.wait(20) == 0
    assert yaml.safe_load((tmp_path / "hil.json").read_text())["end_to_end"]["count"] > 10
