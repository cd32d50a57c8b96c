"""Our own agent's run has the same curve, and its checkpoints can be tried later."""

import json

import numpy as np
import pytest

from robot_wm.baselines import dreamer
from robot_wm.baselines.checkpoints import try_checkpoints
from robot_wm.baselines.curve import EPISODES, TRIALS, Curve, read_rows
from robot_wm.baselines.trial import WalkingTrials
from robot_wm.dreamer.config import DreamerConfig
from robot_wm.errors import UserError
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.config import TrainConfig
from robot_wm.training.scalars import METRICS


def config(tmp_path, **changes):
    body = dict(
        run_dir=tmp_path / "run",
        task="cartpole_balance",
        steps=240,
        envs=12,
        prefill_steps=240,
        device="cpu",
        episodes_per_commit=1000,
        dreamer=DreamerConfig(size="nano", batch_size=2, batch_length=4),
    )
    return TrainConfig(**body | changes)


def test_every_episode_is_on_the_curve_however_many_end_at_once(tmp_path):
    with Curve(tmp_path, rate_hz=50.0, figure_names=("fall",), trial_every_steps=None) as curve:
        steps, why = dreamer.train(config(tmp_path, steps=960, prefill_steps=960), curve=curve, trials=None)
    rows = read_rows(tmp_path / EPISODES)
    stored = [e for e in EpisodeStore.open(tmp_path / "run" / "replay").episodes() if not e.source.goes_on]
    assert (steps, why) == (960, "steps")
    assert len(stored) > 12
    assert sorted(rows["return"]) == pytest.approx(sorted(episode.episode_return for episode in stored), rel=1e-6)
    assert sorted(rows["length"]) == sorted(episode.length - 1 for episode in stored)
    np.testing.assert_array_equal(rows["terminated"], 1)  # a random policy lets the pole fall
    assert (np.diff(rows["step"]) >= 0).all()
    assert rows["step"][-1] <= 960
    np.testing.assert_array_equal(rows["step"] % 12, 0)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A run of two rounds on the A1 with one trial, which the untrained agent stands or falls in."""
    folder = tmp_path_factory.mktemp("walked")
    trials = WalkingTrials("a1_velocity", {})
    names = trials._envs[0].unwrapped.figure_names
    with Curve(folder, rate_hz=50.0, figure_names=names, trial_every_steps=40) as curve:
        made = config(folder, task="a1_velocity", steps=60, prefill_steps=60, envs=2)
        dreamer.train(made, curve=curve, trials=trials)
    trials.close()
    return folder


def test_trials_are_held_with_the_agent_as_it_is_then(walked):
    rows = read_rows(walked / TRIALS)
    assert rows["step"].tolist() == [40.0]
    assert (rows["starts"], rows["walked"]) == (3, 0)


def test_a_checkpoint_is_tried_as_the_agent_was_in_training(walked):
    with (walked / "run" / METRICS).open("a") as log:
        log.writelines(json.dumps({"step": step, "run/falls": step / 10}) + "\n" for step in (50, 70))
    (row,) = try_checkpoints(walked / "run")
    assert (row["step"], row["walked"], row["falls"]) == (60, "0/3", 5)
    # Nothing was learned in between, so the trial of the run and that of its checkpoint are the same.
    then = read_rows(walked / TRIALS)
    assert row["lasted_s"] == pytest.approx(then["lasted_s"][0])
    assert (row["forward_m_s"] or np.nan) == pytest.approx(then["forward_m_s"][0], nan_ok=True)
    assert try_checkpoints(walked / "run" / "checkpoints" / "step_000000060") == [row]
    with pytest.raises(UserError, match="no checkpoint"):
        try_checkpoints(walked)
