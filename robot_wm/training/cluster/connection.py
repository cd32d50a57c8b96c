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
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from robot_wm.errors import UserError

NAMESPACE = "robot_wm"
_FLAG = "--ray-address"
_ANSWER_S = 5.0  # within a trusted network
_LOCAL, _AUTO = "local", "auto"
_OBJECTS_BYTES = 256 * 2**20  # of a cluster that is started here: weights, and steps under way
_OFF = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


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
            ray.init(
                _LOCAL, num_cpus=cpus, num_gpus=0, object_store_memory=_OBJECTS_BYTES, include_dashboard=False, **quiet
            )
        else:
            where = _running() if address == _AUTO else address
            _require_answer(where)
            ray.init(where, **quiet)
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
    settings = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)} if address == _LOCAL else {}
    for name, value in (settings | _OFF).items():
        os.environ.setdefault(name, value)


def _running() -> str:
    """Address of the cluster that this machine is part of."""
    from ray._private.services import canonicalize_bootstrap_address_or_die

    return str(canonicalize_bootstrap_address_or_die(_AUTO))


def _require_answer(address: str) -> None:
    """Ask before Ray does, which tries for a minute and prints pages."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not (colon and host and port.isdecimal()):
        raise UserError(f"{_FLAG} {address}: neither HOST:PORT nor {_AUTO} nor {_LOCAL}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"{_FLAG} {address}: nobody answers within {_ANSWER_S:g} s: {error}") from None
