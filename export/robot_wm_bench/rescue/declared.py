"""The declared methods: what `settings.yaml` holds, validated."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from robot_wm.baselines.settings import Algorithm
from robot_wm.errors import UserError
from robot_wm.yaml_file import read_mapping
from robot_wm_bench.rescue.adaptation import Adaptation

_HERE = Path(str(files("robot_wm_bench.rescue")))
TARGET = _HERE / "target.yaml"


def load_methods(path: Path | None = None) -> tuple[dict[str, Adaptation], dict[str, Algorithm]]:
    """The world models and the libraries' algorithms by name, from ``path`` or those that ship; UserError for others.

    A library's algorithm is what names a ``library``.
    """
    path = _HERE / "settings.yaml" if path is None else path
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for name, told in read_mapping(path).items():
        (theirs if isinstance(told, dict) and "library" in told else ours)[name] = told
    try:
        adaptations = TypeAdapter(dict[str, Adaptation]).validate_python(ours)
        return adaptations, TypeAdapter(dict[str, Algorithm]).validate_python(theirs)
    except ValidationError as error:
        raise UserError.from_validation(error, origin=str(path)) from None
