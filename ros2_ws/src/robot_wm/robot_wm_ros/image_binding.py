"""sensor_msgs/Image: uncompressed 8-bit pictures of exactly the field's size."""

from __future__ import annotations

import numpy as np
from sensor_msgs.msg import Image

from robot_wm_ros.binding import Binding, Target, refusal

# Encoding -> bytes a pixel, and which of them make the field's channels (red, green, blue; or grey).
_COLOUR = {
    "rgb8": (3, slice(0, 3)),
    "bgr8": (3, slice(None, None, -1)),
    "rgba8": (4, slice(0, 3)),
    "bgra8": (4, slice(2, None, -1)),
}
_GREY = {"mono8": (1, slice(0, 1))}


class ImageBinding(Binding):
    """Fields of 3 channels (colour) or 1 (grey), uint8 [H, W, C]."""

    message_type = Image
    reads_pictures = True

    def __init__(self, targets: list[Target]) -> None:
        super().__init__(targets)
        for field, _ in targets:
            if not field.is_image or field.shape[2] not in (1, 3):
                raise refusal(field, f"a picture has shape (H, W, 3) or (H, W, 1), not {field.shape}")

    def copy(self, message: Image) -> str:
        """Neither size nor colours are converted: what the network was trained on is what it must see."""
        size = (message.height, message.width)
        for field, out in self._targets:
            encodings = _COLOUR if field.shape[2] == 3 else _GREY
            if message.encoding not in encodings:
                return f"encoding {message.encoding!r:.40} is none of {', '.join(encodings)}"
            if size != field.shape[:2]:
                wanted = f"{field.shape[1]} x {field.shape[0]}"
                return f"{size[1]} x {size[0]} pixels, not {wanted}: put image_proc's ResizeNode between"
            pixel, channels = encodings[message.encoding]
            row, step = size[1] * pixel, message.step
            if step < row or len(message.data) < step * (size[0] - 1) + row:  # the last row may go without padding
                return f"{len(message.data)} bytes in rows of {step} are no {size[1]} x {size[0]} {message.encoding}"
            pixels = np.ndarray((*size, pixel), np.uint8, buffer=message.data, strides=(step, pixel, 1))
            out[...] = pixels[:, :, channels]
        return ""
