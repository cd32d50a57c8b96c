"""Latents drawn in a plane: PCA, t-SNE and UMAP, each of which embeds new latents into a map that is there already.

t-SNE is openTSNE's (Poličar et al. 2024), which has a `transform`; scikit-learn's has none.
Shape letters: N latents, M new ones, L numbers of a latent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robot_wm.errors import UserError

Floats = NDArray[np.float32]
MapKind = Literal["pca", "tsne", "umap"]

_FEWEST = 20  # latents: t-SNE and UMAP look for neighbours
_FIRST = 50  # principal components that t-SNE and UMAP are given: distances are the same, and far quicker
_NEIGHBOURS = 30


class LatentMap(NamedTuple):
    """A map of latents, and where others belong in it."""

    kind: MapKind
    points: Floats  # [N, 2]
    place: Callable[[Floats], Floats]  # latents [M, L] -> points [M, 2]; those of the map stay where they are


def make_map(kind: MapKind, latents: Floats, *, seed: int = 0) -> LatentMap:
    """Fit a map to ``latents`` [N, L]; UserError for too few of them."""
    if len(latents) < _FEWEST:
        raise UserError(f"a map of latents needs at least {_FEWEST} of them, got {len(latents)}")
    from sklearn.decomposition import PCA

    components = 2 if kind == "pca" else min(_FIRST, *latents.shape)
    axes = PCA(components, svd_solver="randomized", random_state=seed).fit(latents)
    if kind == "pca":
        return LatentMap(kind, _plane(axes.transform(latents)), lambda new: _plane(axes.transform(new)))
    points, place = _FITS[kind](axes.transform(latents), min(_NEIGHBOURS, len(latents) // 4), seed)
    return LatentMap(kind, points, lambda new: place(axes.transform(new)))


def _tsne(rows: Floats, neighbours: int, seed: int) -> tuple[Floats, Callable[[Floats], Floats]]:
    from openTSNE import TSNE

    fitted = TSNE(perplexity=neighbours, initialization="pca", random_state=seed, n_jobs=1).fit(rows)
    return _plane(fitted), lambda new: _plane(fitted.transform(new, perplexity=min(5, len(rows) // 4)))


def _umap(rows: Floats, neighbours: int, seed: int) -> tuple[Floats, Callable[[Floats], Floats]]:
    from umap import UMAP

    fitted = UMAP(n_neighbors=neighbours, random_state=seed, n_jobs=1)
    points = fitted.fit_transform(rows)
    return _plane(points), lambda new: _plane(fitted.transform(new))


_FITS: Mapping[str, Callable[[Floats, int, int], tuple[Floats, Callable[[Floats], Floats]]]] = {
    "tsne": _tsne,
    "umap": _umap,
}


def _plane(points: Any) -> Floats:
    return np.asarray(points, np.float32)
