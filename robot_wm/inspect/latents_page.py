"""The folder that `robot-wm latents` leaves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robot_wm.atomic import atomic_file
from robot_wm.inspect.latent_pictures import encoding_figure, map_figure
from robot_wm.inspect.latents import Encoded, Latents
from robot_wm.inspect.maps import LatentMap
from robot_wm.page import saved_picture, write_page
from robot_wm.spec import AgentSpec

JSON, PAGE = "latents.json", "latents.html"
_NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}


def write_latents(
    folder: Path,
    latents: Latents,
    found: Encoded,
    maps: Sequence[tuple[LatentMap, NDArray[np.float32] | None]],
    *,
    of: Mapping[str, Any],
    spec: AgentSpec,
) -> dict[str, Any]:
    """Write the report to ``folder`` and return what it says; maps come with the points that were placed in them."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        **of,
        "latents": len(latents.latent),
        "numbers": int(latents.latent.shape[1]),
        "episodes": len(np.unique(latents.episode)),
        "r2": found.rows(),
    }
    pictures = [
        saved_picture(
            folder / f"{made.kind}.png",
            f"{_NAMES[made.kind]} of {len(made.points)} latents",
            "Each point is what the agent believed at one recorded step.",
            map_figure(made, latents, new),
        )
        for made, new in maps
    ]
    pictures.append(
        saved_picture(
            folder / "encoding.png",
            "What each group of the latent encodes",
            "R² of a straight line from the group alone to what was observed, on episodes that it was not fitted to.",
            encoding_figure(found),
        )
    )
    _write_projector(folder, latents)
    with atomic_file(folder / JSON) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")
    all_r2 = found.by_part[:, 0]
    write_page(
        folder / PAGE,
        title=f"Latents, {spec.task}",
        subtitle=" · ".join(f"{name} {value}" for name, value in of.items()),
        headline=[
            ("latents", str(len(latents.latent))),
            ("numbers each", str(latents.latent.shape[1])),
            ("median R² of the observation", f"{np.nanmedian(all_r2):.2f}"),
        ],
        pictures=pictures,
        rows=result,
    )
    return result


def _write_projector(folder: Path, latents: Latents) -> None:
    """For TensorBoard's projector: ``tensorboard --logdir FOLDER/tensorboard``."""
    import torch
    from torch.utils.tensorboard import SummaryWriter

    names = [*latents.colours, "episode", "step"]
    columns = [*latents.colours.values(), latents.episode, latents.step]
    rows = [[f"{value:.5g}" for value in row] for row in zip(*columns, strict=True)]
    with SummaryWriter(str(folder / "tensorboard")) as board:
        board.add_embedding(torch.from_numpy(latents.latent), rows, metadata_header=names, tag="latents", global_step=0)
