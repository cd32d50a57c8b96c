"""A planner to follow by hand: an engine, a clock that moves only when told, and a worker that keeps to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np
import pytest
from planned import DEPTH, planner_section

from robot_wm.runtime.engine import EngineError
from robot_wm.runtime.graph_tensors import NoiseTensor
from robot_wm.runtime.manifest import Manifest
from robot_wm.runtime.planning.config import PlanningConfig
from robot_wm.runtime.planning.planner import Planner
from robot_wm.runtime.planning.thinker import Thinker


class ScriptedEngine:
    """A planner's engine of two actions: plans are the root's first number everywhere; ``fails`` raises.

    ``gain``, ``value`` and ``rows`` [K, A] (None: the root) are what it puts out.
    """

    def __init__(self, depth: int = DEPTH, action_dim: int = 2) -> None:
        self.inputs = {"next/deter": np.zeros((1, 4), np.float32), "noise/plan": np.zeros((1, 3, 2), np.float32)}
        self.outputs = {
            "plan": np.zeros((1, depth, action_dim), np.float32),
            "value": np.zeros(1, np.float32),
            "gain": np.zeros(1, np.float32),
        }
        self.gain, self.value, self.fails = 1.0, 2.0, ""
        self.rows: Any = None
        self.is_active = False
        self.asked = 0
        self.noise: list[np.ndarray] = []

    def activate(self) -> None:
        self.is_active = True

    def infer(self) -> None:
        self.asked += 1
        self.noise.append(self.inputs["noise/plan"].copy())
        if self.fails:
            raise EngineError(self.fails)
        self.outputs["plan"][0] = self.inputs["next/deter"][0, 0] if self.rows is None else self.rows
        self.outputs["gain"][0], self.outputs["value"][0] = self.gain, self.value

    def deactivate(self) -> None:
        self.is_active = False

    # A planner has no state.
    def clear_state(self) -> None: ...

    def write_state(self, name: str, values: Any) -> None: ...

    def read_state(self, name: str) -> Any: ...


@dataclass
class ScriptedClock:
    """Seconds that pass only when somebody says so."""

    now_s: float = 100.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class ScriptedWorker:
    """Its work is done when the clock has passed the time that the script gives it, s; who waits makes it pass.

    ``begun`` counts; ``overlaps`` how often work was begun while other work was under way.
    """

    work: Callable[[], None]
    clock: ScriptedClock
    takes_s: Iterator[float] = field(default_factory=lambda: repeat(0.0))
    begun: int = 0
    overlaps: int = 0
    done_s: float | None = None  # of the work under way

    @property
    def is_done(self) -> bool:
        if self.done_s is not None and self.clock.now_s >= self.done_s:
            now_s, self.clock.now_s, self.done_s = self.clock.now_s, self.done_s, None
            self.work()
            self.clock.now_s = now_s
        return self.done_s is None

    def begin(self) -> None:
        self.overlaps += not self.is_done
        self.begun += 1
        self.done_s = self.clock.now_s + next(self.takes_s)

    def wait(self, until_s: float) -> bool:
        if not self.is_done:
            assert self.done_s is not None
            self.clock.now_s = max(self.clock.now_s, min(self.done_s, until_s))
        return self.is_done

    def close(self) -> bool:
        return True


class TickEngine:
    """The policy's engine as a thinker sees it: state ``deter`` [1, 4], hidden, and what it shows."""

    def __init__(self) -> None:
        self.deter = np.zeros((1, 4), np.float32)
        self.outputs: Mapping[str, np.ndarray] = {"post_logits": np.zeros((1, 2, 3), np.float32)}

    def read_state(self, name: str) -> np.ndarray:
        assert name == "deter"
        return self.deter.copy()


@dataclass
class Bench:
    """A thinker over a scripted planner. ``tick`` is one control period of ``period_s``."""

    thinker: Thinker
    planner: Planner
    engine: ScriptedEngine
    clock: ScriptedClock
    worker: ScriptedWorker
    root: TickEngine
    executed: np.ndarray  # [A]
    period_s: float
    actor: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))
    out: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))
    begin_s: float = 0.0

    def tick(self, *, surprise: float = 0.0, is_first: bool = False, actor: float = 0.0, root: float = 0.5) -> str:
        """One tick, after which what was asked for is executed as it is; whose action it was."""
        self.begin_s = self.begin_s + self.period_s if self.begin_s else self.clock.now_s
        self.clock.now_s = max(self.clock.now_s, self.begin_s)
        self.root.deter.fill(root)
        self.actor.fill(actor)
        self.thinker.propose(self.actor, surprise=surprise, is_first=is_first, received_s=self.begin_s, out=self.out)
        self.executed[:] = self.out
        return self.thinker.use.source.value


@pytest.fixture
def make_bench(make_agent, make_spec) -> Callable[..., Bench]:
    """``make_bench(takes_s, **knobs)``: a bench of ``PlanningConfig(**knobs)`` at 50 Hz; no blend unless asked for."""

    def make(
        takes_s: Iterator[float] | float = 0.001,
        *,
        levels: Mapping[str, float] | None = None,
        deadline_s: float | None = None,
        discrete: bool = False,
        **knobs: Any,
    ) -> Bench:
        spec = make_spec()
        manifest: Manifest = make_agent(spec).manifest
        changes: dict[str, Any] = {}
        if levels is not None:
            body = manifest.parity.model_dump() | {"surprise": levels}
            changes["parity"] = type(manifest.parity).model_validate(body)
        if discrete:
            action = spec.action.model_copy(update={"mode": "discrete"})
            changes["spec"] = spec.model_copy(update={"action": action})
        manifest = manifest.model_copy(update=changes)
        noise = (NoiseTensor(name="noise/plan", shape=(1, 3, 2), distribution="normal"),)
        section = planner_section(manifest).model_copy(update={"root": ("next/deter",), "noise": noise})
        engine, clock = ScriptedEngine(), ScriptedClock()
        workers: list[ScriptedWorker] = []

        def worker(work: Callable[[], None]) -> ScriptedWorker:
            workers.append(ScriptedWorker(work, clock))
            return workers[-1]

        planner = Planner(engine, section, worker=worker, clock=clock)
        planner.activate()
        workers[0].takes_s = repeat(takes_s) if isinstance(takes_s, float) else takes_s
        workers[0].begun = engine.asked = 0
        executed, root = np.zeros(2, np.float32), TickEngine()
        thinker = Thinker(
            planner,
            PlanningConfig(**({"blend_ticks": 0} | knobs)),
            manifest,
            root,
            executed=executed,
            deadline_s=spec.control_period_s if deadline_s is None else deadline_s,
            clock=clock,
        )
        return Bench(thinker, planner, engine, clock, workers[0], root, executed, spec.control_period_s)

    return make
