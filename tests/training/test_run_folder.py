"""A run's folder: a checkpoint that is damaged is named and stepped over, and two processes never train in it."""

import logging
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from robot_wm.cli import run as robot_wm
from robot_wm.errors import UserError
from robot_wm.training import checkpoint
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
from robot_wm.training.one_writer import only_writer

HOLD = """
import sys
from pathlib import Path
from robot_wm.training.one_writer import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def cut(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip(file):
    content = bytearray(file.read_bytes())
    content[-5] ^= 1  # among a tensor's numbers: nothing but a checksum can tell
    file.write_bytes(content)


def empty(file):
    file.write_bytes(b"")


def remove(file):
    file.unlink()


@pytest.fixture(scope="module")
def config(tiny_dreamer):
    """Makes the settings of a run that is there already or will be."""
    values = dict(steps=200, envs=2, prefill_steps=40, train_ratio=8.0, replay_capacity_steps=2000)
    values |= dict(checkpoint_every_steps=1000, device="cpu", dreamer=tiny_dreamer)

    def make(run, **changes):
        return TrainConfig(**values | dict(run_dir=run) | changes)

    return make


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config):
    """A run that was resumed at 60 steps; it has checkpoints there and at its end."""
    run = tmp_path_factory.mktemp("finished") / "run"
    Trainer(config(run, steps=60)).train()
    Trainer(config(run), resume=True).train()
    return run


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "damage"),
    [(name, damage) for name in ("learner.safetensors", "state.json") for damage in (cut, empty, remove)]
    + [("learner.safetensors", flip)],  # people may edit the other, so it has no checksum
)
def test_a_resume_steps_over_a_damaged_checkpoint_and_loses_nothing(run, caplog, name, damage, config):
    older, newest = checkpoint.paths(run)
    learner = checkpoint.read_learner(older)
    damage(newest / name)
    with caplog.at_level(logging.WARNING):
        trainer = Trainer(config(run), resume=True)
    told = caplog.messages[0]
    assert str(newest / name) in told
    assert f"going on from {older} instead" in told
    assert trainer.state.env_steps == 60
    assert all(torch.equal(value, learner[name]) for name, value in trainer.learner.state_dict().items())
    # What was experienced since is learned from, too, and stays.
    stored = len(trainer.store.index.number)
    assert len(trainer.sampler) == trainer.store.index.steps.sum() > 60
    assert (checkpoint.folder(run) / "damaged_step_000000200").is_dir()
    assert trainer.train().env_steps == 200
    episodes = list(trainer.store.episodes())
    assert len(episodes) > stored
    assert len({episode.source.seed for episode in episodes}) == len(episodes), "steps were made a second time"
    # The next one goes on from the end.
    caplog.clear()
    assert Trainer(config(run), resume=True).state.env_steps == 200
    assert caplog.messages == []


@pytest.mark.parametrize("name", ["step_000000200/replay.safetensors", "segments/*"])
@pytest.mark.parametrize("damage", [cut, flip, empty, remove])
def test_a_damaged_replay_is_filled_anew_and_the_newest_learner_goes_on(run, caplog, name, damage, config):
    file = max(checkpoint.folder(run).glob(name), key=lambda path: path.stat().st_size)
    damage(file)
    trainer = Trainer(config(run, steps=210), resume=True)
    assert trainer.state.env_steps == 200
    assert str(file) in caplog.messages[0]
    assert "filled anew" in caplog.messages[0]
    assert len(trainer.sampler) == trainer.store.index.steps.sum() > 60
    drawn = trainer.sampler.look(64, np.random.default_rng(0))
    assert set(np.unique(drawn.reward)) <= set(np.concatenate([episode.reward for episode in trainer.store.episodes()]))
    before = trainer.state.updates
    assert trainer.train().updates > before


def test_where_no_checkpoint_is_whole_one_line_says_so_and_all_stays(run, capsys):
    for path in checkpoint.paths(run):
        cut(path / "learner.safetensors")
    files = sorted(run.rglob("*"))
    assert robot_wm(["train", "--resume", "--run-dir", str(run)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "step_000000200/learner.safetensors: damaged" in told
    assert "no checkpoint of this run is whole" in told
    assert sorted(run.rglob("*")) == files


def test_settings_are_read_from_the_newest_checkpoint_that_can_tell(run):
    cut(checkpoint.latest_path(run) / "state.json")
    assert robot_wm(["train", "--resume", "--run-dir", str(run), "--json"]) == 0
    assert checkpoint.read_state(checkpoint.latest_path(run)).config.envs == 2


def test_another_versions_checkpoint_is_refused_and_not_stepped_over(run, config):
    file = checkpoint.latest_path(run) / "state.json"
    file.write_text(file.read_text().replace('"episodes"', '"chapters"'))
    with pytest.raises(UserError, match=r"step_000000200/state\.json: chapters"):
        Trainer(config(run), resume=True)
    assert len(checkpoint.paths(run)) == 2


def test_what_a_killed_save_left_is_taken_up(run, config):
    newest = checkpoint.latest_path(run)
    newest.rename(newest.with_name(f".{newest.name}.0123abcd.old"))  # moved aside, and then the power went
    half = newest.with_name(f".{newest.name}.0123abcd.tmp")
    half.mkdir()
    (half / "learner.safetensors").write_bytes(b"half")
    (checkpoint.segments_folder(run) / ".abc.safetensors.0123abcd.tmp").write_bytes(b"half")
    assert Trainer(config(run), resume=True).state.env_steps == 200
    assert list(checkpoint.folder(run).rglob(".*")) == []


@pytest.mark.parametrize("command", ["eval", "export"])
def test_an_agent_of_a_damaged_checkpoint_is_refused_and_another_one_is_named(run, tmp_path, capsys, command):
    older, newest = checkpoint.paths(run)
    flip(newest / "learner.safetensors")
    options = ["--out", str(tmp_path / "a.rwm")] if command == "export" else []
    assert robot_wm([command, "--checkpoint", str(run), *options]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"{newest / 'learner.safetensors'}: damaged" in told
    assert f"--checkpoint {older}" in told
    assert not (tmp_path / "a.rwm").exists()


def test_two_processes_never_train_in_one_folder(tmp_path, finished, config):
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=rf"process {other.pid} on \S+ trains here"):
            Trainer(config(tmp_path))
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        other.kill()
    Trainer(config(tmp_path))  # the kernel has let go of it


def test_who_comes_while_a_run_trains_and_who_has_waited_too_long_are_refused(run, config):
    waiting = Trainer(config(run, steps=210), resume=True)
    running = Trainer(config(run, steps=210), resume=True)
    refused = []

    def come(trainer):
        for resume in (False, True):
            with pytest.raises(UserError, match="trains here") as error:
                Trainer(config(run), resume=resume)
            refused.append(error)

    running.train(come)
    assert refused
    stored = len(running.store.index.number)
    with pytest.raises(UserError, match="another process has trained here meanwhile"):
        waiting.train()
    running.store.refresh()
    assert len(running.store.index.number) == stored
    with only_writer(run):
        pass
