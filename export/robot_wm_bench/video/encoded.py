"""The same for real: streams that are encoded, decoded and measured, ours chunk by chunk and x264's own whole.

A stream's outcome is kept in a file of its own, named by the hash of all that it depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm_bench.video.contest import Outcome
from robot_wm_worlds.video.clips import clips
from robot_wm_worlds.video.curves import ENCODER, made
from robot_wm_worlds.video.encoder import MODES, TUNING, chunk_sizes, encode_chunk, encode_whole, measure, settings
from robot_wm_worlds.video.ffmpeg import version
from robot_wm_worlds.video.kept_frames import kept_frames
from robot_wm_worlds.video.link import Link
from robot_wm_worlds.video.pictures import CHUNK_FRAMES, Frames
from robot_wm_worlds.video.plans import Plan
from robot_wm_worlds.video.programme import Programme, kept_rate

FOLDER = "measured"  # beside the curves
CRF_RANGE = (10.0, 50.0)
CRF_STEPS = 9  # halvings, to within 0.08
AS_SHIPPED = ""  # x264's own tuning


class _Measured(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    what: str
    sizes: tuple[int, ...]
    vmaf: tuple[float, ...]
    psnr_db: tuple[float, ...]


@dataclass(frozen=True)
class Studio:
    """Pictures and encoders of the test's programmes; ``folder`` is one that `robot-wm video curves` filled."""

    folder: Path

    def planned(self, programme: Programme, target_bps: float, plan: Plan) -> Outcome:
        """A plan, encoded chunk by chunk."""
        frames = self._frames(programme)
        chunks = frames.reshape(len(programme), CHUNK_FRAMES, -1)
        modes = [MODES[mode] for mode in plan]

        def encode() -> bytes:
            return b"".join(encode_chunk(chunk, [mode])[0] for chunk, mode in zip(chunks, modes, strict=True))

        return self._outcome(target_bps, f"chunks {ENCODER} {modes}", frames, encode)

    def two_pass(self, programme: Programme, target_bps: float, *, tuning: str = TUNING) -> Outcome:
        """x264's variable bitrate in two passes, within the same buffer."""
        return self._whole(programme, target_bps, _bounded(target_bps, len(programme)), tuning, passes=2)

    def average(self, programme: Programme, target_bps: float) -> Outcome:
        """x264's average bitrate in one pass, within the same buffer."""
        return self._whole(programme, target_bps, _bounded(target_bps, len(programme)), TUNING)

    def rate_factor(self, programme: Programme, target_bps: float) -> Outcome:
        """x264's constant rate factor for the whole, the least one whose stream is within the target."""
        low, high = CRF_RANGE
        best = None
        for _ in range(CRF_STEPS):
            middle = (low + high) / 2
            frames = self._frames(programme)
            control = ("-crf", f"{middle:.4f}")
            stream = _encode(frames.tobytes(), control)
            if kept_rate(len(stream), len(programme)) <= target_bps:
                best, high = control, middle
            else:
                low = middle
        if best is None:
            raise UserError(f"bench video: no rate factor up to {CRF_RANGE[1]:g} costs {target_bps:.0f} bit/s or less")
        return self._whole(programme, target_bps, best, TUNING)

    def _whole(
        self, programme: Programme, target_bps: float, control: Sequence[str], tuning: str, *, passes: int = 1
    ) -> Outcome:
        frames = self._frames(programme)
        what = f"whole {' '.join(settings(tuning))} {' '.join(control)} passes {passes}"
        return self._outcome(
            target_bps, what, frames, lambda: encode_whole(frames, control, tuning=tuning, passes=passes)
        )

    def _outcome(self, target_bps: float, what: str, frames: Frames, encode: Callable[[], bytes]) -> Outcome:
        told = f"{what} {version()} {hashlib.sha256(frames.tobytes()).hexdigest()}"
        path = self.folder / FOLDER / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
        if path.is_file():
            try:
                found = _Measured.model_validate_json(path.read_bytes())
            except ValidationError as error:
                raise UserError.from_validation(error, origin=str(path)) from None
        else:
            stream = encode()
            quality = measure(stream, frames)
            found = _Measured(
                what=what,
                sizes=tuple(chunk_sizes(stream)),
                vmaf=tuple(quality.vmaf.tolist()),
                psnr_db=tuple(quality.psnr_db.tolist()),
            )
            with atomic_file(path) as temporary:
                temporary.write_text(json.dumps(found.model_dump()))
        return Outcome.of(target_bps, found.sizes, found.vmaf, found.psnr_db)

    def _frames(self, programme: Programme) -> Frames:
        parts = [_clip(self.folder, clip)[chunk] for clip, chunk in programme.parts]
        return np.concatenate(parts)


def _bounded(target_bps: float, chunks: int) -> tuple[str, ...]:
    """ffmpeg's words for a mean rate and the decoder's buffer.

    Ours is of whole chunks, that of x264 of pictures: it may hold what the link brings while a chunk is shown beside.
    """
    link = Link.of(target_bps, chunks)
    rates = (target_bps, 8 * link.brought, 8 * (link.buffer - link.brought))
    words = zip(("-b:v", "-maxrate", "-bufsize"), rates, strict=True)
    return tuple(part for name, rate in words for part in (name, str(int(rate))))


@cache
def _clip(folder: Path, name: str) -> Frames:
    """A clip's chunks [N, CHUNK_FRAMES, FRAME_BYTES], of which the curves in ``folder`` are."""
    clip = next(one for one in clips() if one.name == name)
    frames = kept_frames(folder, clip)
    made(folder, clip.name, clip.split, frames)
    return frames.reshape(-1, CHUNK_FRAMES, frames.shape[1])


@cache
def _encode(frames: bytes, control: tuple[str, ...]) -> bytes:
    return encode_whole(np.frombuffer(frames, np.uint8), control)
