"""From an agent and its task to the monitor's section of a manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.runtime.monitor import (
    Calibration,
    ChangeLimit,
    FallReadout,
    MonitorSection,
    conformal_limit,
)
from robot_wm.spec import AgentSpec
from robot_wm.tasks import GYM_PREFIX, backend_names, make_env
from robot_wm_export.monitor.episodes import WatchedEpisode, watched_episodes
from robot_wm_export.monitor.fit import HORIZON_S, highest, readout, rounded
from robot_wm_export.rollout import require_task

ENVIRONMENTS = 16
EPISODE_S = 11.2  # long enough for a new command at our own tasks
STUMBLE_S = 6.0
CHANGE_S = 1.0  # surprise is averaged over
SETTLE_S = 1.0  # the A1 after a new command: 40 ticks of 20 ms until surprise is as before
BLIND_S = 0.1  # the A1's belief jumps for two ticks
FALL_TICKS = 2
COMMAND_STEP = 0.1  # of a command field's range
FALL_LIMITS = 2  # of which each may be exceeded in half as many episodes
LIMITS = 1 + FALL_LIMITS  # of changes, too
MIN_FALLS = 20  # that a readout is fitted to
CALIBRATION_SEED = 3_000_017  # starts that neither training nor evaluation see


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to calibrate by."""

    episodes: int  # without a fall, that each limit is a quantile of; as many are pushed
    false_alarm_rate: float = 0.01  # of changes, and of falls: share of episodes
    confidence: float = 0.0  # that this monitor's rates of both kinds are no larger; 0: those of monitors in the mean
    stumbles: str = "stumbles"  # randomisation with pushes that bring a robot down
    options: dict[str, Any] = field(default_factory=dict)  # of the task, as it was trained
    seed: int = CALIBRATION_SEED

    def __post_init__(self) -> None:
        # Too few are told before the work, not after.
        self.require(self.episodes)

    def require(self, episodes: int) -> None:
        """Raise UserError where so many episodes without a fall set no limit."""
        self.limit([0.0] * episodes, self.false_alarm_rate / FALL_LIMITS)

    def limit(self, scores: Sequence[float], rate: float) -> float:
        """Of one of the monitor's limits; by chance too low are all of them together no more often than is left."""
        return conformal_limit(scores, rate, 1.0 - (1.0 - self.confidence) / LIMITS if self.confidence else 0.0)


