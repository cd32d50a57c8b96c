"""Checkpoints: safetensors for arrays, JSON for the rest, there whole or not at all.

``<run>/checkpoints/step_000012000/`` holds ``state.json``, ``learner.safetensors`` and, on the newest one only,
``replay.safetensors``: the sampler's counters and RNG, of use to a resume only, and which files of
``<run>/checkpoints/segments/`` hold what the run's store does not (see `robot_wm.replay.saved`). Those are shared by
consecutive checkpoints, and stay as long as any names them. ``SHA256SUMS``, which `sha256sum -c` takes too, says what
the arrays were: a bit that flipped on a disk would otherwise be learned from. ``<run>/checkpoints/best.json`` names the
one with the best evaluation.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from torch import Tensor

from robot_wm.agents import agent_kind
from robot_wm.atomic import atomic_directory, atomic_file, tidy
from robot_wm.console import messages
from robot_wm.errors import UserError
from robot_wm.learning.agent import Agent
from robot_wm.options import Which
from robot_wm.replay import segments
from robot_wm.spec import AgentSpec
from robot_wm.training.config import TrainConfig

_AGENT = "agent/"  # of the learner's tensors, those of the agent
_STATE, _LEARNER, _BEST = "state.json", "learner.safetensors", "best.json"
REPLAY = "replay.safetensors"
_SUMS = "SHA256SUMS"
_STEP = "step_"


class DamagedError(UserError):
    """A file of a checkpoint is missing, or is not what was written."""


class RunState(BaseModel):
    """The part of a checkpoint that is no array."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = 1
    config: TrainConfig
    agent_spec: AgentSpec
    env_steps: int = 0
    updates: int = 0
    offline_updates: int = 0  # of those, the ones that count as steps, as no step of the environment was taken
    # Updates earned and not made yet; None where an older version wrote the checkpoint and did not count.
    update_credit: float | None = None
    episodes: int = 0
    # Counted since the run's first step; 0 where an older version wrote the checkpoint and did not count.
    robot_steps: int = 0  # control steps of all robots, which resets are not
    falls: int = 0
    replay_version: int = 0
    wall_s: float = 0.0
    ranks: int = 1  # that made it, each of which has a part of the replay
    best_return: float | None = None
    evaluation: dict[str, Any] = {}
    reality: dict[str, Any] = {}  # what the last audit told; empty where there was none
    git_commit: str = ""

    @property
    def progress(self) -> int:
        """Policy steps, and updates that were made without any: what a run's ends, logs and checkpoints count."""
        return self.env_steps + self.offline_updates


@dataclass(frozen=True)
class LoadedAgent:
    """An agent ready to evaluate or export, and where it came from."""

    agent: Agent  # on the CPU, in eval mode
    spec: AgentSpec
    lineage: dict[str, Any]
    state: RunState
    path: Path

    def tell_newer(self) -> None:
        """Print which checkpoint was taken where that is not the run's newest: a resume may leave the best behind."""
        newest = latest_path(self.path.parent.parent)
        if newest is not None and newest.resolve() != self.path.resolve():
            told = f"took {self.path.name}; the newest checkpoint is {newest.name} (--which latest)"
            messages().print(told)


def folder(run: Path) -> Path:
    """Where a run keeps its checkpoints."""
    return run / "checkpoints"


def segments_folder(run: Path) -> Path:
    """Where the checkpoints of a run have the segments of its replay, which are written before they are."""
    return folder(run) / segments.FOLDER


def path_at(run: Path, progress: int) -> Path:
    """The folder of the checkpoint at that step, whether there is one or not."""
    return folder(run) / f"{_STEP}{progress:09d}"


def tidy_up(run: Path) -> None:
    """Remove what a killed save left half written. Only for the holder of the run's lock."""
    for place in (folder(run), segments_folder(run)):
        if place.is_dir():
            tidy(place)


def save(run: Path, state: RunState, learner: dict[str, Tensor], replay: dict[str, np.ndarray], *, keep: int) -> Path:
    """Write a checkpoint and drop older ones beyond ``keep``; see `write` and `drop_older`. Returns its folder."""
    path = write(run, state, learner, replay)
    drop_older(run, keep=keep)
    return path


