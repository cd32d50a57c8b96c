"""A trained agent goes on with recordings of a robot that has changed: offline, in a run of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from robot_wm.agents import agent_kind
from robot_wm.console import messages
from robot_wm.errors import UserError
from robot_wm.learning.config import AgentConfig
from robot_wm.replay.store import EpisodeStore
from robot_wm.spec import AgentSpec
from robot_wm.training.config import TrainConfig
from robot_wm.training.initial import load_source

REPLAY_CAPACITY_STEPS = 200_000  # of each store, the newest: more than an hour at 50 Hz


def recorded(replay: Sequence[str], run_dir: Path, spec: AgentSpec) -> list[str]:
    """What ``--replay`` names as stores: MCAP files are imported into one of the new run's folder.

    Raises UserError for a recording that cannot be read, or of another agent's ``spec``.
    """
    files = [Path(text) for text in replay if text.endswith(".mcap")]
    stores = [text for text in replay if not text.endswith(".mcap")]
    if files:
        from robot_wm.replay.mcap_import import import_recording  # a learner of stores alone needs no MCAP library

        folder = run_dir / "recorded"
        run_dir.mkdir(parents=True, exist_ok=True)
        if not folder.exists():
            EpisodeStore.create(folder, spec)
        for file in files:
            messages().print(import_recording(file, folder).line())
        stores.append(str(folder))
    return stores


def adapted(source: TrainConfig, changes: Mapping[str, Any]) -> AgentConfig:
    """Settings of an agent that adapts, from those of its source; UserError for ``changes`` that make no sense."""
    theirs = source.settings
    try:
        return type(theirs)(**{**theirs.model_dump(exclude_unset=True), **agent_kind(source.agent).adapting, **changes})
    except ValidationError as error:
        raise UserError.from_validation(error, origin="adapt") from None


def adaptation(
    source: str,
    replay: Sequence[str],
    *,
    run_dir: Path,
    updates: int,
    log_every_updates: int = 1000,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    threads: int = 0,
    changes: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """The run that adapts ``source`` to the stores ``replay``, with the source's settings but for ``changes``.

    ``changes`` are settings of the agent's kind, such as ``{"pessimism": 1.0}``. The run takes no step of any
    environment; the source's task is asked for its spec only. Raises UserError where settings do not make sense.
    """
    theirs = load_source(source).state.config
    settings = adapted(theirs, changes or {})
    try:
        return TrainConfig(
            agent=theirs.agent,
            task=theirs.task,
            task_options=theirs.task_options,
            init=source,
            run_dir=run_dir,
            steps=updates,
            log_every_steps=log_every_updates,
            offline=True,
            replay=tuple(replay),
            replay_capacity_steps=REPLAY_CAPACITY_STEPS,
            seed=seed,
            device=device,
            threads=threads,
            settings=settings,
        )
    except ValidationError as error:
        raise UserError.from_validation(error, origin="adapt") from None
