"""What computes one tick of an agent's graph: the protocol that every engine follows.

An engine is used like a Polygraphy runner: ``activate``, any number of ``infer``, ``deactivate``. The recurrent
state is the engine's own and may live where the host cannot see it (on a GPU): ``infer`` reads the state that the
previous ``infer`` wrote. Only ``write_state`` and ``read_state`` move it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class EngineError(RuntimeError):
    """The engine could not compute a tick. Its state is then undefined until ``clear_state``."""


class Engine(Protocol):
    """Computes ticks of one graph. Not thread-safe: one caller at a time."""

    @property
    def inputs(self) -> Mapping[str, Array]:
        """Host views of the inputs that are not state, by graph name (``obs/<field>``, ``is_first``, ``noise/<name>``).

        The engine owns them from ``activate`` to ``deactivate`` and never replaces them. The caller writes them in
        place before ``infer``, which only reads them: what is not written again keeps its value. Zeros at first.
        """

    @property
    def outputs(self) -> Mapping[str, Array]:
        """Host views of the outputs but for state that is not shown, by graph name (``action``, ``value``, …).

        The engine owns them; they hold the latest tick's values until the next ``infer`` overwrites them in place.
        """

    def activate(self) -> None:
        """Load the graph, allocate every buffer and set the initial state; UserError for a graph that does not fit."""

    def infer(self) -> None:
        """Compute one tick; returns when ``outputs`` can be read. Raises EngineError."""

    def clear_state(self) -> None:
        """Give every state its initial value.

        An episode starts with ``is_first`` = 1, not with this: it is for a state that is no longer a number.
        """

    def write_state(self, name: str, values: Array) -> None:
        """Copy ``values`` (float32, the state's shape) over the state ``name`` that the next ``infer`` reads."""

    def read_state(self, name: str) -> NDArray[np.float32]:
        """A copy of the state ``name`` that the next ``infer`` would read. For checks and logs, not for the tick."""

    def deactivate(self) -> None:
        """Free everything: ``inputs`` and ``outputs`` are empty then, older views dead. Harmless if inactive."""
