"""Every command line that a page shows is one that the program takes; those that take seconds are run."""

import itertools
import re
import shlex
import zipfile
from pathlib import Path

import cyclopts
import pytest

from robot_wm.cli import build_app
from robot_wm.cli import run as robot_wm
from robot_wm.zoo.catalog import Zoo

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "ros2_ws/src/robot_wm/README.md", *(
    str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("robot_wm/zoo/agents/*/card.md"))
))  # fmt: skip
PLACEHOLDER = re.compile(r"^(\.{3}|…|<.*>|[A-Z]{3,}|zoo:[A-Z]+)$")
# Of the README's own lines, those that need neither a GPU nor minutes, in an order in which they work.
QUICK = (
    "robot-wm tasks",
    "robot-wm tasks a1_velocity",
    "robot-wm zoo list",
    "robot-wm export generate-key --out robot.pem",
    "robot-wm firmware check --bundle a1.rwm --robot a1",
    "robot-wm firmware render --robot a1 --board orin-nx --bundle a1.rwm --out a1-orin-nx",
    "robot-wm doctor",
)


def fenced(text):
    """Lines of blocks of bash and of those that are indented by four, comments left out, continued ones joined."""
    for _, block in re.findall(r"^( *)```bash\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", " ").splitlines():
            yield shlex.split(line, comments=True)
    for line in re.findall(r"^    (robot-wm .*)$", text, re.MULTILINE):
        yield shlex.split(line, comments=True)


def inline(text):
    """Words of `code` in running text, once for each of alternatives such as ``sim|tick``."""
    prose = re.sub(r"^( *)```.*?^\1```", "", text, flags=re.DOTALL | re.MULTILINE)
    for code in re.findall(r"`([^`]+)`", prose):
        words = shlex.split(code.replace("\n", " "))
        yield from (list(one) for one in itertools.product(*(word.split("|") for word in words)))


def command_lines(style):
    """(page, words after ``robot-wm``) of every page."""
    for page in PAGES:
        for words in style((ROOT / page).read_text()):
            if words[:1] == ["robot-wm"]:
                yield page, words[1:]


def named(lines):
    return [pytest.param(words, id=f"{Path(page).parent.name or 'root'}: {' '.join(words)}") for page, words in lines]


@pytest.fixture(scope="module")
def app():
    return build_app()


def test_there_are_lines_on_every_page():
    assert {page for page, _ in command_lines(fenced)} == set(PAGES)
    assert len(list(command_lines(fenced))) > 25
    assert len(list(command_lines(inline))) > 15


@pytest.mark.parametrize("words", named(command_lines(fenced)))
def test_a_line_to_paste_is_taken(app, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("task: cartpole_balance\n")
    app.parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("words", named(command_lines(inline)))
def test_what_running_text_names_is_there(app, words):
    """The command and every flag; arguments may be left out, and stand-ins for them may stand there."""
    _, chain, rest = app.parse_commands(words)
    command = chain[-1]
    takes_values = command.default_command is not None
    flags = [word.split("=")[0] for word in rest if word.startswith("--")]
    others = [word for word in rest if not word.startswith("-") and not PLACEHOLDER.match(word)]
    assert takes_values or not others, f"no such command: {others}"
    if flags:
        known = {name for argument in command.assemble_argument_collection() for name in argument.names}
        assert set(flags) <= known | {"--help", "--version"}


def launches():
    """(launch file, arguments) of every ``ros2 launch robot_wm`` that a page shows."""
    for page in PAGES:
        for shown in re.findall(r"ros2 launch robot_wm (\S+\.py)((?: \S+:=\S+)*)", (ROOT / page).read_text()):
            yield shown[0], [argument.split(":=")[0] for argument in shown[1].split()]


def test_a_launch_that_is_shown_has_its_file_and_arguments():
    shown = list(launches())
    assert {name for name, _ in shown} == {"agent.launch.py", "hil.launch.py"}
    for name, arguments in shown:
        text = (ROOT / "ros2_ws/src/robot_wm/launch" / name).read_text()
        for argument in arguments:
            assert f'"{argument}"' in text, f"{name} has no argument {argument}"


@pytest.mark.parametrize("line", ["train --task a1_velocity --enws 4", "hil --bundle a.rwm --rate fast", "bench simm"])
def test_a_line_that_is_not_taken_is_found(app, line):
    with pytest.raises(cyclopts.CycloptsError):
        app.parse_args(shlex.split(line), exit_on_error=False, print_error=False)


@pytest.mark.parametrize("words", [["train", "--enws"], ["bench", "simm"], ["zoo", "burn", "NAME"]], ids=" ".join)
def test_a_name_in_running_text_that_is_not_there_is_found(app, words):
    with pytest.raises((AssertionError, cyclopts.CycloptsError)):
        test_what_running_text_names_is_there(app, words)


def test_the_quick_lines_of_the_readme_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(Zoo.shipped().bundle("a1_velocity")) as archive:
        archive.extractall("a1.rwm")
    text = (ROOT / "README.md").read_text()
    for line in QUICK:
        assert line in text or line == "robot-wm tasks a1_velocity", line
        assert robot_wm(shlex.split(line)[1:]) == 0, capsys.readouterr().err
    assert Path("robot.pem").stat().st_mode & 0o077 == 0
    assert list(Path("a1-orin-nx").rglob("*.service"))
