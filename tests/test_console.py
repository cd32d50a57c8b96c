"""Progress where a terminal shows it, and where none does."""

import io
import os
import re
import subprocess
import sys
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from robot_wm import console
from robot_wm.console import emit, messages, progress


def wait_for(what):
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def pipe(monkeypatch):
    """A console of what is no terminal, which is told every 10 ms instead of every 30 s."""
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.01)
    return Console(file=io.StringIO())


def lines(of):
    return of.file.getvalue().splitlines()


def test_a_pipe_gets_a_plain_line_now_and_then_even_if_nothing_moves(pipe):
    with progress(pipe) as bar:
        row = bar.add_task("train", total=500_000, note="")
        bar.update(row, completed=12_000, note="return 12.3, [3 falls]")
        wait_for(lambda: len(lines(pipe)) >= 3)
    assert all(
        re.fullmatch(r"train: 12000/500000, elapsed \d:\d\d:\d\d, return 12\.3, \[3 falls\]", line)
        for line in lines(pipe)[1:]
    )


def test_a_line_tells_when_it_will_be_done(pipe):
    with progress(pipe) as bar:
        row = bar.add_task("train", total=10.0**9, note="")
        for step in range(3):
            time.sleep(0.01)
            bar.update(row, completed=step + 1.0)
        wait_for(lambda: any("ETA" in line for line in lines(pipe)))


def test_the_end_is_told_once_and_in_full(monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY_S", 600.0)
    out = Console(file=io.StringIO(), width=30)  # what is no terminal has no width: nothing is cut or wrapped
    with progress(out) as bar:
        rows = [bar.add_task(name, total=3, note="") for name in ("evaluate", "real time", "not begun")]
        for row in rows[:2]:
            bar.update(row, completed=3, note="a long note that says a great deal")
        assert lines(out) == []
    told = [line.replace(", elapsed 0:00:00", "") for line in lines(out)]
    assert told == [f"{name}: 3/3, a long note that says a great deal" for name in ("evaluate", "real time")]


def test_what_is_finished_is_not_told_again(pipe):
    with progress(pipe) as bar:
        bar.update(bar.add_task("first", total=1, note=""), completed=1)
        second = bar.add_task("second", total=2, note="")
        wait_for(lambda: len(lines(pipe)) >= 4)
        bar.update(second, completed=1)
    assert sum(line.startswith("first") for line in lines(pipe)) == 1
    assert lines(pipe)[-1].startswith("second: 1/2")


def test_nothing_is_told_of_what_has_not_begun_so_that_a_refusal_stays_one_line(pipe):
    with progress(pipe) as bar:
        bar.add_task("evaluate", total=3, note="", visible=False)
        time.sleep(0.1)
    assert lines(pipe) == []


def test_a_terminal_keeps_the_bar(monkeypatch):
    monkeypatch.setattr(console, "LINE_EVERY_S", 0.01)
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100, _environ={"TERM": "xterm"})
    with progress(terminal) as bar:
        bar.update(bar.add_task("train", total=10, note=""), completed=5)
    assert "━" in terminal.file.getvalue()
    assert "train:" not in terminal.file.getvalue()


def test_a_real_pipe():
    script = (
        "from robot_wm.console import progress\n"
        "with progress() as bar:\n"
        "    bar.update(bar.add_task('work', total=None, note=''), completed=7, note='half')\n"
        "print('result')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "result\n"
    assert re.fullmatch(r"work: 7, elapsed \d:\d\d:\d\d, half\n", done.stderr)


NUMBERS = st.one_of(st.integers(-(10**12), 10**12), st.floats(-1e9, 1e9), st.booleans(), st.none())


def shown(result, width, monkeypatch):
    out = io.StringIO()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setenv("COLUMNS", str(width))
        emit(result, as_json=False, title="a title")
    return out.getvalue()


@given(
    rows=st.lists(st.dictionaries(st.sampled_from("abcdefgh"), NUMBERS, min_size=1), min_size=1, max_size=3),
    width=st.integers(40, 120),
)
def test_no_number_is_cut_however_narrow_it_is(rows, width):
    with pytest.MonkeyPatch.context() as patch:
        text = shown(
            {"rows": [{f"{key}_of_some_length": value for key, value in row.items()} for row in rows]}, width, patch
        )
    assert max(map(len, text.splitlines())) <= width
    words = re.findall(r"[^\s│┃]+", text)
    for row in rows:
        for key, value in row.items():
            assert f"{key}_of_some_length" in words
            assert (f"{value:.4g}" if isinstance(value, float) else str(value)) in words
    assert "…" not in text


PATH = "/" + "/".join(letter * 60 for letter in "def")
COMMAND = "robot-wm export --checkpoint runs/a1 --out a1.rwm --sign robot.pem --bundle-version 7 --which latest --zip"


@pytest.mark.parametrize("width", [30, 80, 150])
@pytest.mark.parametrize("value", [PATH, COMMAND, "0123456789abcdef" * 4, "/é/数" * 40])
def test_what_is_to_be_pasted_stays_on_one_line(value, width, monkeypatch):
    """In a listing, among its keys, in a cell of several lines, and in a column."""
    for result in (
        {"count": 1, "spec": value, "rows": []},
        {"by": {"first": value, "second": value}},
        {"rows": [{"name": "one", "what": value, "count": 3.25}, {"name": "two", "what": "short"}]},
    ):
        text = shown(result, width, monkeypatch)
        lines = [line for line in text.splitlines() if value in line]
        assert lines or (value == COMMAND and "rows" in result)  # a column of prose breaks between words
        assert all(word in text for word in value.split())
    assert "3.25" in text


@pytest.mark.parametrize("width", [24, 40, 80])
def test_a_word_of_a_column_is_whole_or_no_column_is(width, monkeypatch):
    rows = [{"robot": f"a_robot_with_a_name_{n}", "what": "Quadruped of twelve 6:1 servos", "kg": n} for n in range(3)]
    words = re.findall(r"[^\s│┃]+", shown({"rows": rows}, width, monkeypatch))
    for n in range(3):
        assert f"a_robot_with_a_name_{n}" in words
    assert words.count("Quadruped") == 3


def test_brackets_in_what_is_beneath_are_no_markup(monkeypatch):
    assert "where: [/x]" in shown({"where": "[/x]" * 40}, 40, monkeypatch)


def test_columns_stand_side_by_side_where_they_have_room(monkeypatch):
    rows = [{"name": "one", "count": 1, "what": "a text that is long enough to be broken"}, {"name": "two", "count": 2}]
    text = shown({"rows": rows}, 40, monkeypatch)
    assert re.search(r"name +┃ +count +┃ +what", text)
    assert "two" in text


def test_a_line_to_paste_is_not_broken(monkeypatch):
    out = io.StringIO()
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys, "stderr", out)
    line = "continue with: robot-wm train --resume --run-dir /a/very/long/path/of/some/run/that/is/longer"
    messages().print(line)
    assert out.getvalue() == line + "\n"


def test_work_goes_on_when_nobody_reads_its_messages(monkeypatch):
    """``robot-wm train 2>&1 | head`` must not end a run; rich ends the program."""
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as gone:
        monkeypatch.setattr(sys, "stderr", gone)
        with progress() as bar:
            bar.update(bar.add_task("train", total=3, note=""), completed=3)
        messages().print("saved")
        with suppress(BrokenPipeError):
            gone.close()  # what is left in the buffer fails again


def test_what_messages_name_is_text_and_no_markup(capsys):
    messages().print("runs/a[red] and [/b]: saved")
    assert capsys.readouterr().err == "runs/a[red] and [/b]: saved\n"
