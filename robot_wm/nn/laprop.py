"""LaProp with per-tensor adaptive gradient clipping: DreamerV3's optimiser.

AGC (Brock et al. 2021, here a norm per tensor), then RMS scaling, then momentum (Ziyin et al. 2020), both
bias-corrected as optax does. State lives in buffers like the parameters' own, so that a step is about twenty kernels
whatever the number of tensors, and nothing in it waits for the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from robot_wm.nn.compiled import fused
from robot_wm.nn.flat import FlatParameters


class LaProp:
    """Optimiser of a ``FlatParameters``; ``step`` takes one gradient a tensor.

    The learning rate rises linearly from exactly 0 (the very first step moves nothing) to its full value after
    ``warmup`` steps. ``late`` names parameters that begin after so many steps and then take so many to their full
    rate; their moments are averaged from the first step on, so that none of them leaps at its beginning.
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
        late: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.parameters = parameters
        self.learning_rate, self.warmup = learning_rate, warmup
        self.clip, self.clip_floor = clip, clip_floor
        self.beta_momentum, self.beta_rms, self.epsilon = beta_momentum, beta_rms, epsilon
        flat = parameters.flat
        ramps = [(late or {}).get(name, (0, warmup)) for name in parameters.named]
        begin, length = torch.tensor(ramps, dtype=torch.float64, device=flat.device).unbind(1)  # [N] steps each
        self._begin, self._length = begin, length
        self.rates = torch.zeros(len(ramps), device=flat.device)  # [N] learning rates of the last step
        self.momentum = torch.zeros_like(flat)  # [P]
        self.rms = torch.zeros_like(flat)  # [P]
        self.steps = torch.zeros((), dtype=torch.float64, device=flat.device)  # updates so far
        self.parameter_norms = torch.zeros(len(parameters.sizes), device=flat.device)  # [N] before the last step
        self.gradient_norms = torch.zeros(len(parameters.sizes), device=flat.device)  # [N] before clipping

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor]) -> None:
        """Move the parameters."""
        grad = self.parameters.gather(gradients)  # [P]
        self.parameter_norms = torch.stack(torch._foreach_norm(self.parameters.tensors))
        self.gradient_norms = torch.stack(torch._foreach_norm(self.parameters.views(grad)))
        allowed = self.clip * self.parameter_norms.clamp(min=self.clip_floor)
        shrink = 1.0 / torch.clamp(self.gradient_norms / allowed, min=1.0)  # [N]
        # Without a warm-up the very first step has the full rate.
        since = self.steps - self._begin
        share = torch.where(self._length > 0, since / self._length.clamp(min=1.0), (since >= 0).double())
        rates = self.learning_rate * share.clamp(0.0, 1.0)  # [N]
        self.rates.copy_(rates)
        self.steps += 1
        fused(_move, grad.device)(
            self.parameters.flat,
            self.momentum,
            self.rms,
            grad,
            shrink,
            self.parameters.owner,
            (1.0 - self.beta_rms**self.steps).float(),
            (rates / (1.0 - self.beta_momentum**self.steps)).float(),
            self.beta_momentum,
            self.beta_rms,
            self.epsilon,
        )


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
    """One step of all parameters in place; tensors [P], but shrink and pace [N] (see ``owner``) and rms_bias 0-d."""
    grad = grad * shrink.index_select(0, owner)  # not in place: a compiler would have to write it back
    rms.mul_(beta_rms).addcmul_(grad, grad, value=1.0 - beta_rms)
    grad /= (rms / rms_bias).sqrt_().add_(epsilon)
    momentum.lerp_(grad, 1.0 - beta_momentum)
    flat.addcmul_(momentum, pace.index_select(0, owner), value=-1.0)
