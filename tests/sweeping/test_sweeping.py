"""Sweeps of planted runs: what is drawn, given up, failed, stopped and gone on with."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from pathlib import Path

import pytest

from robot_wm.errors import UserError
from robot_wm.sweeping import running
from robot_wm.sweeping.plan import Sweep
from robot_wm.sweeping.report import write
from robot_wm.sweeping.running import Sweeping
from robot_wm.sweeping.trials import Trials
from robot_wm.training.scalars import read
from robot_wm.yaml_file import read_mapping, write_yaml

PROGRAM = [sys.executable, str(Path(__file__).with_name("planted_run.py"))]
BODY = {
    "preset": "quickstart",
    "space": {"dreamer.learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True}},
    "budget": {"trials": 4, "steps": 900},
    "settings": {"eval_every_steps": 100},
    "sampler": {"startup": 2},
    "pruner": {"kind": "none"},
}


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Run a sweep of planted runs in ``tmp_path / name``."""
    monkeypatch.setattr(running, "_POLL_S", 0.02)

    def call(name="s", *, resume=False, report=lambda: None, **changes):
        file = tmp_path / "sweep.yaml"
        file.write_text(write_yaml(BODY | changes))
        sweep, folder = Sweep(file), tmp_path / name
        folder.mkdir(exist_ok=True)
        trials = Trials(folder, sweep, resume=resume)
        sweeping = Sweeping(sweep, trials, folder, program=PROGRAM)
        stopped_by, confirmed = sweeping.run(report)
        return write(folder, sweep, trials, sweeping, confirmed, stopped_by)

    return call


def begun(folder: Path) -> list[str]:
    return (folder / "begun").read_text().split()


def test_it_finds_what_is_best_and_tells_it(start, tmp_path):
    settings = {"eval_every_steps": 100, "dreamer": {"learning_rate": 0.009}}
    result = start(budget={"trials": 10, "steps": 900, "confirm": 2}, settings=settings, workers=2)
    rows = result["rows"]
    assert (result["trials"], result["complete"], result["stopped_by"]) == (10, 10, "trials")
    assert rows[0]["note"] == "base"
    assert rows[0]["dreamer.learning_rate"] == 0.009  # the base's own
    assert rows[0]["value"] == result["base_value"] == pytest.approx(1 - math.log10(9))
    best = result["best_trial"]
    assert best > 0
    assert result["best_value"] == max(row["value"] for row in rows) == rows[best]["value"] > 0.5
    rates = [row["dreamer.learning_rate"] for row in rows]
    assert len(set(rates)) == 10
    assert all(1e-4 <= rate <= 1e-2 for rate in rates)
    for row in rows:
        folder = tmp_path / "s" / "trials" / f"{row['trial']:04d}"
        assert begun(folder) == ["anew"]
        told = read_mapping(folder / "config.yaml")
        assert (told["seed"], told["steps"]) == (row["trial"], 900)  # each its own seed
    assert result["confirmed_seeds"] == [10_000, 10_001]
    assert result["confirmed_best"] == pytest.approx([result["best_value"]] * 2)
    assert result["confirmed_base"] == pytest.approx([result["base_value"]] * 2)
    seeds = [read_mapping(tmp_path / "s" / "confirm" / f"base_{k}" / "config.yaml")["seed"] for k in (0, 1)]
    assert seeds == [10_000, 10_001]
    told = read_mapping(tmp_path / "s" / "best.yaml")
    assert (told["steps"], told["dreamer"]["learning_rate"]) == (60_000, rates[best])
    assert "seed" not in told
    assert json.loads((tmp_path / "s" / "sweep.json").read_text())["best_trial"] == best
    assert (tmp_path / "s" / "sweep.csv").read_text().count("\n") == 11
    for name in ("history", "parameters", "importance"):
        assert (tmp_path / "s" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_gone_on_with_it_draws_what_it_would_have_drawn(start):
    sampler = {"kind": "tpe", "startup": 3}
    whole = start("whole", sampler=sampler, budget={"trials": 5, "steps": 900})
    start("halves", sampler=sampler, budget={"trials": 2, "steps": 900})
    halves = start("halves", sampler=sampler, budget={"trials": 5, "steps": 900}, resume=True)
    rates = [row["dreamer.learning_rate"] for row in whole["rows"]]
    assert [row["dreamer.learning_rate"] for row in halves["rows"]] == rates
    assert len(set(rates)) == 5


@pytest.mark.parametrize("kind", ["halving", "median"])
def test_hopeless_runs_are_given_up(start, tmp_path, kind):
    pruner = {"kind": kind, "min_steps": 100, "reduction": 2}
    settings = {"eval_every_steps": 100, "time_limit_s": 5}  # a planted run waits so long before its last row
    result = start(budget={"trials": 8, "steps": 900}, pruner=pruner, sampler={"kind": "random"}, settings=settings)
    assert 1 <= result["given_up"] <= 7
    assert result["given_up"] + result["complete"] == 8
    ends = {"complete": [], "given up": []}
    for row in result["rows"]:
        steps = [one["step"] for one in read(tmp_path / "s" / "trials" / f"{row['trial']:04d}")]
        ends[row["state"]].append(steps[-1])
    assert all(step == 900 for step in ends["complete"])
    assert all(step < 900 for step in ends["given up"])
    assert result["best_value"] == max(row["value"] for row in result["rows"])


def test_a_run_that_fails_is_told_and_the_others_go_on(start):
    space = {"dreamer.learning_rate": {"type": "choice", "values": [0.001, 0.06]}}
    result = start(space=space, sampler={"kind": "random"}, budget={"trials": 6, "steps": 900})
    failed = [row for row in result["rows"] if row["state"] == "failed"]
    assert 1 <= len(failed) < 6
    assert all(row["note"] == "exit code 2: diverged" for row in failed)
    assert result["complete"] + result["failed"] == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {"dreamer.learning_rate": {"type": "choice", "values": [0.06, 0.07]}}}, "exit code 2: diverged"),
        ({"objective": {"scalar": "episode/retrun"}}, "no scalar episode/retrun in its log; there are eval/return"),
        ({"objective": {"eval": "retrun_mean"}}, "eval tells no number retrun_mean; it tells return_mean"),
    ],
)
def test_where_all_fail_it_ends_and_says_why(start, changes, message):
    with pytest.raises(UserError, match=f"all of the first 3 trials failed: {message}"):
        start(**changes)


