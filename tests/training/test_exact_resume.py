"""A resume goes on bit for bit from the newest checkpoint, whenever the run was killed and whatever its store lost."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from robot_wm import atomic
from robot_wm.cli import run as robot_wm
from robot_wm.errors import UserError
from robot_wm.learning.batch import TensorBatch
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.saved import SavedReplay
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep
from robot_wm.training import checkpoint, experience, run_folder
from robot_wm.training.loop import Trainer
from robot_wm.training.run_folder import fill, find_start, open_store


class Killed(BaseException):
    """Nothing of ours handles it."""


@pytest.fixture
def short(tiny, tmp_path, monkeypatch):
    """Settings of a run of short episodes, some of them stored in pieces, whose rings wrap at 50 steps a stream."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setattr(experience, "PIECE_STEPS", 8)

    def make(**changes):
        values = dict(
            task="gym:toy_envs:toys/Walker-v0",
            task_options={"observation": "proprio", "length": 11, "spread": 9},
            processes=0,
            steps=400,
            replay_capacity_steps=100,
            checkpoint_every_steps=50,
            episodes_per_commit=3,
        )
        return tiny(**values | changes)

    return make


def update(trainer):
    batch = trainer.sampler.sample(trainer.config.settings.batch_size)
    result = trainer.learner.update(TensorBatch.from_numpy(batch, trainer.device))
    trainer.sampler.write_back(batch.index[:, 1:], {name: x.numpy() for name, x in result.write_back.items()})


def arrays(trainer):
    """Copies of all that the next update depends on."""
    learner = {name: value.numpy().copy() for name, value in trainer.learner.state_dict().items()}
    return learner | {f"replay/{name}": value for name, value in trainer.sampler.state_dict().items()}


def differing(ours, theirs):
    assert ours.keys() == theirs.keys()
    return [name for name, value in ours.items() if not np.array_equal(value, theirs[name], equal_nan=True)]


def killed(trainer, image, *, after):
    """Train until checkpoint number ``after`` is there; what a kill would leave then is copied to ``image``."""
    save, saves = trainer._save, []

    def save_and_die():
        saves.append(save())
        if len(saves) == after:
            shutil.copytree(trainer.run, image)
            raise Killed
        return saves[-1]

    trainer._save = save_and_die
    with pytest.raises(Killed):
        trainer.train()
    return trainer


def resumed(config, run):
    return Trainer(config.model_copy(update={"run_dir": run}), resume=True)


def test_resume_continues_bit_for_bit(tiny):
    config = tiny(steps=120)
    trainer = Trainer(config)
    trainer.train()
    again = Trainer(config, resume=True)
    assert again.state.updates == trainer.state.updates
    for _ in range(3):
        update(trainer)
        update(again)
    assert differing(arrays(trainer), arrays(again)) == []


@pytest.mark.parametrize(
    ("quota_steps", "taken"),
    [(None, {"observation": "proprio"}), (None, {"size": 48}), (40, {"observation": "proprio"})],
    ids=["vectors", "pictures", "a store that forgets what the rings hold"],
)
def test_a_killed_run_goes_on_bit_for_bit_and_so_does_the_one_that_goes_on(
    short, tmp_path, caplog, monkeypatch, quota_steps, taken
):
    monkeypatch.setattr(run_folder, "Upkeep", partial(Upkeep, quota_steps=quota_steps))
    options = {"length": 11, "spread": 9} | taken
    trainer, run = Trainer(short(task_options=options)), tmp_path / "image0"
    caplog.set_level(logging.WARNING)
    killed(trainer, run, after=3)
    for generation in (1, 2):  # of the second one the rings hold episodes that no store will ever get
        open_before = trainer.sampler.rings.open.copy()
        again = resumed(trainer.config, run)
        assert caplog.messages == []
        assert open_before.any()
        assert differing(arrays(trainer), arrays(again)) == []
        for _ in range(3):
            update(trainer)
            update(again)
        assert differing(arrays(trainer), arrays(again)) == []
        again = resumed(trainer.config, run)
        run = tmp_path / f"image{generation}"
        trainer = killed(again, run, after=2)
    held = trainer.sampler.rings.count > trainer.sampler.rings.size
    assert held.all(), "nothing was overwritten: the run is too short to show anything"


