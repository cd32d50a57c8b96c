"""Everything in a run that is drawn follows from its seed: the same again, and another one elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from robot_wm.training.loop import Trainer


@pytest.fixture
def drawn(tiny, tmp_path):
    """``drawn(name, seed)``: what a run begins with, before anything is learned or acted, by where it is drawn."""

    def of(name, seed):
        trainer = Trainer(tiny(seed=seed, run_dir=tmp_path / name))
        learner, replay = trainer.learner.state_dict(), trainer.sampler.state_dict()
        collector = trainer._collector()
        (noise,) = collector.rng_states()
        (step,) = collector.poll()
        collector.close()
        weights = [tensor.reshape(-1) for key, tensor in learner.items() if key.startswith("agent/")]
        return {
            "weights": torch.cat(weights).numpy(),
            "learner": learner["generator"].numpy(),
            "replay": replay["rng"],
            "actor": noise.numpy(),
            "environments": step.seed,
            "first observations": np.concatenate(list(step.obs.values()), axis=1),
            "first actions": step.action,
        }

    return of


def test_a_seed_draws_the_same_again_and_another_one_nothing_of_it(drawn):
    first, again, other = drawn("a", 5), drawn("b", 5), drawn("c", 6)
    assert [name for name in first if not np.array_equal(first[name], again[name])] == []
    assert [name for name in first if np.array_equal(first[name], other[name])] == []
    assert len(set(first["environments"].tolist())) == 2
