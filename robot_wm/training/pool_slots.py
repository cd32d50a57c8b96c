"""The arrays through which simulator processes and the learner's process exchange steps.

Shape letters: N environments, A action, K figures, Q randomised quantities.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.spec import AgentSpec
from robot_wm.step import Arrived, Steps, as_fields, column, step_columns

_ALIGNMENT = 64  # a cache line: workers of neighbouring slots must not share one array's start


@dataclass(frozen=True)
class Contract:
    """What the environments of a task have in common; a worker's first answer."""

    agent_spec: AgentSpec
    figure_names: tuple[str, ...]  # K of them, see `robot_wm.figures`
    randomisation_names: tuple[str, ...]  # Q of them, see `robot_wm.randomisation`

    def to_bytes(self) -> bytes:
        """As it goes through the pipe."""
        return json.dumps(vars(self) | {"agent_spec": self.agent_spec.to_json()}).encode()

    @classmethod
    def from_bytes(cls, data: bytes, *, origin: str) -> Contract:
        """What `to_bytes` made; ``origin`` names the worker in a refusal."""
        told = json.loads(data)
        spec = AgentSpec.from_json(told.pop("agent_spec"), origin=origin)
        return cls(spec, **{name: tuple(names) for name, names in told.items()})


@dataclass(frozen=True, kw_only=True)
class PoolStep(Arrived[NDArray[Any]]):
    """What came of one step of N environments; raw SI values.

    ``reward`` arrived with ``obs`` and is 0 where ``is_first``. ``is_last`` marks the final observation of an episode
    (terminated or truncated), ``is_terminal`` only termination.
    """

    success: NDArray[np.float32] = field(metadata=column("float32"))  # [N] 1, 0, or NaN where the task told none
    seed: NDArray[np.int64] = field(metadata=column("int64"))  # [N] with which the running episode was reset
    # [N, K] of the episode where is_last, under the contract's names; NaN elsewhere
    figures: NDArray[np.float64] = field(metadata=column("float64", "figures"))
    # [N, Q] drawn for the running episode, under the contract's names; NaN where none was told
    randomisation: NDArray[np.float64] = field(metadata=column("float64", "randomisation"))


@dataclass(frozen=True, kw_only=True)
class PoolSlots(PoolStep, Steps[NDArray[Any]]):
    """A step and the action that is wanted of each environment, written in place, over one buffer.

    The layout follows from the contract and N alone, so both sides compute it and only the buffer is passed on.
    """

    @classmethod
    def over(cls, contract: Contract, envs: int, buffer: memoryview | bytearray) -> PoolSlots:
        """The slots of N environments in ``buffer``, which has `nbytes`."""
        arrays = {
            name: np.ndarray(shape, dtype, buffer=buffer, offset=offset)
            for name, shape, dtype, offset, _ in _layout(contract, envs)
        }
        return cls(**as_fields(arrays))

    @staticmethod
    def nbytes(contract: Contract, envs: int) -> int:
        """Bytes that the buffer needs."""
        return max(end for *_, end in _layout(contract, envs))


def _layout(contract: Contract, envs: int) -> Iterator[tuple[str, tuple[int, ...], np.dtype[Any], int, int]]:
    """Name, shape, dtype, start and end of each array."""
    sizes = {"figures": len(contract.figure_names), "randomisation": len(contract.randomisation_names)}
    end = 0
    for name, (step, dtype) in step_columns(contract.agent_spec, PoolSlots, **sizes).items():
        shape = (envs, *step)
        start = math.ceil(end / _ALIGNMENT) * _ALIGNMENT
        end = start + math.prod(shape) * dtype.itemsize
        yield name, shape, dtype, start, end
