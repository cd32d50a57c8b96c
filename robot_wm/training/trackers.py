"""Experiment trackers beside a run's own log: wandb, and trackio, whose interface is the same.

A tracker is somebody else's service. Whatever it does, training goes on: it works in a thread of its own behind a
queue that drops what finds no room, and with its first error it is given up with a warning.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
import os
import queue
import sys
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError

TRACKERS = ("wandb", "trackio")  # beside TensorBoard, which every run has
_IDS = "trackers.json"  # of a run: what each tracker knows it by
_ROWS = 1000  # that may wait
_CLOSE_S = 60.0  # a tracker that does not answer must not keep a run from ending
_PROJECT = "robot_wm"

_log = logging.getLogger(__name__)


def require_installed(names: tuple[str, ...]) -> None:
    """Raise UserError for a tracker that cannot be imported, before the run begins."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(f"--tracker {name}: not installed; pip install 'robot-wm[{name}]'")


class Tracker:
    """One run at one tracker; a resumed run goes on under the name that it had. Never raises, never waits but to end.

    Where the tracker puts it, and whether it needs a network, its own environment variables say
    (``WANDB_MODE=offline``, ``TRACKIO_DIR``, …); the project is robot_wm, or what ``WANDB_PROJECT`` names.
    """

    def __init__(self, name: str, run: Path, config: Mapping[str, Any], *, resumed: bool) -> None:
        self.name = name
        self.dropped = 0  # rows and pictures that found no room, or came after an error
        self._failed = False
        self._waiting: queue.Queue[Callable[[Any, Any], None] | None] = queue.Queue(_ROWS)
        known = _known(run)
        self._id = known.get(name) if resumed else None
        if self._id is None:
            self._id = f"{run.name}-{uuid.uuid4().hex[:8]}"
            with atomic_file(run / _IDS) as temporary:
                temporary.write_text(json.dumps(known | {name: self._id}, indent=1) + "\n")
        self._thread = threading.Thread(
            target=self._work, args=(run, dict(config)), name=f"tracker {name}", daemon=True
        )
        self._thread.start()

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row of scalars at policy step ``step``."""
        row = {name: float(value) for name, value in values.items()}
        self._put(lambda module, tracked: tracked.log(row, step=step))

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A picture [H, W, 3]."""
        kept = image.copy()
        self._put(lambda module, tracked: tracked.log({name: module.Image(kept)}, step=step))

    def close(self) -> None:
        """Hand over what waits and end the run there; a minute at most."""
        with suppress(queue.Full):
            self._waiting.put(None, timeout=0.0 if self._failed else _CLOSE_S)
        self._thread.join(_CLOSE_S)
        if self._thread.is_alive():
            self._give_up(f"has not answered for {_CLOSE_S:g} s")

    def _put(self, what: Callable[[Any, Any], None]) -> None:
        if not self._failed:
            with suppress(queue.Full):
                self._waiting.put_nowait(what)
                return
        self.dropped += 1

    def _work(self, run: Path, config: dict[str, Any]) -> None:
        try:
            module = importlib.import_module(self.name)
            tracked = _begin(module, self.name, str(self._id), run, config)
            while (what := self._waiting.get()) is not None:
                what(module, tracked)
            tracked.finish()
        except BaseException as error:  # some end the interpreter, from whose threads that is but an exception
            self._give_up(f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")

    def _give_up(self, why: str) -> None:
        if not self._failed:
            self._failed = True
            _log.warning("--tracker %s: %s; the run goes on without it", self.name, why)


def _begin(module: Any, name: str, key: str, run: Path, config: dict[str, Any]) -> Any:
    """The tracker's run of that key, begun or gone on with. It asks nobody for a password, and prints nothing."""
    given: dict[str, Any] = {"resume": "allow", "config": config}
    if name == "wandb":
        quiet = module.Settings(silent=True, console="off", x_disable_stats=True, login_timeout=1.0)
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        return module.init(project=project, id=key, name=run.name, dir=str(run), settings=quiet, **given)
    for part, loaded in list(sys.modules.items()):
        if part.partition(".")[0] == name:  # it prints to stdout, where the result of `train --json` goes
            vars(loaded)["print"] = lambda *words, **how: None
    return module.init(_PROJECT, name=key, embed=False, auto_log_gpu=False, auto_log_cpu=False, **given)


def _known(run: Path) -> dict[str, str]:
    """What each tracker knows the run by."""
    try:
        told = json.loads((run / _IDS).read_text())
    except (OSError, ValueError):
        return {}
    return {name: key for name, key in told.items() if isinstance(key, str)} if isinstance(told, dict) else {}
