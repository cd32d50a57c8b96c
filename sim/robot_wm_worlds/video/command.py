"""`robot-wm video`: what the task video_rate_control learns from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from robot_wm.console import emit, progress

app = App(name="video", help="Encode the clips of the task video_rate_control.")


@app.command
def curves(folder: Path, /, *, json: Annotated[bool, Parameter(name="--json", negative="")] = False) -> None:
    """Encode every second of every clip in every mode of the encoder, decode and measure it, and keep the numbers.

    Needs the extras video and sim. What is there and still holds is kept, so that this goes on where it was stopped.

    Parameters
    ----------
    folder
        Where the curves go, a file a clip, and their pictures (0.5 GB).
    json
        Print one JSON object.
    """
    from robot_wm.atomic import require_writable
    from robot_wm_worlds.video.clips import clips
    from robot_wm_worlds.video.curves import made
    from robot_wm_worlds.video.kept_frames import kept_frames

    require_writable(folder / "clip.csv")
    rows = []
    every = clips()
    with progress() as bar:
        task = bar.add_task("curves", total=len(every), note="")
        for clip in every:
            bar.update(task, note=clip.name)
            found, path = made(folder, clip.name, clip.split, kept_frames(folder, clip))
            rows.append({"clip": clip.name, "split": clip.split, "chunks": len(found), "file": path.name})
            bar.advance(task)
    emit({"folder": str(folder), "rows": rows}, as_json=json, title="Curves")
