"""Fits an actuator network to what joints did: needs torch (extra train), which nothing else of actuators does."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm_sim.actuators.network import LAGS_S, ActuatorNetwork, Settings, require_lags
from robot_wm_sim.sensing.delay import delay_steps

HELD_OUT = 0.2  # share of a log, its end, that only judges
BATCH = 1024
Float64 = NDArray[np.float64]
_ARRAYS = ("target", "position", "velocity", "effort")


@dataclass(frozen=True, kw_only=True)
class JointLog:
    """What joints of one kind did under position control with steady gains, sampled evenly. Arrays [T, M], SI."""

    rate_hz: float
    kp: float  # N·m/rad or N/m
    kd: float  # N·m·s/rad or N·s/m
    target: Float64  # rad or m, the set-point that the drive was told last
    position: Float64  # rad or m
    velocity: Float64  # rad/s or m/s
    effort: Float64  # N·m or N, given at the moment of that position

    def __post_init__(self) -> None:
        """Raise UserError for numbers that cannot be and for arrays that do not go together."""
        for name, least in (("rate_hz", 1e-6), ("kp", 1e-9), ("kd", 0.0)):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= least):
                raise UserError(f"joint log: {name} is {value!r}, but must be finite and at least {least:g}")
        for name in _ARRAYS:
            array = getattr(self, name)
            if array.ndim != 2 or array.shape != self.target.shape:
                raise UserError(
                    f"joint log: {name} is {array.shape}, but must be [T, M] as target, {self.target.shape}"
                )
            if not np.isfinite(array).all():
                raise UserError(f"joint log: {name} has numbers that are not finite")

    @classmethod
    def load(cls, path: Path) -> JointLog:
        """From a NumPy archive (.npz) with an array for each field. Raises UserError for what it lacks."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                rate_hz, kp, kd = (float(archive[name]) for name in ("rate_hz", "kp", "kd"))
                target, position, velocity, effort = (archive[name].astype(np.float64) for name in _ARRAYS)
            return cls(
                rate_hz=rate_hz, kp=kp, kd=kd, target=target, position=position, velocity=velocity, effort=effort
            )
        except KeyError as error:
            raise UserError(f"{path}: {error.args[0]}") from None
        except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(f"{path}: is no archive of arrays: {error}") from None
        except UserError as error:
            raise UserError(f"{path}: {error}") from None


def fit_network(
    log: JointLog,
    *,
    lags_s: Sequence[float] = LAGS_S,
    hidden: Sequence[int] = (32, 32, 32),
    updates: int = 4000,
    learning_rate: float = 3e-3,
    seed: int = 0,
) -> ActuatorNetwork:
    """The network that tells the log's efforts best, in the mean square; lags and widths as Hwangbo et al. 2019.

    Its figures are of the end of the log, which it was not fitted to: ``rms`` error, N·m or N, ``rms_ideal`` that of
    the drive's equation, ``rms_effort`` of the efforts. A seed fixes the result on one machine. Raises UserError for a
    log that is too short.
    """
    require_lags(lags_s)
    late = [delay_steps(lag, log.rate_hz) for lag in lags_s]
    inputs, efforts = _samples(log, late)  # [T', M, 2L], [T', M]
    count = round(len(efforts) * (1.0 - HELD_OUT))
    if count < 1 or count == len(efforts):
        raise UserError(f"joint log: has {len(log.target)} samples, which are too few for lags of {late[-1]}")
    seen, wanted = inputs[:count].reshape(-1, inputs.shape[-1]), efforts[:count].reshape(-1)
    scale = seen.std(axis=0) + 1e-9  # [2L]
    strength = wanted.std() + 1e-9
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _mlp([len(scale), *hidden, 1])
        x = torch.from_numpy(seen / scale).float()
        y = torch.from_numpy(wanted / strength).float()
        optimizer = torch.optim.Adam(net.parameters(), lr=learning_rate)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
        for _ in range(updates):
            rows = torch.randint(len(x), (min(BATCH, len(x)),))
            loss = torch.nn.functional.mse_loss(net(x[rows])[:, 0], y[rows])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
    layers = [
        (layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy())
        for layer in net
        if isinstance(layer, torch.nn.Linear)
    ]
    layers[0] = layers[0][0] / scale, layers[0][1]  # so that whoever runs it knows of no scales
    layers[-1] = layers[-1][0] * strength, layers[-1][1] * strength
    settings = Settings(lags_s=tuple(lags_s), kp=log.kp, layers=len(layers))
    network = ActuatorNetwork(settings, tuple(layers))
    return ActuatorNetwork(
        settings.model_copy(update={"figures": _figures(network, log, inputs[count:], efforts[count:])}), network.layers
    )


def _samples(log: JointLog, late: list[int]) -> tuple[Float64, Float64]:
    """Inputs [T', M, 2L] and efforts [T', M] of all samples that have so much before them."""
    first, total = late[-1], len(log.target)
    error = log.target - log.position  # [T, M]
    columns = [array[first - lag : total - lag] for array in (error, log.velocity) for lag in late]
    return np.stack(columns, axis=-1), log.effort[first:]


def _figures(network: ActuatorNetwork, log: JointLog, inputs: Float64, efforts: Float64) -> dict[str, float]:
    lags = inputs.shape[-1] // 2
    flat = inputs.reshape(-1, 2 * lags).T  # [2L, K]
    true = efforts.reshape(-1)
    ideal = log.kp * flat[0] - log.kd * flat[lags]
    errors = {"rms": network.effort(flat[:lags], flat[lags:]) - true, "rms_ideal": ideal - true, "rms_effort": true}
    return {name: float(np.sqrt(np.mean(error**2))) for name, error in errors.items()}


def _mlp(sizes: list[int]) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.Softsign()]
    return torch.nn.Sequential(*layers[:-1])
