"""`robot-wm replay`: look at a replay store, name its versions, go back, join, import, export and tidy up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import cyclopts
from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.console import emit, messages
from robot_wm.errors import UserError

if TYPE_CHECKING:
    from robot_wm.replay.reading import Damage
    from robot_wm.replay.store import EpisodeStore

app = cyclopts.App(
    name="replay",
    help="Experience as a versioned asset: list, tag, restore, merge, import, export and tidy up a replay store.",
    result_action="return_value",
)

Store = Annotated[str, Parameter(help="folder of the replay store, or s3://bucket/prefix")]
Json = Annotated[bool, Parameter(name="--json", negative="")]
SkipDamaged = Annotated[bool, Parameter(negative="")]
Count = Annotated[int, Parameter(validator=Number(gt=0))]


def _open(path: str, version: str | None = None) -> EpisodeStore:
    from robot_wm.replay.store import EpisodeStore

    return EpisodeStore.open(path, version=version)


def _tell(damage: Sequence[Damage], *, what: str = "left out") -> list[dict[str, Any]]:
    """Name damage on stderr and return it for the result."""
    for item in damage:
        messages().print(f"{what}: {item}", style="yellow")
    return [{"file": item.file, "episodes": list(item.episodes), "reason": item.reason} for item in damage]


@app.command
def log(path: Store, /, *, limit: Count = 20, json: Json = False) -> None:
    """List versions, newest first: commit time (UTC), episodes, steps, mean return and tags.

    Parameters
    ----------
    limit
        How many versions to list.
    json
        Print one JSON object.
    """
    emit({"path": str(path), "rows": _open(path).log(limit=limit)}, as_json=json, title="replay")


@app.command
def show(path: Store, /, *, version: str | None = None, episode: int | None = None, json: Json = False) -> None:
    """Say what a version holds, or one episode of it.

    Parameters
    ----------
    version
        Number or tag of a version; the newest if not given.
    episode
        Number of an episode (versions list the range of theirs).
    json
        Print one JSON object.
    """
    store = _open(path, version)
    result: dict[str, Any] = {"path": str(path), **store.summary()}
    if episode is None:
        index = store.index
        result["episode_numbers"] = [int(index.number[0]), int(index.number[-1])] if len(index.number) else []
        result["disk_bytes"] = store.table.bytes()
        result["tags"] = sorted(name for name, number in store.tags().items() if number == store.version)
        result |= {"task": store.spec.task, "robot": store.spec.robot, "spec_hash": store.spec.content_hash()}
    else:
        from robot_wm.replay.rows import digest

        found = store.episode(episode)
        result = {
            "path": str(path),
            "version": store.version,
            "episode": episode,
            "steps": found.length,
            "duration_s": (found.length - 1) * store.spec.control_period_s,
            "return": found.episode_return,
            "terminated": bool(found.is_terminal[-1]),
            "bytes": found.nbytes,
            "digest": digest(found),
            "source": found.source.model_dump(mode="json"),
        }
    emit(result, as_json=json, title="replay")


@app.command
def recordings(path: Store, /, *, version: str | None = None, json: Json = False) -> None:
    """List the recordings that a version's episodes come from, and the robot that made each.

    Parameters
    ----------
    version
        Number or tag of a version; the newest if not given.
    json
        Print one JSON object.
    """
    store = _open(path, version)
    by_id: dict[str, list[int]] = {}
    places = store.places()
    for position, place in places.items():
        by_id.setdefault(place.id, []).append(position)
    rows = []
    for positions in by_id.values():
        robot = places[positions[0]].model_dump(include={"id", "agent", "namespace", "host", "serial"})
        rows.append(
            robot
            | {
                "episodes": len(positions),
                "steps": int(store.index.steps[positions].sum()),
                "terminated": int(store.index.terminated[positions].sum()),
                "bridged_steps": sum(len(places[position].bridged) for position in positions),
            }
        )
    emit({"path": str(path), "version": store.version, "rows": rows}, as_json=json, title="replay")


@app.command
def tag(
    path: Store,
    name: str,
    /,
    *,
    version: str | None = None,
    move: Annotated[bool, Parameter(negative="")] = False,
    delete: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Name a version; a named version is protected from quota and cleanup.

    Parameters
    ----------
    name
        A letter, then letters, digits, '.', '_' or '-'.
    version
        Number or tag of a version; the newest if not given.
    move
        Let an existing tag go to another version.
    delete
        Take the tag away instead.
    json
        Print one JSON object.
    """
    store = _open(path)
    if delete:
        if version is not None or move:
            raise UserError("--delete goes with neither --version nor --move")
        store.untag(name)
        emit({"path": str(path), "tag": name, "deleted": True}, as_json=json, title="replay")
        return
    emit({"path": str(path), "tag": name, "version": store.tag(name, version, move=move)}, as_json=json, title="replay")


