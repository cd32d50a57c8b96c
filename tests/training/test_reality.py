"""A run's own audits: logged, kept in its checkpoints, and warned of."""

import logging

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robot_wm.training import scalars
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.loop import Trainer

DRIFT = "gym:toy_envs:toys/Drift-v0"


def test_training_logs_keeps_and_warns(tiny, caplog):
    """Hardly trained, it knows of no reward where each is about -0.5."""
    config = tiny(task=DRIFT, steps=160, envs=1, prefill_steps=100, audit_every_steps=150, audit_states=4)
    with caplog.at_level(logging.WARNING):
        state = Trainer(config).train()
    rows = [row for row in scalars.read(config.folder) if "reality/gap" in row]
    assert [row["step"] for row in rows] == [150]
    assert state.reality["env_steps"] == 150
    assert state.reality["gap"] == pytest.approx(rows[0]["reality/gap"], abs=1e-5)
    assert "gap" in state.reality["findings"]
    assert "imagination is not what comes" in caplog.text
    assert load_agent(config.folder, "latest").lineage["reality"] == state.reality


def test_with_every_audit_comes_a_map_of_what_is_believed(tiny):
    config = tiny(task=DRIFT, steps=160, envs=1, prefill_steps=100, audit_every_steps=75, audit_states=4)
    Trainer(config).train()
    board = EventAccumulator(str(config.folder / "tensorboard"))
    board.Reload()
    maps = board.Images("latents")
    assert [image.step for image in maps] == [104, 150]  # the first when something has been learned
    assert (maps[0].width, maps[0].height) > (400, 200)


def test_an_audit_that_nothing_can_be_told_by_yet_is_no_error(tiny, caplog):
    config = tiny(task=DRIFT, steps=20, envs=1, prefill_steps=10, audit_every_steps=15, audit_states=4)
    config = config.model_copy(update={"task_options": {"length": 1000}})
    with caplog.at_level(logging.WARNING):
        state = Trainer(config).train()
    assert state.reality == {}
    assert state.updates == 0 or "not audited" in caplog.text
