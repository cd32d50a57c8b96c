"""Checkpoints: atomic, pruned, and refused in one line when damaged."""

import hashlib
import shutil
import subprocess

import numpy as np
import pytest
import torch

from robot_wm.errors import UserError
from robot_wm.tasks import agent_spec, make_env
from robot_wm.training import checkpoint
from robot_wm.training.checkpoint import RunState


@pytest.fixture
def state(tiny):
    env = make_env("cartpole_balance")
    return RunState(config=tiny(), agent_spec=agent_spec(env))


def save(run, state, step, keep=2):
    at = state.model_copy(update={"env_steps": step})
    return checkpoint.save(run, at, {"agent.w": torch.ones(3)}, {"rows": np.arange(4)}, keep=keep)


def test_the_newest_two_and_the_best_stay_and_only_the_newest_keeps_its_replay(tmp_path, state):
    best = save(tmp_path, state, 10)
    checkpoint.mark_best(tmp_path, best)
    for step in (20, 30, 40):
        save(tmp_path, state, step)
    kept = {path.name: (path / "replay.safetensors").exists() for path in checkpoint.folder(tmp_path).glob("step_*")}
    assert kept == {"step_000000010": False, "step_000000030": False, "step_000000040": True}
    assert checkpoint.find(tmp_path) == best
    assert checkpoint.latest_path(tmp_path).name == "step_000000040"


def test_segments_stay_as_long_as_any_checkpoint_needs_them_and_sums_tell_all(tmp_path, state):
    segments = checkpoint.segments_folder(tmp_path)
    segments.mkdir(parents=True)
    digests = [hashlib.sha256(letter).digest() for letter in (b"a", b"b", b"c")]
    for letter, digest in zip((b"a", b"b", b"c"), digests, strict=True):
        (segments / f"{digest.hex()}.safetensors").write_bytes(letter)

    def save_with(step, *needed):
        named = {"segments/steps": np.frombuffer(b"".join(needed), np.uint8).reshape(-1, 32)}
        at = state.model_copy(update={"env_steps": step})
        return checkpoint.save(tmp_path, at, {"agent.w": torch.ones(3)}, named, keep=2)

    def left():
        return {file.read_bytes() for file in segments.iterdir()}

    first = save_with(10, *digests)
    first.rename(first.with_name(f"damaged_{first.name}"))  # set aside, and it may be mended
    newest = save_with(20, digests[1])
    assert left() == {b"a", b"b", b"c"}
    shutil.rmtree(first.with_name(f"damaged_{first.name}"))
    save_with(20, digests[1], digests[2])
    assert left() == {b"b", b"c"}
    assert (newest / "SHA256SUMS").read_text().count("  ../segments/") == 2
    subprocess.run(["sha256sum", "--check", "--status", "SHA256SUMS"], cwd=newest, check=True)
    save_with(30, digests[2])
    assert left() == {b"c"}


def test_a_round_trip_keeps_everything(tmp_path, state):
    path = save(tmp_path, state, 10)
    assert checkpoint.read_state(path) == state.model_copy(update={"env_steps": 10})
    assert torch.equal(checkpoint.read_learner(path)["agent.w"], torch.ones(3))
    assert np.array_equal(checkpoint.read_replay(path)["rows"], np.arange(4))


def test_a_crash_while_saving_leaves_the_last_one(tmp_path, state):
    save(tmp_path, state, 10)
    with pytest.raises(AttributeError):
        checkpoint.save(tmp_path, state.model_copy(update={"env_steps": 20}), {"agent.w": "no tensor"}, {}, keep=2)
    assert checkpoint.latest_path(tmp_path).name == "step_000000010"
    assert [path.name for path in checkpoint.folder(tmp_path).iterdir()] == ["step_000000010"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("state.json", b"{", r"state\.json: \(whole\)"),
        ("state.json", b'{"config": {"steps": 0}}', r"state\.json: config\.steps: .*greater than 0"),
        ("learner.safetensors", b"\xff" * 40, r"learner\.safetensors: damaged"),
        ("replay.safetensors", b"", r"replay\.safetensors: damaged"),
        ("replay.safetensors", b"\xff" * 40, r"replay\.safetensors: damaged"),
    ],
)
def test_damage_is_named(tmp_path, state, file, content, message):
    path = save(tmp_path, state, 10)
    (path / file).write_bytes(content)
    read = {"state.json": checkpoint.read_state, "learner.safetensors": checkpoint.read_learner}
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            read.get(file, checkpoint.read_replay)(path)
        (path / checkpoint._SUMS).unlink(missing_ok=True)  # as in an older version's checkpoint


def test_no_checkpoint_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no checkpoint there"):
        checkpoint.load_agent(tmp_path)
