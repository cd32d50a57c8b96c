"""Scalars and pictures of a run: TensorBoard for people, `metrics.jsonl` for programs, trackers where asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.training.trackers import Tracker

if TYPE_CHECKING:  # they import torch, and who reads a log need not have it
    from robot_wm.learning.ranks import Ranks
    from robot_wm.training.config import TrainConfig

METRICS = "metrics.jsonl"


class Log(Protocol):
    """Where scalars and pictures go."""

    silent: bool  # nobody sees what is written

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row of scalars at policy step ``step``."""

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A picture [H, W, 3]."""


class ScalarLog:
    """Appends rows to ``<run>/metrics.jsonl`` and to the TensorBoard files in ``<run>/tensorboard``.

    ``trackers`` (`robot_wm.training.trackers`) hear the same, with ``config`` as the run's settings.
    """

    silent = False

    def __init__(
        self,
        run: Path,
        *,
        resume_step: int | None = None,
        trackers: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter  # slow to import, and only a learner needs it

        run.mkdir(parents=True, exist_ok=True)
        path = run / METRICS
        kept = [] if resume_step is None else [row for row in read(run) if row["step"] <= resume_step]
        with atomic_file(path) as temporary:  # rows after the checkpoint will be made again
            temporary.write_text("".join(json.dumps(row) + "\n" for row in kept))
        self._file = path.open("a", buffering=1)
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=resume_step)
        resumed = resume_step is not None
        self._trackers = [Tracker(name, run, config or {}, resumed=resumed) for name in trackers]

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """One row of scalars at policy step ``step``."""
        row = {"step": step, **{name: float(value) for name, value in values.items()}}
        self._file.write(json.dumps(row) + "\n")
        for name, value in values.items():
            self._board.add_scalar(name, float(value), step)
        for tracker in self._trackers:
            tracker.scalars(step, values)

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """A picture [H, W, 3] for those who look."""
        self._board.add_image(name, image, step, dataformats="HWC")
        for tracker in self._trackers:
            tracker.image(step, name, image)

    def __enter__(self) -> ScalarLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()
        for tracker in self._trackers:
            tracker.close()


class NoLog:
    """In place of a `ScalarLog` where another rank writes it."""

    silent = True

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Nothing."""

    def image(self, step: int, name: str, image: NDArray[np.uint8]) -> None:
        """Nothing."""


@contextmanager
def open_log(config: TrainConfig, progress: int, ranks: Ranks) -> Iterator[Log]:
    """The log of a run that has come to policy step ``progress``; rank 0 writes it."""
    if ranks.rank:
        yield NoLog()
        return
    told = config.model_dump(mode="json", exclude={"run_dir"})  # a path of this machine says nothing
    with ScalarLog(config.folder, resume_step=progress or None, trackers=config.trackers, config=told) as log:
        yield log


def averaged(values: Mapping[str, float], ranks: Ranks) -> dict[str, float]:
    """Scalars over the ranks: the mean of each over those that have it."""
    told = [json.loads(text) for text in ranks.texts(json.dumps(dict(values)))]
    names = dict.fromkeys(name for row in told for name in row)
    return {name: float(np.mean([row[name] for row in told if name in row])) for name in names}


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
