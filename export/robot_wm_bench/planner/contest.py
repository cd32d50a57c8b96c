"""One agent's returns with its planners and without, always from the same starts. Shape letter: E starts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.evaluation.playing import Played, play
from robot_wm.learning.agent import Agent
from robot_wm.runtime.manifest import POLICY_OP17
from robot_wm.runtime.onnx_engine import OnnxEngine
from robot_wm.runtime.planner_section import PlannerKind
from robot_wm.runtime.planning.config import ALWAYS, PlanningConfig
from robot_wm.runtime.planning.planner import Planner
from robot_wm.spec import AgentSpec
from robot_wm.tasks import make_env
from robot_wm.training.initial import load_source
from robot_wm_bench.planner.worlds import world_options
from robot_wm_export.export import export_agent
from robot_wm_export.planner.export import PlannerDraft, PlannerSettings, draft_planner, make_graph
from robot_wm_export.planner.gate import GATE_SEED, gate_of
from robot_wm_export.rollout import MIN_TICKS, record_task

THINKING: Mapping[str, PlanningConfig] = {
    "always": ALWAYS,
    "gated": PlanningConfig(),
    "unwaited": PlanningConfig(waits=False),
}
MOST_STARTS = 1000  # of a seed: the next one's begin so much later


@dataclass(frozen=True)
class Contender:
    """A trained agent, and the bundle that drives."""

    name: str  # as it was asked for
    agent: Agent
    spec: AgentSpec
    bundle: Path
    worlds: Mapping[str, Mapping[str, Any]]  # task options of each


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is played, by every agent alike."""

    planners: Sequence[PlannerKind]
    candidates: Sequence[int]
    depth: int  # control steps
    worlds: Sequence[str]
    thinking: Sequence[str]
    starts: int  # of each seed
    seeds: Sequence[int]

    @property
    def settings(self) -> list[PlannerSettings]:
        """Of every planner."""
        return [
            PlannerSettings(kind=kind, candidates=count, depth=self.depth)
            for kind in self.planners
            for count in self.candidates
        ]

    @property
    def rows(self) -> int:
        """How many an agent gets."""
        return len(self.settings) * len(self.worlds) * len(self.thinking)


def contender(name: str, plan: Plan, folder: Path) -> Contender:
    """Load an agent and write its bundle, without a planner, below ``folder``; UserError for what cannot be played."""
    loaded = load_source(name)
    config = loaded.state.config
    options: dict[str, Any] = dict(config.task_options)
    with make_env(config.task, **options) as env:
        own = getattr(env.unwrapped, "sensor_model", None)
    latency_s = 0.0 if own is None else own.observation_latency_s
    worlds = {world: world_options(world, config.task, latency_s) for world in plan.worlds}
    for settings in plan.settings:
        make_graph(loaded.agent, loaded.spec, settings)
    spec, rollout = record_task(loaded, MIN_TICKS, 0)
    bundle = folder / "agent.rwm"
    export_agent(loaded.agent, spec, rollout, loaded.lineage, bundle, profiles=(POLICY_OP17,))
    return Contender(name, loaded.agent, spec, bundle, worlds)


def contest(
    one: Contender, plan: Plan, *, tell: Callable[[str], object] = lambda stage: None
) -> Iterator[dict[str, Any]]:
    """A row of plain values for every planner, world and way of thinking; ``tell`` hears what is being played.

    Raises UserError for a planner whose plans fail or are not finite: its returns would be the actor's.
    """
    alone: dict[str, NDArray[np.float64]] = {}  # by world, [E]: one for all planners
    for world in plan.worlds:
        tell(f"{one.name}: {world}: the actor alone")
        alone[world] = np.concatenate([_play(one, plan, world, seed).returns for seed in plan.seeds])
    for settings in plan.settings:
        planner = f"{settings.kind} of {settings.candidates} x {settings.depth}"
        tell(f"{one.name}: exporting {planner}")
        draft = draft_planner(make_graph(one.agent, one.spec, settings), settings, one.spec)
        for world in plan.worlds:
            always: float | None = None
            for thinking in plan.thinking:
                tell(f"{one.name}: {world}: {planner}, {thinking}")
                row = _row(one, plan, world, draft, thinking, alone[world])
                if thinking == "always":
                    always = row["planned"]
                kept = None if thinking == "always" or always is None or always <= 0.0 else row["planned"] / always
                yield row | {"return_kept": kept}


def _row(
    one: Contender, plan: Plan, world: str, draft: PlannerDraft, thinking: str, alone: NDArray[np.float64]
) -> dict[str, Any]:
    played = [_play(one, plan, world, seed, draft, thinking) for seed in plan.seeds]
    counts = {name: sum(part.counts[name] for part in played) for name in played[0].counts}
    section = draft.section
    for name in ("broken", "not_finite"):
        if counts[name]:
            told = f"{one.name}: {section.kind} of {section.candidates}: world {world}"
            raise UserError(f"{told}: {counts[name]} of {counts['searches']} plans were {name.replace('_', ' ')}")
    worth = gate_of(np.concatenate([part.returns for part in played]), alone, first_start(plan.seeds[0]))
    return {
        "agent": one.name,
        "planner": section.kind,
        "candidates": section.candidates,
        "depth": section.depth,
        "world": world,
        "thinking": thinking,
        "starts": worth.episodes,
        "planned": worth.planned,
        "reactive": worth.reactive,
        "difference": worth.planned - worth.reactive,
        "interval": list(worth.interval),
        "searches_share": counts["searches"] / counts["ticks"],
        "surprised_share": counts["surprised"] / counts["ticks"],
    }


def _play(
    one: Contender, plan: Plan, world: str, seed: int, draft: PlannerDraft | None = None, thinking: str = "always"
) -> Played:
    first = first_start(seed)
    planner = None if draft is None else Planner(OnnxEngine(draft.graph(), ()), draft.section, seed=first)
    return play(
        one.bundle,
        episodes=plan.starts,
        seed=first,
        planner=planner or False,
        planning=THINKING[thinking],
        option=one.worlds[world],
    )


def first_start(seed: int) -> int:
    """The first start of a seed, and what its planners' noise comes of; of seed 0 those of the release gate."""
    return GATE_SEED + MOST_STARTS * seed
