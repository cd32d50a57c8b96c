"""The ffmpeg program that imageio-ffmpeg ships: found, asked, and told of in one line where it fails.

One program encodes, decodes and measures, so that all contenders meet the same versions of libx264 and libvmaf.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from robot_wm.errors import UserError

NEEDED = ("libx264", "libvmaf")
EXTRA = "pip install 'robot-wm[video]'"
LONGEST_S = 600.0  # of one call
_LAST_CHARACTERS = 200


@cache
def program() -> str:
    """Path of an ffmpeg with libx264 and libvmaf; raises UserError where there is none."""
    try:
        import imageio_ffmpeg

        path = str(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError) as error:
        raise UserError(f"video: no ffmpeg: {error}; {EXTRA}") from None
    told = _call([path, "-hide_banner", "-version"], b"", path).decode(errors="replace")
    missing = [name for name in NEEDED if f"--enable-{name}" not in told]
    if missing:
        raise UserError(f"video: {path}: was built without {' and '.join(missing)}; {EXTRA}")
    return path


@cache
def version() -> str:
    """What the program calls itself, in one line."""
    return _call([program(), "-hide_banner", "-version"], b"", "-version").decode(errors="replace").splitlines()[0]


def ffmpeg(arguments: Sequence[str], *, doing: str, given: bytes = b"", folder: Path | None = None) -> bytes:
    """What ffmpeg writes to its standard output, ``given`` what it reads; ``folder`` is where it works.

    Raises UserError that says what it was ``doing``.
    """
    return _call([program(), "-v", "error", "-nostdin", "-y", *arguments], given, doing, folder)


def _call(command: Sequence[str], given: bytes, doing: str, folder: Path | None = None) -> bytes:
    try:
        done = subprocess.run(command, input=given, capture_output=True, check=False, timeout=LONGEST_S, cwd=folder)
    except OSError as error:
        raise UserError(f"video: {doing}: {command[0]}: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"video: {doing}: ffmpeg did not end within {LONGEST_S:g} s") from None
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip()[-_LAST_CHARACTERS:]
        raise UserError(f"video: {doing}: ffmpeg failed ({done.returncode}): {reason}")
    return done.stdout
