"""Rollouts of a bundle's agent in worlds of their numbers, under the operator's commands of a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.evaluation.driven import Driven, driven
from robot_wm.runtime.safety import SafetyConfig
from robot_wm_sim.identification.distribution import LAGS, windows
from robot_wm_sim.identification.joint_log import JointLog, Stretch
from robot_wm_sim.identification.matching import Numbers, Rollout

Float64 = NDArray[np.float64]


class Walk(NamedTuple):
    """What is walked, and what of it is looked at."""

    bundle: Path
    public_key: Path | None
    options: Mapping[str, Any]
    backend: str
    joints: tuple[str, ...]
    wishes: Mapping[str, NDArray[np.float32]]  # [T, *shape] the operator's, by field
    fitted: int  # ticks, the first of all
    ticks: int  # T


def walk_of(
    log: JointLog, bundle: Path, public_key: Path | None, options: Mapping[str, Any], backend: str
) -> tuple[Walk, list[Float64], list[Float64]]:
    """What is to be walked for a log, as long as its longest stretch; its windows, fitted and held out."""
    pairs = zip(log.fit, log.held_out, strict=True)
    fit, whole = max(pairs, key=lambda pair: pair[1].duration_s)
    walk = Walk(bundle, public_key, options, backend, log.joints, whole.wishes, len(fit.time_s), len(whole.time_s))
    return walk, *log_windows(log)


class Walker:
    """One robot under its agent."""

    def __init__(self, walk: Walk, it: Driven) -> None:
        self._walk, self._it = walk, it
        spec = it.controller.spec
        fields = {field.role.value: field for field in spec.observations if field.role is not None}
        self._rows = {
            role: (fields[role].name, [fields[role].labels.index(name) for name in walk.joints])
            for role in ("joint_position", "joint_velocity")
        }
        self._commanded = [spec.action.joints.index(name) for name in walk.joints]

    def roll(self, numbers: Numbers, seed: int) -> Rollout:
        """Windows of an episode in that world, and the share of its time before a fall."""
        it, walk = self._it, self._walk
        observation, _ = it.env.reset(seed=seed, options={"randomisation": dict(numbers)})
        it.controller.disable()
        it.controller.enable()
        it.controller.start_episode()
        seen: dict[str, list[Float64]] = {"joint_position": [], "joint_velocity": [], "command": []}
        for tick in range(walk.ticks):
            observation |= {name: wishes[tick] for name, wishes in walk.wishes.items()}
            for role, (name, rows) in self._rows.items():
                seen[role].append(observation[name][rows].astype(np.float64))
            command = it.controller.step(observation, tick * it.controller.spec.control_period_s)
            seen["command"].append(command.command[self._commanded].astype(np.float64))
            observation, _, terminated, _, _ = it.env.step(command.command)
            if terminated:
                break
        arrays = [np.stack(seen[name]) for name in ("joint_position", "joint_velocity", "command")]
        told = windows(*arrays)
        late = walk.ticks - walk.fitted
        later = told[len(told) - late :] if len(arrays[0]) == walk.ticks else told[:0]
        return Rollout(told[: walk.fitted - LAGS[-1]], later, len(arrays[0]) / walk.ticks)


@contextmanager
def walker(walk: Walk) -> Iterator[Callable[[tuple[Numbers, int]], Rollout]]:
    """Tells of a world's numbers and a seed what joints do in it."""
    config = SafetyConfig(soft_start_s=0.0)
    with driven(walk.bundle, walk.public_key, config=config, option=walk.options, backend=walk.backend) as it:
        yield lambda asked: Walker(walk, it).roll(*asked)


def log_windows(log: JointLog) -> tuple[list[Float64], list[Float64]]:
    """Windows [W, N, F] of what is fitted, and of what only judges; UserError where speeds are not told."""
    commanded = [log.spec.action.joints.index(name) for name in log.joints]

    def of(stretches: Sequence[Stretch]) -> list[Float64]:
        found = []
        for one in stretches:
            if one.velocity is None:
                raise UserError("log: no field has role joint_velocity: motions cannot be compared")
            told = windows(one.position, one.velocity, one.command[:, commanded])
            found.append(told[one.counted[-len(told) :]])
        return found

    return of(log.fit), of(log.held_out)
