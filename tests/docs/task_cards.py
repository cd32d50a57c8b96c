"""The cards of the shipped tasks in sim/README.md, from the code: ``python tests/docs/task_cards.py`` prints them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from robot_wm.plugins import entries, load
from robot_wm.spec import ActionSpec, ObservationField, Source
from robot_wm.tasks import GROUP, make_env
from robot_wm_sim.env import RobotEnv
from robot_wm_sim.task import Task

ROOT = Path(__file__).resolve().parents[2]
TASKS = ("a1_velocity", "a1_stand", "cartpole_balance", "cartpole_swingup", "panda_reach", "racecar_goal")
WORLDS = ("video_rate_control", "datacenter_cooling")  # without a robot
BEGIN, END = "<!-- cards of the tasks: `python tests/docs/task_cards.py` -->", "<!-- end of the cards -->"
LONG = 100  # characters of a row that no second card repeats


def all_cards() -> str:
    """All of what stands between the marks, with them."""
    told: dict[tuple[str, str], str] = {}  # row → task that had it first
    found = [BEGIN]
    for name in (*TASKS, *WORLDS):
        found += ["", f"### `{name}`", "", "| | |", "|---|---|"]
        for head, text in (card(name) if name in TASKS else world_card(name)).items():
            first = told.setdefault((head, text), name)
            found.append(f"| {head} | {text if first == name or len(text) < LONG else f'as `{first}`'} |")
    return "\n".join([*found, "", END])


def card(name: str) -> dict[str, str]:
    """The rows of one task's table."""
    make = load(entries(GROUP)[name])
    env = make_env(name, observation="proprio").unwrapped
    try:
        assert isinstance(env, RobotEnv)
        task, spec = env.task, env.agent_spec
    finally:
        env.close()
    seconds = task.step_limit / spec.control_rate_hz
    terms = [figure.removeprefix("term/") for figure in task.figure_names if figure.startswith("term/")]
    figures = [figure for figure in task.figure_names if not figure.startswith("term/")]
    lines = {
        "asked": f"{_paragraph(make.__doc__)} {_paragraph(type(task).__doc__)}",
        "rates": f"{spec.control_rate_hz:g} Hz over {spec.physics_rate_hz:g} Hz physics, {seconds:g} s",
        "observed": ", ".join(map(_field, spec.observations)) + _otherwise(make),
        "action": _action(spec.action),
        "starts": " ".join(
            map(_text, [task._start.__doc__] if hasattr(task, "_start") else _said(type(task), "reset"))
        ),
        "reward, end, success": " ".join(map(_text, _said(type(task), "outcome"))),
        "terms": ", ".join(f"`{term}`" for term in terms),
        "figures": ", ".join(f"`{figure}`" for figure in figures),
        "trained by": ", ".join(f"`--preset {preset}`" for preset in _presets(name)),
    }
    return {head: text for head, text in lines.items() if text}


def world_card(name: str) -> dict[str, str]:
    """The rows of a task without a robot, whose environment tells what a robot's task tells."""
    make = load(entries(GROUP)[name])
    env = make_env(name).unwrapped
    spec = env.agent_spec
    lines = {
        "asked": f"{_paragraph(make.__doc__)} {_paragraph(type(env).__doc__)}",
        "rates": f"{spec.control_rate_hz:g} Hz",
        "observed": ", ".join(map(_field, spec.observations)),
        "action": _choices(spec.action) if spec.action.is_discrete else _action(spec.action),
        "starts": _text(env.reset.__doc__),
        "reward, end, success": _text(env.step.__doc__),
        "figures": ", ".join(f"`{figure}`" for figure in env.figure_names),
        "trained by": ", ".join(f"`--preset {preset}`" for preset in _presets(name)),
    }
    env.close()
    return lines


def _field(field: ObservationField) -> str:
    count = "×".join(map(str, field.shape))
    source = field.topic or ("the agent itself" if field.source is Source.LAST_ACTION else "")
    return f"`{field.name}` [{count}] {field.unit}" + (f" ({source})" if source else "")


def _otherwise(make: Callable[..., Any]) -> str:
    default = inspect.signature(make).parameters["observation"].default
    return f"; that is `observation` `proprio`, `image` is a camera's picture, `both` both; by default `{default}`"


def _choices(action: ActionSpec) -> str:
    return f"one of {len(action.joints)}: {', '.join(f'`{choice}`' for choice in action.joints)}"


def _action(action: ActionSpec) -> str:
    most = dict.fromkeys(round(action.clip * scale, 6) for scale in action.scale)
    about = "home" if any(action.offset) else "0"
    reach = f"within {', '.join(f'{one:g}' for one in most)} {action.unit} of {about}"
    return f"{len(action.joints)} × {action.mode} of {', '.join(f'`{joint}`' for joint in action.joints)}: {reach}"


def _said(kind: type[Task], method: str) -> list[str]:
    """What each class's own ``method`` says, the most special first."""
    return [getattr(one, method).__doc__ or "" for one in kind.__mro__ if method in vars(one) and one is not Task]


def _presets(name: str) -> list[str]:
    folder = ROOT / "robot_wm/training/presets"
    return [path.stem for path in sorted(folder.glob("*.yaml")) if yaml.safe_load(path.read_text()).get("task") == name]


def _paragraph(doc: str | None) -> str:
    return _text(inspect.cleandoc(doc or "").split("\n\n")[0])


def _text(doc: str | None) -> str:
    """A docstring in one line of Markdown."""
    return re.sub(r"``?([^`]+)``?", r"`\1`", " ".join(inspect.cleandoc(doc or "").split())).replace("|", "\\|")


if __name__ == "__main__":
    print(all_cards())
