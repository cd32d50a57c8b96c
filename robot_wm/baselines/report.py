"""What the runs of a comparison show: a row an algorithm, and the picture of all curves."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.baselines.curve import EPISODES, read_rows
from robot_wm.tasks import backend_name

_SMOOTHED = 20  # episodes of the running mean of returns
_MANY = 200  # falls: with more, those who fall ten times would lie on the axis

UNFAIR = (
    "The task's reward was made while Dreamer was trained on it; the others' settings are their authors' for other "
    "robots and rewards.",
    "Dreamer sees one frame and remembers; the others see `history` frames and remember nothing.",
    "Dreamer computes more for each step (see wall_s); robot time and falls are compared, not computing.",
    "Robot-minutes are summed over environments: with more of them, more fall before the first fall is learned from.",
    "The random steps of each algorithm's own beginning are counted, falls and all.",
)


def summarise(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row an algorithm, in the order in which they come; medians over seeds.

    A seed that never walked counts as infinitely late, so that a median over mostly such seeds is None. ``walked`` is
    how many seeds did of how many; ``walk_…`` are of the first trial in which one start walked, ``steady_…`` of the
    first in which all did.
    """
    rows = []
    for name in dict.fromkeys(result["name"] for result in results):
        runs = [result for result in results if result["name"] == name]
        task, options = (runs[0]["plan"][key] for key in ("task", "task_options"))
        row: dict[str, Any] = {"algorithm": name, "envs": runs[0]["envs"], "seeds": len(runs)}
        row |= {"backend": backend_name(task, options), "randomisation": options.get("randomisation", "none")}
        for mark, key in (("walk", "first_walk"), ("steady", "steady_walk")):
            row[f"{mark}_seeds"] = sum(run[key] is not None for run in runs)
            row[f"{mark}_robot_minutes"] = median([run[key] and run[key]["robot_minutes"] for run in runs])
            row[f"{mark}_falls"] = median([run[key] and run[key]["falls"] for run in runs])
        for key in ("robot_minutes", "falls", "return_last", "steps_per_s", "wall_s"):
            row[key] = median([run[key] for run in runs])
        rows.append(row)
    return rows


def median(values: Sequence[float | None]) -> float | None:
    """The median, None counting as infinite; None where that is infinite."""
    middle = statistics.median(math.inf if value is None else value for value in values)
    return round(middle, 3) if math.isfinite(middle) else None


def draw(results: Sequence[Mapping[str, Any]], out: Path, *, title: str) -> Path:
    """Write ``curves.png``: returns and falls so far over robot-minutes, a line a run, a dot where it first walks."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import ScalarFormatter

    figure = Figure(figsize=(12, 4.5), layout="constrained")
    returns, falls = figure.subplots(1, 2)
    colours = {name: f"C{index}" for index, name in enumerate(dict.fromkeys(result["name"] for result in results))}
    named = set()
    for result in results:
        name = result["name"]
        rows = read_rows(out / f"{name}_seed{result['seed']}" / EPISODES)
        minutes = rows["robot_minutes"]
        label = f"{name} ({result['envs']} env.)" if name not in named else None
        named.add(name)
        returns.plot(minutes, running_mean(rows["return"], _SMOOTHED), color=colours[name], label=label, linewidth=1)
        # From none at the start to the run's last step, and level between two falls.
        whole = np.concatenate([[0.0], minutes, [result["robot_minutes"]]])
        fallen = np.concatenate([[0.0], rows["falls"], rows["falls"][-1:]])
        falls.plot(whole[: len(fallen)], fallen, color=colours[name], linewidth=1, drawstyle="steps-post")
        if (walk := result["first_walk"]) is not None and walk["falls"] is not None:
            falls.plot(walk["robot_minutes"], walk["falls"], "o", color=colours[name], markersize=6)
    returns.set(xlabel="robot-minutes", ylabel=f"return, mean of {_SMOOTHED} episodes", title=title)
    falls.set(xlabel="robot-minutes", ylabel="falls so far", title="dot: first walks 5 s at 0.5 m/s")
    if max([result["falls"] or 0 for result in results], default=0) > _MANY:
        falls.set_yscale("symlog", linthresh=10)
        falls.yaxis.set_major_formatter(ScalarFormatter())
    falls.set_ylim(bottom=0)
    returns.legend(fontsize=8)
    path = out / "curves.png"
    with atomic_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value and up to ``width`` - 1 before it."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - width, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)
