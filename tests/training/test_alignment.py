"""A planted marker through the whole replay path: environment, actor, pool, sampler, store, learner's batch.

The toy environment observes the sum of the last action (SI) beside a step counter, so wherever actions and observations
meet again, `obs[t + 1]` must tell `action[t]`, and nothing else may.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from robot_wm.learning.batch import TensorBatch
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.runtime.transform import to_command
from robot_wm.training.loop import Trainer

COUNT, LAST = 0, 3  # entries of the toy's state


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    from robot_wm.dreamer.config import DreamerConfig
    from robot_wm.training.config import TrainConfig

    dreamer = DreamerConfig(
        size="nano",
        deter=32,
        hidden=8,
        stoch=4,
        classes=4,
        units=16,
        blocks=4,
        batch_size=8,
        batch_length=10,
        horizon=3,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        config = TrainConfig(
            task="gym:toy_envs:toys/Counter-v0",
            task_options={"length": 6, "observation": "proprio"},
            run_dir=tmp_path_factory.mktemp("alignment") / "run",
            steps=400,
            envs=2,
            prefill_steps=200,
            train_ratio=4.0,
            replay_capacity_steps=1000,
            device="cpu",
            dreamer=dreamer,
        )
        trainer = Trainer(config)
        trainer.train()
    return trainer


def check(batch: TensorBatch, spec) -> int:
    """Compare every neighbouring pair; returns how many told an action."""
    state = batch.obs["state"].numpy()  # [B, T1, 4]
    command = to_command(spec.action, batch.action.numpy()).sum(-1)  # [B, T1]
    first = batch.is_first.numpy()
    told = ~first[:, 1:]
    np.testing.assert_allclose(state[:, 1:, LAST][told], command[:, :-1][told], atol=1e-4)
    assert (state[..., COUNT][first] == 0).all()
    assert (np.diff(state[..., COUNT], axis=1)[told] == 1).all()
    assert (batch.reward.numpy()[first] == 0).all()
    np.testing.assert_array_equal(batch.reward.numpy()[:, 1:][told], state[:, 1:, COUNT][told])
    np.testing.assert_array_equal(batch.is_last.numpy(), state[..., COUNT] == 6)
    return int(told.sum())


def test_actions_and_observations_stay_aligned_into_the_learners_batch(trained):
    batch = TensorBatch.from_numpy(trained.sampler.sample(64), "cpu")
    assert check(batch, trained.spec) > 300


def test_and_through_the_durable_store(trained):
    sampler = SequenceSampler(trained.spec, capacity_steps=1000, length=10, streams=1)
    for episode in trained.store.episodes():
        sampler.add_episode(episode)
    batch = TensorBatch.from_numpy(sampler.sample(64), "cpu")
    assert check(batch, trained.spec) > 300


def test_a_shifted_action_would_be_noticed(trained):
    batch = TensorBatch.from_numpy(trained.sampler.sample(64), "cpu")
    shifted = TensorBatch(**{**vars(batch), "action": torch.roll(batch.action, 1, dims=1)})
    with pytest.raises(AssertionError):
        check(shifted, trained.spec)
