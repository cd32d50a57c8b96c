"""What fails where FFmpeg writes a video, in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from robot_wm.errors import UserError


@contextmanager
def in_one_line(told: str, remedy: str) -> Iterator[None]:
    """Raise UserError, ``told`` before the cause and ``remedy`` behind it.

    imageio and its FFmpeg fail in many ways, down to an IndexError for a program that is no FFmpeg.
    """
    try:
        yield
    except (ImportError, LookupError, OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(f"{told} ({type(error).__name__}: {reason}); {remedy}") from None
