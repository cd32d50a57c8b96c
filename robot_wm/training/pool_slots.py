"""The arrays through which simulator processes and the learner's process exchange steps."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from robot_wm.spec import AgentSpec

_ALIGNMENT = 64  # a cache line: workers of neighbouring slots must not share one array's start


class PoolSlots:
    """Named arrays with a leading axis of N environments, laid over one buffer.

    The layout follows from the spec, N and the number K of figures alone, so both sides compute it and only the buffer
    is passed on. ``obs`` [N, *shape]; ``action`` [N, A] float32; ``reward``, ``success`` [N] float32; ``is_first``,
    ``is_last``, ``is_terminal`` [N] bool; ``seed`` [N] int64, of the running episode; ``figures`` [N, K] float64.
    ``success`` is 1 or 0, or NaN where the task told none; ``figures`` are NaN but at an episode's last step.
    """

    def __init__(self, spec: AgentSpec, envs: int, figures: int, buffer: memoryview | bytearray) -> None:
        arrays = {
            name: np.ndarray(shape, dtype, buffer=buffer, offset=offset)
            for name, shape, dtype, offset, _ in _layout(spec, envs, figures)
        }
        self.obs = {field.name: arrays[f"obs/{field.name}"] for field in spec.observations}
        self.action = arrays["action"]
        self.reward = arrays["reward"]
        self.success = arrays["success"]
        self.is_first = arrays["is_first"]
        self.is_last = arrays["is_last"]
        self.is_terminal = arrays["is_terminal"]
        self.seed = arrays["seed"]
        self.figures = arrays["figures"]

    @staticmethod
    def nbytes(spec: AgentSpec, envs: int, figures: int) -> int:
        """Bytes that the buffer needs."""
        return max(end for *_, end in _layout(spec, envs, figures))


def _layout(spec: AgentSpec, envs: int, figures: int) -> Iterator[tuple[str, tuple[int, ...], np.dtype, int, int]]:
    """Name, shape, dtype, start and end of each array."""
    fields: list[tuple[str, tuple[int, ...], str]] = [
        *((f"obs/{field.name}", (envs, *field.shape), field.dtype) for field in spec.observations),
        ("action", (envs, spec.action_dim), "float32"),
        ("reward", (envs,), "float32"),
        ("success", (envs,), "float32"),
        ("is_first", (envs,), "bool"),
        ("is_last", (envs,), "bool"),
        ("is_terminal", (envs,), "bool"),
        ("seed", (envs,), "int64"),
        ("figures", (envs, figures), "float64"),
    ]
    end = 0
    for name, shape, dtype in fields:
        start = math.ceil(end / _ALIGNMENT) * _ALIGNMENT
        end = start + math.prod(shape) * np.dtype(dtype).itemsize
        yield name, shape, np.dtype(dtype), start, end
