"""What an agent saw where it was trained, from the ticks that its bundle was recorded with.

``parity.npz`` holds a few episodes of the task, as the graph takes them; scaled back they tell in SI units where each
number used to be. So no bundle needs a new section, and none can tell of other data than its parity was checked on.
Shape letters: N ticks, F history frames, O elements of a field.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.parity_recording import Recording
from robot_wm.spec import AgentSpec, ObservationField

Float32 = NDArray[np.float32]


@dataclass(frozen=True)
class TrainedRange:
    """Of one vector field, SI."""

    low: Float32  # [O] infinite where the field was clipped
    high: Float32  # [O]
    values: Float32  # [N, O] every recorded tick's newest frame


def trained_ranges(spec: AgentSpec, recording: Recording) -> dict[str, TrainedRange]:
    """Of every vector field by name; the recording is a bundle's of that spec."""
    return {field.name: _range(field, recording) for field in spec.observations if not field.is_image}


def _range(field: ObservationField, recording: Recording) -> TrainedRange:
    frames = recording.inputs[f"obs/{field.name}"]  # [N, 1, F * O], oldest first
    newest = frames.reshape(recording.ticks, -1)[:, -field.shape[0] :]  # [N, O]
    scale, offset = (np.array(each, dtype=np.float32) for each in (field.scale, field.offset))
    values = newest / scale + offset
    low, high = values.min(axis=0), values.max(axis=0)
    if field.clip is not None:
        # What was cut may have been anything; a negative scale turns the ends round.
        for end, sign in ((newest.min(axis=0) <= -field.clip, -1.0), (newest.max(axis=0) >= field.clip, 1.0)):
            side = np.broadcast_to(np.sign(scale) * sign, low.shape)
            low = np.where(end & (side < 0), -np.inf, low)
            high = np.where(end & (side > 0), np.inf, high)
    return TrainedRange(low.astype(np.float32), high.astype(np.float32), values.astype(np.float32))
