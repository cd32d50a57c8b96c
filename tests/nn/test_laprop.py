"""LaProp with adaptive clipping against the step written out in numpy."""

import numpy as np
import pytest
import torch
from torch import nn

from robot_wm.nn.flat import FlatParameters
from robot_wm.nn.laprop import LaProp

SETTINGS = {
    "learning_rate": 0.1,
    "warmup": 4,
    "clip": 0.3,
    "clip_floor": 1e-3,
    "beta_momentum": 0.9,
    "beta_rms": 0.999,
    "epsilon": 1e-20,
}


def make(arrays, **changes):
    named = {str(i): nn.Parameter(torch.tensor(a, dtype=torch.float32)) for i, a in enumerate(arrays)}
    return named, LaProp(FlatParameters(named), **{**SETTINGS, **changes})


def test_steps_equal_the_written_out_formula():
    rng = np.random.default_rng(0)
    # Large and small against their gradients, and one tensor of zeros, which only the floor lets move.
    params = [rng.normal(size=(3, 4)) * 5, rng.normal(size=5) * 1e-2, np.zeros((2, 2))]
    named, optimiser = make(params)
    momentum, rms = [np.zeros_like(p) for p in params], [np.zeros_like(p) for p in params]
    for step in range(7):
        grads = [rng.normal(size=p.shape) for p in params]
        optimiser.step([torch.tensor(g, dtype=torch.float32) for g in grads])
        rate = 0.1 * min(step / 4, 1.0)
        for i, grad in enumerate(grads):
            allowed = 0.3 * max(1e-3, np.linalg.norm(params[i]))
            clipped = grad / max(1.0, np.linalg.norm(grad) / allowed)
            rms[i] = 0.999 * rms[i] + 0.001 * clipped**2
            scaled = clipped / (np.sqrt(rms[i] / (1 - 0.999 ** (step + 1))) + 1e-20)
            momentum[i] = 0.9 * momentum[i] + 0.1 * scaled
            params[i] = params[i] - rate * momentum[i] / (1 - 0.9 ** (step + 1))
        for i, parameter in enumerate(named.values()):
            np.testing.assert_allclose(parameter.detach().numpy(), params[i], rtol=2e-5, atol=1e-6)


def test_warm_up_starts_at_zero_and_ends_at_the_full_rate():
    _, optimiser = make([np.ones(3)])
    assert rates(optimiser, 6) == pytest.approx([0.0, 0.025, 0.05, 0.075, 0.1, 0.1])
    _, optimiser = make([np.ones(3)], warmup=0)
    assert rates(optimiser, 1) == pytest.approx([0.1])


def rates(optimiser, steps, tensor=0):
    found = []
    for _ in range(steps):
        optimiser.step([torch.ones_like(tensor) for tensor in optimiser.parameters.tensors])
        found.append(optimiser.rates[tensor].item())
    return found


def test_a_late_parameter_waits_then_warms_up_and_does_not_leap():
    named, optimiser = make([np.ones(4), np.ones(4)], warmup=0, late={"1": (3, 2)})
    for rate in [0.0] * 4 + [0.05, 0.1, 0.1]:
        before = named["1"].detach().clone(), named["0"].detach().clone()
        optimiser.step([torch.full((4,), 0.01)] * 2)
        assert optimiser.rates[1].item() == pytest.approx(rate)
        # A steady gradient moves a parameter by the rate: a moment begun anew would make that thirty times as much.
        torch.testing.assert_close(before[0] - named["1"], torch.full((4,), rate))
        torch.testing.assert_close(before[1] - named["0"], torch.full((4,), 0.1))
    _, optimiser = make([np.ones(3)], late={"0": (2, 0)})
    assert rates(optimiser, 4) == pytest.approx([0.0, 0.0, 0.1, 0.1])


def test_one_tensor_clips_without_the_others():
    _, optimiser = make([np.ones(4), np.ones(4)], warmup=0)
    optimiser.step([torch.full((4,), 1e6), torch.full((4,), 1e-3)])
    # The first LaProp step is lr * sign(gradient) whatever its size, so look at the second moment instead.
    clipped = optimiser.parameters.views(optimiser.rms)
    torch.testing.assert_close(clipped[0], torch.full((4,), 0.001 * 0.3**2))  # norm 0.3 * 2 over four elements
    torch.testing.assert_close(clipped[1], torch.full((4,), 0.001 * 1e-6))


def test_a_zero_gradient_moves_nothing():
    named, optimiser = make([np.ones(3)], warmup=0)
    optimiser.step([torch.zeros(3)])
    assert named["0"].tolist() == [1.0, 1.0, 1.0]


def test_flat_parameters_stay_the_same_objects_and_share_the_buffer():
    parameter = nn.Parameter(torch.ones(2, 3))
    flat = FlatParameters({"a": parameter, "b": nn.Parameter(torch.zeros(4))})
    flat.flat += 1
    assert parameter.tolist() == [[2.0, 2.0, 2.0], [2.0, 2.0, 2.0]]
    # Each begins at a multiple of eight elements.
    assert flat.span({"b"}) == slice(8, 16)
    assert flat.owner.tolist() == [0] * 8 + [1] * 8
    assert (
        flat.gather([torch.full((2, 3), 2.0), torch.full((4,), 3.0)]).tolist()
        == [2.0] * 6 + [0.0] * 2 + [3.0] * 4 + [0.0] * 4
    )
