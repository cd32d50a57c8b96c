"""From a task to its environment's factory, which `robot_wm.tasks` finds by its entry point."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, get_type_hints

from robot_wm_sim.env import RobotEnv
from robot_wm_sim.task import Task

# What every environment takes beside its task; with their types, by which options that came as text are read.
_OPTIONS = {name: hint for name, hint in get_type_hints(RobotEnv.__init__).items() if name not in ("task", "return")}


def environment(make: Callable[..., Task]) -> Callable[..., RobotEnv]:
    """A factory of environments, by the options that ``make`` takes and those of every `RobotEnv`.

    For ``make`` the docstring's first line is what `robot-wm tasks` tells, and annotated options are checked.
    """

    @wraps(make)
    def factory(**options: Any) -> RobotEnv:
        world = {name: options.pop(name) for name in _OPTIONS.keys() & options.keys()}
        return RobotEnv(make(**options), **world)

    factory.__annotations__ = {**get_type_hints(make), **_OPTIONS, "return": RobotEnv}
    return factory
