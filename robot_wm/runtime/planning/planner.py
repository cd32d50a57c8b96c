"""One plan at a time, made from a copy of where the robot is, by an engine of its own that the tick never waits for.

What comes too late is nobody's: it is thrown away, and until it is done no other is begun.
Shape letters: K steps of a plan, A actions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.engine import Array, Engine
from robot_wm.runtime.noise import NoiseSource
from robot_wm.runtime.planner_section import Planner as PlannerSection
from robot_wm.runtime.planning.worker import Worker, WorkerThread

Float32 = NDArray[np.float32]
WARM_UP_S = 30.0  # for a first plan: a thread and its memory come into being


class Plan(NamedTuple):
    """What a search came to."""

    actions: Float32  # [K, A] model units, the first for the tick that asked; valid until the next ``submit``
    value: float  # the return that it expects, reward units
    gain: float  # by how much that exceeds the return of the actor's own sequence
    error: str = ""  # the engine's, in words; the numbers are NaN then

    @property
    def is_finite(self) -> bool:
        """Whether every number of it is one."""
        return math.isfinite(self.value) and math.isfinite(self.gain) and bool(np.isfinite(self.actions).all())


class Planner:
    """Runs the planner's graph beside the tick; ``submit``, then ``wait`` or ``ready``, then ``take`` or ``abandon``.

    ``engine`` computes the graph that ``section`` tells of; the planner owns it. ``worker`` makes what calls the engine
    (default: a thread). ``clock`` is in seconds, the worker's own. One thread calls everything here.
    """

    def __init__(
        self,
        engine: Engine,
        section: PlannerSection,
        *,
        seed: int = 0,
        worker: Callable[[Callable[[], None]], Worker] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.section = section
        self.engine = engine
        self._seed, self._clock = seed, clock
        self._make_worker = worker or (lambda work: WorkerThread(work, "planner"))
        self._worker: Worker | None = None

    def activate(self) -> None:
        """Start the engine and the worker, and make a first plan, so that the first real one is no slow one."""
        if self._worker is not None:
            return
        self.engine.activate()
        outputs = self.engine.outputs
        self._actions = outputs["plan"][0]  # [K, A]
        self._value, self._gain = outputs["value"], outputs["gain"]  # [1] each
        # Its noise makes candidates, the actor's own among them; which of them acts is no matter of chance.
        self._noise = NoiseSource(self.section.noise, self.engine.inputs, self._seed)
        self._error = ""
        self._deadline_s = -math.inf
        self._finished_s = math.inf
        self._is_wanted = False
        self._worker = self._make_worker(self._think)
        self._worker.begin()
        self._worker.wait(self._clock() + WARM_UP_S)

    @property
    def thread_id(self) -> int:
        """The kernel's number of the thread that plans; 0: there is none."""
        return getattr(self._worker, "thread_id", 0)

    @property
    def is_busy(self) -> bool:
        """Whether a plan is being made, wanted or not."""
        return self._worker is not None and not self._worker.is_done

    @property
    def finished_s(self) -> float:
        """When the last plan was made, on the planner's clock."""
        return self._finished_s

    def submit(self, root: Mapping[str, Array], deadline_s: float) -> bool:
        """Begin a plan from a copy of ``root``, tensors by the names of the section; False while one is being made.

        ``deadline_s``: on the planner's clock, what is finished later counts as not made.
        """
        if self._worker is None or not self._worker.is_done:
            return False
        for name, view in self.engine.inputs.items():
            if name in root:
                np.copyto(view, root[name])
        self._deadline_s = deadline_s
        self._is_wanted = True
        self._worker.begin()
        return True

    def _think(self) -> None:
        """In the worker: nothing that goes wrong here may end it, or reach the tick."""
        try:
            self._noise.draw()
            self.engine.infer()
            self._error = ""
        except Exception as error:
            self._error = str(error) or type(error).__name__
        self._finished_s = self._clock()

    def ready(self) -> bool:
        """Whether a plan can be taken: it was asked for, and was finished by its deadline."""
        return self._is_wanted and not self.is_busy and self._finished_s <= self._deadline_s

    def wait(self) -> bool:
        """Wait for the plan until its deadline, and no longer; whether it can be taken."""
        if self._worker is not None and self._is_wanted:
            self._worker.wait(self._deadline_s)
        return self.ready()

    def take(self) -> Plan:
        """The plan that is ``ready``; RuntimeError where none is."""
        if not self.ready():
            raise RuntimeError("no plan is ready")
        self._is_wanted = False
        if self._error:
            return Plan(self._actions, math.nan, math.nan, self._error)
        return Plan(self._actions, self._value.item(), self._gain.item())

    def abandon(self) -> None:
        """Want the plan no longer. It is made to its end all the same, and then is nobody's."""
        self._is_wanted = False

    def close(self) -> None:
        """End the worker and free the engine. Harmless if not active."""
        worker, self._worker = self._worker, None
        # An engine that hangs is left to the process's end: what it computes with must not go under it.
        if worker is None or worker.close():
            self.engine.deactivate()
