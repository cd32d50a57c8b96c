"""What `--replay PATH[@VERSION|TAG][=SHARE]` says: a store to learn from beside a run's own experience."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from robot_wm.errors import UserError
from robot_wm.replay.location import Folder, Location, located

_FORM = "PATH[@VERSION|TAG][=SHARE]"
_ALL = 1e-9  # shares that sum to 1 but for rounding


class ReplaySource(BaseModel):
    """A replay store or a run's folder, whose store is meant; at a version, or else always at its newest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str = Field(description="a folder, or s3://bucket/prefix")
    version: str | None = Field(default=None, description="number or tag")
    share: float | None = Field(default=None, description="of every batch; None: drawn uniformly with the own steps")

    @classmethod
    def parse(cls, text: str) -> ReplaySource:
        """Read ``PATH[@VERSION|TAG][=SHARE]``; ValueError says what is wrong."""
        rest, equals, told = text.rpartition("=")
        share: float | None = None
        if equals:
            try:
                share = float(told)
            except ValueError:
                raise ValueError(f"{text!r}: share {told!r} is no number ({_FORM})") from None
            if not 0 < share <= 1:
                raise ValueError(f"{text!r}: share {told} is not between 0 and 1 ({_FORM})")
        else:
            rest = text
        path, at, version = rest.rpartition("@")
        if not at or "/" in version:
            path, version = rest, ""
        if not path or (at and not version and rest.endswith("@")):
            raise ValueError(f"{text!r}: not {_FORM}")
        try:
            return cls(path=str(located(path)), version=version or None, share=share)
        except UserError as error:
            raise ValueError(str(error)) from None

    @property
    def store(self) -> Location:
        """Where the replay store is; of a run's folder the one in it."""
        named = located(self.path)
        if isinstance(named, Folder) and not named.exists() and (inside := Folder(named.path / "replay")).exists():
            return inside
        return named

    @property
    def name(self) -> str:
        """Short, for a log: the store's folder, or its run's."""
        return self.store.name

    @property
    def key(self) -> str:
        """Which store and version it is, whatever share it has, for a checkpoint."""
        return hashlib.sha256(f"{self.path}@{self.version or ''}".encode()).hexdigest()[:16]


def require_sound(sources: Iterable[ReplaySource], *, offline: bool) -> None:
    """Raise ValueError where a store is named twice or the shares leave nothing for what has none."""
    sources = list(sources)
    if offline and not sources:
        raise ValueError("offline needs a store to learn from: replay")
    keys = [source.key for source in sources]
    for source in sources:
        if keys.count(source.key) > 1:
            raise ValueError(f"replay {source.path}: given twice")
    total = sum(source.share or 0.0 for source in sources)
    rest = not offline or any(source.share is None for source in sources)
    if total > 1 + _ALL or (rest and total > 1 - _ALL):
        told = "without a share" if offline else "of the run itself"
        raise ValueError(
            f"replay: shares sum to {total:g}, which leaves nothing for what is {told}"
            if rest
            else f"replay: shares sum to {total:g}, more than 1"
        )
