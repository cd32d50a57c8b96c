"""`robot-wm latents`: the map of what an agent believes, and what its latents encode."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from robot_wm.console import emit, messages
from robot_wm.errors import UserError
from robot_wm.inspect.maps import MapKind
from robot_wm.options import Positive, Seed, Which

if TYPE_CHECKING:
    from robot_wm.inspect.latents import Latents
    from robot_wm.replay.store import EpisodeStore
    from robot_wm.training.checkpoint import LoadedAgent

_EACH = 500  # control steps of an episode


def latents_command(
    source: str,
    /,
    *,
    replay: str | None = None,
    new: str | None = None,
    out: Path | None = None,
    which: Which = "best",
    weights: str | None = None,
    maps: tuple[MapKind, ...] = ("pca", "tsne", "umap"),
    steps: Annotated[int, Positive] = 4000,
    seed: Seed = 0,
    json: Annotated[bool, Parameter(name="--json", negative="")] = False,
) -> None:
    """Map the latents of recorded steps, and probe what they encode.

    Each map is coloured by reward, value, surprise, command, time and what is about to fall, with episodes' ways
    through it. The folder gets latents.html, latents.json, a PNG of each map and of the probes, and the latents for
    TensorBoard's projector.

    Parameters
    ----------
    source
        Run's folder, checkpoint's folder, zoo:NAME, or a bundle whose checkpoint lies beside it or is named.
    replay
        Store of the recorded steps, PATH[@VERSION|TAG], or a run's folder [default: the run's own, as the checkpoint
        left it; an agent without one first plays 4000 control steps of its task].
    new
        Another replay, whose latents are placed in the maps that the first one made.
    out
        Folder of the report [default: latents beside the run's checkpoints].
    which
        Of a run's checkpoints: best by evaluation (the newest where none was evaluated), or latest.
    weights
        Of a bundle: the run, checkpoint or zoo:NAME that it was exported from [default: the one beside it].
    maps
        Maps to draw: pca, tsne, umap; t-SNE and UMAP take a minute for 4000 steps.
    steps
        Recorded steps to take, of episodes that are spread over the replay.
    seed
        Seeds the maps.
    json
        Print the result as one JSON object.
    """
    from robot_wm.inspect.agents_replay import locate, report_folder, store_of
    from robot_wm.inspect.latents import encoded
    from robot_wm.inspect.latents_page import PAGE, write_latents
    from robot_wm.inspect.maps import make_map

    loaded = locate(source, which, weights)
    folder = out if out is not None else report_folder(loaded, source, "latents")
    store = store_of(loaded, replay, folder, seed)
    imagination = loaded.agent.imagination()
    if imagination is None:
        raise UserError(f"{source}: an agent of the kind {loaded.agent.kind!r} has no latents that could be looked at")
    with messages().status("filtering recorded steps") as status:
        known = _latents(loaded, store, steps)
        later = None if new is None else _latents(loaded, store_of(loaded, new, folder, seed), steps)
        status.update("probing what latents encode")
        found = encoded(known, imagination.parts)
        made = []
        for kind in dict.fromkeys(maps):
            status.update(f"drawing {kind}")
            drawn = make_map(kind, known.latent, seed=seed)
            made.append((drawn, None if later is None else drawn.place(later.latent)))
    of = {"source": source, "checkpoint": loaded.path.name, "replay": f"{store.location}@{store.version}"}
    if new is not None:
        of["new"] = new
    result = write_latents(folder, known, found, made, of=of, spec=store.spec)
    emit(result, as_json=json, title=f"latents of {source}")
    messages().print(f"report: {folder / PAGE}")


def _latents(loaded: LoadedAgent, store: EpisodeStore, steps: int) -> Latents:
    from robot_wm.inspect.believing import believe, spread_over
    from robot_wm.inspect.latents import Latents

    episodes = spread_over(store, steps, each=_EACH)
    return Latents.of(believe(loaded.agent, store.spec, episodes, most_steps=_EACH), store.spec)
