"""Pieces as one Rerun recording, which the Rerun viewer opens: https://rerun.io."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.inspect.pieces import Piece
from robot_wm.inspect.rerun_layout import layout
from robot_wm.inspect.rerun_robot import RerunRobot
from robot_wm.posed import PosedRobot

_TIMELINE = "time"
_JPEG_QUALITY = 90


class RerunFile:
    """Takes pieces and writes them through; made by `open_rerun`."""

    def __init__(self, recording: object, robot: PosedRobot | None, *, is_clock: bool) -> None:
        self._recording, self._is_clock = recording, is_clock
        self._robot = None if robot is None else RerunRobot(recording, robot)
        self._numbers: dict[str, None] = {}  # paths, in their order
        self._pictures: dict[str, None] = {}

    def add(self, piece: Piece) -> None:
        """One piece's numbers, pictures and events."""
        import rerun as rr

        self._numbers |= dict.fromkeys(piece.numbers)
        self._pictures |= dict.fromkeys(piece.pictures)
        for path, values in piece.numbers.items():
            known = ~np.isnan(values)
            if known.any():
                columns = rr.Scalars.columns(scalars=values[known].astype(np.float64))
                rr.send_columns(path, [self._times(piece.time_s[known])], columns, recording=self._recording)  # type: ignore[arg-type,list-item]
        for path, pictures in piece.pictures.items():
            for k, picture in pictures.items():
                self._at(float(piece.time_s[k]))
                self._recording.log(path, rr.EncodedImage(contents=_jpeg(picture), media_type="image/jpeg"))  # type: ignore[attr-defined]
        for kind, poses in piece.robots.items():
            known = poses.known()
            if self._robot is not None and known.any():
                self._robot.pose(kind, self._times(piece.time_s[known]), poses.rows(known))
        for time_s, words in piece.events:
            self._at(time_s)
            self._recording.log("events", rr.TextLog(words))  # type: ignore[attr-defined]

    def lay_out(self) -> None:
        """Tell the viewer where to show what was added."""
        robot = [] if self._robot is None else self._robot.entities
        self._recording.send_blueprint(layout(self._numbers, self._pictures, robot=robot))  # type: ignore[attr-defined]

    def say(self, words: str) -> None:
        """What holds for all of it, as a text without a time."""
        import rerun as rr

        self._recording.log("about", rr.TextDocument(words), static=True)  # type: ignore[attr-defined]

    def _times(self, time_s: NDArray[np.float64]) -> object:
        import rerun as rr

        return (
            rr.TimeColumn(_TIMELINE, timestamp=time_s) if self._is_clock else rr.TimeColumn(_TIMELINE, duration=time_s)
        )

    def _at(self, time_s: float) -> None:
        kind = {"timestamp": time_s} if self._is_clock else {"duration": time_s}
        self._recording.set_time(_TIMELINE, **kind)  # type: ignore[attr-defined]


@contextmanager
def open_rerun(path: Path, *, name: str, is_clock: bool, robot: PosedRobot | None = None) -> Iterator[RerunFile]:
    """A recording that appears as ``path`` when all is written; times are of the UNIX epoch, or else from 0 on.

    ``robot`` is what the poses of pieces are of.
    """
    import rerun as rr

    with atomic_file(path) as temporary:
        recording = rr.RecordingStream(f"robot_wm {name}")
        recording.save(temporary)
        try:
            file = RerunFile(recording, robot, is_clock=is_clock)
            yield file
            file.lay_out()
        finally:
            recording.flush()
            recording.disconnect()


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    shown = picture[..., 0] if picture.shape[-1] == 1 else picture[..., :3]
    buffer = io.BytesIO()
    Image.fromarray(shown).save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return buffer.getvalue()
