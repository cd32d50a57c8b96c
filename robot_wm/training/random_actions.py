"""Random actions before anything has been learned: white, or held for a while.

White noise at the control rate averages out within a joint's inertia, so a robot that is moved by it keeps the posture
that it began in, and a model learned from it knows no other. Actions that are correlated in time reach postures and
hold them.

Shape letters: N environments, A action.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robot_wm.spec import AgentSpec
from robot_wm.training.config import TrainConfig


class RandomActions:
    """Uniform over the range at every step, whatever their correlation: a Gauss-Markov process and its own quantile.

    The process is x' = rho x + sqrt(1 - rho^2) n with rho = exp(-period / correlation), an Ornstein-Uhlenbeck process
    sampled at the control rate (Uhlenbeck and Ornstein 1930; as exploration: Lillicrap et al. 2016). Its standard
    normal value x becomes the uniform 2 Phi(x) - 1, so that the correlation changes and the spread does not.
    """

    def __init__(self, *, correlation_s: float = 0.0, span: float = 1.0, control_period_s: float = 1.0) -> None:
        """White for a ``correlation_s`` of 0; ``span`` is the share of the action's range that is used."""
        self._span = span
        self._rho = math.exp(-control_period_s / correlation_s) if correlation_s > 0 else 0.0
        self._level: Tensor | None = None  # [N, A] standard normal

    @classmethod
    def told(cls, config: TrainConfig, spec: AgentSpec) -> RandomActions:
        """Those that a training run asks for."""
        return cls(
            correlation_s=config.prefill_correlation_s,
            span=config.prefill_span,
            control_period_s=spec.control_period_s,
        )

    def draw(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """The next actions [N, A] in the shape, type and device of ``like``, within plus and minus the span."""
        if self._rho == 0:
            uniform = torch.rand(like.shape, generator=generator)  # [N, A]
        else:
            noise = torch.randn(like.shape, generator=generator)  # [N, A]
            if self._level is None:  # begins where it will dwell
                self._level = noise
            else:
                self._level = self._rho * self._level + math.sqrt(1 - self._rho**2) * noise
            uniform = torch.special.ndtr(self._level)
        return (self._span * (2 * uniform - 1)).to(like)

    def state(self) -> Tensor:
        """What the next draw depends on beside its generator: a uint8 vector, empty where that is nothing yet."""
        return torch.zeros(0, dtype=torch.uint8) if self._level is None else self._level.flatten().view(torch.uint8)

    def set_state(self, state: Tensor, like: Tensor) -> None:
        """Go on from `state` with draws in the shape [N, A] of ``like``."""
        self._level = state.clone().view(torch.float32).reshape(like.shape) if state.numel() else None
