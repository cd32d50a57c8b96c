"""Turns recordings of a robot's ticks into episodes of a replay store.

An episode is a run of ticks in which the robot did what the agent said (``runs``), or a part of one that has an end.

* ``action[t]`` is the SI command that the drives were given after ``obs[t]``, behind all safety. The last tick's
  command is left out: what came of it was not seen.
* ``obs`` is what the agent saw: raw and in SI units, operator commands cut to their range; ``last_action`` is the
  command before, and at the start the zero action's, as at the start of a simulated episode.
* ``reward`` is zeros unless a function computes it, one's own or, where the recorded fields suffice, the task's: robots
  tell none. Such zeros are not ``reward_known``, and no learner learns them. Where the function says that a reward is
  not known (``(reward, terminal, known)``), an episode begins: the first reward of one is 0 by definition.
* ``is_terminal`` is never set but by that function, which may return ``(reward, terminal)``: only the task knows what
  end is one for good. Neither a fault nor an e-stop says so: people stop robots for lunch. The first terminal step
  ends its episode; the ticks behind it are left out for as long as ``terminal`` holds, a robot that lies there, and
  then the next episode begins.

**Imported again**, a recording's ticks that are in the store are left out, with whatever rewards they have there. Only
with a reward function, and where what it says now is something else, new episodes take the old ones' place, in a new
version; the old version keeps them. What tells a recording is its own id, not its file's name or bytes.

Shape letters: N ticks of a recording, L steps of a run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError
from robot_wm.replay.episode import Episode, EpisodeSource, known_rewards
from robot_wm.replay.judged import Judged, Reward, TaskReward, judged
from robot_wm.replay.location import Named
from robot_wm.replay.place import RecordedIn
from robot_wm.replay.recording import TickRecording, read_recording
from robot_wm.replay.runs import BRIDGE_TICKS, Run, Runs, find_runs
from robot_wm.replay.store import EpisodeStore
from robot_wm.replay.upkeep import Upkeep
from robot_wm.runtime.transform import to_command
from robot_wm.spec import ObservationField, Source

_EPISODES_A_COMMIT = 32  # of the passing store


@dataclass(frozen=True)
class ImportResult:
    """What came of one file."""

    path: Path
    version: int  # of the store
    recorder: str  # which robot: agent, host and serial, as far as the recording names them
    ticks: int
    duration_s: float
    episodes: int  # of this recording, those that were there included
    steps: int
    terminated: int  # episodes
    after_end: int  # steps behind an end, and single ones between rewards that are not known
    added: int  # episodes
    replaced: int  # episodes that were there with other rewards or ends, and gave way
    already_there: int  # episodes, left as they are
    runs: Runs
    damage: tuple[str, ...]  # what could not be read, in words

    def summary(self) -> dict[str, Any]:
        """Everything as plain values, for one row of a table."""
        runs = {key: value for key, value in vars(self.runs).items() if key != "slices"}
        own = {key: value for key, value in vars(self).items() if key not in ("path", "version", "runs", "damage")}
        return {"file": str(self.path), "version": self.version} | own | runs | {"damage": list(self.damage)}

    def line(self) -> str:
        """The same in one line."""
        runs = self.runs
        came = f"{self.added} added, {self.replaced} replaced, {self.already_there} already there"
        parts = [
            f"{self.ticks} ticks ({self.duration_s:.1f} s)",
            f"{self.episodes} episodes of {self.steps} steps ({came}), {self.terminated} with an end",
            f"{runs.skipped} ticks skipped: {runs.bridged_ticks} in {runs.bridged_gaps} gaps bridged, cut at the other"
            f" {runs.split_by_time} places",
            f"{runs.missing} ticks not recorded: cut at {runs.split_by_missing} places",
        ]
        return f"{self.path}: {'; '.join(parts)}"


def import_recording(
    path: Path,
    into: Named,
    *,
    reward: Reward | TaskReward | None = None,
    bridge_ticks: int = BRIDGE_TICKS,
    skip_damaged: bool = False,
) -> ImportResult:
    """Add the episodes of one recording to the store at ``into``, in one commit or not at all.

    A store that is not there is made for the recording's AgentSpec. What is there already stays, or with ``reward``
    gives way, as above. Raises UserError for a file that cannot be read (see ``read_recording``), for another agent's
    spec, and where an episode that would give way has ticks that this file, a part of its recording, has not.
    """
    recording = read_recording(path, skip_damaged=skip_damaged)
    if isinstance(reward, TaskReward):
        reward = reward.of(recording.spec)
    store = EpisodeStore.open_or_create(into, recording.spec, origin=str(path))
    runs = find_runs(recording, bridge_ticks=bridge_ticks)
    index = store.index
    there = {at: place for at, place in store.places().items() if place.id == recording.id}
    if reward is None:
        taken = _ticks_of(recording, there.values())
        left = [part for run in runs.slices for part in run.without(taken)]
        kept = [at for at, place in there.items() if _ticks_of(recording, [place]).any()]
    else:
        _require_whole(recording, there, store, path)
        left, kept = list(runs.slices), []
    found = terminated = steps = added = replaced = already_there = 0
    if left:
        # Through a store beside it: few episodes are in memory at once, and one commit takes them all or none.
        with store.location.room_beside() as room:
            options = Upkeep(commit_episodes=_EPISODES_A_COMMIT)
            with EpisodeStore.create(room / "store", store.spec, options=options) as passing:
                for episode in episodes(recording, left, reward=reward):
                    passing.append([episode])
            merged = store.merge(passing, replace=reward is not None)
            new = passing.index
        found, steps, terminated = len(new.number), int(new.steps.sum()), int(new.terminated.sum())
        added, replaced, already_there = merged.added, merged.replaced, merged.already_there
    return ImportResult(
        path=path,
        version=store.version,
        recorder=_recorder(recording),
        ticks=len(recording.ticks),
        duration_s=_duration_s(recording),
        episodes=found + len(kept),
        steps=steps + int(index.steps[kept].sum()),
        terminated=terminated + int(index.terminated[kept].sum()),
        after_end=sum(run.steps for run in left) - steps,
        added=added,
        replaced=replaced,
        already_there=already_there + len(kept),
        runs=runs,
        damage=recording.damage,
    )


def _ticks_of(recording: TickRecording, places: Iterable[RecordedIn]) -> NDArray[np.bool_]:
    """Whether each tick of the recording is in one of these stretches [N]."""
    numbers = recording.numbers
    taken = np.zeros(len(numbers), np.bool_)
    for place in places:
        taken |= (numbers >= place.first) & (numbers <= place.last)
    return taken


def _require_whole(recording: TickRecording, there: Mapping[int, RecordedIn], store: EpisodeStore, path: Path) -> None:
    for at, place in there.items():
        if _ticks_of(recording, [place]).any() and not {place.first, place.last} <= set(recording.numbers.tolist()):
            raise UserError(
                f"{path}: episode {store.index.number[at]} of {store.location} has ticks {place.first} to {place.last}"
                " of this recording, which are not all in this file: import the whole recording"
            )


def _recorder(recording: TickRecording) -> str:
    info = recording.info
    where = [f"on {info.host}" if info.host else "", f"serial {info.serial}" if info.serial else ""]
    return " ".join(word for word in (info.robot, info.agent, *where) if word)


def _duration_s(recording: TickRecording) -> float:
    receipt_ns = recording.ticks["receipt_ns"]
    return float(receipt_ns[-1] - receipt_ns[0]) * 1e-9 if len(receipt_ns) else 0.0


def episodes(recording: TickRecording, runs: Iterable[Run], *, reward: Reward | None = None) -> Iterator[Episode]:
    """The episodes of these runs: one each, unless ``reward`` tells of ends."""
    spec = recording.spec
    rest = to_command(spec.action, np.zeros(spec.action_dim, np.float32))  # [A]
    for run in runs:
        places = run.places()  # [L]
        command = np.ascontiguousarray(recording.ticks["command"][places])  # [L, A]
        obs = {field.name: _column(recording, field, places) for field in spec.observations if _is_stored(field)}
        obs |= {field.name: _before(command, rest) for field in spec.observations if not _is_stored(field)}
        action = _taken(command)
        for array in (*obs.values(), action):
            array.flags.writeable = False  # a reward function that works in place would change what is stored
        said = judged(reward, obs, action)
        for part in _parts(said):
            # An episode does not know of the one before.
            own = {field.name: _before(command[part], rest) for field in spec.observations if not _is_stored(field)}
            step = np.arange(part.stop - part.start)
            is_last = step == step[-1]
            told = said.reward[part]
            source = _source(recording, run, places[part], rewards_told=reward is not None and not told.any())
            yield Episode(
                obs={name: array[part] for name, array in obs.items()} | own,
                action=_taken(command[part]),
                reward=told,
                reward_known=known_rewards(source, told),
                is_first=step == 0,
                is_last=is_last,
                is_terminal=is_last & said.terminal[part.stop - 1],
                source=source,
            )


def _is_stored(field: ObservationField) -> bool:
    return field.source is not Source.LAST_ACTION


def _taken(command: NDArray[np.float32]) -> NDArray[np.float32]:
    """Actions of an episode with these commands [L, A]: what came of the last was not seen."""
    return np.concatenate([command[:-1], np.zeros_like(command[-1:])])


def _before(command: NDArray[np.float32], rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """The command before each of an episode's [L, A]."""
    return np.concatenate([rest[None], command[:-1]])


