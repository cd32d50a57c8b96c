"""What is known of each latent: the numbers that maps are coloured by, and what its parts encode.

Shape letters: N latents, L numbers of a latent, F probed elements of observation fields, G groups of a latent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robot_wm.inspect.believing import Believed
from robot_wm.inspect.probe import fit_probe
from robot_wm.learning.imagination import LatentPart
from robot_wm.spec import AgentSpec

Floats = NDArray[np.float64]
_FALLING_S = 1.0  # before an episode's end for good: from then on it counts as falling


@dataclass(frozen=True)
class Latents:
    """All steps of some episodes, in one table."""

    latent: NDArray[np.float32]  # [N, L]
    episode: NDArray[np.int64]  # [N]
    step: NDArray[np.int64]  # [N] of its episode
    colours: dict[str, Floats]  # [N] each, by what it is; NaN where nobody told it
    fields: dict[str, Floats]  # [N] each: every element of every vector field, raw SI

    @classmethod
    def of(cls, believed: Sequence[Believed], spec: AgentSpec) -> Latents:
        """Of filtered episodes."""
        rows = [_rows(one, spec) for one in believed]
        joined = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        fields = {name: column for name, column in joined.items() if name.startswith("obs/")}
        return cls(
            latent=np.concatenate([one.latent for one in believed]),
            episode=np.concatenate([np.full(len(one.latent), one.number) for one in believed]),
            step=np.concatenate([np.arange(len(one.latent)) for one in believed]),
            colours={name: column for name, column in joined.items() if name not in fields},
            fields={name.removeprefix("obs/"): column for name, column in fields.items()},
        )


def _rows(one: Believed, spec: AgentSpec) -> dict[str, Floats]:
    """Columns [K] of an episode."""
    length, episode = len(one.latent), one.episode
    told = np.where(episode.reward_known, episode.reward, np.nan)[:length].astype(np.float64)
    found: dict[str, Floats] = {
        "reward": told,
        "value": one.value.astype(np.float64),
        "surprise": one.surprise.astype(np.float64),
        "time, s": np.arange(length, dtype=np.float64) * spec.control_period_s,
    }
    left_s = (episode.length - 1 - np.arange(length)) * spec.control_period_s
    falls = bool(episode.is_terminal[-1]) and not episode.source.goes_on
    found["falling"] = np.where(falls & (left_s <= _FALLING_S), 1.0, 0.0)
    for field in spec.observations:
        if field.is_image:
            continue
        for index in range(field.shape[0]):
            label = field.labels[index] if field.labels else str(index)
            name = field.name if field.shape[0] == 1 else f"{field.name}[{label}]"
            found[f"obs/{name}"] = episode.obs[field.name][:length, index].astype(np.float64)
    if spec.commands and "command" in episode.obs:
        found["command"] = np.linalg.norm(episode.obs["command"][:length], axis=1).astype(np.float64)
    return found


@dataclass(frozen=True)
class Encoded:
    """How well each part of a latent tells each element of the observation, R² on held-out episodes."""

    fields: tuple[str, ...]  # F
    parts: tuple[str, ...]
    by_part: Floats  # [F, parts]; NaN where the field does not move
    groups: tuple[str, ...]  # G
    by_group: Floats  # [F, G]

    def rows(self) -> list[dict[str, float | str]]:
        """The table by part, as it is printed."""
        return [
            {"field": name, **{part: _told(value) for part, value in zip(self.parts, row, strict=True)}}
            for name, row in zip(self.fields, self.by_part.tolist(), strict=True)
        ]


def encoded(latents: Latents, parts: Sequence[LatentPart]) -> Encoded:
    """Probe every field with the whole latent, each part of it and each group; ValueError for one episode alone."""
    names = tuple(latents.fields)
    values = np.stack([latents.fields[name] for name in names], 1)  # [N, F]
    spread = values.std(0)
    values = values / np.where(spread > 0, spread, 1.0)

    def r2(first: int, size: int) -> Floats:
        return fit_probe(names, latents.latent[:, first : first + size], values, latents.episode).r2

    whole: list[tuple[str, Floats]] = [("all", r2(0, latents.latent.shape[1]))]
    groups: list[tuple[str, Floats]] = []
    first = 0
    for part in parts:
        if len(parts) > 1:
            whole.append((part.name, r2(first, part.size)))
        groups += [
            (f"{part.name} {n}", r2(first + begin, part.group))
            for n, begin in enumerate(range(0, part.size, part.group))
        ]
        first += part.size
    return Encoded(
        fields=names,
        parts=tuple(name for name, _ in whole),
        by_part=np.stack([row for _, row in whole], 1),
        groups=tuple(name for name, _ in groups),
        by_group=np.stack([row for _, row in groups], 1),
    )


def _told(value: float) -> float | str:
    return "-" if np.isnan(value) else round(value, 3)
