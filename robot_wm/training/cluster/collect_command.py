"""`robot-wm collect`: a robot's recordings go into a run that is being trained, and its bundles come to the robot."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.options import Positive


def collect(
    *,
    ray_address: str,
    robot: str,
    recordings: Path,
    run: str | None = None,
    bundles: Path | None = None,
    public_key: Path | None = None,
    every_s: Annotated[float, Positive] = 5.0,
    once: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Send a robot's recordings to the run that learns from them, on the robot's workstation, until Ctrl-C.

    The run is one with --ray-address, on the same Ray cluster: this machine joins it by `ray start --address HOST:PORT
    --num-cpus 0`. Its network must be trusted: whoever reaches a cluster runs what he likes on it.

    Parameters
    ----------
    ray_address
        HOST:PORT of the cluster, or auto for the one that this machine is part of.
    robot
        What the run calls this robot.
    recordings
        Folder that the robot's node writes its recordings to; each goes once it has ended, and stays.
    run
        Name of the run's folder, where more than one is trained on the cluster.
    bundles
        Install the bundles that the run publishes here, as `robot-wm bundle install --root` does; --public-key says
        whose.
    public_key
        PEM public key that a bundle must be signed by.
    every_s
        Seconds between two looks.
    once
        Send what is there, and end; exit code 2 where the run has refused anything.
    json
        Print the result as one JSON object.
    """
    from robot_wm.training.cluster.connection import joined
    from robot_wm.training.cluster.courier import Courier
    from robot_wm.training.cluster.ingest import find

    if not recordings.is_dir():
        raise UserError(f"--recordings {recordings}: no such folder")
    if bundles is not None and public_key is None:
        raise UserError("--bundles needs --public-key: only a signature tells whose bundle it is")
    told = messages()
    courier = Courier(robot, recordings, bundles, public_key, lambda line: told.print(line, soft_wrap=True))
    with joined(ray_address) as ray:
        heard = True
        while True:
            try:
                ingest = find(ray, run)
                courier.greet(ray, ingest)
                courier.round(ray, ingest)
                heard = True
            except (ray.exceptions.RayError, UserError) as error:
                if once:
                    raise error if isinstance(error, UserError) else UserError(_first_line(error)) from None
                if heard:
                    told.print(f"{_first_line(error)}; trying again every {every_s:g} s", style="yellow")
                heard = False
            if once:
                break
            time.sleep(every_s)
    emit({"robot": robot, **asdict(courier.tally)}, as_json=json, title="collect")
    if courier.tally.refused:
        raise UserError(f"{courier.tally.refused} refused, as told above")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
