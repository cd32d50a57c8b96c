"""`robot-wm sweep`: many runs, whose settings are drawn where earlier ones did well."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit, messages, progress


def sweep(
    file: Path,
    /,
    *,
    folder: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Search for better settings of a task: every trial is a `robot-wm train` of its own, hopeless ones are given up.

    Ctrl-C lets the runs save, and exits with code 130; `--resume` goes on from there, and from wherever a sweep was
    killed. The table, sweep.json, sweep.csv, the pictures and best.yaml, which `train --config` takes, are in its
    folder.

    Parameters
    ----------
    file
        YAML: preset, config or settings of the runs; space, by dotted names of their settings; objective; budget;
        pruner, sampler, seed and workers.
    folder
        Where the sweep and its runs are kept [default: runs/<the file's name>].
    resume
        Go on with the sweep in the folder; its budget and its workers may be others now.
    json
        Print the result as one JSON object.
    """
    from robot_wm.sweeping.plan import Sweep
    from robot_wm.sweeping.report import by_worth, write
    from robot_wm.sweeping.running import Sweeping
    from robot_wm.sweeping.trials import Trials
    from robot_wm.training.one_writer import only_writer

    plan = Sweep(file)
    folder = folder or Path("runs") / file.stem
    with only_writer(folder, doing="sweeps", flag="--folder"):
        trials = Trials(folder, plan, resume=resume)
        sweeping = Sweeping(plan, trials, folder)
        with progress() as bar:
            row = bar.add_task("sweep", total=plan.plan.budget.trials, note="")

            def report() -> None:
                best = trials.best()
                told = "no trial has ended" if best is None else f"best {best.value:.4g} (trial {best.number})"
                bar.update(row, completed=sum(one.state.is_finished() for one in trials.all()), note=told)

            stopped_by, confirmed = sweeping.run(report)
        result = write(folder, plan, trials, sweeping, confirmed, stopped_by)
    _tell(result, by_worth(result["rows"], maximize=result["direction"] == "maximize"), as_json=json)
    if stopped_by != "trials":
        again = shlex.join(["robot-wm", "sweep", str(file), "--folder", str(folder), "--resume"])
        messages().print(f"stopped by {stopped_by}; go on with: {again}")
    if stopped_by == "signal":
        raise KeyboardInterrupt


def _tell(result: dict[str, Any], rows: list[dict[str, Any]], *, as_json: bool) -> None:
    emit(result | {"rows": rows}, as_json=as_json, title="sweep")
