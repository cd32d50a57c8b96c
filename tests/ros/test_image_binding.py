"""Pictures: of the field's size and colours exactly, or not at all."""

import numpy as np
import pytest
from sensor_msgs.msg import Image
from small_specs import read, stamped

from robot_wm.spec import ObservationField


def picture_field(channels=3):
    return ObservationField(name="camera", shape=(3, 2, channels), dtype="uint8", unit="1", topic="front/image_raw")


def image(pixels, encoding, *, padding=0, cut=0):
    """A message of [H, W, bytes a pixel] with rows padded by 255s, less its last ``cut`` bytes."""
    height, width, size = pixels.shape
    rows = np.full((height, width * size + padding), 255, np.uint8)
    rows[:, : width * size] = pixels.reshape(height, -1)
    data = rows.tobytes()
    return stamped(
        Image(height=height, width=width, encoding=encoding, step=rows.shape[1], data=data[: len(data) - cut])
    )


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", [0, 1, 2]), ("bgr8", [2, 1, 0]), ("rgba8", [0, 1, 2, 3]), ("bgra8", [2, 1, 0, 3])]
)
def test_colours_come_out_as_red_green_blue(encoding, order, padding):
    rgba = np.arange(24, dtype=np.uint8).reshape(3, 2, 4)
    frame = read([picture_field()], image(rgba[:, :, order], encoding, padding=padding))
    np.testing.assert_array_equal(frame.observation["camera"], rgba[:, :, :3])
    # Some drivers leave out the padding of the last row.
    frame = read([picture_field()], image(rgba[:, :, order], encoding, padding=padding, cut=padding))
    np.testing.assert_array_equal(frame.observation["camera"], rgba[:, :, :3])


def test_a_grey_picture():
    grey = np.arange(6, dtype=np.uint8).reshape(3, 2, 1)
    frame = read([picture_field(1)], image(grey, "mono8", padding=1))
    np.testing.assert_array_equal(frame.observation["camera"], grey)


@pytest.mark.parametrize(
    ("channels", "message", "words"),
    [
        (3, image(np.zeros((480, 640, 3), np.uint8), "rgb8"), ["640 x 480", "2 x 3", "ResizeNode"]),
        (3, image(np.zeros((2, 3, 3), np.uint8), "rgb8"), ["3 x 2", "2 x 3"]),
        (3, image(np.zeros((3, 2, 1), np.uint8), "mono8"), ["'mono8'", "rgb8"]),
        (1, image(np.zeros((3, 2, 3), np.uint8), "rgb8"), ["'rgb8'", "mono8"]),
        (3, image(np.zeros((3, 2, 2), np.uint8), "yuv422"), ["'yuv422'"]),
        (3, image(np.zeros((3, 2, 3), np.uint8), "rgb8", cut=1), ["17 bytes"]),
        (3, stamped(Image(height=3, width=2, step=5, encoding="rgb8", data=bytes(18))), ["rows of 5"]),
        (3, stamped(Image(height=2**32 - 1, width=2**32 - 1, step=2**32 - 1, encoding="rgb8")), ["4294967295"]),
    ],
)
def test_a_picture_of_another_kind_is_told_and_not_used(channels, message, words):
    frame = read([picture_field(channels)], message)
    assert frame.observation["camera"] is None
    assert all(word in frame.problem for word in ["front/image_raw", *words]), frame.problem
