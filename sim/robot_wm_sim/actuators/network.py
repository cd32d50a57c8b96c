"""An actuator network: a small MLP from what a joint did of late to its effort, in plain NumPy.

After Hwangbo et al. 2019 (Learning agile and dynamic motor skills for legged robots, Science Robotics 4): inputs are
the errors of position and the velocities now and at some moments before, hidden layers are softsign, x / (1 + |x|), and
one network serves every joint of a kind. `fitting` fits one to recordings.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from robot_wm.atomic import atomic_directory
from robot_wm.errors import UserError

VERSION = 1
MOST_LAG_S = 1.0
LAGS_S = (0.0, 0.01, 0.02)  # unless told otherwise
_SETTINGS, _LAYERS = "network.json", "network.safetensors"
Float64 = NDArray[np.float64]


class Settings(BaseModel):
    """What is said of a network beside its weights: ``network.json``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(default=VERSION, ge=VERSION, le=VERSION)
    # How long ago each pair of inputs was read, s: now first. Whole physics steps of who runs it, rounded.
    lags_s: tuple[FiniteFloat, ...] = Field(min_length=1)
    kp: FiniteFloat = Field(gt=0.0)  # N·m/rad or N/m, of the drives that it was fitted to
    layers: int = Field(ge=1, le=16)
    figures: dict[str, FiniteFloat] = Field(default_factory=dict)  # of the fit, N·m or N


@dataclass(frozen=True, eq=False)
class ActuatorNetwork:
    """Stands for the position loop of a drive: what it gives on top of the effort that it is told.

    A drive that is told another kp than ``settings.kp`` gives so many times as much, so that a weaker or stronger motor
    is a scaled Drive here, too; one that holds no position (kp 0: it brakes, or is told efforts) follows its equation.
    """

    settings: Settings
    # Of each layer, the last with one output: weights [out, in] and biases [out]. Inputs: errors of position
    # (set-point less joint, rad or m) at each lag, then velocities (rad/s or m/s); output N·m or N.
    layers: tuple[tuple[Float64, Float64], ...]

    def __post_init__(self) -> None:
        """Raise UserError for lags that are none, and for layers that do not fit each other."""
        require_lags(self.settings.lags_s)
        size = 2 * len(self.settings.lags_s)
        for number, (weight, bias) in enumerate(self.layers):
            if weight.ndim != 2 or weight.shape[1] != size or bias.shape != weight.shape[:1]:
                raise UserError(
                    f"actuator network: layer {number} has weights {weight.shape} and biases {bias.shape}, "
                    f"but gets {size} inputs"
                )
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise UserError(f"actuator network: layer {number} has weights that are not finite")
            size = len(bias)
        if size != 1 or len(self.layers) != self.settings.layers:
            raise UserError(f"actuator network: {len(self.layers)} layers give {size} numbers, but must give an effort")

    def effort(self, errors: Float64, velocities: Float64) -> Float64:
        """Efforts [K] of K joints, from errors of position and velocities at each lag, [L, K] each."""
        hidden = np.concatenate([errors, velocities])  # [2L, K]
        *inner, (weight, bias) = self.layers
        for inner_weight, inner_bias in inner:
            hidden = inner_weight @ hidden + inner_bias[:, None]  # [hidden, K]
            hidden /= 1.0 + np.abs(hidden)
        efforts: Float64 = (weight @ hidden)[0] + bias[0]
        return efforts

    def save(self, folder: Path) -> None:
        """Write it as ``network.json`` and ``network.safetensors``, in place of what is there."""
        from safetensors.numpy import save_file

        arrays = {f"{number}.{part}": array for number, layer in enumerate(self.layers)
                  for part, array in zip(("weight", "bias"), layer, strict=True)}  # fmt: skip
        with atomic_directory(folder) as temporary:
            (temporary / _SETTINGS).write_text(self.settings.model_dump_json(indent=2) + "\n")
            save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, temporary / _LAYERS)

    @classmethod
    def load(cls, folder: Path) -> ActuatorNetwork:
        """A saved one. Raises UserError for what is not there or cannot be."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            settings = Settings.model_validate(_parsed(folder / _SETTINGS))
        except ValidationError as error:
            raise UserError.from_validation(error, origin=str(folder / _SETTINGS)) from None
        path = folder / _LAYERS
        try:
            arrays = load_file(path)
            numbers = range(settings.layers)
            layers = tuple((_float64(arrays.pop(f"{n}.weight")), _float64(arrays.pop(f"{n}.bias"))) for n in numbers)
        except (SafetensorError, OSError) as error:
            raise UserError(f"{path}: cannot be read: {error}") from None
        except KeyError as error:
            raise UserError(f"{path}: has no tensor {error}, which {_SETTINGS} tells of") from None
        if arrays:
            raise UserError(f"{path}: has tensors that {_SETTINGS} does not tell of: {', '.join(sorted(arrays))}")
        try:
            return cls(settings, layers)
        except UserError as error:
            raise UserError(f"{folder}: {error}") from None


def require_lags(lags_s: Sequence[float]) -> None:
    """Raise UserError for lags, s, that are none."""
    rising = all(before < after for before, after in pairwise((*lags_s, math.inf)))
    if not (rising and lags_s and lags_s[0] == 0.0 and lags_s[-1] <= MOST_LAG_S):
        raise UserError(f"actuator network: lags_s is {lags_s}, s, but must rise from 0 to at most {MOST_LAG_S:g}")


def _float64(array: NDArray[Any]) -> Float64:
    return array.astype(np.float64)


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:  # of bytes that are no text, too
        raise UserError(f"{path}: cannot be read: {error}") from None
