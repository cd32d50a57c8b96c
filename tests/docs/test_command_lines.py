"""Every command line that we show is one that the program takes; those that take seconds are run."""

import re
import shlex
import zipfile
from pathlib import Path

import cyclopts
import pytest
from shown import ROOT, in_text, lines_to_paste, literals, pages, rendered, settings

from robot_wm.cli import build_app
from robot_wm.cli import run as robot_wm
from robot_wm.zoo.catalog import Zoo

PROGRAM = r"robot-wm"
PLACEHOLDER = re.compile(r"^(\.{3}|…|<.*>|[A-Z]{3,}|.*\{\}.*|zoo:[A-Z]+)$")
# Words that follow the project's name where it is no command.
PROSE = frozenset({"to", "works", "actor", "is"})
# Of the README's own lines, those that need neither a GPU nor minutes, in an order in which they work.
QUICK = (
    "robot-wm tasks",
    "robot-wm tasks a1_velocity",
    "robot-wm zoo list",
    "robot-wm export generate-key --out robot.pem",
    "robot-wm firmware check --bundle a1.rwm --robot a1",
    "robot-wm firmware render --robot a1 --board orin-nx --bundle a1.rwm --out a1-orin-nx",
    "robot-wm bundle install a1.rwm",
    "robot-wm bundle list",
    "robot-wm bundle current",
    "robot-wm doctor",
)


def shown(style, texts):
    """(where, words after ``robot-wm``), each once."""
    found = {}
    for where, text in texts:
        for words in style(text, PROGRAM):
            if words and words[0] not in PROSE:
                found.setdefault(" ".join(words), (where, words))
    return list(found.values())


PASTED = shown(lines_to_paste, [*pages().items(), *rendered().items(), *literals()])
NAMED = shown(in_text, [*pages().items(), *rendered().items(), *settings().items(), *literals()])


def named(lines):
    return [pytest.param(words, id=f"{where}: {' '.join(words)}"[:160]) for where, words in lines]


@pytest.fixture(scope="module")
def app():
    return build_app()


def test_lines_are_found_where_they_are_shown():
    places = {where.partition(":")[0].partition(",")[0] for where, _ in PASTED + NAMED}
    assert {"README.md", "ros2_ws/src/robot_wm/README.md", "tests/benchmarks/RESULTS.md"} <= places
    assert {"robot_wm/zoo/agents/a1_velocity/card.md", "a1", "robot_wm/runtime/installed.py"} <= places
    assert len(PASTED) > 30
    assert len(NAMED) > 80


@pytest.mark.parametrize("words", named(PASTED))
def test_a_line_to_paste_is_taken(app, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("task: cartpole_balance\n")
    monkeypatch.setattr("robot_wm.training.command.saved_settings", lambda run: {})  # as of a run that is there
    app.parse_args(["fp16" if word == "$p" else word for word in words], exit_on_error=False, print_error=False)


@pytest.mark.parametrize("words", named(NAMED))
def test_what_running_text_names_is_there(app, words):
    """The command and every flag; arguments may be left out, and stand-ins for them may stand there."""
    _, chain, rest = app.parse_commands(words)
    command = chain[-1]
    assert command is not app or words[0].startswith("--"), f"no such command: {words[0]}"
    takes_values = command.default_command is not None
    flags = [word.split("=")[0] for word in rest if word.startswith("--")]
    others = [word for word in rest if not word.startswith("-") and not PLACEHOLDER.match(word)]
    assert takes_values or not others, f"no such command: {others}"
    if flags:
        known = {name for argument in command.assemble_argument_collection() for name in argument.names}
        own = {
            flag for flag in flags if "…" not in flag and not flag.startswith("--task-options.")
        }  # the task's, those
        assert own <= known | {"--help", "--version"}


@pytest.mark.parametrize("line", ["train --task a1_velocity --enws 4", "hil --bundle a.rwm --rate fast", "bench simm"])
def test_a_line_that_is_not_taken_is_found(app, line):
    with pytest.raises(cyclopts.CycloptsError):
        app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)


@pytest.mark.parametrize(
    "text",
    [
        "`robot-wm train --enws`",
        "``robot-wm bench simm``",
        "first robot-wm zoo burn NAME, then",
        "OMP_NUM_THREADS=1 robot-wm engine built BUNDLE",
        "no bundle: robot-wm bundel install BUNDLE",
    ],
)
def test_a_name_in_running_text_that_is_not_there_is_found(app, text):
    ((_, words),) = shown(in_text, [("here", text)])
    with pytest.raises((AssertionError, cyclopts.CycloptsError)):
        test_what_running_text_names_is_there(app, words)


def test_the_quick_lines_of_the_readmes_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with zipfile.ZipFile(Zoo.shipped().bundle("a1_velocity")) as archive:
        archive.extractall("a1.rwm")
    text = (ROOT / "README.md").read_text() + (ROOT / "ros2_ws/src/robot_wm/README.md").read_text()
    for line in QUICK:
        assert line in text or line == "robot-wm tasks a1_velocity", line
        assert robot_wm(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    assert Path("robot.pem").stat().st_mode & 0o077 == 0
    assert list(Path("a1-orin-nx").rglob("*.service"))


def test_help_shows_a_line_to_paste_on_one_line():
    """Help is broken at the terminal's 80 columns, at a blank of a command too."""
    examples = [line for _, text in literals() for line in text.splitlines() if re.match(r" {4,}robot-wm ", line)]
    assert len(examples) >= 3
    for line in examples:
        assert len(line.strip()) + 4 <= 80, line
