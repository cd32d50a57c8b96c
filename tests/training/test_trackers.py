"""Trackers hear what the run's own log hears, a resumed run stays one run, and no tracker ends or holds up a run."""

from __future__ import annotations

import json
import logging
import struct
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.learning.ranks import ALONE
from robot_wm.training import trackers
from robot_wm.training.config import RunSettings, TrainConfig
from robot_wm.training.scalars import open_log, read
from robot_wm.training.trackers import Tracker, require_installed

PICTURE = np.full((8, 9, 3), 7, np.uint8)


def told(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def config_of(run, *names: str) -> TrainConfig:
    return TrainConfig(run_dir=run, seed=11, tracker=names, dreamer={"size": "nano"})


def write(config: TrainConfig, progress: int, steps: tuple[int, ...]) -> None:
    with open_log(config, progress, ALONE) as log:
        for step in steps:
            log.scalars(step, {"loss/model": step / 2, "run/falls": 3})
        log.image(steps[-1], "open_loop/camera", PICTURE)


@pytest.fixture
def trackio_at(monkeypatch):
    """Trackio asks for its folder when it is imported; gives its storage."""

    def forget():
        for name in [name for name in sys.modules if name.partition(".")[0] == "trackio"]:
            del sys.modules[name]

    def begin(folder):
        forget()
        monkeypatch.setenv("TRACKIO_DIR", str(folder))
        return pytest.importorskip("trackio.sqlite_storage").SQLiteStorage

    yield begin
    forget()


def records_of(file) -> Iterator[bytes]:
    """What is in a .wandb file: LevelDB's log format behind seven bytes, which wandb no longer has a reader for."""
    data, at, whole = file.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield whole
            whole = b""


def test_trackio_gets_rows_pictures_and_settings_and_a_resumed_run_is_one_run(tmp_path, trackio_at, capsys, caplog):
    storage = trackio_at(tmp_path / "trackio")
    run = tmp_path / "run"
    write(config_of(run, "trackio"), 0, (100, 200))
    (name,) = storage.get_runs("robot_wm")
    assert json.loads((run / "trackers.json").read_text()) == {"trackio": name}
    write(config_of(run, "trackio"), 200, (300,))
    assert storage.get_runs("robot_wm") == [name]
    rows = [row for row in storage.get_logs("robot_wm", name) if "loss/model" in row]
    assert [(row["step"], row["loss/model"], row["run/falls"]) for row in rows] == [
        (100, 50, 3), (200, 100, 3), (300, 150, 3),
    ]  # fmt: skip
    assert [row["step"] for row in read(run)] == [100, 200, 300]
    assert len([row for row in storage.get_logs("robot_wm", name) if "open_loop/camera" in row]) == 2
    settings = storage.get_run_config("robot_wm", name)
    assert (settings["seed"], settings["dreamer"]["size"]) == (11, "nano")
    assert "run_dir" not in settings
    assert capsys.readouterr().out == ""  # where `train --json` has its result
    assert told(caplog) == []


def test_wandb_gets_rows_pictures_and_settings_without_a_network(tmp_path, monkeypatch, capsys, caplog):
    pytest.importorskip("wandb").teardown()  # it keeps what the environment told it first
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    run = tmp_path / "run"
    write(config_of(run, "tensorboard", "wandb"), 0, (100, 200))
    (file,) = run.glob("wandb/offline-run-*/run-*.wandb")
    history, settings, keys = [], {}, set()
    for raw in records_of(file):
        record = Record.FromString(raw)
        if record.HasField("run"):
            keys.add(record.run.run_id)
            settings |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        if record.HasField("history"):
            history.append(
                {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            )
    assert keys == {json.loads((run / "trackers.json").read_text())["wandb"]}
    assert [(row["_step"], row["loss/model"]) for row in history] == [(100, 50), (200, 100)]
    assert (settings["seed"], settings["dreamer"]["size"]) == (11, "nano")
    assert list(file.parent.glob("files/media/images/open_loop/camera_200_*.png"))
    assert capsys.readouterr().out == ""
    assert told(caplog) == []


def test_a_tracker_that_nobody_is_logged_in_to_is_given_up_with_one_line(tmp_path, monkeypatch, caplog):
    pytest.importorskip("wandb").teardown()
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    config = config_of(tmp_path / "run", "wandb")
    write(config, 0, (100, 200))
    (line,) = told(caplog)
    assert line.startswith("--tracker wandb: ")
    assert line.endswith("; the run goes on without it")
    assert [row["step"] for row in read(config.folder)] == [100, 200]


@pytest.mark.filterwarnings("ignore:trackio")
def test_a_tracker_that_cannot_write_takes_nothing_of_the_runs_own_log(tmp_path, trackio_at):
    (tmp_path / "file").write_text("")
    trackio_at(tmp_path / "file" / "below")
    config = config_of(tmp_path / "run", "trackio")
    write(config, 0, (100, 200))
    assert [row["step"] for row in read(config.folder)] == [100, 200]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), RuntimeError("no\nlogin")])
def test_whatever_a_tracker_raises_stays_with_it(tmp_path, monkeypatch, caplog, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(trackers, "_begin", fail)
    tracker = Tracker("json", tmp_path, {}, resumed=False)
    tracker._thread.join(30)
    tracker.scalars(1, {"a": 1.0})
    tracker.close()
    assert tracker.dropped == 1
    (line,) = told(caplog)
    assert type(error).__name__ in line
    assert "\n" not in line


def test_a_tracker_that_hangs_holds_up_nothing(tmp_path, monkeypatch, caplog):
    go_on = threading.Event()
    monkeypatch.setattr(trackers, "_begin", lambda *_: go_on.wait())
    monkeypatch.setattr(trackers, "_CLOSE_S", 0.05)
    tracker = Tracker("json", tmp_path, {}, resumed=False)
    begin = time.monotonic()
    for step in range(trackers._ROWS + 5):
        tracker.scalars(step, {"a": 1.0})
    tracker.close()
    assert time.monotonic() - begin < 20
    assert tracker.dropped == 5
    assert told(caplog) == ["--tracker json: has not answered for 0.05 s; the run goes on without it"]
    go_on.set()


def test_trackers_are_told_on_the_command_line_and_tensorboard_stays(tmp_path, capsys):
    assert RunSettings().tracker == ("tensorboard",)
    config = config_of(tmp_path, "wandb", "tensorboard", "wandb", "trackio")
    assert config.trackers == ("wandb", "trackio")
    with pytest.raises(UserError, match=r"--tracker no_such: not installed; pip install 'robot-wm\[no_such\]'"):
        require_installed(("no_such",))
    with pytest.raises(ValueError, match="tracker"):
        config_of(tmp_path, "mlflow")


def test_a_damaged_list_of_names_begins_a_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(trackers, "_begin", lambda *_: None)
    (tmp_path / "trackers.json").write_text("[")
    Tracker("json", tmp_path, {}, resumed=True).close()
    assert json.loads((tmp_path / "trackers.json").read_text())["json"].startswith(tmp_path.name)
