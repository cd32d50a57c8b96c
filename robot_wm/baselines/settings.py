"""The declared algorithms: what `settings.yaml` holds, validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, TypeAdapter, ValidationError

from robot_wm.errors import UserError
from robot_wm.yaml_file import read_mapping

DREAMER = "dreamer"


class Algorithm(BaseModel):
    """One algorithm of a library with its settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    library: Literal["stable_baselines3", "sbx"]
    algorithm: str = Field(description="name of the library's class")
    source: str = Field(description="who recommends these settings")
    envs: PositiveInt = 1
    normalize: bool = Field(default=False, description="running normalisation of observations and rewards")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="wins over the command's")
    settings: dict[str, Any] = {}
    policy: dict[str, Any] = {}
    target_entropy_per_joint: float | None = Field(default=None, description="nats")

    def keywords(self, joints: int) -> dict[str, Any]:
        """Arguments of the library's class for a robot with so many joints, but for environment, seed and device."""
        policy = dict(self.policy)
        if "activation_fn" in policy:
            policy["activation_fn"] = _activation(policy["activation_fn"])
        keywords = {**self.settings, "policy_kwargs": policy}
        if self.target_entropy_per_joint is not None:
            keywords["target_entropy"] = self.target_entropy_per_joint * joints
        return keywords


def load_algorithms(path: Path | None = None) -> dict[str, Algorithm]:
    """The declared algorithms by name, from ``path`` or those that ship; UserError for a file that declares none."""
    path = Path(str(files("robot_wm.baselines"))) / "settings.yaml" if path is None else path
    try:
        return TypeAdapter(dict[str, Algorithm]).validate_python(read_mapping(path))
    except ValidationError as error:
        raise UserError.from_validation(error, origin=str(path)) from None


def choose(
    names: list[str],
    declared: Mapping[str, Algorithm],
    *,
    ours: Sequence[str] = (DREAMER,),
    option: str = "--algorithms",
) -> list[str]:
    """``names`` without repeats; UserError for one that is not declared or whose library is not installed.

    ``ours`` are known beside the ``declared``, and need no library.
    """
    for name in names:
        if name in ours:
            continue
        if name not in declared:
            raise UserError(f"{option}: unknown {name!r}; known: {', '.join([*ours, *declared])}")
        library = declared[name].library
        if find_spec(library) is None:
            raise UserError(f"{option}: {name} needs {library}: pip install 'robot-wm[baselines]'")
    if not names:
        raise UserError(f"{option}: names none")
    return list(dict.fromkeys(names))


def _activation(name: str) -> type:
    import torch

    known: dict[str, type] = {"relu": torch.nn.ReLU, "elu": torch.nn.ELU, "tanh": torch.nn.Tanh}
    if name not in known:
        raise UserError(f"policy.activation_fn: {name!r} is not one of {', '.join(known)}")
    return known[name]
