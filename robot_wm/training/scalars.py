"""Scalars and pictures of a run: TensorBoard for people, `metrics.jsonl` for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file

METRICS = "metrics.jsonl"


class ScalarLog:
    """Appends rows to ``<run>/metrics.jsonl`` and to the TensorBoard files in ``<run>/tensorboard``."""

    def __init__(self, run: Path, *, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a learner needs it

        run.mkdir(parents=True, exist_ok=True)
        path = run / METRICS
        kept = [] if resume_step is None else [row for row in read(run) if row["step"] <= resume_step]
        with atomic_file(path) as temporary:  # rows after the checkpoint will be made again
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", buffering=1)
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=resume_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row of scalars at policy step ``step``."""
        row = {"step": step, **{name: float(value) for name, value in values.items()}}
        self._file.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, float(value), step)

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A picture [H, W, 3] for TensorBoard."""
        self._board.add_image(name, image, step, dataformats="HWC")

    def __enter__(self) -> ScalarLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


def read(run: Path) -> list[dict[str, Any]]:
    """The rows of a run's ``metrics.jsonl``; a last line cut short by a crash is left out."""
    rows = []
    try:
        text = (run / METRICS).read_text()
    except FileNotFoundError:
        return []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows
