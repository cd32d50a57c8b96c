"""One run of a sweep: `robot-wm train` in a folder of its own, followed by its log, stopped and gone on with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robot_wm.atomic import atomic_file
from robot_wm.errors import UserError
from robot_wm.sweeping.plan import Objective
from robot_wm.training.one_writer import only_writer
from robot_wm.training.scalars import METRICS, read
from robot_wm.yaml_file import write_yaml

CONFIG = "config.yaml"
_TRAINED, _EVALUATED, _LOG = "trained.json", "evaluated.json", "log.txt"
_PATIENCE_S = 120.0  # for what was told to stop: it finishes an update and writes a checkpoint
_LOOK_S = 0.2


class FailedError(Exception):
    """A run ended otherwise than by its end; the message is the last that it said."""


@dataclass
class _Process:
    popen: subprocess.Popen[bytes]
    told_to_stop: float | None = None  # when, monotonic s


class Job:
    """A run in ``folder``: its settings, its log, what it printed. ``program`` is what `robot-wm` is called by."""

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], objective: Objective, *, program: Sequence[str] = ()
    ) -> None:
        self.folder, self._settings, self._objective = folder, dict(settings), objective
        self._program = list(program) or [sys.executable, "-m", "robot_wm.sweeping.leash", str(os.getpid())]
        self._process: _Process | None = None
        self._size = -1
        self._curve: list[tuple[int, float]] = []

    def begin(self) -> None:
        """Start it, or go on with what an interrupted sweep left: a checkpoint, or the whole run."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._told(_TRAINED) is None:
            again = self._again()
            with atomic_file(self.folder / CONFIG) as temporary:
                temporary.write_text(write_yaml(self._settings))
            names = ["--config", str(self.folder / CONFIG), "--run-dir", str(self.folder), "--json"]
            self._start(["train", *names, *again], _TRAINED)
        else:
            self._start_evaluation()

    def ended(self) -> bool:
        """Whether nothing runs any more; starts the evaluation where one follows. FailedError says what went wrong."""
        if self._process is None:
            return True
        code = self._process.popen.poll()
        if code is None:
            told = self._process.told_to_stop
            if told is not None and time.monotonic() > told + _PATIENCE_S:
                self._process.popen.kill()
            return False
        stopped, self._process = self._process.told_to_stop is not None, None
        if stopped:
            return True
        trained = self._told(_TRAINED)
        if code or trained is None:
            raise FailedError(self._last_words(code))
        if self._evaluates and self._told(_EVALUATED) is None:
            self._start_evaluation()
            return False
        return True

    def stop(self) -> None:
        """Tell it to save and go; `ended` says when it has."""
        if self._process is not None and self._process.told_to_stop is None:
            self._process.told_to_stop = time.monotonic()
            self._process.popen.send_signal(signal.SIGTERM)

    def curve(self) -> list[tuple[int, float]]:
        """Policy steps and the objective's scalar over the rows so far, a pair a row that has it."""
        try:
            size = (self.folder / METRICS).stat().st_size
        except FileNotFoundError:
            return []
        if size != self._size:
            name = self._objective.scalar
            self._size, rows = size, read(self.folder)
            values = [(int(row["step"]), float(row[name])) for row in rows if name in row]
            self._curve = [
                (step, self._so_far([value for _, value in values[: k + 1]])) for k, (step, _) in enumerate(values)
            ]
        return self._curve

    def value(self) -> float:
        """What the run that has ended is worth; FailedError where it does not say."""
        if self._evaluates:
            told = self._told(_EVALUATED) or {}
            found = told.get(str(self._objective.eval))
            if isinstance(found, bool) or not isinstance(found, int | float):
                numbers = [name for name, value in told.items() if isinstance(value, int | float)]
                raise FailedError(f"eval tells no number {self._objective.eval}; it tells {', '.join(numbers)}")
            return float(found)
        if not self.curve():
            names = sorted({name for row in read(self.folder) for name in row} - {"step"})
            raise FailedError(f"no scalar {self._objective.scalar} in its log; there are {', '.join(names) or 'none'}")
        return self.curve()[-1][1]

    def wall_s(self) -> float | None:
        """How long it trained, s; None where it has not ended by itself."""
        told = (self._told(_TRAINED) or {}).get("wall_s")
        return float(told) if isinstance(told, int | float) else None

    @property
    def _evaluates(self) -> bool:
        return self._objective.eval is not None

    def _so_far(self, values: Sequence[float]) -> float:
        if self._objective.over == "last":
            return values[-1]
        if self._objective.over == "mean":
            return sum(values) / len(values)
        return max(values) if self._objective.direction == "maximize" else min(values)

    def _again(self) -> list[str]:
        """``--resume`` where a checkpoint was left; else what was left goes, so that the run begins as any does."""
        if not any(self.folder.iterdir()):
            return []
        from robot_wm.training import checkpoint  # imports torch, which only what was interrupted needs here

        self._wait_for_orphan()
        if checkpoint.paths(self.folder):
            return ["--resume"]
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        return []

    def _wait_for_orphan(self) -> None:
        """A run whose sweep was killed has been told to stop, and saves."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                with only_writer(self.folder):
                    return
            except UserError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK_S)

    def _start_evaluation(self) -> None:
        if not self._evaluates or self._told(_EVALUATED) is not None:
            return
        episodes = str(self._objective.eval_episodes)
        self._start(["eval", "--checkpoint", str(self.folder), "--episodes", episodes, "--json"], _EVALUATED)

    def _start(self, arguments: Sequence[str], result: str) -> None:
        with (self.folder / result).open("wb") as out, (self.folder / _LOG).open("ab") as log:
            popen = subprocess.Popen(
                [*self._program, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                start_new_session=True,  # Ctrl-C is the sweep's, which then tells its runs
            )
        self._process = _Process(popen)

    def _told(self, name: str) -> dict[str, Any] | None:
        """What a command printed, where it came to its end and no signal ended it."""
        try:
            told = json.loads((self.folder / name).read_text())
        except (FileNotFoundError, ValueError):
            return None
        return told if isinstance(told, dict) and told.get("stopped_by") != "signal" else None

    def _last_words(self, code: int) -> str:
        lines = (self.folder / _LOG).read_text(errors="replace").splitlines()
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        ended = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{ended}: {last.removeprefix('robot-wm: ')[:300]}" if last else ended