def test_a_kill_at_any_write_of_a_checkpoint_leaves_one_that_is_whole(short, tmp_path, monkeypatch, caplog):
    trainer = killed(Trainer(short(checkpoints_kept=1)), tmp_path / "before", after=3)
    before = arrays(trainer)
    again = resumed(trainer.config, tmp_path / "before")
    images = []

    def kill_before(owner, name):
        real = getattr(owner, name)

        def copy_and_go_on(*args, **kwargs):
            image = tmp_path / f"{len(images)}"
            shutil.copytree(again.run, image, ignore=shutil.ignore_patterns("tensorboard"))
            images.append(image)
            with monkeypatch.context() as patch:  # what it does inside is one act
                for other, (whose, original) in acts.items():
                    patch.setattr(whose, other, original)
                return real(*args, **kwargs)

        return copy_and_go_on

    save = again._save

    def watched():
        with monkeypatch.context() as patch:
            for name, (owner, _) in acts.items():
                patch.setattr(owner, name, kill_before(owner, name))
            path = save()
        raise Killed(path)

    acts = {name: (owner, getattr(owner, name)) for owner, name in WRITES}
    again._save = watched
    with pytest.raises(Killed):
        again.train()
    after = arrays(again)
    assert differing(before, after)
    ends = []
    config = again.config
    for image in images:
        left = {file.name for file in (image / "checkpoints").rglob(".*.tmp")}
        start = find_start(image, resume=True)
        agent_stored = trainer.agent.stored
        sampler = SequenceSampler(
            trainer.spec, capacity_steps=100, length=config.settings.batch_length, streams=2, stored=agent_stored
        )
        store = open_store(config.model_copy(update={"run_dir": image}), trainer.spec)
        store.enforce_quota(max_steps=30)  # what comes first to a folder that was left so may well be that
        store.compact(keep_versions=1)
        fill(SavedReplay(checkpoint.segments_folder(image), sampler, store), start)
        found = {name: value.numpy() for name, value in start.learner.items() if name != "actor_rng"}
        found |= {f"replay/{name}": value for name, value in sampler.state_dict().items()}
        is_new = start.state.env_steps > 150
        assert differing(found, after if is_new else before) == [], image
        ends.append((bool(left), is_new))
        assert not list((image / "checkpoints").rglob(".*.tmp"))
    assert caplog.messages == [], "a replay was filled anew, which is not exact"
    assert {(True, False), (False, True)} <= set(ends), "no kill was between the writes"
    assert ends == sorted(ends, key=lambda end: end[1]), "an older checkpoint came back"


