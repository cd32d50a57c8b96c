"""How far a build is, as TensorRT tells it since version 9: phases within phases, each of so many steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any

from robot_wm.runtime.trt.api import TensorRT

OnProgress = Callable[[float, str], None]  # share done, 0 to 1, never less than before; what is being done


@dataclass
class _Phase:
    parent: str | None
    steps: int
    done: int = 0


class Share:
    """The share of the whole that is done; an inner phase fills one step of the phase around it."""

    def __init__(self) -> None:
        self._phases: dict[str, _Phase] = {}
        self._lock = Lock()  # TensorRT calls from several threads
        self._largest = 0.0

    def begin(self, name: str, parent: str | None, steps: int) -> float:
        """A phase of ``steps`` begins; the share done by then."""
        with self._lock:
            self._phases[name] = _Phase(parent, max(1, steps))
            return self._largest

    def step(self, name: str, step: int) -> float:
        """Step ``step`` of a phase is done; the share done now."""
        with self._lock:
            if name in self._phases:
                self._phases[name].done = step + 1
                self._largest = max(self._largest, self._of(name))
            return self._largest

    def end(self, name: str) -> float:
        """A phase is over, with all its steps; the share done now."""
        with self._lock:
            phase = self._phases.pop(name, None)
            if phase is not None and phase.parent not in self._phases:
                self._largest = 1.0
            return self._largest

    def _of(self, name: str) -> float:
        phase = self._phases[name]
        share = min(1.0, phase.done / phase.steps)
        while phase.parent in self._phases:
            phase = self._phases[phase.parent]
            share = min(1.0, (phase.done + share) / phase.steps)
        return share


def monitor(trt: TensorRT, on_progress: OnProgress) -> Any:
    """An ``IProgressMonitor`` that reports to ``on_progress``; None where this TensorRT has none.

    A build that is interrupted from the keyboard ends at its next step, and ``is_interrupted`` is true.
    """
    return _monitor(trt.module, on_progress) if trt.tells_progress else None


def _monitor(module: Any, on_progress: OnProgress) -> Any:
    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)
            self.is_interrupted = False
            self._share = Share()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._tell(self._share.begin(phase_name, parent_phase, num_steps), phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._tell(self._share.step(phase_name, step), phase_name)
            return not self.is_interrupted

        def phase_finish(self, phase_name: str) -> None:
            self._tell(self._share.end(phase_name), phase_name)

        def _tell(self, share: float, what: str) -> None:
            # An exception cannot pass through TensorRT.
            try:
                on_progress(share, what)
            except KeyboardInterrupt:
                self.is_interrupted = True

    return Monitor()
