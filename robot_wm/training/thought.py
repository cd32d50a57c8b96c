"""What an agent is asked at a step, and the asking as one CUDA graph where it thinks on a GPU.

A search is thousands of small kernels: launched one by one they take longer than the step that they are for.
Shape letters: N environments.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from robot_wm.learning.agent import Tick
from robot_wm.learning.captured import CapturedFunction, warm_up


@dataclass(frozen=True)
class Senses:
    """The arguments of `robot_wm.learning.agent.Agent.tick`."""

    obs: Mapping[str, Tensor]  # name -> [N, *input shape]
    is_first: Tensor  # [N] float32
    state: Mapping[str, Tensor]  # name -> [N, *shape]
    noise: Mapping[str, Tensor]  # name -> [N, *shape]


class Thought:
    """An agent's ``tick`` or ``explore``, whose weights stay where they are; on a GPU recorded at the first call.

    What it gives on a GPU holds until the next call.
    """

    def __init__(
        self, think: Callable[[Mapping[str, Tensor], Tensor, Mapping[str, Tensor], Mapping[str, Tensor]], Tick]
    ) -> None:
        self._think = think
        self._captured: CapturedFunction[Senses, Tick] | None = None

    def __call__(self, senses: Senses) -> Tick:
        """Think about N observations."""
        device = senses.is_first.device
        if device.type != "cuda":
            return self._run(senses)
        if self._captured is None:
            warm_up(lambda: self._run(senses), device)
            self._captured = CapturedFunction(self._run, senses)
        return self._captured(senses)

    def _run(self, senses: Senses) -> Tick:
        return self._think(senses.obs, senses.is_first, senses.state, senses.noise)
