"""A run's checkpoints as signed bundles beside it: which are published, what is kept, and what is told."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest

from robot_wm.errors import UserError
from robot_wm.learning.ranks import Ranks
from robot_wm.training import checkpoint
from robot_wm.training.cluster import publisher
from robot_wm.training.cluster.ingest import BUNDLES


@pytest.fixture
def run(tmp_path):
    """A run's folder, and a function that adds a checkpoint of it."""
    folder = tmp_path / "run"

    def save(step):
        path = checkpoint.path_at(folder, step)
        path.mkdir(parents=True)
        return path

    folder.mkdir()
    return SimpleNamespace(folder=folder, save=save)


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "key.pem"
    path.write_text("of the run")
    return path


@pytest.fixture
def exports(monkeypatch):
    """The commands that were run in place of an export, each of which leaves its file; one can be made to fail."""
    told = SimpleNamespace(commands=[], failing=False)

    def run(command, **kwargs):
        told.commands.append(command[2:])
        if told.failing:
            return subprocess.CompletedProcess(command, 2, "", "first\nrobot-wm: the disk is full\n")
        out = command[command.index("--out") + 1]
        with open(f"{out}.zip", "w") as file:
            file.write("bundle")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(publisher.subprocess, "run", run)
    return told


def test_the_last_checkpoint_is_published_and_those_of_an_earlier_start_are_not(run, key, exports, monkeypatch):
    monkeypatch.setattr(publisher, "_LOOK_S", 60.0)  # it looks at the end only
    run.save(100)
    with publisher.publishing(run, key):
        run.save(200)
        last = run.save(2**31 + 7)
    (command,) = exports.commands
    assert command[:2] == ["robot_wm", "export"]
    told = dict(zip(command[2::2], command[3::2], strict=False))
    assert told["--checkpoint"] == str(last)
    assert command[-4:] == ["--sign", str(key), "--bundle-version", "7"]  # a manifest's number has 31 bits
    assert [path.name for path in (run.folder / BUNDLES).iterdir()] == [f"{last.name}.rwm.zip"]
    with publisher.publishing(run, key):
        pass
    assert len(exports.commands) == 1


def test_a_checkpoint_before_the_thread_has_started_is_of_this_start(run, key, exports, monkeypatch):
    class Late(threading.Thread):
        def start(self):
            run.save(100)
            super().start()

    monkeypatch.setattr(publisher.threading, "Thread", Late)
    with publisher.publishing(run, key):
        pass
    assert len(exports.commands) == 1


def test_checkpoints_are_published_while_the_run_goes_on(run, key, exports, monkeypatch):
    monkeypatch.setattr(publisher, "_LOOK_S", 0.01)
    with publisher.publishing(run, key):
        for step in (100, 200):
            path = run.save(step)
            there = run.folder / BUNDLES / f"{path.name}.rwm.zip"
            for _ in range(6000):
                if there.exists():
                    break
                time.sleep(0.01)
            assert there.exists()
    assert len(exports.commands) == 2


def test_three_bundles_are_kept_and_a_failed_one_costs_none_of_them(run, key, exports, caplog):
    folder = run.folder / BUNDLES
    for step in (1, 2, 3, 4):
        publisher.publish(run.save(step), folder, key)
    kept = sorted(path.name for path in folder.iterdir())
    assert kept == [f"{checkpoint.path_at(run.folder, step).name}.rwm.zip" for step in (2, 3, 4)]
    exports.failing = True
    with caplog.at_level(logging.WARNING):
        publisher.publish(run.save(5), folder, key)
    assert "step_000000005: not published: robot-wm: the disk is full" in caplog.text
    assert sorted(path.name for path in folder.iterdir()) == kept


def test_nothing_is_published_without_a_key_or_by_another_rank(run, key, exports):
    other = Ranks()
    other.rank = 1
    for given, ranks in ((None, Ranks()), (key, other)):
        with publisher.publishing(run, given, ranks):
            run.save(100 + ranks.rank)
    assert exports.commands == []


def test_what_is_missing_is_told_before_the_run(run, key, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"--publish-bundles .*none\.pem: no such file"):
        publisher.publishing(run, tmp_path / "none.pem").__enter__()
    monkeypatch.setattr(publisher, "entries", lambda group: {})
    with pytest.raises(UserError, match="the exporter is not installed"):
        publisher.publishing(run, key).__enter__()
