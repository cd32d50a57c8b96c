"""Imagined against real: a picture of an open-loop prediction, and a video where there is a camera.

The model sees the first steps of a recorded sequence and then runs on its own with the recorded actions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from robot_wm.dreamer.prediction import OpenLoop
from robot_wm.spec import AgentSpec, ObservationField

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = 6  # elements of a vector field that are drawn
_FRAMES = 8  # camera frames that are drawn
_SEQUENCES = 4  # sequences of a video


def prediction_figure(prediction: OpenLoop, spec: AgentSpec, *, sequence: int = 0) -> Figure:
    """Draw one sequence of ``prediction``: every field and the reward, recorded (solid) and predicted (dashed).

    Vectors are drawn in the units that the graph sees (scaled); with a history the newest frame is drawn.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.8 * (len(spec.observations) + 1)), layout="constrained")
    figure.suptitle("solid: recorded, dashed: predicted", fontsize=9)
    rows = figure.subplots(len(spec.observations) + 1, 1, squeeze=False)[:, 0]
    steps = np.arange(prediction.actual_reward.shape[1])
    for axes, field in zip(rows, spec.observations, strict=False):
        actual = prediction.actual[field.name][sequence].cpu().numpy()  # [T, ...]
        predicted = prediction.predicted[field.name][sequence].cpu().numpy()
        if field.is_image:
            _images(axes, actual, predicted, prediction.context)
        else:
            newest = slice(-field.shape[0], None)
            _lines(axes, steps, actual[:, newest], predicted[:, newest], field)
            axes.axvline(prediction.context - 0.5, color="grey", linewidth=0.8)
    reward = ObservationField(name="reward", shape=(1,), unit="1")
    _lines(
        rows[-1],
        steps,
        prediction.actual_reward[sequence].cpu().numpy()[:, None],
        prediction.predicted_reward[sequence].cpu().numpy()[:, None],
        reward,
    )
    rows[-1].axvline(prediction.context - 0.5, color="grey", linewidth=0.8)
    rows[-1].set_xlabel(f"control steps; imagined from step {prediction.context} on")
    return figure


def prediction_video(prediction: OpenLoop, field: str) -> NDArray[np.uint8]:
    """Frames [T, B' * height, 3 * width, 3] of an image field: recorded, predicted and their difference around grey.

    The first few sequences of the batch, one above the other. Of what is not RGB the last channel is shown as grey.
    """
    actual = prediction.actual[field][:_SEQUENCES].cpu().numpy()  # [B', T, H, W, C] in 0..1
    predicted = prediction.predicted[field][:_SEQUENCES].cpu().numpy()
    frames = np.concatenate([actual, predicted, (predicted - actual + 1) / 2], axis=3)  # [B', T, H, 3W, C]
    joined = np.concatenate(list(frames), axis=1)  # [T, B'*H, 3W, C]
    if joined.shape[-1] != 3:
        joined = np.repeat(joined[..., -1:], 3, axis=-1)
    return (np.clip(joined, 0, 1) * 255).astype(np.uint8)


def _lines(axes: Axes, steps: NDArray, actual: NDArray, predicted: NDArray, field: ObservationField) -> None:
    for index in range(min(_LINES, actual.shape[1])):
        label = field.labels[index] if field.labels else None
        (line,) = axes.plot(steps, actual[:, index], linewidth=1.2, label=label)
        axes.plot(steps, predicted[:, index], "--", color=line.get_color(), linewidth=1.2)
    axes.set_ylabel(field.name, fontsize=8)
    if field.labels:
        axes.legend(fontsize=6, loc="upper left", ncols=3)


def _images(axes: Axes, actual: NDArray, predicted: NDArray, context: int) -> None:
    """Frames evenly spread over the sequence: recorded above, predicted below."""
    chosen = np.linspace(0, len(actual) - 1, _FRAMES).astype(int)
    strip = np.concatenate([np.concatenate(list(frames[chosen]), axis=1) for frames in (actual, predicted)], axis=0)
    axes.imshow(np.clip(strip, 0, 1))
    axes.set_title(f"steps {', '.join(map(str, chosen))} (imagined from {context}): recorded, predicted", fontsize=8)
    axes.axis("off")
