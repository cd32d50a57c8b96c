"""Processes end when they are told to, when their parent is killed, and tell why they failed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from robot_wm.errors import UserError
from robot_wm_ros.hil.child import Child, node_command, over_ssh, tethered

SAYS_WHEN_STOPPED = (
    "import signal, sys, time\n"
    "def stop(*_): print('damped', flush=True); sys.exit(0)\n"
    "signal.signal(signal.SIGINT, stop)\n"
    "print('up', flush=True)\n"
    "time.sleep(60)\n"
)


def python(script):
    return tethered([sys.executable, "-c", script])


def wait_for(condition, timeout_s=20.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def failure(child):
    end = time.monotonic() + 20.0
    while time.monotonic() < end:
        try:
            child.require_running()
        except UserError as error:
            return str(error)
        time.sleep(0.01)
    return "still running"


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_leaving_the_block_stops_it_in_order():
    with Child("node", python(SAYS_WHEN_STOPPED)) as child:
        wait_for(lambda: "up" in child.lines)
        child.require_running()
    assert list(child.lines) == ["up", "damped"]
    assert not alive(child.pid)


def test_one_that_does_not_listen_is_killed():
    deaf = (
        "import os, signal, time\n"
        "for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True)\n"
        "time.sleep(60)"
    )
    hasty = "import sys; from robot_wm_ros.hil import tether; tether.PATIENCE_S = (0.2,) * 3; sys.exit(tether.main())"
    with Child("node", [sys.executable, "-c", hasty, sys.executable, "-c", deaf]) as child:
        wait_for(lambda: child.lines)
    assert not alive(int(child.lines[0]))


def test_it_does_not_outlive_a_parent_that_is_killed():
    parent = (
        "import sys, time\n"
        "from robot_wm_ros.hil.child import Child, tethered\n"
        "script = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'\n"
        "child = Child('node', tethered([sys.executable, '-c', script]))\n"
        "while not child.lines: time.sleep(0.01)\n"
        "print(child.pid, child.lines[0], flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pids = [int(word) for word in process.stdout.readline().split()]
        assert all(alive(pid) for pid in pids)
        process.send_signal(signal.SIGKILL)
    wait_for(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('all is well'); raise SystemExit('no such bundle')", "node ended with code 1: no such bundle"),
        (
            "print('[ERROR] [1732420000.1] [agent]: configure: hash differs'); print('bye'); raise SystemExit(3)",
            "node ended with code 3: configure: hash differs",
        ),
        ("import os; os.kill(os.getpid(), 9)", "node ended with code 137: it said nothing"),
    ],
)
def test_a_failure_is_told_in_one_line(script, said):
    with Child("node", python(script)) as child:
        assert failure(child) == said


def test_a_program_that_is_not_there():
    with pytest.raises(UserError, match="agent: cannot start /nowhere/ssh: No such file"):
        Child("agent", ["/nowhere/ssh", "host"])
    with Child("node", tethered(["/nowhere/python"])) as child:
        assert failure(child).startswith("node ended with code 127: /nowhere/python: No such file")


def test_arguments_survive_the_shell_on_the_other_side(tmp_path):
    """ssh joins its arguments with spaces and gives the line to a shell: so does this."""
    nasty = "a b'c\"d$HOME;touch no"
    show = "import json, os, sys; print(json.dumps([os.environ['ROS_DOMAIN_ID'], sys.argv[1:]]))"
    command = over_ssh("jetson", [sys.executable, "-c", show, nasty], {"ROS_DOMAIN_ID": "7 x"}, python=sys.executable)
    assert command[0] == "ssh"
    host = command.index("jetson")
    line = " ".join(command[host + 2 :])
    with subprocess.Popen(
        ["sh", "-c", line], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read()) == ["7 x", [nasty]]
    assert list(tmp_path.iterdir()) == []


def test_parameters_keep_their_types():
    command = node_command("python3", "m", {"a": 1.0, "b": "1e3", "c": [2, 3], "d": True, "e": [], "f": ["x=1"]})
    assert command[:4] == ["python3", "-m", "m", "--ros-args"]
    assert command[5::2] == ["a:=1.0", 'b:="1e3"', "c:=[2, 3]", "d:=true", 'f:=["x=1"]']
