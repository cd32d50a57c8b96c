"""The randomness of an agent that is not greedy: drawn here, because the graph holds none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.graph_tensors import NoiseTensor

# An exponential draw may be 0 in float32; its logarithm must stay finite.
_SMALLEST = np.float32(1e-30)


class NoiseSource:
    """Fills an engine's noise inputs in place, each with its own distribution."""

    def __init__(self, tensors: Sequence[NoiseTensor], inputs: Mapping[str, NDArray[Any]], seed: int) -> None:
        self._generator = np.random.default_rng(seed)
        self._normal = [inputs[tensor.name] for tensor in tensors if tensor.distribution == "normal"]
        self._gumbel = [inputs[tensor.name] for tensor in tensors if tensor.distribution == "gumbel"]

    def draw(self) -> None:
        """Draw anew; allocates nothing."""
        for values in self._normal:
            self._generator.standard_normal(dtype=np.float32, out=values)
        for values in self._gumbel:
            # -log of a standard exponential variable is a standard Gumbel one.
            self._generator.standard_exponential(dtype=np.float32, out=values)
            np.maximum(values, _SMALLEST, out=values)
            np.log(values, out=values)
            np.negative(values, out=values)
