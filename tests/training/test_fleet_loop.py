"""A fleet's loop, as a user runs it: what a robot recorded is imported, learned from, exported and installed."""

from __future__ import annotations

import json

import numpy as np
import pytest
from test_recorded_episodes import drive

from robot_wm.cli import run
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.runtime.bundle import Bundle
from robot_wm.runtime.installed import InstalledBundles
from robot_wm.tasks import make_env
from robot_wm.training.loop import Trainer


@pytest.fixture
def command(capsys):
    """Run a command to its end; returns what it printed as JSON."""

    def call(*arguments):
        assert run([*map(str, arguments), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return call


def test_what_a_robot_recorded_is_in_the_bundle_that_is_installed_next(tiny, tmp_path, command, monkeypatch):
    config = tiny(steps=80)
    Trainer(config).train()
    fleet = InstalledBundles(tmp_path / "installed")

    command("export", "--checkpoint", config.folder, "--out", tmp_path / "first.rwm")
    fleet.install(tmp_path / "first.rwm")
    with Bundle.open(fleet.root / "current") as bundle, make_env("cartpole_balance", seed=4) as env:
        _, _, recorder = drive(bundle, env, tmp_path / "recordings", ticks=120, faulty={})
    imported = command("replay", "import", recorder.path, "--into", tmp_path / "robot")
    assert imported["steps"] == 120

    drawn_steps, sample = np.zeros(120, np.int64), SequenceSampler.sample

    def counted(sampler, batch):
        drawn = sample(sampler, batch)
        if len(sampler) == 120:  # the robot's; the run's own has more or none
            np.add.at(drawn_steps, drawn.index, 1)
        return drawn

    monkeypatch.setattr(SequenceSampler, "sample", counted)
    learn = ["train", "--resume", "--run-dir", config.folder]
    for flags, steps, env_steps in ((["--replay", f"{tmp_path / 'robot'}=0.5"], 100, 100), (["--offline"], 130, 100)):
        drawn_steps[:] = 0
        result = command(*learn, "--steps", steps, *flags)
        assert (result["env_steps"], result["replay_steps"]) == (env_steps, env_steps + 120)
        assert (drawn_steps > 0).mean() > 0.3, f"{flags}: of what the robot recorded little was seen"

    with Bundle.open(fleet.root / "current") as before:
        command("export", "--checkpoint", config.folder, "--out", tmp_path / "second.rwm", "--which", "latest")
        fleet.install(tmp_path / "second.rwm")
        with Bundle.open(fleet.root / "current") as now:
            assert now.manifest.lineage.config["replay"] == [f"{tmp_path / 'robot'}=0.5"]
            assert now.read() != before.read(), "nothing was learned"
