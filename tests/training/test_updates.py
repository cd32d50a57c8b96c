"""Updates in a row: what overlaps, what is stored, and that nothing is left under way."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from robot_wm.learning.learner import UpdateResult
from robot_wm.replay.batch import SequenceBatch
from robot_wm.replay.stored import Stored
from robot_wm.training.loop import Trainer
from robot_wm.training.updates import ReplayedUpdates, Spent

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class Recorder:
    """A learner and a sampler that write down what is asked of them.

    As a captured graph does, the learner hands out the same tensors every time: update k fills them with k.
    """

    agent = SimpleNamespace(
        stored=(
            Stored(name="deter", shape=(4,), dtype="float16", use="context"),
            Stored(name="stoch", shape=(1,), dtype="uint8", use="context"),
        )
    )

    def __init__(self, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.calls: list[str] = []
        self.latents = {
            "deter": torch.zeros(2, 3, 4, device=device),
            "stoch": torch.zeros(2, 3, 1, dtype=torch.uint8, device=device),
        }
        self.drawn = self.updated = 0

    def sample(self, batch):
        self.drawn += 1
        self.calls.append(f"draw {self.drawn}")
        flags = np.zeros((batch, 4), np.bool_)
        return SequenceBatch(
            obs={"state": np.full((batch, 4, 1), self.drawn, np.float32)},
            action=np.zeros((batch, 4, 1), np.float32),
            reward=np.zeros((batch, 4), np.float32),
            reward_known=~flags,
            is_first=flags,
            is_last=flags,
            is_terminal=flags,
            stored={"deter": np.zeros((batch, 4), np.float32)},
            index=np.tile(10 * self.drawn + np.arange(4), (batch, 1)),  # [B, T1] names the step, too
        )

    def update(self, batch):
        self.updated += 1
        assert (batch.obs["state"] == self.updated).all(), "every batch is trained on, in the order of drawing"
        self.calls.append(f"update {self.updated}")
        for latent in self.latents.values():
            latent.fill_(self.updated)
        return UpdateResult({"loss": torch.tensor(float(self.updated))}, self.latents)

    def write_back(self, index, values):
        number = int(index[0, 0]) // 10
        # Of the trained steps, not of the context step before them.
        assert index.tolist() == [[10 * number + 1, 10 * number + 2, 10 * number + 3]] * 2
        assert {name: value.dtype for name, value in values.items()} == {"deter": np.float16, "stoch": np.uint8}
        assert all((value == number).all() for value in values.values())
        self.calls.append(f"store {number}")


def updates(recorder: Recorder, *, ahead: bool | None) -> ReplayedUpdates:
    return ReplayedUpdates(recorder, recorder, Spent(), 2, ahead=ahead)  # type: ignore[arg-type]


def test_on_a_cpu_each_update_finds_the_latents_of_the_one_before_it():
    recorder = Recorder()
    assert updates(recorder, ahead=None).run(2) == 2
    assert recorder.calls == ["draw 1", "update 1", "store 1", "draw 2", "update 2", "store 2"]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
def test_ahead_the_next_batch_is_drawn_and_older_latents_are_stored_while_an_update_is_under_way(device):
    recorder = Recorder(device)
    running = updates(recorder, ahead=True if device == "cpu" else None)
    assert running.run(4) == 4
    assert recorder.calls == [
        *("draw 1", "update 1"),
        *("draw 2", "update 2", "store 1"),
        *("draw 3", "update 3", "store 2"),
        *("draw 4", "update 4", "store 3"),
        "store 4",
    ]
    assert running.metrics["loss"].item() == 4


@pytest.mark.parametrize("ahead", [False, True])
def test_a_stop_leaves_no_batch_drawn_in_vain(ahead):
    recorder = Recorder()
    asked = iter([True, True, False])
    assert updates(recorder, ahead=ahead).run(9, lambda: next(asked)) == 2
    assert (recorder.drawn, recorder.updated, recorder.calls[-1]) == (2, 2, "store 2")


@pytest.mark.parametrize("most", [0, -3])
def test_without_an_update_due_nothing_is_drawn(most):
    recorder = Recorder()
    assert updates(recorder, ahead=True).run(most) == 0
    assert recorder.calls == []


def test_between_two_runs_replay_and_learner_are_all_that_a_resume_needs(tiny, tmp_path):
    def trainer(name: str) -> Trainer:
        made = Trainer(tiny(steps=80, prefill_steps=80, run_dir=tmp_path / name))
        made.train()
        return made

    left, right = trainer("left"), trainer("right")
    running = ReplayedUpdates(left.learner, left.sampler, Spent(), left.config.settings.batch_size, ahead=True)
    running.run(3)
    right.learner.load_state_dict(left.learner.state_dict())
    right.sampler.load_state_dict(left.sampler.state_dict())
    running.run(3)
    ReplayedUpdates(right.learner, right.sampler, Spent(), left.config.settings.batch_size, ahead=True).run(3)
    ours, theirs = left.learner.state_dict(), right.learner.state_dict()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    mine, yours = left.sampler.state_dict(), right.sampler.state_dict()
    assert [name for name in mine if not np.array_equal(mine[name], yours[name])] == []


def test_the_parts_of_a_run_are_shares_of_its_wall_clock(tiny):
    trainer = Trainer(tiny(steps=120))
    trainer.train()
    shares = trainer.spent.shares(trainer.running_s)
    assert list(shares) == ["collect_share", "sample_share", "transfer_share", "update_share"]
    assert min(shares.values()) > 0
    assert shares["update_share"] > 0.1
    assert sum(shares.values()) < 1  # nothing overlaps on a CPU


class Judging(Recorder):
    """A learner that tells how wrong it was, and rewrites the first two steps of the last window alone."""

    def update(self, batch):
        given = super().update(batch)
        latents = {name: latent[1:, :2] for name, latent in self.latents.items()}
        return UpdateResult(given.metrics, latents, torch.full((2,), float(self.updated)))

    def write_back(self, index, values):
        number = int(index[0, 0]) // 10
        assert index.tolist() == [[10 * number + 1, 10 * number + 2]]
        assert all(value.shape[:2] == (1, 2) for value in values.values())

    def prioritise(self, index, errors):
        number = int(index[0]) // 10
        assert index.tolist() == [10 * number] * 2  # the context steps
        assert errors.dtype == np.float32
        assert errors.tolist() == [number] * 2
        self.calls.append(f"judge {number}")


@pytest.mark.parametrize("ahead", [False, True])
def test_how_wrong_an_update_was_is_told_of_the_windows_that_it_had(ahead):
    recorder = Judging()
    updates(recorder, ahead=ahead).run(3)
    assert [call for call in recorder.calls if call.startswith("judge")] == ["judge 1", "judge 2", "judge 3"]
