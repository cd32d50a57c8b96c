"""Every checkpoint of a run as a signed bundle, made by a process of its own beside the learner."""

from __future__ import annotations

import logging
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from robot_wm.errors import UserError
from robot_wm.learning.ranks import ALONE, Ranks
from robot_wm.plugins import entries
from robot_wm.training import checkpoint
from robot_wm.training.cluster.ingest import BUNDLES
from robot_wm.training.config import TrainConfig

_LOOK_S = 2.0
_KEPT = 3  # bundles; robots take the newest, and keep those before it themselves

_log = logging.getLogger(__name__)


@contextmanager
def publishing(config: TrainConfig, key: Path | None, ranks: Ranks = ALONE) -> Iterator[None]:
    """Export each new checkpoint, signed by ``key``, to where robots get it from, until the run ends."""
    if key is None or ranks.rank:
        yield
        return
    if not key.is_file():
        raise UserError(f"--publish-bundles {key}: no such file")
    if "export" not in entries("robot_wm.commands"):
        raise UserError("--publish-bundles: the exporter is not installed; pip install 'robot-wm[export]'")
    done = checkpoint.latest_path(config.folder)  # of an earlier start, whose bundle is there
    over = threading.Event()
    thread = threading.Thread(target=_watch, args=(config.folder, key, over, done), name="publisher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _watch(run: Path, key: Path, over: threading.Event, done: Path | None) -> None:
    """Publish what is newer than ``done``."""
    while True:
        ended = over.wait(_LOOK_S)  # looked at once more then: the last checkpoint counts
        newest = checkpoint.latest_path(run)
        if newest is not None and newest != done:
            publish(newest, run / BUNDLES, key)
            done = newest
        if ended:
            return


def publish(path: Path, folder: Path, key: Path) -> None:
    """Write the checkpoint in ``path`` to ``folder`` as a bundle; a warning tells where that fails."""
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export.", suffix=".tmp", dir=folder) as temporary:
        out = Path(temporary) / f"{path.name}.rwm"
        told = ["--checkpoint", str(path), "--out", str(out), "--zip", "--sign", str(key)]
        number = str(int(path.name.rpartition("_")[2]) % 2**31)
        command = [sys.executable, "-m", "robot_wm", "export", *told, "--bundle-version", number]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            _log.warning("%s: not published: %s", path, last)
            return
        (Path(temporary) / f"{path.name}.rwm.zip").replace(folder / f"{path.name}.rwm.zip")
    for old in sorted(folder.glob("*.rwm.zip"))[:-_KEPT]:
        old.unlink()
