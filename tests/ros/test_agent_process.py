"""The agent as a process: its signals, its exit codes, remapped topics and a namespace."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack

import pytest
from agent_rig import PROMPT, ProcessRig

from robot_wm_ros.tick import DAMP_TICKS


@pytest.fixture
def rig(domain, make_bundle):
    """``rig(parameter=value)``: a rig that ends with the test."""
    with ExitStack() as stack:

        def make(**parameters):
            bundle = make_bundle("cartpole_balance")
            return stack.enter_context(ProcessRig(bundle, domain, **({"namespace": ""} | PROMPT | parameters)))

        yield make


def signal_group_and_process(process):
    """Ctrl-C in a terminal and, before that has its effect, what a supervisor sends."""
    os.killpg(process.pid, signal.SIGINT)
    process.signal(signal.SIGTERM)
    process.signal(signal.SIGINT)


@pytest.mark.parametrize(
    "send",
    [
        lambda process: process.signal(signal.SIGINT),
        lambda process: process.signal(signal.SIGTERM),
        lambda process: process.signal(signal.SIGHUP),
        signal_group_and_process,
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP", "both"],
)
def test_a_signal_damps_the_robot_before_the_node_goes(rig, send):
    rig = rig()
    rig.drive()
    rig.until(lambda: len(rig.commands) > 10 and rig.damp and not rig.damp[-1])
    assert any(values != [0.0] for _, values in rig.commands)
    heard = len(rig.commands)
    send(rig.process)
    assert rig.process.wait() == 0
    rig.until(lambda: rig.damp[-1])
    rig.listen(0.2)
    assert [values for _, values in rig.commands[heard:]][-DAMP_TICKS:] == [[0.0]] * DAMP_TICKS
    assert sum("damping and leaving" in line for line in rig.lines) == 1
    assert not [line for line in rig.lines if "Traceback" in line or "rror" in line]


def test_a_node_that_drives_nothing_goes_at_once_in_its_namespace_and_with_its_remapped_topics(rig):
    rig = rig(namespace="/left", remap=("joint_states:=robot/joints",))
    rig.drive(topic="robot/joints")
    rig.until(lambda: len(rig.commands) > 10)
    assert dict(rig.peer.get_topic_names_and_types())["/left/forward_effort_controller/commands"]
    assert rig.change(4, 2)  # deactivate, clean up
    start_s = time.monotonic()
    rig.process.signal(signal.SIGTERM)
    assert rig.process.wait() == 0
    assert time.monotonic() - start_s < 10


@pytest.mark.parametrize(
    ("parameter", "words"),
    [({"hold_s": "-1.0"}, ("hold_s", "-1.0")), ({"hold_s": "soon"}, ("hold_s", "soon"))],
)
def test_a_bad_start_value_ends_in_one_line_and_code_2(spawn, parameter, words):
    name, value = next(iter(parameter.items()))
    process = spawn("robot_wm_ros.agent", "--ros-args", "-p", f"{name}:={value}")
    assert process.wait() == 2
    assert all(word in process.wait_for("error: parameter") for word in words)
    assert not [line for line in process.lines if "Traceback" in line]
