"""A clip that is drawn here: a bright square that moves over noise that does not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from robot_wm_worlds.video.pictures import CHUNK_FRAMES, FRAME_BYTES, HEIGHT, WIDTH, Frames


@dataclass(frozen=True)
class Square:
    """As a clip's source: two chunks of it."""

    chunks: int = 2

    def frames(self) -> Frames:
        ground = np.random.default_rng(0).integers(60, 120, (HEIGHT, WIDTH), dtype=np.uint8)
        found = np.full((self.chunks * CHUNK_FRAMES, FRAME_BYTES), 128, np.uint8)
        for number, frame in enumerate(found):
            picture = ground.copy()
            picture[80:140, 3 * number : 3 * number + 60] = 200
            frame[: WIDTH * HEIGHT] = picture.reshape(-1)
        return found
