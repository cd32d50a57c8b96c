"""EnergyPlus from outside: a process for every run, and one clear line when it dies, hangs or diverges."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date, timedelta
from importlib.resources import files
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm_worlds.cooling.plant import HALL_RANGE_C, TIMESTEP_MIN, VARIABLES, Reading, drying
from robot_wm_worlds.cooling.weather import weather_file
from robot_wm_worlds.cooling.worker import FAILED, READING

WORKER = (sys.executable, "-m", "robot_wm_worlds.cooling.worker")
PATIENCE_S = 120.0  # for one timestep; the first, with its warm-up, takes 1 s on an idle core
_YEAR = 2017  # begins on a Sunday and has 365 days, as the weather files have


class Engine:
    """One run of the plant at a time: ``start``, then ``advance`` timestep by timestep.

    Every method raises UserError where EnergyPlus has died, keeps silent for ``patience_s`` or has diverged; the
    process is gone then.
    """

    def __init__(
        self, worker: Sequence[str] = WORKER, patience_s: float = PATIENCE_S, weather: Path | None = None
    ) -> None:
        """``weather`` is an EPW file in place of every city's."""
        self._worker, self._patience_s, self._weather = worker, patience_s, weather
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def start(self, city: str, *, first_day: int, days: int, values: NDArray[np.float64]) -> Reading:
        """Begin at midnight of a day (0 is 1 January) and take the first timestep; ``values`` [8] are of SCHEDULES."""
        self.close()
        weather = self._weather or weather_file(city)
        self._folder = tempfile.TemporaryDirectory(prefix="robot_wm_cooling_")
        model = Path(self._folder.name) / "data_hall.idf"
        model.write_text(model_text(first_day, days))
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self._process = subprocess.Popen(
                [*self._worker, str(theirs.fileno())], pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
            )
            self._pipe = Connection(ours.detach())
        run = {
            "folder": self._folder.name,
            "model": str(model),
            "weather": str(weather),
            "drying": drying(values).tolist(),
        }
        self._send(json.dumps(run).encode())
        return self.advance(values)

    def advance(self, values: NDArray[np.float64]) -> Reading:
        """Write ``values`` [8] of SCHEDULES, take a timestep, and return what it brought."""
        self._send(np.asarray(values, np.float64).tobytes())
        assert self._pipe is not None
        try:
            if not self._pipe.poll(self._patience_s):
                raise self._failure(f"it has been silent for {self._patience_s:g} s")
            message = self._pipe.recv_bytes()
        except (EOFError, OSError):
            raise self._failure(self._last_words()) from None
        if message[:1] == FAILED:
            raise self._failure(f"{message[1:].decode()}{self._reason()}")
        if message[:1] != READING or len(message) != 1 + 8 * len(VARIABLES):
            raise self._failure("what it answers is no reading")
        reading = np.frombuffer(message[1:])
        if not np.isfinite(reading).all():
            name, key = VARIABLES[int(np.flatnonzero(~np.isfinite(reading))[0])]
            raise self._failure(f"it has diverged: {name} of {key} is no number")
        found, (low, high) = Reading(reading), HALL_RANGE_C
        if not ((found.hall_c > low) & (found.hall_c < high)).all():
            raise self._failure(f"it has diverged: the halls are at {found.hall_c.round(1).tolist()} °C")
        return found

    def close(self) -> None:
        """End the process and remove its folder."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()
        self._pipe = self._process = self._folder = None

    def _send(self, message: bytes) -> None:
        if self._pipe is None:
            raise UserError("EnergyPlus: no run has been started, or it has failed; reset the environment")
        try:
            self._pipe.send_bytes(message)
        except OSError:
            raise self._failure(self._last_words()) from None

    def _last_words(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return "it has closed its side and still runs"
        how = f"signal {-code}" if code < 0 else f"code {code}"
        return f"its process ended with {how}{self._reason()}"

    def _reason(self) -> str:
        """The last thing that EnergyPlus found severe, from its own log."""
        assert self._folder is not None
        log = Path(self._folder.name) / "eplusout.err"
        lines = log.read_text(errors="replace").splitlines() if log.exists() else []
        told = [line for line in lines if "** Severe" in line or "**  Fatal" in line]
        return f": {told[-1].split('**')[-1].strip()}" if told else ""

    def _failure(self, what: str) -> UserError:
        self.close()
        return UserError(f"EnergyPlus: {what}")


def model_text(first_day: int, days: int) -> str:
    """The model with its run period: ``days`` days from ``first_day`` on (0 is 1 January), within one year."""
    begin = date(_YEAR, 1, 1) + timedelta(first_day)
    end = begin + timedelta(days - 1)
    if end.year != _YEAR or days < 1:
        raise UserError(f"{days} days from day {first_day} on are not within a year of 365")
    period = f"{begin.month}, {begin.day}, {_YEAR}, {end.month}, {end.day}, {_YEAR}"
    head = f"Version, 25.2;\nTimestep, {60 // TIMESTEP_MIN};\nRunPeriod, Run, {period}, , No, No, No, Yes, Yes;\n"
    return head + files("robot_wm_worlds.cooling").joinpath("data_hall.idf").read_text()
