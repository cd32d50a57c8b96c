"""The latency rig with real nodes: what it measures adds up, and it leaves no process behind. No timing is asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import PoseStamped
from planned import lost, with_planner
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from robot_wm.tasks import agent_spec, make_env
from robot_wm_ros.hil.child import node_command
from robot_wm_ros.hil.lifecycle import LifecycleClient
from robot_wm_ros.hil.requests import Requests
from robot_wm_ros.hil.services import Services
from robot_wm_ros.qos import COMMANDS, REQUESTS
from robot_wm_sim.tasks import panda_reach

TASK = "cartpole_balance"
# The command line with `hil` alone: a checkout's entry points may be older than its commands.
CLI = """
import sys, cyclopts
from robot_wm import cli
from robot_wm_ros.hil.command import hil
app = cyclopts.App(name="hil", result_action="return_value", help_format="plaintext")
app.default(hil)
cli.build_app = lambda: app
sys.exit(cli.run(sys.argv[1:]))
"""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-c", CLI, *map(str, arguments)]


def run_hil(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def left_behind(domain: int) -> list[str]:
    """Command lines of nodes in this domain."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            variables = (process / "environ").read_bytes().split(b"\0")
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
        if f"ROS_DOMAIN_ID={domain}".encode() in variables and "robot_wm_ros." in line:
            found.append(line)
    return found


@pytest.fixture
def node(domain):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = Node("test_hil", context=context)
    yield node
    node.destroy_node()
    rclpy.shutdown(context=context)


def waiting(node):
    """Spins the node until a condition holds."""
    executor = SingleThreadedExecutor(context=node.context)
    executor.add_node(node)

    def wait(until, what, timeout_s=60.0):
        end = time.monotonic() + timeout_s
        while not until():
            assert time.monotonic() < end, f"no {what}"
            executor.spin_once(timeout_sec=0.1)

    return wait


def test_an_agent_with_a_target_is_asked_for_the_middle_of_what_it_may_be_asked(node):
    heard = []
    spec = panda_reach.PandaReach("proprio").spec
    requests = Requests(node, spec)
    assert not requests.are_heard()
    node.create_subscription(PoseStamped, "target_pose", heard.append, REQUESTS)
    wait = waiting(node)
    wait(requests.are_heard, "subscriber")
    requests.send()
    wait(lambda: heard, "request")
    assert heard[0].header.frame_id == "panda_link0"
    assert heard[0].header.stamp.sec > 0
    point = heard[0].pose.position
    middle = np.mean([panda_reach.TARGET_LOW, panda_reach.TARGET_HIGH], axis=0)
    np.testing.assert_allclose([point.x, point.y, point.z], middle)


@pytest.mark.parametrize("task", ["a1_velocity", TASK])
def test_speeds_and_what_nobody_asks_are_left_alone(node, task):
    env = make_env(task)
    requests = Requests(node, agent_spec(env))
    env.close()
    assert requests.are_heard()  # there are none
    assert [name for name, _ in node.get_topic_names_and_types() if name == "/cmd_vel"] == []


@pytest.mark.parametrize(
    ("length", "answer"), [(0, [0.5, -1.0, 2.0]), (2, [0.5, -1.0]), (5, [0.5, -1.0, 2.0, 0.0, 0.0])]
)
def test_the_echo_answers_every_sample_with_its_positions(node, spawn, length, answer):
    heard = []
    publisher = node.create_publisher(JointState, "joint_states", 10)
    node.create_subscription(
        Float64MultiArray, "c/commands", lambda message: heard.append(list(message.data)), COMMANDS
    )
    echo = spawn("robot_wm_ros.echo", "--ros-args", "-p", "controller:=c", "-p", f"length:={length}")
    wait = waiting(node)

    def answered(number):
        publisher.publish(JointState(name=["a", "b", "c"], position=[0.5 + number, -1.0, 2.0]))
        return heard and heard[-1][0] == 0.5 + number

    for number in range(5):  # what is sent before the two have found each other is lost
        wait(lambda number=number: answered(number), "answer")
    assert [values[1:] for values in heard] == [answer[1:]] * len(heard)
    echo.signal(signal.SIGINT)
    assert echo.wait() == 0