def _column(recording: TickRecording, field: ObservationField, places: NDArray[np.int64]) -> NDArray[Any]:
    """What the agent saw at these ticks, [L, *shape]."""
    if field.is_image:
        return np.stack([recording.images[field.name][place] for place in places.tolist()])
    values = np.ascontiguousarray(recording.ticks[recording.log.vectors[field.name]][places])
    if field.source is not Source.COMMAND:
        return values
    limits = recording.spec.commands
    low = np.array([limit.low for limit in limits], np.float32)
    high = np.array([limit.high for limit in limits], np.float32)
    clipped: NDArray[np.float32] = np.clip(values, low, high)
    return clipped


def _parts(said: Judged) -> Iterator[slice]:
    """Steps from the first that is not terminal to the first that is, two or more, again and again.

    A reward that is not known begins an episode, whose first reward is 0 and belongs to no step.
    """
    begin: int | None = None
    for at, (ends, known) in enumerate(zip(said.terminal.tolist(), said.known.tolist(), strict=True)):
        if begin is not None and not known:
            if at - begin > 1:
                yield slice(begin, at)
            begin = None
        if begin is None and not ends:
            begin = at
        elif begin is not None and ends:
            yield slice(begin, at + 1)
            begin = None
    if begin is not None and len(said.known) - begin > 1:
        yield slice(begin, len(said.known))


def _source(recording: TickRecording, run: Run, places: NDArray[np.int64], *, rewards_told: bool) -> EpisodeSource:
    """Of the episode at these ticks [L] of a run."""
    spec, info, numbers = recording.spec, recording.info, recording.numbers
    ended = datetime.fromtimestamp(int(recording.ticks["publish_ns"][places[-1]]) / 1e9, timezone.utc)
    return EpisodeSource(
        kind="robot",
        task=spec.task,
        robot=spec.robot,
        policy=info.bundle_sha256,
        created_utc=ended.isoformat(timespec="milliseconds"),
        rewards_told=rewards_told,
        recording=RecordedIn(
            id=recording.id,
            first=int(numbers[run.start]),
            last=int(numbers[run.stop - 1]),
            begin=int(numbers[places[0]]),
            bridged=tuple((np.flatnonzero(np.diff(places) == 0) + 1).tolist()),
            namespace=info.namespace,
            agent=info.agent,
            host=info.host,
            serial=info.serial,
        ),
    )
