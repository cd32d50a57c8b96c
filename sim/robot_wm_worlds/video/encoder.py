"""Chunks as closed groups of pictures by libx264, whole programmes by its own rate controls, and what they look like.

A chunk's quantiser is x264's rate factor (CRF): that of a picture without the adaptive quantisation and the macroblock
tree that every rate control of x264's has. A constant quantiser parameter has neither, and would be a weak rival.
A stream is H.264 in Annex B without SEI messages; streams of chunks that are put together are one stream.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm_worlds.video.ffmpeg import ffmpeg
from robot_wm_worlds.video.pictures import CHUNK_FRAMES, RATE_HZ, RAW, Frames

QUANTISERS = tuple(range(18, 43, 3))  # Q rate factors, the finest first; 6 more are about half the bits
# How quality is spread inside a chunk, as x264 is told: what moves leaves later pictures little to refer to, and the
# macroblock tree should favour its origin less; what stands still is best told once and well, by the first picture.
SPREADS = {"even": "qcomp=0.6", "moving": "qcomp=0.8", "still": "qcomp=0.6:zones=0,0,b=2.2"}
MODES = tuple((spread, quantiser) for spread in SPREADS for quantiser in QUANTISERS)  # M
_GROUPS = f"keyint={CHUNK_FRAMES}:min-keyint={CHUNK_FRAMES}:scenecut=0:open-gop=0"
# What a robot's computer encodes as it goes. Adaptive quantisation is off: it serves the eye and costs 4 to 8 % of the
# bits by VMAF (on five clips), which would be no merit of whoever chooses quantisers.
SPEED, TUNING = "veryfast", "aq-mode=0"
# Annex B without SEI (what x264 says of itself, in every stream), at one thread: the same bytes on any machine.
_OUT = ("-threads", "1", "-bsf:v", "filter_units=remove_types=6", "-f", "h264")
_START = b"\x00\x00\x01"  # of a unit, whose first byte's low five bits are its type (ISO/IEC 14496-10, annex B)
_SLICE, _IDR, _SEQUENCE = 1, 5, 7


def settings(tuning: str) -> tuple[str, ...]:
    """What ffmpeg is told of the encoder, with these parameters of x264's beside those that all streams have."""
    return ("-c:v", "libx264", "-preset", SPEED, "-x264-params", ":".join(filter(None, (_GROUPS, tuning))), *_OUT)


def spread_settings(spread: str) -> tuple[str, ...]:
    """The same for one of `SPREADS`."""
    return settings(f"{TUNING}:{SPREADS[spread]}")


@dataclass(frozen=True)
class Quality:
    """What a decoded stream looks like, a number a chunk: means over its pictures."""

    vmaf: NDArray[np.float64]  # [N] VMAF v0.6.1, 0…100
    psnr_db: NDArray[np.float64]  # [N] of luma


def encode_chunk(chunk: Frames, modes: Sequence[tuple[str, int]] = MODES) -> list[bytes]:
    """One chunk's stream by itself in each mode, by one call."""
    with tempfile.TemporaryDirectory() as name:
        outputs: list[str] = []
        for number, (spread, quantiser) in enumerate(modes):
            outputs += ["-map", "0:v", *spread_settings(spread), "-crf", str(quantiser), f"{number}.h264"]
        folder = Path(name)
        ffmpeg([*RAW, "-i", "-", *outputs], doing="encoding a chunk", given=chunk.tobytes(), folder=folder)
        return [(folder / f"{number}.h264").read_bytes() for number in range(len(modes))]


def encode_whole(frames: Frames, control: Sequence[str], *, tuning: str = TUNING, passes: int = 1) -> bytes:
    """A whole programme by x264's own rate control, as ``control`` names it to ffmpeg (``-b:v 80000``)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(1, passes + 1):
            told = () if passes == 1 else ("-pass", str(number), "-passlogfile", "statistics")
            doing = f"encoding a programme, {' '.join(control)}"
            command = [*RAW, "-i", "-", *settings(tuning), *control, *told, "whole.h264"]
            ffmpeg(command, doing=doing, given=frames.tobytes(), folder=folder)
        return (folder / "whole.h264").read_bytes()


def chunk_sizes(stream: bytes) -> list[int]:
    """Bytes of each chunk of a stream, [N]: from the parameter sets before one IDR picture up to those before the next.

    Raises UserError for a stream without an IDR picture.
    """
    starts: list[int] = []
    parameters: int | None = None  # where the sets before the next picture begin
    in_picture = False
    for kind, begins in _units(stream):
        if kind == _SEQUENCE and parameters is None:
            parameters = begins
        if kind == _IDR and not in_picture:
            starts.append(begins if parameters is None else parameters)
        in_picture = kind == _IDR  # several slices are one picture
        parameters = None if kind <= _IDR else parameters
    if not starts:
        raise UserError("video: a stream has no IDR picture")
    return [end - start for start, end in zip(starts, [*starts[1:], len(stream)], strict=True)]


def first_picture(chunk: bytes) -> int:
    """Bytes of a chunk's first picture, with the parameter sets before it."""
    return next((begins for kind, begins in _units(chunk) if kind == _SLICE), len(chunk))


def _units(stream: bytes) -> Iterator[tuple[int, int]]:
    """Type and beginning of every unit; a start code may have a zero more in front."""
    at = stream.find(_START)
    while 0 <= at < len(stream) - len(_START):
        yield stream[at + 3] & 31, at - (at > 0 and stream[at - 1] == 0)
        at = stream.find(_START, at + 3)


def measure(stream: bytes, frames: Frames) -> Quality:
    """Decode a stream and compare it with what was encoded; raises UserError unless it has as many pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "stream.h264").write_bytes(stream)
        clock = f"setpts=N/({RATE_HZ}*TB)"  # pictures are paired by their number
        graph = (
            f"[0:v]{clock}[a];[1:v]{clock}[b];[a][b]libvmaf=log_fmt=json:log_path=log.json:feature=name=psnr:shortest=1"
        )
        decoded = ["-r", str(RATE_HZ), "-i", "stream.h264"]
        doing = "decoding and measuring a stream"
        ffmpeg(
            [*decoded, *RAW, "-i", "-", "-lavfi", graph, "-f", "null", "-"],
            doing=doing,
            given=frames.tobytes(),
            folder=folder,
        )
        log: list[dict[str, Any]] = json.loads((folder / "log.json").read_text())["frames"]
    if len(log) != len(frames):
        raise UserError(f"video: a stream has {len(log)} pictures, but {len(frames)} were encoded")
    vmaf, psnr = (
        np.array([row["metrics"][key] for row in log]).reshape(-1, CHUNK_FRAMES).mean(1) for key in ("vmaf", "psnr_y")
    )
    return Quality(vmaf, psnr)
