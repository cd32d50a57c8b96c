"""Turns recordings of a robot's ticks into episodes of a replay store.

An episode is a run of ticks in which the robot did what the agent said: no fault, ``damp`` not set (modes soft start,
active, and the sound end of a hold), no tick missing in between and each sample half to one and a half control periods
after the one before: a model of the robot at another rate is a model of another robot. Runs of one tick are left out.

* ``action[t]`` is the SI command that the drives were given after ``obs[t]``, behind all safety. The last tick's
  command is left out: what came of it was not seen.
* ``obs`` is what the agent saw: raw and in SI units, operator commands cut to their range; ``last_action`` is the
  command before, and at the start the zero action's, as at the start of a simulated episode.
* ``is_terminal`` is never set. Neither a fault nor an e-stop says that the task has failed for good: people stop
  robots for lunch.
* ``reward`` is zeros unless a function computes it: a robot tells none, and simulated tasks compute theirs from what
  only a simulator knows. Do not train a reward head on zeros that mean nothing.

Shape letters: N ticks of a recording, L steps of an episode, A action dimensions.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode, EpisodeSource
from robot_wm.replay.recording import TickRecording, read_recording
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.table import VersionedTable
from robot_wm.replay.upkeep import Upkeep
from robot_wm.runtime.transform import to_command
from robot_wm.spec import ObservationField, Source, require_same

# Observations by field [L, *shape] and commands [L, A] to rewards [L]; reward[t] arrives with obs[t].
Reward = Callable[[Mapping[str, NDArray[Any]], NDArray[np.float32]], NDArray[Any]]

_EPISODES_A_COMMIT = 32  # of the passing store
_FUNCTION = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


@dataclass(frozen=True)
class Runs:
    """Where the episodes of a recording lie, and what became of the other ticks."""

    slices: tuple[slice, ...]
    not_driven: int  # ticks at rest, damped or with a fault
    too_short: int  # ticks that had no neighbour
    missing: int  # ticks that were never recorded, by their numbers
    split_by_missing: int  # places where an episode ends because the next tick is missing
    split_by_time: int  # … because its sample came too early or too late


@dataclass(frozen=True)
class ImportResult:
    """What came of one file."""

    path: Path
    version: int  # of the store
    ticks: int
    episodes: int
    steps: int
    added: int  # episodes
    already_there: int  # episodes, left out
    runs: Runs
    damage: tuple[str, ...]  # what could not be read, in words

    def summary(self) -> dict[str, Any]:
        """Everything as plain values, for one row of a table."""
        runs = {key: value for key, value in vars(self.runs).items() if key != "slices"}
        own = {key: value for key, value in vars(self).items() if key not in ("path", "version", "runs", "damage")}
        return {"file": str(self.path), "version": self.version} | own | runs | {"damage": list(self.damage)}


def import_recording(
    path: Path, into: Path, *, reward: Reward | None = None, skip_damaged: bool = False
) -> ImportResult:
    """Add the episodes of one recording to the store at ``into``, in one commit or not at all.

    A store that is not there is made for the recording's AgentSpec. Episodes that are there already are left out.
    Raises UserError for a file that cannot be read (see ``read_recording``) and for another agent's spec.
    """
    recording = read_recording(path, skip_damaged=skip_damaged)
    store = EpisodeStore.open(into) if VersionedTable(into).exists() else EpisodeStore.create(into, recording.spec)
    require_same(store.spec, recording.spec, origin=str(path))
    runs = find_runs(recording)
    steps = sum(run.stop - run.start for run in runs.slices)
    added = already_there = 0
    if runs.slices:
        # Through a store beside it: few episodes are in memory at once, and one commit takes them all or none.
        try:
            beside = tempfile.TemporaryDirectory(prefix=f".{into.name}.", suffix=".tmp", dir=into.parent)
        except OSError as error:
            raise UserError(f"{into.parent}: cannot be written: {error.strerror}") from None
        with beside as folder:
            options = Upkeep(commit_episodes=_EPISODES_A_COMMIT)
            with EpisodeStore.create(Path(folder) / "store", store.spec, options=options) as passing:
                for episode in episodes(recording, runs, reward=reward):
                    passing.append([episode])
            merged = store.merge(passing)
        added, already_there = merged.added, merged.already_there
    ticks = len(recording.ticks)
    return ImportResult(
        path, store.version, ticks, len(runs.slices), steps, added, already_there, runs, recording.damage
    )


def find_runs(recording: TickRecording) -> Runs:
    """Cut a recording into episodes."""
    ticks = recording.ticks
    driven = (ticks["fault_bits"] == 0) & ~ticks["damp"]  # [N]
    for name in ("command", *recording.log.vectors.values()):
        driven &= np.isfinite(ticks[name]).all(axis=1)
    for images in recording.images.values():
        has_image = np.zeros(len(ticks), np.bool_)
        has_image[list(images)] = True
        driven &= has_image
    number = ticks["tick"].astype(np.int64)  # [N]
    stamp_ns = ticks["header.stamp.sec"].astype(np.int64) * 10**9 + ticks["header.stamp.nanosec"]  # [N]
    step = np.diff(number)  # [N - 1]
    period_ns = recording.spec.control_period_s * 1e9
    in_time = np.abs(np.diff(stamp_ns) - period_ns) <= period_ns / 2  # [N - 1]
    both = driven[:-1] & driven[1:]  # [N - 1]
    joined = both & (step == 1) & in_time
    begins = np.flatnonzero(driven & ~np.concatenate([[False], joined]))
    ends = np.flatnonzero(driven & ~np.concatenate([joined, [False]])) + 1
    found = [slice(int(a), int(b)) for a, b in zip(begins, ends, strict=True)]
    return Runs(
        slices=tuple(run for run in found if run.stop - run.start > 1),
        not_driven=int((~driven).sum()),
        too_short=sum(run.stop - run.start == 1 for run in found),
        missing=int((step[step > 1] - 1).sum()),
        split_by_missing=int((both & (step != 1)).sum()),
        split_by_time=int((both & (step == 1) & ~in_time).sum()),
    )


def episodes(recording: TickRecording, runs: Runs, *, reward: Reward | None = None) -> Iterator[Episode]:
    """The episodes of a recording, one a run."""
    spec = recording.spec
    rest = to_command(spec.action, np.zeros(spec.action_dim, np.float32))  # [A]
    low = np.array([command.low for command in spec.commands], np.float32)
    high = np.array([command.high for command in spec.commands], np.float32)

    def column(field: ObservationField, run: slice, command: NDArray[np.float32]) -> NDArray[Any]:
        if field.source is Source.LAST_ACTION:
            return np.concatenate([rest[None], command[:-1]])
        if field.is_image:
            return np.stack([recording.images[field.name][n] for n in range(run.start, run.stop)])
        values = np.ascontiguousarray(recording.ticks[recording.log.vectors[field.name]][run])
        return np.clip(values, low, high) if field.source is Source.COMMAND else values

    for run in runs.slices:
        length = run.stop - run.start
        command = np.ascontiguousarray(recording.ticks["command"][run])  # [L, A]
        obs = {field.name: column(field, run, command) for field in spec.observations}
        action = command.copy()
        action[-1] = 0
        for array in (*obs.values(), action):
            array.flags.writeable = False  # a reward function that works in place would change what is stored
        rewards = np.zeros(length) if reward is None else np.asarray(reward(obs, action))
        if rewards.shape != (length,) or rewards.dtype.kind not in "biuf":
            raise UserError(f"the reward function returned {rewards.dtype} {rewards.shape}, not {length} numbers")
        step = np.arange(length)
        ended = datetime.fromtimestamp(int(recording.ticks["publish_ns"][run.stop - 1]) / 1e9, timezone.utc)
        yield Episode(
            obs=obs,
            action=action,
            reward=rewards.astype(np.float32),
            is_first=step == 0,
            is_last=step == length - 1,
            is_terminal=np.zeros(length, np.bool_),
            source=EpisodeSource(
                kind="robot",
                task=spec.task,
                robot=spec.robot,
                policy=recording.info.bundle_sha256,
                created_utc=ended.isoformat(timespec="milliseconds"),
            ),
        )


def reward_function(name: str) -> Reward | None:
    """The function called ``module:function``; None for ``none``. UserError where there is none such."""
    if name == "none":
        return None
    if not _FUNCTION.fullmatch(name):
        raise UserError(f"reward {name!r}: none, or module:function of an installed module")
    try:
        function = EntryPoint(name="reward", group="", value=name).load()
    except (ImportError, AttributeError) as error:
        raise UserError(f"reward {name!r}: none, or module:function of an installed module: {error}") from None
    if not callable(function):
        raise UserError(f"reward {name!r}: not a function")
    return function  # type: ignore[no-any-return]
