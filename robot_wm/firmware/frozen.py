"""The base of every model here: never changed after loading, no key that nobody reads."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from robot_wm.spec import Finite

NotNegative = Annotated[Finite, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class FrozenModel(BaseModel):
    """Frozen, extra keys forbidden. A field's description starts with its unit, which errors show."""

    model_config = ConfigDict(frozen=True, extra="forbid")
