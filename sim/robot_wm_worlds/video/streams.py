"""What a simulated robot's camera sees while a trained agent drives it: what an edge robot sends to its operator."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.evaluation.closed_loop import Env, run_closed_loop
from robot_wm.evaluation.driven import driven
from robot_wm.runtime.command import Command
from robot_wm.runtime.safety import SafetyConfig
from robot_wm_worlds.video.ffmpeg import ffmpeg
from robot_wm_worlds.video.pictures import CHUNK_FRAMES, HEIGHT, RATE_HZ, RAW, WIDTH, Frames, as_frames

EPISODE_S = 8.0


@dataclass(frozen=True, kw_only=True)
class RobotStream:
    """One camera of one robot that an agent of the zoo drives."""

    agent: str  # of the zoo
    camera: str  # of its task's scene: ``camera`` is the agent's own, ``video`` the one for people
    seed: int
    backend: str
    chunks: int = 6
    noise: float = 0.0  # standard deviation of what the camera's sensor adds to each pixel, of 255

    def frames(self) -> Frames:
        """The pictures, [F, FRAME_BYTES]; a robot of less than RATE_HZ control steps a second is shown faster."""
        wanted = self.chunks * CHUNK_FRAMES
        rng = np.random.default_rng(self.seed)
        pictures: list[NDArray[np.uint8]] = []  # [H, W, 3] each
        config = SafetyConfig(soft_start_s=0.0)
        with driven(Path(f"zoo:{self.agent}"), config=config, seed=self.seed, backend=self.backend) as robot:
            every = max(1, round(robot.controller.spec.control_rate_hz / RATE_HZ))

            def on_tick(command: Command, env: Env) -> None:
                if command.tick % every == 0 and len(pictures) < wanted:
                    pictures.append(self._noisy(_picture(env.unwrapped, self.camera), rng))

            episode = 0
            while len(pictures) < wanted:
                run_closed_loop(
                    robot.controller,
                    robot.env,
                    realtime=False,
                    max_episode_s=EPISODE_S,
                    seed=self.seed + episode,
                    on_tick=on_tick,
                )
                episode += 1
        size = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(RATE_HZ))
        raw = ffmpeg([*size, "-i", "-", *RAW, "-"], doing=f"{self.agent} as YUV", given=np.stack(pictures).tobytes())
        return as_frames(raw)

    def _noisy(self, picture: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        if not self.noise:
            return picture
        added = rng.normal(0.0, self.noise, picture.shape[:2])[..., None]  # of brightness: one for all colours
        return np.clip(np.rint(picture + added), 0, 255).astype(np.uint8)


def _picture(env: Any, camera: str) -> NDArray[np.uint8]:
    """What a camera of the scene sees now, with a ground that shows motion: [HEIGHT, WIDTH, 3]."""
    view = replace(env.task.scene.cameras[camera], for_people=True)
    picture: NDArray[np.uint8] = env.sim.render(view, height=HEIGHT, width=WIDTH)
    return picture
