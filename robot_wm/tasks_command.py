"""`robot-wm tasks`: what can be learned here."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit
from robot_wm.tasks import agent_spec, known_tasks, make_env


def list_tasks(
    task: str | None = None, /, *, json: Annotated[bool, Parameter(name="--json", negative="")] = False
) -> None:
    """List the tasks, or show the AgentSpec of one.

    Parameters
    ----------
    task
        A task's name, or gym:<module>:<Id>, to show its whole AgentSpec.
    json
        Print one JSON object.
    """
    if task is None:
        rows = [{"task": name, "description": line} for name, line in known_tasks().items()]
        emit({"rows": rows}, as_json=json, title="tasks")
        return
    env = make_env(task)
    try:
        spec = agent_spec(env)
    finally:
        env.close()
    body: dict[str, Any] = spec.model_dump(mode="json")
    emit({"hash": spec.content_hash(), **body}, as_json=json, title=task)
