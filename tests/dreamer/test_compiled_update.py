"""The update with its kernels compiled on a CPU against the plain one; takes minutes of a C++ compiler."""

import os

import pytest
import torch

from robot_wm.dreamer.learner import DreamerLearner

pytestmark = pytest.mark.skipif("ROBOT_WM_COMPILE" not in os.environ, reason="takes minutes: set ROBOT_WM_COMPILE=1")


def test_twenty_compiled_updates_are_the_plain_ones(workshop):
    states = []
    for compiles in (True, False):
        made = workshop.learner(learning_rate=1e-3)
        learner = DreamerLearner(made.agent, made.config, "cpu")
        learner.compiles = compiles
        for seed in range(20):
            learner.update(workshop.batch(learner, seed=seed, first=0.1))
        states.append({name: value for name, value in learner.state_dict().items() if name.startswith("agent/")})
    for name, value in states[1].items():
        torch.testing.assert_close(
            states[0][name], value, rtol=1e-3, atol=1e-5, msg=lambda m, name=name: f"{name}: {m}"
        )
