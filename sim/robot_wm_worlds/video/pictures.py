"""The format of all pictures here: planar YUV 4:2:0 of one size and rate, in 1 s chunks.

One size, so that chunks of any clips can follow each other in one programme; small, as on a thin link to an operator.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 240  # pixels
RATE_HZ = 25
CHUNK_FRAMES = 25  # a closed group of pictures
CHUNK_S = CHUNK_FRAMES / RATE_HZ
FRAME_BYTES = WIDTH * HEIGHT * 3 // 2
# How ffmpeg is told of it.
RAW = ("-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE_HZ))

Frames = NDArray[np.uint8]  # [F, FRAME_BYTES]: Y, then U, then V


def as_frames(raw: bytes) -> Frames:
    """Whole chunks of raw pictures; what is left over at the end is cut off."""
    chunks = len(raw) // (FRAME_BYTES * CHUNK_FRAMES)
    kept = np.frombuffer(raw, np.uint8, count=chunks * CHUNK_FRAMES * FRAME_BYTES)
    return kept.reshape(chunks * CHUNK_FRAMES, FRAME_BYTES)
