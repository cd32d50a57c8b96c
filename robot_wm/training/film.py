"""Short films of a run, as animated GIFs that a browser shows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file


def write_film(path: Path, frames: NDArray[np.uint8], *, rate_hz: float) -> None:
    """Write frames [T, H, W, C] as an animated GIF."""
    import imageio.v3 as imageio

    with atomic_file(path) as temporary:
        imageio.imwrite(temporary, frames, extension=".gif", duration=1000 / rate_hz, loop=0)
