"""The update as one CUDA graph, searches and all, against the same kernels launched one by one; and half precision."""

import pytest
import torch

from robot_wm.learning.batch import TensorBatch
from robot_wm.muzero.learner import MuZeroLearner
from robot_wm.step import each

NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
FLAGS = {"first": 0.1, "last": 0.1, "terminal": 0.05, "unknown": 0.1}


def learnt(workshop, device, *, updates=20, capture=True, **settings):
    made = workshop.awake(learning_rate=1e-3, **settings)
    learner = MuZeroLearner(made.agent, made.config, device, capture=capture)
    found = []
    for seed in range(updates):
        batch = workshop.batch(learner, size=8, seed=seed, **FLAGS)
        found.append(learner.update(TensorBatch(**each(lambda x: x.to(device), batch))).metrics["loss/value"].item())
    return {name: value.float().cpu() for name, value in learner.state_dict().items() if name != "generator"}, found


@pytest.mark.gpu
@NO_GPU
@pytest.mark.parametrize("discrete", [False, True])
def test_twenty_captured_updates_are_the_plain_ones(workshop, discrete):
    captured, ours = learnt(workshop, "cuda", discrete=discrete, capture=True, compute="float32")
    plain, theirs = learnt(workshop, "cuda", discrete=discrete, capture=False, compute="float32")
    assert ours == pytest.approx(theirs, rel=1e-2)
    for name, value in plain.items():
        torch.testing.assert_close(captured[name], value, rtol=1e-2, atol=1e-4, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])])
@pytest.mark.parametrize("discrete", [False, True])
def test_in_half_precision_it_learns_about_the_same(workshop, device, discrete):
    _, half = learnt(workshop, device, updates=5, discrete=discrete, compute="bfloat16", reanalyse=0.25)
    _, full = learnt(workshop, device, updates=5, discrete=discrete, compute="float32", reanalyse=0.25)
    assert half == pytest.approx(full, rel=0.1)
    assert half[-1] != full[-1]  # it was computed in another precision
