"""An agent's bundle drives a simulated robot through the very controller that runs on the real one.

Paced by absolute deadlines: tick k is due at ``start + k * period`` whatever the ticks before took, so that lateness
does not add up unseen. A simulator that is slower than the clock misses its deadlines and says so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.figures import episode_figures, figure_names, success, summary
from robot_wm.runtime.command import Command
from robot_wm.runtime.controller import Controller
from robot_wm.runtime.faults import Fault
from robot_wm.runtime.latency import LatencySummary
from robot_wm.runtime.pace import Pace
from robot_wm.spec import require_same
from robot_wm.tasks import agent_spec

Env = gymnasium.Env[dict[str, NDArray[Any]], Any]
OnTick = Callable[[Command, Env], None]


@dataclass(frozen=True)
class EpisodeResult:
    """One episode."""

    episode_return: float
    ticks: int
    success: bool | None  # None where the task has no notion of it
    terminated: bool  # it ended in a terminal state, rather than by time
    cut_off: bool  # it had not ended when the longest that it may last was over
    figures: dict[str, float]  # what the task told beside; see `robot_wm.figures`


@dataclass(frozen=True)
class ClosedLoopResult:
    """What a closed-loop run showed. Durations in microseconds, surprise in the manifest's unit."""

    task: str
    realtime: bool
    control_rate_hz: float
    episodes: tuple[EpisodeResult, ...]
    latency: LatencySummary  # of Controller.step; its deadline_misses are steps longer than the controller's deadline
    latency_us: NDArray[np.float64]  # [ticks] Controller.step, oldest first; at most the ring's length
    wake_up_us: NDArray[np.float64]  # [ticks] how late each tick began; empty unless in real time
    deadline_misses: int  # ticks whose command came after the next tick was due, simulator included; 0 unless real time
    surprise: NDArray[np.float64]  # [ticks] NaN on ticks that the model did not see
    modes: dict[str, int]  # ticks in each mode
    faults: dict[str, int]  # ticks with each fault

    @property
    def returns(self) -> NDArray[np.float64]:
        """Undiscounted return of each episode, [episodes]."""
        return np.array([episode.episode_return for episode in self.episodes])

    @property
    def success_rate(self) -> float | None:
        """Share of successful episodes; None where the task has no notion of success."""
        known = [episode.success for episode in self.episodes if episode.success is not None]
        return float(np.mean(known)) if known else None

    def summary(self) -> dict[str, Any]:
        """What the task tells of all episodes together; see `robot_wm.figures.summary`."""
        lengths, figures = [episode.ticks for episode in self.episodes], [episode.figures for episode in self.episodes]
        return summary(lengths, figures, control_rate_hz=self.control_rate_hz)

    def as_dict(self, *, bins: int = 40) -> dict[str, Any]:
        """The figures for JSON, keys with their units; the latency histogram has ``bins`` bins."""
        counts, edges = np.histogram(self.latency_us, bins=bins) if self.latency_us.size else (np.zeros(0), np.zeros(0))
        surprise = self.surprise[np.isfinite(self.surprise)]
        p50, p99 = np.percentile(surprise, (50, 99)) if surprise.size else (None, None)
        late = self.wake_up_us
        return {
            "task": self.task,
            "episodes": len(self.episodes),
            "return_mean": float(self.returns.mean()),
            "return_std": float(self.returns.std()),
            "returns": self.returns.tolist(),
            "success_rate": self.success_rate,
            "ticks": sum(episode.ticks for episode in self.episodes),
            **self.summary(),
            "realtime": self.realtime,
            "control_rate_hz": self.control_rate_hz,
            "p50_us": self.latency.p50_us,
            "p99_us": self.latency.p99_us,
            "p999_us": self.latency.p999_us,
            "max_us": self.latency.max_us,
            "controller_deadline_misses": self.latency.deadline_misses,
            "deadline_misses": self.deadline_misses,
            "wake_up_p99_us": float(np.percentile(late, 99)) if late.size else None,
            "surprise_p50": p50,
            "surprise_p99": p99,
            "surprise_max": float(surprise.max()) if surprise.size else None,
            "mode_ticks": self.modes,
            "fault_ticks": self.faults,
            "latency_histogram": {"edges_us": edges.tolist(), "counts": counts.tolist()},
        }