def test_what_ends_a_trial_may_be_an_evaluation(start):
    result = start(objective={"eval": "return_mean"}, budget={"trials": 2, "steps": 900})
    assert [row["value"] for row in result["rows"]] == [7.0, 7.0]
    assert result["objective"] == "return_mean"


@pytest.mark.parametrize(("over", "worth"), [("last", 1.0), ("best", 1.0), ("mean", 5 / 9)])
def test_a_curve_is_worth_what_is_asked(start, over, worth):
    result = start(objective={"over": over}, budget={"trials": 1, "steps": 900})
    assert result["best_value"] == pytest.approx(worth)


def test_what_is_to_be_small_is_best_where_it_is(start):
    result = start(objective={"direction": "minimize"})
    assert result["best_value"] == min(row["value"] for row in result["rows"])


def test_a_signal_stops_the_runs_and_they_are_gone_on_with(start, tmp_path):
    def told(after=[]):  # noqa: B006 - counts the reports
        after.append(1)
        if len(after) == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    result = start(report=told, workers=2)
    assert result["stopped_by"] == "signal"
    assert {row["state"] for row in result["rows"]} <= {"to go on", "complete"}
    again = start(resume=True, workers=2)
    assert (again["trials"], again["complete"]) == (4, 4)
    assert [row["dreamer.learning_rate"] for row in again["rows"]][: result["trials"]] == [
        row["dreamer.learning_rate"] for row in result["rows"]
    ]


def test_a_time_limit_leaves_the_rest_for_later(start):
    result = start(budget={"trials": 4, "steps": 900, "time_limit_s": 0.3})
    assert result["stopped_by"] == "time limit"
    assert start(resume=True)["complete"] == 4


def test_other_trials_could_not_be_compared(start):
    start(budget={"trials": 1, "steps": 900})
    with pytest.raises(UserError, match="holds a sweep already; go on with it by --resume"):
        start()
    with pytest.raises(UserError, match="runs: not what this sweep began with"):
        start(resume=True, budget={"trials": 2, "steps": 800})
    with pytest.raises(UserError, match="seed: not what this sweep began with"):
        start(resume=True, seed=3)
    with pytest.raises(UserError, match="no sweep to resume"):
        start("other", resume=True)
