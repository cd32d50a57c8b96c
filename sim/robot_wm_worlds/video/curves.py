"""What each chunk of a clip costs and looks like at each quantiser: encoded once, kept in a file, checked when read.

A file's name carries the hash of all that its numbers depend on (pictures, encoder, its version, modes, format): no
file is taken for what it is not. Its first line tells them, and the hash of the lines below it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm_worlds.video.clips import Split
from robot_wm_worlds.video.encoder import MODES, SPREADS, encode_chunk, first_picture, measure, spread_settings
from robot_wm_worlds.video.ffmpeg import version
from robot_wm_worlds.video.pictures import CHUNK_FRAMES, Frames

COLUMNS = ("chunk", "spread", "quantiser", "bytes", "first_bytes", "vmaf", "psnr_db")
ENCODER = tuple(" ".join(spread_settings(spread)) for spread in SPREADS)
_KEY_LETTERS = 12  # of its SHA-256 in a file's name
_LARGEST_BYTES = 2**22  # of a file of curves


@dataclass(frozen=True)
class Curves:
    """One clip's chunks, each in each of the encoder's `MODES`."""

    clip: str
    split: Split
    size: NDArray[np.int64]  # [N, M] bytes
    first: NDArray[np.int64]  # [N, M] bytes of the first picture among them
    vmaf: NDArray[np.float64]  # [N, M] 0…100
    psnr_db: NDArray[np.float64]  # [N, M]

    def __len__(self) -> int:
        return len(self.size)


class _Header(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    robot_wm_video_curves: Literal[1] = 1
    clip: str
    split: Split
    chunks: int
    frames_sha256: str
    encoder: tuple[str, ...] = ENCODER
    ffmpeg: str
    modes: tuple[tuple[str, int], ...] = MODES
    body_sha256: str = ""

    def key(self) -> str:
        """Hash of all that the numbers depend on."""
        told = self.model_dump_json(exclude={"body_sha256", "split"})
        return hashlib.sha256(told.encode()).hexdigest()[:_KEY_LETTERS]


def made(folder: Path, clip: str, split: Split, frames: Frames) -> tuple[Curves, Path]:
    """A clip's curves and their file in ``folder``: read if they are there, else encoded, measured and kept."""
    header = _Header(
        clip=clip,
        split=split,
        chunks=len(frames) // CHUNK_FRAMES,
        frames_sha256=hashlib.sha256(frames.tobytes()).hexdigest(),
        ffmpeg=version(),
    )
    path = folder / f"{clip}.{header.key()}.csv"
    if not path.is_file():
        _write(path, header, _encoded(clip, split, frames))
    return read(path), path


def read(path: Path) -> Curves:
    """One file; raises UserError that names it and what is wrong with it."""
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot read the curves: {error.strerror}") from None
    if len(raw) > _LARGEST_BYTES:
        raise UserError(f"{path}: is larger than the {_LARGEST_BYTES} bytes that curves may have")
    first, _, body = raw.partition(b"\n")
    try:
        header = _Header.model_validate_json(first.removeprefix(b"#"))
    except ValidationError as error:
        raise UserError.from_validation(error, origin=f"{path}: first line") from None
    if path.name != f"{header.clip}.{header.key()}.csv":
        raise UserError(f"{path}: name: is not {header.clip}.{header.key()}.csv, as its first line says")
    if hashlib.sha256(body).hexdigest() != header.body_sha256:
        raise UserError(f"{path}: body_sha256: its lines are not those that were written")
    if header.modes != MODES or header.encoder != ENCODER:
        raise UserError(f"{path}: encoder or modes: not those of this version; encode its clip again")
    return _parsed(path, header, body.decode())


def read_all(folder: Path, split: Split) -> tuple[Curves, ...]:
    """Every file of curves of a split in ``folder``, by clips' names; raises UserError where there is none."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder of curves")
    every = [read(path) for path in sorted(folder.glob("*.csv"))]
    names = [curves.clip for curves in every]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UserError(f"{folder}: clip {twice}: has two files of curves; remove the older one")
    found = tuple(curves for curves in every if curves.split == split)
    if not found:
        raise UserError(f"{folder}: holds no curves (*.csv) of split {split}")
    return found


def shipped() -> Path:
    """The folder of curves that come with this package."""
    return Path(__file__).parent / "shipped"


def _encoded(clip: str, split: Split, frames: Frames) -> Curves:
    chunks = frames.reshape(-1, CHUNK_FRAMES, frames.shape[1])
    streams = [encode_chunk(chunk) for chunk in chunks]  # [N][M]
    seen = [measure(b"".join(of_one), frames) for of_one in zip(*streams, strict=True)]  # [M]
    return Curves(
        clip,
        split,
        np.array([[len(stream) for stream in row] for row in streams]),
        np.array([[first_picture(stream) for stream in row] for row in streams]),
        np.stack([quality.vmaf for quality in seen], axis=1),
        np.stack([quality.psnr_db for quality in seen], axis=1),
    )


def _write(path: Path, header: _Header, curves: Curves) -> None:
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for chunk in range(len(curves)):
        for mode, (spread, quantiser) in enumerate(MODES):
            sizes = curves.size[chunk, mode], curves.first[chunk, mode]
            quality = f"{curves.vmaf[chunk, mode]:.3f}", f"{curves.psnr_db[chunk, mode]:.3f}"
            rows.writerow((chunk, spread, quantiser, *sizes, *quality))
    body = text.getvalue().encode()
    told = header.model_copy(update={"body_sha256": hashlib.sha256(body).hexdigest()}).model_dump()
    with atomic_file(path) as temporary:
        temporary.write_bytes(b"# " + json.dumps(told).encode() + b"\n" + body)


def _parsed(path: Path, header: _Header, body: str) -> Curves:
    rows = list(csv.reader(io.StringIO(body)))
    if not rows or tuple(rows[0]) != COLUMNS:
        raise UserError(f"{path}: line 2: is not {','.join(COLUMNS)}")
    wanted = [(str(chunk), spread, str(quantiser)) for chunk in range(header.chunks) for spread, quantiser in MODES]
    if [tuple(row[:3]) for row in rows[1:]] != wanted:
        raise UserError(f"{path}: lines: are not {header.chunks} chunks in {len(MODES)} modes each, in order")
    try:
        table = np.array([[float(value) for value in row[3:]] for row in rows[1:]]).reshape(-1, len(MODES), 4)
    except ValueError:
        raise UserError(f"{path}: bytes, vmaf and psnr_db: are not four numbers in every line") from None
    if not np.isfinite(table).all() or (table[..., 0] < 1).any():
        raise UserError(f"{path}: bytes, vmaf and psnr_db: are not finite, or a chunk has no bytes")
    size, first, vmaf, psnr_db = np.moveaxis(table, -1, 0)
    whole = size.astype(np.int64), first.astype(np.int64)
    return Curves(header.clip, header.split, *whole, vmaf.copy(), psnr_db.copy())
