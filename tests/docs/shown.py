"""Where the project shows commands: pages, what it renders, comments of its settings, and its own messages and help."""

from __future__ import annotations

import ast
import itertools
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from robot_wm.firmware.loading import load_board, load_robot
from robot_wm.firmware.render import render_all
from robot_wm.firmware.shipped import known

ROOT = Path(__file__).resolve().parents[2]
CODE = ("robot_wm", "sim/robot_wm_sim", "export/robot_wm_export", "export/robot_wm_bench",
        "ros2_ws/src/robot_wm/robot_wm_ros", "ros2_ws/src/robot_wm/launch")  # fmt: skip
SETTINGS = ("ros2_ws/src/robot_wm/config", "firmware_configs", "robot_wm/training/presets", "robot_wm/baselines",
            "robot_wm/cluster/templates", "robot_wm/firmware/templates",
            "export/robot_wm_export/templates")  # fmt: skip
STAND_IN = "{}"  # for what a message fills in
_FENCE = re.compile(r"^( *)```(?:bash|sh)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)
_ANY_FENCE = re.compile(r"^( *)```.*?^\1```", re.DOTALL | re.MULTILINE)
_ENDS = re.compile(r"\s(?:;|\||&&|#)\s|;\s|$")


def pages() -> dict[str, str]:
    """Every page in Markdown of the repository, by path."""
    rooms = (".", "ros2_ws/src", "robot_wm", "tests", "firmware_configs", "export", "sim")
    found = {path for room in rooms for path in (ROOT / room).glob("*.md" if room == "." else "**/*.md")}
    return {str(path.relative_to(ROOT)): path.read_text() for path in sorted(found)}


@cache
def rendered() -> dict[str, str]:
    """What ``firmware render`` writes for every robot and board, by robot, board and name."""
    return {
        f"{robot}, {board}: {file.name}": file.text
        for robot in known("robots")
        for board in known("boards")
        for file in render_all(load_robot(robot), load_board(board))
        if file.name.endswith((".md", ".service", ".yaml", ".sh")) or "." not in file.name
    }


def settings() -> dict[str, str]:
    """YAML and templates that ship, by path."""
    paths = [path for room in SETTINGS for path in sorted((ROOT / room).rglob("*")) if path.suffix in (".yaml", ".j2")]
    return {str(path.relative_to(ROOT)): re.sub(r"\{\{.*?\}\}", STAND_IN, path.read_text()) for path in paths}


def literals() -> Iterator[tuple[str, str]]:
    """(file and line, text) of every string in the code: messages, help and docstrings."""
    for room in CODE:
        for path in sorted((ROOT / room).rglob("*.py")):
            tree = ast.parse(path.read_text())
            inside = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
            for node in ast.walk(tree):
                if isinstance(node, ast.JoinedStr):
                    text = "".join(
                        str(part.value) if isinstance(part, ast.Constant) else STAND_IN for part in node.values
                    )
                elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
                    text = node.value
                else:
                    continue
                yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def lines_to_paste(text: str, program: str) -> Iterator[list[str]]:
    """Words after ``program`` in blocks of shell and in lines that are indented by four, continued ones joined."""
    blocks = [block for _, block in _FENCE.findall(text)]
    blocks += re.findall(rf"^    ((?:\S+ )*{program} .*(?:\\\n.*)*)$", _ANY_FENCE.sub("", text), re.MULTILINE)
    for block in blocks:
        for line in block.replace("\\\n", " ").splitlines():
            yield from _after(program, re.split(r"(?:^|\s)#\s", line)[0])


def in_text(text: str, program: str) -> Iterator[list[str]]:
    """Words after ``program`` in running text, once for each of alternatives such as ``sim|tick``.

    `Code` ends at its tick; a command without ticks at a full stop, comma, bracket or the end of the line.
    """
    prose = _ANY_FENCE.sub("", text).replace("\\\n", " ")
    quoted = re.findall(r"``?([^`]+)``?", prose)
    # "Rendered by robot-wm firmware for a1" is no command.
    plain = re.findall(rf"(?<![\w/-])(?<!endered by ){program} [^`\n]*", re.sub(r"``?[^`]+``?", " ", prose))
    for code in (*quoted, *(re.split(r"[.,;:)]+(?:\s|$)", one)[0] for one in plain)):
        for words in _after(program, code.replace("\n", " ")):
            yield from (list(one) for one in itertools.product(*(word.split("|") for word in words)))


def _after(program: str, line: str) -> Iterator[list[str]]:
    """Words after each mention of ``program``, by whatever path and in whatever loop, up to the end of its command."""
    for match in re.finditer(rf"(?<![\w-])(?:\S*/)?{program}(?=\s)", line):
        rest = line[match.end() :]
        rest = rest[: _ENDS.search(rest).start()]
        try:
            yield shlex.split(rest, comments=True)
        except ValueError:  # an apostrophe of running text
            yield rest.split()
