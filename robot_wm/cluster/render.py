"""The files of a run on a cluster."""

from __future__ import annotations

from typing import Any

from robot_wm.cluster.learner_words import shell_line, torchrun_words, train_words
from robot_wm.cluster.plan import KubernetesPlan, RunPlan, SlurmPlan
from robot_wm.firmware.rendered import RenderedFile, fill_template

MARK = "Rendered by `robot-wm cluster`"
_KUBERNETES = (
    ("ray-cluster.yaml", "Ray's head and the collectors' hosts"),
    ("network-policy.yaml", "lets nobody but the run's own pods reach the run's pods"),
    ("learner.yaml", "the learner"),
)


def render_kubernetes(plan: KubernetesPlan, train: tuple[str, ...]) -> list[RenderedFile]:
    """Manifests of a run that ``robot-wm train`` is told ``train`` for, the README last."""
    # KubeRay's own name for the head's service, and its port.
    head = f"{plan.name}-head-svc:6379"
    values = _values(plan, train) | {"head": head}
    files = [
        RenderedFile(name, _fill(name, values), f"kubectl apply -f {name}", purpose) for name, purpose in _KUBERNETES
    ]
    return [*files, _readme("kubernetes", values, files)]


def render_slurm(plan: SlurmPlan, train: tuple[str, ...]) -> list[RenderedFile]:
    """The batch script of a run that ``robot-wm train`` is told ``train`` for, the README last."""
    values = _values(plan, train)
    name = "run.sbatch"
    files = [RenderedFile(name, _fill(name, values), f"sbatch {name}", "the whole run", executable=True)]
    return [*files, _readme("slurm", values, files)]


def _values(plan: RunPlan, train: tuple[str, ...]) -> dict[str, Any]:
    return {
        "plan": plan,
        "mark": MARK,
        "torchrun": shell_line(torchrun_words(plan)),
        "train": shell_line(train_words(plan, train)),
    }


def _fill(template: str, values: dict[str, Any]) -> str:
    return fill_template(template, "robot_wm.cluster", **values)


def _readme(scheduler: str, values: dict[str, Any], files: list[RenderedFile]) -> RenderedFile:
    text = _fill("README.md", values | {"scheduler": scheduler, "files": files})
    return RenderedFile("README.md", text, "nowhere: it is this list", "what each file is")
