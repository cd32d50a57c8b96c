"""A Gymnasium observation space as named vectors and images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from PIL import Image

from robot_wm.errors import UserError

_RESIZABLE_CHANNELS = (1, 3, 4)  # what Pillow knows: grey, RGB, RGBA


@dataclass(frozen=True)
class Leaf:
    """One leaf of an observation space: where it lies, and what it becomes."""

    name: str
    path: tuple[str | int, ...]  # keys from the top of a nested Dict or Tuple
    source: spaces.Space[Any]
    shape: tuple[int, ...]  # (O,) of a vector, (H, W, C) of an image

    def read(self, observation: Any) -> np.ndarray:
        """This leaf of one observation: float32 (O,) or uint8 (H, W, C)."""
        for key in self.path:
            observation = observation[key]
        if len(self.shape) == 3:
            return np.asarray(observation, np.uint8).reshape(self.shape)
        if isinstance(self.source, spaces.Box):
            return np.asarray(observation, np.float32).reshape(self.shape)
        return np.asarray(spaces.flatten(self.source, observation), np.float32)

    def space(self, shape: tuple[int, ...]) -> spaces.Box:
        """The Box that `read` gives values of; ``shape`` is the image's after resizing."""
        if len(shape) == 3:
            return spaces.Box(0, 255, shape, np.uint8)
        flat = spaces.flatten_space(self.source)
        assert isinstance(flat, spaces.Box)
        with np.errstate(over="ignore"):  # float64 bounds beyond float32 become infinite, which is what they mean
            return spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)


def leaves(task: str, space: spaces.Space[Any]) -> list[Leaf]:
    """The leaves of an observation space in its own order.

    A uint8 Box of two or three axes is an image; any other Box is a vector, a scalar one of length 1. Raises
    UserError for a space without a fixed size, an image that is not (H, W, C), and two leaves of one name.
    """
    found = [_leaf(task, path, part) for path, part in _walk((), space)]
    names = [leaf.name for leaf in found]
    if len(set(names)) != len(names):
        raise UserError(f"task {task}: two observation fields get the same name: {sorted(names)}")
    return found


def resized_shape(task: str, shape: tuple[int, ...], size: int | None) -> tuple[int, ...]:
    """Shape of a field when images are resized to ``size`` × ``size`` pixels; vectors and None leave it as it is."""
    if len(shape) != 3 or size is None or shape[:2] == (size, size):
        return shape
    if shape[2] not in _RESIZABLE_CHANNELS:
        raise UserError(f"task {task}: an image of {shape[2]} channels cannot be resized to {size} pixels")
    return (size, size, shape[2])


def resize(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image (H, W, C) uint8 averaged over areas down to ``shape``; whatever has that shape already is returned."""
    if value.shape == shape:
        return value
    flat = value[:, :, 0] if value.shape[2] == 1 else value
    small = Image.fromarray(flat).resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(small, np.uint8).reshape(shape)


def _walk(
    path: tuple[str | int, ...], space: spaces.Space[Any]
) -> list[tuple[tuple[str | int, ...], spaces.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        return [item for key, part in space.spaces.items() for item in _walk((*path, key), part)]
    if isinstance(space, spaces.Tuple):
        return [item for index, part in enumerate(space.spaces) for item in _walk((*path, index), part)]
    return [(path, space)]


def _leaf(task: str, path: tuple[str | int, ...], space: spaces.Space[Any]) -> Leaf:
    image = isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)
    # a key such as "walker/joints_pos" or 0 is no identifier
    name = re.sub(r"[^A-Za-z0-9_]+", "_", "_".join(map(str, path))) or ("image" if image else "observation")
    name = name if name[0].isascii() and name[0].isalpha() else f"field_{name.lstrip('_')}"
    if image:
        assert space.shape is not None
        shape = space.shape if len(space.shape) == 3 else (*space.shape, 1)
        if shape[2] > shape[0]:
            raise UserError(f"task {task}: image {name} has shape {shape}; images are (height, width, channels)")
        return Leaf(name, path, space, tuple(map(int, shape)))
    if not isinstance(space, (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        raise UserError(f"task {task}: observation {name} of space {space} has no fixed size")
    return Leaf(name, path, space, (spaces.flatdim(space),))
