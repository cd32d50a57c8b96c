"""`robot-wm look`: a recording to scroll through, and a page, of what a model or a robot went through."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from robot_wm.console import emit, messages, progress
from robot_wm.options import Positive, Seed, Which

if TYPE_CHECKING:
    from collections.abc import Sequence

    from robot_wm.inspect.overview import Overview
    from robot_wm.inspect.pieces import Pieces
    from robot_wm.inspect.run_pieces import RunPieces
    from robot_wm.posed import PosedRobot
    from robot_wm.replay.episode import Episode
    from robot_wm.training.checkpoint import LoadedAgent

_TITLES = {
    "observation": "Observations",
    "reward": "Reward",
    "value": "Value",
    "surprise": "Surprise",
    "action": "Action",
    "mode": "Mode",
    "took": "Time taken by a tick, ms",
}
PAGE, RECORDING = "look.html", "look.rrd"


def look_command(
    source: str,
    /,
    *,
    replay: str | None = None,
    out: Path | None = None,
    which: Which = "best",
    weights: str | None = None,
    episodes: Annotated[int, Positive] = 8,
    horizon: Annotated[int | None, Positive] = None,
    seed: Seed = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Write one Rerun recording and one self-contained page of what was seen, believed and done.

    Of an agent: observations beside their reconstruction and beside what is expected without looking (with a band of
    80 %), reward, value and surprise of stored episodes. Of a bundle: what its tick makes of them, the action that its
    controller would ask for and let out, modes and faults; and all of the former where its weights are known. Of a
    robot's recording (NAME.mcap): what it saw, the action as asked for and as filtered, value, surprise, mode, faults
    and the time that ticks took; it may be of any length.
    The folder gets look.rrd, which `rerun look.rrd` opens, and look.html.

    Parameters
    ----------
    source
        Run's folder, checkpoint's folder, zoo:NAME, a bundle, or a robot's recording NAME.mcap.
    replay
        Of an agent: store of the episodes, PATH[@VERSION|TAG], or a run's folder [default: the run's own, as the
        checkpoint left it; an agent without one first plays 4000 control steps of its task].
    out
        Folder to write [default: look beside the run's checkpoints, or beside the recording NAME.look].
    which
        Of a run's checkpoints: best by evaluation (the newest where none was evaluated), or latest.
    weights
        Of a bundle: the run, checkpoint or zoo:NAME that it was exported from [default: the one beside it, if any].
    episodes
        Stored episodes to show, spread over the replay.
    horizon
        Control steps without looking [default: as many as the agent learned to look ahead].
    seed
        Seeds what is drawn without looking.
    json
        Print the result as one JSON object.
    """
    import importlib.util

    from robot_wm.errors import UserError
    from robot_wm.inspect.bundle_weights import is_bundle
    from robot_wm.inspect.overview import Overview
    from robot_wm.posed import robot_on_stage

    if importlib.util.find_spec("rerun") is None:
        raise UserError("look: Rerun is not installed: pip install 'robot-wm[look]'")
    if source.removesuffix(".part").endswith(".mcap"):
        folder, pieces, about = _of_recording(Path(source), out)
    elif is_bundle(Path(source)):
        folder, pieces, about = _of_bundle(Path(source), replay, out, weights, episodes, horizon, seed)
    else:
        folder, pieces, about = _of_agent(source, replay, out, which, weights, episodes, horizon, seed)
    overview = Overview()
    with robot_on_stage(pieces.spec.task, pieces.task_options, pieces.spec) as (robot, why):
        pieces.robot = robot
        about["robot shown"] = why or "yes"
        _write_recording(folder, pieces, about, overview)
        if not overview.ticks:
            raise UserError(f"{source}: holds no tick")
        result = {**about, "ticks": overview.ticks, "duration_s": round(overview.duration_s, 3)}
        result["damage"] = list(pieces.damage)
        _write_page(folder, overview, robot, result)
    emit(result | {"recording": str(folder / RECORDING), "page": str(folder / PAGE)}, as_json=json, title=source)


def _of_recording(path: Path, out: Path | None) -> tuple[Path, Pieces, dict[str, Any]]:
    from robot_wm.inspect.mcap_pieces import McapPieces

    pieces = McapPieces(path)
    info = pieces.info
    about = {"source": str(path), "task": info.task, "robot": info.robot, "bundle": info.bundle_sha256}
    about |= {"recorded": info.created_utc, "spec": info.spec_hash, "clock": "UNIX time, s"}
    return out or path.with_name(path.name + ".look"), pieces, about


def _of_agent(
    source: str,
    replay: str | None,
    out: Path | None,
    which: Which,
    weights: str | None,
    episodes: int,
    horizon: int | None,
    seed: int,
) -> tuple[Path, Pieces, dict[str, Any]]:
    from robot_wm.inspect.agents_replay import locate, report_folder, store_of
    from robot_wm.inspect.believing import spread_over

    loaded = locate(source, which, weights)
    folder = out if out is not None else report_folder(loaded, source, "look")
    store = store_of(loaded, replay, folder, seed)
    chosen = spread_over(store, episodes, each=1)
    pieces, ahead = _run_pieces(loaded, chosen, horizon, seed)
    about: dict[str, Any] = {"source": source, "task": store.spec.task, "robot": store.spec.robot}
    about |= {"checkpoint": loaded.path.name, "replay": f"{store.location}@{store.version}"}
    about |= {"episodes": len(chosen), "steps without looking": ahead}
    return folder, pieces, about


