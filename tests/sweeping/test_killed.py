"""`robot-wm sweep` of real runs, killed in the middle: it goes on, and nothing is lost, doubled or left running."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna

from robot_wm.training import checkpoint
from robot_wm.training.one_writer import only_writer
from robot_wm.yaml_file import read_mapping, write_yaml

BODY = {
    "preset": "quickstart",
    "settings": {
        "stop_at_return": None,
        "predict_every_steps": None,
        "envs": 2,
        "prefill_steps": 60,
        "train_ratio": 8.0,
        "replay_capacity_steps": 2000,
        "log_every_steps": 40,
        "eval_every_steps": None,
        "checkpoint_every_steps": 100,
        "dreamer": {"batch_size": 4, "batch_length": 8, "horizon": 4},
    },
    "space": {
        "dreamer.learning_rate": {"type": "float", "low": 0.0001, "high": 0.01, "log": True},
        "dreamer.discount_horizon": {"type": "int", "low": 20, "high": 200},
    },
    "objective": {"scalar": "episode/return", "over": "best"},
    "budget": {"trials": 2, "steps": 400},
    "pruner": {"kind": "none"},
}


def sweep(file: Path, folder: Path, *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "robot_wm", "sweep", str(file), "--folder", str(folder), "--json", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def test_kill_9_in_a_trial_loses_and_doubles_nothing(tmp_path):
    file, folder = tmp_path / "sweep.yaml", tmp_path / "s"
    file.write_text(write_yaml(BODY))
    first = sweep(file, folder)
    trial, deadline = folder / "trials" / "0000", time.monotonic() + 120
    while not checkpoint.paths(trial):
        assert time.monotonic() < deadline, first.communicate()
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    first.stdout.close()
    first.stderr.close()
    resumed = sweep(file, folder, "--resume")
    out, err = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, err
    result = json.loads(out)
    assert (result["trials"], result["complete"], result["stopped_by"]) == (2, 2, "trials")
    assert result == json.loads((folder / "sweep.json").read_text()) | {"rows": result["rows"]}
    study = optuna.load_study(storage=f"sqlite:///{folder / 'trials.db'}", study_name="sweep")
    assert [one.number for one in study.trials] == [0, 1]
    for number in (0, 1):
        run = folder / "trials" / f"{number:04d}"
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps = [row["step"] for row in rows]
        assert steps == sorted(set(steps))  # no row twice, though the first run was cut
        assert steps[-1] == 400
        told = json.loads((run / "trained.json").read_text())
        assert (told["env_steps"], told["stopped_by"]) == (400, "steps")
        best = max(row["episode/return"] for row in rows if "episode/return" in row)
        assert study.trials[number].value == best
        with only_writer(run):  # nothing trains there any more
            pass
    config = read_mapping(folder / "best.yaml")
    assert config["dreamer"]["learning_rate"] == study.best_trial.params["dreamer.learning_rate"]
    assert config["steps"] == 60_000
    # Killed, it told nobody; the kernel did, and the run saved before it went.
    assert "stopped and saved" in (folder / "trials" / "0000" / "log.txt").read_text()
