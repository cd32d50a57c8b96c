"""`make test` runs in two halves: side by side, and alone. Between them they run every test, once."""

import shlex
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def halves(target):
    """The arguments of pytest in `make TARGET`, for each time that it is started."""
    done = subprocess.run(["make", "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    started = (line for line in done.stdout.splitlines() if "/bin/pytest " in line)
    return [shlex.split(line.partition("/bin/pytest ")[2].partition("||")[0]) for line in started]


def test_what_the_first_half_leaves_out_is_what_the_second_runs():
    together, alone = halves("test")
    left_out = [argument.removeprefix("--ignore=") for argument in together if argument.startswith("--ignore=")]
    assert left_out == [argument for argument in alone if not argument.startswith("-")] != []
    assert all((ROOT / path).exists() for path in left_out)
    assert not [argument for argument in together if argument.startswith("tests")]


def test_what_needs_the_machine_to_itself_has_it():
    together, alone = halves("test")
    assert "--numprocesses" in together
    assert "--numprocesses" not in alone
    assert {"tests/ros", "tests/hil"} <= {*alone}  # nodes in real time


def test_coverage_traces_what_test_runs_and_one_report_covers_both_halves():
    plain, traced = halves("test"), halves("coverage")
    assert not [argument for half in plain for argument in half if argument.startswith("--cov")]
    for untraced, half in zip(plain, traced, strict=True):
        assert {*half} - {*untraced} == {"--cov", "--cov-append", "--cov-report=term:skip-covered"}
        assert {*untraced} <= {*half}
