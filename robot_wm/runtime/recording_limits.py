"""How much is recorded, how long it is kept, and what goes first."""

from __future__ import annotations

import fcntl
import math
import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from robot_wm.errors import UserError
from robot_wm.runtime.mcap_file import PART

# What the recorder's files are called; whatever else is in the folder is somebody else's.
_OURS = re.compile(r".+_\d{8}T\d{6}Z(_\d+)?\.mcap(" + re.escape(PART) + ")?")
_MIB, _DAY_S = 2**20, 86_400.0


@dataclass(frozen=True, kw_only=True)
class RecordingLimits:
    """Zero means no limit, but for ``idle_s``."""

    file_mib: int = 1024  # a file that is larger ends, and the next begins
    folder_mib: int = 0  # of all recordings in the folder; the oldest go first
    max_age_days: float = 0.0  # since a recording ended
    idle_s: float = 30.0  # recorded on after the robot was last driven; then nothing until it is driven again

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise UserError(f"recording: {name} must be at least 0, got {value:g}")

    @property
    def file_bytes(self) -> int:
        """At which a file ends, 0 for never: half of the folder is the most, so that there is an older one to go."""
        given = [limit for limit in (self.file_mib * _MIB, self.folder_mib * _MIB // 2) if limit]
        return min(given, default=0)

    def make_room(self, folder: Path) -> list[str]:
        """Delete recordings that are too old, then the oldest until the rest fits; what went, in words.

        A file that some recorder is writing is counted and stays. OSError where the folder cannot be read.
        """
        if not (self.folder_mib or self.max_age_days):
            return []
        found = sorted(_recordings(folder), key=lambda file: file[1].st_mtime_ns)
        total, now_s, gone = sum(state.st_size for _, state in found), time.time(), []
        for path, state in found:
            age_days = (now_s - state.st_mtime) / _DAY_S
            if self.max_age_days and age_days > self.max_age_days:
                why = f"{age_days:.1f} days old, the limit is {self.max_age_days:g}"
            elif self.folder_mib and total > self.folder_mib * _MIB:
                why = f"{total / _MIB:.0f} MiB recorded, the limit is {self.folder_mib}"
            else:
                continue
            if _delete_finished(path):
                total -= state.st_size
                gone.append(f"{path.name} deleted: {why}")
        return gone


def _recordings(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            with suppress(FileNotFoundError):  # another recorder has ended it, or made room
                state = path.stat(follow_symlinks=False)
                if stat.S_ISREG(state.st_mode):
                    yield path, state


def _delete_finished(path: Path) -> bool:
    """Delete a recording unless somebody writes it or reads it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