WRITES = [(atomic, "_sync"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree")]

CHILD = """
import os, signal, sys
from pathlib import Path
from robot_wm.training import checkpoint, experience
from robot_wm.training.config import TrainConfig
from robot_wm.training.loop import Trainer
experience.PIECE_STEPS = 8
write = checkpoint.RunState.model_dump_json
saves = []
def die(self, **options):  # its segments are written, and it is half
    saves.append(self)
    if len(saves) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(self, **options)
checkpoint.RunState.model_dump_json = die
Trainer(TrainConfig.model_validate_json(sys.stdin.read())).train()
"""


def test_a_process_that_was_killed_in_a_checkpoint_goes_on_as_one_that_was_not(short, tmp_path):
    config = short()
    text = config.model_copy(update={"run_dir": tmp_path / "killed"}).model_dump_json()
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    ended = subprocess.run([sys.executable, "-c", CHILD], input=text, text=True, env=env, check=False)
    assert ended.returncode == -signal.SIGKILL
    trainer = killed(Trainer(config), tmp_path / "image", after=2)
    checkpoints = tmp_path / "killed" / "checkpoints"
    assert [path.name[:6] for path in checkpoints.glob(".*")] == [".step_"]
    again = resumed(config, tmp_path / "killed")
    assert list(checkpoints.glob(".*")) == []
    assert again.state.env_steps == trainer.state.env_steps == 100
    for _ in range(3):
        assert differing(arrays(trainer), arrays(again)) == []
        update(trainer)
        update(again)


def test_a_checkpoint_writes_what_has_changed_and_no_file_is_left_that_none_needs(short, tmp_path):
    trainer = Trainer(short(steps=200, replay_capacity_steps=2000, train_ratio=0.5))
    written = []
    save = trainer._save

    def look():
        there = set(checkpoint.segments_folder(trainer.run).glob("*"))
        path = save()
        files = set(checkpoint.segments_folder(trainer.run).glob("*"))
        names = [line.split("/")[-1] for line in (path / "SHA256SUMS").read_text().splitlines() if "segments" in line]
        assert {file.name for file in files} == set(names)
        written.append(sum(file.stat().st_size for file in files - there))
        return path

    trainer._save = look
    trainer.train()
    stored = sum(rows[0].nbytes for name, rows in trainer.sampler.rings.rows.items() if name in ("deter", "stoch"))
    assert stored == 32 * 2 + 4
    # 50 new steps each, and no more than the one or two updates' 4 x 8 rewritten ones; at first 60 steps.
    assert max(written) < 50 * stored + 64 * stored + 2 * 20 * 80 + 2000
    rings = trainer.sampler.rings
    in_segments = (rings.held_in["steps"][rings.live()] > 0).sum()
    assert in_segments <= 2  # the store has all but a reset alone
    whole = sum(value.nbytes for name, value in trainer.sampler.state_dict().items())
    assert written[-1] < whole / 3


def test_an_older_versions_checkpoint_goes_on_bit_for_bit_and_is_a_new_one_then(short, tmp_path):
    """It held the whole sampler in one file, as version 0.1.0 and before wrote it."""
    trainer = killed(Trainer(short()), tmp_path / "image", after=3)
    path = checkpoint.latest_path(tmp_path / "image")
    learner, state = checkpoint.read_learner(path), checkpoint.read_state(path)
    shutil.rmtree(checkpoint.segments_folder(tmp_path / "image"))
    checkpoint.save(tmp_path / "image", state, learner, trainer.sampler.state_dict(), keep=2)
    again = resumed(trainer.config, tmp_path / "image")
    assert differing(arrays(trainer), arrays(again)) == []
    killed(again, tmp_path / "next", after=1)
    assert differing(arrays(again), arrays(resumed(trainer.config, tmp_path / "next"))) == []


@pytest.fixture
def image(short, tmp_path):
    """A run that was killed after a checkpoint, and its trainer; the store has more episodes than the checkpoint."""
    trainer = killed(Trainer(short(steps=200, replay_capacity_steps=2000)), tmp_path / "image", after=3)
    return trainer, tmp_path / "image"


@pytest.mark.parametrize(
    "upkeep",
    [
        ("quota", "--max-steps", "30"),
        ("compact", "--keep-versions", "1"),
    ],
)
def test_upkeep_of_its_store_takes_nothing_from_a_run(image, upkeep, capsys):
    trainer, run = image
    command, *options = upkeep
    assert robot_wm(["replay", command, str(run / "replay"), *options]) == 0
    again = resumed(trainer.config, run)
    assert differing(arrays(trainer), arrays(again)) == []
    # What the newest version has no longer, the next checkpoint keeps by itself.
    killed(again, run.with_name("next"), after=1)
    assert differing(arrays(again), arrays(resumed(trainer.config, run.with_name("next")))) == []


def prune(run):
    store = EpisodeStore.open(run / "replay")
    for tag in store.tags():
        store.untag(tag)
    store.enforce_quota(max_steps=30)
    store.compact(keep_versions=1)


def replace(run):
    spec = EpisodeStore.open(run / "replay").spec
    shutil.rmtree(run / "replay")
    EpisodeStore.create(run / "replay", spec)


def damage(run):
    store = EpisodeStore.open(run / "replay")
    values = store.episode(1).obs["state"].tobytes()
    for file in (run / "replay" / "data").iterdir():
        content = bytearray(file.read_bytes())
        if (where := content.find(values)) >= 0:
            content[where + 5] ^= 1
            file.write_bytes(content)
            return
    raise AssertionError("the episode is in no file")


@pytest.mark.parametrize(
    ("lose", "told"),
    [
        (prune, r"replay: lacks \d+ of the \d+ episodes that .*replay\.safetensors was made with, .*remove that file"),
        (replace, r"replay: lacks (\d+) of the \1 episodes"),
        (
            damage,
            r"replay: damaged, and .*replay\.safetensors was made with it: data/\S+: episodes 1: its digest differs",
        ),
    ],
)
def test_a_store_that_lost_what_a_checkpoint_needs_is_told_in_a_line_and_who_wants_goes_on(image, lose, told, caplog):
    trainer, run = image
    lose(run)
    files = sorted(path for path in run.rglob("*"))
    with pytest.raises(UserError, match=told) as error:
        resumed(trainer.config, run)
    assert "\n" not in str(error.value)
    assert sorted(path for path in run.rglob("*")) == files
    (checkpoint.latest_path(run) / "replay.safetensors").unlink()
    again = resumed(trainer.config, run)
    assert "filled anew" in caplog.text
    assert again.train().env_steps == 200
    assert json.loads((checkpoint.latest_path(run) / "state.json").read_text())["env_steps"] == 200
    assert torch.isfinite(next(again.agent.parameters())).all()