def _of_bundle(
    path: Path,
    replay: str | None,
    out: Path | None,
    weights: str | None,
    episodes: int,
    horizon: int | None,
    seed: int,
) -> tuple[Path, Pieces, dict[str, Any]]:
    from robot_wm.errors import UserError
    from robot_wm.evaluation.task_flags import task_options
    from robot_wm.inspect.agents_replay import named_store
    from robot_wm.inspect.believing import spread_over
    from robot_wm.inspect.bundle_pieces import BundlePieces
    from robot_wm.inspect.bundle_weights import weights_of
    from robot_wm.runtime.bundle import Bundle

    if replay is None:
        raise UserError(f"{path}: a bundle has no replay of its own: name a store of its task with --replay")
    bundle = Bundle.open(path)
    loaded = weights_of(bundle, path, weights)
    store = named_store(replay, bundle.spec)
    chosen = spread_over(store, episodes, each=1)
    about: dict[str, Any] = {"source": str(path), "task": store.spec.task, "robot": store.spec.robot}
    about |= {"bundle": bundle.manifest_sha256, "signature": "not checked", "replay": f"{store.path}@{store.version}"}
    about |= {"weights": "not known" if loaded is None else str(loaded.path), "episodes": len(chosen)}
    model = None
    if loaded is not None and loaded.agent.imagination() is not None:
        model, about["steps without looking"] = _run_pieces(loaded, chosen, horizon, seed)
    pieces = BundlePieces(bundle, chosen, model)
    pieces.task_options = task_options(bundle.manifest.lineage.config, bundle.spec.task)
    return out or path.with_name(path.name + ".look"), pieces, about


def _run_pieces(
    loaded: LoadedAgent, chosen: Sequence[tuple[int, Episode]], horizon: int | None, seed: int
) -> tuple[RunPieces, int]:
    """Pieces of an agent's model, and how many control steps it looks away for; UserError for one without a model."""
    from robot_wm.errors import UserError
    from robot_wm.inspect.run_pieces import RunPieces

    imagination = loaded.agent.imagination()
    if imagination is None:
        raise UserError(f"an agent of the kind {loaded.agent.kind!r} has no model that could be looked at")
    ahead = horizon or imagination.horizon
    pieces = RunPieces(loaded.agent, loaded.spec, chosen, horizon=ahead, seed=seed)
    pieces.task_options = loaded.state.config.task_options
    return pieces, ahead


def _write_recording(folder: Path, pieces: Pieces, about: dict[str, Any], overview: Overview) -> None:
    from robot_wm.inspect.rerun_file import open_rerun

    folder.mkdir(parents=True, exist_ok=True)
    with (
        open_rerun(
            folder / RECORDING, name=str(about["task"]), is_clock="clock" in about, robot=pieces.robot
        ) as recording,
        progress() as bar,
    ):
        recording.say("\n".join(f"{name}: {value}" for name, value in about.items()))
        row = bar.add_task("look", total=None, note="")
        for piece in pieces:
            recording.add(piece)
            overview.add(piece)
            bar.update(row, advance=1, note=f"{overview.ticks} ticks")


def _write_page(folder: Path, overview: Overview, robot: PosedRobot | None, result: dict[str, Any]) -> None:
    from robot_wm.inspect.robot_pictures import robot_figure
    from robot_wm.page import Picture, picture, write_page

    words = "; ".join(f"{time_s:.2f} s {event}" for time_s, event in overview.events)
    more = f"; and {overview.more_events} more" if overview.more_events else ""
    pictures = [Picture("What happened", words + more or "Nothing out of the ordinary.")]
    if robot is not None and overview.close is not None:
        ghost = "; shining through as a ghost, as it was expected to be" if "imagined" in overview.close.robots else ""
        told = f"As the first ticks tell it{ghost}. Where a free base goes no field tells: it stays."
        if (poses := robot_figure(robot, overview.close)) is not None:
            pictures.append(picture("The robot", told, poses))
    if (cameras := overview.camera_figure()) is not None:
        pictures.append(picture("Cameras", "Of the first ticks.", cameras))
    for top in dict.fromkeys(name.split("/")[0] for name in overview.groups()):
        title = _TITLES.get(top, top)
        close = "The first ticks; orange dashes and their band are what is expected without looking."
        pictures.append(picture(title, close, overview.close_figure(top)))
        pictures.append(
            picture(f"{title}, all of it", "From the least to the largest value.", overview.whole_figure(top))
        )
    write_page(
        folder / PAGE,
        title=f"A look at {result['task']} on {result['robot']}",
        subtitle=str(result["source"]),
        headline=[("ticks", str(overview.ticks)), ("seconds", f"{overview.duration_s:.1f}")],
        pictures=pictures,
        rows=result,
    )
    messages().print(f"page: {folder / PAGE}; rerun {folder / RECORDING}")
