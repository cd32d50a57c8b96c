"""Pictures of clips, kept as raw files: rendering a robot's costs half a minute, reading them nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm_worlds.video.clips import Clip
from robot_wm_worlds.video.pictures import CHUNK_FRAMES, FRAME_BYTES, Frames, as_frames

FOLDER = "frames"  # beside the curves


def kept_frames(folder: Path, clip: Clip) -> Frames:
    """A clip's pictures [F, FRAME_BYTES] from below ``folder``, made and kept where they are not there.

    Raises UserError for a file that holds no whole chunks.
    """
    path = folder / FOLDER / f"{clip.name}.yuv"
    if not path.is_file():
        frames = clip.source.frames()
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.ascontiguousarray(frames).tofile(file)
        return frames
    size = path.stat().st_size
    if not size or size % (FRAME_BYTES * CHUNK_FRAMES):
        raise UserError(f"{path}: its {size} bytes are not whole chunks of {CHUNK_FRAMES} pictures; remove it")
    return as_frames(path.read_bytes())
