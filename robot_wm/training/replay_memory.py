"""What the replay keeps in memory, and how many steps of it: as many as are asked for, or as fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from robot_wm.errors import UserError
from robot_wm.replay.rings import ring_bytes_per_step
from robot_wm.replay.sampler import SequenceSampler
from robot_wm.replay.stored import Stored
from robot_wm.spec import AgentSpec
from robot_wm.training.config import TrainConfig

MOST_STEPS = 1_000_000  # more than that few runs ever collect
# By default so much of the memory that is free: learner, simulators and the page cache want theirs, and a checkpoint
# of an older version, which is one file, is in memory twice while it is read.
_SHARE = 0.25
_GIB = 2**30


def make_sampler(config: TrainConfig, spec: AgentSpec, stored: Sequence[Stored]) -> SequenceSampler:
    """The sampler of a run whose capacity is settled; ``stored`` is what the agent keeps beside each step."""
    settings = config.settings
    assert config.replay_capacity_steps is not None
    return SequenceSampler(
        spec,
        capacity_steps=config.replay_capacity_steps,
        length=settings.batch_length,
        streams=config.streams,
        stored=stored,
        seed=config.seed,
        priority_exponent=settings.priority_exponent,
        priority_correction=settings.priority_correction,
    )


def replay_capacity(
    config: TrainConfig,
    spec: AgentSpec,
    stored: Sequence[Stored],
    *,
    saved: TrainConfig | None = None,
    runs: int = 1,
) -> int:
    """Steps that the sampler of a run of ``spec`` is to hold; those of the run that is gone on from, ``saved``, if any.

    ``stored`` is what the agent keeps beside each of them; ``runs`` begin together and share the machine.
    Raises UserError where they take more memory than is free, before anything is allocated.
    """
    free = free_bytes() // runs
    each = ring_bytes_per_step(spec, stored)
    least = (config.settings.batch_length + 1) * config.streams
    fit = min(MOST_STEPS, int(free * _SHARE / each))
    steps = config.replay_capacity_steps or (saved and saved.replay_capacity_steps) or max(fit, least)
    if steps * each > free:
        best = max(fit, least)
        advice = f"take {best} or fewer" if best * each <= free else "not even a window of each environment fits"
        raise UserError(
            f"replay_capacity_steps {steps}: {steps * each / _GIB:.1f} GiB at {each / 1024:.1f} KiB a step, but"
            f" {free / _GIB:.1f} GiB of memory are free; {advice}"
        )
    return steps


def free_bytes() -> int:
    """Memory that this process may still take: what the machine has available, or what its cgroup leaves it."""
    return min([_available(), *_left_by_cgroups()])


def _available() -> int:
    for line in _text(Path("/proc/meminfo")).splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024  # it is given in KiB
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _left_by_cgroups() -> list[int]:
    """What each limit of containers, services and batch jobs leaves; caches that can be dropped count as free."""
    left = []
    for line in _text(Path("/proc/self/cgroup")).splitlines():
        _, controllers, inside = line.split(":", 2)
        if controllers == "":
            root, limit, used = Path("/sys/fs/cgroup"), "memory.max", "memory.current"
        elif "memory" in controllers.split(","):
            root, limit, used = Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        own = root / inside.lstrip("/")
        for folder in (own, *own.parents):
            most, now = _text(folder / limit).strip(), _text(folder / used).strip()
            if folder.is_relative_to(root) and most.isdecimal() and now.isdecimal():
                caches = dict(item.split() for item in _text(folder / "memory.stat").splitlines())
                left.append(max(0, int(most) - int(now) + int(caches.get("inactive_file", 0))))
    return left


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:  # another system, or a container that does not show it
        return ""
