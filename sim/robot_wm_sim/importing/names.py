"""Names of an imported robot: its package, task and distribution, none of which may be somebody else's."""

from __future__ import annotations

import keyword
import re
from importlib.util import find_spec

from robot_wm.errors import UserError
from robot_wm.firmware.loading import brought_robots
from robot_wm.firmware.shipped import known
from robot_wm.plugins import brought_by, entries
from robot_wm.tasks import GROUP as TASKS
from robot_wm_sim.importing.settings import Kind

SUFFIXES: dict[Kind, str] = {"arm": "reach", "wheeled": "goal", "legged": "velocity", "empty": "hold"}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,60}")


def package_name(wanted: str, described: str, *, origin: str) -> str:
    """``wanted``, or what becomes of the description's own name. UserError for one that no Python package can have."""
    name = wanted or re.sub(r"[^a-z0-9]+", "_", described.lower()).strip("_")
    where = f"--name {wanted}" if wanted else f"{origin}: robot {described!r}: --name is needed: {name!r}"
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise UserError(f"{where} is no name of a package: small letters, digits and _, a letter first")
    if name in known("robots"):
        raise UserError(f"{where} is a robot of robot-wm's own; give it another name: --name NAME")
    if name not in brought_robots() and find_spec(name) is not None:
        raise UserError(f"{where} is a Python package here already; give it another name: --name NAME")
    return name


def task_name(package: str, kind: Kind) -> str:
    """Of the package's task; UserError for another distribution's."""
    task = f"{package}_{SUFFIXES[kind]}"
    entry = entries(TASKS).get(task)
    if entry is not None and not entry.module.startswith(f"{package}."):
        raise UserError(f"--name {package}: task {task} is of {brought_by(entry)} already; give it another name")
    return task


def class_name(task: str) -> str:
    """Of the task's class."""
    return "".join(word.capitalize() for word in task.split("_"))
