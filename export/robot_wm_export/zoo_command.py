"""`robot-wm zoo add` and `robot-wm zoo sign`: for who keeps the zoo."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

from robot_wm.atomic import atomic_directory, atomic_file
from robot_wm.console import emit, messages, progress
from robot_wm.errors import UserError
from robot_wm.zoo.catalog import BUNDLE, CURVE, Zoo
from robot_wm.zoo.command import Json, ZooFolder, open_zoo, table

if TYPE_CHECKING:
    from robot_wm.runtime.monitor import MonitorSection
    from robot_wm.training.checkpoint import LoadedAgent
    from robot_wm.zoo.catalog import Card
    from robot_wm_export.monitor.calibrate import Plan

_NAME = re.compile(r"[a-z][a-z0-9_]*")
Episodes = Annotated[int, Parameter(validator=Number(gte=1))]
MonitorEpisodes = Annotated[int, Parameter(validator=Number(gte=0))]
MonitorRate = Annotated[float, Parameter(validator=Number(gt=0, lt=1))]
MonitorConfidence = Annotated[float, Parameter(validator=Number(gte=0, lt=1))]


def add(
    *,
    run: Path,
    name: str,
    sign: Path | None = None,
    episodes: Episodes = 20,
    backends: str = "pybullet,mujoco",
    note: str = "",
    monitor: MonitorEpisodes = 0,
    monitor_rate: MonitorRate = 0.01,
    monitor_confidence: MonitorConfidence = 0.0,
    force: Annotated[bool, Parameter(negative="")] = False,
    zoo: ZooFolder = None,
    json: Json = False,
) -> None:
    """Make an agent of the zoo from a run: weights, bundle, figures in each physics engine, curve, pictures, card.

    Parameters
    ----------
    run
        Folder of a run (its best checkpoint, else the newest) or of one of its checkpoints.
    name
        Name in the zoo, such as a1_velocity.
    sign
        PEM private key (Ed25519) of the zoo. Without it the bundle is unsigned, and runs once `robot-wm zoo sign` has
        signed it.
    episodes
        Greedy episodes in each engine.
    backends
        Physics engines to evaluate it in, separated by commas.
    note
        For the card: what the command line of the run does not tell of how it was made.
    monitor
        Episodes that each limit of the agent's monitor is set by; 0: no monitor.
    monitor_rate
        Share of new episodes in which it gives a false alarm, of a changed world or of a fall, at most.
    monitor_confidence
        That this very monitor's share is no larger; 0: that of all such monitors in the mean. 0.95 needs 817 episodes
        at a rate of 0.01.
    force
        Replace an agent of that name.
    json
        Print the card's figures as one JSON object.
    """
    from robot_wm.training import scalars
    from robot_wm.training.checkpoint import load_agent
    from robot_wm_export.zoo_curve import write_curve
    from robot_wm_export.zoo_entry import require_present_task, write_checkpoint

    planned = _plan(monitor, monitor_rate, monitor_confidence)
    opened = _writable(open_zoo(zoo))
    if not _NAME.fullmatch(name):
        raise UserError(f"--name {name!r}: small letters, digits and _ only, a letter first")
    if name in opened.names() and not force:
        raise UserError(f"zoo:{name}: is there already; add --force to replace it")
    if sign is not None:
        _require_key(sign, opened)
    loaded = load_agent(run)
    require_present_task(name, loaded)
    with atomic_directory(opened.folder(name)) as folder:
        write_checkpoint(folder, loaded)
        write_curve(folder / CURVE, scalars.read(loaded.path.parent.parent))
        stored = load_agent(folder)
        _export(stored, folder / BUNDLE, sign, name, planned)
        card = _describe(folder, name, stored, episodes, backends.split(","), note)
    if sign is not None:
        _write_public_key(sign, opened)
    else:
        messages().print(f"zoo:{name} is not signed: robot-wm zoo sign --key KEY.pem signs all of them")
    _tell([card], opened, json)


def sign(
    *,
    key: Path,
    episodes: Episodes | None = None,
    backends: str = "pybullet,mujoco",
    monitor: MonitorEpisodes | None = None,
    monitor_rate: MonitorRate = 0.01,
    monitor_confidence: MonitorConfidence = 0.0,
    zoo: ZooFolder = None,
    json: Json = False,
) -> None:
    """Export all agents of the zoo anew from their weights, sign them, and write the public key beside them.

    So it goes with every new version of the bundle's manifest. Nothing is changed unless all can be exported; an agent
    whose task has another AgentSpec by now cannot.

    Parameters
    ----------
    key
        PEM private key (Ed25519), from `robot-wm export generate-key`; keep it out of the repository.
    episodes
        Evaluate them again, too, with so many episodes in each engine, and write their cards anew.
    backends
        Physics engines to evaluate them in, separated by commas.
    monitor
        Episodes that each limit of an agent's monitor is set by anew; 0: no monitors. Without it every agent keeps the
        monitor of its bundle, which holds for its weights.
    monitor_rate
        As of `robot-wm zoo add`.
    monitor_confidence
        As of `robot-wm zoo add`.
    json
        Print the cards' figures as one JSON object.
    """
    from robot_wm.runtime.signature import load_private_key
    from robot_wm.training.checkpoint import load_agent
    from robot_wm_export.zoo_entry import require_present_task

    planned = None if monitor is None else _plan(monitor, monitor_rate, monitor_confidence)
    opened = _writable(open_zoo(zoo))
    load_private_key(key)
    agents = {name: load_agent(opened.folder(name)) for name in opened.names()}
    if not agents:
        raise UserError(f"{opened.root}: there is no agent to sign; robot-wm zoo add makes one")
    for name, loaded in agents.items():
        require_present_task(name, loaded)
    with tempfile.TemporaryDirectory(prefix="robot_wm_zoo_") as temporary:
        made = {name: Path(temporary) / name for name in agents}
        for name, loaded in agents.items():
            made[name].mkdir()
            watched = _kept_monitor(opened, name, loaded) if monitor is None else planned
            _export(loaded, made[name] / BUNDLE, key, name, watched)
            if episodes is not None:
                shutil.copyfile(opened.folder(name) / CURVE, made[name] / CURVE)
                _describe(made[name], name, loaded, episodes, backends.split(","), opened.card(name).note)
        for name, folder in made.items():
            for path in folder.iterdir():
                _replace(opened.folder(name) / path.name, path.read_bytes())
    _write_public_key(key, opened)
    _tell([opened.card(name) for name in agents], opened, json)


def _plan(episodes: int, rate: float, confidence: float) -> Plan | None:
    from robot_wm_export.monitor.calibrate import Plan

    return Plan(episodes=episodes, false_alarm_rate=rate, confidence=confidence) if episodes else None


def _kept_monitor(zoo: Zoo, name: str, loaded: LoadedAgent) -> MonitorSection | None:
    """Of the agent's present bundle, signed or not: who signs vouches for it.

    None, said aloud, where it cannot be read.
    """
    from robot_wm.runtime.bundle import Bundle
    from robot_wm.spec import require_same

    path = zoo.bundle(name)
    try:
        with Bundle.open(path) as bundle:
            require_same(loaded.spec, bundle.spec, origin=str(path))
            return bundle.manifest.monitor
    except UserError as error:
        messages().print(f"zoo:{name}: gets no monitor, for that of its bundle cannot be kept: {error}")
        return None


def _export(
    loaded: LoadedAgent, target: Path, key: Path | None, name: str, monitor: Plan | MonitorSection | None
) -> None:
    from robot_wm_export.zoo_entry import write_bundle_zip

    with messages().status(name) as status:
        write_bundle_zip(loaded, target, key, monitor=monitor, on_stage=lambda stage: status.update(f"{name}: {stage}"))


def _describe(folder: Path, name: str, loaded: LoadedAgent, episodes: int, backends: list[str], note: str) -> Card:
    from robot_wm_export.zoo_card import evaluate_entry, write_card

    with progress() as bar:
        row = bar.add_task(f"evaluate {name}", total=episodes * len(backends), note="")
        evaluations = evaluate_entry(
            folder,
            loaded.state.config.task,
            backends,
            episodes=episodes,
            done=lambda count: bar.update(row, completed=count),
        )
    return write_card(folder, name, loaded, evaluations, note=note)


def _require_key(key: Path, zoo: Zoo) -> None:
    """Refuse a private key whose public half is not the zoo's, where the zoo has one: there is one key for all."""
    from robot_wm.runtime.signature import load_private_key, public_pem

    public = public_pem(load_private_key(key))
    if zoo.public_key.exists() and zoo.public_key.read_bytes() != public:
        raise UserError(f"{key}: another key than {zoo.public_key}; robot-wm zoo sign signs all agents with a new one")


def _write_public_key(key: Path, zoo: Zoo) -> None:
    from robot_wm.runtime.signature import load_private_key, public_pem

    _replace(zoo.public_key, public_pem(load_private_key(key)))


def _replace(path: Path, content: bytes) -> None:
    with atomic_file(path) as temporary:
        temporary.write_bytes(content)


def _writable(zoo: Zoo) -> Zoo:
    if not os.access(zoo.root, os.W_OK):
        raise UserError(f"{zoo.root}: no folder that can be written; work in a checkout, or name another with --zoo")
    return zoo


def _tell(cards: list[Card], zoo: Zoo, as_json: bool) -> None:
    rows = [card.model_dump(mode="json") for card in cards] if as_json else table(cards, zoo)
    emit({"zoo": str(zoo.root), "rows": rows}, as_json=as_json)