def calibrate(
    agent: Agent,
    spec: AgentSpec,
    plan: Plan,
    *,
    familiar: Sequence[WatchedEpisode] | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> MonitorSection:
    """Run the task and set both limits; without ``fall`` where too few episodes end on the ground.

    ``familiar`` are the plan's `familiar_episodes`, where somebody has them already.
    Raises UserError for a task of another spec, and where too few episodes for the rate end without a fall.
    """
    options = _options(spec, plan)
    if familiar is None:
        on_stage(f"monitor: {plan.episodes} episodes as trained")
        familiar = familiar_episodes(agent, spec, plan)
    _require_enough(familiar, plan)
    backend = backend_names(spec.task, plan.options)[0]
    section = MonitorSection(change=_change(spec, familiar, plan, backend, _name(plan.options.get("randomisation"))))
    if agent.belief is None or spec.task.startswith(GYM_PREFIX):
        return section
    on_stage(f"monitor: {plan.episodes} episodes with {plan.stumbles}")
    pushed = task_episodes(
        agent,
        spec,
        options | {"randomisation": plan.stumbles},
        episode_s=STUMBLE_S,
        episodes=plan.episodes,
        seed=plan.seed,
    )
    stumbles = list(pushed)
    if sum(episode.down for episode in stumbles) < MIN_FALLS:
        return section
    return section.model_copy(update={"fall": _fall(agent, spec, section, stumbles, familiar, plan)})


def familiar_episodes(agent: Agent, spec: AgentSpec, plan: Plan) -> list[WatchedEpisode]:
    """As many as planned, as trained, none of which ends on the ground; fewer where many do."""
    spare = plan.episodes // 10  # some may fall
    tried = task_episodes(
        agent,
        spec,
        _options(spec, plan),
        episode_s=EPISODE_S,
        episodes=plan.episodes + spare,
        seed=plan.seed,
    )
    return list(islice((episode for episode in tried if not episode.down), plan.episodes))


def task_episodes(
    agent: Agent, spec: AgentSpec, options: Mapping[str, Any], *, episode_s: float, episodes: int, seed: int
) -> Iterator[WatchedEpisode]:
    """Episodes of the spec's task with these options, at most ``episode_s`` long; see `watched_episodes`.

    Raises UserError for a task of another spec.
    """
    with ExitStack() as stack:
        envs = [stack.enter_context(make_env(spec.task, seed=0, **options)) for _ in range(min(ENVIRONMENTS, episodes))]
        require_task(envs[0], spec, origin=f"task {spec.task}")
        ticks = control_ticks(episode_s, spec)
        yield from watched_episodes(agent, spec, envs, episodes=episodes, max_ticks=ticks, seed=seed)


def _require_enough(familiar: Sequence[WatchedEpisode], plan: Plan) -> None:
    try:
        plan.require(len(familiar))
    except UserError as error:
        raise UserError(f"monitor: episodes that end on the ground set no limit: {error} without a fall") from None


def control_ticks(seconds: float, spec: AgentSpec) -> int:
    """The fewest ticks that last as long."""
    return max(1, int(np.ceil(seconds * spec.control_rate_hz - 1e-9)))


def _options(spec: AgentSpec, plan: Plan) -> dict[str, Any]:
    """The task's, as trained; of several engines, in which it learned by turns, the first."""
    one = {"backend": backend_names(spec.task, plan.options)[0]} if "backend" in plan.options else {}
    known = {name: value for name, value in plan.options.items() if (name, value) != ("randomisation", None)}
    return known | one


def _change(
    spec: AgentSpec, familiar: Sequence[WatchedEpisode], plan: Plan, backend: str, randomisation: str
) -> ChangeLimit:
    open_limit = ChangeLimit(
        ticks=control_ticks(CHANGE_S, spec),
        limit=1.0,
        settle_ticks=control_ticks(SETTLE_S, spec),
        command_step=tuple(COMMAND_STEP * (entry.high - entry.low) for entry in spec.commands),
        calibration=Calibration(
            false_alarm_rate=plan.false_alarm_rate,
            episodes=len(familiar),
            episode_s=EPISODE_S,
            backend=backend,
            randomisation=randomisation,
        ),
    )
    scores = [highest(MonitorSection(change=open_limit), episode).change for episode in familiar]
    return open_limit.model_copy(update={"limit": _limit(scores, open_limit.calibration, plan)})


def _fall(
    agent: Agent,
    spec: AgentSpec,
    section: MonitorSection,
    stumbles: Sequence[WatchedEpisode],
    familiar: Sequence[WatchedEpisode],
    plan: Plan,
) -> FallReadout:
    weights, bias = readout(stumbles, horizon_ticks=control_ticks(HORIZON_S, spec))
    output = agent.belief
    assert output is not None
    calibration = section.change.calibration
    share = calibration.model_copy(update={"false_alarm_rate": calibration.false_alarm_rate / FALL_LIMITS})
    open_limit = FallReadout(
        output=output,
        weights=tuple(map(rounded, weights.tolist())),
        bias=rounded(bias),
        ticks=FALL_TICKS,
        limit=0.0,
        restless_limit=0.0,
        blind_ticks=control_ticks(BLIND_S, spec),
        horizon_s=HORIZON_S,
        falls=sum(episode.down for episode in stumbles),
        calibration=calibration,
    )
    watched = section.model_copy(update={"fall": open_limit})
    found = [highest(watched, episode) for episode in familiar]
    return open_limit.model_copy(
        update={
            "limit": _limit([scores.fall for scores in found], share, plan),
            "restless_limit": _limit([scores.restless_fall for scores in found], share, plan),
        }
    )


def _limit(scores: Sequence[float], calibration: Calibration, plan: Plan) -> float:
    found = plan.limit(scores, calibration.false_alarm_rate)
    if not math.isfinite(found):
        raise UserError(
            f"monitor: no tick in {len(scores)} episodes of {calibration.episode_s:g} s tells of a limit: too short"
        )
    return rounded(found)


def _name(randomisation: Any) -> str:
    return "none" if randomisation is None else str(randomisation)[:100]