def write(run: Path, state: RunState, learner: dict[str, Tensor], replay: dict[str, np.ndarray]) -> Path:
    """Write a checkpoint, beside those that there are. Returns its folder.

    ``replay`` is small: what it names in `segments_folder` is there already.
    """
    path = path_at(run, state.progress)
    with atomic_directory(path) as temporary:
        safetensors.torch.save_file({k: v.contiguous().cpu() for k, v in learner.items()}, temporary / _LEARNER)
        safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in replay.items()}, temporary / REPLAY)
        (temporary / _STATE).write_text(state.model_dump_json(indent=2))
        sums = [f"{_sha256(temporary / name)}  {name}\n" for name in (_LEARNER, REPLAY)]
        sums += [f"{sha}  ../{segments.FOLDER}/{segments.file_name(sha)}\n" for sha in segments.named(replay)]
        (temporary / _SUMS).write_text("".join(sums))
    return path


def drop_older(run: Path, *, keep: int) -> None:
    """Keep the newest ``keep`` checkpoints and the best, the newest one's replay, and the segments that it names."""
    kept_so_far = paths(run)
    best = best_path(run)
    for older in kept_so_far[:-1]:
        (older / REPLAY).unlink(missing_ok=True)
    for older in kept_so_far[:-keep]:
        if older != best:
            shutil.rmtree(older)
    _drop_unnamed(run)


def _drop_unnamed(run: Path) -> None:
    """Remove the segments that no checkpoint needs, one that was set aside as damaged included."""
    needed = {segments.file_name(digest) for file in folder(run).glob(f"*/{REPLAY}") for digest in _named_in(file)}
    for file in segments_folder(run).glob(segments.file_name("*")):
        if file.name not in needed:
            file.unlink()


def _named_in(file: Path) -> list[str]:
    """SHA-256 of the segments that a saved replay names; none where it is damaged, or an older version's."""
    try:
        with safetensors.safe_open(file, "numpy") as state:
            return segments.named({key: state.get_tensor(key) for key in state.keys() if segments.is_key(key)})  # noqa: SIM118
    except (SafetensorError, OSError):
        return []


def write_agent(path: Path, state: RunState, tensors: Mapping[str, Tensor]) -> None:
    """Write a checkpoint of the agent alone, by its state dict, into the folder ``path``.

    It is enough for `load_agent`, and not to resume from. ``tensors`` may be of a lower precision than float32.
    """
    safetensors.torch.save_file({_AGENT + k: v.contiguous().cpu() for k, v in tensors.items()}, path / _LEARNER)
    (path / _STATE).write_text(state.model_dump_json(indent=2))


def mark_best(run: Path, path: Path) -> None:
    """Remember ``path`` as the checkpoint with the best evaluation."""
    with atomic_file(folder(run) / _BEST) as temporary:
        temporary.write_text(json.dumps({"checkpoint": path.name}))


