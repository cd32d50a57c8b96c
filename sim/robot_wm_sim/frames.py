"""Rotations by unit quaternions (x, y, z, w), in scalar arithmetic: for three numbers it beats array calls by far.

Results are tuples of floats; NumPy takes them wherever it takes an array.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = Sequence[float] | NDArray[np.float64]
Vector = tuple[float, float, float]


def rotate(quaternion: Floats, vector: Floats) -> Vector:
    """Turn a vector [3] given in the rotated frame into the outer frame."""
    return turned(*map(float, quaternion), *map(float, vector))


def turned(x: float, y: float, z: float, w: float, a: float, b: float, c: float) -> Vector:
    """The vector a, b, c, turned as `rotate` does by x, y, z, w: for who has floats, at half its price."""
    # v + 2w(u×v) + 2u×(u×v)
    s, t, r = 2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)
    return a + w * s + y * r - z * t, b + w * t + z * s - x * r, c + w * r + x * t - y * s


def rotate_inverse(quaternion: Floats, vector: Floats) -> Vector:
    """Turn a vector [3] given in the outer frame into the rotated frame."""
    x, y, z, w = map(float, quaternion)
    return turned(-x, -y, -z, w, *map(float, vector))


def axes(quaternion: Floats) -> tuple[Vector, Vector, Vector]:
    """The x, y and z axis of the rotated frame in the outer frame; a vector's products with them turn it inwards."""
    return axes_of(*map(float, quaternion))


def axes_of(x: float, y: float, z: float, w: float) -> tuple[Vector, Vector, Vector]:
    """`axes` for who has floats."""
    return (
        (1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)),
        (2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)),
        (2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)),
    )


def conjugate(quaternion: Floats) -> tuple[float, float, float, float]:
    """The opposite rotation."""
    x, y, z, w = map(float, quaternion)
    return -x, -y, -z, w


def multiply(left: Floats, right: Floats) -> tuple[float, float, float, float]:
    """The rotation ``right`` followed, in the outer frame, by ``left``."""
    x, y, z, w = map(float, left)
    a, b, c, d = map(float, right)
    return (
        w * a + x * d + y * c - z * b,
        w * b - x * c + y * d + z * a,
        w * c + x * b - y * a + z * d,
        w * d - x * a - y * b - z * c,
    )


def from_yaw(yaw: float) -> tuple[float, float, float, float]:
    """Rotation about the vertical axis, rad."""
    return 0.0, 0.0, float(np.sin(yaw / 2)), float(np.cos(yaw / 2))
