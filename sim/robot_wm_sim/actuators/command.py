"""`robot-wm robot fit-actuator`: an actuator network from a log of joints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter

from robot_wm.atomic import require_writable
from robot_wm.console import emit
from robot_wm.errors import UserError
from robot_wm_sim.actuators.network import LAGS_S


def fit_actuator(
    log: Path,
    /,
    *,
    out: Path,
    lags_s: tuple[float, ...] = LAGS_S,
    updates: Annotated[int, Parameter(validator=cyclopts.validators.Number(gt=0))] = 4000,
    seed: int = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Fit an actuator network to what joints of one kind did, for Actuator(network=ActuatorNetwork.load(OUT)).

    The result tells the root mean square error of efforts at the end of the log, which only judges, and beside it that
    of the ideal drive's equation.

    Parameters
    ----------
    log
        NumPy archive (.npz) with target, position, velocity and effort, each [T, M] (rad, rad/s, N·m, or m, m/s, N),
        and rate_hz, kp and kd of the drives, one number each.
    out
        Folder to write.
    lags_s
        How long ago the inputs are read, s; now, 0, first.
    updates
        Of the weights.
    seed
        Of the weights and batches.
    json
        Print the result as one JSON object.
    """
    try:
        from robot_wm_sim.actuators.fitting import JointLog, fit_network
    except ModuleNotFoundError as error:
        raise UserError(f"fit-actuator needs {error.name}: pip install 'robot-wm[train]'") from None
    read = JointLog.load(log)
    require_writable(out)
    network = fit_network(read, lags_s=lags_s, updates=updates, seed=seed)
    network.save(out)
    emit({"network": str(out), "samples": read.target.size, **network.settings.figures}, as_json=json, title=str(out))
