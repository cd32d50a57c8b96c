"""The worlds that a monitor is tried in, and the reaction, as a YAML file has them."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from robot_wm.errors import UserError
from robot_wm.yaml_file import read_mapping

SETTINGS = Path(str(files("robot_wm_bench.monitor"))) / "settings.yaml"

Speed = Annotated[float, Field(ge=0.0, le=10.0)]  # m/s


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class World(_Part):
    """Episodes of the task, in a world as trained or another one."""

    episodes: Annotated[int, Field(ge=1)]
    episode_s: Annotated[float, Field(gt=0.0)]
    randomisation: dict[str, Any] | None = None  # None: as trained

    def scaled(self, share: float) -> World:
        """With this share of its episodes, one at least."""
        return self.model_copy(update={"episodes": max(1, math.ceil(self.episodes * share - 1e-9))})


class Worlds(_Part):
    """``clean`` is as trained; the falls of ``pushed`` are to be told ahead, and that the others have changed."""

    clean: World
    pushed: World
    changed: dict[str, World] = {}

    @field_validator("changed")
    @classmethod
    def _are_others(cls, changed: dict[str, World]) -> dict[str, World]:
        if taken := changed.keys() & cls.model_fields.keys():
            raise ValueError(f"{min(taken)!r} names another world")
        for name, world in changed.items():
            if world.randomisation is None:
                raise ValueError(f"{name}: a changed world needs its randomisation")
        return changed

    def named(self) -> dict[str, World]:
        """All of them."""
        return {"clean": self.clean, "pushed": self.pushed, **self.changed}


class ReactionSettings(_Part):
    """One push an episode, and what the robot does about it."""

    push_speed_m_s: tuple[Speed, Speed]  # uniform between; horizontal, from anywhere
    crouch_pose: dict[str, float]  # rad by joint


class Settings(_Part):
    """All that a measurement is made with but numbers of the command line."""

    worlds: Worlds
    reaction: ReactionSettings


def load_settings(path: Path = SETTINGS) -> Settings:
    """The settings of a file; UserError naming file, field and value."""
    try:
        return Settings.model_validate(read_mapping(path))
    except ValidationError as error:
        raise UserError.from_validation(error, origin=str(path)) from None
