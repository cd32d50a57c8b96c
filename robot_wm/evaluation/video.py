"""MP4 files of a robot that is driven: pictures with what was asked of it, the time, the return and faults on them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.wrappers import RecordEpisodeStatistics
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.evaluation.closed_loop import Env, OnTick
from robot_wm.evaluation.overlay import Gauge, Panel, overlay
from robot_wm.ffmpeg import in_one_line
from robot_wm.runtime.command import Command
from robot_wm.runtime.modes import Mode

RATE_HZ = 25.0  # of pictures in simulated time, at most
MOST_LETTERS = 60  # of a fault's description
TRIAL_SIDE = 32  # pixels

AddFrame = Callable[[NDArray[np.uint8]], None]  # [H, W, 3], the same size each time


def check_video(path: Path) -> None:
    """Raise UserError unless a video can be written there: its folder is made, and a picture encoded in it and deleted.

    To be asked before anything runs that a video is to show.
    """
    if path.suffix != ".mp4":
        raise UserError(f"--video: {path}: a file name ending in .mp4 is needed")
    if path.is_dir():
        raise UserError(f"--video: {path} is a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise UserError(f"--video: {path}: its folder cannot be written: {error.strerror}") from None
    with folder as name, open_video(Path(name) / path.name, rate_hz=RATE_HZ) as add_frame:
        add_frame(np.zeros((TRIAL_SIDE, TRIAL_SIDE, 3), np.uint8))


@contextmanager
def film(path: Path, env: RecordEpisodeStatistics, *, control_rate_hz: float) -> Iterator[OnTick]:
    """Write a video of what ``env`` renders, every few ticks of `run_closed_loop`; see `draw`."""
    every = max(1, round(control_rate_hz / RATE_HZ))
    with open_video(path, rate_hz=control_rate_hz / every) as add_frame:
        yield draw(env, add_frame, control_rate_hz=control_rate_hz, every=every)


def draw(
    env: RecordEpisodeStatistics, add_frame: AddFrame, *, control_rate_hz: float, every: int, first: int = 0
) -> OnTick:
    """Give pictures of what ``env`` renders to ``add_frame``: one each ``every`` ticks, from tick ``first`` (0…) on.

    On each picture stand the time and the return of the episode, a mode other than active, faults, and what
    ``env.unwrapped.overlay()`` tells, where the environment has that.
    """
    own_panel: Callable[[], Panel] = getattr(env.unwrapped, "overlay", dict)

    def on_tick(command: Command, _: Env) -> None:
        ticks = command.tick - 1 - first
        if ticks >= 0 and ticks % every == 0:
            time_s = env.episode_lengths / control_rate_hz
            panel = status(command, time_s=time_s, episode_return=float(env.episode_returns))
            add_frame(overlay(np.asarray(env.render()), own_panel(), panel))

    return on_tick


def status(command: Command, *, time_s: float, episode_return: float) -> Panel:
    """The lines that are the same for every robot; a mode and faults only where something is out of the ordinary."""
    panel: dict[str, str | Gauge] = {"time": f"{time_s:.2f} s", "return": f"{episode_return:.1f}"}
    if command.mode is not Mode.ACTIVE:
        panel["mode"] = command.mode.value.replace("_", " ")
    if command.fault_bits:
        panel["fault"] = command.detail[:MOST_LETTERS]
    return panel


@contextmanager
def open_video(path: Path, *, rate_hz: float) -> Iterator[AddFrame]:
    """Add pictures to an MP4 that appears when all are written. Raises UserError where ffmpeg is missing or fails."""
    with atomic_file(path) as temporary:
        named = temporary.with_suffix(".mp4")  # imageio knows a format by its suffix alone
        with _in_one_line(path):
            import imageio

            writer: Any = imageio.get_writer(named, fps=rate_hz, macro_block_size=2)

        frames = 0

        def add_frame(frame: NDArray[np.uint8]) -> None:
            nonlocal frames
            with _in_one_line(path):
                writer.append_data(frame)
            frames += 1

        try:
            yield add_frame
            with _in_one_line(path):
                writer.close()
                _require_frames(named, frames)
                named.replace(temporary)
        finally:
            with suppress(OSError):  # of an ffmpeg that has gone already
                writer.close()
            named.unlink(missing_ok=True)


def _require_frames(path: Path, frames: int) -> None:
    """Raise OSError for a file without all its pictures: imageio does not look how its ffmpeg ended."""
    import imageio

    if not frames:
        return
    try:
        reader: Any = imageio.get_reader(path)
        with reader:
            found = reader.count_frames()
    except OSError:  # its table of contents, which comes last, is not there
        found = 0
    if found < frames:
        raise OSError(f"it holds {found} of {frames} pictures: is there room on the disk?")


def _in_one_line(path: Path) -> AbstractContextManager[None]:
    return in_one_line(
        f"--video: {path}: ffmpeg cannot write it",
        "pip install 'imageio[ffmpeg]', or let IMAGEIO_FFMPEG_EXE name an ffmpeg that works",
    )
