"""The command line that makes a run, from the settings that it was saved with."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from robot_wm.agents import DEFAULT
from robot_wm.training.config import TrainConfig, flag
from robot_wm.yaml_file import read_mapping


def command_line(config: TrainConfig) -> str:
    """The shortest `robot-wm train` that has these settings: a shipped preset or none, and flags for what differs.

    The folder of the run is left out. A command remembers no more than this: which flags were typed is not saved.
    """
    presets = sorted((Path(str(files("robot_wm.training"))) / "presets").glob("*.yaml"))
    found = [_flags({}, config)]
    for path in presets:
        flags = _flags(read_mapping(path), config)
        found.append(None if flags is None else ["--preset", path.stem, *flags])
    return shlex.join(["robot-wm", "train", *min((flags for flags in found if flags is not None), key=len)])


def _flags(base: Mapping[str, Any], config: TrainConfig) -> list[str] | None:
    """Flags that turn the settings ``base`` into ``config``; None where no flag can, since it would have to unset."""
    flags: list[str] = []
    kind, size = config.agent, config.settings.size
    if base.get("agent", DEFAULT) != kind:
        if base:  # a preset is of one kind
            return None
        flags += ["--agent", kind]
    base = {**base, "agent": kind}
    own = dict(base.get(kind, {}))
    if TrainConfig(**base).settings.size != size:  # which changes the widths that base leaves out
        own["size"] = size
        flags += ["--size", size]
    start = dict(_flat(_plain(TrainConfig(**{**base, kind: own}))))
    wanted = dict(_flat(_plain(config)))
    for name in start | wanted:
        if start.get(name) == wanted.get(name):
            continue
        if wanted.get(name) is None:
            return None
        flags += _flag(name, wanted[name])
    return flags


def _plain(config: TrainConfig) -> dict[str, Any]:
    return config.model_dump(mode="json", exclude={"run_dir"})


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _flag(name: str, value: Any) -> list[str]:
    group, _, rest = name.rpartition(".")
    is_option = group == "task_options"  # whose names are the task's, and whose values are YAML's
    told = f"--task-options.{rest}" if is_option else flag(name)
    if isinstance(value, bool) and not is_option:
        return [told if value else told.replace("--", "--no-", 1)]
    if isinstance(value, list):
        return [token for item in value for token in (told, str(item))]
    return [told, str(value).lower() if isinstance(value, bool) else str(value)]
