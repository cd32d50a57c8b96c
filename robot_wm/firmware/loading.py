"""Read the YAML files of robots and boards, by name or by path, with errors that name file, key, value and unit.

Ours are in firmware_configs. Another distribution brings a robot by an entry point of the group `robot_wm.robots`: the
robot's name, and the path of its YAML file. Where two have a name, ours is meant.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from robot_wm.errors import UserError
from robot_wm.firmware.board_model import BoardConfig
from robot_wm.firmware.robot_model import RobotConfig
from robot_wm.firmware.shipped import PACKAGE, known
from robot_wm.plugins import brought_by, entries, load
from robot_wm.yaml_file import parse_yaml, read_yaml, write_yaml

GROUP = "robot_wm.robots"
_SUFFIXES = (".yaml", ".yml")
_Model = TypeVar("_Model", bound=BaseModel)


def load_robot(name_or_path: str | Path) -> RobotConfig:
    """The robot of that name, or of the YAML file at that path; UserError for a file that cannot be used."""
    entry = None if str(name_or_path) in known("robots") else brought_robots().get(str(name_or_path))
    return _load(name_or_path if entry is None else _file_of(entry), "robots", RobotConfig)


def brought_robots() -> dict[str, EntryPoint]:
    """Robots of other distributions by name."""
    return {name: entry for name, entry in entries(GROUP).items() if name not in known("robots")}


def _file_of(entry: EntryPoint) -> Path:
    """The YAML file that an entry point names; UserError where it names something else."""
    path = load(entry)
    if not isinstance(path, (str, Path)) or Path(path).suffix not in _SUFFIXES:
        what = f"{entry.value} is {str(path)[:200]!r}, not the path of a .yaml"
        raise UserError(f"{GROUP} {entry.name!r} of {brought_by(entry)}: {what}")
    return Path(path)


def load_board(name_or_path: str | Path) -> BoardConfig:
    """The board of that name, or of the YAML file at that path; UserError for a file that cannot be used."""
    return _load(name_or_path, "boards", BoardConfig)


def parse(text: str, model: type[_Model], *, origin: str) -> _Model:
    """Validate YAML text; UserError naming ``origin``, the key, its value and what it should be."""
    return _validated(parse_yaml(text, origin=origin), model, origin=origin)


def _validated(body: Any, model: type[_Model], *, origin: str) -> _Model:
    if not isinstance(body, dict):
        raise UserError(f"{origin}: a mapping of keys to values is needed")
    try:
        # Strictly, so that true is not the number 1 nor "20" the number 20; as JSON, whose lists may become tuples.
        return model.model_validate_json(json.dumps(body), strict=True)
    except ValidationError as error:
        meaning = _meaning(model, error.errors()[0]["loc"])
        line = str(UserError.from_validation(error, origin=origin))
        raise UserError(f"{line} [{meaning}]" if meaning else line) from None


def robot_yaml(robot: RobotConfig) -> str:
    """The robot as YAML that loads to an equal RobotConfig."""
    body = robot.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
    return write_yaml(body)


def _load(name_or_path: str | Path, room: str, model: type[_Model]) -> _Model:
    path = Path(name_or_path)
    if path.suffix in _SUFFIXES or len(path.parts) > 1:
        return _validated(read_yaml(path), model, origin=str(path))
    names = known(room)
    if str(name_or_path) not in names:
        one = room.removesuffix("s")
        names += brought_robots() if model is RobotConfig else ()
        raise UserError(f"unknown {one} {str(name_or_path)!r}; known: {', '.join(names)}, or the path of a .yaml")
    text = (files(PACKAGE) / room / f"{name_or_path}.yaml").read_text(encoding="utf-8")
    return parse(text, model, origin=f"{PACKAGE}/{room}/{name_or_path}.yaml")


def _meaning(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    """Description of the field at a validation error's path, which starts with its unit."""
    current: type[BaseModel] | None = model
    description = ""
    for part in path:
        field = current.model_fields.get(str(part)) if current is not None else None
        if field is not None:
            description = field.description or ""
            current = next(_models(field.annotation), None)
    return description


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models(argument)
