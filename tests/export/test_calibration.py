"""Calibration sees what the robot's graph would have seen: transform, executed actions, the graph's own state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.parity import replay
from robot_wm.runtime.transform import ObservationTransform, to_policy
from robot_wm_export import calibration
from robot_wm_export.calibration import calibration_inputs, from_store
from robot_wm_export.onnx_export import export_op17


def episode(spec, length: int, seed: int) -> Episode:
    rng = np.random.default_rng(seed)
    steps = np.arange(length)
    action = rng.uniform(-1, 1, (length, spec.action_dim)).astype(np.float32)
    action[-1] = 0.0
    return Episode(
        obs={
            field.name: rng.normal(size=(length, *field.shape)).astype(np.float32)
            if field.dtype == "float32"
            else rng.integers(0, 256, (length, *field.shape), dtype=np.uint8)
            for field in spec.observations
        },
        action=action,
        reward=np.zeros(length, np.float32),
        reward_known=steps >= 0,
        is_first=steps == 0,
        is_last=steps == length - 1,
        is_terminal=np.zeros(length, np.bool_),
        source=EpisodeSource(kind="sim", task=spec.task, robot=spec.robot),
    )


@pytest.fixture
def episodes(proprio) -> list[Episode]:
    return [episode(proprio.spec, length, seed) for seed, length in enumerate((30, 20, 10))]


@pytest.fixture
def store(proprio, episodes, tmp_path) -> Path:
    with EpisodeStore.create(tmp_path / "replay", proprio.spec) as made:
        made.append(episodes)
    return tmp_path / "replay"


def test_the_newest_episodes_come_first_and_the_last_is_cut(proprio, store, episodes, monkeypatch):
    monkeypatch.setattr(calibration, "TICKS", 25)
    made = from_store(store, proprio.agent, proprio.spec)
    assert made.ticks.ticks == 25
    assert np.flatnonzero(made.ticks.is_first[:, 0]).tolist() == [0, 10]
    assert made.source.startswith("25 ticks of 2 episodes, replay version ")
    newest, cut = episodes[2], episodes[1]
    # Two frames of history; the first fills both.
    transform = ObservationTransform(proprio.spec)
    for tick, (source, step) in enumerate([(newest, k) for k in range(10)] + [(cut, k) for k in range(15)]):
        seen = transform.push({name: values[step] for name, values in source.obs.items()}, step == 0)
        for name, value in seen.items():
            np.testing.assert_array_equal(made.ticks.observations[name][tick], value)
        executed = np.zeros(3) if step == 0 else to_policy(proprio.spec.action, source.action[step - 1])
        np.testing.assert_array_equal(made.executed[tick, 0], executed)
    # Every fourth tick is greedy, the others are not.
    assert not made.ticks.noise["noise/latent"][::4].any()
    assert made.ticks.noise["noise/latent"][1::4].any()


def test_all_episodes_are_taken_where_there_are_few(proprio, store):
    assert from_store(store, proprio.agent, proprio.spec).ticks.ticks == 60


def test_the_state_is_the_graphs_own_and_the_action_the_executed_one(proprio, store):
    made = from_store(store, proprio.agent, proprio.spec)
    model = export_op17(proprio.graph)
    inputs = calibration_inputs(model, proprio.graph, made)
    engine = OnnxEngine(model.SerializeToString(), proprio.graph.state)
    engine.activate()
    outputs = replay(engine, inputs, proprio.graph.state, proprio.graph.outputs)
    np.testing.assert_array_equal(inputs["state/action"], made.executed)
    for name in ("deter", "stoch"):
        np.testing.assert_array_equal(inputs[f"state/{name}"][1:], outputs[f"next/{name}"][:-1])
        assert not inputs[f"state/{name}"][0].any()


def test_stores_that_cannot_serve(proprio, make_case, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        from_store(tmp_path / "nowhere", proprio.agent, proprio.spec)
    EpisodeStore.create(tmp_path / "empty", proprio.spec)
    with pytest.raises(UserError, match="holds no episode to calibrate by"):
        from_store(tmp_path / "empty", proprio.agent, proprio.spec)
    EpisodeStore.create(tmp_path / "other", make_case("discrete").spec)
    with pytest.raises(UserError, match=r"other: .*action"):
        from_store(tmp_path / "other", proprio.agent, proprio.spec)
