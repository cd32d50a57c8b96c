"""Settings of an agent of any kind, from options that not every kind has."""

from __future__ import annotations

from typing import Any

from robot_wm.agents import agent_kind
from robot_wm.errors import UserError
from robot_wm.learning.config import AgentConfig


def agent_settings(agent: str, **options: Any) -> AgentConfig:
    """Settings of that kind of agent, its own defaults where an option is None.

    Raises UserError for a kind that is unknown and for an option that it has no setting for, pydantic's
    ValidationError for a value that it refuses.
    """
    kind = agent_kind(agent)
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in kind.config.model_fields:
            raise UserError(f"--{name.replace('_', '-')}: no setting of --agent {agent}")
    return kind.config.model_validate(given)
