"""``planner_parity.npz``: plans of the planner's graph, with their noise and what ONNX Runtime (CPU) put out.

Keys are ``in/<noise>``, ``out/<output>`` and ``unsteady``, each ``[P, *tensor shape]``. The roots are not in it: they
are the tick's recorded outputs, at evenly spaced ticks. Shape letters: N ticks, P plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.runtime.graph_tensors import NoiseTensor, TensorSpec
from robot_wm.runtime.parity_recording import Recording, check_arrays, read_arrays, under, write_arrays
from robot_wm.runtime.planner_section import Planner

_UNSTEADY = "unsteady"


@dataclass(frozen=True)
class PlanRecording:
    """P plans, the inputs and outputs of each by tensor name."""

    inputs: Mapping[str, NDArray[Any]]  # name -> [P, *shape] float32, roots and noise
    outputs: Mapping[str, NDArray[Any]]  # name -> [P, *shape] float32
    unsteady: NDArray[np.bool_]  # [P] changes as small as rounding change the plan by leaps

    @property
    def plans(self) -> int:
        """P."""
        return len(self.unsteady)


def recorded_roots(names: tuple[str, ...], recording: Recording, plans: int) -> dict[str, NDArray[Any]]:
    """What plans start from, by name [P, *shape]: a tick's outputs at P evenly spaced ticks of N."""
    ticks = np.arange(plans) * recording.ticks // plans  # [P]
    return {name: np.ascontiguousarray(recording.outputs[name][ticks]) for name in names}


def write_plans(path: Path, plans: PlanRecording, noise: tuple[NoiseTensor, ...]) -> None:
    """Write the file, byte for byte the same for the same plans; ``noise`` are the planner's noise inputs."""
    arrays = {f"in/{entry.name}": plans.inputs[entry.name] for entry in noise}
    arrays |= {f"out/{name}": array for name, array in plans.outputs.items()}
    write_arrays(path, arrays | {_UNSTEADY: plans.unsteady.astype(np.float32)[:, None]})


def read_plans(file: IO[bytes], planner: Planner, recording: Recording, *, origin: str) -> PlanRecording:
    """Read the file; raises UserError naming ``origin`` and the key unless it is what ``planner`` says.

    ``recording`` is the tick's, with the roots.
    """
    arrays = read_arrays(file, _expected(planner), planner.parity.plans, origin=origin)
    return PlanRecording(
        inputs=recorded_roots(planner.root, recording, planner.parity.plans) | under("in/", arrays),
        outputs=under("out/", arrays),
        unsteady=arrays[_UNSTEADY][:, 0] != 0.0,
    )


def check_plans(file: IO[bytes], planner: Planner, *, origin: str) -> None:
    """Refuse (UserError) a file whose keys, types or shapes are not the planner's; reads headers only."""
    check_arrays(file, _expected(planner), planner.parity.plans, origin=origin)


def _expected(planner: Planner) -> dict[str, TensorSpec]:
    noise = {f"in/{entry.name}": TensorSpec(name=entry.name, shape=entry.shape) for entry in planner.noise}
    outputs = {f"out/{entry.name}": entry for entry in planner.outputs}
    return noise | outputs | {_UNSTEADY: TensorSpec(name=_UNSTEADY, shape=(1,))}
