"""Calibrate in one engine, then try in another."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.runtime.monitor import MonitorSection, conformal_limit
from robot_wm.spec import AgentSpec
from robot_wm_bench.monitor.lead import area, counts
from robot_wm_bench.monitor.settings import World
from robot_wm_bench.monitor.trace import CHANGE, LOW_VALUE, READOUT, SURPRISE, Trace, highest_score, trace
from robot_wm_export.monitor.calibrate import FALL_LIMITS, Plan, calibrate, familiar_episodes, task_episodes

Tell = Callable[[str], None]  # what is being done


@dataclass(frozen=True)
class Calibrated:
    """Limits of one engine."""

    section: MonitorSection
    limits: dict[str, float]  # by what tells, of `trace.Trace.scores`
    episodes: int  # without a fall


def calibrated(agent: Agent, spec: AgentSpec, plan: Plan, *, tell: Tell) -> Calibrated:
    """The monitor's section as an export makes it, and for simpler scores the quantile that its readout has."""
    tell(f"{plan.episodes} episodes as trained")
    familiar = familiar_episodes(agent, spec, plan)
    section = calibrate(agent, spec, plan, familiar=familiar, on_stage=tell)
    traces = [trace(section, episode) for episode in familiar]
    rate = plan.false_alarm_rate / FALL_LIMITS
    highest = {name: [highest_score(one, name) for one in traces] for name in (LOW_VALUE, SURPRISE)}
    limits = {name: conformal_limit(scores, rate) for name, scores in highest.items()}
    limits[CHANGE] = section.change.limit
    return Calibrated(section, limits if section.fall is None else {READOUT: 0.0} | limits, len(familiar))


def tried(
    agent: Agent,
    spec: AgentSpec,
    section: MonitorSection,
    worlds: Mapping[str, World],
    options: Mapping[str, Any],
    *,
    seed: int,
    tell: Tell,
) -> dict[str, list[Trace]]:
    """Every world's episodes, by their scores; ``options`` are the task's, its engine among them."""
    found = {}
    for name, world in worlds.items():
        tell(f"{name}: {world.episodes} episodes")
        drawn = {} if world.randomisation is None else {"randomisation": world.randomisation}
        try:
            episodes = task_episodes(
                agent,
                spec,
                {**options, **drawn},
                episode_s=world.episode_s,
                episodes=world.episodes,
                seed=seed,
            )
            found[name] = [trace(section, episode) for episode in episodes]
        except UserError as error:
            raise UserError(f"world {name}: {error}") from None
    return found


def table(limits: Mapping[str, float], worlds: Mapping[str, list[Trace]], rate_hz: float) -> list[dict[str, Any]]:
    """A row for each that tells and each world; ``area`` is that under its ROC curve against the clean one."""
    return [
        {
            "told_by": told_by,
            "limit": limit,
            "world": world,
            **counts(traces, told_by, limit, rate_hz),
            "area": None if traces is worlds["clean"] else area(traces, worlds["clean"], told_by),
        }
        for told_by, limit in limits.items()
        for world, traces in worlds.items()
    ]
