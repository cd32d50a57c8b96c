"""Plans that are rendered, and programs that stand in for a cluster's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from robot_wm.cluster.plan import KubernetesPlan, SlurmPlan

TRAIN = ("--preset", "a1_velocity", "--seed", "7")


def kubernetes_plan(**settings) -> KubernetesPlan:
    given = dict(
        image="registry.example/robot-wm:1", namespace="robots", claim="runs", ray_version="2.60.0", run_dir="/runs/a1"
    )
    return KubernetesPlan(**(given | settings))


def slurm_plan(**settings) -> SlurmPlan:
    return SlurmPlan(**({"interface": "ib0", "run_dir": "/shared/a1"} | settings))


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., Path]:
    """``stand_in(name, body)``: a program in a folder for PATH, which notes its arguments in ``<name>.told`` first."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def make(name: str, body: str = "") -> Path:
        program = folder / name
        program.write_text(f'#!/bin/bash\nprintf "%s\\n" "$*" >>{tmp_path}/{name}.told\n{body}\n')
        program.chmod(0o755)
        return folder

    return make
