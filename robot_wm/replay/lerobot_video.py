"""A camera's pictures as MP4 files of many episodes each, as LeRobot's datasets hold them."""

from __future__ import annotations

from contextlib import AbstractContextManager, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robot_wm.ffmpeg import in_one_line

Quality = Literal["exact", "small"]

# H.264 by x264. Exact is RGB without loss, which FFmpeg and so PyAV decode bit for bit, and which browsers do not play.
# A key picture in ten makes any picture quick to seek; B pictures would shift the time stamps.
_RANDOM_ACCESS = ["-g", "10", "-bf", "0"]
_CODEC: dict[Quality, dict[str, Any]] = {
    "exact": {"codec": "libx264rgb", "pixelformat": "rgb24", "output_params": ["-crf", "0", *_RANDOM_ACCESS]},
    "small": {"codec": "libx264", "pixelformat": "yuv420p", "output_params": ["-crf", "23", *_RANDOM_ACCESS]},
}
PIXEL_FORMAT = {"exact": "gbrp", "small": "yuv420p"}  # as the file tells it


class VideoFile:
    """An MP4 that pictures [H, W, 1 or 3] are added to; UserError where FFmpeg is missing or fails."""

    def __init__(self, path: Path, *, rate_hz: float, quality: Quality) -> None:
        import imageio

        self.path, self.pictures = path, 0
        path.parent.mkdir(parents=True, exist_ok=True)
        # imageio gives FFmpeg a rate of two decimals, which would run away from the steps' times.
        rate = Fraction(rate_hz).limit_denominator(1_000_000)
        with _in_one_line(path):
            told: dict[str, Any] = {"fps": 1, "input_params": ["-r", str(rate)], "ffmpeg_log_level": "error"}
            self._writer: Any = imageio.get_writer(path, macro_block_size=1, **told, **_CODEC[quality])

    @property
    def bytes(self) -> int:
        """What is on the disk; the encoder holds back a few pictures."""
        return self.path.stat().st_size if self.path.exists() else 0

    def add(self, pictures: NDArray[np.uint8]) -> None:
        """More pictures [L, H, W, 1 or 3], the same size each time."""
        with _in_one_line(self.path):
            for picture in pictures:
                self._writer.append_data(np.ascontiguousarray(np.broadcast_to(picture, (*picture.shape[:2], 3))))
        self.pictures += len(pictures)

    def close(self) -> None:
        """Finish the file; UserError where pictures are missing, for imageio does not look how its FFmpeg ended."""
        import imageio

        with _in_one_line(self.path):
            self._writer.close()
            reader: Any = imageio.get_reader(self.path)
            with reader:
                found = reader.count_frames()
            if found != self.pictures:
                raise OSError(f"it holds {found} of {self.pictures} pictures: is there room on the disk?")

    def abandon(self) -> None:
        """End what is left of it after an error."""
        with suppress(Exception):
            self._writer.close()


def _in_one_line(path: Path) -> AbstractContextManager[None]:
    return in_one_line(f"{path.name}: FFmpeg cannot write it", "pip install 'imageio[ffmpeg]'")
