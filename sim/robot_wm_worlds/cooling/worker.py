"""The process that EnergyPlus runs in: ``python -m robot_wm_worlds.cooling.worker FD``.

EnergyPlus calls back and cannot be stepped, keeps its state in the process and may end it. So its loop has a process to
itself and is asked through a socket, whose file descriptor is FD. Messages, no pickle among them:

    to the worker    JSON: folder, model, weather, drying (values of SCHEDULES [8]); then float64 values of them, again
                     for every timestep
    from it          ``r`` and a reading [V] float64, once a timestep; ``f`` and a line of text when it cannot go on
"""

from __future__ import annotations

import json
import os
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from robot_wm_worlds.cooling.plant import DRYING_TIMESTEPS, SCHEDULES, VARIABLES

READING, FAILED = b"r", b"f"


def main(descriptor: int) -> None:
    """Run one simulation; ends with it, or when the other side is gone."""
    pipe = Connection(descriptor)
    try:
        run = json.loads(pipe.recv_bytes())
        values = np.frombuffer(pipe.recv_bytes())
        _to_log(Path(run["folder"]) / "stdout.log")
        code = _simulate(pipe, run, values)
        if code:
            pipe.send_bytes(FAILED + f"it ended with code {code}".encode())
    except (EOFError, OSError):
        pass  # nobody asks any more
    except Exception as error:
        pipe.send_bytes(FAILED + f"{type(error).__name__}: {error}".encode())


def _to_log(path: Path) -> None:
    """Send what EnergyPlus prints to a file."""
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(target, 1)
    os.dup2(target, 2)


def _simulate(pipe: Connection, run: dict[str, Any], values: Any) -> int:
    """EnergyPlus's whole run; its exit code."""
    from pyenergyplus.api import EnergyPlusAPI

    api = EnergyPlusAPI()
    state = api.state_manager.new_state()
    exchange = api.exchange
    for variable in VARIABLES:
        exchange.request_variable(state, *variable)
    read: list[int] = []
    write: list[int] = []
    given = values.tolist()
    dried = 0  # timesteps
    is_over = False  # nobody asks any more, or the model is not what plant.py says
    missing: list[Any] = []

    def begin(state: Any) -> None:
        """Write the values before each timestep, those of warm-up too: it settles at what the episode begins with."""
        nonlocal is_over, dried
        if not is_over and exchange.api_data_fully_ready(state):
            if not write:
                read.extend(exchange.get_variable_handle(state, *variable) for variable in VARIABLES)
                write.extend(
                    exchange.get_actuator_handle(state, "Schedule:Constant", "Schedule Value", name)
                    for name in SCHEDULES
                )
                named = zip((*VARIABLES, *SCHEDULES), (*read, *write), strict=True)
                missing.extend(name for name, handle in named if handle < 0)
                if missing:
                    is_over = True
                    api.runtime.stop_simulation(state)
                    return
            is_drying = exchange.warmup_flag(state) and dried < DRYING_TIMESTEPS
            dried += is_drying
            told = run["drying"] if is_drying else given
            for handle, value in zip(write, told, strict=True):
                exchange.set_actuator_value(state, handle, value)

    def end(state: Any) -> None:
        nonlocal is_over
        if is_over or not read or exchange.warmup_flag(state):
            return
        reading = np.array([exchange.get_variable_value(state, handle) for handle in read])
        try:
            pipe.send_bytes(READING + reading.tobytes())
            given[:] = np.frombuffer(pipe.recv_bytes()).tolist()
        except (EOFError, OSError):
            is_over = True
            api.runtime.stop_simulation(state)

    api.runtime.callback_begin_zone_timestep_before_set_current_weather(state, begin)
    api.runtime.callback_end_zone_timestep_after_zone_reporting(state, end)
    api.runtime.set_console_output_status(state, False)
    code = int(api.runtime.run_energyplus(state, ["-d", run["folder"], "-w", run["weather"], run["model"]]))
    if missing:
        raise LookupError(f"data_hall.idf has no {missing[0]}")
    return code


if __name__ == "__main__":
    main(int(sys.argv[1]))