def best_path(run: Path) -> Path | None:
    """The best evaluated checkpoint, if there is one."""
    try:
        path = folder(run) / json.loads((folder(run) / _BEST).read_text())["checkpoint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return path if (path / _STATE).is_file() else None


def latest_path(run: Path) -> Path | None:
    """The newest checkpoint of a run, if there is one, whether it is whole or not."""
    found = paths(run)
    return found[-1] if found else None


def find(path: Path, which: Which = "best") -> Path:
    """A checkpoint's folder from itself or from its run's folder: the newest, or the best one, which is the newest
    where none was evaluated. UserError if there is none."""
    if path.name.startswith(_STEP) or (path / _STATE).is_file():
        return path
    found = (best_path(path) if which == "best" else None) or latest_path(path)
    if found is None:
        raise UserError(f"{path}: no checkpoint there (neither a run's folder nor a checkpoint's)")
    return found


def read_state(path: Path) -> RunState:
    """The JSON part of the checkpoint in ``path``; UserError naming file, field and value."""
    file = path / _STATE
    _require_there(file)
    try:
        return RunState.model_validate_json(file.read_bytes())
    except ValidationError as error:
        problem = UserError.from_validation(error, origin=str(file))
        # What is JSON may be another version's, and no damage.
        raise (DamagedError(str(problem)) if error.errors()[0]["type"] == "json_invalid" else problem) from None


def read_learner(path: Path) -> dict[str, Tensor]:
    """The learner's tensors; DamagedError where they are not what was written."""
    _require_whole(path / _LEARNER)
    try:
        return safetensors.torch.load_file(path / _LEARNER)
    except SafetensorError as error:
        raise DamagedError(f"{path / _LEARNER}: damaged: {error}") from None


def read_replay(path: Path) -> dict[str, np.ndarray]:
    """The sampler's state, all that it names being whole; DamagedError where anything is not what was written.

    Of that kind is the lack of a replay, too, which older checkpoints of a run have.
    """
    _require_whole(path / REPLAY)
    try:
        state = safetensors.numpy.load_file(path / REPLAY)
    except SafetensorError as error:
        raise DamagedError(f"{path / REPLAY}: damaged: {error}") from None
    for digest in segments.named(state):
        file = path.parent / segments.FOLDER / segments.file_name(digest)
        _require_there(file)
        if _sha256(file) != digest:
            raise DamagedError(f"{file}: damaged: its SHA-256 is not its name")
    return state


def _require_there(file: Path) -> None:
    """Raise DamagedError for a file that is missing or empty, UserError for one that cannot be read."""
    try:
        with file.open("rb") as content:
            if not content.read(1):
                raise DamagedError(f"{file}: damaged: it is empty")
    except FileNotFoundError:
        raise DamagedError(f"{file}: missing") from None
    except OSError as error:
        raise UserError(f"{file}: cannot read the checkpoint: {error.strerror}") from None


def _require_whole(file: Path) -> None:
    """Also raise DamagedError for a file that is not as `_SUMS` says; an older version's checkpoint has no sums."""
    _require_there(file)
    sums = file.parent / _SUMS
    if sums.is_file() and f"{_sha256(file)}  {file.name}" not in sums.read_text("ascii", "replace").splitlines():
        raise DamagedError(f"{file}: damaged: its SHA-256 is not the one in {_SUMS}")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def load_agent(path: Path, which: Which = "best") -> LoadedAgent:
    """The agent of a checkpoint, or of one of a run's; see `find`. DamagedError tells what could be taken instead."""
    path = find(path, which)
    try:
        state, tensors = read_state(path), read_learner(path)
    except DamagedError as error:
        others = [other for other in paths(path.parent.parent) if other != path]
        cure = (
            f"name another one: --checkpoint {shlex.quote(str(others[-1]))}"
            if others
            else "there is no other checkpoint beside it"
        )
        raise DamagedError(f"{error}; {cure}") from None
    spec = state.agent_spec
    agent = agent_kind(state.config.agent).make_agent(state.config.settings, spec)
    agent.load_state_dict(_agent_part(tensors, path))
    lineage = {
        "git_commit": state.git_commit,
        "config": state.config.model_dump(mode="json", exclude={"run_dir"}),  # a path of this machine says nothing
        "replay_version": state.replay_version,
        "steps": state.env_steps,
        "env_steps": state.env_steps,
        "updates": state.updates,
        "evaluation": state.evaluation,
        "reality": state.reality,
        "checkpoint": path.name,
    }
    return LoadedAgent(agent=agent.eval(), spec=spec, lineage=lineage, state=state, path=path)


def _agent_part(tensors: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    part = {name[len(_AGENT) :]: value for name, value in tensors.items() if name.startswith(_AGENT)}
    if not part:
        raise UserError(f"{path / _LEARNER}: holds no agent")
    return part


def paths(run: Path) -> list[Path]:
    """A run's checkpoints, oldest first; what is in them shows when they are read."""
    return sorted(path for path in folder(run).glob(f"{_STEP}*") if path.is_dir())
