"""curve.csv: how an agent of the zoo learned, from the log of its run."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# Of a log's groups, those that tell how the robot did; losses and the like say nothing to who did not train it.
_GROUPS = ("episode", "eval", "run")


def write_curve(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows of a `metrics.jsonl` (see `scalars.read`) as a table with a column for each scalar kept."""
    kept = [{"step": row["step"]} | {name: value for name, value in row.items() if _is_kept(name)} for row in rows]
    kept = [row for row in kept if len(row) > 1]
    columns = list(dict.fromkeys(name for row in kept for name in row)) or ["step"]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for row in kept:
            writer.writerow({name: value if name == "step" else f"{value:.6g}" for name, value in row.items()})


def read_curve(path: Path) -> list[dict[str, float]]:
    """The rows again, without what was not logged at a step."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def _is_kept(name: str) -> bool:
    group, *rest = name.split("/")
    return group in _GROUPS and len(rest) == 1  # a deeper name is a part of a figure
