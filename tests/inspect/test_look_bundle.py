"""A bundle looked at: what its tick tells without its weights, and where its weights are."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.inspect.agents_replay import locate
from robot_wm.inspect.audit_command import audit_command
from robot_wm.inspect.believing import spread_over
from robot_wm.inspect.bundle_pieces import BundlePieces
from robot_wm.inspect.bundle_weights import is_twin, weights_of
from robot_wm.inspect.look_command import look_command
from robot_wm.inspect.run_pieces import RunPieces
from robot_wm.runtime.bundle import Bundle
from robot_wm.training.checkpoint import load_agent, write_agent
from robot_wm.training.rehearsal import rehearse
from robot_wm.zoo.catalog import Zoo

NAME = "cartpole_balance"


@pytest.fixture(scope="module")
def loaded():
    return load_agent(Zoo.shipped().folder(NAME))


@pytest.fixture(scope="module")
def store(tmp_path_factory, loaded):
    return rehearse(loaded, tmp_path_factory.mktemp("bundle") / "replay", steps=200, seed=1)


@pytest.fixture(scope="module")
def episodes(store):
    return [(number, cut(episode)) for number, episode in spread_over(store, 1, each=1)[:1]]


def cut(episode, steps=150):
    """Its first steps."""
    columns = ("action", "reward", "reward_known", "is_first", "is_last", "is_terminal")
    obs = {name: values[:steps].copy() for name, values in episode.obs.items()}
    return replace(episode, obs=obs, **{name: getattr(episode, name)[:steps] for name in columns})


@pytest.fixture
def lone(tmp_path):
    """The bundle, away from its weights."""
    return shutil.copy(Zoo.shipped().bundle(NAME), tmp_path / "agent.rwm.zip")


@pytest.fixture(scope="module")
def other(tmp_path_factory, loaded):
    """Weights of the same shapes that act otherwise."""
    tensors = {name: value.clone() for name, value in loaded.agent.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for name, value in tensors.items():
        if name.startswith("actor") and value.is_floating_point():
            value += 0.1 * torch.randn(value.shape, generator=generator)
    folder = tmp_path_factory.mktemp("other")
    write_agent(folder, loaded.state, tensors)
    return folder


def test_a_tick_tells_what_the_weights_would(lone, loaded, episodes):
    (model,) = RunPieces(loaded.agent, loaded.spec, episodes, horizon=8, seed=0)
    with Bundle.open(lone) as bundle:
        (piece,) = BundlePieces(bundle, episodes)
    for name in ("value", "surprise"):  # but for near ties of a draw
        off = np.abs(piece.numbers[name] - model.numbers[name])
        assert np.mean(off < 1e-3 * np.maximum(1, np.abs(model.numbers[name]))) > 0.9
    for path in ("observation/pole_angle/recorded", "action/slider/recorded", "reward/recorded"):
        np.testing.assert_array_equal(piece.numbers[path], model.numbers[path])
    np.testing.assert_array_equal(piece.time_s, model.time_s)
    assert not any(path.endswith(("reconstructed", "open_loop")) for path in piece.numbers)  # that takes a model
    model = RunPieces(loaded.agent, loaded.spec, episodes, horizon=8, seed=0)
    with Bundle.open(lone) as bundle:
        (both,) = BundlePieces(bundle, episodes, model)
    assert set(both.numbers) >= set(piece.numbers) | {"observation/pole_angle/open_loop", "reward/predicted"}
    np.testing.assert_array_equal(both.numbers["surprise"], piece.numbers["surprise"])  # the tick's own word


def test_what_is_let_out_is_what_is_asked_for_until_something_is_wrong(lone, episodes):
    ((number, episode),) = episodes
    broken = cut(episode)
    broken.obs["pole_angle"][60:110] = np.nan
    with Bundle.open(lone) as bundle:
        whole, again, faulty = BundlePieces(bundle, [(number, episode), (number, episode), (number, broken)])
    np.testing.assert_array_equal(again.numbers["action/slider/raw"], whole.numbers["action/slider/raw"])
    raw, filtered = (whole.numbers[f"action/slider/{kind}"] for kind in ("raw", "filtered"))
    np.testing.assert_allclose(filtered, np.clip(raw, -10.0, 10.0), atol=1e-5)
    assert [words for _, words in whole.events[1:]] == ["controller active"]
    told = [(round((time - faulty.time_s[0]) * 50), words) for time, words in faulty.events if "controller" in words]
    assert told[0] == (0, "controller active")
    assert told[1][0] == 60
    assert "pole_angle" in told[1][1]
    assert any(words.startswith("controller damp") for _, words in told)
    assert np.isnan(faulty.numbers["action/slider/raw"][60:110]).all()  # nobody asked the policy
    assert np.isfinite(faulty.numbers["action/slider/filtered"]).all()
    assert faulty.time_s[0] > whole.time_s[-1]


def test_weights_beside_a_bundle_are_taken_if_they_are_its_own(tmp_path, lone, loaded, other):
    zoo = Zoo.shipped()
    with Bundle.open(lone) as bundle:
        assert is_twin(loaded, bundle)
        assert not is_twin(load_agent(other), bundle)
        assert weights_of(bundle, zoo.bundle(NAME)).path == zoo.folder(NAME)
        assert weights_of(bundle, lone) is None
        assert weights_of(bundle, lone, f"zoo:{NAME}").path == zoo.folder(NAME)
        run = tmp_path / "checkpoints" / bundle.manifest.lineage.model_extra["checkpoint"]
        shutil.copytree(zoo.folder(NAME), run, ignore=shutil.ignore_patterns("*.zip", "card*"))
        assert weights_of(bundle, lone).path == run  # as in a run's folder
        shutil.copy(other / "learner.safetensors", run)
        assert weights_of(bundle, lone) is None
        with pytest.raises(UserError, match=r"not the weights .* it acts otherwise"):
            weights_of(bundle, lone, str(other))


def test_a_model_is_asked_where_its_weights_are_known(lone, loaded):
    with pytest.raises(UserError, match=r"no model that could be asked; its checkpoint \(step_\d+\).*--weights"):
        audit_command(str(lone), replay="x")
    assert locate(str(lone), "best", f"zoo:{NAME}").path == loaded.path
    with pytest.raises(UserError, match="--weights x: is for a bundle"):
        locate(f"zoo:{NAME}", "best", "x")


def test_a_look_at_a_bundle(tmp_path, lone, store, capsys):
    pytest.importorskip("rerun")
    look_command(str(lone), replay=str(store.path), out=tmp_path / "out", episodes=1, json=True)
    result = json.loads(capsys.readouterr().out)
    assert result["ticks"] > 200
    assert result["weights"] == "not known"
    page = (tmp_path / "out" / "look.html").read_text()
    assert "controller active" in page
    assert "<h2>The robot</h2>" in page
    with pytest.raises(UserError, match="no replay of its own"):
        look_command(str(lone), out=tmp_path / "out")
