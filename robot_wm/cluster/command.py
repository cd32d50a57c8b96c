"""`robot-wm cluster`: what starts a run on Kubernetes or Slurm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from cyclopts import Parameter
from pydantic import ValidationError

from robot_wm.cluster.plan import KubernetesPlan, SlurmPlan, told_twice
from robot_wm.console import messages
from robot_wm.errors import UserError
from robot_wm.firmware.rendered import RenderedFile

app = cyclopts.App(name="cluster", help="A run on several hosts: manifests for Kubernetes, a batch script for Slurm.")
render = cyclopts.App(name="render", help="Write what starts a run into a new folder.")
app.command(render)

Train = Annotated[str, Parameter(allow_leading_hyphen=True)]


@render.command
def kubernetes(
    *train: Train,
    plan: Annotated[KubernetesPlan, Parameter(name="*")],
    out: Path,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a RayCluster for KubeRay, the learner's Job and a NetworkPolicy.

    Parameters
    ----------
    train
        What `robot-wm train` is told, after `--`.
    out
        Folder to write; it appears when all is written.
    force
        Replace the folder if it was rendered before.
    """
    from robot_wm.cluster.render import render_kubernetes

    _require_taken(train)
    _write(render_kubernetes(plan, train), out, force=force)


@render.command
def slurm(
    *train: Train,
    plan: Annotated[SlurmPlan, Parameter(name="*")],
    out: Path,
    force: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Write a batch script: a node with GPUs that learns, and nodes that collect for it.

    Parameters
    ----------
    train
        What `robot-wm train` is told, after `--`.
    out
        Folder to write; it appears when all is written.
    force
        Replace the folder if it was rendered before.
    """
    from robot_wm.cluster.render import render_slurm

    _require_taken(train)
    _write(render_slurm(plan, train), out, force=force)


def _require_taken(train: tuple[str, ...]) -> None:
    """Raise UserError for words that no run takes: better here than in a queue."""
    from robot_wm.training.command import app as train_app

    for word in train:
        if not word.isprintable():
            raise UserError(f"after --: {word!r} has characters that are not printed")
    if (twice := told_twice(train)) is not None:
        raise UserError(f"{twice}: comes from the rendered files, which `robot-wm cluster render` has options for")
    try:
        train_app.parse_args(list(train), exit_on_error=False, print_error=False)
    except cyclopts.CycloptsError as error:
        if isinstance(error.__cause__, ValidationError):
            raise UserError.from_validation(error.__cause__, origin="after --") from None
        raise UserError(f"after --: {error}") from None


def _write(files: list[RenderedFile], out: Path, *, force: bool) -> None:
    from robot_wm.cluster.render import MARK
    from robot_wm.firmware.render import write_all

    write_all(files, out, mark=MARK, force=force)
    messages().print(f"{out}: {len(files)} files; {out / 'README.md'} says what each is and who may reach it")
