"""Joining a Ray cluster, or starting one on this machine; bounded in time, and told in one line where it fails.

Ray runs what whoever reaches its ports sends it, and its processes listen on every interface of a machine. So one that
is started here takes orders only with a token that this process makes and keeps; one that is joined is as safe as its
network and the token that its owner gave it (``RAY_AUTH_MODE=token``).
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from robot_wm.errors import UserError

NAMESPACE = "robot_wm"
_FLAG = "--ray-address"
_ANSWER_S = 5.0  # within a trusted network
_HEALTH_S = 60.0  # of which the start of a Python takes the most, on a busy machine nearly all
_LOCAL, _AUTO = "local", "auto"
_OBJECTS_BYTES = 256 * 2**20  # of a cluster that is started here: weights, and steps under way
_EVERYWHERE = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_OWN = {"RAY_worker_niceness": "0"}  # of a cluster that is started here: Ray's own 15 starves actors on a busy machine


def require_ray() -> Any:
    """The module; UserError where it is not installed."""
    try:
        import ray
    except ImportError:
        raise UserError(f"{_FLAG}: Ray is not installed; pip install 'robot-wm[cluster]'") from None
    return ray


@contextmanager
def joined(address: str, *, cpus: int = 0) -> Iterator[Any]:
    """Ray, connected to the cluster at ``address``; what this process has joined already is used and stays.

    ``local`` starts one with ``cpus`` to give away. Raises UserError within seconds where nobody answers.
    """
    _settle_before_import(address)
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    quiet = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address == _LOCAL:
            size = {"num_cpus": cpus, "num_gpus": 0, "object_store_memory": _OBJECTS_BYTES}
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="lance is not fork-safe")  # what is forked becomes Ray's
                ray.init(_LOCAL, include_dashboard=False, **size, **quiet)
        else:
            require_answer(address)
            ray.init(address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        ray.shutdown()
        raise UserError(f"{_FLAG} {address}: {error}") from None
    try:
        yield ray
    finally:
        ray.shutdown()


def _settle_before_import(address: str) -> None:
    """What Ray reads of the environment, once, and hands to the processes that it starts."""
    if "ray" in sys.modules:
        return
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), **_OWN} if address == _LOCAL else {}
    for name, value in (own | _EVERYWHERE).items():
        os.environ.setdefault(name, value)


def require_answer(address: str) -> None:
    """Raise UserError where no cluster is at ``address``: HOST:PORT, or auto for the one that runs on this machine.

    Asked before this process joins it: Ray tries for long, and its own code prints a page to standard error meanwhile.
    """
    host, colon, port = address.rpartition(":")
    if address != _AUTO:
        if "://" in address or not (colon and host and port.isdecimal()):
            raise UserError(f"{_FLAG} {address}: neither HOST:PORT nor {_AUTO} nor {_LOCAL}")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
        except (OSError, OverflowError) as error:
            raise UserError(f"{_FLAG} {address}: nobody answers within {_ANSWER_S:g} s: {error}") from None
    command = [sys.executable, "-m", "ray.scripts.scripts", "health-check", "--address", address]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=_HEALTH_S, check=False)
    except subprocess.TimeoutExpired:
        raise UserError(f"{_FLAG} {address}: what answers there is no Ray cluster, or takes other tokens") from None
    if asked.returncode:
        told = asked.stderr.strip().splitlines() or ["no cluster of Ray's"]
        raise UserError(f"{_FLAG} {address}: {told[-1]}")
