"""What runs on a robot runs without what learns: no torch there, no replay store, and for most no simulator either."""

import json
import subprocess
import sys

import pytest

LEARNING = ("torch", "safetensors", "lance", "pyarrow", "onnx", "onnxscript", "tensorboard", "matplotlib")
SIMULATION = ("gymnasium", "pybullet", "pybullet_data", "mujoco", "PIL", "jinja2", "imageio")
# Runs command lines, each a list of words, in a process that has not what is named first.
SCRIPT = """
import contextlib, io, json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in missing:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

missing, lines = json.loads(sys.argv[1])
sys.meta_path.insert(0, Blocked())
from robot_wm.cli import run
for line in lines:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(line)
    print(json.dumps([line, code, out.getvalue(), err.getvalue()]))
"""


def results(missing, *lines):
    command = [sys.executable, "-c", SCRIPT, json.dumps([missing, [line.split() for line in lines]])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_a_bundle_is_evaluated_and_run_without_torch():
    evaluated, driven, listed = results(
        LEARNING,
        "eval --bundle zoo:cartpole_balance --episodes 1 --json",
        "run --bundle zoo:cartpole_balance --seconds 0.2 --no-realtime --json",
        "tasks",
    )
    for line, code, _, err in (evaluated, driven, listed):
        assert code == 0, (line, err)
    assert json.loads(evaluated[2])["return_mean"] > 450
    assert json.loads(evaluated[2])["env_steps"] == 10_000
    assert json.loads(driven[2])["ticks"] == 10


def test_what_a_robot_runs_needs_the_light_core_only(tmp_path):
    from robot_wm.zoo.catalog import Zoo

    zoo = Zoo.shipped()
    root, bundle = tmp_path / "bundles", zoo.bundle("cartpole_balance")
    lines = (
        "doctor --json",
        f"bundle install {bundle} --root {root} --public-key {zoo.public_key}",
        f"bundle list --root {root}",
        f"engine list --engine-dir {tmp_path}",
        "firmware list",
        "zoo list",
        "zoo card cartpole_balance",
        "hil --help",
        "--help",
    )
    for line, code, _, err in results(LEARNING + SIMULATION, *lines):
        assert code == 0, (line, err)


def test_the_ros_nodes_need_the_light_core_only():
    pytest.importorskip("rclpy")
    script = SCRIPT.split("from robot_wm.cli")[0] + (
        "import importlib, pkgutil, robot_wm_ros\n"
        "for found in pkgutil.walk_packages(robot_wm_ros.__path__, 'robot_wm_ros.'):\n"
        "    if found.name != 'robot_wm_ros.sim_robot':\n"  # which stands in for a robot
        "        importlib.import_module(found.name)\n"
        "        print(found.name)\n"
    )
    command = [sys.executable, "-c", script, json.dumps([LEARNING + SIMULATION, []])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert {"robot_wm_ros.agent_node", "robot_wm_ros.hil.command"} <= set(done.stdout.split())