@app.command
def checkout(path: Store, version: str, /, *, json: Json = False) -> None:
    """Make an old version the newest again, as a new version; nothing is lost.

    Parameters
    ----------
    version
        Number or tag of a version.
    json
        Print one JSON object.
    """
    store = _open(path)
    store.checkout(version)
    emit({"path": str(path), "from": version, **store.summary()}, as_json=json, title="replay")


@app.command
def merge(
    path: Store,
    other: str,
    /,
    *,
    version: str | None = None,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
) -> None:
    """Add another store's episodes to this one, in one commit; both must have the same AgentSpec.

    Sources are kept; episodes that are here already are left out.

    Parameters
    ----------
    other
        Folder of the replay store to take from, or s3://bucket/prefix.
    version
        Number or tag of its version; its newest if not given.
    skip_damaged
        Leave damaged episodes out (they are named) instead of refusing.
    json
        Print one JSON object.
    """
    store = _open(path)
    result = store.merge(_open(other, version), skip_damaged=skip_damaged)
    body = {"path": str(path), "added": result.added, "already_there": result.already_there, **store.summary()}
    emit(body | {"damaged": _tell(result.skipped)}, as_json=json, title="replay")


@app.command(name="import")
def import_(
    *files: Annotated[Path, Parameter(help="recordings: FILE.mcap, or FILE.mcap.part after a crash")],
    into: str,
    reward: str = "none",
    option: dict[str, str] | None = None,
    bridge_ticks: Annotated[int, Parameter(validator=Number(gte=0))] = 3,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
) -> None:
    """Turn a robot's recordings into episodes of a store, one commit a file.

    An episode is a run of ticks in which the robot did what the agent said, without fault or gap.

    What is there already, by the recording's id and the ticks in it, is left out and keeps its rewards. Imported again
    with --reward, episodes whose rewards or ends are others now take the old ones' place, in a new version.

    Parameters
    ----------
    into
        Folder of the replay store, or s3://bucket/prefix; made if there is none. Its AgentSpec must be the recordings'.
    reward
        What computes the rewards: module:function, called with observations {field: [L, ...]} and commands [L, A] of
        L steps; returns rewards [L], or with terminal [L] (bool), the first true of which ends the episode for good,
        and known [L] (bool): an episode begins where a reward is not known. task: the task's own function, with the
        ends that it has in simulation, where the recorded fields suffice for one. none: rewards are zeros that count
        as unknown, which no learner learns, and nothing is terminal.
    option
        Options of the task, for --reward task, such as --option.observation proprio: its AgentSpec must be that of the
        recordings.
    bridge_ticks
        Ticks that a busy machine has skipped in a row and that are bridged: the last observation again, the command
        that stood; the episode's source names the steps. At 50 Hz 3 ticks are 60 ms. Ten recorded ticks for each lie
        before it, or the episode ends, as at any longer gap. 0: none.
    skip_damaged
        Leave damaged parts of a file out (they are named) instead of refusing it.
    json
        Print one JSON object.
    """
    from robot_wm.replay.judged import chosen_reward
    from robot_wm.replay.mcap_import import import_recording
    from robot_wm.tasks import parse_options

    if not files:
        raise UserError("import: give at least one recording")
    function = chosen_reward(reward, parse_options(option or {}))
    rows = []
    for path in files:
        result = import_recording(path, into, reward=function, bridge_ticks=bridge_ticks, skip_damaged=skip_damaged)
        for words in result.damage:
            messages().print(f"{path}: {words}", style="yellow")
        if not json:
            messages().print(result.line())
        rows.append(result.summary())
    emit({"path": str(into), **_open(into).summary(), "reward": reward, "rows": rows}, as_json=json, title="replay")