def test_one_run_end_to_end(make_bundle, domain, tmp_path):
    bundle = make_bundle(TASK)
    arguments = ("--bundle", bundle, "--rate", 50, "--seconds", 3, "--out", tmp_path / "out", "--domain-id", domain)
    done = run_hil(*arguments, "--sensor-rate", 100, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert json.loads((tmp_path / "out" / "hil.json").read_text()) == result
    assert (tmp_path / "out" / "hil.png").read_bytes().startswith(b"\x89PNG")

    assert (result["task"], result["rate_hz"], result["sensor_rate_hz"]) == (TASK, 50.0, 100.0)
    assert result["rate_overridden"] is (result["spec_rate_hz"] != 50.0)
    assert result["agent_modes"] == ["active"]
    assert result["planner"] is None
    assert list(result["stages"]) == ["receipt", "inference", "safety", "publish", "applied"]
    for name in ("end_to_end", "policy", "echo"):
        values = result[name]
        assert 0 < values["p50_ms"] <= values["p99_ms"] <= values["p999_ms"] <= values["max_ms"]
        assert values["jitter_ms"] > 0
    # Three seconds at 50 Hz, sampled at 100; a machine that others keep busy may miss some, and never makes more.
    assert 75 < result["end_to_end"]["count"] + result["unanswered"] <= 152
    assert 150 < result["echo"]["count"] + result["echo"]["unanswered"] <= 302

    fates = [result[name] for name in ("processed", "decimated", "superseded", "lost", "unaccounted")]
    assert sum(fates) == result["published"]
    assert result["decimated"] > 100  # every other sample
    assert (result["unheard"], result["unaccounted"]) == (0, 0)
    assert result["goals"]["unaccounted"] == {"measured": 0, "limit": 0, "met": True}
    assert set(result["realtime"]) == {"robot", "agent", "echo"}
    assert set(result["host"]) >= {"cores", "kernel"}
    assert left_behind(domain) == []


def test_with_the_planner_on(make_bundle, domain, tmp_path):
    """Also one that did not pay, which a robot would refuse."""
    bundle = with_planner(make_bundle(TASK), tmp_path / "agent.rwm", gate=lost())
    arguments = ("--rate", 50, "--seconds", 1, "--domain-id", domain, "--no-echo", "--planner", "dreamer")
    done = run_hil("--bundle", bundle, *arguments, "--planner-budget-ms", 9.5, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    plans = result["planner"]
    assert plans["planner"] == "halving of 4 x 5"
    assert plans["searches"] > 0
    assert plans["searches"] + plans["reused"] <= plans["ticks"]
    assert result["agent_modes"] == ["active"]


def test_several_rates_make_a_table(make_bundle, domain):
    bundle = make_bundle(TASK)
    done = run_hil(
        "--bundle", bundle, "--rates", "25,50", "--seconds", 0.5, "--no-echo", "--domain-id", domain, "--json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert [row["rate_hz"] for row in result["rows"]] == [25.0, 50.0]
    assert [run["rate_hz"] for run in result["runs"]] == [25.0, 50.0]
    assert result["rows"][1]["p99_ms"] == result["runs"][1]["end_to_end"]["p99_ms"]
    assert result["rows"][0]["echo_p99_ms"] is None


def test_an_agent_over_ssh(make_bundle, domain, tmp_path):
    """Another computer's stand-in: an `ssh` that gives its line to a shell here, as sshd does there."""
    ssh = tmp_path / "ssh"
    ssh.write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nwhile [ "$1" != -- ]; do shift; done; shift\nexec sh -c "$*"\n'
    )
    ssh.chmod(0o755)
    arguments = ("--bundle", make_bundle(TASK), "--rate", 50, "--seconds", 1, "--domain-id", domain, "--json")
    remote = ("--robot-host", "jetson", "--robot-python", sys.executable)
    done = run_hil(*arguments, *remote, PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result["stages"]) == ["inference", "safety", "publish"]
    assert result["robot_host"] == "jetson"
    assert result["end_to_end"]["count"] > 20
    assert result["unaccounted"] == 0
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[2] for call in calls] == ["jetson", "jetson"]  # the agent, then the echo
    assert all("ROS_AUTOMATIC_DISCOVERY_RANGE=SUBNET" in call for call in calls)
    assert left_behind(domain) == []


def test_an_agent_started_by_hand(make_bundle, domain, monkeypatch):
    bundle = make_bundle(TASK)
    arguments = ("--bundle", bundle, "--rate", 50, "--seconds", 1, "--domain-id", domain, "--json", "--agent-external")
    with subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "robot_wm_ros.agent" in line)
        by_hand = told.split("run: ", 1)[1]
        assert f"ROS_DOMAIN_ID={domain}" in by_hand
        agent = subprocess.Popen(
            ["sh", "-c", by_hand.replace("python3", sys.executable, 1).replace("env ", "exec env ", 1)]
        )
        try:
            output, errors = process.communicate(timeout=90)
        finally:
            agent.send_signal(signal.SIGINT)
            agent.wait(20)
    assert process.returncode == 0, errors
    result = json.loads(output)
    assert result["end_to_end"]["count"] > 20
    assert result["echo"] is None
    assert result["goals"]["end_to_end_p99_ms"]["met"] is None


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--engine", "abacus"), "abacus"),  # the agent refuses
        (("--sensor-rate", "90000"), "sensor_rate_hz"),  # the robot refuses
        (("--robot-host", "nowhere.invalid"), "agent on nowhere.invalid ended with code"),  # ssh refuses
    ],
)
def test_a_child_that_fails_is_told_in_one_line(make_bundle, domain, arguments, told):
    done = run_hil("--bundle", make_bundle(TASK), "--seconds", 1, "--domain-id", domain, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("robot-wm: "))
    assert told in line
    assert "Traceback" not in done.stderr
    assert left_behind(domain) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--rates", "50,x"), "--rates 50,x: expected numbers in Hz"),
        (("--rates", "50,-1"), "--rates 50,-1: -1 Hz is not positive"),
        (("--rates", "50", "--rate", "50"), "--rate and --rates"),
        (("--cpus", "one"), "--cpus one: expected CPU numbers"),
        (("--agent-external", "--robot-host", "jetson"), "--agent-external"),
        (("--rate", "0"), "rate"),
    ],
)
def test_bad_options_are_refused_before_anything_starts(make_bundle, arguments, told):
    done = run_hil("--bundle", make_bundle(TASK), *arguments)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_the_command(make_bundle, domain, number):
    process = subprocess.Popen(
        command("--bundle", make_bundle(TASK), "--seconds", 60, "--domain-id", domain, "--priority", 0),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # Whoever runs the tests in the background has them ignore Ctrl-C, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    end = time.monotonic() + 60
    while not any("robot_wm_ros.agent" in line for line in left_behind(domain)):
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1.0)
    process.send_signal(number)
    assert process.stderr is not None
    errors = process.stderr.read()
    assert process.wait(30) == (130 if number == signal.SIGINT else -signal.SIGKILL), errors
    while left_behind(domain):
        assert time.monotonic() < end + 20
        time.sleep(0.1)


