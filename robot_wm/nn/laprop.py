"""LaProp with per-tensor adaptive gradient clipping: DreamerV3's optimiser.

AGC (Brock et al. 2021, here a norm per tensor), then RMS scaling, then momentum (Ziyin et al. 2020), both
bias-corrected as optax does. State lives in buffers like the parameters' own, so that a step is about twenty kernels
whatever the number of tensors, and nothing in it waits for the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robot_wm.nn.compiled import cell
from robot_wm.nn.flat import FlatParameters


class LaProp:
    """Optimiser of a ``FlatParameters``; ``step`` takes one gradient a tensor.

    The learning rate rises linearly from exactly 0 (the very first step moves nothing) to its full value after
    ``warmup`` steps.
    """

    def __init__(
        self,
        parameters: FlatParameters,
        *,
        learning_rate: float,
        warmup: int,
        clip: float,
        clip_floor: float,
        beta_momentum: float,
        beta_rms: float,
        epsilon: float,
    ) -> None:
        self.parameters = parameters
        self.learning_rate, self.warmup = learning_rate, warmup
        self.clip, self.clip_floor = clip, clip_floor
        self.beta_momentum, self.beta_rms, self.epsilon = beta_momentum, beta_rms, epsilon
        flat = parameters.flat
        self.momentum = torch.zeros_like(flat)  # [P]
        self.rms = torch.zeros_like(flat)  # [P]
        self.steps = torch.zeros((), dtype=torch.float64, device=flat.device)  # updates so far
        self.parameter_norms = torch.zeros(len(parameters.sizes), device=flat.device)  # [N] before the last step
        self.gradient_norms = torch.zeros(len(parameters.sizes), device=flat.device)  # [N] before clipping

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> Tensor:
        """Move the parameters; returns the learning rate used, 0-d."""
        grad = self.parameters.gather(gradients)  # [P]
        self.parameter_norms = torch.stack(torch._foreach_norm(self.parameters.tensors))
        self.gradient_norms = torch.stack(torch._foreach_norm(self.parameters.views(grad)))
        allowed = self.clip * self.parameter_norms.clamp(min=self.clip_floor)
        shrink = 1.0 / torch.clamp(self.gradient_norms / allowed, min=1.0)  # [N]
        rate = self.learning_rate * torch.clamp(self.steps / max(self.warmup, 1), max=1.0)
        if self.warmup == 0:
            rate = torch.full_like(rate, self.learning_rate)
        self.steps += 1
        cell(_move, grad.device)(
            self.parameters.flat,
            self.momentum,
            self.rms,
            grad,
            shrink,
            self.parameters.owner,
            (1.0 - self.beta_rms**self.steps).float(),
            (rate / (1.0 - self.beta_momentum**self.steps)).float(),
            self.beta_momentum,
            self.beta_rms,
            self.epsilon,
        )
        return rate.float()


def _move(
    flat: Tensor,
    momentum: Tensor,
    rms: Tensor,
    grad: Tensor,
    shrink: Tensor,
    owner: Tensor,
    rms_bias: Tensor,
    pace: Tensor,
    beta_momentum: float,
    beta_rms: float,
    epsilon: float,
) -> None:
    """One step of all parameters in place; every tensor [P], but shrink [N] (see ``owner``), rms_bias and pace 0-d."""
    grad = grad * shrink.index_select(0, owner)  # not in place: a compiler would have to write it back
    rms.mul_(beta_rms).addcmul_(grad, grad, value=1.0 - beta_rms)
    grad /= (rms / rms_bias).sqrt_().add_(epsilon)
    momentum.lerp_(grad, 1.0 - beta_momentum)
    flat.addcmul_(momentum, pace, value=-1.0)