def run_closed_loop(
    controller: Controller,
    env: Env,
    *,
    episodes: int = 1,
    realtime: bool = True,
    max_episode_s: float | None = None,
    seed: int | None = None,
    on_tick: OnTick | None = None,
    on_episode: Callable[[EpisodeResult], None] | None = None,
) -> ClosedLoopResult:
    """Run ``episodes`` episodes of ``env`` under an active ``controller`` and report.

    ``realtime`` paces the ticks at the spec's control rate, otherwise they follow each other at once and the
    controller sees simulated time. An episode ends by itself or after ``max_episode_s`` of simulated time. Episode i
    is seeded with ``seed + i``; with None, as the environment chooses. ``on_tick`` hears each command and the
    environment after it was executed, ``on_episode`` each result.
    Raises UserError for an environment made for another agent, and for a controller that is stopped.
    """
    spec = controller.spec
    require_same(spec, agent_spec(env), origin=f"environment {spec.task}")
    controller.latency.clear()
    limit = None if max_episode_s is None else max(1, round(max_episode_s * spec.control_rate_hz))
    record, names = _Record(), figure_names(env)
    pace = Pace(spec.control_period_s) if realtime else None
    results = []
    for number in range(episodes):
        observation, _ = env.reset(seed=None if seed is None else seed + number)
        controller.disable()
        controller.enable()
        if controller.mode.value == "estop":
            raise UserError("the controller's emergency stop is latched: reset it first")
        controller.start_episode()
        if pace is not None:
            pace.restart()
        result = _episode(controller, env, observation, limit, pace, record, on_tick, names)
        results.append(result)
        if on_episode is not None:
            on_episode(result)
    controller.disable()
    return ClosedLoopResult(
        task=spec.task,
        realtime=realtime,
        control_rate_hz=spec.control_rate_hz,
        episodes=tuple(results),
        latency=controller.latency.summary(),
        latency_us=controller.latency.durations_us(),
        wake_up_us=np.zeros(0) if pace is None else pace.wake_up.durations_us(),
        deadline_misses=0 if pace is None else pace.misses,
        surprise=np.array(record.surprise),
        modes=dict(record.modes),
        faults=dict(record.faults),
    )


def _episode(
    controller: Controller,
    env: Env,
    observation: dict[str, NDArray[Any]],
    limit: int | None,
    pace: Pace | None,
    record: _Record,
    on_tick: OnTick | None,
    names: Sequence[str],
) -> EpisodeResult:
    discrete = controller.spec.action.is_discrete
    total, ticks, terminated, truncated = 0.0, 0, False, False
    info: dict[str, Any] = {}
    while not (terminated or truncated or ticks == limit):
        now_s = ticks * controller.spec.control_period_s if pace is None else pace.wait()
        command = controller.step(observation, now_s)
        if pace is not None:
            pace.done()
        action = int(np.argmax(command.command)) if discrete else command.command
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        ticks += 1
        record.add(command)
        if on_tick is not None:
            on_tick(command, env)
    told = success(info)
    figures = episode_figures(names, info)
    return EpisodeResult(
        episode_return=total,
        ticks=ticks,
        success=None if math.isnan(told) else bool(told),
        terminated=terminated,
        cut_off=not (terminated or truncated),
        figures=figures,
    )


@dataclass
class _Record:
    """What is kept of each tick."""

    surprise: list[float] = field(default_factory=list)
    modes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def add(self, command: Command) -> None:
        self.surprise.append(command.surprise)
        self.modes[command.mode.value] += 1
        if command.fault_bits:
            self.faults.update(fault.name.lower() for fault in Fault if fault & command.fault_bits and fault.name)
