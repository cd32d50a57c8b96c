"""Pictures that an environment gives: as an observation, or by its ``render``."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from robot_wm.errors import UserError

_RESIZABLE_CHANNELS = (1, 3, 4)  # what Pillow knows: grey, RGB, RGBA


def as_bytes(value: Any, *, origin: str) -> np.ndarray:
    """Pixels as uint8; other numbers if every one of them is whole and within 0..255.

    Raises UserError for any other: a picture in 0..1 would come out black, and one beyond 255 wrapped.
    """
    pixels = _array(value, origin)
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype.kind not in "biuf":
        raise UserError(f"{origin}: values of type {pixels.dtype}; pixels are uint8, 0..255")
    whole = pixels.astype(np.uint8) if _within_bytes(pixels) else None
    if whole is None or not np.array_equal(whole, pixels):
        low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
        raise UserError(f"{origin}: {pixels.dtype} values {low:g}..{high:g}; pixels are uint8, 0..255")
    return whole


def as_frame(value: Any, *, origin: str) -> np.ndarray:
    """What ``render`` gave as an RGB frame uint8 (H, W, 3): grey is spread, alpha dropped, the last of a list taken.

    Raises UserError for what is no picture.
    """
    if isinstance(value, (list, tuple)) and value and np.ndim(value[-1]) in (2, 3):
        value = value[-1]  # render mode rgb_array_list: the frames since the last call
    frame = as_bytes(value, origin=origin)
    if frame.ndim == 2 or (frame.ndim == 3 and frame.shape[2] == 1):
        return np.repeat(frame.reshape(*frame.shape[:2], 1), 3, axis=2)
    if frame.ndim != 3 or frame.shape[2] not in (3, 4) or 0 in frame.shape:
        raise UserError(f"{origin}: shape {frame.shape}, not an RGB array (height, width, 3)")
    return frame[:, :, :3]


def resized_shape(origin: str, shape: tuple[int, ...], size: int | None) -> tuple[int, ...]:
    """Shape of a field when images are resized to ``size`` x ``size`` pixels; vectors and None leave it as it is."""
    if len(shape) != 3 or size is None or shape[:2] == (size, size):
        return shape
    if shape[2] not in _RESIZABLE_CHANNELS:
        raise UserError(f"{origin}: an image of {shape[2]} channels cannot be resized to {size} pixels")
    return (size, size, shape[2])


def resize(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image (H, W, C) uint8 averaged over areas down to ``shape``; whatever has that shape already is returned."""
    if value.shape == shape:
        return value
    flat = value[:, :, 0] if value.shape[2] == 1 else np.ascontiguousarray(value)
    small = Image.fromarray(flat).resize((shape[1], shape[0]), Image.Resampling.BOX)
    return np.asarray(small, np.uint8).reshape(shape)


def _array(value: Any, origin: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:
        raise UserError(f"{origin}: a {type(value).__name__} of unequal lengths, not an array") from None
    except Exception:  # what its own conversion raises
        raise UserError(f"{origin}: a {type(value).__name__}, not an array") from None


def _within_bytes(pixels: np.ndarray) -> bool:
    return bool(pixels.size == 0 or (pixels.min() >= 0 and pixels.max() <= 255))  # NaN is not
