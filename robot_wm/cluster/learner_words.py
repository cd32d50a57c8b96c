"""The command line of the learner, in words: torchrun, and `robot-wm train` under it."""

from __future__ import annotations

import shlex

from robot_wm.cluster.plan import RunPlan


def torchrun_words(plan: RunPlan) -> list[str]:
    """What starts a rank on each GPU of one host."""
    return ["torchrun", "--standalone", f"--nproc-per-node={plan.gpus}", "-m", "robot_wm"]


def train_words(plan: RunPlan, train: tuple[str, ...]) -> list[str]:
    """`robot-wm train` with the user's own words ``train`` and those that the plan says, but for Ray's address."""
    words = ["train", *train, "--run-dir", str(plan.run_dir), "--device", "cuda"]
    words += ["--actor", "ray", "--collectors", str(plan.collectors // plan.gpus)]  # a rank's
    return [*words, "--replay-store", plan.replay_store] if plan.replay_store is not None else words


def shell_line(words: list[str]) -> str:
    """The words as a line of shell, whatever is in them."""
    return shlex.join(words)