@app.command
def export(
    path: Store,
    folder: Path,
    /,
    *,
    format: Literal["npz", "parquet", "lerobot"] = "npz",
    video: Literal["exact", "small"] = "exact",
    version: str | None = None,
    skip_damaged: SkipDamaged = False,
    json: Json = False,
) -> None:
    """Write a version to a new folder that others can read; its README.md says the format.

    Parameters
    ----------
    folder
        Folder to make; must not exist.
    format
        npz (a NumPy archive per episode), parquet (a row per step) or lerobot (a LeRobot dataset, format v3.0).
    video
        How a LeRobot dataset holds a camera's pictures: exact (bit for bit, for learners) or small (browsers play it).
    version
        Number or tag of a version; the newest if not given.
    skip_damaged
        Leave damaged episodes out (they are named) instead of refusing.
    json
        Print one JSON object.
    """
    from robot_wm.replay.export import export as write

    store = _open(path, version)
    result = write(store, folder, form=format, video=video, skip_damaged=skip_damaged)
    body = {"folder": str(folder), "format": format, "version": store.version}
    body |= {"episodes": result.episodes, "steps": result.steps, "damaged": _tell(result.skipped)}
    emit(body, as_json=json, title="replay")


@app.command
def compact(path: Store, /, *, keep_versions: Count = 100, json: Json = False) -> None:
    """Join small files and remove old versions that have no tag. Episodes stay the same.

    Parameters
    ----------
    keep_versions
        How many of the newest versions to keep; tagged ones stay anyway.
    json
        Print one JSON object.
    """
    emit({"path": str(path), **_open(path).compact(keep_versions=keep_versions)}, as_json=json, title="replay")


@app.command
def quota(
    path: Store, /, *, max_bytes: Count | None = None, max_steps: Count | None = None, json: Json = False
) -> None:
    """Drop the oldest episodes over a quota, in a new version.

    Episodes that tagged versions hold stay on disk until the tag goes; they are told as protected.

    Parameters
    ----------
    max_bytes
        Most bytes of episode data to keep in the newest version.
    max_steps
        Most steps (ticks of the agent) to keep in the newest version.
    json
        Print one JSON object.
    """
    if max_bytes is None and max_steps is None:
        raise UserError("quota: give --max-bytes or --max-steps")
    result = _open(path).enforce_quota(max_bytes=max_bytes, max_steps=max_steps)
    if result["protected_bytes"]:
        held = f"{result['protected_bytes']} bytes stay on disk for tags {', '.join(result['protected_by_tags'])}"
        messages().print(held, style="yellow")
    emit({"path": str(path), **result}, as_json=json, title="replay")


@app.command
def verify(path: Store, /, *, version: str | None = None, json: Json = False) -> None:
    """Read every episode of a version and compare it with its digest; exit code 2 if any is damaged.

    Parameters
    ----------
    version
        Number or tag of a version; the newest if not given.
    json
        Print one JSON object.
    """
    store = _open(path, version)
    damage = store.verify()
    body = {"path": str(path), **store.summary(), "damaged": _tell(damage, what="damaged")}
    emit(body, as_json=json, title="replay")
    if damage:
        episodes = sum(len(item.episodes) for item in damage)
        raise UserError(f"{path}: {episodes} damaged episodes in version {store.version}")
