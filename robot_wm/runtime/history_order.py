"""Was the agent trained on its frames in the order in which the controller lays them, oldest first?

Parity cannot tell: an engine computes the same of frames in any order. But successive ticks of the recording share all
frames but one, and so show how the exporter's environment had laid them.
Shape letters: N ticks, F history frames, O elements of a field.
"""

from __future__ import annotations

import numpy as np

from robot_wm.errors import UserError
from robot_wm.runtime.parity_recording import Recording
from robot_wm.spec import AgentSpec


def require_history_order(spec: AgentSpec, recording: Recording, *, origin: str) -> None:
    """Refuse (UserError) a recording whose frames are the newest first, naming ``origin`` and the field."""
    frames = spec.history_length
    if frames == 1:
        return
    goes_on = recording.inputs["is_first"].reshape(recording.ticks)[1:] < 0.5  # [N - 1]
    for field in spec.observations:
        if field.is_image:
            continue
        seen = recording.inputs[f"obs/{field.name}"].reshape(recording.ticks, frames, -1)  # [N, F, O]
        before, after = seen[:-1][goes_on], seen[1:][goes_on]
        if np.array_equal(before[:, 1:], after[:, :-1]) or not np.array_equal(before[:, :-1], after[:, 1:]):
            continue
        raise UserError(
            f"{origin}: obs/{field.name}: its {frames} frames were recorded newest first, the controller lays them"
            " oldest first: train and export with the library's own transform"
        )
