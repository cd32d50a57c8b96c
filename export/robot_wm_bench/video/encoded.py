"""The same for real: streams that are encoded, decoded and measured, ours chunk by chunk and x264's own whole.

A stream's outcome is kept in a file of its own, named by the hash of all that it depends on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
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


class Studio:
    """Pictures and encoders of the test's programmes; ``folder`` is one that `robot-wm video curves` filled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._clips = {clip.name: clip for clip in clips()}
        self._chunks: dict[str, Frames] = {}  # by clip [N, CHUNK_FRAMES, FRAME_BYTES]
        self._streams: dict[tuple[str, int, int], bytes] = {}  # by clip, chunk and mode

    def planned(self, programme: Programme, target_bps: float, plan: Plan) -> Outcome:
        """A plan, encoded chunk by chunk."""

        def encode() -> bytes:
            parts = zip(programme.parts, plan.tolist(), strict=True)
            return b"".join(self._stream(clip, chunk, mode) for (clip, chunk), mode in parts)

        what = f"chunks {ENCODER} {[MODES[mode] for mode in plan]}"
        return self._outcome(target_bps, what, self._frames(programme), encode)

    def two_pass(self, programme: Programme, target_bps: float, *, tuning: str = TUNING) -> Outcome:
        """x264's variable bitrate in two passes, within the same buffer."""
        return self._whole(programme, target_bps, _bounded(target_bps, len(programme)), tuning, passes=2)

    def average(self, programme: Programme, target_bps: float) -> Outcome:
        """x264's average bitrate in one pass, within the same buffer."""
        return self._whole(programme, target_bps, _bounded(target_bps, len(programme)), TUNING)

    def rate_factor(self, programme: Programme, target_bps: float) -> Outcome:
        """x264's constant rate factor for the whole, the least one whose stream is within the target."""
        frames = self._frames(programme)
        low, high = CRF_RANGE
        best = None
        for _ in range(CRF_STEPS):
            middle = (low + high) / 2
            control = ("-crf", f"{middle:.4f}")
            if kept_rate(len(encode_whole(frames, control)), len(programme)) <= target_bps:
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
        path = self._folder / FOLDER / f"{hashlib.sha256(told.encode()).hexdigest()[:16]}.json"
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
        """Its pictures [F, FRAME_BYTES]."""
        return np.concatenate([self._clip(clip)[chunk] for clip, chunk in programme.parts])

    def _stream(self, clip: str, chunk: int, mode: int) -> bytes:
        key = clip, chunk, mode
        if key not in self._streams:
            self._streams[key] = encode_chunk(self._clip(clip)[chunk], [MODES[mode]])[0]
        return self._streams[key]

    def _clip(self, name: str) -> Frames:
        """A clip's chunks, whose curves are those in the folder."""
        if name not in self._chunks:
            clip = self._clips[name]
            frames = kept_frames(self._folder, clip)
            made(self._folder, clip.name, clip.split, frames)
            self._chunks[name] = frames.reshape(-1, CHUNK_FRAMES, frames.shape[1])
        return self._chunks[name]


def _bounded(target_bps: float, chunks: int) -> tuple[str, ...]:
    """ffmpeg's words for a mean rate and the decoder's buffer.

    Ours is of whole chunks, that of x264 of pictures: it may hold what the link brings while a chunk is shown beside.
    """
    link = Link.of(target_bps, chunks)
    rates = (target_bps, 8 * link.brought, 8 * (link.buffer - link.brought))
    words = zip(("-b:v", "-maxrate", "-bufsize"), rates, strict=True)
    return tuple(part for name, rate in words for part in (name, str(int(rate))))
