"""Where in a recording an episode comes from: what makes it the same episode, whatever rewards it was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Tick = Annotated[int, Field(ge=0, description="a tick's number in its recording, from 0")]


class RecordedIn(BaseModel):
    """A stretch of one recording, and the robot that made it.

    Two episodes of one recording whose stretches share a tick are the same experience: imported again, it is there
    already. Rewards, ends and bridges may cut a stretch into episodes in more than one way, so each names all of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(description="the recording's own; SHA-256 of what it says where it has none")
    first: Tick = Field(description="of the stretch in which the robot was driven")
    last: Tick = Field(description="of that stretch")
    begin: Tick = Field(description="the episode's first tick")
    bridged: tuple[int, ...] = Field(
        default=(), description="steps without a tick: the observation is that of the step before, the command stood"
    )
    namespace: str = ""
    agent: str = Field(default="", description="the node's name with its namespace")
    host: str = ""
    serial: str = Field(default="", description="of the robot, as its owner gave it")

    def shares(self, other: RecordedIn) -> bool:
        """Whether both are of one recording and have a tick in common."""
        return self.id == other.id and self.first <= other.last and other.first <= self.last


def matching(wanted: Mapping[int, RecordedIn], known: Mapping[int, RecordedIn]) -> set[int]:
    """Keys of ``wanted`` that share a tick with any of ``known``."""
    by_id: dict[str, list[RecordedIn]] = {}
    for place in known.values():
        by_id.setdefault(place.id, []).append(place)
    return {key for key, place in wanted.items() if any(place.shares(other) for other in by_id.get(place.id, ()))}
