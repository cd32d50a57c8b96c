"""The update as one CUDA graph against the same kernels launched one by one."""

import pytest
import torch

from robot_wm.dreamer.learner import DreamerLearner

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


def learnt(workshop, settings: dict[str, float], *, capture: bool) -> dict[str, torch.Tensor]:
    made = workshop.learner(learning_rate=1e-3, **settings)
    learner = DreamerLearner(made.agent, made.config, "cuda", capture=capture)
    for seed in range(20):
        learner.update(workshop.changed(workshop.batch(learner, seed=seed, first=0.1), torch.Tensor.cuda))
    own = {name: value for name, value in learner.state_dict().items() if name.startswith(("agent/", "pessimism/ens"))}
    return {name: value.cpu() for name, value in own.items()}


@pytest.mark.parametrize("settings", [{}, {"pessimism": 0.5, "anchor": 0.01}], ids=["plain", "adapting"])
def test_twenty_captured_updates_are_the_plain_ones(workshop, settings):
    captured, plain = learnt(workshop, settings, capture=True), learnt(workshop, settings, capture=False)
    for name, value in plain.items():
        torch.testing.assert_close(captured[name], value, rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}")
