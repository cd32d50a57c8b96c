"""Whether several ranks learn what one does from all their batches together, and all of them the same.

Shape letters: R ranks, B sequences a rank, T steps, H imagined steps.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from robot_wm.dreamer.learner import DreamerLearner
from robot_wm.dreamer.noise import Noise
from robot_wm.learning.batch import TensorBatch
from robot_wm.learning.ranks import ALONE, Ranks
from robot_wm.spec import AgentSpec
from robot_wm.step import each
from robot_wm_bench.random_sequences import random_batch

# Of the tensors, this share has to be as near as this, relative to how far it has moved. In bfloat16 some stray far:
# LaProp makes steps of gradients that are rounding alone, too.
# In float32 none may be further off than a millionth, either, in the weights' own unit.
_FARTHEST = {torch.float32: 1e-6, torch.bfloat16: float("inf")}
BOUNDS: Mapping[torch.dtype, Mapping[float, float]] = {
    torch.float32: {0.5: 1e-4, 1.0: 1e-2},
    torch.bfloat16: {0.5: 0.05, 0.9: 0.25, 1.0: 1.0},
}


def equality(learner: DreamerLearner, spec: AgentSpec, ranks: Ranks, updates: int) -> dict[str, Any]:
    """So many updates by R ranks of B sequences against those of one with all R * B; leaves the learner as it was.

    The noise of both is the same. Where updates are captured, as many captured ones are compared with plain ones.
    """
    start = learner.state_dict()
    learner.join(ALONE)
    size = learner.config.batch_size
    generator = learner.generator.get_state()
    for seed in range(updates):
        batch = random_batch(learner, learner.config, spec, size=ranks.size * size, seed=seed)
        learner.update(batch, _noise(learner, batch, seed))
    whole = _agent(learner)
    learner.load_state_dict(start)
    learner.join(ranks)
    for seed in range(updates):
        batch = random_batch(learner, learner.config, spec, size=ranks.size * size, seed=seed)
        own = slice(ranks.rank * size, (ranks.rank + 1) * size)
        noise = _share(_noise(learner, batch, seed), own, ranks.size * size)
        learner.update(_rows(batch, own), noise)
    shared = _agent(learner)
    errors = _errors(shared, whole, start)
    bounds = BOUNDS[learner.compute_dtype]
    farthest = max(float((shared[name] - whole[name]).abs().max()) for name in whole)
    near = all(float(errors.quantile(share)) <= bound for share, bound in bounds.items())
    found: dict[str, Any] = {
        "updates": updates,
        "compute": str(learner.compute_dtype).removeprefix("torch."),
        "ranks_bit_equal": len(set(ranks.texts(_digest(shared)))) == 1,
        "max_abs_error": farthest,
        **{f"relative_error_q{share:g}": float(errors.quantile(share)) for share in bounds},
        "bounds": {f"relative_error_q{share:g}": bound for share, bound in bounds.items()},
        "within_bounds": near and farthest <= _FARTHEST[learner.compute_dtype],
    }
    if learner.device.type == "cuda":
        found |= _captured(learner, spec, ranks, updates, start, generator)
    learner.load_state_dict(start)
    return found


def _captured(
    learner: DreamerLearner, spec: AgentSpec, ranks: Ranks, updates: int, start: dict[str, Tensor], generator: Tensor
) -> dict[str, Any]:
    """Captured updates of these ranks against plain ones, both by the noise of the learner's own generator."""
    ends = []
    for plain in (True, False):
        learner.load_state_dict(start)
        learner.generator.set_state(generator)
        for seed in range(updates):
            batch = random_batch(learner, learner.config, spec, seed=seed * ranks.size + ranks.rank)
            learner.update(batch, learner.draw_noise(batch) if plain else None)
        ends.append(_agent(learner))
    errors = _errors(ends[1], ends[0], start)
    return {
        "captured_relative_error_q0.5": float(errors.quantile(0.5)),
        "captured_relative_error_q1": float(errors.max()),
        "captured_ranks_bit_equal": len(set(ranks.texts(_digest(ends[1])))) == 1,
    }


def _agent(learner: DreamerLearner) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in learner.state_dict().items() if name.startswith("agent/")}


def _errors(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], start: Mapping[str, Tensor]) -> Tensor:
    """[tensors] of those that have moved: how far they are off, relative to how far they have moved."""
    moved = {name: (tensor - start[name]).norm() for name, tensor in wanted.items()}
    return torch.stack([(found[name] - wanted[name]).norm() / far for name, far in moved.items() if far > 0])


def _digest(state: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for _, tensor in sorted(state.items()):
        digest.update(tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy().tobytes())
    return digest.hexdigest()


def _noise(learner: DreamerLearner, batch: TensorBatch, seed: int) -> Noise:
    """The same on every rank, whatever its generator."""
    learner.generator.manual_seed(seed)
    return learner.draw_noise(batch)


def _rows(batch: TensorBatch, own: slice) -> TensorBatch:
    return TensorBatch(**each(lambda tensor: tensor[own], batch))


def _share(noise: Noise, own: slice, whole: int) -> Noise:
    """The noise of a rank's sequences, out of that of all ``whole`` = R * B."""

    def imagined(tensor: Tensor) -> Tensor:
        return tensor.unflatten(1, (-1, whole))[:, :, own].flatten(1, 2)  # [H, T*R*B, ...] -> [H, T*B, ...]

    return Noise(noise.posterior[:, own].contiguous(), imagined(noise.prior), imagined(noise.action))
