"""A Gymnasium observation space as named vectors and images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces

from robot_wm.errors import UserError
from robot_wm_sim.gym_calls import shown
from robot_wm_sim.gym_pictures import as_bytes

Path = tuple[str | int, ...]  # keys from the top of a nested Dict or Tuple
_SIZED = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


@dataclass(frozen=True)
class Leaf:
    """One leaf of an observation space: where it lies, and what it becomes."""

    name: str
    path: Path
    source: spaces.Space[Any]
    shape: tuple[int, ...]  # (O,) of a vector, (H, W, C) of an image
    origin: str  # task and name, for a refusal

    def read(self, observation: Any) -> np.ndarray:
        """This leaf of one observation: float32 (O,) or uint8 (H, W, C), a copy of a vector.

        Raises UserError for a value that is not what the space says: missing, of another shape, not a number, not
        finite as float32, pixels that are not 0..255.
        """
        for key in self.path:
            try:
                observation = observation[key]
            except Exception:  # what any mapping raises
                raise UserError(f"{self.origin}: not in the observation that the environment gave") from None
        if len(self.shape) == 3:
            return self._shaped(as_bytes(observation, origin=self.origin)).reshape(self.shape)
        if isinstance(self.source, spaces.Box):
            return self._vector(observation)
        return self._one_hot(observation)

    def space(self, shape: tuple[int, ...]) -> spaces.Box:
        """The Box that `read` gives values of; ``shape`` is the image's after resizing."""
        if len(shape) == 3:
            return spaces.Box(0, 255, shape, np.uint8)
        flat = spaces.flatten_space(self.source)
        assert isinstance(flat, spaces.Box)
        with np.errstate(over="ignore"):  # float64 bounds beyond float32 become infinite, which is what they mean
            return spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)

    def _vector(self, value: Any) -> np.ndarray:
        try:
            with np.errstate(over="ignore"):
                numbers = np.array(value, np.float32)
        except Exception:  # what its own conversion raises; a whole number beyond float
            raise UserError(f"{self.origin}: {_told(value)}, not numbers") from None
        flat = self._shaped(numbers).reshape(-1)
        if not np.isfinite(flat).all():
            at = int(np.argmin(np.isfinite(flat)))
            raw = np.asarray(value).reshape(-1)[at]
            raise UserError(f"{self.origin}: element {at} is {raw:g}; it must be finite, and within float32")
        return flat

    def _one_hot(self, value: Any) -> np.ndarray:
        try:
            exact = np.asarray(value)
            whole = exact.astype(self.source.dtype)
            sound = exact.dtype.kind in "biuf" and np.array_equal(whole, exact)
            if isinstance(self.source, spaces.Discrete):  # an array of one is as good
                whole = self._shaped(whole).reshape(())[()]
        except Exception:  # what its own conversion raises
            sound = False
        if not (sound and self.source.contains(whole)):
            raise UserError(f"{self.origin}: {_told(value)}, which is not in its space {self.source}")
        return np.asarray(spaces.flatten(self.source, whole), np.float32)

    def _shaped(self, array: np.ndarray) -> np.ndarray:
        """The array, if it has the space's shape; axes of length 1 may be more or fewer."""
        asked = self.source.shape or ()
        if array.shape != asked and [n for n in array.shape if n != 1] != [n for n in asked if n != 1]:
            raise UserError(f"{self.origin}: shape {array.shape}, but its space says {asked}")
        return array


def leaves(task: str, space: spaces.Space[Any], wanted: Sequence[str] | None = None) -> list[Leaf]:
    """The leaves of an observation space in its own order; those named in ``wanted`` only, if given.

    A uint8 Box of two or three axes is an image; any other Box is a vector, a scalar one of length 1. Leaves without
    an element are left out. Raises UserError for a space without a fixed size, an image that is not (H, W, C), two
    leaves of one name and a wanted name that there is not.
    """
    walked = [(path, part, _name(path, part)) for path, part in _walk((), space)]
    names = [name for *_, name in walked]
    for name in wanted or ():
        if name not in names:
            raise UserError(f"task {task}: option fields: no observation {name!r}; there are: {', '.join(names)}")
    chosen = [item for item in walked if wanted is None or item[2] in wanted]
    for path, _, name in chosen:
        same = [_key(other) for other, _, others in chosen if others == name and other != path]
        if same:
            told = " and ".join([_key(path), *same])
            raise UserError(f"task {task}: two observation fields get the same name {name}: {told}")
    found = [leaf for path, part, name in chosen if (leaf := _leaf(task, path, part, name)) is not None]
    if not found:
        raise UserError(f"task {task}: its observation space {space} has no element to learn from")
    return found


def _walk(path: Path, space: spaces.Space[Any]) -> list[tuple[Path, spaces.Space[Any]]]:
    if isinstance(space, spaces.Dict):
        return [item for key, part in space.spaces.items() for item in _walk((*path, key), part)]
    if isinstance(space, spaces.Tuple):
        return [item for index, part in enumerate(space.spaces) for item in _walk((*path, index), part)]
    return [(path, space)]


def _name(path: Path, space: spaces.Space[Any]) -> str:
    """An identifier of ASCII letters: a key such as "walker/joints_pos", 0 or "угол" is none."""
    spelt = "".join(
        f"u{ord(char):04x}" if char.isalnum() and not char.isascii() else char for char in "_".join(map(str, path))
    )
    name = re.sub(r"[^A-Za-z0-9_]+", "_", spelt) or ("image" if _is_image(space) else "observation")
    return name if name[0].isalpha() else f"field_{name.lstrip('_')}"


def _leaf(task: str, path: Path, space: spaces.Space[Any], name: str) -> Leaf | None:
    origin = f"task {task}: observation {name}" + (f" ({_key(path)})" if path and _key(path) != name else "")
    if not isinstance(space, _SIZED):
        raise UserError(
            f"{origin} of space {str(space)[:60]} has no fixed size; name the others: --task-options.fields NAME,NAME"
        )
    if spaces.flatdim(space) == 0:
        return None
    if not _is_image(space):
        return Leaf(name, path, space, (spaces.flatdim(space),), origin)
    assert space.shape is not None
    shape = space.shape if len(space.shape) == 3 else (*space.shape, 1)
    if shape[2] > shape[0]:
        raise UserError(f"{origin}: an image of shape {shape}; images are (height, width, channels)")
    return Leaf(name, path, space, tuple(map(int, shape)), origin)


def _is_image(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def _key(path: Path) -> str:
    return "/".join(map(str, path))


def _told(value: Any) -> str:
    return f"a {type(value).__name__}, {shown(value)}"
