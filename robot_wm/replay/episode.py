"""One episode, or a piece of a long one, raw and in SI units, and where it came from.

Shape letters: L steps of the episode (the reset included), A action dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from robot_wm.errors import UserError
from robot_wm.replay.place import RecordedIn
from robot_wm.spec import AgentSpec
from robot_wm.step import Steps, step_columns


def _utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class EpisodeSource(BaseModel):
    """Who made an episode, kept with it through merges and exports."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["sim", "robot"]
    task: str
    robot: str
    seed: Annotated[int, Field(ge=0)] | None = Field(default=None, description="seed of the simulated episode")
    backend: str = Field(default="", description="physics backend, such as pybullet; empty on a robot")
    policy: str = Field(default="", description="checkpoint or bundle that acted; 'random' where none did")
    created_utc: str = Field(default_factory=_utc_now, description="ISO 8601 time at which the episode ended")
    first_step: int = Field(default=0, ge=0, description="steps of the episode before this piece; 0: it has the reset")
    goes_on: bool = Field(default=False, description="the episode had not ended with this piece")

    recording: RecordedIn | None = Field(default=None, description="where a robot's episode was recorded")
    randomisation: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | None = Field(
        default=None, description="what was drawn for the simulated episode: quantity with its unit, and value"
    )
    rewards_told: bool = Field(
        default=False, description="a robot's rewards, though all zero, were computed; others show it themselves"
    )

    @model_serializer(mode="wrap")
    def _as_ever(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the last five where they say nothing, so that a digest is the one that older versions gave."""
        newer = ("first_step", "goes_on", "recording", "randomisation", "rewards_told")
        return {name: value for name, value in handler(self).items() if value or name not in newer}


@dataclass(frozen=True, kw_only=True)
class Episode(Steps[NDArray[Any]]):
    """L consecutive steps from reset to end; of a long episode a piece, whose source says where it belongs.

    ``action[t]`` was taken after ``obs[t]``; ``reward[t]`` arrived with ``obs[t]``, so ``reward[0]`` belongs to the
    reset. Nothing was done after the last observation: there ``action[L - 1]`` is zeros. A piece that does not begin
    the episode has no ``is_first``, and one that does not end it no ``is_last``. ``obs`` is in SI units, and ``action``
    the SI command really executed, or one-hot.
    """

    source: EpisodeSource

    @property
    def length(self) -> int:
        """L: steps, the reset included where it has one."""
        return int(self.reward.shape[0])

    @property
    def episode_return(self) -> float:
        """Sum of all rewards."""
        return float(self.reward.sum(dtype=np.float64))

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return sum(array.nbytes for array in self.columns().values())

    def require_valid(self, spec: AgentSpec, *, origin: str = "episode") -> None:
        """Refuse (UserError naming field and step) what ``spec`` does not describe or a learner could not use."""
        length = self.length
        wanted = step_columns(spec)
        arrays = self.columns()
        for name in sorted(set(wanted) ^ set(arrays)):
            raise UserError(f"{origin}: {name}: {'missing' if name in wanted else 'not in the AgentSpec'}")
        for name, (shape, dtype) in wanted.items():
            array = arrays[name]
            if array.shape != (length, *shape) or array.dtype != dtype:
                asked = f"{dtype} {(length, *shape)}"
                raise UserError(f"{origin}: {name}: {array.dtype} {array.shape}, but the AgentSpec asks for {asked}")
            if dtype == np.float32 and not np.isfinite(array).all():
                step = int(np.argwhere(~np.isfinite(array))[0][0])
                raise UserError(f"{origin}: {name}: not finite at step {step}")
        self._require_flags(origin)
        self._require_actions(spec, origin)

    def _require_flags(self, origin: str) -> None:
        begins, ends = self.source.first_step == 0, not self.source.goes_on
        if self.length < 1 + begins:
            raise UserError(f"{origin}: {self.length} steps; an episode has a reset and at least one more")
        for name, steps in (("is_first", [0] * begins), ("is_last", [self.length - 1] * ends)):
            where = np.flatnonzero(getattr(self, name)).tolist()
            if where != steps:
                asked = f"at step {steps[0]} only" if steps else "at none of this piece"
                raise UserError(f"{origin}: {name}: true at steps {where[:8]}, should be {asked}")
        if (self.is_terminal & ~self.is_last).any():
            raise UserError(
                f"{origin}: is_terminal: true at step {int(self.is_terminal.argmax())}, before the last step"
            )

    def _require_actions(self, spec: AgentSpec, origin: str) -> None:
        if not self.source.goes_on and self.action[-1].any():
            raise UserError(f"{origin}: action: not zero at the last step, after which nothing was done")
        if spec.action.is_discrete:
            taken = self.action[: self.length if self.source.goes_on else -1]
            one_hot = ((taken == 0) | (taken == 1)).all(axis=1) & (taken.sum(axis=1) == 1)  # [actions taken]
            if not one_hot.all():
                raise UserError(f"{origin}: action: not one-hot at step {int(np.argmin(one_hot))}")


def known_rewards(source: EpisodeSource, reward: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether somebody told each reward [L] of the episode from ``source``, as it follows from what is stored.

    A simulator tells every one. A robot tells none and its rewards are zeros: only that of the reset, which is 0 by
    definition, is known, unless a function computed them when the recording was imported, which one that is not zero
    shows as well.
    """
    if source.kind == "sim" or source.rewards_told or reward.any():
        return np.ones(reward.shape, np.bool_)
    known: NDArray[np.bool_] = (np.arange(len(reward)) == 0) & (source.first_step == 0)
    return known
