"""Observation fields that tasks have in common, and the choice between proprio, image and both."""

from __future__ import annotations

from collections.abc import Sequence

from robot_wm.errors import UserError
from robot_wm.spec import ObservationField

CAMERA = "camera"  # name of the agent's camera and of its image field
IMAGE_SIZE = 64  # pixels, square


def camera_field(*, frame: str, max_age_s: float) -> ObservationField:
    """The agent's colour camera, uint8 [64, 64, 3]."""
    return ObservationField(
        name=CAMERA,
        shape=(IMAGE_SIZE, IMAGE_SIZE, 3),
        dtype="uint8",
        unit="1",
        topic="camera/image_raw",
        frame=frame,
        max_age_s=max_age_s,
    )


def choose(
    observation: str, *, task: str, proprio: Sequence[ObservationField], images: Sequence[ObservationField]
) -> tuple[ObservationField, ...]:
    """The fields of ``observation``: proprio, image or both. Raises UserError for any other word."""
    options = {"proprio": tuple(proprio), "image": tuple(images), "both": (*proprio, *images)}
    if observation not in options:
        raise UserError(f"task {task}: observation {observation!r} is not one of {', '.join(options)}")
    return options[observation]