def test_the_probe_reports_what_others_have_started(make_bundle, node, spawn, domain, tmp_path):
    bundle = make_bundle(TASK)

    def start(module, parameters):
        return spawn(module, *node_command("", module, parameters)[3:])

    start("robot_wm_ros.sim_robot", {"task": TASK, "sensor_rate_hz": 50.0, "trace": True})
    agent = start("robot_wm_ros.agent", {"bundle": str(bundle), "allow_unsigned": True, "trace": True})
    parameters = {"bundle": str(bundle), "seconds": 1.0, "out": str(tmp_path)}
    probe = start("robot_wm_ros.hil.probe", parameters)
    wait = waiting(node)
    wait(lambda: node.count_subscribers("agent/trace") == 1, "probe")
    services = Services(node, wait)
    client = LifecycleClient(services, "agent")
    client.bring_up()
    assert "end to end p50" in probe.wait_for("end to end")
    assert probe.wait() == 0
    client.deactivate()
    services.close()
    result = json.loads((tmp_path / "hil.json").read_text())
    assert 20 < result["end_to_end"]["count"] <= 51
    assert (result["unaccounted"], result["unheard"]) == (0, 0)
    assert agent.returncode is None


def test_the_probe_needs_a_rate(spawn):
    probe = spawn("robot_wm_ros.hil.probe")
    probe.wait_for("error: parameter rate_hz")
    assert probe.wait() == 2


def test_an_arm_whose_target_an_operator_names_is_measured_too(make_bundle, domain):
    done = run_hil(
        "--bundle",
        make_bundle("panda_reach"),
        "--seconds",
        1,
        "--no-echo",
        "--domain-id",
        domain,
        "--priority",
        0,
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["processed"] > 0
