"""A run's own audits: what its model imagines beside what then comes, at times during training."""

from __future__ import annotations

import logging
from collections.abc import Callable

from robot_wm.errors import UserError
from robot_wm.inspect.audit import AuditPlan, audit, scalars, told
from robot_wm.inspect.world import World
from robot_wm.learning.agent import Agent
from robot_wm.replay.store import EpisodeStore
from robot_wm.training.checkpoint import RunState

_NEWEST_STEPS = 20_000  # of the store: what the policy of today has to do with

_log = logging.getLogger(__name__)


def look_at_reality(
    agent: Agent, store: EpisodeStore, state: RunState, *, go_on: Callable[[], bool]
) -> dict[str, float]:
    """``reality/*`` of a log, empty where nothing can be audited yet; ``state`` keeps what was told.

    Warns of everything that is beyond its limit. Raises StoppedError once ``go_on`` says no.
    """
    config, step = state.config, state.progress
    plan = AuditPlan(states=config.audit_states, seed=step, newest_steps=_NEWEST_STEPS)
    try:
        found = audit(agent, store, World(config.task, config.task_options), plan, go_on=go_on)
    except UserError as error:
        _log.warning("step %d: not audited: %s", step, error)
        return {}
    for finding in found.findings:
        _log.warning("step %d: imagination is not what comes: %s", step, finding.text)
    state.reality = told(found) | {"env_steps": state.env_steps, "updates": state.updates}
    return scalars(found)
