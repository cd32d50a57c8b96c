"""A trained agent that goes on with what a changed robot has recorded."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from robot_wm.dreamer.kind import SETTLING_UPDATES
from robot_wm.errors import UserError
from robot_wm.learning.batch import TensorBatch
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.store import EpisodeStore
from robot_wm.runtime.command import Command
from robot_wm.runtime.modes import Mode
from robot_wm.runtime.recorder import TickRecorder
from robot_wm.training import rehearsal
from robot_wm.training.actor import Actor
from robot_wm.training.adapt_command import adapt
from robot_wm.training.adapting import adaptation, adapted, recorded
from robot_wm.training.checkpoint import load_agent
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
from robot_wm.training.playing import play
from robot_wm.training.rehearsal import rehearse

DRIFT = "gym:toy_envs:toys/Drift-v0"


@pytest.fixture(scope="module")
def source(tmp_path_factory, tiny_dreamer):
    """The folder of a run that has learned how a point moves."""
    config = TrainConfig(
        task=DRIFT,
        run_dir=tmp_path_factory.mktemp("source") / "run",
        steps=600,
        prefill_steps=400,
        train_ratio=32.0,
        replay_capacity_steps=2000,
        device="cpu",
        dreamer=tiny_dreamer.model_copy(update={"learning_rate": 3e-3, "warmup": 0}),
    )
    Trainer(config).train()
    return config.folder


@pytest.fixture
def target(tmp_path, source):
    """What was recorded of a point that moves the other way."""
    loaded = load_agent(source)
    with EpisodeStore.create(tmp_path / "target", loaded.spec) as store:
        play(loaded.agent, DRIFT, {"gain": -0.5}, store, steps=400, seed=1, envs=2)
    return store


def content(folder):
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


def windows(agent, store, size=32):
    sampler = SequenceSampler(store.spec, capacity_steps=2000, length=8, stored=agent.stored)
    for episode in store.episodes():
        sampler.add_episode(episode)
    return TensorBatch.from_numpy(sampler.look(size, np.random.default_rng(0)), "cpu")


def error_of(trainer, batch):
    """Mean squared error of what the model predicts without looking."""
    shown = trainer.learner.open_loop(batch, context=4)
    return (shown.predicted["at"] - shown.actual["at"])[:, shown.context :].square().mean().item()


def test_it_begins_as_what_it_comes_from(source, target, tmp_path):
    trainer = Trainer(adaptation(str(source), [str(target.path)], run_dir=tmp_path / "run", updates=5, device="cpu"))
    before = load_agent(source).agent
    observed = {"at": np.float32([[0.3], [-0.8]])}
    first = np.array([True, True])

    def acted(agent):
        return Actor(agent, target.spec, envs=2, seed=0, greedy=True).act(observed, first)

    assert np.array_equal(acted(trainer.agent).command, acted(before).command)
    assert np.array_equal(acted(trainer.agent).value, acted(before).value)


def test_the_policy_waits_until_the_scale_of_returns_has_settled(source, target, tmp_path):
    config = adaptation(str(source), [str(target.path)], run_dir=tmp_path / "run", updates=6, device="cpu")
    assert config.settings.actor_start == SETTLING_UPDATES
    trainer = Trainer(config)
    trainer.train()
    before, after = load_agent(source).agent.state_dict(), trainer.agent.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("actor."))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("rssm."))
    assert (trainer.state.env_steps, trainer.state.updates) == (0, 6)


def test_the_model_learns_what_has_changed_and_the_source_stays(source, target, tmp_path):
    kept = content(source)
    config = adaptation(
        str(source), [str(target.path)], run_dir=tmp_path / "run", updates=150, device="cpu", changes={"pessimism": 0.1}
    )
    trainer = Trainer(config)
    batch = windows(trainer.agent, target)
    before = error_of(trainer, batch)
    trainer.train()
    assert error_of(trainer, batch) < 0.5 * before
    assert content(source) == kept


def test_an_agent_adapts_by_the_settings_of_its_own_kind():
    theirs = TrainConfig(agent="muzero", muzero={"size": "nano", "unroll": 3})
    assert adapted(theirs, {}) == theirs.settings.model_copy(update={"warmup": 100})
    assert adapted(theirs, {"warmup": 7}).warmup == 7
    with pytest.raises(UserError, match="adapt: pessimism"):
        adapted(theirs, {"pessimism": 1.0})


def test_settings_are_the_source_s_but_for_what_is_told(source, target, tmp_path):
    def made(**changes):
        replay = [str(target.path)]
        return adaptation(str(source), replay, run_dir=tmp_path / "run", updates=7, changes=changes).settings

    theirs = load_agent(source).state.config.settings
    same = {"warmup", "actor_start", "actor_warmup", "pessimism"}
    assert made().model_dump(exclude=same) == theirs.model_dump(exclude=same)
    assert made(learning_rate=1e-5).learning_rate == 1e-5
    with pytest.raises(UserError, match=r"adapt: .*learning_rte"):
        made(learning_rte=1e-5)


def test_another_agent_s_experience_is_refused(source, tmp_path):
    loaded = load_agent(source)
    other = loaded.spec.model_copy(update={"control_rate_hz": 5.0})
    EpisodeStore.create(tmp_path / "other", other)
    config = adaptation(str(source), [str(tmp_path / "other")], run_dir=tmp_path / "run", updates=5, device="cpu")
    with pytest.raises(UserError, match="control_rate_hz"):
        Trainer(config)


def recording(folder, spec, ticks=12):
    recorder = TickRecorder(folder, spec, bundle_sha256="5" * 64)
    for n in range(ticks):
        action = np.float32([0.1])
        command = Command(action, action, action, n + 1, Mode.ACTIVE, damp=False, fault_bits=0)
        stamp = n * 100_000_000
        observed = {"at": np.float32([n])}
        assert recorder.add(observed, command, stamp_ns=stamp, receipt_ns=stamp, publish_ns=stamp)
    recorder.close()
    return recorder.path


def test_recordings_become_a_store_of_the_run_once(source, target, tmp_path):
    spec, run = load_agent(source).spec, tmp_path / "run"
    file = recording(tmp_path / "recorded", spec)
    named = [str(file), f"{target.path}=0.5"]
    assert recorded(named, run, spec) == recorded(named, run, spec) == [f"{target.path}=0.5", str(run / "recorded")]
    (episode,) = EpisodeStore.open(run / "recorded").episodes()
    assert episode.length == 12
    assert not episode.reward_known[1:].any()


def test_a_recording_of_another_agent_is_refused(source, tmp_path):
    spec = load_agent(source).spec
    file = recording(tmp_path / "recorded", spec.model_copy(update={"control_rate_hz": 5.0}))
    with pytest.raises(UserError, match="control_rate_hz"):
        recorded([str(file)], tmp_path / "run", spec)


def test_what_is_rehearsed_is_the_source_in_its_own_task(source, tmp_path):
    loaded = load_agent(source)
    store = rehearse(loaded, tmp_path / "rehearsed", steps=50, seed=3)
    episodes = list(store.episodes())
    assert sum(episode.length - (episode.source.first_step == 0) for episode in episodes) == 50
    moved = np.concatenate([np.diff(e.obs["at"][:, 0]) for e in episodes])
    acted = np.concatenate([e.action[:-1, 0] for e in episodes])
    np.testing.assert_allclose(moved, 0.5 * acted, atol=1e-5)
    sure = Actor(loaded.agent, loaded.spec, envs=1, seed=0, greedy=True)
    greedy = sure.act({"at": episodes[0].obs["at"][:1]}, np.array([True])).command[0]
    assert not np.allclose(episodes[0].action[0], greedy, atol=1e-3)  # with the noise that it learned with
    version = store.version
    assert rehearse(loaded, tmp_path / "rehearsed", steps=50, seed=3).version == version


def test_a_rehearsal_that_was_broken_off_is_not_taken_for_a_whole_one(source, tmp_path, monkeypatch):
    loaded = load_agent(source)

    def broken(agent, task, options, store, **settings):
        play(agent, task, options, store, **settings | {"steps": 25})
        store.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(rehearsal, "play", broken)
    with pytest.raises(KeyboardInterrupt):
        rehearse(loaded, tmp_path / "rehearsed", steps=50, seed=3)
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    episodes = rehearse(loaded, tmp_path / "rehearsed", steps=50, seed=3, options={"gain": -0.5}).episodes()
    one = next(iter(episodes))
    np.testing.assert_allclose(np.diff(one.obs["at"][:, 0]), -0.5 * one.action[:-1, 0], atol=1e-5)


def test_stores_alone_need_no_mcap_library():
    told = (
        "import sys; sys.modules['mcap'] = None; import robot_wm.training.adapt_command as c, robot_wm.training.loop;"
    )
    told += "from robot_wm.training.adapting import recorded; print(recorded(['a=0.5'], None, None))"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "['a=0.5']\n"), done.stderr


def test_playing_greedily_draws_nothing(source, tmp_path):
    loaded = load_agent(source)

    def played(name):
        with EpisodeStore.create(tmp_path / name, loaded.spec) as store:
            finished = play(loaded.agent, DRIFT, {}, store, steps=30, seed=4, greedy=True, policy="somebody")
        return finished, list(store.episodes())

    (finished, one), (_, two) = played("one"), played("two")
    assert [episode.length for episode in one] == [21, 11]  # the resets beside 20 steps and 10
    assert [len(finished), finished[0].length] == [1, 20]
    assert {episode.source.policy for episode in one} == {"somebody"}
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.action, b.action)
    sure = Actor(loaded.agent, loaded.spec, envs=1, seed=99, greedy=True)
    act = sure.act({"at": one[0].obs["at"][:1]}, np.array([True])).command[0]
    assert np.array_equal(one[0].action[0], act)


def test_the_command_adapts_and_leaves_a_run(source, target, tmp_path, capsys):
    told = {"agent": {"learning-rate": "0.001", "actor-start": "2"}, "device": "cpu", "json": True}
    adapt(str(source), replay=[str(target.path)], run_dir=tmp_path / "run", updates=6, rehearse=60, **told)
    result = json.loads(capsys.readouterr().out)
    assert (result["updates"], result["env_steps"]) == (6, 0)
    loaded = load_agent(tmp_path / "run")
    assert loaded.state.config.settings.learning_rate == 1e-3
    shares = [source.share for source in loaded.state.config.sources]
    assert shares == [None, 0.5]
    with pytest.raises(UserError, match="holds a run already"):
        adapt(str(source), replay=[str(target.path)], run_dir=tmp_path / "run", updates=6, rehearse=60, **told)


def test_a_share_that_leaves_nothing_is_refused_before_anything_is_made(source, target, tmp_path):
    with pytest.raises(UserError, match="--rehearse-share 1: leaves nothing"):
        adapt(str(source), replay=[str(target.path)], run_dir=tmp_path / "run", rehearse_share=1.0)
    assert not (tmp_path / "run").exists()
