"""The command line: every command explains itself, and bad input is one line and code 2."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from robot_wm import cli
from robot_wm.console import emit

COMMANDS = (
    "adapt", "bench", "bundle", "doctor", "engine", "eval", "export",
    "firmware", "quickstart", "replay", "robot", "robustness", "run", "tasks", "train", "zoo",
)  # fmt: skip


def robot_wm(*arguments: str, **kwargs) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "robot_wm", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **kwargs)


@pytest.mark.parametrize("told", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_is_one_whatever_it_has_broken(monkeypatch, capsys, told):
    """As pybind11 does: where Ctrl-C comes while it converts an argument, that argument cannot be converted."""

    def command(*_, **__):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise told("Unable to convert call argument '0' to Python object") from None

    monkeypatch.setattr(cli, "build_app", lambda: command)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.run(["hil"]) == cli.INTERRUPTED
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "interrupted\n"


def test_a_defect_without_an_interrupt_is_not_hidden(monkeypatch):
    def command(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr(cli, "build_app", lambda: command)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.run(["hil"])


def test_help_names_every_command_and_needs_no_heavy_import():
    script = (
        "import sys, robot_wm.cli as c\n"
        "c.run(['--help'])\n"
        "print(sorted({'torch', 'pybullet', 'lance', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    for command in COMMANDS:
        assert f" {command} " in done.stdout
    assert done.stdout.strip().endswith("[]")


@pytest.mark.parametrize(
    "command", [*COMMANDS, "bench sim", "bench tick", "bench learner", "replay log", "replay merge"]
)
def test_every_command_has_help(command):
    done = robot_wm(*command.split(), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: robot-wm {command}")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("nothing", "nothing"),
        ("train --task no_such_task", "unknown task 'no_such_task'"),
        ("train --steps -5", "steps"),
        ("train --config missing.yaml", "missing.yaml"),
        ("train --preset nothing", "unknown preset"),
        ("train --dreamer.size 7m", "dreamer.size"),
        ("train --task gym:no_module:X-v0", "no_module"),
        ("eval --checkpoint nowhere", "nowhere"),
        ("eval --bundle nowhere.rwm", "nowhere.rwm"),
        ("export --checkpoint nowhere --out a.rwm", "nowhere"),
        ("run --bundle nowhere.rwm", "nowhere.rwm"),
        ("replay log nowhere", "nowhere"),
        ("tasks no_such_task", "no_such_task"),
        ("bench learner --size 7m", "size"),
        ("bench learner --updates 0", "updates"),
        ("quickstart --time-limit-s -1", "time-limit-s"),
    ],
)
def test_bad_input_is_one_line_and_code_2(arguments, words, tmp_path):
    done = robot_wm(*arguments.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("pybullet build time")]
    assert len(lines) == 1, done.stderr
    assert done.stdout == ""


def test_tasks_json_lists_the_tasks_and_a_spec():
    done = robot_wm("tasks", "--json")
    names = {row["task"] for row in json.loads(done.stdout)["rows"]}
    wanted = {"cartpole_balance", "cartpole_swingup", "panda_reach", "racecar_goal", "a1_stand", "a1_velocity"}
    assert wanted | {"gym:<module>:<Id>"} <= names
    spec = json.loads(robot_wm("tasks", "cartpole_balance", "--json").stdout)
    assert spec["task"] == "cartpole_balance"
    assert spec["control_rate_hz"] == 50


def test_the_light_core_says_what_a_command_needs(tmp_path):
    """With an import path on which torch cannot be found, as on a robot."""
    script = (
        "import sys, importlib.abc\n"
        "class NoTorch(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'lance', 'gymnasium'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, NoTorch())\n"
        "from robot_wm.cli import run\n"
        "sys.exit(run(sys.argv[1:]))"
    )
    for arguments in ("train", "replay log x", "tasks", "eval --checkpoint x"):
        command = [sys.executable, "-c", script, *arguments.split()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "which is not installed: pip install 'robot-wm[all]'" in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_what_a_table_shows_is_no_markup(capsys):
    emit({"task": "[/red] a[b]", "rows": [{"name": "[/x]"}]}, as_json=False)
    shown = capsys.readouterr().out
    assert "[/red] a[b]" in shown
    assert "[/x]" in shown


NOISY = """
import os, subprocess, gymnasium
print("from Python")
os.write(1, b"from C\\n")
subprocess.run(["echo", "from a process of its own"], check=True)
gymnasium.register("noisy/Noisy-v0", "gymnasium.envs.classic_control:PendulumEnv")
import sys
sys.stdout.close()
"""


def test_what_a_simulator_prints_stays_out_of_the_json(tmp_path):
    (tmp_path / "noisy.py").write_text(NOISY)
    done = robot_wm("tasks", "gym:noisy:noisy/Noisy-v0", "--json", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert json.loads(done.stdout)["task"] == "gym:noisy:noisy/Noisy-v0"
    told = {line for line in done.stderr.splitlines() if line.startswith("from ")}
    assert told == {"from Python", "from C", "from a process of its own"}


@pytest.mark.parametrize("arguments", ["train --help", "firmware list", "tasks a1_stand --json"])
def test_a_reader_that_has_gone_is_no_failure(arguments):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as gone:
        command = [sys.executable, "-m", "robot_wm", *arguments.split()]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr


def test_json_needs_no_more_than_an_open_output():
    command = [sys.executable, "-m", "robot_wm", "tasks", "--json"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False), done.stderr
    assert "No space left on device" in done.stderr
    closed = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m robot_wm firmware list --json >&-"], timeout=120, check=False
    )
    assert closed.returncode == 0


@pytest.mark.parametrize("arguments", ["--help", "firmware list"])
def test_an_output_that_is_full_is_one_line_and_code_2(arguments):
    command = [sys.executable, "-m", "robot_wm", *arguments.split()]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
        assert done.returncode == 2
        lines = [line for line in done.stderr.splitlines() if not line.startswith("pybullet build time")]
        assert len(lines) == 1, done.stderr
        assert "No space left on device" in lines[0]
        done = subprocess.run([*command, "--no"], stdout=full, stderr=full, timeout=120, check=False)
        assert done.returncode == 2


def test_a_locale_without_utf8_reads_and_writes_the_same_files(tmp_path):
    """As on a robot's console with LC_ALL=C, where Python is told not to help itself."""
    environment = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    card = robot_wm("zoo", "card", "cartpole_balance", env=environment, encoding="ascii")
    assert card.returncode == 0, card.stderr
    assert "?" in card.stdout  # a letter of the page that ASCII lacks
    done = robot_wm(
        "firmware", "render", "--robot", "a1", "--board", "x86", "--out", str(tmp_path / "here"), env=environment
    )
    assert done.returncode == 0, done.stderr
    there = robot_wm("firmware", "render", "--robot", "a1", "--board", "x86", "--out", str(tmp_path / "there"))
    assert there.returncode == 0
    names = sorted(path.name for path in (tmp_path / "there").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "here").iterdir())
    for name in names:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        "firmware render --robot a1 --board x86 --out /dev/full/out",
        "run --bundle zoo:cartpole_balance --episodes 1 --video /proc/none/out.mp4",
        "export --checkpoint nowhere --out /dev/full/out.rwm",  # told before the work
        "quickstart --run-dir /sys/out",
    ],
)
def test_what_cannot_be_written_is_one_line_and_code_2(arguments, tmp_path):
    done = robot_wm(*arguments.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert re.search(r"robot-wm: .*(/dev/full|/proc/none|/sys/out)", done.stderr.splitlines()[-1])
